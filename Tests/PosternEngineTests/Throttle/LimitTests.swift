import PosternCore
import Testing

@testable import PosternEngine

struct LimitTests {
    @Test(arguments: [
        "address messages 30/1h", "block attempts 1000/1m", "account bytes 500M/1d", "account-domain recipients 5000/1h",
        "recipient-domain recipients 100/1m", "identity new-recipients 20/1d", "account places 4/1h", "address failures 20/90s",
        "account bytes 1023/1d", "account bytes 3K/1d", "account bytes 2G/31d", "address messages 5/100ms", "account places 254/1h",
    ])
    func `A limit is written as it is read`(text: String) throws {
        #expect(try Limit(text).description == text)
    }

    @Test func `What is read is what is meant`() throws {
        #expect(try Limit("address messages 30/1h") == Limit(.address, .messages, 30, per: .hours(1)))
        #expect(try Limit("account bytes 5M/1d") == Limit(.account, .bytes, 5 << 20, per: .days(1)))
        #expect(try Limit("account bytes 1025/1d").kept == 2)
    }

    @Test(arguments: [
        ("", LimitSyntaxError.form), ("address messages", .form), ("address messages 30", .form), ("address messages 30/1h/1h", .form),
        ("adress messages 30/1h", .key("adress", Limit.Key.allCases)),
        ("recipient-domain mails 30/1h", .unit("mails", [.attempts, .messages, .recipients])), ("address messages 0/1h", .amount("0")),
        ("address messages -1/1h", .amount("-1")), ("address messages 3K/1h", .amount("3K")),
        ("address bytes 99999999999999G/1h", .amount("99999999999999G")),
        ("address messages 3/1", .window("1")), ("address messages 3/99ms", .window("99ms")), ("address messages 3/32d", .window("32d")),
        ("account places 255/1h", .places("255", .places)), ("account countries 1000/1h", .places("1000", .countries)),
        ("address places 3/1h", .unitOfAnother(.places, .address)),
        ("recipient-domain bytes 3/1h", .unitOfAnother(.bytes, .recipientDomain)),
    ])
    func `What is no limit is refused with its reason`(text: String, error: LimitSyntaxError) {
        #expect(throws: error) { try Limit(text) }
        #expect(!error.description.isEmpty)
    }

    @Test func `Only what may stand there is offered`() {
        let strangers: Set<Limit.Key> = [.address, .block, .identity, .recipientDomain]
        let customers: Set<Limit.Key> = [.account, .accountDomain, .address]
        func refusal(_ text: String, _ keys: Set<Limit.Key>) -> String? {
            do throws(LimitSyntaxError) {
                _ = try Limit(text, of: keys)
                return nil
            } catch {
                return error.description
            }
        }
        #expect(
            refusal("address mails 30/1h", strangers)
                == "'mails' is not one of attempts, messages, recipients, bytes, new-recipients")
        #expect(refusal("address mails 30/1h", customers) == "'mails' is not one of failures")
        #expect(refusal("acount messages 30/1h", strangers) == "'acount' is not one of address, block, identity, recipient-domain")
        #expect(refusal("account mails 30/1h", [.account])?.hasSuffix("refusals, failures, places, countries") == true)
        #expect(refusal("address messages 30/1h", strangers) == nil)
    }

    @Test func `The defaults can be written down`() throws {
        for limit in ThrottleSettings.defaultLimits + AccountSettings.defaultLimits + AccountSettings.defaultSuspensions {
            #expect(try Limit(limit.description) == limit)
        }
    }
}

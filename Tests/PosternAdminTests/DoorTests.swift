import Testing

@testable import PosternAdmin

struct DoorTests {
    @Test(arguments: [
        ("localhost:8025", "localhost"), ("127.0.0.1", "127.0.0.1"), ("[::1]:8025", "[::1]"), ("evil.example", "evil.example"),
    ])
    func `A Host header's name is taken without its port`(authority: String, host: String) {
        #expect(AdminDoor.host(of: authority) == host)
    }

    @Test func `Fields of a form are decoded, the first of a name counts`() {
        let fields = FormFields("q=a%40b.example+c&empty=&q=other&odd=%zz%4&=x&flag")
        #expect(fields["q"] == "a@b.example c")
        #expect(fields["empty"] == nil && fields["flag"] == nil && fields["missing"] == nil)
        #expect(fields["odd"] == "%zz%4")
        #expect(FormFields("a=" + FormFields.encoded("ü &=+%\"<>"))["a"] == "ü &=+%\"<>")
    }

    @Test func `Fields are bounded`() {
        let text = (0..<500).map { "k\($0)=v" }.joined(separator: "&")
        #expect(FormFields(text)["k\(FormFields.maximum - 1)"] == "v")
        #expect(FormFields(text)["k\(FormFields.maximum)"] == nil)
    }

    @Test func `Secrets are equal only where all of them is`() {
        #expect(Secret.equal("abc", "abc"))
        #expect(!Secret.equal("abc", "abd") && !Secret.equal("abc", "ab") && !Secret.equal("", "a"))
        #expect(Secret.make() != Secret.make())
        #expect(Secret.make().count == 48)
    }

    @Test func `Browsers are forgotten when there are too many`() {
        let sessions = BrowserSessions()
        let first = sessions.begin()
        #expect(sessions.holds(first))
        for _ in 0..<BrowserSessions.maximum { _ = sessions.begin() }
        #expect(!sessions.holds(first))
        #expect(sessions.holds(sessions.begin()))
    }
}

import PosternCore
import PosternEngine
import Testing

@testable import PosternReplay

/// What a newcomer is told.
struct AdviceTests {
    private let heading = "time,client_address,client_name,helo,sender,recipient,label,delay,result\n"

    /// Known friends every ten minutes, and one slow stranger.
    private func rows(friends: Int, slow: Int) -> [InputFile] {
        var text = heading
        for index in 0..<friends { text += "\(index * 600),192.0.2.1,mx.example.org,h,a@example.org,b@example.net,,,\n" }
        for index in 0..<slow {
            text +=
                "\(friends * 600 + 9000 + index * 60),198.51.100.\(index),mx.slow.example,h,s\(index)@slow.example,b@example.net,,3600,\n"
        }
        return [file(text)]
    }

    @Test func settingsThatSuitAreSaidToSuit() async throws {
        let advice = try await replay(rows(friends: 200, slow: 0), [{ $0.profile = .selective }]).advice
        #expect(advice.contains { $0.contains("that is little, so policy 0 suits this traffic") }, "\(advice)")
        #expect(advice.first?.contains("--look-up") == true, "without evidence it is the worst case: \(advice)")
        #expect(advice.last?.contains("shadow") == true)
        #expect(!advice.contains { $0.contains("import maillog") })
    }

    @Test func whoSuffersIsNamedWithWhatSpares() async throws {
        let advice = try await replay(rows(friends: 20, slow: 4)).advice
        #expect(advice.contains { $0.contains("more than one in a hundred") }, "\(advice)")
        #expect(advice.contains { $0.contains("`postern allow add slow.example --as client`") }, "\(advice)")
        #expect(advice.contains { $0.contains("import maillog") })
    }

    @Test func oneSettingThatWouldSpareMostIsNamed() async throws {
        let advice = try await replay(rows(friends: 20, slow: 0), [{ $0.greylist.delay = .hours(1) }]).advice
        #expect(advice.contains { $0.hasPrefix("`greylist.delay: 20m` would spare 5 of them") }, "\(advice)")
    }

    @Test func twoPoliciesAreCompared() async throws {
        let advice = try await replay(rows(friends: 20, slow: 0), [{ $0.greylist.delay = .hours(1) }, { $0.greylist.delay = .minutes(3) }])
            .advice
        #expect(advice.contains { $0.contains("makes 5 fewer honest deliveries suffer, and stops as many deliveries") }, "\(advice)")
    }

    @Test func nothingIsAdvisedOnNothing() async throws {
        #expect(try await replay([file(heading)]).advice.isEmpty)
    }
}

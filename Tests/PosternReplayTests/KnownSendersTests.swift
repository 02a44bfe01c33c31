import EngineTestSupport
import PosternCore
import PosternEngine
import Testing

@testable import PosternReplay

struct KnownSendersTests {
    private func attempt(
        _ day: Int64, _ sender: String = "a@example.org", name: String? = "mx.example.org", address: String = "192.0.2.1",
        to recipient: String = "b@example.net", message: UInt64 = 0, outcome: LoggedOutcome = .accepted, label: Label? = nil
    ) -> LoggedAttempt {
        LoggedAttempt(
            time: WallTime(seconds: day * 86_400),
            client: Client(address: IPAddress(address), confirmedName: name.flatMap { DomainName($0) }),
            sender: ReversePath(sender), recipient: Mailbox(recipient) ?? Mailbox(localPart: "x", domain: ""), message: message,
            outcome: outcome,
            label: label)
    }

    @Test func whoWroteHowOften() {
        var known = KnownSenders(lifetime: .days(36), domains: LastTwoLabels())
        for day in 0..<3 as Range<Int64> { known.take(attempt(day)) }
        known.take(attempt(3, name: "mx2.example.org", address: "198.51.100.1"))
        for _ in 0..<9 { known.take(attempt(3, "bulk@example.com", name: nil, address: "203.0.113.9")) }
        known.take(attempt(3, "refused@example.com", outcome: .deferred))
        known.take(attempt(3, "spam@example.com", label: .spam))
        known.take(attempt(3, ""))
        for recipient in 0..<5 {
            known.take(attempt(4, "many@example.info", name: "m.example.info", to: "r\(recipient)@example.net", message: 77))
        }
        let triplets = known.triplets(messages: 1)
        #expect(triplets.count == 7)
        #expect(Set(known.triplets(messages: 4).map(\.sender.description)) == ["a@example.org", "bulk@example.com"])
        let own = triplets.first { $0.sender.description == "a@example.org" }
        #expect(own?.messages == 4 && own?.first == WallTime(seconds: 0) && own?.last == WallTime(seconds: 3 * 86_400))
        #expect(own?.client.confirmedName?.text == "mx2.example.org", "the latest")
        // Nine on one day prove nobody; five recipients are one message.
        #expect(known.sources(messages: 4, days: 2).map { $0.client.confirmedName?.text } == ["mx2.example.org"])
        #expect(known.sources(messages: 4, days: 1).count == 2 && known.sources(messages: 1, days: 1).count == 3)
    }

    @Test func correspondents() {
        var known = KnownSenders(lifetime: .days(36), domains: LastTwoLabels())
        func sent(_ day: Int64, _ to: String, by user: String = "bob@example.net") -> SentMessage {
            SentMessage(
                time: WallTime(seconds: day * 86_400), sender: ReversePath(user),
                recipient: Mailbox(to) ?? Mailbox(localPart: "", domain: ""))
        }
        known.take(sent(0, "old@example.org"))
        known.take(sent(40, "friend@example.org"))
        known.take(sent(41, "Friend@example.org"))
        known.take(sent(41, "x@example.org", by: "root"))
        #expect(
            known.correspondents().map { "\($0.correspondent.folded) \($0.user) \($0.last.milliseconds / 86_400_000)" } == [
                "friend@example.org bob@example.net 41"
            ])
    }

    @Test func whatIsOldIsForgotten() {
        var known = KnownSenders(lifetime: .days(36), domains: LastTwoLabels())
        for day in 0..<200 as Range<Int64> {
            for index in 0..<1000 { known.take(attempt(day, "a\(day)x\(index)@example.org", address: "10.\(day % 256).\(index % 256).1")) }
        }
        let days = Set(known.triplets(messages: 1).map { $0.last.milliseconds / 86_400_000 })
        #expect(days.min() == 164 && days.max() == 199)
    }
}

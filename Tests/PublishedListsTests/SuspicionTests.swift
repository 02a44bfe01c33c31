import AddressTables
import PosternCore
import PosternEngine
import Testing

/// What somebody else's list says of an address, where that is neither to refuse nor to admit it.
struct SuspicionTests {
    private let now = WallTime(seconds: 1_800_000_000)

    private func list(_ colour: ListColour, expires: UInt32 = 0) -> SubscribedList {
        var builder = AddressTableBuilder()
        builder.add(Prefix("192.0.2.0/24")!, mark: 0, expires: expires)
        return SubscribedList(
            name: "others", table: builder.table(), domains: [:], statements: [PublishedStatement(colour, reason: "")], checked: now)
    }

    private func attempt(harvested: ListColour? = nil) -> Attempt {
        var attempt = Attempt(
            stage: .rcpt, client: Client(address: IPAddress("192.0.2.7")), sender: ReversePath("a@example.org"),
            recipient: Mailbox("b@example.net"))
        attempt.harvested = harvested
        return attempt
    }

    private func score(_ lists: Lists, harvested: ListColour? = nil) -> (score: Double, evidence: [String]) {
        let attempt = attempt(harvested: harvested)
        let assessment = EngineSettings().assess(attempt, Findings(), lists.suspicion(of: attempt.client, at: now))
        return (assessment.score, assessment.causes.map { "\($0)" })
    }

    @Test(arguments: [(ListColour.brown, Check.harvestedBrown), (.yellow, .harvestedYellow)])
    func brownAndYellowOfASubscriptionAreScoredAsOurOwn(colour: ListColour, check: Check) {
        var lists = Lists()
        let before = score(lists).score
        lists.subscribed = [list(colour)]
        let (after, evidence) = score(lists)
        #expect(after - before == check.defaultSetting.score)
        #expect(evidence.contains { $0.contains("others") }, "\(evidence)")
        // What our own traps say comes first, and is not said twice.
        #expect(score(lists, harvested: .black).score - before == Check.harvestedBlack.defaultSetting.score)
    }

    @Test(arguments: [ListColour.black, .white])
    func blackAndWhiteDecideAndDoNotScore(colour: ListColour) {
        var lists = Lists()
        lists.subscribed = [list(colour)]
        #expect(lists.suspicion(of: attempt().client, at: now) == nil)
    }

    @Test(arguments: ListColour.allCases)
    func everyEntryIsShownWithItsColour(colour: ListColour) {
        let list = list(colour)
        let (allowed, blocked) = (list.entries(of: .allow, at: now, limit: 9), list.entries(of: .block, at: now, limit: 9))
        let shown = colour == .white ? allowed : blocked
        #expect(allowed.count + blocked.count == 1 && shown.map(\.colour) == [colour])
        #expect(shown.first?.entry.source == "others" && shown.first?.entry.pattern == .prefix(Prefix("192.0.2.0/24")!))
        #expect(list.entries(of: .block, at: now, limit: 0).isEmpty)
    }

    @Test func whatHasExpiredOrIsNotListedSaysNothing() {
        var lists = Lists()
        lists.subscribed = [list(.brown, expires: 1_799_999_999)]
        #expect(lists.suspicion(of: attempt().client, at: now) == nil)
        lists.subscribed = [list(.brown)]
        #expect(lists.suspicion(of: Client(address: IPAddress("198.51.100.1")), at: now) == nil)
        #expect(lists.suspicion(of: Client(address: nil), at: now) == nil)
    }
}

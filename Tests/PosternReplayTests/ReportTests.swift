import EngineTestSupport
import PosternCore
import PosternEngine
import Testing

@testable import PosternReplay

struct ReportTests {
    @Test func percentiles() {
        var histogram = DelayHistogram()
        #expect(histogram.percentile(0.5) == nil && histogram.report == nil)
        for second in 1...10_000 as ClosedRange<Int64> { histogram.add(.seconds(second)) }
        for share in [0.01, 0.5, 0.9, 0.95, 0.99] {
            let exact = 10_000 * share
            let found = Double(histogram.percentile(share)?.milliseconds ?? 0) / 1000
            #expect(found >= exact && found <= exact * (1 + 1.0 / 64) + 1, "\(share): \(found)")
        }
        #expect(histogram.percentile(1) == .seconds(10_000) && histogram.longest == .seconds(10_000) && histogram.mean == .seconds(5000))
        var small = DelayHistogram()
        small.add(.milliseconds(1))
        small.add(.zero)
        small.add(.days(3650))
        #expect(small.percentile(0.5) == .seconds(1) && small.percentile(1) == .days(3650))
    }

    private func finished(_ domain: String, _ result: DeliveryResult, age: WallTime.Span = .zero, client: String? = nil) -> FinishedDelivery
    {
        let attempt = LoggedAttempt(
            time: WallTime(seconds: 0), client: Client(address: IPAddress("192.0.2.1")), sender: ReversePath("a@\(domain)"),
            recipient: Mailbox(localPart: "b", domain: "example.net"))
        return FinishedDelivery(
            linked: LinkedAttempt(attempt: attempt, delivery: 1, isRetry: false, clientDomain: client, senderDomain: domain),
            result: result, age: age,
            attempts: 1, deferrals: 0, ages: [.zero, age], wasTakenForNew: false, isHonest: true)
    }

    @Test func domainsAreBounded() {
        var table = DomainTable()
        for index in 0..<DomainTable.maximum + 100 { table.add(finished("d\(index).example", .atOnce)) }
        table.add(finished("d7.example", .delayed, age: .seconds(90)))
        #expect(table.count == DomainTable.maximum + 1)
        let report = table.report(rows: 2)
        #expect(report.map(\.domain) == [DomainTable.others, "d7.example"] && report[0].deliveries == 100)
        #expect(report[1].meanDelay == 90 && report[1].longestDelay == 90)
    }

    @Test func sufferersAreBounded() {
        var table = SufferingTable(greylist: GreylistSettings(), lateAfter: .minutes(15))
        for index in 0..<SufferingTable.maximum + 100 { table.add(finished("x", .blocked, client: "c\(index).example")) }
        let report = table.report(rows: 5)
        #expect(report.lost == SufferingTable.maximum + 100 && report.senders.count == 5)
    }

    @Test func privateAddressesAreNamedAsLocal() {
        for (text, expected) in [
            ("10.1.2.3", true), ("172.16.0.1", true), ("172.32.0.1", false), ("192.168.0.1", true), ("fd00::1", true),
            ("2001:db8::1", false),
        ] {
            #expect(IPAddress(text)?.isPrivate == expected, "\(text)")
        }
    }

    // MARK: - The daemon's own record

    private func decision(
        _ second: Int64, _ action: String, _ reason: String, from sender: String = "a@example.org", to recipient: String = "b@example.net"
    ) -> StoredDecision {
        StoredDecision(
            reference: Reference(value: second << 12), time: WallTime(seconds: second), listener: "policy", stage: "RCPT",
            address: "192.0.2.1",
            name: "mx.example.org", helo: "h", sender: sender, recipient: recipient, account: "", action: action, reason: reason,
            passesAt: nil)
    }

    @Test func fromRecordedDecisions() {
        var traffic = RecordedTraffic(
            greylist: GreylistSettings(), assumptions: Assumptions(), domains: LastTwoLabels(), now: WallTime(seconds: 200_000))
        let decisions = [
            decision(0, "defer", "back too early, after 60 s", from: "before@example.org"),
            decision(10, "defer", "first attempt"), decision(70, "defer", "back too early, after 60 s"),
            decision(310, "accept", "back in time, after 5 min"),
            decision(5000, "accept", "passed before"), decision(6000, "defer", "first attempt", from: "bot@example.com"),
            decision(7000, "reject", "blocked: client 192.0.2.1", from: "x@example.com"),
            decision(8000, "accept", "name:example.org is proven by 7 messages", from: "y@example.org"),
            decision(8100, "accept", "null sender is judged at DATA", from: ""),
            decision(9000, "accept", "back in time, after 2 h", from: "before@example.org"),
            decision(199_000, "defer", "first attempt; generic-name (x.example) adds 2.0", from: "late@example.org"),
        ]
        for decision in decisions.reversed() { traffic.take(decision) }
        let report = traffic.report(policy: "mx", since: WallTime(seconds: 0))
        let all = report.policies[0].all
        #expect(all.delayed == 2 && all.atOnce == 2 && all.blocked == 1 && all.refused == 1 && all.open == 1 && all.deliveries == 7)
        #expect(all.delay?.median == 300 && all.delay?.longest == 300)
        let whitepaper = report.policies[0].whitepaper
        #expect(
            whitepaper.tripletsSeen == 3 && whitepaper.tripletsPassed == 2 && whitepaper.mailsPassed == 4 && whitepaper.mailsDelayed == 2)
        #expect(whitepaper.mailsPassedWithoutSingles == 2 && whitepaper.mailsDelayedWithoutSingles == 1)
        #expect(report.policies[0].checks.contains { $0.check == "generic-name" && $0.fired == 1 && $0.decided == 0 })
        #expect(report.input.counts.attempts == 10 && report.input.from == "1970-01-01T00:00:00.000Z")
        #expect(report.policies[0].attempts.deferred == 5)
    }

    /// What was deferred and then released, allowed, opted out or proven has come back.
    @Test func fromRecordedDecisionsThatPassedOtherwise() {
        var traffic = RecordedTraffic(
            greylist: GreylistSettings(), assumptions: Assumptions(), domains: LastTwoLabels(), now: WallTime(seconds: 200_000))
        let decisions = [
            decision(10, "defer", "first attempt"), decision(70, "defer", "back too early, after 60 s"),
            decision(130, "accept", "released until 2026-01-01T00:00:00.000Z; deferred before, 2 min ago"),
            // Another message of the same people, whose first attempt is the same.
            decision(400, "accept", "back in time, after 7 min"),
            decision(500, "defer", "first attempt", from: "p@example.com"),
            decision(560, "accept", "name:example.com is proven by 7 messages; deferred before, 1 min ago", from: "p@example.com"),
            decision(600, "defer", "first attempt", from: "held@example.com"),
            decision(
                630, "hold", "first message, and the evidence speaks for the client; deferred before, 30 s ago", from: "held@example.com"),
            decision(700, "defer", "first attempt", from: "bot@example.com"),
            // It waited, and is past a limit now.
            decision(720, "defer", "past address messages 1 per 1h: 2 of 1; deferred before, 20 s ago", from: "bot@example.com"),
            // Its first attempt lies before the record.
            decision(800, "accept", "allowed: client 192.0.2.1; deferred before, 1 h ago", from: "before@example.org"),
        ]
        for decision in decisions.reversed() { traffic.take(decision) }
        let report = traffic.report(policy: "mx", since: WallTime(seconds: 0))
        let all = report.policies[0].all
        #expect(all.delayed == 4 && all.atOnce == 1 && all.blocked == 1 && all.refused == 0 && all.deliveries == 6, "\(all)")
        #expect(all.delay?.longest == 120)
        let whitepaper = report.policies[0].whitepaper
        #expect(whitepaper.tripletsSeen == 4 && whitepaper.tripletsPassed == 4, "\(whitepaper)")
    }

    /// Whatever a decision is recorded as is read back as it was.
    @Test func causesAreReadBack() {
        let entry = ListEntry(.allow, .client, .prefix(Prefix(IPAddress(v4: 1), length: 32)), added: WallTime(seconds: 0))
        let network = Identity.network(Prefix(IPAddress(v4: 0xc000_0200), length: 24))
        var causes: [Cause] = [
            .stageHasNoCheck, .authenticated(account: "bob; x"), .localClient, .forwarder, .backupMX, .alwaysReachable, .noClientAddress,
            .greylistOff,
            .recipientOptedOut, .allowed(entry), .blocked(entry), .released(until: WallTime(seconds: 7)), .greylistNew,
            .greylistEarly(waited: .seconds(9)),
            .greylistPassed(waited: .minutes(9)), .greylistKnown, .waited(.minutes(9)), .proven(network, messages: 7),
            .nullSenderAwaitsData,
            .shadow(wouldBe: "defer"),
            .scoreTooHigh(12.5), .clean, .wellListed(-4), .storeUnavailable,
        ]
        for check in Check.allCases {
            causes.append(.scored(check, check.defaultSetting, count: 1, evidence: ""))
            causes.append(.scored(check, CheckSetting(mode: .shadow, score: 2), count: 3, evidence: "some (thing)"))
        }
        for cause in causes {
            let read = RecordedCause.causes(ofReason: cause.description)
            #expect(read.first == RecordedCause(cause.word, cause.check), "\(cause)")
        }
        let joined = [Cause.scoreTooHigh(12), causes[26], .greylistNew].map(\.description).joined(separator: "; ")
        #expect(RecordedCause.causes(ofReason: joined).map(\.word) == ["score", causes[26].word, "new"])
        #expect(RecordedCause.causes(ofReason: "") == [] && RecordedCause.causes(ofReason: "what is this").map(\.word) == ["other"])
    }
}

import PosternCore
import PosternEngine

/// The same tables from the daemon's own record: decisions are taken newest first, as a store hands them out, and put together
/// to deliveries. What it holds is bounded by the deliveries that passed and whose first attempt has not been met yet.
public struct RecordedTraffic {
    /// Senders and recipients of which the counting of single messages is kept; above it new ones are not told apart.
    static let maximumPairs = 2_000_000

    private struct Pass {
        var time: WallTime
        var deferrals = 0
    }

    private struct Pair {
        var mails = 0
        var delayedMails = 0
    }

    private let now: WallTime
    private let window: WallTime.Span
    private var domains: SenderDomains
    private var tally: Tally
    private var passes: [UInt64: Pass] = [:]
    private var pairs: [UInt64: Pair] = [:]
    private var earliest: WallTime?
    private var latest: WallTime?
    private var decisions = 0
    private var number = 0

    /// `now`: what was first seen less than a window ago may still come back.
    public init(greylist: GreylistSettings, assumptions: Assumptions, domains: any OrganisationalDomains, now: WallTime) {
        self.now = now
        window = greylist.window
        self.domains = SenderDomains(domains)
        tally = Tally(greylist: greylist, assumptions: assumptions)
    }

    public mutating func take(_ decision: StoredDecision) {
        let causes = RecordedCause.causes(ofReason: decision.reason)
        guard let first = causes.first, first.word != "null-sender" else { return }
        decisions += 1
        latest = max(latest ?? decision.time, decision.time)
        earliest = min(earliest ?? decision.time, decision.time)
        let isDeferred = decision.action == Verdict.Action.defer.name
        tally.decided(DecidedAttempt(isDeferred: isDeferred, causes: causes, label: nil))

        var hash = KeyHash()
        hash.add(decision.sender.lowercasedASCII)
        hash.add(decision.recipient.lowercasedASCII)
        let key = hash.value
        switch (decision.action, first.word) {
        case (Verdict.Action.defer.name, "new"):
            // The first attempt of what passed later, or of what has not come back.
            guard let pass = passes.removeValue(forKey: key) else {
                return finish(decision, now - decision.time < window ? .open : .blocked, age: .zero, deferrals: 1)
            }
            mail(key, wasDelayed: true)
            finish(decision, .delayed, age: pass.time - decision.time, deferrals: pass.deferrals + 1)
        case (Verdict.Action.defer.name, _):
            passes[key]?.deferrals += 1
        case (Verdict.Action.reject.name, _), (Verdict.Action.drop.name, _), (Verdict.Action.tarpit.name, _):
            finish(decision, .refused, age: .zero, deferrals: 0)
        case (_, "passed"):
            passes[key] = Pass(time: decision.time)
        case _ where causes.contains { $0.word == "waited" }:
            // It had been deferred, and passed for another reason than that it came back in time. What came back in time after that
            // was another message.
            if passes.updateValue(Pass(time: decision.time), forKey: key) == nil {
                tally.passedOtherwise(nil)
            } else {
                finish(decision, .atOnce, age: .zero, deferrals: 0)
            }
        default:
            if first.word == "known" { mail(key, wasDelayed: false) }
            finish(decision, .atOnce, age: .zero, deferrals: 0)
        }
    }

    /// Counted as in a replay, but for the order: the newest comes first here.
    private mutating func mail(_ key: UInt64, wasDelayed: Bool) {
        guard pairs[key] != nil || pairs.count < Self.maximumPairs else { return }
        var pair = pairs[key] ?? Pair()
        pair.mails += 1
        if wasDelayed { pair.delayedMails += 1 }
        pairs[key] = pair
        tally.passed(mails: pair.mails, delayedMails: pair.delayedMails, wasDelayed: wasDelayed)
    }

    private mutating func finish(_ decision: StoredDecision, _ result: DeliveryResult, age: WallTime.Span, deferrals: Int) {
        let client = Client(
            address: IPAddress(decision.address), confirmedName: decision.name.isEmpty ? nil : DomainName(decision.name),
            helo: decision.helo)
        let sender = ReversePath(decision.sender)
        guard let recipient = Mailbox(decision.recipient.isEmpty ? "*" : decision.recipient) else { return }
        number += 1
        let linked = LinkedAttempt(
            attempt: LoggedAttempt(time: decision.time, client: client, sender: sender, recipient: recipient), delivery: number,
            isRetry: false, clientDomain: domains.domain(of: client), senderDomain: domains.label(of: sender))
        let passed = result == .atOnce || result == .delayed
        tally.finished(
            FinishedDelivery(
                linked: linked, result: result, age: age, attempts: deferrals + 1, deferrals: deferrals,
                ages: result == .delayed ? [.zero, age] : [.zero], wasTakenForNew: false, isHonest: passed, schedule: nil))
    }

    /// The report on all that was taken. What passed and whose first attempt lies before the record has no delay to tell of.
    public mutating func report(policy: String, since: WallTime) -> TrafficReport {
        for pass in passes.values { tally.delayedSince(deferrals: pass.deferrals) }
        passes.removeAll()
        var counts = LogCounts()
        counts.lines = decisions
        counts.attempts = decisions
        return TrafficReport(
            input: InputReport(
                files: [], from: (earliest ?? since).description, to: (latest ?? now).description, counts: counts,
                problems: InputProblems(),
                evidence: "as it was when the daemon decided", attemptsWithEvidence: 0, retryModel: "none: all attempts are real",
                notes: ["what the server did with messages, and their sizes, are not in the record"]),
            policies: [tally.report(policy: policy)])
    }
}

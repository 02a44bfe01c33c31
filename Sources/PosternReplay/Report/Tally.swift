import PosternCore
import PosternEngine

/// Figures that a report assumes where nothing is known.
public struct Assumptions: Equatable, Sendable {
    /// Octets of a message whose size is not known (Harris 2003).
    public var messageOctets: Int64 = 5000
    /// Octets of a session that ends in a deferral (Harris 2003: "in most cases less than 500").
    public var deferralOctets: Int64 = 500
    /// An honest delivery that is delayed longer than this suffers.
    public var lateAfter = WallTime.Span.minutes(15)
    /// Domains, senders and examples of each kind that a report lists.
    public var rows = 20

    public init() {}
}

/// An attempt and what was decided.
struct DecidedAttempt {
    var isDeferred: Bool
    /// The deciding one first.
    var causes: [RecordedCause]
    var label: Label?
    /// Whether it is a retry that a model made.
    var isMade = false
}

/// Adds up what one policy does, attempt by attempt and delivery by delivery.
struct Tally {
    private struct Group {
        var counts = GroupReport()
        var delays = DelayHistogram()

        mutating func add(_ delivery: FinishedDelivery) {
            counts.deliveries += 1
            if delivery.deferrals > 0 { counts.deferred += 1 }
            switch delivery.result {
            case .atOnce: counts.atOnce += 1
            case .delayed:
                counts.delayed += 1
                delays.add(delivery.age)
            case .blocked: counts.blocked += 1
            case .refused: counts.refused += 1
            case .open: counts.open += 1
            }
        }

        var report: GroupReport {
            var report = counts
            report.delay = delays.report
            return report
        }
    }

    private struct CheckCount {
        var decided = 0
        var fired = 0
        var firedHam = 0
        var firedSpam = 0

        mutating func fired(_ label: Label?) {
            fired += 1
            switch label {
            case .ham: firedHam += 1
            case .spam: firedSpam += 1
            case nil: break
            }
        }
    }

    private let assumptions: Assumptions
    private var all = Group()
    private var ham = Group()
    private var spam = Group()
    private var unlabelled = Group()
    private var attempts = AttemptsReport()
    private var reasons: [String: Int] = [:]
    private var checks: [String: CheckCount] = [:]
    private var domains = DomainTable()
    private var suffering: SufferingTable
    private var whitepaper = WhitepaperReport()
    private var bandwidth = BandwidthReport()
    var sparedAttempts = 0

    init(greylist: GreylistSettings, assumptions: Assumptions) {
        self.assumptions = assumptions
        suffering = SufferingTable(greylist: greylist, lateAfter: assumptions.lateAfter)
    }

    mutating func decided(_ attempt: DecidedAttempt) {
        attempts.decided += 1
        if attempt.isMade { attempts.made += 1 }
        if attempt.isDeferred {
            attempts.deferred += 1
            bandwidth.deferrals += 1
        }
        count(attempt.causes, label: attempt.label)
        switch attempt.causes.first?.word {
        case "new"?:
            whitepaper.tripletsSeen += 1
            all.counts.newTriplets += 1
            group(attempt.label) { $0.counts.newTriplets += 1 }
        case "passed"?:
            whitepaper.tripletsPassed += 1
            all.counts.tripletsInTime += 1
            group(attempt.label) { $0.counts.tripletsInTime += 1 }
        default: break
        }
    }

    /// A triplet that had been deferred passed for another reason than that it came back in time.
    mutating func passedOtherwise(_ label: Label?) {
        whitepaper.tripletsPassed += 1
        all.counts.tripletsInTime += 1
        group(label) { $0.counts.tripletsInTime += 1 }
    }

    /// A message passed by a triplet. `mails` have so far, this one among them, and of them `delayedMails` had been deferred.
    mutating func passed(mails: Int, delayedMails: Int, wasDelayed: Bool) {
        // The second message tells that the triplet is none of a single message, and the first counts with it.
        if mails == 2 {
            whitepaper.mailsPassedWithoutSingles += 2
            whitepaper.mailsDelayedWithoutSingles += delayedMails
        } else if mails > 2 {
            whitepaper.mailsPassedWithoutSingles += 1
            if wasDelayed { whitepaper.mailsDelayedWithoutSingles += 1 }
        }
    }

    private mutating func count(_ causes: [RecordedCause], label: Label?) {
        guard let first = causes.first else { return }
        reasons[first.word, default: 0] += 1
        checks[first.check, default: CheckCount()].decided += 1
        for (index, cause) in causes.enumerated() {
            // Several causes of one check are one word of it.
            if causes[..<index].contains(where: { $0.check == cause.check }) { continue }
            checks[cause.check, default: CheckCount()].fired(label)
        }
    }

    /// An answer was held back.
    mutating func held(_ span: WallTime.Span) {
        attempts.held += 1
        attempts.heldSeconds += span.secondsRoundedUp
    }

    mutating func finished(_ delivery: FinishedDelivery) {
        let label = delivery.linked.attempt.label
        all.add(delivery)
        group(label) { $0.add(delivery) }
        domains.add(delivery)
        if delivery.isHonest { suffering.add(delivery) }
        switch delivery.result {
        case .atOnce: whitepaper.mailsPassed += 1
        case .delayed:
            whitepaper.mailsPassed += 1
            whitepaper.mailsDelayed += 1
        case .blocked, .refused:
            let bytes = delivery.linked.attempt.bytes
            if bytes > 0 { bandwidth.savedKnown += Int64(bytes) } else { bandwidth.blockedOfUnknownSize += 1 }
        case .open: break
        }
    }

    /// A delivery passed whose first attempt is not known: it has no age.
    mutating func delayedSince(deferrals: Int) {
        all.counts.deliveries += 1
        all.counts.delayed += 1
        if deferrals > 0 { all.counts.deferred += 1 }
        whitepaper.mailsPassed += 1
        whitepaper.mailsDelayed += 1
    }

    private mutating func group(_ label: Label?, _ change: (inout Group) -> Void) {
        switch label {
        case .ham: change(&ham)
        case .spam: change(&spam)
        case nil: change(&unlabelled)
        }
    }

    func report(policy: String) -> PolicyReport {
        var attempts = attempts
        attempts.spared = sparedAttempts
        let isLabelled = ham.counts.deliveries + spam.counts.deliveries > 0
        let checks = checks.map {
            CheckReport(
                check: $0.key, decided: $0.value.decided, fired: $0.value.fired, firedHam: $0.value.firedHam, firedSpam: $0.value.firedSpam)
        }
        return PolicyReport(
            policy: policy, all: all.report, ham: isLabelled ? ham.report : nil, spam: isLabelled ? spam.report : nil,
            unlabelled: isLabelled && unlabelled.counts.deliveries > 0 ? unlabelled.report : nil, attempts: attempts,
            reasons: reasons.map { ReasonReport(reason: $0.key, attempts: $0.value) }
                .sorted { ($1.attempts, $0.reason) < ($0.attempts, $1.reason) },
            checks: checks.sorted { ($1.fired, $0.check) < ($0.fired, $1.check) }, domains: domains.report(rows: assumptions.rows),
            suffering: suffering.report(rows: assumptions.rows), whitepaper: whitepaper.completed,
            bandwidth: bandwidth.completed(assumptions))
    }
}

extension DelayHistogram {
    var report: DelayReport? {
        guard let median = percentile(0.5), let p90 = percentile(0.9), let p95 = percentile(0.95), let p99 = percentile(0.99), let mean
        else {
            return nil
        }
        return DelayReport(
            median: median.secondsRoundedUp, p90: p90.secondsRoundedUp, p95: p95.secondsRoundedUp, p99: p99.secondsRoundedUp,
            longest: longest.secondsRoundedUp, mean: mean.secondsRoundedUp)
    }
}

extension WhitepaperReport {
    /// With the shares that follow from the counts.
    var completed: WhitepaperReport {
        func percent(_ part: Int, of whole: Int) -> Double? { whole > 0 ? (Double(part) * 10_000 / Double(whole)).rounded() / 100 : nil }
        var report = self
        report.tripletsBlocked = max(tripletsSeen - tripletsPassed, 0)
        report.effectiveness = percent(report.tripletsBlocked, of: tripletsSeen)
        report.delayedPercent = percent(mailsDelayed, of: mailsPassed)
        report.delayedPercentWithoutSingles = percent(mailsDelayedWithoutSingles, of: mailsPassedWithoutSingles)
        return report
    }
}

extension BandwidthReport {
    func completed(_ assumptions: Assumptions) -> BandwidthReport {
        var report = self
        report.assumedMessage = assumptions.messageOctets
        report.assumedDeferral = assumptions.deferralOctets
        report.saved = savedKnown + Int64(blockedOfUnknownSize) * assumptions.messageOctets
        report.wasted = Int64(deferrals) * assumptions.deferralOctets
        return report
    }
}

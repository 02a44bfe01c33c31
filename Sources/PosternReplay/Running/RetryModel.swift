import PosternCore
import PosternEngine

/// Who comes back, and when, where the log does not show it: the server that wrote the log took the message at once, so the
/// sender had no cause to come back.
public struct RetryModel: Equatable, Sendable {
    public enum Mailers: Equatable, Sendable {
        /// What a provider was measured to do, where its hosts' names tell who it is; else Postfix's schedule.
        case typical
        /// The same for all.
        case fixed(RetrySchedule)
        /// Drawn for each message from what archives show of greylisted mail: see `RetryModel.drawn`.
        case archives
        /// Nobody comes back but whom the log shows.
        case none
    }

    public var mailers = Mailers.typical
    /// The share, 0 to 1, of spam (by label) that is sent by something that comes back as mailers do. Which messages those are
    /// hangs on their keys alone, so a replay comes out the same every time.
    public var spamShare = 0.0
    /// The same of messages that the server took and nobody has labelled.
    public var unlabelledShare = 1.0

    public init() {}

    /// The schedule by which a message comes back; `nil` where it does not.
    func schedule(for attempt: LoggedAttempt, domain: String?, key: UInt64) -> RetrySchedule? {
        let share = attempt.label == .spam ? spamShare : attempt.label == .ham ? 1 : unlabelledShare
        // 53 bits of the key as a number from 0 to below 1.
        var mixed = KeyHash()
        mixed.add(key)
        mixed.add(UInt64(bitPattern: attempt.time.milliseconds))
        guard Double(mixed.value >> 11) * 0x1p-53 < share else { return nil }
        switch mailers {
        case .none: return nil
        case .fixed(let schedule): return schedule
        case .typical: return domain.flatMap { RetrySchedule.measured(of: $0) } ?? .postfix
        case .archives:
            mixed.add(1)
            return Self.drawn(Double(mixed.value >> 11) * 0x1p-53)
        }
    }

    /// Whether a retry from this domain may come from another of its addresses.
    func changesAddress(_ domain: String) -> Bool {
        switch mailers {
        case .typical: RetrySchedule.measured(of: domain)?.changesAddress ?? false
        case .fixed(let schedule): schedule.changesAddress
        case .archives, .none: false
        }
    }

    /// A schedule whose first retry comes as late as in real archives: of 16,789 greylisted messages, 2019 to 2026, 57 % came back
    /// within 10 minutes, 79 % within 30 minutes, 93 % within 4 hours, 98.7 % within a day. None of them is quicker than 1
    /// minute; between those points times are spread evenly by their logarithm, and each further wait is twice as long.
    static func drawn(_ quantile: Double) -> RetrySchedule {
        let points: [(share: Double, seconds: Double)] = [
            (0, 60), (0.57, 600), (0.79, 1800), (0.93, 14_400), (0.987, 86_400), (1, 432_000),
        ]
        var seconds = 60.0
        for (low, high) in zip(points, points.dropFirst()) where quantile >= low.share {
            let part = (quantile - low.share) / (high.share - low.share)
            seconds = low.seconds * pow(high.seconds / low.seconds, min(part, 1))
        }
        var ages: [WallTime.Span] = []
        var age = seconds
        while age <= 432_000 {
            ages.append(.milliseconds(Int64(age * 1000)))
            age *= 2
        }
        return RetrySchedule(name: "archives", ages: ages)
    }

    /// `base` to a power from 0 to 1, by the binary digits of the exponent: the standard library has roots, and no logarithm.
    private static func pow(_ base: Double, _ exponent: Double) -> Double {
        guard exponent < 1 else { return base }
        var result = 1.0
        var root = base
        var rest = exponent
        for _ in 0..<40 {
            root = root.squareRoot()
            rest *= 2
            if rest >= 1 {
                result *= root
                rest -= 1
            }
        }
        return result
    }

    /// In words, for the report.
    public var description: String {
        let mailers =
            switch mailers {
            case .typical:
                "known providers retry as they were measured to (DSN 2016), all others as Postfix does: after 5, 10, 20, 40, 80 min, then every 67 min, for 5 days"
            case .fixed(let schedule): "all mailers retry by the schedule '\(schedule.name)'"
            case .archives:
                "the first retry is drawn from archives: 57 % within 10 min, 79 % within 30 min, 93 % within 4 h, 98.7 % within a day"
            case .none: "nobody retries but whom the log shows"
            }
        func percent(_ share: Double) -> String { "\(Int((share * 100).rounded())) %" }
        return "\(mailers); \(percent(spamShare)) of labelled spam and \(percent(unlabelledShare)) of what is not labelled retries"
    }
}

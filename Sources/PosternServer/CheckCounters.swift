import PosternControl
import PosternEngine
import PosternMetrics

/// How often each check fired since the start.
public final class CheckCounters: Sendable {
    /// For each check one count where it was on, one where it was in shadow.
    private let counts = ShardedCounts(width: Check.allCases.count * 2)
    private static let places = Dictionary(uniqueKeysWithValues: Check.allCases.enumerated().map { ($1, $0) })

    init() {}

    func fired(_ check: Check, inShadow: Bool) {
        guard let place = Self.places[check] else { return }
        counts.add(1, to: place * 2 + (inShadow ? 1 : 0))
    }

    var report: [StatusReport.CheckCount] {
        Check.allCases.enumerated().map { index, check in
            StatusReport.CheckCount(check: check.rawValue, fired: counts.sum(index * 2), inShadow: counts.sum(index * 2 + 1))
        }
    }
}

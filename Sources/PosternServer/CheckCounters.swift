import PosternControl
import PosternEngine
import Synchronization

/// How often each check fired since the start.
///
/// Sendable: the memory is atomics only, made in `init` and freed in `deinit`.
public final class CheckCounters: @unchecked Sendable {
    /// For each check one count where it was on, one where it was in shadow.
    private let cells: UnsafeMutablePointer<Atomic<UInt64>>
    private static let places = Dictionary(uniqueKeysWithValues: Check.allCases.enumerated().map { ($1, $0) })
    private static let count = Check.allCases.count * 2

    init() {
        cells = UnsafeMutablePointer<Atomic<UInt64>>.allocate(capacity: Self.count)
        for index in 0..<Self.count { (cells + index).initialize(to: Atomic(0)) }
    }

    deinit {
        cells.deinitialize(count: Self.count)
        cells.deallocate()
    }

    func fired(_ check: Check, inShadow: Bool) {
        guard let place = Self.places[check] else { return }
        cells[place * 2 + (inShadow ? 1 : 0)].wrappingAdd(1, ordering: .relaxed)
    }

    var report: [StatusReport.CheckCount] {
        Check.allCases.enumerated().map { index, check in
            StatusReport.CheckCount(
                check: check.rawValue, fired: cells[index * 2].load(ordering: .relaxed),
                inShadow: cells[index * 2 + 1].load(ordering: .relaxed))
        }
    }
}

import PosternControl
import PosternCore
import PosternEngine

/// Writes down what happened in each minute: once a minute, from the counters, so that no decision pays for it.
struct HistoryKeeper: Sendable {
    let store: any Store
    let state: RunningState
    let keep: WallTime.Span

    /// All that is counted since the start, at one moment.
    private struct Totals {
        var values = HistoryMinute(minute: 0)

        init(_ status: StatusReport, delayMilliseconds: UInt64) {
            let counts = status.counts
            func number(_ value: UInt64) -> Int64 { Int64(clamping: value) }
            values.accepted = number(counts.accepted) - number(counts.held)
            values.held = number(counts.held)
            values.deferred = number(counts.deferred)
            values.rejected = number(counts.rejected)
            values.delayed = number(counts.delayed)
            values.delayMilliseconds = number(delayMilliseconds)
            values.storeFailures = number(counts.storeFailures)
            for trap in status.traps {
                values.trapMilliseconds += Int64(min(trap.hoursWasted * 3_600_000, 9e15))
                values.trapOctets += number(trap.bytesSent)
            }
        }
    }

    private static let sampling = Duration.seconds(1)

    /// Runs until cancelled, and then writes down what the last minute had so far.
    func run() async {
        guard var before = totals() else { return }
        var current = HistoryMinute(minute: HistoryMinute.minute(of: state.now().wall))
        while !Task.isCancelled {
            try? await Task.sleep(for: Self.sampling)
            sample(&current)
            let minute = HistoryMinute.minute(of: state.now().wall)
            guard minute != current.minute || Task.isCancelled else { continue }
            before = await write(&current, since: before)
            current = HistoryMinute(minute: minute)
            try? await expire()
        }
    }

    private func totals() -> Totals? {
        (try? state.status()).map { Totals($0, delayMilliseconds: state.decisions.counters.values.delayMilliseconds) }
    }

    private func sample(_ minute: inout HistoryMinute) {
        let held = state.heldNow
        minute.mostWaiting = max(minute.mostWaiting, Int64(held.waiting))
        minute.mostTrapped = max(minute.mostTrapped, Int64(held.trapped))
    }

    /// What a minute had is what was counted since the last one. Where the store does not take it, the next minute has it too.
    private func write(_ minute: inout HistoryMinute, since before: Totals) async -> Totals {
        guard let now = totals() else { return before }
        for path in HistoryMinute.sums { minute[keyPath: path] = max(now.values[keyPath: path] - before.values[keyPath: path], 0) }
        guard !minute.isEmpty else { return now }
        do throws(StoreFailure) {
            try await store.record(minute)
            return now
        } catch {
            return before
        }
    }

    private func expire() async throws {
        let oldest = state.now().wall - keep
        _ = try await store.expireHistory(before: HistoryMinute.minute(of: oldest), auditBefore: oldest)
    }
}

import PosternCore
import PosternEngine

/// Which part of the history.
public struct HistoryDraft: Codable, Equatable, Sendable {
    /// Not older than this, in milliseconds.
    public var age: Int64
    /// Minutes that are put together, 1...10,080.
    public var step: Int64

    public init(age: WallTime.Span, step: Int64 = 1) {
        self.age = age.milliseconds
        self.step = step
    }
}

/// The history, in groups of minutes, the oldest first. Groups in which nothing happened are left out.
public struct HistoryReport: Codable, Equatable, Sendable {
    public struct Group: Codable, Equatable, Sendable {
        /// When the group begins.
        public var time: String
        /// The same in Unix seconds.
        public var seconds: Int64
        public var accepted: Int64
        public var held: Int64
        public var deferred: Int64
        public var rejected: Int64
        /// Attempts that passed after having been deferred, and how long they had waited altogether.
        public var delayed: Int64
        public var delayedSeconds: Int64
        public var storeFailures: Int64
        public var wastedSeconds: Int64
        public var trapBytes: Int64
        /// The most at once.
        public var mostWaiting: Int64
        public var mostTrapped: Int64
    }

    public var stepMinutes: Int64
    /// Unix seconds: the first group's begin, and the end of the last.
    public var from: Int64
    public var to: Int64
    public var groups: [Group]
}

extension ControlHandler {
    func history(_ draft: HistoryDraft) async throws(ControlFailure) -> HistoryReport {
        guard (1...10_080).contains(draft.step) else { throw ControlFailure(.badData, "a step is 1 to 10080 minutes, not \(draft.step)") }
        let now = state.now().wall
        var span = HistorySpan(from: 0, to: HistoryMinute.minute(of: now) + 1, step: draft.step)
        span.from = span.group(of: HistoryMinute.minute(of: now - (try self.span(draft.age))))
        let asked = span
        let groups = try await stored { () async throws(StoreFailure) in try await store.history(asked) }
        return HistoryReport(
            stepMinutes: span.step, from: span.from * 60, to: (span.group(of: span.to - 1) + span.step) * 60,
            groups: groups.map { minute in
                HistoryReport.Group(
                    time: minute.time.description, seconds: minute.minute * 60, accepted: minute.accepted, held: minute.held,
                    deferred: minute.deferred, rejected: minute.rejected, delayed: minute.delayed,
                    delayedSeconds: minute.delayMilliseconds / 1000, storeFailures: minute.storeFailures,
                    wastedSeconds: minute.trapMilliseconds / 1000, trapBytes: minute.trapOctets, mostWaiting: minute.mostWaiting,
                    mostTrapped: minute.mostTrapped)
            })
    }
}

import NIOCore
import PosternEngine
import PosternMetrics

/// The times that the daemon measures as it works, as histograms: how long decisions and look-ups took, how long clients
/// were made to wait, and how long backends took to answer. What is merely counted is in counters of its own.
public final class ServiceMetrics: Sendable {
    private let accepted: HistogramInstrument
    private let held: HistogramInstrument
    private let deferred: HistogramInstrument
    private let rejected: HistogramInstrument
    private let lookups: HistogramInstrument
    private let holds: HistogramInstrument
    private let backendConnects: HistogramInstrument
    private let backendMessages: HistogramInstrument

    public init(_ registry: MetricRegistry) {
        registry.describe(
            Self.decision,
            .init("From a question to its answer, committed and with all look-ups, by verdict; without any pause made on purpose."))
        registry.describe(Self.lookup, .init("All look-ups of one decision that were not known already."))
        registry.describe(
            Self.hold, .init("Pauses that the gateway makes on purpose before it answers.", bounds: MetricRegistry.waitBounds))
        registry.describe(Self.backend, .init("A backend's time: to take a connection, and to answer a whole message."))
        accepted = registry.timer(Self.decision, [("verdict", "accept")])
        held = registry.timer(Self.decision, [("verdict", "hold")])
        deferred = registry.timer(Self.decision, [("verdict", "defer")])
        rejected = registry.timer(Self.decision, [("verdict", "reject")])
        lookups = registry.timer(Self.lookup)
        holds = registry.timer(Self.hold)
        backendConnects = registry.timer(Self.backend, [("step", "connect")])
        backendMessages = registry.timer(Self.backend, [("step", "message")])
    }

    private static let decision = "postern_decision_duration_seconds"
    private static let lookup = "postern_lookup_duration_seconds"
    private static let hold = "postern_hold_duration_seconds"
    private static let backend = "postern_backend_duration_seconds"

    /// Nanoseconds, to be handed back later; on no clock that people read.
    static func now() -> UInt64 { NIODeadline.now().uptimeNanoseconds }

    private static func since(_ start: UInt64) -> Int64 { Int64(clamping: now() &- start) }

    func decided(_ action: Verdict.Action, since start: UInt64) {
        let instrument =
            switch action {
            case .accept: accepted
            case .hold: held
            case .defer: deferred
            case .reject, .tarpit, .drop: rejected
            }
        instrument.recordNanoseconds(Self.since(start))
    }

    func lookedUp(since start: UInt64) { lookups.recordNanoseconds(Self.since(start)) }
    func holds(forMilliseconds milliseconds: Int64) {
        holds.recordNanoseconds(milliseconds.multipliedReportingOverflow(by: 1_000_000).partialValue)
    }
    func backendConnected(since start: UInt64) { backendConnects.recordNanoseconds(Self.since(start)) }
    func backendAnsweredMessage(since start: UInt64) { backendMessages.recordNanoseconds(Self.since(start)) }
}

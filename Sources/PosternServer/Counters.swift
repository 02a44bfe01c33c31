import NIOConcurrencyHelpers
import PosternCore
import PosternEngine

/// What the daemon has done since it started.
public final class Counters: Sendable {
    public struct Values: Equatable, Sendable {
        public var accepted: UInt64 = 0
        public var deferred: UInt64 = 0
        public var rejected: UInt64 = 0
        /// Of those accepted, the ones to be answered after a delay, or kept by the mail server.
        public var held: UInt64 = 0
        /// Of those rejected.
        public var tarpitted: UInt64 = 0
        public var dropped: UInt64 = 0
        /// Of those accepted, the ones that had been deferred before, and for how long altogether, in milliseconds.
        public var delayed: UInt64 = 0
        public var delayMilliseconds: UInt64 = 0
        public var malformedRequests: UInt64 = 0
        public var refusedConnections: UInt64 = 0
        public var connections: Int = 0
        /// Answers given without the store (fail open).
        public var storeFailures: UInt64 = 0
        public var lastStoreFailure: StoreFailure?

        var decided: UInt64 { accepted + deferred + rejected }
    }

    private let box = NIOLockedValueBox(Values())
    public let checks = CheckCounters()

    public init() {}

    public var values: Values { box.withLockedValue { $0 } }

    func decided(_ verdict: Verdict) {
        let waited: WallTime.Span? = if case .greylistPassed(let waited)? = verdict.causes.first { waited } else { nil }
        box.withLockedValue { values in
            switch verdict.action {
            case .accept: values.accepted += 1
            case .hold:
                values.accepted += 1
                values.held += 1
            case .defer: values.deferred += 1
            case .reject: values.rejected += 1
            case .tarpit:
                values.rejected += 1
                values.tarpitted += 1
            case .drop:
                values.rejected += 1
                values.dropped += 1
            }
            guard let waited else { return }
            values.delayed += 1
            values.delayMilliseconds &+= UInt64(max(waited.milliseconds, 0))
        }
        for case .scored(let check, let setting, _, _) in verdict.causes { checks.fired(check, inShadow: setting.mode == .shadow) }
    }

    func storeFailed(_ failure: StoreFailure) {
        box.withLockedValue {
            $0.storeFailures += 1
            $0.lastStoreFailure = failure
        }
    }

    func malformed() { box.withLockedValue { $0.malformedRequests += 1 } }
    func refusedConnection() { box.withLockedValue { $0.refusedConnections += 1 } }

    /// Counts a connection in, unless that would make more than `limit`.
    func admit(limit: Int) -> Bool {
        box.withLockedValue { values in
            guard values.connections < limit else { return false }
            values.connections += 1
            return true
        }
    }

    func departed() { box.withLockedValue { $0.connections -= 1 } }
}

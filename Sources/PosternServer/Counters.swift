import NIOConcurrencyHelpers
import PosternEngine

/// What the daemon has done since it started.
public final class Counters: Sendable {
    public struct Values: Equatable, Sendable {
        public var accepted: UInt64 = 0
        public var deferred: UInt64 = 0
        public var rejected: UInt64 = 0
        public var malformedRequests: UInt64 = 0
        public var refusedConnections: UInt64 = 0
        public var connections: Int = 0
        /// Answers given without the store (fail open).
        public var storeFailures: UInt64 = 0
        public var lastStoreFailure: StoreFailure?
    }

    private let box = NIOLockedValueBox(Values())

    public init() {}

    public var values: Values { box.withLockedValue { $0 } }

    func decided(_ action: Verdict.Action) {
        box.withLockedValue { values in
            switch action {
            case .accept, .hold: values.accepted += 1
            case .defer: values.deferred += 1
            case .reject, .tarpit, .drop: values.rejected += 1
            }
        }
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

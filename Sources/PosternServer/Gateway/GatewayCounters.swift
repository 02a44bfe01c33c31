import NIOConcurrencyHelpers

/// What one gateway has done since it started.
public final class GatewayCounters: Sendable {
    public struct Values: Equatable, Sendable {
        /// Open now.
        public var sessions = 0
        /// All that were let in.
        public var sessionsTotal: UInt64 = 0
        /// Turned away because the gateway was full and none was held.
        public var sessionsRefused: UInt64 = 0
        /// Let go for others: those that were held longest.
        public var sessionsShed: UInt64 = 0
        /// Listed clients that the tarpit took.
        public var diverted: UInt64 = 0
        /// Delays that were shortened or left out under load.
        public var delaysShortened: UInt64 = 0
        /// Clients that talked before their greeting.
        public var earlyTalkers: UInt64 = 0
        /// Messages that a backend took.
        public var messagesAccepted: UInt64 = 0
        /// Messages with a 5xx for an answer.
        public var messagesRefused: UInt64 = 0
        /// Messages with a 4xx for an answer, or given up by the client.
        public var messagesDeferred: UInt64 = 0
        /// Octets of content sent to backends.
        public var octets: UInt64 = 0
        /// Backend connections that failed.
        public var backendFailures: UInt64 = 0
        /// Recipients refused because the backend does not know them.
        public var unknownRecipients: UInt64 = 0
        /// Questions put to a backend about a mailbox.
        public var probes: UInt64 = 0
        /// Those of which nothing was learnt, in time or at all: the recipient counted as existing.
        public var probesInconclusive: UInt64 = 0
        /// Connections from a proxy without a proper PROXY header.
        public var proxyErrors: UInt64 = 0

        /// Sessions of strangers at an inner door: put off with advice, ended with 421, ended without an answer, and let in since no
        /// node could be reached.
        public var strangersDeferred: UInt64 = 0
        public var strangersRefused: UInt64 = 0
        public var strangersUnanswered: UInt64 = 0
        public var strangersAdmitted: UInt64 = 0

        /// Of submission: log-ins that a backend took, those that it refused, those that were refused since too many had failed, and
        /// those of which a backend said nothing.
        public var logIns: UInt64 = 0
        public var logInsFailed: UInt64 = 0
        public var logInsRefused: UInt64 = 0
        public var logInsUnanswered: UInt64 = 0

        public init() {}
    }

    private let box = NIOLockedValueBox(Values())

    public init() {}

    public var values: Values { box.withLockedValue { $0 } }

    func count(_ change: (inout Values) -> Void) {
        box.withLockedValue { change(&$0) }
    }
}

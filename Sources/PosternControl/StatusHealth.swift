// What the state tells of the parts that a daemon leans on, and of what it has done in figures.

extension StatusReport {
    /// What one gateway has done since the start.
    public struct Gateway: Codable, Equatable, Sendable {
        public struct Backend: Codable, Equatable, Sendable {
            public var address: String
            public var isWell: Bool
            /// In a row, up to now.
            public var failures: Int

            public init(address: String, isWell: Bool, failures: Int) {
                self.address = address
                self.isWell = isWell
                self.failures = failures
            }
        }

        /// An inner door.
        public struct Inner: Codable, Equatable, Sendable {
            public struct Node: Codable, Equatable, Sendable {
                public var address: String
                public var isReachable: Bool

                public init(address: String, isReachable: Bool) {
                    self.address = address
                    self.isReachable = isReachable
                }
            }

            /// To everybody, since no node can be reached.
            public var isOpen: Bool
            /// Those that are looked at.
            public var nodes: [Node]
            /// Remembered now.
            public var strangers: Int
            /// Sessions of strangers since the start: told 450, told 421, not answered, and let in since no node could be reached.
            public var deferred: UInt64 = 0
            public var refused: UInt64 = 0
            public var unanswered: UInt64 = 0
            public var admitted: UInt64 = 0

            public init(isOpen: Bool, nodes: [Node], strangers: Int) {
                self.isOpen = isOpen
                self.nodes = nodes
                self.strangers = strangers
            }
        }

        public var name: String
        /// Open now, and of them those that are made to wait.
        public var sessions: Int
        public var held: Int
        public var sessionsTotal: UInt64 = 0
        public var sessionsRefused: UInt64 = 0
        public var sessionsShed: UInt64 = 0
        public var delaysShortened: UInt64 = 0
        public var earlyTalkers: UInt64 = 0
        public var messagesAccepted: UInt64 = 0
        public var messagesRefused: UInt64 = 0
        public var messagesDeferred: UInt64 = 0
        /// Octets of content sent to backends.
        public var bytes: UInt64 = 0
        public var backendFailures: UInt64 = 0
        public var unknownRecipients: UInt64 = 0
        public var probes: UInt64 = 0
        public var probesInconclusive: UInt64 = 0
        public var proxyErrors: UInt64 = 0
        public var backends: [Backend] = []
        /// `nil` for another role.
        public var inner: Inner?
        /// Of a listener with role submission.
        public var logIns: LogIns?

        /// Since the start.
        public struct LogIns: Codable, Equatable, Sendable {
            public var taken: UInt64
            /// The backend refused name or password.
            public var failed: UInt64
            /// No backend was asked, since too many had failed.
            public var refused: UInt64
            /// No backend could say.
            public var unanswered: UInt64

            public init(taken: UInt64, failed: UInt64, refused: UInt64, unanswered: UInt64) {
                self.taken = taken
                self.failed = failed
                self.refused = refused
                self.unanswered = unanswered
            }
        }

        public init(name: String, sessions: Int, held: Int) {
            self.name = name
            self.sessions = sessions
            self.held = held
        }
    }

    /// The resolver, since the start.
    public struct Resolver: Codable, Equatable, Sendable {
        public var servers: [String]
        /// Whether anybody answers now.
        public var answers: Bool
        public var queries: UInt64 = 0
        public var hits: UInt64 = 0
        public var sent: UInt64 = 0
        public var timeouts: UInt64 = 0
        public var failures: UInt64 = 0
        public var overloaded: UInt64 = 0
        public var serverTimeouts: UInt64 = 0
        public var cacheEntries = 0
        public var cacheBytes = 0

        public init(servers: [String], answers: Bool) {
            self.servers = servers
            self.answers = answers
        }
    }

    /// A DNS list, since the start.
    public struct DNSList: Codable, Equatable, Sendable {
        /// As the configuration calls it: never a key that is part of the zone's name.
        public var name: String
        /// Whether it is asked.
        public var isLive: Bool
        /// Why it is not; `nil` too before its first test has ended.
        public var ailment: String?
        public var listed: UInt64
        public var notListed: UInt64
        /// Listings that at least one other list had as well.
        public var overlapping: UInt64
        public var errors: UInt64
        public var silent: UInt64

        public init(
            name: String, isLive: Bool, ailment: String?, listed: UInt64, notListed: UInt64, overlapping: UInt64, errors: UInt64,
            silent: UInt64
        ) {
            self.name = name
            self.isLive = isLive
            self.ailment = ailment
            self.listed = listed
            self.notListed = notListed
            self.overlapping = overlapping
            self.errors = errors
            self.silent = silent
        }
    }

    /// Decisions by how their evidence was come by, since the start.
    public struct Evidence: Codable, Equatable, Sendable {
        /// All was known from the last minute.
        public var known: UInt64
        /// Something was asked; and of these those decided without some of it.
        public var gathered: UInt64
        public var partial: UInt64

        public init(known: UInt64, gathered: UInt64, partial: UInt64) {
            self.known = known
            self.gathered = gathered
            self.partial = partial
        }
    }

    /// How often a check fired since the start.
    public struct CheckCount: Codable, Equatable, Sendable {
        public var check: String
        /// Where it counted, and where it was in shadow.
        public var fired: UInt64
        public var inShadow: UInt64

        public init(check: String, fired: UInt64, inShadow: UInt64) {
            self.check = check
            self.fired = fired
            self.inShadow = inShadow
        }
    }
}

import PosternCore
import PosternEngine
import PosternReplay

/// What became of a request. Times are RFC 3339 in UTC by the wall clock. The fields of the reports are the fields of
/// `--json`, in snake case: docs/commands.md lists them, so they change only with the version.
public enum ControlReply: Codable, Equatable, Sendable {
    case status(StatusReport)
    case explanation(Explanation)
    case added([EntryReport])
    /// How many entries of an import are new or count for longer than before, and how many were known.
    case tookOver(entries: Int, known: Int)
    case removed(EntryReport)
    case entries([EntryReport])
    case waiting([WaitingReport])
    /// How many were forgotten.
    case forgotten(Int)
    case released(ReleaseReport)
    case backedUp(path: String)
    case decisions([DecisionReport])
    case reloaded(ReloadReport)
    case learnt(LessonReport)
    case report(TrafficReport)
    case acted(ActionReport)
    case changes([ChangeReport])
    case history(HistoryReport)
    case exported(ExportReport)
    case accounts([AccountReport])
    case accountReleased(AccountReport)
    case limits([NearLimitReport])
}

/// An account that is suspended.
public struct AccountReport: Codable, Equatable, Sendable {
    /// Names it in a release, too: where `log.redact` hides its name.
    public var id: String
    /// Under `log.redact` its domain alone.
    public var account: String
    public var since: String
    public var reason: String
    /// When it has been released: its number in the log of changes, with which that is taken back.
    public var change: Int64?

    static func id(of suspension: Suspension) -> String { String(suspension.since.milliseconds, radix: 36) }

    init(_ suspension: Suspension, at moment: Moment) {
        id = Self.id(of: suspension)
        account = suspension.account
        since = moment.shown(suspension.since)
        reason = suspension.reason
    }
}

/// One limit as it stands.
public struct LimitReport: Codable, Equatable, Sendable {
    /// As it is configured.
    public var limit: String
    /// Whose: an address, a domain, an account.
    public var subject: String
    public var used: Double
    /// Less than the limit where its neighbours are loud.
    public var allowance: Double
    public var left: Double

    /// `redacted`: an account is named by its domain alone.
    public init(_ standing: LimitStanding, redacted: Bool = false) {
        limit = standing.limit.description
        subject = redacted && standing.limit.key == .account ? Redaction.mailboxes(standing.subject) : standing.subject
        used = standing.used
        allowance = standing.allowance
        left = standing.left
    }
}

/// The daemon's state.
public struct StatusReport: Codable, Equatable, Sendable {
    public var configuration: ConfigurationState?
    public struct Listener: Codable, Equatable, Sendable {
        public var name: String
        public var role: String
        public var address: String

        public init(name: String, role: String, address: String) {
            self.name = name
            self.role = role
            self.address = address
        }
    }

    /// Since the start.
    public struct Counts: Codable, Equatable, Sendable {
        public var accepted: UInt64
        public var deferred: UInt64
        public var rejected: UInt64
        /// Requests that got no answer, since they could not be understood.
        public var malformedRequests: UInt64
        public var refusedConnections: UInt64
        /// Open now.
        public var connections: Int
        /// Answers given without the store.
        public var storeFailures: UInt64
        /// Of those accepted, the ones that a gateway answered only after a delay.
        public var held: UInt64 = 0
        /// Of those rejected, the ones that were to be wasted time of, or hung up on.
        public var tarpitted: UInt64 = 0
        public var dropped: UInt64 = 0
        /// Of those accepted, the ones that had been deferred before, and for how long altogether.
        public var delayed: UInt64 = 0
        public var delayedSeconds: UInt64 = 0

        public init(
            accepted: UInt64 = 0, deferred: UInt64 = 0, rejected: UInt64 = 0, malformedRequests: UInt64 = 0, refusedConnections: UInt64 = 0,
            connections: Int = 0, storeFailures: UInt64 = 0
        ) {
            self.accepted = accepted
            self.deferred = deferred
            self.rejected = rejected
            self.malformedRequests = malformedRequests
            self.refusedConnections = refusedConnections
            self.connections = connections
            self.storeFailures = storeFailures
        }
    }

    /// What a trap has done since the start.
    public struct Trap: Codable, Equatable, Sendable {
        public var name: String
        public var heldNow: Int
        public var heldEver: UInt64
        /// Of the clients' time.
        public var hoursWasted: Double
        /// Octets that we sent for that.
        public var bytesSent: UInt64
        public var secondsPerByte: Double
        /// Let go since there were too many.
        public var shed: UInt64
        /// Told to go since they were not listed, or their time was up.
        public var letGo: UInt64
        /// `tarpit`, `defer-rcpt`, `defer-data` or `sink`.
        public var mode: String
        /// A fake MX or sink: commands answered 451.
        public var deferred: UInt64 = 0
        /// Clients that were deferred and hung up without QUIT.
        public var withoutQuit: UInt64 = 0
        /// A sink: messages, and their octets, that were thrown away.
        public var discarded: UInt64 = 0
        public var bytesDiscarded: UInt64 = 0

        public init(
            name: String, mode: String, heldNow: Int, heldEver: UInt64, hoursWasted: Double, bytesSent: UInt64, secondsPerByte: Double,
            shed: UInt64,
            letGo: UInt64
        ) {
            self.name = name
            self.mode = mode
            self.heldNow = heldNow
            self.heldEver = heldEver
            self.hoursWasted = hoursWasted
            self.bytesSent = bytesSent
            self.secondsPerByte = secondsPerByte
            self.shed = shed
            self.letGo = letGo
        }
    }

    /// A list that somebody else keeps.
    public struct Subscription: Codable, Equatable, Sendable {
        public var name: String
        public var entries = 0
        /// When it was last found to be up to date, and when it last changed; since the start.
        public var checked: String?
        public var changed: String?
        /// Lines of it that are no entries.
        public var badLines = 0
        /// Why it was not read last time; what there was stays in force.
        public var failure: String?

        public init(name: String) {
            self.name = name
        }
    }

    /// What a DNS service has done since the start.
    public struct DNSService: Codable, Equatable, Sendable {
        public var name: String
        public var zones: [String]
        /// All that came, by UDP and TCP.
        public var queries: UInt64
        public var listed: UInt64
        public var notListed: UInt64
        /// Of strangers, outside of the zones, and zone transfers.
        public var refused: UInt64
        public var malformed: UInt64
        /// Not answered, or only asked to come by TCP.
        public var rateLimited: UInt64
        public var overTCP: UInt64
        /// Responses that the system did not take.
        public var unsent: UInt64

        public init(
            name: String, zones: [String], queries: UInt64, listed: UInt64, notListed: UInt64, refused: UInt64, malformed: UInt64,
            rateLimited: UInt64, overTCP: UInt64, unsent: UInt64
        ) {
            self.name = name
            self.zones = zones
            self.queries = queries
            self.listed = listed
            self.notListed = notListed
            self.refused = refused
            self.malformed = malformed
            self.rateLimited = rateLimited
            self.overTCP = overTCP
            self.unsent = unsent
        }
    }

    /// What traps have learnt.
    public struct Harvested: Codable, Equatable, Sendable {
        /// Entries of each colour now.
        public var black = 0
        public var brown = 0
        public var yellow = 0
        public var white = 0
        /// Clients at fake MXs that are remembered.
        public var sightings = 0
        // Since the start.
        public var visits: UInt64 = 0
        public var trapMail: UInt64 = 0
        public var listed: UInt64 = 0
        public var selfRemoved: UInt64 = 0

        public init() {}
    }

    /// Limits on strangers and accounts.
    public struct Limits: Codable, Equatable, Sendable {
        public var throttleMode: String
        public var accountsMode: String
        public var limits: [String]
        /// Blocks, domains and accounts that are counted, and what they take.
        public var rows: Int
        public var bytes: Int
        /// Rows that gave way since there were too many.
        public var evicted: UInt64
        /// Sessions that wait now, and how many may.
        public var heldNow: Int
        public var heldAtMost: Int
        /// Clients that are refused at connect now.
        public var refusedNow: Int
        public var suspendedAccounts: Int
        /// Answers since the start.
        public var held: UInt64
        public var deferred: UInt64
        public var refused: UInt64
        public var accountsRefused: UInt64
        public var accountsHeld: UInt64
        public var holdsDenied: UInt64

        public init(
            throttleMode: String, accountsMode: String, limits: [String], rows: Int, bytes: Int, evicted: UInt64, heldNow: Int,
            heldAtMost: Int, refusedNow: Int, suspendedAccounts: Int, held: UInt64, deferred: UInt64, refused: UInt64,
            accountsRefused: UInt64, accountsHeld: UInt64, holdsDenied: UInt64
        ) {
            self.throttleMode = throttleMode
            self.accountsMode = accountsMode
            self.limits = limits
            self.rows = rows
            self.bytes = bytes
            self.evicted = evicted
            self.heldNow = heldNow
            self.heldAtMost = heldAtMost
            self.refusedNow = refusedNow
            self.suspendedAccounts = suspendedAccounts
            self.held = held
            self.deferred = deferred
            self.refused = refused
            self.accountsRefused = accountsRefused
            self.accountsHeld = accountsHeld
            self.holdsDenied = holdsDenied
        }
    }

    public struct StoreState: Codable, Equatable, Sendable {
        /// `ok`, or what is wrong.
        public var state: String
        public var triplets: Int
        public var identities: Int
        public var decisions: Int
        public var entries: Int
        /// On disk.
        public var bytes: Int64

        public init(state: String, triplets: Int = 0, identities: Int = 0, decisions: Int = 0, entries: Int = 0, bytes: Int64 = 0) {
            self.state = state
            self.triplets = triplets
            self.identities = identities
            self.decisions = decisions
            self.entries = entries
            self.bytes = bytes
        }
    }

    public var version: String
    public var processID: Int32
    public var startedAt: String
    public var uptimeSeconds: Int64
    public var hostname: String
    public var dataDirectory: String
    public var greylistMode: String
    public var listeners: [Listener]
    public var traps: [Trap] = []
    public var gateways: [Gateway] = []
    /// `nil` where nothing is looked up.
    public var resolver: Resolver?
    public var dnsLists: [DNSList] = []
    public var evidence: Evidence?
    public var checks: [CheckCount] = []
    public var dnsServices: [DNSService] = []
    public var subscriptions: [Subscription] = []
    /// `nil` where nobody harvests.
    public var harvest: Harvested?
    public var counts: Counts
    /// What limits have come to; `nil` where nobody counts.
    public var limits: Limits?
    /// What went wrong with the store last; `nil` where nothing did.
    public var lastStoreFailure: String?
    /// The handler asks the store for it.
    public var store: StoreState?

    public init(
        version: String, processID: Int32, startedAt: String, uptimeSeconds: Int64, hostname: String, dataDirectory: String,
        greylistMode: String, listeners: [Listener], counts: Counts, lastStoreFailure: String? = nil, store: StoreState? = nil
    ) {
        self.version = version
        self.processID = processID
        self.startedAt = startedAt
        self.uptimeSeconds = uptimeSeconds
        self.hostname = hostname
        self.dataDirectory = dataDirectory
        self.greylistMode = greylistMode
        self.listeners = listeners
        self.counts = counts
        self.lastStoreFailure = lastStoreFailure
        self.store = store
    }
}

/// What would become of an attempt now, and why.
public struct Explanation: Codable, Equatable, Sendable {
    public struct CauseReport: Codable, Equatable, Sendable {
        public var check: String
        public var word: String
        public var text: String
        /// What the check adds to the score; `nil` for one that has none.
        public var score: Double?
    }

    public struct TripletReport: Codable, Equatable, Sendable {
        public var identity: String
        /// Normalised, as it is kept.
        public var sender: String
        public var recipient: String
        public var isKnown: Bool
        public var firstSeen: String?
        public var lastSeen: String?
        public var passedAt: String?
        public var deferrals: UInt32?
        public var passes: UInt32?
        public var expires: String?
    }

    public struct IdentityReport: Codable, Equatable, Sendable {
        public var identity: String
        /// Messages that passed.
        public var passes: UInt32
        /// Messages that are needed to be proven; 0 for never.
        public var provenAfter: UInt32
        public var lastSeen: String?
        public var expires: String?
    }

    /// One check, whether it fired or not.
    public struct CheckReport: Codable, Equatable, Sendable {
        public var check: String
        public var mode: String
        /// What it adds where it fires; lists, countries and networks have a weight each.
        public var weight: Double
        public var fired: Bool
        /// What it added; 0 in shadow.
        public var added: Double
        /// What it fired on.
        public var evidence: String
    }

    /// Something that was looked up.
    public struct FactReport: Codable, Equatable, Sendable {
        public var fact: String
        public var value: String
    }

    /// `accept`, `hold`, `defer`, `reject`.
    public var verdict: String
    /// The stage at which it is decided: `RCPT`, or `DATA` for the null sender.
    public var stage: String
    public var causes: [CauseReport]
    public var passesAt: String?
    public var passesInSeconds: Int64?
    /// The header that the message would get.
    public var header: String?
    public var identities: [IdentityReport]
    public var triplets: [TripletReport]
    /// The sum of what all checks add; `nil` where nothing is scored, as for exempt clients.
    public var score: Double?
    public var checks: [CheckReport] = []
    /// What look-ups found out; empty where nothing was looked up.
    public var facts: [FactReport] = []
    /// How old the oldest of that is.
    public var factsAgeSeconds: Int64?
    /// Every limit that bears on it, with what is left.
    public var limits: [LimitReport] = []
}

public struct EntryReport: Codable, Equatable, Sendable {
    public var list: ListEntry.List
    public var kind: ListEntry.Kind
    public var entry: String
    public var added: String
    public var expires: String?
    public var note: String
    /// `harvest`, or the subscription that it comes from; `nil` for the admin's own.
    public var source: String?
    /// Of the harvest and of subscriptions.
    public var colour: ListColour?
    /// Of the harvest: how often there was evidence for it, and where, in that order.
    public var evidence: Int?
    public var seenAt: [String]?
}

public struct ExportReport: Codable, Equatable, Sendable {
    /// Where it was written to.
    public var path: String
    public var format: String
    public var entries: Int

    public init(path: String, format: String, entries: Int) {
        self.path = path
        self.format = format
        self.entries = entries
    }
}

public struct DecisionReport: Codable, Equatable, Sendable {
    public var reference: String
    public var time: String
    public var listener: String
    public var stage: String
    public var address: String
    public var name: String
    public var helo: String
    public var sender: String
    public var recipient: String
    public var account: String
    public var verdict: String
    public var reason: String
    public var passesAt: String?
}

/// A triplet that was deferred and has not passed.
public struct WaitingReport: Codable, Equatable, Sendable {
    public var decision: DecisionReport
    public var firstSeen: String
    public var deferrals: UInt32
    /// From here on a retry passes.
    public var passesAt: String
    /// 0 when a retry passes now.
    public var passesInSeconds: Int64
    /// Up to here a retry passes.
    public var expires: String
}

public struct ReleaseReport: Codable, Equatable, Sendable {
    public var recipient: String
    public var sender: String?
    public var client: String?
    public var expires: String
}

public struct LessonReport: Codable, Equatable, Sendable {
    public var triplets: Int
    public var clients: Int
    public var correspondents: Int
    /// Too old for the configured window and lifetime, of clients that cannot be proven, or not understood.
    public var skipped: Int
    /// Of all kinds: what the store knows already, so that nothing changes.
    public var known: Int

    public init(triplets: Int = 0, clients: Int = 0, correspondents: Int = 0, skipped: Int = 0, known: Int = 0) {
        self.triplets = triplets
        self.clients = clients
        self.correspondents = correspondents
        self.skipped = skipped
        self.known = known
    }
}

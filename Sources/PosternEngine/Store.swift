import PosternCore

/// A decision as a store hands it on: what to change and what to keep for people to read. A class, since it crosses threads
/// and holds much: handing it on costs one reference.
public final class Ruling: Sendable {
    public let decision: Decision
    /// `nil` for what nobody will ask about.
    public let record: DecisionRecord?
    /// Whether there is a record; to look for it costs more.
    public let isKept: Bool

    public init(_ decision: consuming Decision, record: consuming DecisionRecord? = nil) {
        self.decision = decision
        isKept = record != nil
        self.record = record
    }
}

/// What a decision costs the store: rows to read, the decision taken on them, and its changes and record committed, as
/// one step against every other transaction of this process.
public protocol StoreTransaction: AnyObject, Sendable {
    var needs: Needs { get }
    /// Whether somebody waits for it to be committed. What nobody waits for may be kept back for some milliseconds, so that it shares
    /// its commit with others.
    var isAwaited: Bool { get }
    /// Decides on the evidence; `nil` where the rows alone decide nothing, and nothing is changed then. Called once, on the store's own
    /// thread; must not block.
    func decide(_ evidence: Evidence) -> Ruling?
    /// Called once, on the store's own thread, after the changes are committed, never before; must not block. A transaction
    /// that is refused (overloaded, closed, store out of order) is completed within `submit`, on its caller's thread.
    func completed(_ result: Result<Ruling?, StoreFailure>)
}

extension StoreTransaction {
    public var isAwaited: Bool { true }
}

/// A transaction made of closures, for what is done seldom.
public final class BlockTransaction: StoreTransaction {
    public let needs: Needs
    public let isAwaited: Bool
    private let decision: @Sendable (Evidence) -> (Decision, DecisionRecord?)
    private let completion: @Sendable (Result<(Decision, DecisionRecord?), StoreFailure>) -> Void

    public init(
        needs: Needs, isAwaited: Bool = true, decide: @escaping @Sendable (Evidence) -> (Decision, DecisionRecord?),
        completion: @escaping @Sendable (Result<(Decision, DecisionRecord?), StoreFailure>) -> Void
    ) {
        self.needs = needs
        self.isAwaited = isAwaited
        decision = decide
        self.completion = completion
    }

    public func decide(_ evidence: Evidence) -> Ruling? {
        let (decision, record) = decision(evidence)
        return Ruling(decision, record: record)
    }

    public func completed(_ result: Result<Ruling?, StoreFailure>) {
        completion(result.flatMap { ruling in ruling.map { .success(($0.decision, $0.record)) } ?? .failure(.undecided) })
    }
}

/// Why a store did not do what it was asked.
public struct StoreFailure: Error, Equatable, Sendable, CustomStringConvertible {
    public enum Kind: String, Sendable {
        /// Another process holds the lock.
        case locked
        /// The disk, or the quota, is full.
        case full
        /// The data cannot be read as what they should be.
        case corrupt
        /// Written by a later version of the program.
        case newer
        /// The file or folder may not be opened or written.
        case denied
        /// A file or folder cannot be made or opened at its path: a folder is missing, or something else is in the way.
        case uncreatable
        /// More transactions wait than the bound allows.
        case overloaded
        case closed
        case other
    }

    public var kind: Kind
    /// What happened and what to do, for the admin.
    public var message: String

    public init(_ kind: Kind, _ message: String) {
        self.kind = kind
        self.message = message
    }

    public var description: String { message }

    /// Of a transaction that decides whatever the rows say.
    public static let undecided = StoreFailure(.other, "the transaction came to no decision")
}

/// A triplet that waits for its retry, as `greylist list` shows it.
public struct WaitingTriplet: Equatable, Sendable {
    /// The last decision that deferred it.
    public var record: StoredDecision
    public var row: TripletRow

    public init(record: StoredDecision, row: TripletRow) {
        self.record = record
        self.row = row
    }
}

/// A decision as it is read back: all in words.
public struct StoredDecision: Equatable, Sendable {
    public var reference: Reference
    public var time: WallTime
    public var listener: String
    public var stage: String
    /// Empty where it was not known, as with the next four.
    public var address: String
    public var name: String
    public var helo: String
    public var sender: String
    public var recipient: String
    public var account: String
    /// The verdict's name.
    public var action: String
    /// The causes in words, joined by `; `, the deciding one first.
    public var reason: String
    /// By the wall clock.
    public var passesAt: WallTime?

    public init(
        reference: Reference, time: WallTime, listener: String, stage: String, address: String, name: String, helo: String, sender: String,
        recipient: String, account: String, action: String, reason: String, passesAt: WallTime?
    ) {
        self.reference = reference
        self.time = time
        self.listener = listener
        self.stage = stage
        self.address = address
        self.name = name
        self.helo = helo
        self.sender = sender
        self.recipient = recipient
        self.account = account
        self.action = action
        self.reason = reason
        self.passesAt = passesAt
    }
}

/// Which decisions to read back; every given part must match, texts as a part of the field without regard to case.
public struct DecisionFilter: Equatable, Sendable {
    public var reference: Reference?
    public var address: String?
    public var sender: String?
    public var recipient: String?
    /// Which of them are all of a field, or of one of its recipients; the others are parts, without regard to the case of ASCII letters.
    public var wholes: Fields = []
    /// Only clients in it.
    public var network: Prefix?
    public var since: WallTime?
    /// Only older ones: to go on where a search ended.
    public var before: Reference?
    /// 1...10,000.
    public var limit: Int
    /// Only so many of the newest are looked at; `nil` for all.
    public var mostSeen: Int?

    public struct Fields: OptionSet, Sendable {
        public let rawValue: UInt8

        public init(rawValue: UInt8) { self.rawValue = rawValue }

        public static let address = Fields(rawValue: 1)
        public static let sender = Fields(rawValue: 2)
        public static let recipient = Fields(rawValue: 4)
    }

    public init(
        reference: Reference? = nil, address: String? = nil, sender: String? = nil, recipient: String? = nil, since: WallTime? = nil,
        before: Reference? = nil, limit: Int = 100, mostSeen: Int? = nil
    ) {
        self.mostSeen = mostSeen
        self.reference = reference
        self.address = address
        self.sender = sender
        self.recipient = recipient
        self.since = since
        self.before = before
        self.limit = min(max(limit, 1), 10_000)
    }
}

public struct StoreStatistics: Equatable, Sendable {
    public var triplets: Int
    public var identities: Int
    public var decisions: Int
    public var entries: Int
    /// Octets on disk, with journals; 0 for a store in memory.
    public var bytes: Int64

    public init(triplets: Int, identities: Int, decisions: Int, entries: Int, bytes: Int64) {
        self.triplets = triplets
        self.identities = identities
        self.decisions = decisions
        self.entries = entries
        self.bytes = bytes
    }
}

/// The memory behind the engine. Memory and SQLite keep to the same conformance suite; so will a fleet's store.
///
/// All calls may come from any thread at once. Reads see every transaction whose completion was called before.
public protocol Store: AnyObject, Sendable {
    /// Queues a transaction; transactions that wait together are committed together. Never blocks; where more than
    /// the bound are waiting it completes at once with `.overloaded`.
    func submit(_ transaction: any StoreTransaction)

    /// The rows as they are, changing nothing.
    func read(_ needs: Needs) async throws(StoreFailure) -> Evidence

    // The admin's entries.
    func entries() async throws(StoreFailure) -> [ListEntry]
    /// Those of the same list, kind and pattern as these; costs what these are, however many there are.
    func entries(like entries: [ListEntry]) async throws(StoreFailure) -> [ListEntry]
    func releases() async throws(StoreFailure) -> [Release]
    /// Adds entries, each in place of one of the same list, kind and pattern.
    func insert(_ entries: [ListEntry]) async throws(StoreFailure)
    /// Removes an entry; `false` when there was none.
    func remove(_ list: ListEntry.List, _ kind: ListEntry.Kind, _ pattern: Pattern) async throws(StoreFailure) -> Bool
    func insert(_ release: Release) async throws(StoreFailure)
    /// Removes the release for the same recipient, sender and client; `false` when there was none.
    func remove(_ release: Release) async throws(StoreFailure) -> Bool

    // Counts and accounts.
    /// Keeps rows of counts, each in place of one of the same table and key. Written in small turns between decisions.
    func keep(_ rows: [CountRow]) async throws(StoreFailure)
    /// Rows of counts in the order of table and key, those behind a position, at most so many; `nil` to begin.
    func counts(after position: CountPosition?, limit: Int) async throws(StoreFailure) -> [CountRow]
    /// Keeps a suspension, in place of one of the same account.
    func insert(_ suspension: Suspension) async throws(StoreFailure)
    /// By account.
    func suspensions() async throws(StoreFailure) -> [Suspension]
    /// Removes a suspension; `false` when there was none.
    func removeSuspension(of account: String) async throws(StoreFailure) -> Bool

    // What people look at.
    /// The newest first.
    func decisions(_ filter: DecisionFilter) async throws(StoreFailure) -> [StoredDecision]
    /// Triplets that were deferred and have not passed, the newest first; those that match every given part.
    func waiting(_ filter: DecisionFilter, now: WallTime) async throws(StoreFailure) -> [WaitingTriplet]
    /// Forgets all triplet rows of the decisions that match, as if they had never been seen; returns how many.
    func forget(_ filter: DecisionFilter) async throws(StoreFailure) -> Int
    /// As `forget`, and hands over what was forgotten, for `restore`.
    func forgetReversibly(_ filter: DecisionFilter) async throws(StoreFailure) -> ForgottenRows
    /// Puts rows back where there is nothing newer; returns how many.
    func restore(_ rows: ForgottenRows) async throws(StoreFailure) -> Int
    func statistics() async throws(StoreFailure) -> StoreStatistics

    // History.
    /// Adds a minute's figures to what is known of that minute.
    func record(_ minute: HistoryMinute) async throws(StoreFailure)
    /// Groups of minutes of which something is known, the oldest first.
    func history(_ span: HistorySpan) async throws(StoreFailure) -> [HistoryMinute]
    /// Adds an entry, whatever its `id` says, and returns the one it has. The oldest make room.
    func append(_ entry: AuditEntry) async throws(StoreFailure) -> Int64
    /// Entries with an `id` below `before`, the newest first.
    func audit(before: Int64?, limit: Int) async throws(StoreFailure) -> [AuditEntry]
    /// Marks an entry, and throws away how it could be undone; `false` where it is marked already, or is not there.
    func markUndone(_ id: Int64, at time: WallTime) async throws(StoreFailure) -> Bool
    /// Throws away a bounded number of minutes and entries that are older; returns how many.
    func expireHistory(before minute: Int64, auditBefore: WallTime) async throws(StoreFailure) -> Int

    // The harvest.
    func harvest() async throws(StoreFailure) -> HarvestImage
    /// All of it, or nothing.
    func keep(_ changes: HarvestChanges) async throws(StoreFailure)

    // Upkeep.
    /// Throws away a bounded number of rows that expired before `now`, and decisions older than `decisionsBefore`;
    /// returns how many. Short enough never to stall an answer: call it again and again.
    func expire(now: WallTime, decisionsBefore: WallTime) async throws(StoreFailure) -> Int
    /// Makes searches quicker, in small steps beside everything else; to be called again and again.
    func indexStep() async throws(StoreFailure)
    /// A consistent copy while the store is in use; refuses to overwrite a file.
    func backup(to path: String) async throws(StoreFailure)
    func anchor() async throws(StoreFailure) -> SteadyClock.Anchor?
    func keep(_ anchor: SteadyClock.Anchor) async throws(StoreFailure)
    /// Finishes what is queued, then closes; later calls fail with `.closed`.
    func close() async
}

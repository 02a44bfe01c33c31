import PosternCore
import PosternEngine

/// What a verb asks of the daemon, or of the store where no daemon runs.
public enum ControlRequest: Codable, Equatable, Sendable {
    case status
    case explain(Question)
    case add(entries: [EntryDraft])
    case remove(EntryName)
    /// All entries of a list.
    case entries(list: ListEntry.List)
    case waiting(Search)
    case forget(Search)
    case release(ReleaseDraft)
    /// A consistent copy of the store; the path is the daemon's to open, so it must be absolute.
    case backup(path: String)
    case decisions(Search)
    case reload
    /// What another greylister had learnt.
    case learn(Lessons)

    /// Entries in one `add`, and triplets and clients in one `learn`.
    public static let maximumBatch = 1000
}

/// An attempt to be explained, in the words of the command line.
public struct Question: Codable, Equatable, Sendable {
    public var address: String
    /// The forward-confirmed reverse name; empty for none.
    public var name: String
    public var helo: String
    /// Without brackets; empty for the null sender.
    public var sender: String
    public var recipient: String
    /// The account it authenticated as; empty for none.
    public var account: String

    public init(address: String, name: String = "", helo: String = "", sender: String, recipient: String, account: String = "") {
        self.address = address
        self.name = name
        self.helo = helo
        self.sender = sender
        self.recipient = recipient
        self.account = account
    }
}

/// An entry to be added.
public struct EntryDraft: Codable, Equatable, Sendable {
    public var list: ListEntry.List
    /// `nil`: an address is a client, a domain or mailbox a sender.
    public var kind: ListEntry.Kind?
    public var pattern: String
    /// How long it counts, in milliseconds; `nil` for ever.
    public var milliseconds: Int64?
    public var note: String

    public init(list: ListEntry.List, kind: ListEntry.Kind? = nil, pattern: String, for span: WallTime.Span? = nil, note: String = "") {
        self.list = list
        self.kind = kind
        self.pattern = pattern
        self.milliseconds = span?.milliseconds
        self.note = note
    }

    /// In octets.
    public static let maximumNote = 1000
}

public struct EntryName: Codable, Equatable, Sendable {
    public var list: ListEntry.List
    public var kind: ListEntry.Kind?
    public var pattern: String

    public init(list: ListEntry.List, kind: ListEntry.Kind? = nil, pattern: String) {
        self.list = list
        self.kind = kind
        self.pattern = pattern
    }
}

/// Which decisions, or which waiting triplets. Texts match as a part, without regard to case; `nil` matches all.
public struct Search: Codable, Equatable, Sendable {
    public var reference: String?
    public var address: String?
    public var sender: String?
    public var recipient: String?
    /// Not older than this, in milliseconds.
    public var age: Int64?
    /// 1...10,000.
    public var limit: Int

    public init(
        reference: String? = nil, address: String? = nil, sender: String? = nil, recipient: String? = nil, age: WallTime.Span? = nil,
        limit: Int = 100
    ) {
        self.reference = reference
        self.address = address
        self.sender = sender
        self.recipient = recipient
        self.age = age?.milliseconds
        self.limit = limit
    }

    /// Whether it would match everything.
    public var isUnbounded: Bool { reference == nil && address == nil && sender == nil && recipient == nil && age == nil }
}

public struct ReleaseDraft: Codable, Equatable, Sendable {
    public var recipient: String
    /// `nil` for any sender, empty for the null sender.
    public var sender: String?
    /// An address or network; `nil` for any.
    public var client: String?
    public var milliseconds: Int64

    public init(recipient: String, sender: String? = nil, client: String? = nil, for span: WallTime.Span) {
        self.recipient = recipient
        self.sender = sender
        self.client = client
        self.milliseconds = span.milliseconds
    }
}

/// What another greylister had learnt, in its own terms: the receiver makes keys and rows of it.
public struct Lessons: Codable, Equatable, Sendable {
    public struct Triplet: Codable, Equatable, Sendable {
        /// The address, or the first address of the network.
        public var address: String
        public var sender: String
        public var recipient: String
        /// Unix seconds.
        public var firstSeen: Int64
        public var lastSeen: Int64
        /// Whether it has passed; else it waits since `firstSeen`.
        public var passed: Bool

        public init(address: String, sender: String, recipient: String, firstSeen: Int64, lastSeen: Int64, passed: Bool) {
            self.address = address
            self.sender = sender
            self.recipient = recipient
            self.firstSeen = firstSeen
            self.lastSeen = lastSeen
            self.passed = passed
        }
    }

    public struct Client: Codable, Equatable, Sendable {
        public var address: String
        /// Messages that passed.
        public var passes: UInt32
        /// Unix seconds.
        public var lastSeen: Int64

        public init(address: String, passes: UInt32, lastSeen: Int64) {
            self.address = address
            self.passes = passes
            self.lastSeen = lastSeen
        }
    }

    public var triplets: [Triplet]
    public var clients: [Client]

    public init(triplets: [Triplet] = [], clients: [Client] = []) {
        self.triplets = triplets
        self.clients = clients
    }
}

extension ListEntry.List: Codable {}
extension ListEntry.Kind: Codable {}

import PosternCore
import PosternEngine

/// What a verb asks of the daemon, or of the store where no daemon runs.
public enum ControlRequest: Codable, Equatable, Sendable {
    case status
    case explain(Question)
    /// With `more`, others follow soon: they are kept at once, and come into force with the last or some seconds later, so that a long
    /// list does not set all lists in force again with each part of it.
    case add(entries: [EntryDraft], more: Bool? = nil)
    /// Entries of an import, as `add` takes them. One that counts as long already stays as it is, and one that is prolonged keeps its
    /// note. With `isTrial` it is only told what would be taken.
    case takeOver(entries: [EntryDraft], more: Bool? = nil, isTrial: Bool? = nil)
    case remove(EntryName)
    /// A listed address asks, over a connection from `requester`, to be taken off our traps' lists.
    case removeItself(address: String, requester: String)
    /// The entries of a list: with `named` that one and those that hold it, with `kind` those of that kind.
    case entries(list: ListEntry.List, named: String? = nil, kind: ListEntry.Kind? = nil)
    case waiting(Search)
    case forget(Search)
    case release(ReleaseDraft)
    /// A consistent copy of the store; the path is the daemon's to open, so it must be absolute.
    case backup(path: String)
    case decisions(Search)
    case reload
    /// What another greylister had learnt, or a log tells.
    case learn(Lessons)
    /// What of that would be learnt; nothing is.
    case tryToLearn(Lessons)
    /// What became of the mail, from the recorded decisions.
    case report(ReportDraft)
    /// What an admin wants done about one decision.
    case act(ActionDraft)
    /// What admins changed, the newest first; only changes before that number.
    case changes(before: Int64?, limit: Int)
    /// Takes a change back.
    case undo(change: Int64)
    case history(HistoryDraft)
    /// What is published, written to a file of the daemon's.
    case export(ExportDraft)
    /// Accounts that are suspended.
    case accounts
    /// Lets a suspended account go on.
    case releaseAccount(name: String)
    /// Who is near a limit or past it, the furthest first; at most so many.
    case limits(limit: Int)
    /// What an admin wants done about one of them.
    case actOnLimited(LimitedDraft)
    /// What traps have put on lists.
    case harvest
    /// What an admin wants done about one of those.
    case actOnHarvest(HarvestDraft)

    /// Entries in one `add` or `takeOver`, and rows in one `learn` or `tryToLearn`.
    public static let maximumBatch = 1000
}

/// What to export, and as what.
public struct ExportDraft: Codable, Equatable, Sendable {
    /// `rbldnsd`, `nftables`, `text`, `csv`.
    public var format: String
    /// Empty for black alone.
    public var colours: [ListColour]
    /// `own`, `harvest`, names of subscriptions; `nil` for all.
    public var sources: [String]?
    /// Of a DNS service; `nil` for the first.
    public var zone: String?

    public init(format: String, colours: [ListColour] = [], sources: [String]? = nil, zone: String? = nil) {
        self.format = format
        self.colours = colours
        self.sources = sources
        self.zone = zone
    }
}

/// An attempt to be explained, in the words of the command line.
public struct Question: Codable, Equatable, Sendable {
    /// A decision whose client and envelope take the place of all that follows; `nil` for none.
    public var reference: String?
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

    /// The attempt of a decision, as if it came again.
    public init(reference: String) {
        self.init(address: "", sender: "", recipient: "")
        self.reference = reference
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
    /// Until when it counts, by the wall clock, in milliseconds since 1970; counts before `milliseconds`.
    public var until: Int64?
    public var note: String
    /// Take it even where it is most likely a slip; `nil` for no.
    public var force: Bool?

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
    /// A part of the address, the sender or the recipient; or the reference. Only decisions are searched for it.
    public var anywhere: String?
    /// Not older than this, in milliseconds.
    public var age: Int64?
    /// 1...10,000.
    public var limit: Int

    public init(
        reference: String? = nil, address: String? = nil, sender: String? = nil, recipient: String? = nil, anywhere: String? = nil,
        age: WallTime.Span? = nil, limit: Int = 100
    ) {
        self.reference = reference
        self.address = address
        self.sender = sender
        self.recipient = recipient
        self.anywhere = anywhere
        self.age = age?.milliseconds
        self.limit = limit
    }

    /// Digits, as addresses have them, with what stands between.
    public static func mayBePart(ofAddress text: String) -> Bool {
        text.utf8.allSatisfy { $0 < 0x80 && (Character(Unicode.Scalar($0)).isHexDigit || ".:".utf8.contains($0)) }
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

/// Which decisions to report on.
public struct ReportDraft: Codable, Equatable, Sendable {
    /// Not older than this, in milliseconds.
    public var age: Int64
    /// Domains and senders that are listed, 1...1,000.
    public var rows: Int

    public init(age: WallTime.Span, rows: Int = 20) {
        self.age = age.milliseconds
        self.rows = rows
    }
}

/// What another greylister had learnt, or a log tells, in its own terms: the receiver makes keys and rows of it.
public struct Lessons: Codable, Equatable, Sendable {
    public struct Triplet: Codable, Equatable, Sendable {
        /// The address, or the first address of the network.
        public var address: String
        /// The confirmed reverse name; `nil` where it is not known.
        public var name: String?
        public var sender: String
        public var recipient: String
        /// Unix seconds.
        public var firstSeen: Int64
        public var lastSeen: Int64
        /// Whether it has passed; else it waits since `firstSeen`.
        public var passed: Bool

        public init(
            address: String, name: String? = nil, sender: String, recipient: String, firstSeen: Int64, lastSeen: Int64, passed: Bool
        ) {
            self.address = address
            self.name = name
            self.sender = sender
            self.recipient = recipient
            self.firstSeen = firstSeen
            self.lastSeen = lastSeen
            self.passed = passed
        }
    }

    public struct Client: Codable, Equatable, Sendable {
        public var address: String
        /// The confirmed reverse name; `nil` where it is not known.
        public var name: String?
        /// Messages that passed.
        public var passes: UInt32
        /// Unix seconds.
        public var lastSeen: Int64

        public init(address: String, name: String? = nil, passes: UInt32, lastSeen: Int64) {
            self.address = address
            self.name = name
            self.passes = passes
            self.lastSeen = lastSeen
        }
    }

    /// Somebody that a user has written to.
    public struct Correspondent: Codable, Equatable, Sendable {
        public var correspondent: String
        public var user: String
        /// Unix seconds.
        public var lastWritten: Int64

        public init(correspondent: String, user: String, lastWritten: Int64) {
            self.correspondent = correspondent
            self.user = user
            self.lastWritten = lastWritten
        }
    }

    public var triplets: [Triplet]
    public var clients: [Client]
    public var correspondents: [Correspondent]

    public init(triplets: [Triplet] = [], clients: [Client] = [], correspondents: [Correspondent] = []) {
        self.triplets = triplets
        self.clients = clients
        self.correspondents = correspondents
    }
}

extension ListEntry.List: Codable {}
extension ListEntry.Kind: Codable {}

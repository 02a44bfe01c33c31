import PosternCore

/// What happened within a minute, or within several of them put together.
public struct HistoryMinute: Equatable, Sendable {
    /// Minutes since 1970 by the wall clock; of several the first.
    public var minute: Int64
    /// Decisions, by verdict; `accepted` is without those that were held, `rejected` with those that were tarpitted or dropped.
    public var accepted: Int64 = 0
    public var held: Int64 = 0
    public var deferred: Int64 = 0
    public var rejected: Int64 = 0
    /// Attempts that passed after having been deferred, and for how long altogether, in milliseconds.
    public var delayed: Int64 = 0
    public var delayMilliseconds: Int64 = 0
    /// Answers given without the store.
    public var storeFailures: Int64 = 0
    /// Clients' time that traps wasted, in milliseconds, and the octets that this took.
    public var trapMilliseconds: Int64 = 0
    public var trapOctets: Int64 = 0
    /// The most clients at once that were made to wait, and that were in a trap.
    public var mostWaiting: Int64 = 0
    public var mostTrapped: Int64 = 0

    public init(minute: Int64) {
        self.minute = minute
    }

    public static func minute(of time: WallTime) -> Int64 { time.milliseconds / 60_000 }

    public var time: WallTime { WallTime(seconds: minute * 60) }

    /// Counts that are added up.
    public static let sums: [WritableKeyPath<HistoryMinute, Int64> & Sendable] = [
        \.accepted, \.held, \.deferred, \.rejected, \.delayed, \.delayMilliseconds, \.storeFailures, \.trapMilliseconds, \.trapOctets,
    ]
    /// Values of which the greatest counts.
    public static let maxima: [WritableKeyPath<HistoryMinute, Int64> & Sendable] = [\.mostWaiting, \.mostTrapped]

    /// Takes another minute's figures in.
    public mutating func add(_ other: HistoryMinute) {
        for path in Self.sums { self[keyPath: path] = self[keyPath: path] &+ other[keyPath: path] }
        for path in Self.maxima { self[keyPath: path] = max(self[keyPath: path], other[keyPath: path]) }
    }

    /// Whether nothing happened.
    public var isEmpty: Bool { (Self.sums + Self.maxima).allSatisfy { self[keyPath: $0] == 0 } }
}

/// Which minutes of the history to read back, and how finely.
public struct HistorySpan: Equatable, Sendable {
    /// The first minute, and the one after the last.
    public var from: Int64
    public var to: Int64
    /// Minutes that are put together, 1 or more; groups begin at multiples of it.
    public var step: Int64

    /// Groups that are handed over at most: the newest.
    public static let maximumGroups = 10_000

    public init(from: Int64, to: Int64, step: Int64 = 1) {
        self.from = from
        self.to = to
        self.step = max(step, 1)
    }

    /// The minute under which another is put.
    public func group(of minute: Int64) -> Int64 { minute - ((minute % step) + step) % step }
}

/// Something that an admin changed: who, when, what, and how it is taken back.
public struct AuditEntry: Equatable, Sendable {
    /// Rising; 0 for one that is not stored yet.
    public var id: Int64
    /// By the wall clock.
    public var time: WallTime
    /// By which way it was asked for.
    public var who: String
    /// A sentence.
    public var what: String
    /// How it is taken back, in the terms of whoever wrote it; `nil` where it cannot be.
    public var undo: String?
    public var undoneAt: WallTime?

    public init(id: Int64 = 0, time: WallTime, who: String, what: String, undo: String? = nil, undoneAt: WallTime? = nil) {
        self.id = id
        self.time = time
        self.who = who
        self.what = what
        self.undo = undo
        self.undoneAt = undoneAt
    }

    /// Entries that are kept; the oldest make room.
    public static let maximumEntries = 10_000
}

/// Triplet rows that were forgotten, so that they can be put back. Only the store that handed them over can read them.
public struct ForgottenRows: Equatable, Sendable {
    public var count: Int
    /// `nil` where there were more than `maximumRows`: then they cannot be put back.
    public var data: [UInt8]?

    public static let maximumRows = 1000

    public init(count: Int, data: [UInt8]?) {
        self.count = count
        self.data = data
    }
}

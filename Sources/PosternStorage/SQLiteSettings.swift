import PosternCore

/// How a `SQLiteStore` keeps its data. The defaults are right for most.
public struct SQLiteSettings: Sendable, Equatable {
    /// What a commit has reached when its answer leaves.
    public enum Sync: String, CaseIterable, Sendable {
        /// The operating system: a process that is killed loses nothing, a power cut may lose the last second.
        case normal
        /// The disk.
        case full
    }

    /// Who else may have the store open.
    public enum Lock: Sendable {
        /// Nobody who takes a lock.
        case exclusive
        /// Others that share it.
        case shared
    }

    public var sync = Sync.normal
    /// `nil` takes no lock.
    public var lock: Lock?
    /// How long a lock that another has is waited for.
    public var lockPatience = WallTime.Span.seconds(3)
    /// Transactions that may wait for the writer; 1 or more. Beyond it they fail with `.overloaded`.
    public var maximumWaiting = 10_000
    /// Transactions that are committed together at most; 1...10,000.
    public var maximumBatch = 256
    /// Whether decisions are written at all.
    public var keepsDecisions = true
    /// Decisions that are kept at most, whatever their age; 1 or more. One takes about 250 octets of disk.
    public var maximumDecisions = 2_000_000
    /// Changed triplets that are gathered in memory, and in a journal, before they are merged into their lots; 1 or more. Of a large
    /// table up to twice as many. Up to twice what is gathered is in memory at a time, at about 60 octets each.
    public var mergeRows = 600_000
    /// Memory for the writer's pages, in KiB; 256 or more. More is slower: SQLite goes through all of it after a commit
    /// that split a page, and what is not there the operating system has.
    public var cacheKibibytes = 8192
    /// Memory for each reader's pages, in KiB.
    public var readerCacheKibibytes = 4096
    /// Connections for what people look at; 1...8.
    public var readers = 2
    /// How long a call waits for a lock that another process holds.
    public var busyTimeout = WallTime.Span.milliseconds(1000)
    /// How often a store that has failed tries whether it works again.
    public var probeInterval = WallTime.Span.milliseconds(1000)
    /// The size that the write-ahead log is kept near, in octets.
    public var journalBytes = 128 << 20
    /// The database's greatest size in pages of 4096 octets; `nil` for as large as the disk.
    public var maximumPages: Int?

    public init() {}
}

import Foundation
import GRDBSQLite
import NIOConcurrencyHelpers
import PosternCore
import PosternEngine

/// The triplet rows, on the writer's connection.
///
/// Keys are hashes, so that every new row falls into another lot (`TripletLots`): written there at once, each would cost a
/// page in the log and a page in the file. So changes are first appended to a journal, which costs next to nothing, and
/// kept in memory (`recent`). When they are many enough they are set aside (`settled`), and merged into the lots in
/// the order of their keys, little by little while nobody waits or else with every commit, which writes each lot once
/// for several rows. Then their part of the journal is thrown away. Whoever opens the database reads the journal first.
///
/// After a failed transaction, and when another process has written, `synchronise` brings memory in line again.
final class TripletTable {
    private let lots: TripletLots
    private let append: Statement
    private let bounds: Statement
    private let load: Statement
    private let trim: Statement
    private let connection: OpaquePointer
    private let path: String
    private let mergeRows: Int

    private var recent: TripletChanges
    /// So many are gathered in it before they are set aside.
    private var enough: Int
    private var expiryCursor = 0
    private var settled: Settled?
    private let filter: TableFilter
    /// Changes of the transaction under way, in the journal's form.
    private var pending: [UInt8] = []
    /// What of the journal is in memory.
    private var first: Int64?
    private var last: Int64 = 0
    private(set) var progress = MergeProgress()

    /// What is to be merged or trimmed for the commits since it was last done.
    private var owed = 0

    /// Rows of the journal that are thrown away for each commit.
    private static let trimEach = 32
    /// So much is merged, or trimmed, at once, where much is gathered: neighbours cost their page once then. It takes some tenths of a
    /// thousandth of a second.
    private static let mergeStep = 128

    private final class Settled {
        let changes: TripletChanges
        let through: Int64
        /// The changes' places in the order of their keys; set by another thread.
        let places = NIOLockedValueBox<[UInt32]?>(nil)
        var merged = 0

        init(_ changes: TripletChanges, through: Int64) {
            self.changes = changes
            self.through = through
        }
    }

    init(_ connection: OpaquePointer, path: String, mergeRows: Int) throws(StoreFailure) {
        self.connection = connection
        self.path = path
        self.mergeRows = max(mergeRows, 1)
        enough = self.mergeRows
        recent = TripletChanges(room: 0)
        lots = try TripletLots(connection, path: path)
        filter = TableFilter(lots)
        append = try Statement("INSERT INTO journal VALUES (?, ?)", on: connection, path: path)
        bounds = try Statement(
            "SELECT (SELECT min(sequence) FROM journal), (SELECT max(sequence) FROM journal)", on: connection, path: path)
        load = try Statement("SELECT sequence, changes FROM journal WHERE sequence > ? ORDER BY sequence", on: connection, path: path)
        trim = try Statement(
            "DELETE FROM journal WHERE sequence IN (SELECT sequence FROM journal WHERE sequence <= ? ORDER BY sequence LIMIT ?)",
            on: connection, path: path)
    }

    // MARK: - Rows

    func row(_ key: Int64) throws(StoreFailure) -> TripletRow? {
        if let change = recent.change(of: key) ?? settled?.changes.change(of: key) { return change.row }
        return filter.mayContain(key) ? try lots.row(key) : nil
    }

    /// Writes a row; `false` where it takes the place of one that was put lately.
    @discardableResult
    func put(_ key: Int64, _ row: TripletRow) -> Bool { change(TripletChange(key, row)).map(\.isRemoval) ?? true }

    func remove(_ key: Int64) { change(TripletChange(removing: key)) }

    /// Returns the recent change that it takes the place of.
    @discardableResult
    private func change(_ change: TripletChange) -> TripletChange? {
        change.append(to: &pending)
        return recent.put(change)
    }

    // MARK: - Expiry

    /// Removes what has expired of a lot, but not what has changed lately, which `expireRecent` and the merge see to; returns how many
    /// there were.
    func expire(lot: Int64, now: WallTime) throws(StoreFailure) -> Int {
        try lots.expire(lot, now: now) { recent.contains($0) || settled?.changes.contains($0) == true }
    }

    /// Looks for expired rows among so many of the recent ones, going round and round; returns how many were removed.
    func expireRecent(_ count: Int, now: WallTime) -> Int {
        var removed = 0
        for _ in 0..<min(count, recent.count) {
            if expiryCursor >= recent.count { expiryCursor = 0 }
            let change = recent[expiryCursor]
            expiryCursor += 1
            guard let row = change.row, row.expires <= now else { continue }
            remove(change.key)
            removed += 1
        }
        return removed
    }

    // MARK: - Learning

    var isLearnt: Bool { filter.isComplete }

    /// Learns which rows the table holds, within a transaction.
    func learn(_ rows: Int, of count: Int64) throws(StoreFailure) { try filter.learn(rows, rows: count) }

    // MARK: - Journal

    /// Appends the transaction's changes to the journal; returns the last sequence number in use.
    func flush() throws(StoreFailure) -> Int64 {
        guard !pending.isEmpty else { return last }
        last += 1
        if first == nil { first = last }
        let result: Result<Void, StoreFailure> = pending.withUnsafeBytes { bytes in
            append.bind(1, last)
            append.bind(2, blob: bytes)
            do throws(StoreFailure) {
                try append.run()
                return .success(())
            } catch { return .failure(error) }
        }
        try result.get()
        pending.removeAll(keepingCapacity: true)
        return last
    }

    /// Reads what of the journal is not in memory; all of it where another process has thrown some away, or where memory
    /// can no longer be trusted. `count` is the number of rows, `sequence` the last number ever used, `progress` what the database
    /// says of merging.
    func synchronise(count: Int64, sequence: Int64, progress: MergeProgress, trusting: Bool) throws(StoreFailure) {
        pending.removeAll(keepingCapacity: true)
        try filter.reset(rows: count)
        guard try bounds.step() else { return }
        let (lowest, highest) = (bounds.optionalInteger(0), bounds.optionalInteger(1))
        bounds.reset()
        let isAppended = trusting && (first == nil ? lowest ?? .max > last : lowest == first)
        if !isAppended {
            self.progress = progress
            clearRecent(rows: count)
            settled = nil
            last = 0
        }
        var apart = TripletChanges(room: 0)
        load.bind(1, last)
        defer { load.reset() }
        while try load.step() {
            let isSettled = !isAppended && load.integer(0) <= progress.through
            let octets = load.octets(1)
            guard octets.count % TripletChange.octets == 0 else {
                throw .sqlite(SQLITE_CORRUPT, "the journal's row \(load.integer(0)) has an impossible length", path: path)
            }
            for offset in stride(from: 0, to: octets.count, by: TripletChange.octets) {
                let change = TripletChange(octets, at: offset)
                if !isSettled {
                    recent.put(change)
                } else if change.key > progress.key {
                    apart.put(change)
                }
            }
        }
        if !isAppended, progress.through > 0 { settle(apart, through: progress.through) }
        first = lowest
        last = max(highest ?? 0, sequence)
    }

    private func clearRecent(rows: Int64) {
        enough = min(max(mergeRows, Int(clamping: rows) / Self.share), mergeRows * Self.most)
        recent = TripletChanges(room: min(enough + enough / 25, Self.reserve))
        expiryCursor = 0
    }

    /// Of a large table so small a part is gathered, and at most so many times as much as of a small one: the larger that part, the more
    /// rows does a lot take in that is written.
    private static let share = 8
    private static let most = 2
    /// Memory for so many changes at most is taken at once.
    private static let reserve = 2_000_000

    // MARK: - Merging

    /// To be called after every commit, with the number of all rows: sets the recent changes aside when they are many enough.
    func committed(rows: Int64) {
        guard recent.count >= enough, settled == nil else { return }
        settle(recent, through: last)
        clearRecent(rows: rows)
    }

    private func settle(_ changes: TripletChanges, through: Int64) {
        let settled = Settled(changes, through: through)
        self.settled = settled
        let places = settled.places
        // Sorting takes a tenth of a second, which no answer should wait for.
        Thread.detachNewThread {
            stepBack()
            let sorted = changes.sortedPlaces()
            places.withLockedValue { $0 = sorted }
        }
    }

    var isMerging: Bool { settled?.places.withLockedValue { $0 != nil } ?? false }

    /// How much to merge with a commit of so many changes: evenly, so that it is done some time before as many changes have gathered
    /// again, idle time or not; some at a time.
    func pace(_ changed: Int) -> Int {
        guard let settled, let total = settled.places.withLockedValue({ $0?.count }) else { return 0 }
        let left = total - settled.merged
        let until = max(enough / 5 * 4 - recent.count, enough / 10, 1)
        owed += left > 0 ? min(changed * left / until + 1, changed * Self.fastestPace) : Self.trimEach
        guard owed >= min(Self.mergeStep, enough / 1000) else { return 0 }
        defer { owed = 0 }
        return owed
    }

    /// Rows that are merged for each change at most.
    private static let fastestPace = 8

    /// Brings some of the settled changes into the lots, within a transaction; when all are there, throws away some of their journal.
    func merge(_ count: Int) throws(StoreFailure) {
        guard count > 0, let settled, let places = settled.places.withLockedValue({ $0 }) else { return }
        guard settled.merged < places.count else {
            if try trim(count, through: settled.through) < count {
                self.settled = nil
                progress = MergeProgress()
                first = settled.through < last ? settled.through + 1 : nil
            }
            return
        }
        func change(_ number: Int) -> TripletChange { settled.changes[Int(places[number])] }
        let numbers = settled.merged..<min(settled.merged + count, places.count)
        for number in numbers where !change(number).isRemoval { filter.insert(change(number).key) }
        // What has changed again since is merged once more with the next.
        try lots.merge(numbers, change)
        settled.merged = numbers.upperBound
        progress = MergeProgress(through: settled.through, key: change(numbers.upperBound - 1).key)
    }

    /// Throws the lowest rows of the journal away; returns how many. What they say names nobody, and need not be overwritten.
    private func trim(_ count: Int, through: Int64) throws(StoreFailure) -> Int {
        sqlite3_exec(connection, "PRAGMA secure_delete = OFF", nil, nil, nil)
        defer { sqlite3_exec(connection, "PRAGMA secure_delete = ON", nil, nil, nil) }
        trim.bind(1, through)
        trim.bind(2, Int64(count))
        try trim.run()
        return Int(sqlite3_changes(connection))
    }
}

/// How far merging has come: what the journal says up to a sequence number of keys up to a key is in the table.
struct MergeProgress: Equatable {
    /// 0 where no merging is under way.
    var through: Int64 = 0
    var key = Int64.min
}

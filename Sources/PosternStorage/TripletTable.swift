import Foundation
import GRDBSQLite
import NIOConcurrencyHelpers
import PosternCore
import PosternEngine

/// The triplet rows, on the writer's connection.
///
/// Keys are hashes, so that every new row falls on another page of the table: written there at once, each would cost a
/// page in the log and a page in the file. So changes are first appended to a journal, which costs next to nothing, and
/// kept in memory (`recent`). When they are many enough they are set aside (`settled`), and merged into the table in
/// the order of their keys, little by little while nobody waits or else with every commit, which writes each page once
/// for several rows. Then their part of the journal is thrown away. Whoever opens the database reads the journal first.
///
/// After a failed transaction, and when another process has written, `synchronise` brings memory in line again.
final class TripletTable {
    private let select: Statement
    private let replace: Statement
    private let delete: Statement
    private let append: Statement
    private let bounds: Statement
    private let load: Statement
    private let trim: Statement
    private let connection: OpaquePointer
    private let path: String
    private let mergeRows: Int

    private var recent: [Int64: Change] = [:]
    /// The keys in `recent`, as they came: what expiry goes through.
    private var order: [Int64] = []
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
        let changes: [Int64: Change]
        let through: Int64
        /// Set by another thread.
        let keys = NIOLockedValueBox<[Int64]?>(nil)
        var merged = 0

        init(_ changes: [Int64: Change], through: Int64) {
            self.changes = changes
            self.through = through
        }
    }

    init(_ connection: OpaquePointer, path: String, mergeRows: Int) throws(StoreFailure) {
        self.connection = connection
        self.path = path
        self.mergeRows = max(mergeRows, 1)
        select = try Statement(
            "SELECT first, last_after, passed_after, deferrals, passes, expires_after FROM triplets WHERE key = ?", on: connection,
            path: path)
        replace = try Statement("REPLACE INTO triplets VALUES (?, ?, ?, ?, ?, ?, ?)", on: connection, path: path)
        delete = try Statement("DELETE FROM triplets WHERE key = ?", on: connection, path: path)
        append = try Statement("INSERT INTO journal VALUES (?, ?)", on: connection, path: path)
        bounds = try Statement(
            "SELECT (SELECT min(sequence) FROM journal), (SELECT max(sequence) FROM journal)", on: connection, path: path)
        load = try Statement("SELECT sequence, changes FROM journal WHERE sequence > ? ORDER BY sequence", on: connection, path: path)
        filter = try TableFilter("triplets", on: connection, path: path)
        trim = try Statement(
            "DELETE FROM journal WHERE sequence IN (SELECT sequence FROM journal WHERE sequence <= ? ORDER BY sequence LIMIT ?)",
            on: connection, path: path)
    }

    // MARK: - Rows

    func row(_ key: Int64) throws(StoreFailure) -> TripletRow? {
        if let change = recent[key] ?? settled?.changes[key] { return change.row }
        return try stored(key)
    }

    /// Writes a row; `false` where it takes the place of one that was put lately.
    @discardableResult
    func put(_ key: Int64, _ row: TripletRow) -> Bool { change(key, Change(row)).map(\.isRemoval) ?? true }

    func remove(_ key: Int64) { change(key, .removal) }

    /// Removes a row of the table if it has expired; `false` where it has not, is not there, or has changed lately, which
    /// `expireRecent` and the merge see to.
    func expire(_ key: Int64, now: WallTime) throws(StoreFailure) -> Bool {
        guard recent[key] == nil, settled?.changes[key] == nil, let row = try stored(key), row.expires <= now else { return false }
        delete.bind(1, key)
        try delete.run()
        return true
    }

    /// Looks for expired rows among so many of the recent ones, going round and round; returns how many were removed.
    func expireRecent(_ count: Int, now: WallTime) -> Int {
        var removed = 0
        for _ in 0..<min(count, order.count) {
            if expiryCursor >= order.count { expiryCursor = 0 }
            let key = order[expiryCursor]
            expiryCursor += 1
            guard let row = recent[key]?.row, row.expires <= now else { continue }
            remove(key)
            removed += 1
        }
        return removed
    }

    /// Returns the recent change that it takes the place of.
    @discardableResult
    private func change(_ key: Int64, _ change: Change) -> Change? {
        change.append(to: &pending, key: key)
        let old = recent.updateValue(change, forKey: key)
        if old == nil { order.append(key) }
        return old
    }

    private func stored(_ key: Int64) throws(StoreFailure) -> TripletRow? {
        guard filter.mayContain(key) else { return nil }
        select.bind(1, key)
        defer { select.reset() }
        guard try select.step() else { return nil }
        let first = WallTime(milliseconds: select.integer(0))
        func after(_ milliseconds: Int64) -> WallTime { first + .milliseconds(milliseconds) }
        return TripletRow(
            firstSeen: first, lastSeen: after(select.integer(1)), passedAt: select.optionalInteger(2).map(after),
            deferrals: UInt32(truncatingIfNeeded: select.integer(3)), passes: UInt32(truncatingIfNeeded: select.integer(4)),
            expires: after(select.integer(5)))
    }

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
            clearRecent()
            settled = nil
            last = 0
        }
        var lot: [Int64: Change] = [:]
        load.bind(1, last)
        defer { load.reset() }
        while try load.step() {
            let isSettled = !isAppended && load.integer(0) <= progress.through
            let octets = load.octets(1)
            guard octets.count % Change.octets == 0 else {
                throw .sqlite(SQLITE_CORRUPT, "the journal's row \(load.integer(0)) has an impossible length", path: path)
            }
            for offset in stride(from: 0, to: octets.count, by: Change.octets) {
                let (key, change) = Change.read(octets, at: offset)
                if !isSettled {
                    if recent.updateValue(change, forKey: key) == nil { order.append(key) }
                } else if key > progress.key {
                    lot[key] = change
                }
            }
        }
        if !isAppended, progress.through > 0 { settle(lot, through: progress.through) }
        first = lowest
        last = max(highest ?? 0, sequence)
    }

    private func clearRecent() {
        recent = [:]
        recent.reserveCapacity(min(mergeRows + mergeRows / 25, Self.reserve))
        order = []
        expiryCursor = 0
    }

    /// Memory for so many changes is taken at once, since growing later would make an answer wait.
    private static let reserve = 786_000

    // MARK: - Merging

    /// To be called after every commit: sets the recent changes aside when they are many enough.
    func committed() {
        guard recent.count >= mergeRows, settled == nil else { return }
        settle(recent, through: last)
        clearRecent()
    }

    private func settle(_ changes: [Int64: Change], through: Int64) {
        let settled = Settled(changes, through: through)
        self.settled = settled
        let keys = settled.keys
        // Sorting takes a tenth of a second, which no answer should wait for.
        Thread.detachNewThread {
            stepBack()
            let sorted = changes.keys.sorted()
            keys.withLockedValue { $0 = sorted }
        }
    }

    var isMerging: Bool { settled?.keys.withLockedValue { $0 != nil } ?? false }

    /// How much to merge with a commit of so many changes: evenly, so that it is done some time before as many changes have gathered
    /// again, idle time or not; some at a time.
    func pace(_ changed: Int) -> Int {
        guard let settled, let total = settled.keys.withLockedValue({ $0?.count }) else { return 0 }
        let left = total - settled.merged
        let until = max(mergeRows / 5 * 4 - recent.count, mergeRows / 10, 1)
        owed += left > 0 ? min(changed * left / until + 1, changed * Self.fastestPace) : Self.trimEach
        guard owed >= min(Self.mergeStep, mergeRows / 1000) else { return 0 }
        defer { owed = 0 }
        return owed
    }

    /// Rows that are merged for each change at most.
    private static let fastestPace = 8

    /// Brings some of the settled changes into the table, within a transaction; when all are there, throws away some of their journal.
    func merge(_ count: Int) throws(StoreFailure) {
        guard count > 0, let settled, let keys = settled.keys.withLockedValue({ $0 }) else { return }
        guard settled.merged < keys.count else {
            if try trim(count, through: settled.through) < count {
                self.settled = nil
                progress = MergeProgress()
                first = settled.through < last ? settled.through + 1 : nil
            }
            return
        }
        let end = min(settled.merged + count, keys.count)
        for key in keys[settled.merged..<end] {
            // What has changed again is merged with the next lot.
            guard recent[key] == nil, let change = settled.changes[key] else { continue }
            if let row = change.row {
                filter.insert(key)
                replace.bind(1, key)
                replace.bind(2, row.firstSeen.milliseconds)
                replace.bind(3, (row.lastSeen - row.firstSeen).milliseconds)
                replace.bind(4, row.passedAt.map { ($0 - row.firstSeen).milliseconds })
                replace.bind(5, Int64(row.deferrals))
                replace.bind(6, Int64(row.passes))
                replace.bind(7, (row.expires - row.firstSeen).milliseconds)
                try replace.run()
            } else {
                delete.bind(1, key)
                try delete.run()
            }
        }
        settled.merged = end
        progress = MergeProgress(through: settled.through, key: keys[end - 1])
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

/// A row, or its removal, in 40 octets.
private struct Change: Sendable {
    private var first: Int64
    private var last: Int64
    /// `none` where it has not passed.
    private var passed: Int64
    /// `none` for a removal.
    private var expires: Int64
    private var deferrals: UInt32
    private var passes: UInt32

    private static let none = Int64.min

    static let removal = Change(first: 0, last: 0, passed: none, expires: none, deferrals: 0, passes: 0)

    private init(first: Int64, last: Int64, passed: Int64, expires: Int64, deferrals: UInt32, passes: UInt32) {
        self.first = first
        self.last = last
        self.passed = passed
        self.expires = expires
        self.deferrals = deferrals
        self.passes = passes
    }

    init(_ row: TripletRow) {
        self.init(
            first: row.firstSeen.milliseconds, last: row.lastSeen.milliseconds, passed: row.passedAt?.milliseconds ?? Self.none,
            expires: max(row.expires.milliseconds, Self.none + 1), deferrals: row.deferrals, passes: row.passes)
    }

    var isRemoval: Bool { expires == Self.none }

    var row: TripletRow? {
        guard !isRemoval else { return nil }
        return TripletRow(
            firstSeen: WallTime(milliseconds: first), lastSeen: WallTime(milliseconds: last),
            passedAt: passed == Self.none ? nil : WallTime(milliseconds: passed), deferrals: deferrals, passes: passes,
            expires: WallTime(milliseconds: expires))
    }

    // MARK: The journal's form: the key, then the parts, little-endian.

    static let octets = 48

    func append(to bytes: inout [UInt8], key: Int64) {
        let counts = Int64(deferrals) | Int64(passes) << 32
        let parts = (
            key.littleEndian, first.littleEndian, last.littleEndian, passed.littleEndian, expires.littleEndian, counts.littleEndian
        )
        withUnsafeBytes(of: parts) { bytes.append(contentsOf: $0) }
    }

    static func read(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> (key: Int64, change: Change) {
        func part(_ index: Int) -> Int64 {
            Int64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset + index * 8, as: Int64.self))
        }
        let counts = part(5)
        return (
            part(0),
            Change(
                first: part(1), last: part(2), passed: part(3), expires: part(4), deferrals: UInt32(truncatingIfNeeded: counts),
                passes: UInt32(truncatingIfNeeded: counts >> 32))
        )
    }
}

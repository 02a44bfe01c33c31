import Foundation
import GRDB
import GRDBSQLite
import PosternCore
import PosternEngine

// Expiry and backup.

extension SQLiteStore {
    /// Rows that are looked at for expiry in one step on a reader. A call goes on while it finds at least one in
    /// `expiryYield` expired, but looks at no more than `expiryScan`.
    static let expiryScanStep = 10_000
    static let expiryYield = 50
    static let expiryScan = 200_000
    /// Rows that are removed in one turn of the writer, and of each kind in one call at most.
    static let expiryStep = 250
    static let expiryMaximum = 4000
    /// Lots of triplets that are gone through in one turn of the writer.
    static let expiryLots = 8
    /// Recent triplets, not yet merged into their table, that one call looks at.
    static let expiryRecent = 2000

    public func expire(now: WallTime, decisionsBefore: WallTime) async throws(StoreFailure) -> Int {
        var removed = 0
        for _ in 0..<Self.expiryMaximum / Self.expiryStep {
            let pruned = try await onWriter { hot throws(StoreFailure) in
                try hot.pruneDecisions(Self.expiryStep, before: decisionsBefore)
            }
            removed += pruned
            if pruned < Self.expiryStep { break }
        }
        removed += try await expire(\.triplets, step: Self.expiryLots) { db, position in
            try Self.lotsToExpire(db, from: position, now: now)
        } remove: { hot, lots throws(StoreFailure) in
            try hot.expireTriplets(lots: lots, now: now)
        }
        removed += try await onWriter { hot throws(StoreFailure) in hot.expireRecentTriplets(Self.expiryRecent, now: now) }
        removed += try await expire(\.identities, step: Self.expiryStep) { db, position in
            try Self.identitiesToExpire(db, from: position, now: now)
        } remove: { hot, keys throws(StoreFailure) in
            try hot.expireIdentities(keys, now: now)
        }
        removed += try await expireCounts(now)
        let hasOld = try await onReader { db in
            try Bool.fetchOne(
                db, sql: "SELECT EXISTS (SELECT 1 FROM entries WHERE expires <= ?1) OR EXISTS (SELECT 1 FROM releases WHERE expires <= ?1)",
                arguments: [now.milliseconds]) ?? false
        }
        if hasOld {
            removed += try await onWriter { hot throws(StoreFailure) in
                try hot.seldom { db in
                    try db.execute(sql: "DELETE FROM entries WHERE expires <= ?", arguments: [now.milliseconds])
                    let entries = db.changesCount
                    try db.execute(sql: "DELETE FROM releases WHERE expires <= ?", arguments: [now.milliseconds])
                    return entries + db.changesCount
                }
            }
        }
        return removed
    }

    /// Where the last call left off, so that calls one after another go round and round.
    struct ExpiryCursors: Sendable {
        var triplets = Int64.min
        var identities = Int64.min
    }

    /// What a look at some rows found.
    private struct Found {
        /// The numbers of rows that have expired, or of lots in which some have.
        var numbers: [Int64] = []
        /// The last number that was looked at; `nil` at the end of the table.
        var last: Int64?
        /// How many rows were looked at.
        var scanned = 0
    }

    /// Looks for expired rows beside the writer, going on from where the last call ended; the writer removes what it still
    /// finds expired, so many numbers in one turn.
    private func expire(
        _ cursor: WritableKeyPath<ExpiryCursors, Int64> & Sendable, step: Int,
        look: @escaping @Sendable (Database, Int64) throws -> Found,
        remove: @escaping @Sendable (HotTransaction, [Int64]) throws(StoreFailure) -> Int
    ) async throws(StoreFailure) -> Int {
        let start = expiryCursors.withLockedValue { $0[keyPath: cursor] }
        var position = start
        var hasWrapped = start == .min
        var scanned = 0
        var removed = 0
        while scanned < Self.expiryScan, removed < Self.expiryMaximum, removed >= scanned / Self.expiryYield || position == .min {
            let from = position
            let found = try await onReader { db in try look(db, from) }
            scanned += found.scanned
            var rest = found.numbers[...]
            while !rest.isEmpty {
                let numbers = Array(rest.prefix(step))
                rest = rest.dropFirst(step)
                removed += try await onWriter { hot throws(StoreFailure) in try remove(hot, numbers) }
            }
            if let last = found.last {
                position = last + 1
            } else {
                position = .min
                if hasWrapped { break }
                hasWrapped = true
            }
        }
        expiryCursors.withLockedValue { $0[keyPath: cursor] = position }
        return removed
    }

    /// The keys of expired identities from a key on, at most one step's.
    private static func identitiesToExpire(_ db: Database, from: Int64, now: WallTime) throws -> Found {
        let rows = try Row.fetchCursor(
            db, sql: "SELECT key, last + expires_after <= ? FROM identities WHERE key >= ? ORDER BY key LIMIT ?",
            arguments: [now.milliseconds, from, expiryScanStep])
        var found = Found()
        while found.numbers.count < expiryMaximum, let row = try rows.next() {
            found.scanned += 1
            found.last = row[0]
            if row[1] as Bool { found.numbers.append(row[0]) }
        }
        let isAtEnd = found.scanned < expiryScanStep && found.numbers.count < expiryMaximum
        if isAtEnd || found.last == .max { found.last = nil }
        return found
    }

    /// The lots, from one on, in which triplets have expired, at most one step's.
    private static func lotsToExpire(_ db: Database, from: Int64, now: WallTime) throws -> Found {
        let rows = try Row.fetchCursor(
            db, sql: "SELECT lowest, triplets FROM triplet_lots WHERE lowest >= ? ORDER BY lowest", arguments: [from])
        var found = Found()
        while found.scanned < expiryScanStep {
            guard let row = try rows.next() else {
                found.last = nil
                break
            }
            let number: Int64 = row[0]
            found.last = number == .max ? nil : number
            try row.withUnsafeData(atIndex: 1) { octets in
                (octets ?? Data()).withUnsafeBytes { octets in
                    // What is damaged the writer meets, and reports.
                    guard let lot = TripletLot(octets) else { return }
                    found.scanned += lot.count
                    if (0..<lot.count).contains(where: { lot.expires($0) <= now }) { found.numbers.append(number) }
                }
            }
        }
        return found
    }

    // MARK: - Backup

    /// Copies the database to `path` and its key file to `path` with `.key` added, both readable by their owner alone.
    /// Neither may exist. The copy is of one moment, synced when this returns, and needs both files to be of use.
    public func backup(to path: String) async throws(StoreFailure) {
        let keyPath = path + ".key"
        for path in [path, keyPath] where FileManager.default.fileExists(atPath: path) { throw Self.exists(path) }
        let partial = "\(path).\(getpid()).\(UInt32.random(in: .min ... .max)).partial"
        let descriptor = open(partial, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw Self.cannotWrite(path, errno) }
        Foundation.close(descriptor)
        defer { unlink(partial) }

        try await onReader { db in
            guard let source = db.sqliteConnection else { throw StoreFailure.closed }
            try Self.copy(source, to: partial, named: path)
        }
        try Self.sync(partial, named: path)
        guard try KeyFile.write(opening.secret, to: keyPath) else { throw Self.exists(keyPath) }
        // A link, unlike a renaming, never replaces what is there.
        guard link(partial, path) == 0 else {
            let code = errno
            unlink(keyPath)
            throw code == EEXIST ? Self.exists(path) : Self.cannotWrite(path, code)
        }
        syncFolder(of: path)
    }

    private static func exists(_ path: String) -> StoreFailure {
        StoreFailure(.uncreatable, "\(path) exists already and is not overwritten; name another file")
    }

    private static func cannotWrite(_ path: String, _ code: Int32) -> StoreFailure {
        StoreFailure(StoreFailure.Kind(errno: code), "cannot write the backup \(path): \(systemMessage(code))")
    }

    /// All pages in one step, from the moment at which the reader's transaction began. `name` is what people called it.
    private static func copy(_ source: OpaquePointer, to path: String, named name: String) throws(StoreFailure) {
        var target: OpaquePointer?
        defer { sqlite3_close(target) }
        guard sqlite3_open_v2(path, &target, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nil) == SQLITE_OK, let target else {
            throw StoreFailure(.denied, "cannot write the backup \(name)")
        }
        guard let backup = sqlite3_backup_init(target, "main", source, "main") else { throw sqliteFailure(of: target, path: name) }
        let step = sqlite3_backup_step(backup, -1)
        let finish = sqlite3_backup_finish(backup)
        guard step == SQLITE_DONE, finish == SQLITE_OK else { throw sqliteFailure(of: target, path: name) }
    }

    private static func sync(_ path: String, named name: String) throws(StoreFailure) {
        let descriptor = open(path, O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else { throw cannotWrite(name, errno) }
        defer { Foundation.close(descriptor) }
        guard fsync(descriptor) == 0 else { throw cannotWrite(name, errno) }
    }
}

/// Octets; 0 for a file that is not there.
func fileSize(_ path: String) -> Int64 {
    var status = stat()
    return stat(path, &status) == 0 ? Int64(status.st_size) : 0
}

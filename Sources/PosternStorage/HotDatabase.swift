import Foundation
import GRDB
import GRDBSQLite
import PosternCore
import PosternEngine

/// An open database with the prepared statements of the hot path. Belongs to the writer's thread, all but the pool.
final class HotDatabase {
    let pool: DatabasePool
    private let path: String
    private let settings: SQLiteSettings
    private let hasher: KeyHasher
    private let file: FileIdentity
    private let log: FileIdentity?
    private var statements: Statements?

    /// All that must be finalised before the connection closes.
    final class Statements {
        let triplets: TripletTable
        let identities: IdentityTable
        let decisions: DecisionTable
        fileprivate let begin: Statement
        fileprivate let beginReading: Statement
        fileprivate let commit: Statement
        fileprivate let rollback: Statement
        fileprivate let readCounts: Statement
        fileprivate let writeCounts: Statement

        fileprivate init(_ connection: OpaquePointer, path: String) throws(StoreFailure) {
            triplets = try TripletTable(connection, path: path)
            identities = try IdentityTable(connection, path: path)
            decisions = try DecisionTable(connection, path: path)
            begin = try Statement("BEGIN IMMEDIATE", on: connection, path: path)
            beginReading = try Statement("BEGIN", on: connection, path: path)
            commit = try Statement("COMMIT", on: connection, path: path)
            rollback = try Statement("ROLLBACK", on: connection, path: path)
            readCounts = try Statement("SELECT triplets, identities, decisions FROM counts", on: connection, path: path)
            writeCounts = try Statement("UPDATE counts SET triplets = ?, identities = ?, decisions = ?", on: connection, path: path)
        }
    }

    struct Counts: Equatable {
        var triplets: Int64 = 0
        var identities: Int64 = 0
        var decisions: Int64 = 0
    }

    init(path: String, settings: SQLiteSettings, hasher: KeyHasher, busyTimeout: WallTime.Span) throws(StoreFailure) {
        self.path = path
        self.settings = settings
        self.hasher = hasher
        do {
            var configuration = Configuration()
            configuration.label = "postern.store"
            configuration.maximumReaderCount = min(max(settings.readers, 1), 8)
            let seconds = Double(busyTimeout.milliseconds) / 1000
            configuration.busyMode = .timeout(seconds)
            configuration.prepareDatabase { db in
                let cache = db.configuration.readonly ? settings.readerCacheKibibytes : settings.cacheKibibytes
                // The log is written back by the checkpointer; what is deleted is overwritten, since decisions name people.
                try db.execute(
                    sql: """
                        PRAGMA cache_size = -\(max(cache, 256)); PRAGMA wal_autocheckpoint = 0; PRAGMA secure_delete = ON;
                        PRAGMA mmap_size = 0; PRAGMA busy_timeout = \(busyTimeout.milliseconds); PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON;
                        """)
                if !db.configuration.readonly, let pages = settings.maximumPages {
                    _ = try Int.fetchOne(db, sql: "PRAGMA max_page_count = \(pages)")
                }
            }
            pool = try DatabasePool(path: path, configuration: configuration)
            file = try FileIdentity(path)
            log = try? FileIdentity(path + "-wal")
            statements = try pool.writeWithoutTransaction { db in
                try Schema.migrate(db, path: path)
                // DatabasePool sets NORMAL.
                if settings.sync == .full { try db.execute(sql: "PRAGMA synchronous = FULL") }
                try db.execute(sql: "PRAGMA journal_size_limit = \(settings.journalBytes)")
                try Self.checkSecret(db, hasher: hasher, path: path)
                guard let connection = db.sqliteConnection else { throw StoreFailure.closed }
                return try Statements(connection, path: path)
            }
        } catch {
            throw StoreFailure(error, path: path)
        }
    }

    private static func checkSecret(_ db: Database, hasher: KeyHasher, path: String) throws {
        try db.execute(sql: "INSERT OR IGNORE INTO secret VALUES (1, ?)", arguments: [hasher.check])
        guard try Int64.fetchOne(db, sql: "SELECT key_check FROM secret") == hasher.check else {
            throw StoreFailure(
                .corrupt,
                "the key file does not belong to the database \(path): nothing in it would be recognised; restore the key file that goes with it, or move the database away to start afresh"
            )
        }
    }

    /// Whether the path still names the file that is open.
    var isInPlace: Bool { (try? FileIdentity(path)) == file }

    func close() {
        statements = nil
        try? pool.close()
    }

    /// A database that is put where another was open must not meet that one's log. To be called when all is closed.
    func removeStaleLog() {
        guard !isInPlace, let log, (try? FileIdentity(path + "-wal")) == log else { return }
        unlink(path + "-wal")
        unlink(path + "-shm")
    }

    func withConnection(_ body: (OpaquePointer) -> Void) {
        pool.writeWithoutTransaction { db in
            if let connection = db.sqliteConnection { body(connection) }
        }
    }

    /// Whether it can be written to.
    func tryWriting() throws(StoreFailure) {
        try transaction { hot throws(StoreFailure) in
            try hot.seldom { try $0.execute(sql: "UPDATE counts SET triplets = triplets") }
        }
    }

    // MARK: - Transactions

    /// Carries out work as one SQLite transaction: all of it is committed when this returns, none when it throws.
    func transaction<Value>(
        writing: Bool = true, _ work: (HotTransaction) throws(StoreFailure) -> Value
    ) throws(StoreFailure) -> Value {
        guard let statements else { throw .closed }
        let result: Result<Value, StoreFailure> = pool.writeWithoutTransaction { db in
            guard let connection = db.sqliteConnection else { return .failure(.closed) }
            do throws(StoreFailure) {
                try (writing ? statements.begin : statements.beginReading).run()
                var counts = Counts()
                if writing {
                    counts = try self.counts(statements)
                    try statements.decisions.begin()
                }
                let hot = HotTransaction(statements: statements, hasher: hasher, counts: counts, db: db, path: path)
                let value = try work(hot)
                if writing { try hot.prune(beyond: settings.maximumDecisions) }
                if hot.counts != counts {
                    statements.writeCounts.bind(1, hot.counts.triplets)
                    statements.writeCounts.bind(2, hot.counts.identities)
                    statements.writeCounts.bind(3, hot.counts.decisions)
                    try statements.writeCounts.run()
                }
                try statements.commit.run()
                return .success(value)
            } catch {
                // A full disk or an I/O error may have rolled back already.
                if sqlite3_get_autocommit(connection) == 0 { try? statements.rollback.run() }
                return .failure(error)
            }
        }
        return try result.get()
    }

    private func counts(_ statements: Statements) throws(StoreFailure) -> Counts {
        defer { statements.readCounts.reset() }
        guard try statements.readCounts.step() else {
            throw .sqlite(SQLITE_CORRUPT, "the table of counts is empty", path: path)
        }
        return Counts(
            triplets: statements.readCounts.integer(0), identities: statements.readCounts.integer(1),
            decisions: statements.readCounts.integer(2))
    }
}

/// What may be done within one transaction on the writer's connection.
final class HotTransaction {
    private let statements: HotDatabase.Statements
    private let hasher: KeyHasher
    private let path: String
    /// For what is done seldom.
    let db: Database
    fileprivate(set) var counts: HotDatabase.Counts
    private var written = 0

    fileprivate init(statements: HotDatabase.Statements, hasher: KeyHasher, counts: HotDatabase.Counts, db: Database, path: String) {
        self.statements = statements
        self.hasher = hasher
        self.counts = counts
        self.db = db
        self.path = path
    }

    func triplet(_ key: Int64) throws(StoreFailure) -> TripletRow? { try statements.triplets.row(key) }

    func evidence(_ keys: HashedNeeds) throws(StoreFailure) -> Evidence {
        var evidence = Evidence()
        evidence.triplets.reserveCapacity(keys.triplets.count)
        evidence.identities.reserveCapacity(keys.identities.count)
        for key in keys.triplets { evidence.triplets.append(try statements.triplets.row(key)) }
        for key in keys.identities { evidence.identities.append(try statements.identities.row(key)) }
        return evidence
    }

    /// Reads, decides, writes. `decide` is called once, unless reading fails.
    func carryOut(_ transaction: StoreTransaction, _ keys: HashedNeeds) throws(StoreFailure) -> (Decision, DecisionRecord?) {
        let needs = transaction.needs
        let evidence = try evidence(keys)
        let (decision, record) = transaction.decide(evidence)

        func key(_ triplet: TripletKey) -> Int64 {
            needs.triplets.firstIndex(of: triplet).map { keys.triplets[$0] } ?? hasher.key(of: triplet)
        }
        var created: [Int64] = []
        var createdIdentities: [Int64] = []
        for change in decision.changes.triplets {
            let index = needs.triplets.firstIndex(of: change.key)
            let key = index.map { keys.triplets[$0] } ?? hasher.key(of: change.key)
            let existed = if let index { evidence.triplets[index] != nil } else { try statements.triplets.row(key) != nil }
            try statements.triplets.put(key, change.row)
            // A message may name a recipient twice.
            if !existed, !created.contains(key) {
                created.append(key)
                counts.triplets += 1
            }
        }
        for change in decision.changes.identities {
            let index = needs.identities.firstIndex(of: change.identity)
            let key = index.map { keys.identities[$0] } ?? hasher.key(of: change.identity)
            let existed = if let index { evidence.identities[index] != nil } else { try statements.identities.row(key) != nil }
            try statements.identities.put(key, change.row)
            if !existed, !createdIdentities.contains(key) {
                createdIdentities.append(key)
                counts.identities += 1
            }
        }
        if let record {
            if try statements.decisions.put(StoredDecision(record), groups: record.tripletGroups(key)) { counts.decisions += 1 }
            written += 1
        }
        return (decision, record)
    }

    /// Keeps the number of decisions in bounds, with at most a little more work than this transaction's own.
    fileprivate func prune(beyond maximum: Int) throws(StoreFailure) {
        let excess = Int(counts.decisions) - max(maximum, 1)
        guard excess > 0 else { return }
        counts.decisions -= Int64(try statements.decisions.prune(oldest: min(excess, written * 2 + 100)))
    }

    func pruneDecisions(_ count: Int, before: WallTime) throws(StoreFailure) -> Int {
        let pruned = try statements.decisions.prune(oldest: count, before: before)
        counts.decisions -= Int64(pruned)
        return pruned
    }

    /// Removes those of the rows that have expired by now; returns how many.
    func removeTriplets(_ keys: [Int64], expiredAt now: WallTime? = nil) throws(StoreFailure) -> Int {
        var removed = 0
        for key in keys {
            guard let row = try statements.triplets.row(key), row.expires <= now ?? row.expires else { continue }
            try statements.triplets.remove(key)
            removed += 1
        }
        counts.triplets -= Int64(removed)
        return removed
    }

    func removeIdentities(_ keys: [Int64], expiredAt now: WallTime) throws(StoreFailure) -> Int {
        var removed = 0
        for key in keys {
            guard let row = try statements.identities.row(key), row.expires <= now else { continue }
            try statements.identities.remove(key)
            removed += 1
        }
        counts.identities -= Int64(removed)
        return removed
    }

    /// Something seldom, in GRDB's own words.
    func seldom<Value>(_ work: (Database) throws -> Value) throws(StoreFailure) -> Value {
        do { return try work(db) } catch { throw StoreFailure(error, path: path) }
    }
}

/// The keys of a transaction's needs, in their order; made by whoever submits, to spare the writer's thread.
struct HashedNeeds: Sendable {
    let triplets: [Int64]
    let identities: [Int64]

    init(_ needs: Needs, hasher: KeyHasher) {
        triplets = needs.triplets.map { hasher.key(of: $0) }
        identities = needs.identities.map { hasher.key(of: $0) }
    }
}

/// Which file a path names at this moment.
struct FileIdentity: Equatable {
    private let device: UInt64
    private let inode: UInt64

    init(_ path: String) throws(StoreFailure) {
        var status = stat()
        guard stat(path, &status) == 0 else {
            throw StoreFailure(.denied, "cannot look at the database \(path): \(systemMessage(errno))")
        }
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
    }
}

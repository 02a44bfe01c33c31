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
    private var counts = Counts()
    /// Changes when another connection has committed.
    private var version: Int64?
    /// Whether what is kept in memory is what the database holds.
    private var isTrusted = false
    /// The length of the write-ahead log at the last commit, in pages; written by SQLite's hook.
    private let logFrames = UnsafeMutablePointer<Int32>.allocate(capacity: 1)

    /// All that must be finalised before the connection closes.
    final class Statements {
        let triplets: TripletTable
        let identities: IdentityTable
        let decisions: DecisionTable
        fileprivate let begin: Statement
        fileprivate let beginReading: Statement
        fileprivate let commit: Statement
        fileprivate let rollback: Statement
        fileprivate let version: Statement
        fileprivate let readCounts: Statement
        fileprivate let writeCounts: Statement

        fileprivate init(_ connection: OpaquePointer, path: String, mergeRows: Int, index: DecisionIndex) throws(StoreFailure) {
            triplets = try TripletTable(connection, path: path, mergeRows: mergeRows)
            identities = try IdentityTable(connection, path: path)
            decisions = try DecisionTable(connection, path: path, index: index)
            begin = try Statement("BEGIN IMMEDIATE", on: connection, path: path)
            beginReading = try Statement("BEGIN", on: connection, path: path)
            commit = try Statement("COMMIT", on: connection, path: path)
            rollback = try Statement("ROLLBACK", on: connection, path: path)
            version = try Statement("PRAGMA data_version", on: connection, path: path)
            readCounts = try Statement(
                "SELECT triplets, identities, decisions, journal, merged_through, merged_key FROM counts", on: connection, path: path)
            writeCounts = try Statement(
                "UPDATE counts SET triplets = ?, identities = ?, decisions = ?, journal = ?, merged_through = ?, merged_key = ?",
                on: connection, path: path)
        }
    }

    struct Counts: Equatable {
        var triplets: Int64 = 0
        var identities: Int64 = 0
        var decisions: Int64 = 0
        /// The last sequence number of the journal of triplets.
        var journal: Int64 = 0
        var merging = MergeProgress()
    }

    init(
        path: String, settings: SQLiteSettings, hasher: KeyHasher, index: DecisionIndex, busyTimeout: WallTime.Span
    ) throws(StoreFailure) {
        self.path = path
        self.settings = settings
        self.hasher = hasher
        logFrames.initialize(to: 0)
        do {
            var configuration = Configuration()
            configuration.label = "postern.store"
            // For readers: expiry and what people look at come after answers.
            configuration.qos = .utility
            configuration.maximumReaderCount = min(max(settings.readers, 1), 8)
            let seconds = Double(busyTimeout.milliseconds) / 1000
            configuration.busyMode = .timeout(seconds)
            configuration.prepareDatabase { db in
                let cache = db.configuration.readonly ? settings.readerCacheKibibytes : settings.cacheKibibytes
                // The log is written back by the checkpointer. What is deleted is overwritten, since decisions name people.
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
            statements = try pool.writeWithoutTransaction { [logFrames] db in
                try Schema.migrate(db, path: path)
                // DatabasePool sets NORMAL.
                if settings.sync == .full { try db.execute(sql: "PRAGMA synchronous = FULL") }
                try db.execute(sql: "PRAGMA journal_size_limit = \(settings.journalBytes)")
                try Self.checkSecret(db, hasher: hasher, path: path)
                guard let connection = db.sqliteConnection else { throw StoreFailure.closed }
                sqlite3_wal_hook(
                    connection,
                    { context, _, _, frames in
                        context?.assumingMemoryBound(to: Int32.self).pointee = frames
                        return SQLITE_OK
                    }, logFrames)
                return try Statements(connection, path: path, mergeRows: settings.mergeRows, index: index)
            }
            // What can be found to be wrong is found here, and the journal is read before anyone waits for an answer.
            try transaction(writing: false) { _ in }
        } catch {
            throw StoreFailure(error, path: path)
        }
    }

    deinit {
        // The connection, and with it the hook, may outlive a failed opening no longer than the pool does.
        close()
        logFrames.deallocate()
    }

    /// The length of the write-ahead log at the last commit, in pages.
    var logLength: Int32 { logFrames.pointee }

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
        for sql in ["REPLACE INTO probe VALUES (1, zeroblob(\(Self.probeOctets)))", "DELETE FROM probe"] {
            try transaction { hot throws(StoreFailure) in try hot.seldom { try $0.execute(sql: sql) } }
        }
    }

    /// So much room must there be for a full store to be taken for well again.
    private static let probeOctets = 65_536

    // MARK: - Transactions

    /// Carries out work as one SQLite transaction: all of it is committed when this returns, none when it throws.
    ///
    /// - Parameter isIdle: Whether nobody waits: more changed triplets are merged into their table by the way, and more rows learnt.
    func transaction<Value>(
        writing: Bool = true, isIdle: Bool = false, _ work: (HotTransaction) throws(StoreFailure) -> Value
    ) throws(StoreFailure) -> Value {
        guard let statements else { throw .closed }
        let result: Result<Value, StoreFailure> = pool.writeWithoutTransaction { db in
            guard let connection = db.sqliteConnection else { return .failure(.closed) }
            do throws(StoreFailure) {
                try (writing ? statements.begin : statements.beginReading).run()
                try synchronise(statements)
                let hot = HotTransaction(
                    statements: statements, hasher: hasher, counts: counts, keepsDecisions: settings.keepsDecisions, db: db, path: path)
                let value = try work(hot)
                if writing {
                    try hot.finish(maximumDecisions: settings.maximumDecisions, isIdle: isIdle)
                    if hot.counts != counts { try write(hot.counts, statements) }
                }
                try statements.commit.run()
                counts = hot.counts
                statements.triplets.committed(rows: counts.triplets)
                return .success(value)
            } catch {
                isTrusted = false
                // A full disk or an I/O error may have rolled back already.
                if sqlite3_get_autocommit(connection) == 0 { try? statements.rollback.run() }
                return .failure(error)
            }
        }
        return try result.get()
    }

    /// Whether there are changed triplets to be merged or rows to be learnt, so that idle time is of use.
    var usesIdleTime: Bool {
        guard let statements else { return false }
        return statements.triplets.isMerging || !statements.triplets.isLearnt || !statements.identities.isLearnt
    }

    /// Brings what is kept in memory in line with the database, where another process has written or a transaction failed.
    private func synchronise(_ statements: Statements) throws(StoreFailure) {
        _ = try statements.version.step()
        let version = statements.version.integer(0)
        statements.version.reset()
        guard version != self.version || !isTrusted else { return }
        counts = try readCounts(statements)
        try statements.decisions.synchronise()
        try statements.identities.synchronise(count: counts.identities)
        try statements.triplets.synchronise(count: counts.triplets, sequence: counts.journal, progress: counts.merging, trusting: isTrusted)
        self.version = version
        isTrusted = true
    }

    private func readCounts(_ statements: Statements) throws(StoreFailure) -> Counts {
        defer { statements.readCounts.reset() }
        guard try statements.readCounts.step() else {
            throw .sqlite(SQLITE_CORRUPT, "the table of counts is empty", path: path)
        }
        return Counts(
            triplets: statements.readCounts.integer(0), identities: statements.readCounts.integer(1),
            decisions: statements.readCounts.integer(2), journal: statements.readCounts.integer(3),
            merging: MergeProgress(through: statements.readCounts.integer(4), key: statements.readCounts.integer(5)))
    }

    private func write(_ counts: Counts, _ statements: Statements) throws(StoreFailure) {
        statements.writeCounts.bind(1, counts.triplets)
        statements.writeCounts.bind(2, counts.identities)
        statements.writeCounts.bind(3, counts.decisions)
        statements.writeCounts.bind(4, counts.journal)
        statements.writeCounts.bind(5, counts.merging.through)
        statements.writeCounts.bind(6, counts.merging.key)
        try statements.writeCounts.run()
    }
}

/// Which file a path names at this moment.
struct FileIdentity: Equatable {
    private let device: UInt64
    private let inode: UInt64

    init(_ path: String) throws(StoreFailure) {
        var status = stat()
        guard stat(path, &status) == 0 else {
            throw StoreFailure(StoreFailure.Kind(errno: errno), "cannot look at the database \(path): \(systemMessage(errno))")
        }
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
    }
}

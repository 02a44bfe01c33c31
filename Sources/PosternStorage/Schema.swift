import Foundation
import GRDB
import GRDBSQLite
import PosternCore
import PosternEngine

/// The database's layout and how it came to be.
enum Schema {
    /// Marks the file as ours (`PRAGMA application_id`): "PSTN".
    static let applicationID: Int32 = 0x5053_544e

    /// Each brings a database from the version of its index to the next; never changed once released.
    static let migrations: [String] = [
        """
        -- What is remembered of triplets and identities, by keyed hash. Times are milliseconds since 1970; those after
        -- the first are differences, which take fewer octets.
        CREATE TABLE triplets(
            key INTEGER PRIMARY KEY, first INTEGER NOT NULL, last_after INTEGER NOT NULL, passed_after INTEGER,
            deferrals INTEGER NOT NULL, passes INTEGER NOT NULL, expires_after INTEGER NOT NULL) STRICT;
        -- Changes of triplets that are not in their table yet, in the order in which they were made.
        CREATE TABLE journal(sequence INTEGER PRIMARY KEY, changes BLOB NOT NULL) STRICT;
        CREATE TABLE identities(
            key INTEGER PRIMARY KEY, passes INTEGER NOT NULL, last INTEGER NOT NULL, expires_after INTEGER NOT NULL) STRICT;
        -- Decisions as people read them. The reference is made of the time, so that rows are appended.
        CREATE TABLE decisions(
            reference INTEGER PRIMARY KEY, time INTEGER NOT NULL, passes_at INTEGER, action TEXT NOT NULL, address TEXT NOT NULL,
            sender TEXT NOT NULL, recipient TEXT NOT NULL, name TEXT NOT NULL, helo TEXT NOT NULL, account TEXT NOT NULL,
            listener TEXT NOT NULL, stage TEXT NOT NULL, reason TEXT NOT NULL, triplets BLOB) STRICT;
        CREATE TABLE entries(
            list TEXT NOT NULL, kind TEXT NOT NULL, form TEXT NOT NULL, pattern TEXT NOT NULL, expires INTEGER, note TEXT NOT NULL,
            added INTEGER NOT NULL, PRIMARY KEY(list, kind, form, pattern)) STRICT, WITHOUT ROWID;
        CREATE TABLE releases(
            id INTEGER PRIMARY KEY, recipient TEXT NOT NULL, sender TEXT, client TEXT, expires INTEGER NOT NULL) STRICT;
        CREATE INDEX releases_recipient ON releases(recipient);
        CREATE TABLE clock(
            one INTEGER PRIMARY KEY CHECK (one = 1), wall INTEGER NOT NULL, monotonic INTEGER NOT NULL, steady INTEGER NOT NULL,
            boot TEXT NOT NULL) STRICT;
        -- Numbers of rows, kept with every commit, since counting ten million takes a second; the journal's last number, and
        -- how far it is merged: what it says up to one number of keys up to one key is in the table.
        CREATE TABLE counts(
            one INTEGER PRIMARY KEY CHECK (one = 1), triplets INTEGER NOT NULL, identities INTEGER NOT NULL,
            decisions INTEGER NOT NULL, journal INTEGER NOT NULL, merged_through INTEGER NOT NULL,
            merged_key INTEGER NOT NULL) STRICT;
        INSERT INTO counts VALUES (1, 0, 0, 0, 0, 0, 0);
        -- Written and deleted to see whether there is room again.
        CREATE TABLE probe(one INTEGER PRIMARY KEY CHECK (one = 1), filling BLOB NOT NULL) STRICT;
        -- A value that only the right key file yields.
        CREATE TABLE secret(one INTEGER PRIMARY KEY CHECK (one = 1), key_check INTEGER NOT NULL) STRICT;
        """,
        """
        -- What happened in each minute since 1970, and what admins changed.
        CREATE TABLE history(
            minute INTEGER PRIMARY KEY, accepted INTEGER NOT NULL, held INTEGER NOT NULL, deferred INTEGER NOT NULL,
            rejected INTEGER NOT NULL, delayed INTEGER NOT NULL, delay INTEGER NOT NULL, store_failures INTEGER NOT NULL,
            trap_time INTEGER NOT NULL, trap_octets INTEGER NOT NULL, most_waiting INTEGER NOT NULL,
            most_trapped INTEGER NOT NULL) STRICT;
        CREATE TABLE audit(
            id INTEGER PRIMARY KEY, time INTEGER NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL, undo TEXT, undone INTEGER) STRICT;
        """,
        """
        -- What traps have learnt. Names in a list are separated by spaces.
        CREATE TABLE harvest_entries(
            prefix TEXT PRIMARY KEY, colour TEXT NOT NULL, reason TEXT NOT NULL, listeners TEXT NOT NULL, evidence INTEGER NOT NULL,
            added INTEGER NOT NULL, expires INTEGER NOT NULL) STRICT, WITHOUT ROWID;
        CREATE TABLE harvest_sightings(
            prefix TEXT PRIMARY KEY, listeners TEXT NOT NULL, domains TEXT NOT NULL, visits INTEGER NOT NULL, last_visit INTEGER NOT NULL,
            hang_ups INTEGER NOT NULL, last_hang_up INTEGER, tried_primary INTEGER NOT NULL, expires INTEGER NOT NULL)
            STRICT, WITHOUT ROWID;
        CREATE TABLE harvest_removals(
            prefix TEXT PRIMARY KEY, kept_off_until INTEGER, by_self INTEGER NOT NULL, expires INTEGER NOT NULL) STRICT, WITHOUT ROWID;
        CREATE TABLE harvest_memory(
            one INTEGER PRIMARY KEY CHECK (one = 1), touches BLOB, is_complete INTEGER NOT NULL) STRICT;
        INSERT INTO harvest_memory VALUES (1, NULL, 0);
        -- Counts of limits, a row a block or name, as `KeptRow` writes it; who is stopped.
        CREATE TABLE tallies(
            place INTEGER NOT NULL, key INTEGER NOT NULL, data BLOB NOT NULL, expires INTEGER NOT NULL,
            PRIMARY KEY(place, key)) STRICT, WITHOUT ROWID;
        CREATE INDEX tallies_expires ON tallies(expires);
        CREATE TABLE suspensions(account TEXT PRIMARY KEY, since INTEGER NOT NULL, reason TEXT NOT NULL) STRICT, WITHOUT ROWID;
        """,
        """
        -- Decisions, some to a row, as `DecisionLot` reads them: all references are at most `highest`, and above the next lower row's.
        CREATE TABLE decision_lots(highest INTEGER PRIMARY KEY, count INTEGER NOT NULL, decisions BLOB NOT NULL) STRICT;
        """,
        """
        -- Triplets, some to a row, as `TripletLot` reads them: all keys are at least `lowest`, and below the next higher row's.
        CREATE TABLE triplet_lots(lowest INTEGER PRIMARY KEY, triplets BLOB NOT NULL) STRICT;
        """,
    ]

    /// The versions since which decisions, and triplets, lie in lots.
    private static let decisionLots = 4
    private static let tripletLots = 5

    static var version: Int { migrations.count }

    /// Looks at the file before anything is written to it. `false` where there is no database yet.
    static func inspect(_ path: String, busyTimeout: Int32) throws(StoreFailure) -> Bool {
        var status = stat()
        guard stat(path, &status) == 0, status.st_size > 0 else { return false }
        var handle: OpaquePointer?
        let code = sqlite3_open_v2(path, &handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nil)
        defer { sqlite3_close(handle) }
        guard let handle else { throw StoreFailure(.other, "out of memory") }
        guard code == SQLITE_OK else { throw sqliteFailure(of: handle, path: path) }
        sqlite3_busy_timeout(handle, busyTimeout)
        func pragma(_ sql: String) throws(StoreFailure) -> Int64 {
            let statement = try Statement(sql, on: handle, path: path)
            return try statement.step() ? statement.integer(0) : 0
        }
        let found = try pragma("PRAGMA user_version")
        let application = try pragma("PRAGMA application_id")
        let tables = try pragma("SELECT count(*) FROM sqlite_master")
        if application == 0, tables == 0 { return false }
        guard application == Int64(applicationID) else {
            throw StoreFailure(.corrupt, "\(path) is the database of some other program; name another file, or move it away")
        }
        guard found <= version else {
            throw StoreFailure(
                .newer,
                "the database \(path) has version \(found), this program knows versions up to \(version); run the program that wrote it, or a later one"
            )
        }
        return true
    }

    /// Brings the database up to date, step by step, all in one transaction.
    static func migrate(_ db: Database, path: String) throws {
        guard try Int.fetchOne(db, sql: "PRAGMA user_version") ?? 0 < version else { return }
        try db.inTransaction(.immediate) {
            // Looked at again under the lock: another process may have been quicker.
            let found = try Int.fetchOne(db, sql: "PRAGMA user_version") ?? 0
            if found > version {
                throw StoreFailure(.newer, "the database \(path) has version \(found), this program knows versions up to \(version)")
            }
            for (version, step) in migrations.enumerated().dropFirst(found).map({ ($0 + 1, $1) }) {
                try db.execute(sql: step)
                if version == decisionLots { try packDecisions(db, path: path) }
                if version == tripletLots { try packTriplets(db, path: path) }
            }
            try db.execute(sql: "PRAGMA application_id = \(applicationID); PRAGMA user_version = \(version)")
            return .commit
        }
        // Much may have been written anew, and a long log is slow to look things up in.
        try db.execute(sql: "PRAGMA wal_checkpoint(TRUNCATE)")
    }

    /// Takes the decisions of earlier versions, a row each, into lots. Some seconds for each million.
    private static func packDecisions(_ db: Database, path: String) throws {
        guard let connection = db.sqliteConnection else { throw StoreFailure.closed }
        do {
            let table = try DecisionTable(connection, path: path, index: DecisionIndex())
            let rows = try Statement(
                """
                SELECT reference, time, passes_at, action, address, sender, recipient, name, helo, account, listener, stage, reason, triplets
                FROM decisions ORDER BY reference
                """, on: connection, path: path)
            var waiting = 0
            while try rows.step() {
                table.take(reference: rows.integer(0)) { octets in
                    let start = octets.beginDecision(rows.integer(0), time: rows.integer(1), passesAt: rows.optionalInteger(2))
                    for column in Int32(3)...12 { octets.pack(text: rows.octets(column)) }
                    octets.append(octets: rows.octets(13))
                    octets.endPart(start)
                }
                waiting += 1
                if waiting == 1000 {
                    _ = try table.flush()
                    waiting = 0
                }
            }
            _ = try table.flush()
        }
        try db.execute(sql: "DROP TABLE decisions")
    }

    /// Takes the triplets of earlier versions, a row each, into lots. About a second for each million.
    private static func packTriplets(_ db: Database, path: String) throws {
        guard let connection = db.sqliteConnection else { throw StoreFailure.closed }
        do {
            let lots = try TripletLots(connection, path: path)
            let rows = try Statement(
                "SELECT key, first, last_after, passed_after, deferrals, passes, expires_after FROM triplets ORDER BY key", on: connection,
                path: path)
            var waiting: [TripletChange] = []
            func flush() throws(StoreFailure) {
                try lots.merge(waiting.indices) { waiting[$0] }
                waiting.removeAll(keepingCapacity: true)
            }
            while try rows.step() {
                let first = WallTime(milliseconds: rows.integer(1))
                func after(_ milliseconds: Int64) -> WallTime { first + .milliseconds(milliseconds) }
                let row = TripletRow(
                    firstSeen: first, lastSeen: after(rows.integer(2)), passedAt: rows.optionalInteger(3).map(after),
                    deferrals: UInt32(truncatingIfNeeded: rows.integer(4)), passes: UInt32(truncatingIfNeeded: rows.integer(5)),
                    expires: after(rows.integer(6)))
                waiting.append(TripletChange(rows.integer(0), row))
                if waiting.count == 1000 { try flush() }
            }
            try flush()
        }
        // Their keys name nobody, and need not be overwritten.
        try db.execute(sql: "PRAGMA secure_delete = OFF; DROP TABLE triplets; PRAGMA secure_delete = ON")
    }
}

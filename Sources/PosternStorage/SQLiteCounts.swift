import Foundation
import GRDB
import PosternCore
import PosternEngine

// Counts of limits, and accounts that are stopped.

extension SQLiteStore {
    /// Rows that are written, or removed, in one turn of the writer: about a millisecond's work.
    static let countsStep = 100

    public func keep(_ rows: [CountRow]) async throws(StoreFailure) {
        var rest = rows[...]
        while !rest.isEmpty {
            let step = Array(rest.prefix(Self.countsStep))
            rest = rest.dropFirst(Self.countsStep)
            try await onWriter { hot throws(StoreFailure) in
                try hot.seldom { db in
                    let statement = try db.cachedStatement(sql: "REPLACE INTO tallies VALUES (?, ?, ?, ?)")
                    for row in step {
                        try statement.execute(arguments: [
                            row.table, Int64(bitPattern: row.key), Data(row.data), row.expires.milliseconds,
                        ])
                    }
                }
            }
        }
    }

    public func counts(after position: CountPosition?, limit: Int) async throws(StoreFailure) -> [CountRow] {
        // Keys are unsigned, and kept as what SQLite has: those with their uppermost bit set come first there, and so here last.
        let found = try await onReader { db in
            func rows(_ place: UInt8, _ low: Int64, _ high: Int64, _ limit: Int) throws -> [CountRow] {
                try Row.fetchAll(
                    db, sql: "SELECT key, data, expires FROM tallies WHERE place = ? AND key BETWEEN ? AND ? ORDER BY key LIMIT ?",
                    arguments: [place, low, high, limit]
                ).map { row in
                    CountRow(
                        table: place, key: UInt64(bitPattern: row["key"]), data: Array(row["data"] as Data),
                        expires: WallTime(milliseconds: row["expires"]))
                }
            }
            var found: [CountRow] = []
            let places = try UInt8.fetchAll(
                db, sql: "SELECT DISTINCT place FROM tallies WHERE place >= ? ORDER BY place", arguments: [position?.table ?? 0])
            for place in places where found.count < limit {
                let start: UInt64
                if let position, position.table == place {
                    guard position.key < .max else { continue }
                    start = position.key + 1
                } else {
                    start = 0
                }
                if start <= UInt64(Int64.max) {
                    found += try rows(place, Int64(start), .max, limit - found.count)
                }
                if found.count < limit {
                    found += try rows(place, Int64(bitPattern: max(start, 1 << 63)), -1, limit - found.count)
                }
            }
            return found
        }
        return found
    }

    func expireCounts(_ now: WallTime) async throws(StoreFailure) -> Int {
        let isDue = try await onReader { db in
            try Bool.fetchOne(
                db, sql: "SELECT EXISTS (SELECT 1 FROM tallies WHERE expires <= ?)", arguments: [now.milliseconds]) ?? false
        }
        guard isDue else { return 0 }
        var removed = 0
        for _ in 0..<Self.expiryMaximum / Self.countsStep {
            let step = try await onWriter { hot throws(StoreFailure) in
                try hot.seldom { db in
                    try db.execute(
                        sql: """
                            DELETE FROM tallies WHERE (place, key) IN
                                (SELECT place, key FROM tallies WHERE expires <= ? ORDER BY expires LIMIT ?)
                            """,
                        arguments: [now.milliseconds, Self.countsStep])
                    return db.changesCount
                }
            }
            removed += step
            if step < Self.countsStep { break }
        }
        return removed
    }

    public func insert(_ suspension: Suspension) async throws(StoreFailure) {
        try await onWriter { hot throws(StoreFailure) in
            try hot.seldom { db in
                try db.execute(
                    sql: "REPLACE INTO suspensions VALUES (?, ?, ?)",
                    arguments: [suspension.account, suspension.since.milliseconds, suspension.reason])
            }
        }
    }

    public func suspensions() async throws(StoreFailure) -> [Suspension] {
        try await onReader { db in
            try Row.fetchAll(db, sql: "SELECT account, since, reason FROM suspensions ORDER BY account").map {
                Suspension(
                    account: ($0["account"] as String).foldedMailbox, since: WallTime(milliseconds: $0["since"]), reason: $0["reason"])
            }
        }
    }

    public func removeSuspension(of account: String) async throws(StoreFailure) -> Bool {
        try await onWriter { hot throws(StoreFailure) in
            try hot.seldom { db in
                // An older program kept the domain of a name as it was written.
                let all = try String.fetchAll(db, sql: "SELECT account FROM suspensions").filter {
                    $0 == account || $0.foldedMailbox == account
                }
                for account in all { try db.execute(sql: "DELETE FROM suspensions WHERE account = ?", arguments: [account]) }
                return !all.isEmpty
            }
        }
    }
}

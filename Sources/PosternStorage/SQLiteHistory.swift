import GRDB
import PosternCore
import PosternEngine

// History by the minute, and the log of what admins changed.

extension SQLiteStore {
    /// Minutes that one call of `expireHistory` drops.
    static let historyExpiryStep = 2000

    private static let sumColumns = [
        "accepted", "held", "deferred", "rejected", "delayed", "delay", "store_failures", "trap_time", "trap_octets",
    ]
    private static let maximumColumns = ["most_waiting", "most_trapped"]

    public func record(_ minute: HistoryMinute) async throws(StoreFailure) {
        let columns = Self.sumColumns + Self.maximumColumns
        let updates =
            Self.sumColumns.map { "\($0) = \($0) + excluded.\($0)" } + Self.maximumColumns.map { "\($0) = max(\($0), excluded.\($0))" }
        let sql = """
            INSERT INTO history(minute, \(columns.joined(separator: ", "))) VALUES (?\(String(repeating: ", ?", count: columns.count)))
            ON CONFLICT(minute) DO UPDATE SET \(updates.joined(separator: ", "))
            """
        let values = [minute.minute] + (HistoryMinute.sums + HistoryMinute.maxima).map { minute[keyPath: $0] }
        try await onWriter { hot throws(StoreFailure) in
            try hot.seldom { try $0.execute(sql: sql, arguments: StatementArguments(values)) }
        }
    }

    public func history(_ span: HistorySpan) async throws(StoreFailure) -> [HistoryMinute] {
        let columns = Self.sumColumns.map { "sum(\($0))" } + Self.maximumColumns.map { "max(\($0))" }
        let sql = """
            SELECT minute - minute % ?1 AS first, \(columns.joined(separator: ", ")) FROM history
            WHERE minute >= ?2 AND minute < ?3 GROUP BY first ORDER BY first DESC LIMIT \(HistorySpan.maximumGroups)
            """
        return try await onReader { db in
            try Row.fetchAll(db, sql: sql, arguments: [span.step, span.from, span.to]).map { row in
                var minute = HistoryMinute(minute: row[0])
                for (index, path) in (HistoryMinute.sums + HistoryMinute.maxima).enumerated() { minute[keyPath: path] = row[index + 1] }
                return minute
            }.reversed()
        }
    }

    public func expireHistory(before minute: Int64, auditBefore: WallTime) async throws(StoreFailure) -> Int {
        let isNeeded = try await onReader { db in
            try Bool.fetchOne(
                db, sql: "SELECT EXISTS (SELECT 1 FROM history WHERE minute < ?) OR EXISTS (SELECT 1 FROM audit WHERE time < ?)",
                arguments: [minute, auditBefore.milliseconds]) ?? false
        }
        guard isNeeded else { return 0 }
        return try await onWriter { hot throws(StoreFailure) in
            try hot.seldom { db in
                try db.execute(
                    sql:
                        "DELETE FROM history WHERE minute IN (SELECT minute FROM history WHERE minute < ? ORDER BY minute LIMIT \(Self.historyExpiryStep))",
                    arguments: [minute])
                let minutes = db.changesCount
                try db.execute(sql: "DELETE FROM audit WHERE time < ?", arguments: [auditBefore.milliseconds])
                return minutes + db.changesCount
            }
        }
    }

    public func append(_ entry: AuditEntry) async throws(StoreFailure) -> Int64 {
        try await onWriter { hot throws(StoreFailure) in
            try hot.seldom { db in
                try db.execute(
                    sql: "INSERT INTO audit(time, who, what, undo, undone) VALUES (?, ?, ?, ?, ?)",
                    arguments: [entry.time.milliseconds, entry.who, entry.what, entry.undo, entry.undoneAt?.milliseconds])
                let id = db.lastInsertedRowID
                try db.execute(sql: "DELETE FROM audit WHERE id <= ?", arguments: [id - Int64(AuditEntry.maximumEntries)])
                return id
            }
        }
    }

    public func audit(before: Int64?, limit: Int) async throws(StoreFailure) -> [AuditEntry] {
        try await onReader { db in
            try Row.fetchAll(
                db, sql: "SELECT id, time, who, what, undo, undone FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?",
                arguments: [before ?? .max, limit]
            ).map { row in
                AuditEntry(
                    id: row["id"], time: WallTime(milliseconds: row["time"]), who: row["who"], what: row["what"], undo: row["undo"],
                    undoneAt: (row["undone"] as Int64?).map(WallTime.init(milliseconds:)))
            }
        }
    }

    public func markUndone(_ id: Int64, at time: WallTime) async throws(StoreFailure) -> Bool {
        try await onWriter { hot throws(StoreFailure) in
            try hot.seldom { db in
                // What it held is of no more use, and may name people.
                try db.execute(
                    sql: "UPDATE audit SET undone = ?, undo = NULL WHERE id = ? AND undone IS NULL", arguments: [time.milliseconds, id])
                return db.changesCount > 0
            }
        }
    }

    public func remove(_ release: Release) async throws(StoreFailure) -> Bool {
        try await onWriter { hot throws(StoreFailure) in
            try hot.seldom { db in
                try db.execute(
                    sql: "DELETE FROM releases WHERE recipient = ? AND sender IS ? AND client IS ?",
                    arguments: [release.recipient, release.sender, release.client?.description])
                return db.changesCount > 0
            }
        }
    }

    // MARK: - Forgetting with a way back

    public func forgetReversibly(_ filter: DecisionFilter) async throws(StoreFailure) -> ForgottenRows {
        var count = 0
        var data: [UInt8]? = []
        try await search(filter, columns: .all) { matches throws(StoreFailure) in
            var rest = Array(Set(matches.flatMap { $0.groups.joined() }))[...]
            while !rest.isEmpty {
                let keys = Array(rest.prefix(Self.lookupStep))
                rest = rest.dropFirst(Self.lookupStep)
                let rows = try await self.onWriter { hot throws(StoreFailure) in try hot.take(keys) }
                count += rows.count
                if count > ForgottenRows.maximumRows { data = nil }
                for (key, row) in rows { data?.append(key, row) }
            }
            return true
        }
        return ForgottenRows(count: count, data: data)
    }

    public func restore(_ rows: ForgottenRows) async throws(StoreFailure) -> Int {
        guard let data = rows.data else { return 0 }
        let parsed = TripletRow.packed(data)
        guard parsed.count <= ForgottenRows.maximumRows else { return 0 }
        return try await onWriter { hot throws(StoreFailure) in try hot.putBack(parsed) }
    }
}

extension HotTransaction {
    /// Removes rows, and hands them over.
    func take(_ keys: [Int64]) throws(StoreFailure) -> [(Int64, TripletRow)] {
        var rows: [(Int64, TripletRow)] = []
        for key in keys { if let row = try triplet(key) { rows.append((key, row)) } }
        _ = try forget(rows.map(\.0))
        return rows
    }

    /// Puts rows back where there are no newer ones; returns how many.
    func putBack(_ rows: [(Int64, TripletRow)]) throws(StoreFailure) -> Int {
        var count = 0
        for (key, row) in rows where try triplet(key) == nil {
            create(key, row)
            count += 1
        }
        return count
    }
}

extension [UInt8] {
    fileprivate mutating func append(_ key: Int64, _ row: TripletRow) {
        let values = [
            key, row.firstSeen.milliseconds, row.lastSeen.milliseconds, row.passedAt?.milliseconds ?? .min, Int64(row.deferrals),
            Int64(row.passes), row.expires.milliseconds,
        ]
        for value in values { Swift.withUnsafeBytes(of: value.littleEndian) { append(contentsOf: $0) } }
    }
}

extension TripletRow {
    /// Octets of one row with its key.
    private static let packedSize = 56

    /// What cannot be read is left out.
    fileprivate static func packed(_ data: [UInt8]) -> [(Int64, TripletRow)] {
        data.withUnsafeBytes { bytes in
            stride(from: 0, to: bytes.count - bytes.count % packedSize, by: packedSize).map { start in
                func value(_ index: Int) -> Int64 {
                    Int64(littleEndian: bytes.loadUnaligned(fromByteOffset: start + index * 8, as: Int64.self))
                }
                return (
                    value(0),
                    TripletRow(
                        firstSeen: WallTime(milliseconds: value(1)), lastSeen: WallTime(milliseconds: value(2)),
                        passedAt: value(3) == .min ? nil : WallTime(milliseconds: value(3)), deferrals: UInt32(clamping: value(4)),
                        passes: UInt32(clamping: value(5)), expires: WallTime(milliseconds: value(6)))
                )
            }
        }
    }
}

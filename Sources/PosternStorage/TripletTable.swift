import PosternCore
import PosternEngine

/// The triplet rows, on the writer's connection.
final class TripletTable {
    private let select: Statement
    private let replace: Statement
    private let delete: Statement

    init(_ connection: OpaquePointer, path: String) throws(StoreFailure) {
        select = try Statement(
            "SELECT first, last_after, passed_after, deferrals, passes, expires_after FROM triplets WHERE key = ?", on: connection,
            path: path)
        replace = try Statement("REPLACE INTO triplets VALUES (?, ?, ?, ?, ?, ?, ?)", on: connection, path: path)
        delete = try Statement("DELETE FROM triplets WHERE key = ?", on: connection, path: path)
    }

    func row(_ key: Int64) throws(StoreFailure) -> TripletRow? {
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

    func put(_ key: Int64, _ row: TripletRow) throws(StoreFailure) {
        replace.bind(1, key)
        replace.bind(2, row.firstSeen.milliseconds)
        replace.bind(3, (row.lastSeen - row.firstSeen).milliseconds)
        replace.bind(4, row.passedAt.map { ($0 - row.firstSeen).milliseconds })
        replace.bind(5, Int64(row.deferrals))
        replace.bind(6, Int64(row.passes))
        replace.bind(7, (row.expires - row.firstSeen).milliseconds)
        try replace.run()
    }

    func remove(_ key: Int64) throws(StoreFailure) {
        delete.bind(1, key)
        try delete.run()
    }
}

/// The identity rows, on the writer's connection.
final class IdentityTable {
    private let select: Statement
    private let replace: Statement
    private let delete: Statement

    init(_ connection: OpaquePointer, path: String) throws(StoreFailure) {
        select = try Statement("SELECT passes, last, expires_after FROM identities WHERE key = ?", on: connection, path: path)
        replace = try Statement("REPLACE INTO identities VALUES (?, ?, ?, ?)", on: connection, path: path)
        delete = try Statement("DELETE FROM identities WHERE key = ?", on: connection, path: path)
    }

    func row(_ key: Int64) throws(StoreFailure) -> IdentityRow? {
        select.bind(1, key)
        defer { select.reset() }
        guard try select.step() else { return nil }
        let last = WallTime(milliseconds: select.integer(1))
        return IdentityRow(
            passes: UInt32(truncatingIfNeeded: select.integer(0)), lastSeen: last, expires: last + .milliseconds(select.integer(2)))
    }

    func put(_ key: Int64, _ row: IdentityRow) throws(StoreFailure) {
        replace.bind(1, key)
        replace.bind(2, Int64(row.passes))
        replace.bind(3, row.lastSeen.milliseconds)
        replace.bind(4, (row.expires - row.lastSeen).milliseconds)
        try replace.run()
    }

    func remove(_ key: Int64) throws(StoreFailure) {
        delete.bind(1, key)
        try delete.run()
    }
}

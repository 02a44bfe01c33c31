import PosternCore
import PosternEngine

/// The identity rows, on the writer's connection. They change only when mail passes, and are few beside the triplets.
final class IdentityTable {
    private let select: Statement
    private let replace: Statement
    private let delete: Statement
    private let filter: TableFilter

    init(_ connection: OpaquePointer, path: String) throws(StoreFailure) {
        select = try Statement("SELECT passes, last, expires_after FROM identities WHERE key = ?", on: connection, path: path)
        replace = try Statement("REPLACE INTO identities VALUES (?, ?, ?, ?)", on: connection, path: path)
        delete = try Statement("DELETE FROM identities WHERE key = ?", on: connection, path: path)
        filter = TableFilter(try TableKeys("identities", on: connection, path: path))
    }

    /// To be called at the start, when another process has written, or a transaction failed; `count` is the number of rows.
    func synchronise(count: Int64) throws(StoreFailure) { try filter.reset(rows: count) }

    var isLearnt: Bool { filter.isComplete }

    /// Learns which rows there are, within a transaction.
    func learn(_ rows: Int, of count: Int64) throws(StoreFailure) { try filter.learn(rows, rows: count) }

    func row(_ key: Int64) throws(StoreFailure) -> IdentityRow? {
        guard filter.mayContain(key) else { return nil }
        select.bind(1, key)
        defer { select.reset() }
        guard try select.step() else { return nil }
        let last = WallTime(milliseconds: select.integer(1))
        return IdentityRow(
            passes: UInt32(truncatingIfNeeded: select.integer(0)), lastSeen: last, expires: last + .milliseconds(select.integer(2)))
    }

    func put(_ key: Int64, _ row: IdentityRow) throws(StoreFailure) {
        filter.insert(key)
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

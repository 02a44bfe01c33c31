import GRDBSQLite
import PosternEngine

/// Which rows of a table there may be: most clients and most of what they send are new, and known to be without a look at the disk.
///
/// What the table held before is learnt in the order of its keys, little by little, since to read ten million takes seconds; until
/// then every key beyond the last one learnt may be there. To be told of every row that is put.
final class TableFilter {
    private let keys: Statement
    private var filter = KeyFilter(keys: 0)
    /// The first key that is not learnt; `nil` when all are.
    private var next: Int64? = .min
    /// How many may be put before the filter is made anew, and larger.
    private var room = 0

    /// Room that there is at least.
    static let minimumRoom = 1 << 16
    /// Rows that are learnt at once, which takes about a thousandth of a second: all there are in a small table.
    static let learntAtOnce = 10_000

    /// - Parameter table: has a `key`, which is its rows' number.
    init(_ table: String, on connection: OpaquePointer, path: String) throws(StoreFailure) {
        keys = try Statement("SELECT key FROM \(table) WHERE key >= ? ORDER BY key LIMIT ?", on: connection, path: path)
    }

    var isComplete: Bool { next == nil }

    func mayContain(_ key: Int64) -> Bool {
        if let next, key >= next { return true }
        return filter.mayContain(key)
    }

    func insert(_ key: Int64) {
        filter.insert(key)
        room -= 1
    }

    /// Begins anew: the table may have changed by somebody else's hand. `rows` is about how many there are.
    func reset(rows: Int64) throws(StoreFailure) {
        let rows = Int(clamping: max(rows, 0))
        room = max(rows, Self.minimumRoom)
        filter = KeyFilter(keys: min(rows, KeyFilter.maximumKeys) + room)
        next = .min
        try learn(Self.learntAtOnce, rows: Int64(rows))
    }

    /// Reads so many more rows at most, within a transaction.
    func learn(_ count: Int, rows: Int64) throws(StoreFailure) {
        if room < 0 { return try reset(rows: rows) }
        guard let start = next, count > 0 else { return }
        keys.bind(1, start)
        keys.bind(2, Int64(count))
        defer { keys.reset() }
        var last = start
        var learnt = 0
        while try keys.step() {
            last = keys.integer(0)
            filter.insert(last)
            learnt += 1
        }
        next = learnt < count || last == .max ? nil : last + 1
    }
}

import GRDBSQLite
import PosternEngine

/// Where the keys of a table's rows are read.
protocol KeySource {
    /// Calls `body` with the keys from `start` on, in their order, about so many of them; returns whether there may be more.
    func keys(from start: Int64, about count: Int, _ body: (Int64) -> Void) throws(StoreFailure) -> Bool
}

/// The keys of a table that has a `key`, which is its rows' number.
final class TableKeys: KeySource {
    private let select: Statement

    init(_ table: String, on connection: OpaquePointer, path: String) throws(StoreFailure) {
        select = try Statement("SELECT key FROM \(table) WHERE key >= ? ORDER BY key LIMIT ?", on: connection, path: path)
    }

    func keys(from start: Int64, about count: Int, _ body: (Int64) -> Void) throws(StoreFailure) -> Bool {
        select.bind(1, start)
        select.bind(2, Int64(count))
        defer { select.reset() }
        var seen = 0
        while try select.step() {
            body(select.integer(0))
            seen += 1
        }
        return seen == count
    }
}

/// Which rows of a table there may be: most clients and most of what they send are new, and known to be without a look at the disk.
///
/// What the table held before is learnt in the order of its keys, little by little, since to read ten million takes time; until
/// then every key beyond the last one learnt may be there. When the table outgrows the filter, a larger one is learnt beside it, and
/// takes its place when it knows all. To be told of every row that is put.
final class TableFilter {
    private let source: any KeySource
    private var current = Learner(rows: 0)
    private var larger: Learner?

    /// Room that there is at least.
    static let minimumRoom = 1 << 16
    /// Rows that are learnt at once, which takes about a thousandth of a second: all there are in a small table.
    static let learntAtOnce = 10_000

    init(_ source: any KeySource) {
        self.source = source
    }

    var isComplete: Bool { current.isComplete && larger == nil }

    func mayContain(_ key: Int64) -> Bool { current.mayContain(key) }

    func insert(_ key: Int64) {
        current.insert(key)
        larger?.insert(key)
    }

    /// Begins anew: the table may have changed by somebody else's hand. `rows` is about how many there are.
    func reset(rows: Int64) throws(StoreFailure) {
        larger = nil
        current = Learner(rows: rows)
        try current.learn(Self.learntAtOnce, from: source)
    }

    /// Reads about so many more rows, within a transaction. `rows` is about how many there are.
    func learn(_ count: Int, rows: Int64) throws(StoreFailure) {
        guard count > 0 else { return }
        guard current.isComplete else { return try current.learn(count, from: source) }
        if larger == nil, current.isOutgrown { larger = Learner(rows: rows) }
        guard larger != nil else { return }
        try larger?.learn(count, from: source)
        guard let learnt = larger, learnt.isComplete else { return }
        current = learnt
        larger = nil
    }

    /// A filter that is told of rows, and reads those of before.
    private struct Learner {
        private var filter: KeyFilter
        /// The first key that is not learnt; `nil` when all are.
        private var next: Int64? = .min
        /// How many may be put before it should be larger.
        private var room: Int

        init(rows: Int64) {
            let rows = Int(clamping: max(rows, 0))
            room = max(rows, TableFilter.minimumRoom)
            filter = KeyFilter(keys: min(rows, KeyFilter.maximumKeys) + room)
        }

        var isComplete: Bool { next == nil }
        var isOutgrown: Bool { room < 0 }

        func mayContain(_ key: Int64) -> Bool {
            if let next, key >= next { return true }
            return filter.mayContain(key)
        }

        mutating func insert(_ key: Int64) {
            filter.insert(key)
            room -= 1
        }

        mutating func learn(_ count: Int, from source: any KeySource) throws(StoreFailure) {
            guard let start = next else { return }
            var last = start
            let hasMore = try source.keys(from: start, about: count) { key in
                last = key
                filter.insert(key)
            }
            next = hasMore && last < .max ? last + 1 : nil
        }
    }
}

import GRDBSQLite
import PosternCore
import PosternEngine

/// The triplet rows in the database, on the writer's connection, in lots (`TripletLot`).
///
/// A lot's row has a number that no key in it is below, and that all keys of the lots of lower rows are: so no two lots overlap, and a
/// key is in the lot of the greatest number that does not exceed it, or in none.
final class TripletLots: KeySource {
    /// The lot that a key belongs into.
    private let holding: Statement
    /// Where the next lot begins.
    private let following: Statement
    private let onwards: Statement
    private let replace: Statement
    private let delete: Statement
    private let path: String

    /// A lot's rows while they are put together.
    private var rows = OctetWriter(capacity: 4 * TripletLot.maximumRows * TripletLot.rowOctets)

    init(_ connection: OpaquePointer, path: String) throws(StoreFailure) {
        self.path = path
        holding = try Statement(
            "SELECT lowest, triplets FROM triplet_lots WHERE lowest <= ? ORDER BY lowest DESC LIMIT 1", on: connection, path: path)
        following = try Statement("SELECT lowest FROM triplet_lots WHERE lowest > ? ORDER BY lowest LIMIT 1", on: connection, path: path)
        onwards = try Statement("SELECT triplets FROM triplet_lots WHERE lowest >= ? ORDER BY lowest LIMIT ?", on: connection, path: path)
        replace = try Statement("REPLACE INTO triplet_lots VALUES (?, ?)", on: connection, path: path)
        delete = try Statement("DELETE FROM triplet_lots WHERE lowest = ?", on: connection, path: path)
    }

    func row(_ key: Int64) throws(StoreFailure) -> TripletRow? {
        holding.bind(1, key)
        defer { holding.reset() }
        guard try holding.step() else { return nil }
        return try lot(holding.octets(1)).row(of: key)
    }

    private func lot(_ octets: UnsafeRawBufferPointer) throws(StoreFailure) -> TripletLot {
        guard let lot = TripletLot(octets) else { throw .damagedTriplets(path: path) }
        return lot
    }

    // MARK: - Writing

    /// Brings changes into their lots, within a transaction: those that `change` has at the numbers of a range, in the order of their keys.
    func merge(_ numbers: Range<Int>, _ change: (Int) -> TripletChange) throws(StoreFailure) {
        var next = numbers.lowerBound
        while next < numbers.upperBound { next = try mergeLot(next..<numbers.upperBound, change) }
    }

    /// As many as belong into the first one's lot; returns the number of the next one.
    private func mergeLot(_ numbers: Range<Int>, _ change: (Int) -> TripletChange) throws(StoreFailure) -> Int {
        var next = numbers.lowerBound
        let first = change(next).key
        following.bind(1, first)
        let end = try following.step() ? following.integer(0) : nil
        following.reset()
        holding.bind(1, first)
        defer { holding.reset() }
        let isThere = try holding.step()
        let lowest = isThere ? holding.integer(0) : first
        let old = try lot(isThere ? holding.octets(1) : UnsafeRawBufferPointer(start: nil, count: 0))
        rows.removeAll()
        var place = 0
        while next < numbers.upperBound {
            let change = change(next)
            if let end, change.key >= end { break }
            let stop = old.place(of: change.key, from: place)
            rows.append(octets: old.octets(place..<stop))
            place = stop < old.count && old.key(stop) == change.key ? stop + 1 : stop
            if let row = change.row { TripletLot.append(change.key, row, to: &rows) }
            next += 1
        }
        rows.append(octets: old.octets(place..<old.count))
        holding.reset()
        try write(at: lowest, isThere: isThere)
        return next
    }

    /// Writes what was put together in the place of a lot, in several where it is too much for one.
    private func write(at lowest: Int64, isThere: Bool) throws(StoreFailure) {
        let count = rows.count / TripletLot.rowOctets
        guard count > 0 else {
            guard isThere else { return }
            delete.bind(1, lowest)
            return try delete.run()
        }
        let lots = (count + TripletLot.maximumRows - 1) / TripletLot.maximumRows
        var start = 0
        for lot in 1...lots {
            let end = count * lot / lots
            let octets = rows[start * TripletLot.rowOctets..<end * TripletLot.rowOctets]
            replace.bind(1, lot == 1 ? lowest : try self.lot(octets).key(0))
            replace.bind(2, blob: octets)
            try replace.run()
            start = end
        }
    }

    /// Removes what has expired of the lot that begins at `lowest`, unless `isChanged` says that its row is another one by now; returns
    /// how many there were.
    func expire(_ lowest: Int64, now: WallTime, unless isChanged: (Int64) -> Bool) throws(StoreFailure) -> Int {
        holding.bind(1, lowest)
        defer { holding.reset() }
        guard try holding.step(), holding.integer(0) == lowest else { return 0 }
        let old = try lot(holding.octets(1))
        rows.removeAll()
        var removed = 0
        for place in 0..<old.count {
            if old.expires(place) <= now, !isChanged(old.key(place)) {
                removed += 1
            } else {
                rows.append(octets: old.octets(place..<place + 1))
            }
        }
        guard removed > 0 else { return 0 }
        holding.reset()
        try write(at: lowest, isThere: true)
        return removed
    }

    // MARK: - Learning

    func keys(from start: Int64, about count: Int, _ body: (Int64) -> Void) throws(StoreFailure) -> Bool {
        let lots = max(count / TripletLot.maximumRows, 1)
        onwards.bind(1, start)
        onwards.bind(2, Int64(lots))
        defer { onwards.reset() }
        var seen = 0
        while try onwards.step() {
            let lot = try lot(onwards.octets(0))
            for place in 0..<lot.count { body(lot.key(place)) }
            seen += 1
        }
        return seen == lots
    }
}

extension StoreFailure {
    static func damagedTriplets(path: String) -> StoreFailure {
        .sqlite(SQLITE_CORRUPT, "a row of triplets has an impossible length", path: path)
    }
}

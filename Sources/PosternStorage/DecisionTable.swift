import GRDBSQLite
import PosternCore
import PosternEngine

/// The readable decisions, on the writer's connection, in lots (`DecisionLot`).
///
/// A lot's row has a number that no decision in it exceeds, and that all in the lots of lower rows are below: so the rows lie
/// in the order of the references, and no two lots overlap. A transaction's decisions are gathered, and written by `flush`:
/// what is newer than everything goes into lots of its own, and what comes late into the lot whose place it belongs to, or a
/// new one between two.
final class DecisionTable {
    private let replace: Statement
    private let delete: Statement
    /// The lot that a reference belongs into: the lowest that may hold it.
    private let lot: Statement
    private let sizes: Statement
    private let newest: Statement
    private let index: DecisionIndex
    private let path: String

    /// Decisions of the transaction under way, packed, as they came.
    private var pending = OctetWriter(capacity: 65_536)
    private var places: [Place] = []
    /// A lot while it is put together.
    private var octets = OctetWriter(capacity: 4096)
    /// The highest number of a row that was written.
    private var top = Int64.min
    /// The highest reference, of the transaction under way too; `.min` where there is none.
    private(set) var highest = Int64.min
    /// The block of the index that the newest decisions go into, and how many there are in it.
    private var filling = DecisionIndex.Block(low: .min, high: .min)
    private var filled = 0

    private struct Place {
        var reference: Int64
        var range: Range<Int>
    }

    init(_ connection: OpaquePointer, path: String, index: DecisionIndex) throws(StoreFailure) {
        self.index = index
        self.path = path
        replace = try Statement("REPLACE INTO decision_lots VALUES (?, ?, ?)", on: connection, path: path)
        delete = try Statement("DELETE FROM decision_lots WHERE highest = ?", on: connection, path: path)
        lot = try Statement(
            "SELECT highest, decisions FROM decision_lots WHERE highest >= ? ORDER BY highest LIMIT 1", on: connection, path: path)
        sizes = try Statement(
            "SELECT highest, count FROM decision_lots WHERE highest > ? ORDER BY highest LIMIT 1", on: connection, path: path)
        newest = try Statement("SELECT max(highest) FROM decision_lots", on: connection, path: path)
    }

    /// To be called when another process has written, or a transaction failed.
    func synchronise() throws(StoreFailure) {
        clearPending()
        defer { newest.reset() }
        _ = try newest.step()
        top = newest.optionalInteger(0) ?? .min
        highest = top
        let start = index.start(highest: highest)
        filling = DecisionIndex.Block(low: start, high: start)
        filled = 0
    }

    private func clearPending() {
        pending.removeAll()
        places.removeAll(keepingCapacity: true)
    }

    /// Takes a decision in, which `flush` writes in place of one of the same reference. `key` tells the key of the triplet at a
    /// place among the record's.
    func put(_ record: borrowing DecisionRecord, key: (Int) -> Int64) {
        let start = pending.count
        pending.pack(record, key: key)
        note(PackedDecision(octets: pending[start..<pending.count]))
        places.append(Place(reference: record.reference.value, range: start..<pending.count))
    }

    /// Takes in a decision that `pack` appends to others.
    func take(reference: Int64, _ pack: (inout OctetWriter) -> Void) {
        let start = pending.count
        pack(&pending)
        places.append(Place(reference: reference, range: start..<pending.count))
    }

    /// Sees to it that a search finds the decision.
    private func note(_ decision: PackedDecision) {
        let reference = decision.reference
        highest = max(highest, reference)
        guard reference >= filling.low else { return index.note(late: decision) }
        filling.insert(decision)
        filling.high = max(filling.high, reference)
        filled += 1
        if filled >= DecisionIndex.blockRows, filling.high < .max {
            index.append(filling)
            filling = DecisionIndex.Block(low: filling.high + 1, high: filling.high + 1)
            filled = 0
        }
    }

    // MARK: - Writing

    /// Writes what was taken in; returns how many of them there were none of the same reference of.
    func flush() throws(StoreFailure) -> Int {
        guard !places.isEmpty else { return 0 }
        sortPlaces()
        var written = 0
        var first = 0
        // Several threads hand decisions over, so that some come a little later than others.
        while first < places.count, places[first].reference <= top {
            if try insert(late: places[first]) { written += 1 }
            first += 1
        }
        while first < places.count {
            var end = first + 1
            var size = places[first].range.count
            while end < places.count, size + places[end].range.count <= DecisionLot.octets {
                size += places[end].range.count
                end += 1
            }
            octets.removeAll()
            for place in places[first..<end].reversed() { octets.append(octets: pending[place.range]) }
            top = places[end - 1].reference
            try write(top, count: end - first, octets.octets)
            written += end - first
            first = end
        }
        clearPending()
        return written
    }

    /// By reference; of those with the same the last stays.
    private func sortPlaces() {
        let isSorted = zip(places, places.dropFirst()).allSatisfy { $0.reference < $1.reference }
        guard !isSorted else { return }
        places.sort { ($0.reference, $0.range.lowerBound) < ($1.reference, $1.range.lowerBound) }
        var kept: [Place] = []
        for place in places {
            if kept.last?.reference == place.reference { kept.removeLast() }
            kept.append(place)
        }
        places = kept
    }

    /// `false` where one of the same reference was there.
    private func insert(late place: Place) throws(StoreFailure) -> Bool {
        let packed = [UInt8](pending[place.range])
        guard let (number, old) = try read(from: place.reference) else {
            try write(place.reference, count: 1, packed)
            return true
        }
        var before: [UInt8] = []
        var behind: [UInt8] = []
        var counts = (before: 0, behind: 0)
        /// The highest reference behind it.
        var first: Int64?
        var isNew = true
        try each(of: old) { decision in
            if decision.reference > place.reference {
                before.append(contentsOf: decision.octets)
                counts.before += 1
            } else if decision.reference < place.reference {
                first = first ?? decision.reference
                behind.append(contentsOf: decision.octets)
                counts.behind += 1
            } else {
                isNew = false
            }
        }
        if isNew, behind.isEmpty {
            // Between this lot and the next below.
            try write(place.reference, count: 1, packed)
        } else if before.count + packed.count + behind.count <= DecisionLot.maximumOctets {
            try write(number, count: counts.before + 1 + counts.behind, before + packed + behind)
        } else if before.isEmpty {
            if let first { try write(first, count: counts.behind, behind) }
            try write(number, count: 1, packed)
        } else {
            try write(place.reference, count: counts.behind + 1, packed + behind)
            try write(number, count: counts.before, before)
        }
        return isNew
    }

    /// The lot that a reference belongs into.
    private func read(from reference: Int64) throws(StoreFailure) -> (number: Int64, octets: [UInt8])? {
        lot.bind(1, reference)
        defer { lot.reset() }
        guard try lot.step() else { return nil }
        return (lot.integer(0), Array(lot.octets(1)))
    }

    private func each(of octets: [UInt8], _ body: (PackedDecision) -> Void) throws(StoreFailure) {
        let isDamaged = octets.withUnsafeBytes { bytes in
            var lot = DecisionLot(bytes)
            while let decision = lot.next() { body(decision) }
            return lot.isDamaged
        }
        if isDamaged { throw .damagedDecisions(path: path) }
    }

    private func write(_ number: Int64, count: Int, _ octets: UnsafeRawBufferPointer) throws(StoreFailure) {
        replace.bind(1, number)
        replace.bind(2, Int64(count))
        replace.bind(3, blob: octets)
        try replace.run()
    }

    private func write(_ number: Int64, count: Int, _ octets: [UInt8]) throws(StoreFailure) {
        let result: Result<Void, StoreFailure> = octets.withUnsafeBytes { bytes in
            do throws(StoreFailure) { return .success(try write(number, count: count, bytes)) } catch { return .failure(error) }
        }
        try result.get()
    }

    // MARK: - Throwing away

    /// Drops the oldest; returns how many.
    func prune(oldest count: Int) throws(StoreFailure) -> Int { try prune(count, before: nil) }

    /// Drops those of the oldest that are older than `before`; returns how many.
    func prune(oldest count: Int, before: WallTime) throws(StoreFailure) -> Int { try prune(count, before: before.milliseconds) }

    private func prune(_ count: Int, before: Int64?) throws(StoreFailure) -> Int {
        var seen = 0
        var removed = 0
        var number = Int64.min
        /// Up to here nothing is left.
        var gone: Int64?
        var isWhole = true
        while seen < count {
            sizes.bind(1, number)
            let found = try sizes.step() ? (number: sizes.integer(0), count: Int(sizes.integer(1))) : nil
            sizes.reset()
            guard let found else { break }
            number = found.number
            var left = 0
            if before != nil || found.count > count - seen {
                guard let (_, old) = try read(from: number) else { break }
                var kept: [UInt8] = []
                // The newest come first: those beyond the number that is looked at.
                var unseen = max(found.count - (count - seen), 0)
                try each(of: old) { decision in
                    let stays = unseen > 0 || before.map { decision.time >= $0 } ?? false
                    unseen -= 1
                    guard stays else { return }
                    kept.append(contentsOf: decision.octets)
                    left += 1
                }
                if left > 0, left < found.count { try write(number, count: left, kept) }
            }
            if left == 0 {
                delete.bind(1, number)
                try delete.run()
                if isWhole { gone = number }
            } else {
                isWhole = false
            }
            seen += min(found.count, count - seen)
            removed += found.count - left
        }
        if let gone { index.pruned(through: gone) }
        return removed
    }
}

extension StoreFailure {
    static func damagedDecisions(path: String) -> StoreFailure {
        .sqlite(SQLITE_CORRUPT, "a row of decisions has an impossible length", path: path)
    }
}

/// The triplet keys of a decision as octets: for each triplet the number of its keys, then the keys, 8 octets each.
enum TripletGroups {
    /// A triplet has at most as many keys as there are kinds of identities.
    static let maximumKeys = 255

    /// What cannot be read is left out.
    static func decode(_ bytes: UnsafeRawBufferPointer) -> [[Int64]] {
        var groups: [[Int64]] = []
        var position = 0
        while position < bytes.count {
            let count = Int(bytes[position])
            position += 1
            guard position + count * 8 <= bytes.count else { break }
            groups.append(
                (0..<count).map { Int64(littleEndian: bytes.loadUnaligned(fromByteOffset: position + $0 * 8, as: Int64.self)) })
            position += count * 8
        }
        return groups
    }
}

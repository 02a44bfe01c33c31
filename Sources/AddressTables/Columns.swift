import PosternCore

/// IPv4 prefixes of one length in the order of their bits, with what belongs to each.
struct ColumnV4: Sendable {
    private(set) var keys: [UInt32] = []
    private(set) var marks: [UInt16] = []
    /// Empty where nothing expires.
    private(set) var ends: [UInt32] = []
    /// Where the keys with each value of their upper bits begin, and the end.
    private var starts: [UInt32] = [0, 0]
    private var shift: UInt32 = 32

    /// More would cost more memory than the steps they save.
    private static let mostBits = 16

    init() {}

    /// From rows in any order; of rows with the same key the last counts.
    init(consuming rows: consuming [RowV4]) {
        guard !rows.isEmpty else { return }
        let bits = min(max(UInt64(rows.count).bitWidth - UInt64(rows.count).leadingZeroBitCount - 3, 0), Self.mostBits)
        shift = UInt32(32 - bits)
        Self.sort(&rows, bits: bits)
        Self.removeReplaced(&rows)
        keys = rows.map(\.key)
        marks = rows.map(\.mark)
        if rows.contains(where: { $0.end != 0 }) { ends = rows.map(\.end) }
        starts = [UInt32](repeating: 0, count: 1 << bits + 1)
        for key in keys { starts[Int(UInt64(key) >> UInt64(shift)) + 1] += 1 }
        for index in 1..<starts.count { starts[index] += starts[index - 1] }
    }

    /// By their upper bits into buckets, keeping their order, then each bucket by itself: addresses are spread well enough
    /// that buckets are small, and a bucket that is not costs no more than any sort.
    private static func sort(_ rows: inout [RowV4], bits: Int) {
        if zip(rows, rows.dropFirst()).allSatisfy({ $0.key <= $1.key }) { return }
        let shift = UInt64(32 - bits)
        var places = [Int](repeating: 0, count: 1 << bits + 1)
        for row in rows { places[Int(UInt64(row.key) >> shift) + 1] += 1 }
        for index in 1..<places.count { places[index] += places[index - 1] }
        let ends = places
        var sorted = [RowV4](repeating: RowV4(key: 0, end: 0, mark: 0), count: rows.count)
        for row in rows {
            let bucket = Int(UInt64(row.key) >> shift)
            sorted[places[bucket]] = row
            places[bucket] += 1
        }
        for bucket in 0..<(1 << bits) where ends[bucket + 1] - ends[bucket] > 1 {
            let range = ends[bucket]..<ends[bucket + 1]
            if range.count > 32 {
                sorted[range].sort { $0.key < $1.key }
            } else {
                for index in range.dropFirst() {
                    let row = sorted[index]
                    var place = index
                    while place > range.lowerBound, sorted[place - 1].key > row.key {
                        sorted[place] = sorted[place - 1]
                        place -= 1
                    }
                    sorted[place] = row
                }
            }
        }
        rows = sorted
    }

    private static func removeReplaced(_ rows: inout [RowV4]) {
        var kept = 0
        for index in 1..<max(rows.count, 1) {
            if rows[index].key != rows[kept].key { kept += 1 }
            rows[kept] = rows[index]
        }
        rows.removeLast(rows.count - kept - 1)
    }

    @inline(__always)
    func find(_ key: UInt32, length: UInt8) -> AddressListing? {
        let index = firstIndex(notBelow: key)
        guard index < keys.count, keys[index] == key else { return nil }
        return AddressListing(mark: marks[index], length: length, expires: ends.isEmpty ? 0 : ends[index])
    }

    func hasKey(in range: ClosedRange<UInt32>) -> Bool {
        let index = firstIndex(notBelow: range.lowerBound)
        return index < keys.count && keys[index] <= range.upperBound
    }

    @inline(__always)
    private func firstIndex(notBelow key: UInt32) -> Int {
        let bucket = Int(UInt64(key) >> UInt64(shift))
        var low = Int(starts[bucket])
        var high = Int(starts[bucket + 1])
        while low < high {
            let middle = (low + high) / 2
            if keys[middle] < key { low = middle + 1 } else { high = middle }
        }
        return low
    }

    func forEach<Failure: Error>(length: UInt8, _ body: (Prefix, AddressListing) throws(Failure) -> Void) throws(Failure) {
        for index in keys.indices {
            let listing = AddressListing(mark: marks[index], length: length, expires: ends.isEmpty ? 0 : ends[index])
            try body(Prefix(IPAddress(v4: keys[index]), length: Int(length)), listing)
        }
    }
}

/// A row of an IPv4 column that is being made.
struct RowV4 {
    var key: UInt32
    var end: UInt32
    var mark: UInt16
}

/// IPv6 prefixes of one length in the order of their bits, with what belongs to each.
struct ColumnV6: Sendable {
    private(set) var highs: [UInt64] = []
    /// Empty for lengths up to 64.
    private var lows: [UInt64] = []
    private var marks: [UInt16] = []
    /// Empty where nothing expires.
    private var ends: [UInt32] = []

    /// From rows in any order; of rows with the same key the last counts.
    init(rows: [RowV6], length: UInt8) {
        // The place in the list decides between equal keys.
        let sorted = rows.enumerated().sorted {
            ($0.element.high, $0.element.low, $0.offset) < ($1.element.high, $1.element.low, $1.offset)
        }.map(\.element)
        var kept: [RowV6] = []
        for row in sorted {
            if let last = kept.last, last.high == row.high, last.low == row.low { kept.removeLast() }
            kept.append(row)
        }
        highs = kept.map(\.high)
        if length > 64 { lows = kept.map(\.low) }
        marks = kept.map(\.mark)
        if kept.contains(where: { $0.end != 0 }) { ends = kept.map(\.end) }
    }

    static func masks(_ length: UInt8) -> (high: UInt64, low: UInt64) {
        switch length {
        case 0: (0, 0)
        case 1...64: (.max << UInt64(64 - length), 0)
        case 65..<128: (.max, .max << UInt64(128 - length))
        default: (.max, .max)
        }
    }

    func find(_ high: UInt64, _ low: UInt64, length: UInt8) -> AddressListing? {
        let index = firstIndex(notBelow: (high, low))
        guard index < highs.count, highs[index] == high, lows.isEmpty || lows[index] == low else { return nil }
        return AddressListing(mark: marks[index], length: length, expires: ends.isEmpty ? 0 : ends[index])
    }

    func hasKey(from first: (UInt64, UInt64), through last: (UInt64, UInt64)) -> Bool {
        let index = firstIndex(notBelow: first)
        return index < highs.count && (highs[index], lows.isEmpty ? 0 : lows[index]) <= last
    }

    private func firstIndex(notBelow key: (UInt64, UInt64)) -> Int {
        var low = 0
        var high = highs.count
        while low < high {
            let middle = (low + high) / 2
            if (highs[middle], lows.isEmpty ? 0 : lows[middle]) < key { low = middle + 1 } else { high = middle }
        }
        return low
    }

    func forEach<Failure: Error>(length: UInt8, _ body: (Prefix, AddressListing) throws(Failure) -> Void) throws(Failure) {
        for index in highs.indices {
            let listing = AddressListing(mark: marks[index], length: length, expires: ends.isEmpty ? 0 : ends[index])
            // Not by way of the mapped form: what stands here is an IPv6 address.
            try body(Prefix(IPAddress(v6High: highs[index], low: lows.isEmpty ? 0 : lows[index]), length: Int(length)), listing)
        }
    }
}

/// A row of an IPv6 column that is being made.
struct RowV6 {
    var high: UInt64
    var low: UInt64
    var end: UInt32
    var mark: UInt16
}

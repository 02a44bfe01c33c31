import PosternCore
import PosternEngine

/// Triplet rows that lie together in one row of the database, in the order of their keys.
///
/// A row of its own would cost a statement for each triplet that is merged; so it costs one for each lot, and what is looked for is
/// found by halving. A triplet takes 40 octets: its key and 8 octets of counts, and between them four times in milliseconds, six
/// octets each, little-endian: when it was first seen, then how long after that it was last seen, passed, and expires. Times that
/// are thousands of years off are brought nearer.
struct TripletLot {
    static let rowOctets = 40
    /// So many fit into a page of 4096 octets, which keeps 4061 of a row's octets in itself (SQLite's file format, section 1.6).
    static let maximumRows = 101

    private let octets: UnsafeRawBufferPointer
    let count: Int

    /// `nil` where no lot is of such a length.
    init?(_ octets: UnsafeRawBufferPointer) {
        guard octets.count % Self.rowOctets == 0 else { return nil }
        self.octets = octets
        count = octets.count / Self.rowOctets
    }

    func key(_ place: Int) -> Int64 { Int64(littleEndian: octets.loadUnaligned(fromByteOffset: place * Self.rowOctets, as: Int64.self)) }

    /// The first place, from one on, whose key is not below `key`.
    func place(of key: Int64, from start: Int = 0) -> Int {
        var (low, high) = (start, count)
        while low < high {
            let middle = (low + high) / 2
            if self.key(middle) < key { low = middle + 1 } else { high = middle }
        }
        return low
    }

    func row(of key: Int64) -> TripletRow? {
        let place = place(of: key)
        return place < count && self.key(place) == key ? row(place) : nil
    }

    func row(_ place: Int) -> TripletRow {
        let first = time(place, 0)
        let passedAfter = time(place, 2)
        let counts = UInt64(littleEndian: octets.loadUnaligned(fromByteOffset: place * Self.rowOctets + 32, as: UInt64.self))
        return TripletRow(
            firstSeen: WallTime(milliseconds: first), lastSeen: WallTime(milliseconds: first + time(place, 1)),
            passedAt: passedAfter == Self.never ? nil : WallTime(milliseconds: first + passedAfter),
            deferrals: UInt32(truncatingIfNeeded: counts), passes: UInt32(truncatingIfNeeded: counts >> 32),
            expires: expires(place))
    }

    func expires(_ place: Int) -> WallTime { WallTime(milliseconds: time(place, 0) + time(place, 3)) }

    /// The octets of some rows.
    func octets(_ places: Range<Int>) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: octets[places.lowerBound * Self.rowOctets..<places.upperBound * Self.rowOctets])
    }

    /// Six octets, of which the highest has the sign; the two that follow them are the row's, too.
    private func time(_ place: Int, _ index: Int) -> Int64 {
        let value = Int64(littleEndian: octets.loadUnaligned(fromByteOffset: place * Self.rowOctets + 8 + index * 6, as: Int64.self))
        return (value << 16) >> 16
    }

    // MARK: - Writing

    /// The least that six octets hold: it has not passed.
    private static let never = -(Int64(1) << 47)

    static func append(_ key: Int64, _ row: TripletRow, to octets: inout OctetWriter) {
        let first = nearer(row.firstSeen.milliseconds)
        func after(_ time: WallTime) -> Int64 { nearer(nearer(time.milliseconds) - first) }
        octets.append(number: key)
        octets.append(time: first)
        octets.append(time: after(row.lastSeen))
        octets.append(time: row.passedAt.map(after) ?? never)
        octets.append(time: after(row.expires))
        octets.append(number: Int64(row.deferrals) | Int64(row.passes) << 32)
    }

    private static func nearer(_ milliseconds: Int64) -> Int64 { min(max(milliseconds, never + 1), -never - 1) }
}

extension OctetWriter {
    /// Six octets, the lowest first.
    fileprivate mutating func append(time: Int64) {
        withUnsafeBytes(of: time.littleEndian) { append(octets: UnsafeRawBufferPointer(rebasing: $0[..<6])) }
    }
}

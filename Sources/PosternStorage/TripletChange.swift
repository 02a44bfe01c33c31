import PosternCore
import PosternEngine

/// A triplet's row, or its removal, with its key.
struct TripletChange: Sendable, Equatable {
    let key: Int64
    private let first: Int64
    private let last: Int64
    /// `none` where it has not passed.
    private let passed: Int64
    /// `none` for a removal.
    private let expires: Int64
    private let deferrals: UInt32
    private let passes: UInt32

    private static let none = Int64.min

    private init(key: Int64, first: Int64, last: Int64, passed: Int64, expires: Int64, deferrals: UInt32, passes: UInt32) {
        self.key = key
        self.first = first
        self.last = last
        self.passed = passed
        self.expires = expires
        self.deferrals = deferrals
        self.passes = passes
    }

    init(_ key: Int64, _ row: TripletRow) {
        self.init(
            key: key, first: row.firstSeen.milliseconds, last: row.lastSeen.milliseconds, passed: row.passedAt?.milliseconds ?? Self.none,
            expires: max(row.expires.milliseconds, Self.none + 1), deferrals: row.deferrals, passes: row.passes)
    }

    init(removing key: Int64) {
        self.init(key: key, first: 0, last: 0, passed: Self.none, expires: Self.none, deferrals: 0, passes: 0)
    }

    var isRemoval: Bool { expires == Self.none }

    var row: TripletRow? {
        guard !isRemoval else { return nil }
        return TripletRow(
            firstSeen: WallTime(milliseconds: first), lastSeen: WallTime(milliseconds: last),
            passedAt: passed == Self.none ? nil : WallTime(milliseconds: passed), deferrals: deferrals, passes: passes,
            expires: WallTime(milliseconds: expires))
    }

    // MARK: - The journal's form: the key, then the parts, little-endian

    static let octets = 48

    func append(to bytes: inout [UInt8]) {
        let counts = Int64(deferrals) | Int64(passes) << 32
        let parts = (
            key.littleEndian, first.littleEndian, last.littleEndian, passed.littleEndian, expires.littleEndian, counts.littleEndian
        )
        withUnsafeBytes(of: parts) { bytes.append(contentsOf: $0) }
    }

    init(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
        func part(_ index: Int) -> Int64 {
            Int64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset + index * 8, as: Int64.self))
        }
        let counts = part(5)
        self.init(
            key: part(0), first: part(1), last: part(2), passed: part(3), expires: part(4), deferrals: UInt32(truncatingIfNeeded: counts),
            passes: UInt32(truncatingIfNeeded: counts >> 32))
    }
}

/// Changes of triplets as they came, the last one of each key, found by their keys. Those are hashes already: their own bits say
/// where to look.
struct TripletChanges: Sendable {
    private var changes: [TripletChange] = []
    /// Where each change stands, and one more; 0 where there is none. A power of two.
    private var places: [UInt32]
    /// How many `places` there are in the end.
    private let all: Int

    private static let fewest = 1 << 12
    /// With more than so many, all are taken at once: to put so many anew makes no answer wait for long, more would.
    private static let many = 1 << 16

    /// - Parameter room: for so many memory is taken at once, of which what is not used costs nothing; growing beyond it makes an answer wait.
    init(room: Int) {
        changes.reserveCapacity(room)
        all = max(Self.fewest, (room * 3 / 2).nextPowerOfTwo)
        places = [UInt32](repeating: 0, count: Self.fewest)
    }

    var count: Int { changes.count }

    /// The change that came at that place of all.
    subscript(place: Int) -> TripletChange { changes[place] }

    /// The change of a key.
    func change(of key: Int64) -> TripletChange? { place(of: key).found.map { changes[$0] } }

    func contains(_ key: Int64) -> Bool { place(of: key).found != nil }

    /// Takes a change in; returns the one that it takes the place of.
    @discardableResult
    mutating func put(_ change: TripletChange) -> TripletChange? {
        let (slot, found) = place(of: change.key)
        if let found {
            defer { changes[found] = change }
            return changes[found]
        }
        changes.append(change)
        places[slot] = UInt32(changes.count)
        if changes.count * 3 > places.count * 2 { grow() }
        return nil
    }

    private func place(of key: Int64) -> (slot: Int, found: Int?) {
        places.withUnsafeBufferPointer { places in
            changes.withUnsafeBufferPointer { changes in
                let last = places.count - 1
                var slot = Int(truncatingIfNeeded: key) & last
                while places[slot] != 0 {
                    let place = Int(places[slot]) - 1
                    if changes[place].key == key { return (slot, place) }
                    slot = (slot + 1) & last
                }
                return (slot, nil)
            }
        }
    }

    private mutating func grow() {
        places = [UInt32](repeating: 0, count: places.count < Self.many ? places.count * 4 : max(places.count * 2, all))
        for index in changes.indices { places[place(of: changes[index].key).slot] = UInt32(index + 1) }
    }

    /// The places of the changes in the order of their keys.
    func sortedPlaces() -> [UInt32] {
        var keys: [(key: Int64, place: UInt32)] = []
        keys.reserveCapacity(changes.count)
        for (place, change) in changes.enumerated() { keys.append((change.key, UInt32(place))) }
        keys.sort { $0.key < $1.key }
        return keys.map(\.place)
    }
}

extension Int {
    /// 1 for what is less.
    fileprivate var nextPowerOfTwo: Int { self <= 1 ? 1 : 1 << (Int.bitWidth - (self - 1).leadingZeroBitCount) }
}

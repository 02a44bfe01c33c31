/// Where things stand in a row, in words of 32 bits: block (2), when it was touched in seconds (1), members in use and flags (1); of
/// each column its epoch (1), then of each its totals of this window and the last (2); the members, two a word; of each member a
/// record: when it was charged last, in milliseconds as far as they go (1), and of each column this window's count and the last
/// one's (2), whose uppermost bit says that there is a log of it. Members stand in the order of their numbers, and so do the records.
struct RowLayout: Sendable {
    let columns: Int

    static let block = 0
    static let touched = 2
    static let state = 3
    static let head = 4
    /// In the word `state`: changed since it was last written down.
    static let isDirty: UInt32 = 1 << 31
    static let countMask: UInt32 = 0xffff
    /// In a count of the last window: there may be a log.
    static let isFollowed: UInt32 = 1 << 31
    static let mostCounted: UInt32 = isFollowed - 1

    @inline(__always) func epoch(_ column: Int) -> Int { Self.head + column }
    /// Followed by the last window's.
    @inline(__always) func total(_ column: Int) -> Int { Self.head + columns + 2 * column }
    @inline(__always) var members: Int { Self.head + 3 * columns }
    /// Words of a record.
    @inline(__always) var record: Int { 1 + 2 * columns }
    /// A member's record: its moment, then its counts.
    @inline(__always) func record(_ member: Int, capacity: Int) -> Int { members + (capacity + 1) / 2 + member * record }
    /// Long rows begin with a line of the cache: for a few hundredths more memory, fewer lines are looked at.
    func words(capacity: Int) -> Int {
        let words = record(capacity, capacity: capacity)
        return words < Self.longRow ? words : (words + 15) & ~15
    }
    private static let longRow = 128

    /// About where a member stands among so many, if numbers are spread evenly: of the addresses of a /24, or the /64s of a /48.
    @inline(__always)
    static func guess(_ member: UInt16, of count: Int) -> Int { (Int(member) * count) >> (member < 256 ? 8 : 16) }
}

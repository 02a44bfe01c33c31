/// Rows of one capacity, in chunks, so that growing neither moves what is there nor keeps more than a chunk in hand.
///
/// A row, in words of 32 bits: block (2), when it was touched in seconds (1), members in use and flags (1); of each column
/// its epoch (1) and its totals of this window and the last (2); the members, two a word; of each member, when it was charged
/// last, in milliseconds as far as they go (1); of each member and column, this window's count and the last one's (2), whose
/// uppermost bit says that there is a log of it.
struct Slab: Sendable {
    static let chunkWords = 4096

    let capacity: Int
    let stride: Int
    private let perChunk: Int
    private(set) var chunks: [[UInt32]] = []
    private var free: [UInt32] = []
    private var handedOut = 0

    init(capacity: Int, columns: Int) {
        self.capacity = capacity
        stride = RowLayout(columns: columns).words(capacity: capacity)
        perChunk = max(Self.chunkWords / stride, 1)
    }

    /// A row of zeros.
    mutating func take() -> Int {
        if let index = free.popLast() { return Int(index) }
        if handedOut == chunks.count * perChunk { chunks.append([UInt32](repeating: 0, count: perChunk * stride)) }
        handedOut += 1
        return handedOut - 1
    }

    mutating func giveBack(_ index: Int) {
        let stride = stride
        withRow(index) { row in row.update(repeating: 0, count: stride) }
        free.append(UInt32(index))
    }

    @inline(__always)
    mutating func withRow<Result>(_ index: Int, _ body: (UnsafeMutablePointer<UInt32>) -> Result) -> Result {
        let (chunk, place) = index.quotientAndRemainder(dividingBy: perChunk)
        let offset = place * stride
        return chunks[chunk].withUnsafeMutableBufferPointer { buffer in
            guard let base = buffer.baseAddress else { preconditionFailure("a chunk holds rows") }
            return body(base + offset)
        }
    }
}

/// Where things stand in a row.
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
    @inline(__always) func moments(capacity: Int) -> Int { members + (capacity + 1) / 2 }
    @inline(__always) func counts(capacity: Int) -> Int { moments(capacity: capacity) + capacity }
    /// Followed by the last window's.
    @inline(__always) func count(_ member: Int, _ column: Int, capacity: Int) -> Int {
        counts(capacity: capacity) + 2 * (member * columns + column)
    }
    func words(capacity: Int) -> Int { counts(capacity: capacity) + 2 * columns * capacity }
}

import PosternCore

/// The rows of a table, in chunks of one capacity each, so that growing neither moves what is there nor keeps more than a chunk in
/// hand; and where each column's window stands. Raw memory: a row is looked at with every attempt that anybody makes, and nested
/// arrays cost more than all that is done to it.
// One table owns it, and copies it before it writes where another has it too.
final class RowMemory: @unchecked Sendable {
    static let chunkWords = 4096
    /// Members are compared sixteen at once: so many words may be read behind a row's end.
    static let overread = 8

    /// Where a column's window stands.
    struct ColumnState {
        let column: CountColumn
        /// From this on a key is followed whatever the room.
        let near: UInt64
        /// And from this on where there is room.
        let mentionable: UInt64
        /// Milliseconds; the window that a moment fell in last.
        var start: Int64 = 0
        var number: UInt32 = 0

        init(_ column: CountColumn) {
            self.column = column
            near = UInt64(column.limit / 4)
            mentionable = UInt64(max(column.limit / 64, 1))
        }

        /// Which window a moment falls in; a division only where it is another than the last time.
        @inline(__always)
        mutating func epoch(at milliseconds: Int64) -> UInt32 {
            let width = column.window.milliseconds
            if milliseconds >= start, milliseconds - start < width { return number }
            let (number, rest) = milliseconds.quotientAndRemainder(dividingBy: width)
            self.number = UInt32(truncatingIfNeeded: number)
            start = milliseconds - rest
            return self.number
        }

        /// How much of the window that `epoch` has found has gone by, 0..<1.
        @inline(__always)
        func elapsed(at milliseconds: Int64) -> Double { Double(milliseconds - start) / Double(column.window.milliseconds) }

        /// This window's count, and of the last one's what is left of it.
        @inline(__always)
        func estimate(_ this: UInt32, _ last: UInt32, at milliseconds: Int64) -> Double {
            last == 0 ? Double(this) : Double(this) + Double(last) * (1 - elapsed(at: milliseconds))
        }
    }

    private struct Slab {
        let stride: Int
        /// Rows in a chunk: two to the power of this.
        let shift: Int
        var chunks: [UnsafeMutablePointer<UInt32>] = []
        var free: [UInt32] = []
        var handedOut = 0

        init(stride: Int) {
            self.stride = stride
            let rows = max(RowMemory.chunkWords / stride, 1)
            shift = Int.bitWidth - 1 - rows.leadingZeroBitCount
        }

        var chunkWords: Int { stride << shift }
    }

    let layout: RowLayout
    let columns: UnsafeMutablePointer<ColumnState>
    private let slabs: UnsafeMutablePointer<Slab>

    init(_ columns: [CountColumn]) {
        layout = RowLayout(columns: columns.count)
        self.columns = .allocate(capacity: max(columns.count, 1))
        for (index, column) in columns.enumerated() { (self.columns + index).initialize(to: ColumnState(column)) }
        let layout = layout
        slabs = .allocate(capacity: CountTable.capacities.count)
        for (index, capacity) in CountTable.capacities.enumerated() {
            (slabs + index).initialize(to: Slab(stride: layout.words(capacity: capacity)))
        }
    }

    private init(copying other: RowMemory) {
        layout = other.layout
        columns = .allocate(capacity: max(layout.columns, 1))
        columns.initialize(from: other.columns, count: layout.columns)
        slabs = .allocate(capacity: CountTable.capacities.count)
        slabs.initialize(from: other.slabs, count: CountTable.capacities.count)
        for index in CountTable.capacities.indices {
            let words = slabs[index].chunkWords + Self.overread
            for chunk in slabs[index].chunks.indices {
                let new = UnsafeMutablePointer<UInt32>.allocate(capacity: words)
                new.initialize(from: slabs[index].chunks[chunk], count: words)
                slabs[index].chunks[chunk] = new
            }
        }
    }

    deinit {
        for index in CountTable.capacities.indices {
            for chunk in slabs[index].chunks { chunk.deallocate() }
        }
        slabs.deinitialize(count: CountTable.capacities.count).deallocate()
        columns.deallocate()
    }

    func copy() -> RowMemory { RowMemory(copying: self) }

    /// Words of a row.
    func stride(_ slab: Int) -> Int { slabs[slab].stride }

    @inline(__always)
    func row(_ slab: Int, _ index: Int) -> UnsafeMutablePointer<UInt32> {
        let shift = slabs[slab].shift
        return slabs[slab].chunks[index >> shift] + (index & (1 << shift - 1)) * slabs[slab].stride
    }

    /// A row of zeros.
    func take(_ slab: Int) -> Int {
        if let index = slabs[slab].free.popLast() { return Int(index) }
        if slabs[slab].handedOut == slabs[slab].chunks.count << slabs[slab].shift {
            let words = slabs[slab].chunkWords + Self.overread
            let chunk = UnsafeMutablePointer<UInt32>.allocate(capacity: words)
            chunk.initialize(repeating: 0, count: words)
            slabs[slab].chunks.append(chunk)
        }
        slabs[slab].handedOut += 1
        return slabs[slab].handedOut - 1
    }

    func giveBack(_ slab: Int, _ index: Int) {
        row(slab, index).update(repeating: 0, count: slabs[slab].stride)
        slabs[slab].free.append(UInt32(index))
    }
}

/// Where things stand in a row, in words of 32 bits: block (2), when it was touched in seconds (1), members in use and flags (1); of
/// each column its epoch (1), then of each its totals of this window and the last (2); the members, two a word; of each member a
/// record: when it was charged last, in milliseconds as far as they go (1), and of each column this window's count and the last
/// one's (2), whose uppermost bit says that there is a log of it.
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
    func words(capacity: Int) -> Int { record(capacity, capacity: capacity) }
}

/// What a key has in each column of a table, and its block as far as that was asked for.
public struct CountValues: Sendable {
    private var counts = InlineArray<24, Double>(repeating: 0)
    private var blocks = InlineArray<24, Double>(repeating: 0)

    public init() {}

    public subscript(column: Int) -> Double {
        @inline(__always) get { counts[column] }
        @inline(__always) set { counts[column] = newValue }
    }

    /// All members of the block together.
    @inline(__always)
    public func block(_ column: Int) -> Double { blocks[column] }

    @inline(__always)
    mutating func setBlock(_ column: Int, _ value: Double) { blocks[column] = value }
}

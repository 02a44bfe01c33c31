import CMemory
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

    /// The chunks of one capacity.
    private struct Slab {
        let stride: Int
        /// Rows in a chunk: two to the power of this.
        let shift: Int
        /// Raw, since an array's storage would be retained and released for every row that is looked at.
        var chunks: UnsafeMutablePointer<UnsafeMutablePointer<UInt32>>
        var chunkCount = 0
        private var room = 8
        var free: [UInt32] = []
        var handedOut = 0

        init(stride: Int) {
            self.stride = stride
            let rows = max(RowMemory.chunkWords / stride, 1)
            shift = Int.bitWidth - 1 - rows.leadingZeroBitCount
            chunks = .allocate(capacity: room)
        }

        var chunkWords: Int { stride << shift + RowMemory.overread }

        /// The same rows in other memory.
        init(_ other: Slab, _ arena: inout ChunkArena) {
            self = other
            chunks = .allocate(capacity: room)
            for index in 0..<chunkCount {
                let chunk = arena.take(words: chunkWords)
                chunk.update(from: other.chunks[index], count: chunkWords)
                (chunks + index).initialize(to: chunk)
            }
        }

        mutating func append(_ chunk: UnsafeMutablePointer<UInt32>) {
            if chunkCount == room {
                let wider = UnsafeMutablePointer<UnsafeMutablePointer<UInt32>>.allocate(capacity: room * 2)
                wider.moveInitialize(from: chunks, count: chunkCount)
                chunks.deallocate()
                (chunks, room) = (wider, room * 2)
            }
            (chunks + chunkCount).initialize(to: chunk)
            chunkCount += 1
        }
    }

    let layout: RowLayout
    let columns: UnsafeMutablePointer<ColumnState>
    private let slabs: UnsafeMutablePointer<Slab>
    private var arena = ChunkArena()

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
        for index in CountTable.capacities.indices { (slabs + index).initialize(to: Slab(other.slabs[index], &arena)) }
    }

    deinit {
        for index in CountTable.capacities.indices { slabs[index].chunks.deallocate() }
        slabs.deinitialize(count: CountTable.capacities.count).deallocate()
        columns.deallocate()
        arena.release()
    }

    func copy() -> RowMemory { RowMemory(copying: self) }

    /// Words of a row.
    func stride(_ slab: Int) -> Int { slabs[slab].stride }

    @inline(__always)
    func row(_ slab: Int, _ index: Int) -> UnsafeMutablePointer<UInt32> {
        let shift = slabs[slab].shift
        return slabs[slab].chunks[index >> shift] + (index & (1 << shift - 1)) * slabs[slab].stride
    }

    /// Asks for what of a row will be looked at, before it is known where in it a member stands: members stand in order, so that is
    /// guessed, and what is waited for comes at once and not one after the other.
    @inline(__always)
    func expect(_ member: UInt16, in row: UnsafeMutablePointer<UInt32>, capacity: Int) {
        var word = 0
        while word < layout.members {
            cmemory_prefetch(row + word)
            word += 16
        }
        let guess = RowLayout.guess(member, of: capacity)
        cmemory_prefetch(row + layout.members + guess / 2)
        // Half a line to either side of it.
        word = layout.record(guess, capacity: capacity) - 8
        let end = word + layout.record + 16
        while word < end {
            cmemory_prefetch(row + word)
            word += 16
        }
    }

    /// A row of zeros.
    func take(_ slab: Int) -> Int {
        if let index = slabs[slab].free.popLast() { return Int(index) }
        if slabs[slab].handedOut == slabs[slab].chunkCount << slabs[slab].shift {
            slabs[slab].append(arena.take(words: slabs[slab].chunkWords))
        }
        slabs[slab].handedOut += 1
        return slabs[slab].handedOut - 1
    }

    func giveBack(_ slab: Int, _ index: Int) {
        row(slab, index).update(repeating: 0, count: slabs[slab].stride)
        slabs[slab].free.append(UInt32(index))
    }
}

import CMemory

/// Where a table's chunks come from, all to be given back at once. The first are the allocator's own; a table that has grown takes
/// regions for many of them, in large pages: rows are looked at in no order, and among thousands of small pages the processor waits
/// for the page's address as long as for the row.
struct ChunkArena {
    /// So many octets come one by one; what a table has in hand is thus never more than twice what it uses.
    static let singly = 1 << 20
    /// A large page of x86-64, and the usual one of arm64.
    static let regionBytes = 2 << 20
    /// A line of the cache: where it begins, chunks begin.
    static let alignment = 64

    private var singles: [UnsafeMutableRawPointer] = []
    private var singleBytes = 0
    private(set) var regions: [UnsafeMutableRawPointer] = []
    /// Octets that are taken of the last region.
    private var taken = ChunkArena.regionBytes

    /// A chunk of zeros.
    mutating func take(words: Int) -> UnsafeMutablePointer<UInt32> {
        let bytes = (words * 4 + Self.alignment - 1) & ~(Self.alignment - 1)
        let chunk = room(bytes).bindMemory(to: UInt32.self, capacity: words)
        chunk.initialize(repeating: 0, count: words)
        return chunk
    }

    private mutating func room(_ bytes: Int) -> UnsafeMutableRawPointer {
        if singleBytes >= Self.singly, bytes <= Self.regionBytes {
            if taken + bytes > Self.regionBytes, let region = cmemory_region(Self.regionBytes) {
                regions.append(region)
                taken = 0
            }
            if taken + bytes <= Self.regionBytes, let region = regions.last {
                defer { taken += bytes }
                return region + taken
            }
        }
        let chunk = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: Self.alignment)
        singles.append(chunk)
        singleBytes += bytes
        return chunk
    }

    /// Gives all of them back.
    mutating func release() {
        for chunk in singles { chunk.deallocate() }
        for region in regions { cmemory_release(region) }
        self = ChunkArena()
    }
}

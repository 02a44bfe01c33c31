/// What identity rows there may be, in memory: a client that never passed, as most are, is known to have none without a look at the
/// disk. A Bloom filter: of what is there it always says so, of what is not about once in a hundred times too.
struct IdentityFilter {
    private var words: [UInt64]

    /// Bits for each row, and for how many rows there is room at most: 2 MiB.
    private static let bitsPerRow = 16
    private static let maximumRows = 1 << 20
    private static let minimumBits = 1 << 16

    /// Room for twice as many rows as there are: with more it says yes more often.
    init(rows: Int) {
        let wanted = max(2 * min(max(rows, 0), Self.maximumRows / 2) * Self.bitsPerRow, Self.minimumBits)
        // A power of two, so that the bits of a key are places.
        let bits = 1 << (Int.bitWidth - (wanted - 1).leadingZeroBitCount)
        words = [UInt64](repeating: 0, count: bits / 64)
    }

    // Keys are hashes: any of their bits are as good as others.
    private func places(_ key: Int64) -> (UInt64, UInt64) {
        let key = UInt64(bitPattern: key)
        let mask = UInt64(words.count) * 64 - 1
        return (key & mask, key >> 32 & mask)
    }

    mutating func insert(_ key: Int64) {
        let (a, b) = places(key)
        words[Int(a >> 6)] |= 1 << (a & 63)
        words[Int(b >> 6)] |= 1 << (b & 63)
    }

    func mayContain(_ key: Int64) -> Bool {
        let (a, b) = places(key)
        return words[Int(a >> 6)] & 1 << (a & 63) != 0 && words[Int(b >> 6)] & 1 << (b & 63) != 0
    }
}

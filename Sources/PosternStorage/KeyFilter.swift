/// Which keys there may be, in memory. A Bloom filter: of what is there it always says so, of what is not about once in a hundred
/// times too, and more often the more there is beyond what it was made for.
struct KeyFilter {
    private var words: [UInt64]

    /// Bits for each key, and for how many there is room at most: 48 MiB.
    private static let bitsPerKey = 12
    static let maximumKeys = 1 << 25

    init(keys: Int) {
        let bits = min(max(keys, 1), Self.maximumKeys) * Self.bitsPerKey
        words = [UInt64](repeating: 0, count: (bits + UInt64.bitWidth - 1) / UInt64.bitWidth)
    }

    // Keys are hashes: any of their bits are as good as others. The upper ones say which word, so that to look is to read memory
    // once, and keys that come in their order fill one word after another; the lower ones say which four bits of it.
    private func place(_ key: Int64) -> Int { Int(UInt64(bitPattern: key).multipliedFullWidth(by: UInt64(words.count)).high) }

    private func bits(_ key: Int64) -> UInt64 {
        let key = UInt64(bitPattern: key)
        return 1 << (key & 63) | 1 << (key >> 6 & 63) | 1 << (key >> 12 & 63) | 1 << (key >> 18 & 63)
    }

    mutating func insert(_ key: Int64) { words[place(key)] |= bits(key) }

    func mayContain(_ key: Int64) -> Bool {
        let bits = bits(key)
        return words[place(key)] & bits == bits
    }
}

import PosternCore

/// Who tried the primary, in bounded memory: Bloom filters that take turns. It may say yes of somebody who did not, the more
/// often the fuller it is, and then somebody is not harvested; it never says no of somebody who did, for as long as it is to
/// remember.
struct TouchMemory: Equatable, Sendable {
    /// Bits of one filter: of 400,000 addresses one in forty is taken for another.
    static let bits: UInt64 = 4_194_304
    static let generations = 3
    private static let hashes: UInt64 = 4
    private static let mark: UInt64 = 0x314d_5450_5453_4f50
    private static let words = Int(bits / 64)

    /// So that nobody can find addresses that are taken for one another.
    private let seed: UInt64
    private var filters: [[UInt64]]
    private var current = 0
    /// When the current one began.
    private var began: WallTime
    private(set) var isChanged = false

    init(seed: UInt64, at now: WallTime) {
        self.seed = seed
        filters = Array(repeating: Array(repeating: 0, count: Self.words), count: Self.generations)
        began = now
    }

    /// Each filter is written to for half of `memory`, and kept for a whole one after that.
    mutating func rotate(_ now: WallTime, memory: WallTime.Span) {
        let turn = max(memory.milliseconds / 2, 1)
        var turns = (now - began).milliseconds / turn
        // A clock that went back must not keep it from ever turning.
        if now < began { began = now }
        guard turns > 0 else { return }
        began = turns > Int64(Self.generations) ? now : began + .milliseconds(turn * turns)
        turns = min(turns, Int64(Self.generations))
        for _ in 0..<turns {
            current = (current + 1) % Self.generations
            filters[current] = Array(repeating: 0, count: Self.words)
        }
        isChanged = true
    }

    mutating func insert(_ prefix: Prefix) {
        let (first, step) = start(of: prefix)
        for index in 0..<Self.hashes {
            let bit = (first &+ index &* step) % Self.bits
            let (word, mask) = (Int(bit / 64), 1 << (bit % 64) as UInt64)
            guard filters[current][word] & mask == 0 else { continue }
            filters[current][word] |= mask
            isChanged = true
        }
    }

    func contains(_ prefix: Prefix) -> Bool {
        let (first, step) = start(of: prefix)
        return filters.contains { filter in
            (0..<Self.hashes).allSatisfy { index in
                let bit = (first &+ index &* step) % Self.bits
                return filter[Int(bit / 64)] & (1 << (bit % 64)) != 0
            }
        }
    }

    /// Where its bits begin, and how far they are apart (Kirsch and Mitzenmacher 2006).
    private func start(of prefix: Prefix) -> (first: UInt64, step: UInt64) {
        let (high, low) = prefix.address.mappedHalves
        let first = Self.mixed(high ^ Self.mixed(low ^ seed))
        return (first, Self.mixed(first ^ seed) | 1)
    }

    /// SplitMix64's finalizer (Steele, Lea, Flood 2014).
    private static func mixed(_ value: UInt64) -> UInt64 {
        var z = value &+ 0x9e37_79b9_7f4a_7c15
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    // MARK: - As octets

    /// To be kept; from here on nothing is changed. In this machine's order of octets: another's does not bear the mark.
    mutating func image() -> [UInt8] {
        isChanged = false
        var out: [UInt8] = []
        out.reserveCapacity(Self.imageSize)
        for words in [[Self.mark, seed, UInt64(bitPattern: began.milliseconds), UInt64(current)]] + filters {
            words.withUnsafeBytes { out.append(contentsOf: $0) }
        }
        return out
    }

    private static let imageSize = (4 + generations * words) * 8

    /// `nil` for octets that are no such image.
    init?(image: [UInt8]) {
        guard image.count == Self.imageSize else { return nil }
        func words(from start: Int, _ count: Int) -> [UInt64] {
            [UInt64](unsafeUninitializedCapacity: count) { buffer, initialized in
                image.withUnsafeBytes { bytes in
                    UnsafeMutableRawBufferPointer(buffer).copyMemory(
                        from: UnsafeRawBufferPointer(rebasing: bytes[start * 8..<(start + count) * 8]))
                }
                initialized = count
            }
        }
        let head = words(from: 0, 4)
        guard head[0] == Self.mark, head[3] < UInt64(Self.generations) else { return nil }
        seed = head[1]
        began = WallTime(milliseconds: Int64(bitPattern: head[2]))
        current = Int(head[3])
        filters = (0..<Self.generations).map { words(from: 4 + $0 * Self.words, Self.words) }
    }
}

import Glibc

func flush() { fflush(nil) }

/// SplitMix64 (Steele, Lea, Flood 2014): what is random about a run follows from its input.
struct Generator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    /// Seeded by all octets of `input` (FNV-1a).
    init(_ input: UnsafeRawBufferPointer) {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for octet in input { hash = (hash ^ UInt64(octet)) &* 0x0100_0000_01b3 }
        state = hash
    }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }

    /// Whether this is one of `count` cases that are all as likely.
    mutating func oneIn(_ count: UInt64) -> Bool { next() % count == 0 }
}

/// How bytes are cut before a machine gets them.
enum Cut: CaseIterable {
    case whole
    case bytes
    case random

    /// Calls `body` with the pieces of `input` in order, until it returns false.
    func forEach(_ input: UnsafeRawBufferPointer, _ generator: inout Generator, _ body: (UnsafeRawBufferPointer) -> Bool) {
        var start = 0
        while start < input.count {
            let left = input.count - start
            let count =
                switch self {
                case .whole: left
                case .bytes: 1
                case .random: min(left, 1 + Int(generator.next() % 8) * Int(1 + generator.next() % 8))
                }
            guard body(UnsafeRawBufferPointer(rebasing: input[start..<(start + count)])) else { return }
            start += count
        }
    }
}

extension UnsafeRawBufferPointer {
    /// The first octet, which chooses settings, and the rest.
    var settingsAndRest: (UInt8, UnsafeRawBufferPointer)? {
        guard let first else { return nil }
        return (first, UnsafeRawBufferPointer(rebasing: dropFirst()))
    }
}

extension UInt8 {
    /// Whether bit `index` is set.
    func has(_ index: Int) -> Bool { self & (1 << UInt8(index)) != 0 }
}

/// For messages: printable, with the octets that matter spelt out.
func shown(_ bytes: some Sequence<UInt8>) -> String {
    bytes.map {
        switch $0 {
        case 0x0d: "\\r"
        case 0x0a: "\\n"
        case 0x20...0x7e: String(Unicode.Scalar($0))
        default: "\\x" + String($0, radix: 16)
        }
    }.joined()
}

/// Fast searches for the few bytes that framing must look at, eight at a time ("SIMD within a register").
enum ByteScan {
    private static let ones: UInt64 = 0x0101_0101_0101_0101
    private static let highs: UInt64 = 0x8080_8080_8080_8080

    /// High bits set in bytes of `word` that are below 0x0E. The lowest bit set is exact; higher ones may be borrowed.
    @inline(__always)
    private static func controls(_ word: UInt64) -> UInt64 {
        (word &- ones &* 0x0e) & ~word & highs
    }

    /// The index of the first byte below 0x0E at or after `start`, or the count: NUL, LF, CR, and seldom TAB, VT or FF.
    @inline(__always)
    static func firstControl(_ bytes: UnsafeRawBufferPointer, from start: Int) -> Int {
        first(bytes, from: start, match: controls) { $0 < 0x0e }
    }

    /// High bits set in bytes of `word` that are `octet`; as above, the lowest is exact.
    @inline(__always)
    private static func equals(_ word: UInt64, _ octet: UInt8) -> UInt64 {
        let difference = word ^ (ones &* UInt64(octet))
        return (difference &- ones) & ~difference & highs
    }

    /// The index of the first LF at or after `start`, or the count.
    @inline(__always)
    static func firstLF(_ bytes: UnsafeRawBufferPointer, from start: Int) -> Int {
        first(bytes, from: start, match: { equals($0, Octet.lf) }) { $0 == Octet.lf }
    }

    /// Past all that is plain in whole blocks of 64 octets at and after `start`: lines that end in CRLF and do not begin with a dot, of
    /// any octets but NUL. What comes before `start` is looked at, too; at the very beginning nothing is taken for plain.
    ///
    /// Each octet is compared together with the one before it, all of a block at once, so a line costs nothing for being one.
    @inline(__always)
    static func endOfPlain(_ bytes: UnsafeRawBufferPointer, from start: Int) -> Int {
        guard start > 0, let base = bytes.baseAddress else { return start }
        let nul = SIMD64<UInt8>()
        let lf = SIMD64(repeating: Octet.lf)
        let cr = SIMD64(repeating: Octet.cr)
        let dot = SIMD64(repeating: Octet.dot)
        var index = start
        while index &+ 64 <= bytes.count {
            let here = base.loadUnaligned(fromByteOffset: index, as: SIMD64<UInt8>.self)
            let before = base.loadUnaligned(fromByteOffset: index &- 1, as: SIMD64<UInt8>.self)
            let flaws = ((here .== lf) .^ (before .== cr)) .| (here .== nul) .| ((here .== dot) .& (before .== lf))
            let words = unsafeBitCast(flaws, to: SIMD8<UInt64>.self)
            let four = words.lowHalf | words.highHalf
            let two = four.lowHalf | four.highHalf
            guard two[0] | two[1] == 0 else { break }
            index &+= 64
        }
        return index
    }

    @inline(__always)
    private static func first(
        _ bytes: UnsafeRawBufferPointer, from start: Int, match: (UInt64) -> UInt64, test: (UInt8) -> Bool
    ) -> Int {
        let count = bytes.count
        guard start < count, let base = bytes.baseAddress else { return count }
        var index = start
        while index &+ 32 <= count {
            let a = match(base.loadUnaligned(fromByteOffset: index, as: UInt64.self).littleEndian)
            let b = match(base.loadUnaligned(fromByteOffset: index &+ 8, as: UInt64.self).littleEndian)
            let c = match(base.loadUnaligned(fromByteOffset: index &+ 16, as: UInt64.self).littleEndian)
            let d = match(base.loadUnaligned(fromByteOffset: index &+ 24, as: UInt64.self).littleEndian)
            if a | b | c | d != 0 {
                if a != 0 { return index &+ a.trailingZeroBitCount &>> 3 }
                if b != 0 { return index &+ 8 &+ b.trailingZeroBitCount &>> 3 }
                if c != 0 { return index &+ 16 &+ c.trailingZeroBitCount &>> 3 }
                return index &+ 24 &+ d.trailingZeroBitCount &>> 3
            }
            index &+= 32
        }
        // Commands and replies are shorter than that.
        while index &+ 8 <= count {
            let a = match(base.loadUnaligned(fromByteOffset: index, as: UInt64.self).littleEndian)
            if a != 0 { return index &+ a.trailingZeroBitCount &>> 3 }
            index &+= 8
        }
        while index < count {
            if test(base.load(fromByteOffset: index, as: UInt8.self)) { return index }
            index &+= 1
        }
        return count
    }
}

/// The octets that SMTP gives a meaning.
enum Octet {
    static let nul: UInt8 = 0x00
    static let tab: UInt8 = 0x09
    static let lf: UInt8 = 0x0a
    static let cr: UInt8 = 0x0d
    static let space: UInt8 = 0x20
    static let dot = UInt8(ascii: ".")
    static let hyphen = UInt8(ascii: "-")
    static let at = UInt8(ascii: "@")
    static let less = UInt8(ascii: "<")
    static let greater = UInt8(ascii: ">")
    static let quote = UInt8(ascii: "\"")
    static let backslash = UInt8(ascii: "\\")
    static let colon = UInt8(ascii: ":")
    static let comma = UInt8(ascii: ",")
    static let equals = UInt8(ascii: "=")
    static let plus = UInt8(ascii: "+")
    static let semicolon = UInt8(ascii: ";")

    static func isDigit(_ octet: UInt8) -> Bool { octet >= 0x30 && octet <= 0x39 }
    static func isLetter(_ octet: UInt8) -> Bool { (octet | 0x20) >= 0x61 && (octet | 0x20) <= 0x7a }
    static func isAlphanumeric(_ octet: UInt8) -> Bool { isDigit(octet) || isLetter(octet) }
    static func lowercased(_ octet: UInt8) -> UInt8 { octet >= 0x41 && octet <= 0x5a ? octet | 0x20 : octet }
}

extension [UInt8] {
    /// Appends the octets of a text between two others, with room for a line's end behind it.
    mutating func append(_ before: StaticString, _ text: String, _ after: StaticString) {
        reserveCapacity(count + before.utf8CodeUnitCount + text.utf8.count + after.utf8CodeUnitCount + 2)
        before.withUTF8Buffer { append(contentsOf: $0) }
        append(text)
        after.withUTF8Buffer { append(contentsOf: $0) }
    }

    mutating func appendLineEnd() {
        append(Octet.cr)
        append(Octet.lf)
    }

    /// Appends the octets of a text.
    mutating func append(_ text: String) {
        var text = text
        text.withUTF8 { append(contentsOf: $0) }
    }
}

extension Sequence<UInt8> {
    /// Whether these octets spell `text`, ASCII letters in either case.
    func equalsIgnoringCase(_ text: StaticString) -> Bool {
        text.withUTF8Buffer { other in
            var count = 0
            for octet in self {
                guard count < other.count, Octet.lowercased(octet) == Octet.lowercased(other[count]) else { return false }
                count += 1
            }
            return count == other.count
        }
    }
}

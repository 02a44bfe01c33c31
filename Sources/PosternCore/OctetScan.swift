/// Octets looked at eight at a time: they stand in the way of every question that is asked.
extension UnsafeBufferPointer<UInt8> {
    /// Whether any is an ASCII letter in upper case.
    var holdsUpperCase: Bool {
        let upper = UInt8(ascii: "A")...UInt8(ascii: "Z")
        return UnsafeRawBufferPointer(self).holds { (word: UInt64) in
            // Without their upper bits octets can be added to without a carry into the next.
            let heptets = word & ~Words.upperBits
            let atLeastA = heptets &+ Words.each(0x80 - upper.lowerBound)
            let beyondZ = heptets &+ Words.each(0x7f - upper.upperBound)
            let isUpper = atLeastA & ~beyondZ & ~word
            return isUpper & Words.upperBits != 0
        } octet: {
            upper.contains($0)
        }
    }

    /// Whether none is above 0x7f.
    var areASCII: Bool {
        !UnsafeRawBufferPointer(self).holds { (word: UInt64) in
            word & Words.upperBits != 0
        } octet: {
            $0 >= 0x80
        }
    }

    /// Whether all are printable ASCII, spaces among them.
    public var arePrintable: Bool {
        !UnsafeRawBufferPointer(self).holds { (word: UInt64) in
            (Words.below(0x20, word) | Words.beyondTilde(word)) & Words.upperBits != 0
        } octet: {
            !(0x20...0x7e).contains($0)
        }
    }

    /// Whether a JSON string must say any in another way (RFC 8259 §7), or a terminal should not see it: control characters,
    /// DEL, quotes and backslashes.
    public var holdEscapesOfJSON: Bool {
        UnsafeRawBufferPointer(self).holds { (word: UInt64) in
            let controls = Words.below(0x20, word) | Words.equal(0x7f, word)
            return (controls | Words.equal(UInt8(ascii: "\""), word) | Words.equal(UInt8(ascii: "\\"), word)) & Words.upperBits != 0
        } octet: {
            $0 < 0x20 || $0 == 0x7f || $0 == UInt8(ascii: "\"") || $0 == UInt8(ascii: "\\")
        }
    }

    /// Whether they are a value that logfmt has without quotes: one octet or more of printable ASCII, and none is a space, a
    /// quote, a backslash or `=`.
    public var areLogfmtWord: Bool {
        guard !isEmpty else { return false }
        return !UnsafeRawBufferPointer(self).holds { (word: UInt64) in
            let unprintable = Words.below(0x21, word) | Words.beyondTilde(word)
            let marks =
                Words.equal(UInt8(ascii: "\""), word) | Words.equal(UInt8(ascii: "\\"), word) | Words.equal(UInt8(ascii: "="), word)
            return (unprintable | marks) & Words.upperBits != 0
        } octet: {
            !(0x21...0x7e).contains($0) || $0 == UInt8(ascii: "\"") || $0 == UInt8(ascii: "\\") || $0 == UInt8(ascii: "=")
        }
    }
}

extension UnsafeRawBufferPointer {
    /// Whether `other` stands at `offset`.
    @inlinable
    public func holds(_ other: UnsafeRawBufferPointer, at offset: Int = 0) -> Bool {
        guard offset >= 0, offset <= count, other.count <= count - offset else { return false }
        func differs<Word: FixedWidthInteger & BitwiseCopyable>(at place: Int, _: Word.Type) -> Bool {
            loadUnaligned(fromByteOffset: offset + place, as: Word.self) != other.loadUnaligned(fromByteOffset: place, as: Word.self)
        }
        // The last word reaches back over octets that were compared.
        switch other.count {
        case 8...:
            var place = 0
            while place + 8 < other.count {
                if differs(at: place, UInt64.self) { return false }
                place += 8
            }
            return !differs(at: other.count - 8, UInt64.self)
        case 4...: return !differs(at: 0, UInt32.self) && !differs(at: other.count - 4, UInt32.self)
        default: return !(0..<other.count).contains { differs(at: $0, UInt8.self) }
        }
    }

    /// Whether the octets are a text's.
    @inlinable
    public func equals(_ text: StaticString) -> Bool {
        count == text.utf8CodeUnitCount && holds(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    /// Where the first line feed or NUL from `start` on is, or where the octets end.
    @inlinable
    public func firstLineFeedOrNUL(from start: Int) -> Int {
        var index = start
        while index + 8 <= count {
            let word = UInt64(littleEndian: loadUnaligned(fromByteOffset: index, as: UInt64.self))
            // The lowest octet with its upper bit set is the first of them.
            let ends = (Words.equal(0, word) | Words.equal(UInt8(ascii: "\n"), word)) & Words.upperBits
            if ends != 0 { return index + ends.trailingZeroBitCount / 8 }
            index += 8
        }
        while index < count, self[index] != 0, self[index] != UInt8(ascii: "\n") { index += 1 }
        return index
    }

    /// Whether `word` is true for any eight octets, or `octet` for any of so few that they do not fill a word.
    @inline(__always)
    fileprivate func holds(_ word: (UInt64) -> Bool, octet: (UInt8) -> Bool) -> Bool {
        var index = 0
        while index + 8 <= count {
            if word(loadUnaligned(fromByteOffset: index, as: UInt64.self)) { return true }
            index += 8
        }
        // The last word reaches back over octets that were looked at.
        if count >= 8 { return index < count && word(loadUnaligned(fromByteOffset: count - 8, as: UInt64.self)) }
        while index < count {
            if octet(self[index]) { return true }
            index += 1
        }
        return false
    }
}

/// Words of eight octets.
@usableFromInline
enum Words {
    /// The upper bit of each octet.
    @inlinable
    static var upperBits: UInt64 { each(0x80) }

    /// Eight of one octet.
    @inlinable
    static func each(_ octet: UInt8) -> UInt64 { 0x0101_0101_0101_0101 &* UInt64(octet) }

    // With the upper bit set in an octet where that is so. Octets above such a one may have it too, by a borrow or a carry.

    /// Octets of ASCII less than `bound`, which is of ASCII too: something is borrowed.
    @inlinable
    static func below(_ bound: UInt8, _ word: UInt64) -> UInt64 { (word &- each(bound)) & ~word }

    /// DEL, and what is beyond ASCII: one more than DEL is beyond it.
    @inlinable
    static func beyondTilde(_ word: UInt64) -> UInt64 { (word &+ each(1)) | word }

    @inlinable
    static func equal(_ octet: UInt8, _ word: UInt64) -> UInt64 {
        let difference = word ^ each(octet)
        return below(1, difference)
    }
}

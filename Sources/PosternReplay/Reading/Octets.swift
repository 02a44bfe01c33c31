// Looking at pieces of a line. A piece is a range of positions: nothing is copied until it is known to be wanted.

typealias Piece = Range<Int>

extension Span where Element == UInt8 {
    /// The position of the first `byte` in a piece.
    func firstIndex(of byte: UInt8, in piece: Piece) -> Int? {
        precondition(piece.upperBound <= count)
        var index = piece.lowerBound
        while index < piece.upperBound {
            if self[unchecked: index] == byte { return index }
            index &+= 1
        }
        return nil
    }

    func lastIndex(of byte: UInt8, in piece: Piece) -> Int? {
        precondition(piece.upperBound <= count)
        var index = piece.upperBound
        while index > piece.lowerBound {
            index &-= 1
            if self[unchecked: index] == byte { return index }
        }
        return nil
    }

    /// Whether a piece begins with a text.
    @inline(__always)
    func begins(_ piece: Piece, _ text: StaticString) -> Bool {
        let length = text.utf8CodeUnitCount
        guard piece.count >= length, piece.upperBound <= count else { return false }
        let start = piece.lowerBound
        for offset in 0..<length where self[unchecked: start &+ offset] != text.utf8Start[offset] { return false }
        return true
    }

    @inline(__always)
    func equals(_ piece: Piece, _ text: StaticString) -> Bool { piece.count == text.utf8CodeUnitCount && begins(piece, text) }

    /// Whether a piece ends with a text.
    func ends(_ piece: Piece, _ text: StaticString) -> Bool {
        let length = text.utf8CodeUnitCount
        return piece.count >= length && begins(piece.upperBound - length..<piece.upperBound, text)
    }

    /// Where a text first stands in a piece.
    func position(of text: StaticString, in piece: Piece) -> Int? {
        guard text.utf8CodeUnitCount > 0, piece.count >= text.utf8CodeUnitCount else { return nil }
        let first = text.utf8Start[0]
        var rest = piece.lowerBound..<piece.upperBound - text.utf8CodeUnitCount + 1
        while let index = firstIndex(of: first, in: rest) {
            if begins(index..<piece.upperBound, text) { return index }
            rest = index + 1..<rest.upperBound
        }
        return nil
    }

    /// Where a text last stands in a piece.
    func lastPosition(of text: StaticString, in piece: Piece) -> Int? {
        guard text.utf8CodeUnitCount > 0, piece.count >= text.utf8CodeUnitCount else { return nil }
        let first = text.utf8Start[0]
        var rest = piece.lowerBound..<piece.upperBound - text.utf8CodeUnitCount + 1
        while let index = lastIndex(of: first, in: rest) {
            if begins(index..<piece.upperBound, text) { return index }
            rest = rest.lowerBound..<index
        }
        return nil
    }

    /// Whether a text stands in a piece, in either case; `text` in lower case.
    func contains(_ text: StaticString, in piece: Piece) -> Bool {
        let length = text.utf8CodeUnitCount
        guard length > 0, piece.count >= length, piece.upperBound <= count else { return false }
        var start = piece.lowerBound
        while start &+ length <= piece.upperBound {
            var offset = 0
            while offset < length, self[unchecked: start &+ offset].lowercased == text.utf8Start[offset] { offset &+= 1 }
            if offset == length { return true }
            start &+= 1
        }
        return false
    }

    /// A number of decimal digits, nothing else; `nil` where it is none or has more than 18 digits.
    func number(_ piece: Piece) -> Int? {
        guard !piece.isEmpty, piece.count <= 18 else { return nil }
        var value = 0
        for index in piece {
            guard self[index].isDigit else { return nil }
            value = value * 10 + Int(self[index] - UInt8(ascii: "0"))
        }
        return value
    }

    func text(_ piece: Piece) -> String {
        extracting(piece).withUnsafeBufferPointer { String(decoding: $0, as: UTF8.self) }
    }

    /// A 64-bit hash of a piece, going on from another (FNV-1a): for tables whose keys come from one log.
    func hash(_ piece: Piece, from seed: UInt64 = 0xcbf2_9ce4_8422_2325) -> UInt64 {
        precondition(piece.upperBound <= count)
        var hash = seed
        for index in piece { hash = (hash ^ UInt64(self[unchecked: index])) &* 0x0000_0100_0000_01b3 }
        return hash
    }
}

extension UInt8 {
    var isDigit: Bool { self >= UInt8(ascii: "0") && self <= UInt8(ascii: "9") }
    var isLetter: Bool { lowercased >= UInt8(ascii: "a") && lowercased <= UInt8(ascii: "z") }
    /// With ASCII letters in lower case.
    var lowercased: UInt8 { self >= UInt8(ascii: "A") && self <= UInt8(ascii: "Z") ? self | 0x20 : self }
}

/// An IPv4 or IPv6 address.
///
/// An IPv4-mapped IPv6 address (`::ffff:192.0.2.1`, RFC 4291 §2.5.5.2) is the IPv4 address it maps, so that a client
/// has one identity whichever socket family it came in by.
public struct IPAddress: Hashable, Sendable {
    public enum Family: UInt8, Hashable, Sendable {
        case v4 = 4
        case v6 = 6

        /// The number of bits in an address: 32 or 128.
        public var bits: Int { self == .v4 ? 32 : 128 }
    }

    public let family: Family
    /// The upper 64 bits of an IPv6 address; zero for IPv4.
    public let high: UInt64
    /// The lower 64 bits of an IPv6 address, or the 32 bits of an IPv4 address.
    public let low: UInt64

    init(family: Family, high: UInt64, low: UInt64) {
        self.family = family
        self.high = high
        self.low = low
    }

    /// An IPv4 address from its 32 bits, the first octet uppermost.
    public init(v4: UInt32) {
        self.init(family: .v4, high: 0, low: UInt64(v4))
    }

    /// An IPv6 address from its two halves; an IPv4-mapped one becomes IPv4.
    public init(v6High high: UInt64, low: UInt64) {
        if high == 0, low >> 32 == 0xffff {
            self.init(v4: UInt32(truncatingIfNeeded: low))
        } else {
            self.init(family: .v6, high: high, low: low)
        }
    }

    /// The octets in network order: 4 or 16.
    public var octets: [UInt8] {
        switch family {
        case .v4:
            return (0..<4).map { UInt8(truncatingIfNeeded: low >> UInt64(24 - 8 * $0)) }
        case .v6:
            return (0..<16).map { index in
                let half = index < 8 ? high : low
                return UInt8(truncatingIfNeeded: half >> UInt64(56 - 8 * (index % 8)))
            }
        }
    }

    /// From 4 or 16 octets in network order; `nil` for any other count.
    public init?(octets: some Collection<UInt8>) {
        switch octets.count {
        case 4:
            self.init(v4: octets.reduce(0) { $0 << 8 | UInt32($1) })
        case 16:
            self.init(
                v6High: octets.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }, low: octets.dropFirst(8).reduce(0) { $0 << 8 | UInt64($1) })
        default:
            return nil
        }
    }

    public var isLoopback: Bool {
        switch family {
        case .v4: low >> 24 == 127
        case .v6: high == 0 && low == 1
        }
    }
}

// MARK: - Text

extension IPAddress {
    /// Reads dotted IPv4 (four decimal octets without leading zeros) or IPv6 (RFC 4291 §2.2, no zone). `nil` otherwise.
    public init?(_ text: some StringProtocol) {
        var copy = String(text)
        guard let parsed = copy.withUTF8({ IPAddress(bytes: $0) }) else { return nil }
        self = parsed
    }

    /// The same from ASCII bytes.
    public init?(bytes: UnsafeBufferPointer<UInt8>) {
        // The longest is an IPv6 address with an IPv4 tail: 45 characters.
        guard bytes.count >= 2, bytes.count <= 45 else { return nil }
        // Most names are told from an address by their first letter.
        guard bytes[0] == UInt8(ascii: ":") || bytes[0].hexDigitValue != nil else { return nil }
        if let v4 = Self.parseV4(bytes) {
            self.init(v4: v4)
        } else if let (high, low) = Self.parseV6(bytes) {
            self.init(v6High: high, low: low)
        } else {
            return nil
        }
    }

    private static func parseV4(_ bytes: UnsafeBufferPointer<UInt8>) -> UInt32? {
        var result: UInt32 = 0
        var octet: UInt32 = 0
        var digits = 0
        var dots = 0
        for byte in bytes {
            if byte == UInt8(ascii: ".") {
                guard digits > 0, dots < 3 else { return nil }
                result = result << 8 | octet
                octet = 0
                digits = 0
                dots += 1
            } else {
                guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else { return nil }
                // A leading zero is refused: some readers take it for octal.
                guard digits == 0 || octet != 0 else { return nil }
                octet = octet * 10 + UInt32(byte - UInt8(ascii: "0"))
                digits += 1
                guard octet <= 255 else { return nil }
            }
        }
        guard dots == 3, digits > 0 else { return nil }
        return result << 8 | octet
    }

    private static func parseV6(_ bytes: UnsafeBufferPointer<UInt8>) -> (UInt64, UInt64)? {
        let colon = UInt8(ascii: ":")
        // Groups before the `::` and behind it, the last lowermost.
        var head: UInt128 = 0
        var tail: UInt128 = 0
        var (heads, tails) = (0, 0)
        var compressed = false
        var index = 0
        if bytes[0] == colon {
            guard bytes[1] == colon else { return nil }
            compressed = true
            index = 2
        }
        while index < bytes.count {
            var end = index
            while end < bytes.count, bytes[end] != colon { end += 1 }
            let piece = UnsafeBufferPointer(rebasing: bytes[index..<end])
            var value: UInt128 = 0
            var groups = 1
            if end == bytes.count, piece.contains(UInt8(ascii: ".")) {
                guard let v4 = parseV4(piece) else { return nil }
                value = UInt128(v4)
                groups = 2
            } else {
                guard !piece.isEmpty, piece.count <= 4 else { return nil }
                for byte in piece {
                    guard let digit = byte.hexDigitValue else { return nil }
                    value = value << 4 | UInt128(digit)
                }
            }
            if compressed {
                tail = tail << UInt128(16 * groups) | value
                tails += groups
            } else {
                head = head << UInt128(16 * groups) | value
                heads += groups
            }
            guard heads + tails <= 8 else { return nil }
            index = end
            guard index < bytes.count else { break }
            index += 1
            guard index < bytes.count else { return nil }
            if bytes[index] == colon {
                guard !compressed else { return nil }
                compressed = true
                index += 1
            }
        }
        guard compressed ? heads + tails < 8 : heads == 8 else { return nil }
        let bits = head << UInt128(16 * (8 - heads)) | tail
        return (UInt64(truncatingIfNeeded: bits >> 64), UInt64(truncatingIfNeeded: bits))
    }
}

extension IPAddress: CustomStringConvertible {
    /// Dotted IPv4, or IPv6 in the form of RFC 5952 §4.
    public var description: String {
        switch family {
        // Short enough to need no memory of its own.
        case .v4: String(octets: Self.longestV4) { writeV4(to: &$0) }
        case .v6: descriptionV6
        }
    }

    private var descriptionV6: String {
        let groups: [UInt64] = (0..<8).map { index in
            let half = index < 4 ? high : low
            return half >> UInt64(48 - 16 * (index % 4)) & 0xffff
        }
        // RFC 5952 §4.2.3: the longest run of zero groups, of two or more, the first of equals.
        var best = 0..<0
        var start = 0
        while start < 8 {
            var end = start
            while end < 8, groups[end] == 0 { end += 1 }
            if end - start > best.count, end - start >= 2 { best = start..<end }
            start = max(end, start + 1)
        }
        func hex(_ range: Range<Int>) -> String { groups[range].map { String($0, radix: 16) }.joined(separator: ":") }
        return best.isEmpty ? hex(0..<8) : hex(0..<best.lowerBound) + "::" + hex(best.upperBound..<8)
    }
}

extension IPAddress: TextWritable {
    private static let longestV4 = 15
    public static let longestText = 39

    /// The same as `description`.
    public func write(to text: inout TextWriter) {
        switch family {
        case .v4: writeV4(to: &text)
        case .v6: text.add(descriptionV6)
        }
    }

    private func writeV4(to text: inout TextWriter) {
        for index in 0..<4 {
            if index > 0 { text.add(UInt8(ascii: ".")) }
            let octet = low &>> UInt64(24 &- 8 &* index) & 0xff
            text.add(octet, digits: octet >= 100 ? 3 : octet >= 10 ? 2 : 1)
        }
    }
}

extension UInt8 {
    /// The value of an ASCII hexadecimal digit, in either case.
    @inlinable
    public var hexDigitValue: UInt8? {
        switch self {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): self - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): self - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): self - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}

extension IPAddress {
    /// As the two halves of an IPv6 address, IPv4 mapped (RFC 4291 §2.5.5.2); `init(v6High:low:)` reads them back.
    public var mappedHalves: (high: UInt64, low: UInt64) { family == .v4 ? (0, 0xffff << 32 | low) : (high, low) }
}

/// A network in CIDR notation: an address with its host bits cleared, and a length in bits.
public struct Prefix: Hashable, Sendable {
    /// The network's first address.
    public let address: IPAddress
    /// 0...32 for IPv4, 0...128 for IPv6.
    public let length: Int

    /// The network of `length` bits that `address` lies in. A length out of range is brought into it.
    public init(_ address: IPAddress, length: Int) {
        let length = min(max(length, 0), address.family.bits)
        self.length = length
        self.address = address.masked(to: length)
    }

    /// A single address.
    public init(_ address: IPAddress) { self.init(address, length: address.family.bits) }

    public func contains(_ other: IPAddress) -> Bool {
        other.family == address.family && other.masked(to: length) == address
    }

    public func contains(_ other: Prefix) -> Bool {
        other.length >= length && contains(other.address)
    }

    /// Whether some address lies in both.
    public func overlaps(_ other: Prefix) -> Bool { contains(other) || other.contains(self) }

    /// The two networks that it is made of, in the order of their addresses; `nil` for a single address.
    public var halves: (Prefix, Prefix)? {
        guard length < address.family.bits else { return nil }
        let bit = address.family.bits - length - 1
        let second = IPAddress(
            family: address.family, high: bit >= 64 ? address.high | 1 << UInt64(bit - 64) : address.high,
            low: bit >= 64 ? address.low : address.low | 1 << UInt64(bit))
        return (Prefix(address, length: length + 1), Prefix(second, length: length + 1))
    }

    /// Reads `192.0.2.0/24`, `2001:db8::/32`, or a bare address as a prefix of full length. `nil` when the length is
    /// out of range, has a leading zero, or host bits are set, which is nearly always a slip.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let address = IPAddress(parts[0]) else { return nil }
        guard parts.count == 2 else {
            self.init(address, length: address.family.bits)
            return
        }
        // A mapped address keeps the meaning of its length: ::ffff:192.0.2.0/120 is 192.0.2.0/24.
        let mapped = address.family == .v4 && parts[0].utf8.contains(UInt8(ascii: ":"))
        guard parts[1].utf8.count <= 3, parts[1].utf8.allSatisfy({ $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }),
            parts[1].utf8.count == 1 || parts[1].utf8.first != UInt8(ascii: "0"), var length = Int(parts[1])
        else { return nil }
        if mapped { length -= 96 }
        guard (0...address.family.bits).contains(length), address.masked(to: length) == address else { return nil }
        self.init(address, length: length)
    }
}

extension Prefix: CustomStringConvertible {
    /// `192.0.2.0/24`; a prefix of full length prints as its address alone.
    public var description: String {
        length == address.family.bits ? "\(address)" : "\(address)/\(length)"
    }
}

extension IPAddress {
    /// The address with all but its first `length` bits cleared.
    public func masked(to length: Int) -> IPAddress {
        func mask(_ bits: Int, of width: Int) -> UInt64 {
            bits <= 0 ? 0 : bits >= width ? UInt64.max : UInt64.max << UInt64(width - bits)
        }
        switch family {
        case .v4: return IPAddress(family: .v4, high: 0, low: low & (mask(length, of: 32) & 0xffff_ffff))
        case .v6: return IPAddress(family: .v6, high: high & mask(length, of: 64), low: low & mask(length - 64, of: 64))
        }
    }
}

/// The Castagnoli CRC of RFC 3720 appendix B.4, which PROXY protocol v2 uses.
enum CRC32C {
    private static let table: [UInt32] = (0..<256).map { index in
        var value = UInt32(index)
        for _ in 0..<8 { value = value & 1 == 1 ? value >> 1 ^ 0x82f6_3b78 : value >> 1 }
        return value
    }

    static func checksum(_ octets: some Sequence<UInt8>) -> UInt32 {
        var value = UInt32.max
        for octet in octets { value = value >> 8 ^ table[Int(UInt8(truncatingIfNeeded: value) ^ octet)] }
        return ~value
    }
}

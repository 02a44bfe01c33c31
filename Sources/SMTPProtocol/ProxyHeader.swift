import PosternCore

/// An address and a port.
public struct Endpoint: Hashable, Sendable {
    public var address: IPAddress
    public var port: UInt16

    public init(address: IPAddress, port: UInt16) {
        self.address = address
        self.port = port
    }
}

/// What a PROXY protocol header says (HAProxy's proxy-protocol.txt, versions 1 and 2).
public enum ProxyHeader: Hashable, Sendable {
    /// The connection of a client, as the proxy sees its two ends.
    case proxied(source: Endpoint, destination: Endpoint)
    /// LOCAL, UNKNOWN or unspecified: the proxy speaks for itself, and the real peer counts.
    case local
}

/// Why bytes are not a PROXY header. The connection must be dropped without an answer: never guess.
public enum ProxyHeaderError: Error, Hashable, Sendable {
    /// Neither signature.
    case notAHeader
    /// Longer than the limit: 107 octets in version 1, `ProxyHeader.longestV2` in version 2.
    case tooLong
    /// Version 1: fields missing, too many, or separated by anything but one space; or a CR or LF out of place.
    case malformedLine
    /// A family or protocol other than TCP over IPv4 or IPv6.
    case unsupportedFamily
    /// An address that is not of the family.
    case badAddress
    /// A port that is no number in 0...65535 without leading zeros.
    case badPort
    /// A version other than 2, or a command other than LOCAL and PROXY, behind the signature of version 2.
    case badVersionOrCommand
    /// Version 2: the length does not hold the addresses.
    case tooShort
    /// Version 2: TLVs that pass the end, or a CRC32C that is not 4 octets or stands twice.
    case malformedTLV
    /// The CRC32C is wrong.
    case badChecksum
}

extension ProxyHeader {
    /// Version 1, with CRLF: the text gives 107 as the longest.
    public static let longestV1 = 107
    /// Version 2, all told: addresses, and as much in TLVs as load balancers send with a TLS client certificate's names.
    public static let longestV2 = 4096

    static let signature: [UInt8] = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]
    private static let opening = Array("PROXY ".utf8)

    /// Reads a header at the start of a connection's bytes.
    ///
    /// - Returns: the header and its length in octets, or `nil` when more bytes are needed, which is never the case past
    ///   the limits.
    /// - Throws: as soon as the bytes can no longer become a header.
    public static func parse(_ bytes: UnsafeRawBufferPointer) throws(ProxyHeaderError) -> (header: ProxyHeader, length: Int)? {
        guard let first = bytes.first else { return nil }
        if first == signature[0] {
            guard zip(bytes, signature).allSatisfy({ $0 == $1 }) else { throw .notAHeader }
            return try parseV2(bytes)
        }
        guard zip(bytes, opening).allSatisfy({ $0 == $1 }) else { throw .notAHeader }
        return try parseV1(bytes)
    }

    // MARK: - Version 1

    private static func parseV1(_ bytes: UnsafeRawBufferPointer) throws(ProxyHeaderError) -> (header: ProxyHeader, length: Int)? {
        let window = bytes.prefix(longestV1)
        guard let stop = window.firstIndex(where: { $0 == Octet.cr || $0 == Octet.lf || $0 == Octet.nul }) else {
            if bytes.count >= longestV1 { throw .tooLong }
            return nil
        }
        guard bytes[stop] == Octet.cr else { throw .malformedLine }
        guard stop + 1 < bytes.count else { return nil }
        guard bytes[stop + 1] == Octet.lf else { throw .malformedLine }
        guard stop + 2 <= longestV1 else { throw .tooLong }
        let words = Array(bytes[opening.count..<stop]).split(separator: Octet.space, omittingEmptySubsequences: false)
        let family: IPAddress.Family
        switch words.first.map({ String(decoding: $0, as: UTF8.self) }) {
        // The receiver must ignore anything behind UNKNOWN.
        case "UNKNOWN": return (.local, stop + 2)
        case "TCP4": family = .v4
        case "TCP6": family = .v6
        default: throw .unsupportedFamily
        }
        guard words.count == 5 else { throw .malformedLine }
        let source = Endpoint(address: try address(words[1], family), port: try port(words[3]))
        let destination = Endpoint(address: try address(words[2], family), port: try port(words[4]))
        return (.proxied(source: source, destination: destination), stop + 2)
    }

    private static func address(_ word: ArraySlice<UInt8>, _ family: IPAddress.Family) throws(ProxyHeaderError) -> IPAddress {
        // A mapped address is written as IPv6, and is IPv4 once read.
        guard word.contains(Octet.colon) == (family == .v6), let address = word.withUnsafeBufferPointer({ IPAddress(bytes: $0) }) else {
            throw .badAddress
        }
        return address
    }

    private static func port(_ word: ArraySlice<UInt8>) throws(ProxyHeaderError) -> UInt16 {
        guard word.count == 1 || word.first != UInt8(ascii: "0"), let port = CommandParser.number(word).flatMap({ UInt16(exactly: $0) })
        else { throw .badPort }
        return port
    }

    // MARK: - Version 2

    private static func parseV2(_ bytes: UnsafeRawBufferPointer) throws(ProxyHeaderError) -> (header: ProxyHeader, length: Int)? {
        guard bytes.count > 12 else { return nil }
        guard bytes[12] == 0x20 || bytes[12] == 0x21 else { throw .badVersionOrCommand }
        guard bytes.count >= 16 else { return nil }
        let length = 16 + Int(bytes[14]) << 8 + Int(bytes[15])
        guard length <= longestV2 else { throw .tooLong }
        guard bytes.count >= length else { return nil }
        // LOCAL: the block is discarded, its family too.
        guard bytes[12] == 0x21 else { return (.local, length) }
        let width: Int
        switch bytes[13] {
        case 0x00: width = 0
        case 0x11: width = 4
        case 0x21: width = 16
        default: throw .unsupportedFamily
        }
        let addresses = width == 0 ? 0 : 2 * width + 4
        guard length >= 16 + addresses else { throw .tooShort }
        try checkTLVs(UnsafeRawBufferPointer(rebasing: bytes[..<length]), from: 16 + addresses)
        guard width > 0 else { return (.local, length) }
        func endpoint(_ address: Int, _ port: Int) -> Endpoint? {
            IPAddress(octets: bytes[address..<(address + width)]).map {
                Endpoint(address: $0, port: UInt16(bytes[port]) << 8 | UInt16(bytes[port + 1]))
            }
        }
        guard let source = endpoint(16, 16 + 2 * width), let destination = endpoint(16 + width, 18 + 2 * width) else { throw .badAddress }
        return (.proxied(source: source, destination: destination), length)
    }

    private static func checkTLVs(_ header: UnsafeRawBufferPointer, from start: Int) throws(ProxyHeaderError) {
        var index = start
        var checksum: Int?
        while index < header.count {
            guard index + 3 <= header.count else { throw .malformedTLV }
            let value = index + 3
            let next = value + Int(header[index + 1]) << 8 + Int(header[index + 2])
            guard next <= header.count else { throw .malformedTLV }
            // PP2_TYPE_CRC32C: over the whole header with the checksum itself taken as zero.
            if header[index] == 0x03 {
                guard next - value == 4, checksum == nil else { throw .malformedTLV }
                checksum = value
            }
            index = next
        }
        guard let checksum else { return }
        var copy = Array(header)
        let given = copy[checksum..<(checksum + 4)].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        for position in checksum..<(checksum + 4) { copy[position] = 0 }
        guard CRC32C.checksum(copy) == given else { throw .badChecksum }
    }

    /// The header in version 2.
    ///
    /// - Parameter checksum: whether to append a CRC32C, which a receiver must check.
    public func encodedV2(checksum: Bool = false) -> [UInt8] {
        var bytes = Self.signature
        var block: [UInt8] = []
        switch self {
        case .local:
            bytes += [0x20, 0x00]
        case .proxied(let source, let destination):
            // Two families: the IPv4 end is written as a mapped IPv6 address (RFC 4291 §2.5.5.2).
            let isV4 = source.address.family == .v4 && destination.address.family == .v4
            bytes += [0x21, isV4 ? 0x11 : 0x21]
            for end in [source, destination] {
                if !isV4, end.address.family == .v4 { block += [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff] }
                block += end.address.octets
            }
            for end in [source, destination] { block += [UInt8(end.port >> 8), UInt8(truncatingIfNeeded: end.port)] }
        }
        if checksum { block += [0x03, 0x00, 0x04, 0, 0, 0, 0] }
        bytes += [UInt8(block.count >> 8), UInt8(truncatingIfNeeded: block.count)] + block
        if checksum {
            let value = CRC32C.checksum(bytes)
            for (offset, shift) in [24, 16, 8, 0].enumerated() {
                bytes[bytes.count - 4 + offset] = UInt8(truncatingIfNeeded: value >> UInt32(shift))
            }
        }
        return bytes
    }
}

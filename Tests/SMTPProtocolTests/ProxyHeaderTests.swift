import PosternCore
import Testing

@testable import SMTPProtocol

@Suite("PROXY protocol")
struct ProxyHeaderTests {
    struct Parsed: Equatable {
        let header: ProxyHeader
        let length: Int
    }

    /// Offers ever longer prefixes, as bytes come in, and stops at the first decision.
    static func parse(_ wire: [UInt8], _ cut: Cut) -> Result<Parsed?, ProxyHeaderError> {
        var generator = SeededGenerator(seed: 12)
        var seen: [UInt8] = []
        for piece in cut.pieces(wire, &generator) {
            seen += piece
            let result = Result { () throws(ProxyHeaderError) in
                var outcome: Result<Parsed?, ProxyHeaderError> = .success(nil)
                seen.withUnsafeBytes { buffer in
                    do throws(ProxyHeaderError) {
                        outcome = .success(try ProxyHeader.parse(buffer).map { Parsed(header: $0.header, length: $0.length) })
                    } catch {
                        outcome = .failure(error)
                    }
                }
                return try outcome.get()
            }
            if case .success(nil) = result { continue }
            return result
        }
        return .success(nil)
    }

    private static let v4 = ProxyHeader.proxied(
        source: Endpoint(address: IPAddress("192.0.2.1")!, port: 56324),
        destination: Endpoint(address: IPAddress("198.51.100.2")!, port: 25))
    private static let v6 = ProxyHeader.proxied(
        source: Endpoint(address: IPAddress("2001:db8::1")!, port: 65535),
        destination: Endpoint(address: IPAddress("2001:db8::2")!, port: 0))
    private static let mixed = ProxyHeader.proxied(
        source: Endpoint(address: IPAddress("192.0.2.1")!, port: 1), destination: Endpoint(address: IPAddress("2001:db8::2")!, port: 25))

    @Test("version 2 comes back as it was written", arguments: Cut.allCases)
    func roundTrip(_ cut: Cut) {
        for header in [Self.v4, Self.v6, Self.mixed, .local] {
            for checksum in [false, true] {
                let wire = header.encodedV2(checksum: checksum)
                #expect(Self.parse(wire + bytes("EHLO"), cut) == .success(Parsed(header: header, length: wire.count)))
                // All of it is needed.
                for count in 0..<wire.count { #expect(Self.parse(Array(wire.prefix(count)), .whole) == .success(nil)) }
            }
        }
    }

    @Test("the octets of version 2")
    func octets() {
        let signature: [UInt8] = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]
        #expect(Self.v4.encodedV2() == signature + [0x21, 0x11, 0, 12, 192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0, 25])
        #expect(ProxyHeader.local.encodedV2() == signature + [0x20, 0, 0, 0])
        let mixed = Self.mixed.encodedV2()
        #expect(mixed.count == 16 + 36)
        #expect(Array(mixed[16..<32]) == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1])
        // RFC 3720 appendix B.4.
        #expect(CRC32C.checksum([UInt8](repeating: 0, count: 32)) == 0x8a91_36aa)
        #expect(CRC32C.checksum((0..<32).map { UInt8($0) }) == 0x46dd_794e)
    }

    @Test("version 2 is checked", arguments: Cut.allCases)
    func strictness(_ cut: Cut) {
        let good = Self.v4.encodedV2()
        let head = Array(good[..<12])
        let addresses = Array(good[16...])
        func header(_ command: UInt8, _ family: UInt8, _ block: [UInt8]) -> [UInt8] {
            head + [command, family, UInt8(block.count >> 8), UInt8(block.count & 255)] + block
        }
        let cases: [([UInt8], ProxyHeaderError)] = [
            (header(0x11, 0x11, addresses), .badVersionOrCommand), (header(0x22, 0x11, addresses), .badVersionOrCommand),
            (header(0x21, 0x12, addresses), .unsupportedFamily),
            (header(0x21, 0x31, [UInt8](repeating: 0, count: 216)), .unsupportedFamily),
            (header(0x21, 0x11, Array(addresses.dropLast())), .tooShort), (header(0x21, 0x21, addresses), .tooShort),
            (header(0x21, 0x11, addresses + [4, 0]), .malformedTLV), (header(0x21, 0x11, addresses + [4, 0, 2, 0]), .malformedTLV),
            (header(0x21, 0x11, addresses + [3, 0, 3, 0, 0, 0]), .malformedTLV),
            (header(0x21, 0x11, addresses + [3, 0, 4, 0, 0, 0, 0]), .badChecksum),
            (header(0x21, 0x00, [3, 0, 4, 0, 0, 0, 0]), .badChecksum), (head + [0x21, 0x11, 0xff, 0xff], .tooLong),
            (bytes("\r\n\r\nQUIT"), .notAHeader), (bytes("EHLO a\r\n"), .notAHeader), (bytes("PROXYX"), .notAHeader),
            ([0x16, 0x03, 0x01], .notAHeader),
        ]
        for (wire, error) in cases { #expect(Self.parse(wire, cut) == .failure(error), "\(shown(wire))") }
        // Two checksums, the first of which is right.
        var twice = Self.v4.encodedV2(checksum: true) + [3, 0, 4, 0, 0, 0, 0]
        twice[15] += 7
        #expect(Self.parse(twice, cut) == .failure(.malformedTLV))
        // TLVs that are not known, and LOCAL with anything, are let through.
        #expect(Self.parse(header(0x21, 0x11, addresses + [0xe0, 0, 2, 1, 2]), cut) == .success(Parsed(header: Self.v4, length: 33)))
        #expect(Self.parse(header(0x20, 0x7f, [1, 2, 3]), cut) == .success(Parsed(header: .local, length: 19)))
        #expect(Self.parse(header(0x21, 0x00, []), cut) == .success(Parsed(header: .local, length: 16)))
        // Any octet of a checked header that changes is found out, but for the type of the checksum itself.
        let checked = Self.v4.encodedV2(checksum: true)
        for index in 16..<checked.count where index != 28 {
            var wrong = checked
            wrong[index] ^= 0x40
            if case .success(let parsed) = Self.parse(wrong, .whole) { #expect(parsed == nil, "octet \(index)") }
        }
    }

    @Test("version 1", arguments: Cut.allCases)
    func versionOne(_ cut: Cut) {
        let longest = "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"
        #expect(longest.utf8.count == ProxyHeader.longestV1)
        #expect(Self.parse(bytes(longest), cut) == .success(Parsed(header: .local, length: 107)))
        let wire = "PROXY TCP4 192.0.2.1 198.51.100.2 56324 25\r\n"
        #expect(Self.parse(bytes(wire + "EHLO"), cut) == .success(Parsed(header: Self.v4, length: wire.utf8.count)))
        let mapped = "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.2 56324 25\r\n"
        #expect(Self.parse(bytes(mapped), cut) == .success(Parsed(header: Self.v4, length: mapped.utf8.count)))
        let cases: [(String, ProxyHeaderError)] = [
            ("PROXY UNKNOWN " + String(repeating: "x", count: 100) + "\r\n", .tooLong),
            ("PROXY TCP4 192.0.2.1 198.51.100.2 1 2\n", .malformedLine),
            ("PROXY TCP4 192.0.2.1 198.51.100.2 1 2\rX", .malformedLine), ("PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n", .malformedLine),
            ("PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n", .malformedLine), ("PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n", .badPort),
            ("PROXY TCP4 192.0.2.1 198.51.100.2 1 65536\r\n", .badPort), ("PROXY TCP4 192.0.2.01 198.51.100.2 1 2\r\n", .badAddress),
            ("PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n", .badAddress), ("PROXY TCP4 ::1 ::2 1 2\r\n", .badAddress),
            ("PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n", .unsupportedFamily),
            ("PROXY tcp4 192.0.2.1 198.51.100.2 1 2\r\n", .unsupportedFamily),
            ("PROXY \r\n", .unsupportedFamily), ("proxy TCP4", .notAHeader), ("PROXY UNKNOWN\0\r\n", .malformedLine),
        ]
        for (wire, error) in cases { #expect(Self.parse(bytes(wire), cut) == .failure(error), "\(wire)") }
    }

    @Test("random bytes behind a signature never trap", arguments: [UInt64](1...4))
    func random(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<2000 {
            var wire = [Self.v4, Self.v6, .local].randomElement(using: &generator)!.encodedV2(checksum: Bool.random(using: &generator))
            for _ in 0..<Int.random(in: 0...4, using: &generator) {
                wire[Int.random(in: 12..<wire.count, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
            }
            wire += (0..<Int.random(in: 0...40, using: &generator)).map { _ in UInt8.random(in: 0...4, using: &generator) }
            #expect(Self.parse(wire, .whole) == Self.parse(wire, .bytes))
        }
    }
}

@Suite("XCLIENT")
struct XClientTests {
    private func parse(_ line: String) throws(CommandError) -> XClientAttributes? {
        var violations: ViolationSet = []
        guard case .xclient(let attributes) = try Command.parse(bytes(line), violations: &violations) else { return nil }
        return attributes
    }

    @Test("attributes are read")
    func read() throws {
        let attributes = try parse(
            "XCLIENT name=spike.porcupine.org Addr=IPV6:2001:db8::1 PORT=25 proto=esmtp HELO=a+20b LOGIN=[unavailable] DESTADDR=192.0.2.1 DESTPORT=[TEMPUNAVAIL]"
        )
        #expect(
            attributes
                == XClientAttributes(
                    name: .known("spike.porcupine.org"), address: .known(IPAddress("2001:db8::1")!), port: .known(25), proto: .esmtp,
                    helo: .known("a b"),
                    login: .unavailable, destinationAddress: .known(IPAddress("192.0.2.1")!), destinationPort: .temporarilyUnavailable))
        #expect(
            try parse("XCLIENT NAME=[TEMPUNAVAIL] ADDR=[UNAVAILABLE]")
                == XClientAttributes(name: .temporarilyUnavailable, address: .unavailable))
        for bad in [
            "NAME", "NAME=", "FOO=x", "ADDR=2001:db8::1", "ADDR=IPV6:192.0.2.1", "ADDR=x", "PORT=65536", "PORT=x", "PROTO=LMTP",
            "NAME=a+0Ab", "NAME=a=b",
            "NAME=" + String(repeating: "x", count: 256), "HELO=+FF",
        ] {
            #expect(throws: CommandError.badXClient, "\(bad)") { try parse("XCLIENT \(bad)") }
        }
    }

    @Test("commands stay below 512 octets, with ADDR in the last")
    func write() throws {
        let long = String(repeating: "x", count: 255)
        let attributes = XClientAttributes(
            name: .known(long), address: .known(IPAddress("2001:db8::1")!), port: .known(65535), proto: .esmtp, helo: .known(long),
            login: .known("a b=c\(String(repeating: "x", count: 240))"),
            destinationAddress: .known(IPAddress("192.0.2.1")!), destinationPort: .unavailable)
        let commands = attributes.commands(offered: Set(XClientAttributes.Name.allCases))
        #expect(commands.count == 3)
        var merged = XClientAttributes()
        for (index, command) in commands.enumerated() {
            #expect(command.count <= XClientAttributes.longestCommand)
            #expect(command.suffix(2) == [13, 10])
            #expect(text(command).contains(" ADDR=IPV6:2001:db8::1") == (index == commands.count - 1))
            // Postfix forgets a login with the next command that has none.
            #expect(text(command).contains(" LOGIN=") == (index == commands.count - 1))
            for word in command.dropLast(2).split(separator: 32).dropFirst() {
                let taken = merged.merge(word)
                #expect(taken)
            }
        }
        #expect(merged == attributes)
        #expect(attributes.commands(offered: [.address, .port]).map(text) == ["XCLIENT PORT=65535 ADDR=IPV6:2001:db8::1\r\n"])
        #expect(attributes.commands(offered: []) == [])
        // Postfix counts 255 octets as they are sent. What has more is not cut, but left out.
        for (count, isTold) in [(85, true), (86, false)] {
            let awkward = XClientAttributes(address: .known(IPAddress("192.0.2.1")!), helo: .known(String(repeating: " ", count: count)))
            let told = isTold ? String(repeating: "+20", count: count) : "[UNAVAILABLE]"
            #expect(awkward.commands(offered: [.helo, .address]).map(text) == ["XCLIENT HELO=\(told) ADDR=192.0.2.1\r\n"])
        }
    }
}

import PosternCore
import Testing

@Suite("IP addresses")
struct IPAddressTests {
    @Test(
        "are read and printed in their canonical form (RFC 5952 §4)",
        arguments: [
            ("192.0.2.1", "192.0.2.1"), ("0.0.0.0", "0.0.0.0"), ("255.255.255.255", "255.255.255.255"),
            // §4.1: no leading zeros.
            ("2001:0db8:0000:0000:0001:0000:0000:0001", "2001:db8::1:0:0:1"),
            // §4.2.1: as short as possible; §4.2.2: one group of zeros is not shortened.
            ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"), ("2001:db8::1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
            // §4.2.3: the longest run, the first of equals.
            ("2001:0:0:1:0:0:0:1", "2001:0:0:1::1"), ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
            // §4.3: lower case.
            ("2001:DB8::ABCD", "2001:db8::abcd"), ("::", "::"), ("::1", "::1"), ("1::", "1::"), ("0:0:0:0:0:0:0:1", "::1"),
            ("1:0:0:0:0:0:0:0", "1::"), ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"), ("::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"),
            ("fe80::1", "fe80::1"), ("64:ff9b::192.0.2.33", "64:ff9b::c000:221"), ("::192.0.2.1", "::c000:201"),
            ("1:2:3:4:5:6:192.0.2.1", "1:2:3:4:5:6:c000:201"),
        ])
    func canonical(text: String, printed: String) throws {
        let address = try #require(IPAddress(text))
        #expect(address.description == printed)
        #expect(IPAddress(printed) == address)
        #expect(IPAddress(octets: address.octets) == address)
    }

    @Test("mapped into IPv6 are the IPv4 addresses they map (RFC 4291 §2.5.5.2)")
    func mapped() throws {
        let plain = try #require(IPAddress("192.0.2.1"))
        #expect(plain.family == .v4)
        for text in ["::ffff:192.0.2.1", "::FFFF:c000:201", "0:0:0:0:0:ffff:192.0.2.1", "0:0:0:0:0:ffff:c000:0201"] {
            #expect(IPAddress(text) == plain, "\(text)")
        }
        #expect(IPAddress(octets: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 1]) == plain)
        #expect(IPAddress(v6High: 0, low: 0xffff_c000_0201) == plain)
        // Neighbours of the mapped range stay IPv6.
        for text in ["::fffe:192.0.2.1", "::1:ffff:c000:201", "1::ffff:192.0.2.1", "::c000:201"] {
            #expect(IPAddress(text)?.family == .v6, "\(text)")
        }
    }

    @Test(
        "that are malformed are refused",
        arguments: [
            "", " ", ".", ":", "1", "1.2.3", "1.2.3.4.5", "1.2.3.", ".1.2.3", "1..2.3", "1.2.3.256", "1.2.3.999", "1.2.3.1000", "01.2.3.4",
            "1.2.3.00", "1.2.3.04", "1.2.3.-4", "+1.2.3.4", "1.2.3.4 ", " 1.2.3.4", "1.2.3.4\n", "1,2,3,4", "1.2.3.a", "0x1.2.3.4",
            "١.2.3.4",
            "4294967296", "99999999999999999999.1.1.1", ":::", "::1::", "1::2::3", ":1", "1:", "1:2", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9",
            "1:2:3:4:5:6:7:8::", "::1:2:3:4:5:6:7:8", "1:2:3:4::5:6:7:8", "12345::", "::g", "::1%eth0", "fe80::1%1", "[::1]", "::1/64",
            "::1.2.3", "::1.2.3.4.5", "::1.2.3.256", "1.2.3.4::", "1:2:3:4:5:6:7:1.2.3.4", "::ffff:1.2.3.04", "1.2.3.4:1", ":1.2.3.4",
            "0000:0000:0000:0000:0000:0000:255.255.255.2550", "::ffff:١.2.3.4", "1:2:3:4:5:6:7:", ":2:3:4:5:6:7:8", "-1::", "::-1", "1 ::",
        ])
    func malformed(text: String) {
        #expect(IPAddress(text) == nil)
    }

    @Test("are refused when longer than any address, whatever they hold")
    func overlong() {
        #expect(IPAddress(String(repeating: "0", count: 46)) == nil)
        #expect(IPAddress(String(repeating: ":", count: 100_000)) == nil)
        // The longest there is: 45 characters.
        let longest = "2001:0db8:0000:0000:0000:ffff:255.255.255.255"
        #expect(longest.utf8.count == 45)
        #expect(IPAddress(longest)?.description == "2001:db8::ffff:ffff:ffff")
        for count in [0, 1, 3, 5, 15, 17] { #expect(IPAddress(octets: [UInt8](repeating: 1, count: count)) == nil) }
    }

    @Test("print to what reads back the same, over many of them")
    func roundTrip() {
        var state: UInt64 = 42
        func next() -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return state ^ (state >> 29)
        }
        for _ in 0..<2000 {
            // Whole groups of zeros are what the short form is about.
            let mask = (0..<8).reduce(UInt64(0)) { sum, _ in sum << 8 | (next() % 3 == 0 ? 0xff : 0) }
            let address = IPAddress(v6High: next() & mask, low: next() & (mask << 16 | mask >> 48))
            #expect(IPAddress(address.description) == address)
            #expect(!address.description.contains(":::"))
        }
    }

    @Test("know the loopback of either family")
    func loopback() throws {
        for text in ["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1"] { #expect(try #require(IPAddress(text)).isLoopback) }
        for text in ["128.0.0.1", "126.255.255.255", "::2", "1::1", "::"] { #expect(try #require(IPAddress(text)).isLoopback == false) }
    }
}

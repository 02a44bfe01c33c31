import PosternCore
import Testing

@Suite("Prefixes")
struct PrefixTests {
    @Test(
        "are read and printed",
        arguments: [
            ("192.0.2.0/24", "192.0.2.0/24"), ("192.0.2.1", "192.0.2.1"), ("192.0.2.1/32", "192.0.2.1"), ("0.0.0.0/0", "0.0.0.0/0"),
            ("10.0.0.0/8", "10.0.0.0/8"), ("2001:db8::/32", "2001:db8::/32"), ("2001:db8::1", "2001:db8::1"), ("::/0", "::/0"),
            ("2001:db8::1/128", "2001:db8::1"), ("::ffff:192.0.2.0/120", "192.0.2.0/24"), ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::ffff:0.0.0.0/96", "0.0.0.0/0"), ("128.0.0.0/1", "128.0.0.0/1"),
        ])
    func canonical(text: String, printed: String) throws {
        let prefix = try #require(Prefix(text))
        #expect(prefix.description == printed)
        #expect(Prefix(printed) == prefix)
    }

    @Test(
        "that are malformed, out of range or have host bits set are refused",
        arguments: [
            "", "/", "/24", "192.0.2.0/", "192.0.2.0/33", "192.0.2.1/24", "192.0.2.0/-1", "192.0.2.0/+24", "192.0.2.0/24/", "192.0.2.0/2 4",
            "192.0.2.0/0x8", "192.0.2.0/024", "192.0.2.0/00", "192.0.2/24", "2001:db8::/129", "2001:db8::1/64", "2001:db8::/999",
            "2001:db8::/9999", "::ffff:192.0.2.0/95", "::ffff:192.0.2.0/24", "::ffff:192.0.2.1/120", "192.0.2.0/٢٤", "192.0.2.0/24 ",
            "example.org/24", "192.0.2.0/99999999999999999999",
        ])
    func malformed(text: String) {
        #expect(Prefix(text) == nil)
    }

    @Test("contain the addresses whose first bits are theirs", arguments: [0, 1, 7, 8, 9, 15, 16, 23, 24, 25, 31, 32])
    func containsV4(length: Int) throws {
        let address = try #require(IPAddress("203.0.113.169"))
        let bits = UInt32(0xcb00_71a9)
        let prefix = Prefix(address, length: length)
        #expect(prefix.contains(address))
        for bit in 0..<32 {
            let other = IPAddress(v4: bits ^ (1 << UInt32(31 - bit)))
            #expect(prefix.contains(other) == (bit >= length), "bit \(bit)")
        }
    }

    @Test("contain the addresses whose first bits are theirs, in IPv6", arguments: [0, 1, 32, 48, 63, 64, 65, 127, 128])
    func containsV6(length: Int) {
        let high: UInt64 = 0x2001_0db8_1234_5678
        let low: UInt64 = 0x9abc_def0_1234_5678
        let prefix = Prefix(IPAddress(v6High: high, low: low), length: length)
        for bit in 0..<128 {
            let other =
                bit < 64
                ? IPAddress(v6High: high ^ (1 << UInt64(63 - bit)), low: low) : IPAddress(v6High: high, low: low ^ (1 << UInt64(127 - bit)))
            #expect(prefix.contains(other) == (bit >= length), "bit \(bit)")
        }
    }

    @Test("never contain addresses of the other family")
    func families() throws {
        let everyV4 = try #require(Prefix("0.0.0.0/0"))
        let everyV6 = try #require(Prefix("::/0"))
        let v4 = try #require(IPAddress("192.0.2.1"))
        let v6 = try #require(IPAddress("2001:db8::1"))
        #expect(everyV4.contains(v4) && !everyV4.contains(v6))
        #expect(everyV6.contains(v6) && !everyV6.contains(v4))
        #expect(!everyV6.contains(everyV4) && !everyV4.contains(everyV6))
    }

    @Test("contain longer prefixes, not shorter")
    func nesting() throws {
        let wide = try #require(Prefix("10.0.0.0/8"))
        let narrow = try #require(Prefix("10.1.0.0/16"))
        #expect(wide.contains(narrow) && !narrow.contains(wide) && wide.contains(wide))
        #expect(!narrow.contains(try #require(Prefix("10.2.0.0/24"))))
    }

    @Test("with a length out of range are brought into it")
    func clamped() throws {
        let address = try #require(IPAddress("192.0.2.1"))
        #expect(Prefix(address, length: -1).description == "0.0.0.0/0")
        #expect(Prefix(address, length: 200).description == "192.0.2.1")
        #expect(Prefix(try #require(IPAddress("2001:db8::1")), length: 200).description == "2001:db8::1")
    }
}

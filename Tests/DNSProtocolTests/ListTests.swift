import DNSProtocol
import PosternCore
import Testing

@Suite struct ListTests {
    private func address(_ text: String) throws -> UInt32 { try #require(IPAddress(text)).octets.reduce(0) { $0 << 8 | UInt32($1) } }

    @Test func addressesAreReversedInFrontOfTheZone() throws {
        let zone = try name("bl.example.net")
        #expect(ListName.address(try #require(IPAddress("192.0.2.100")), zone: zone) == DNSName("100.2.0.192.bl.example.net"))
        #expect(ListName.address(try #require(IPAddress("10.0.0.9")), zone: zone) == DNSName("9.0.0.10.bl.example.net"))
        // RFC 5782 §2.4's own example.
        #expect(
            ListName.address(try #require(IPAddress("2001:db8:1:2:3:4:567:89ab")), zone: zone)?.description
                == "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.bl.example.net")
        #expect(ListName.pointer(try #require(IPAddress("192.0.2.100"))).description == "100.2.0.192.in-addr.arpa")
        #expect(
            ListName.pointer(try #require(IPAddress("2001:db8::1"))).description
                == "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa")
        #expect(ListName.domain(try #require(DomainName("Spam.Example")), zone: zone) == DNSName("spam.example.bl.example.net"))
    }

    @Test func aNameTooLongIsNotAsked() throws {
        let label = String(repeating: "a", count: 63)
        let zone = try name([label, label, String(repeating: "z", count: 62)].joined(separator: "."))
        #expect(ListName.address(try #require(IPAddress("2001:db8::1")), zone: zone) == nil)
        #expect(ListName.address(try #require(IPAddress("1.2.3.4")), zone: zone) != nil)
        #expect(ListName.domain(try #require(DomainName("\(label).example")), zone: zone) == nil)
    }

    @Test(
        arguments: [
            ("zen.spamhaus.org", nil, nil),
            ("zen.spamhaus.org*3", nil, 3.0),
            ("zen.spamhaus.org=127.0.0.[2..11]*2.5", "127.0.0.[2..11]", 2.5),
            ("list.dnswl.org=127.0.[0..255].[1;3]*-4", "127.0.[0..255].[1;3]", -4.0),
            ("b.barracudacentral.org=127.0.0.2", "127.0.0.2", nil),
            ("X.Example.=127.0.0.[1;2;3..7]", "127.0.0.[1..7]", nil),
        ] as [(String, String?, Double?)])
    func specificationsAreThoseOfPostscreen(_ text: String, _ filter: String?, _ weight: Double?) throws {
        let list = try ListSpecification(text)
        #expect(list.filter?.description == filter)
        #expect(list.weight == weight)
        #expect(try ListSpecification(list.description) == list)
    }

    @Test(
        arguments: [
            ("", 0), ("zone", 0), ("a..b", 0), ("=127.0.0.2", 0), ("a.example=", 10), ("a.example=127.0.0", 17),
            ("a.example=127.0.0.256", 18),
            ("a.example=127.0.0.[2", 20), ("a.example=127.0.0.[2..1]", 19), ("a.example=127.0.0.[2.3]", 21), ("a.example=127.0.0.[]", 19),
            ("a.example=127.0.0.2.3", 19), ("a.example*", 10), ("a.example*x", 10), ("a.example*101", 10), ("a.example*nan", 10),
            ("a.example*1e1", 10), ("a.example*0x1", 10), ("a.example*2*3", 11), ("a.example*2=127.0.0.2", 11),
            ("a.example=127.0.0.[1;]", 21),
        ] as [(String, Int)])
    func slipsAreToldWhereTheyAre(_ text: String, _ offset: Int) {
        #expect {
            try ListSpecification(text)
        } throws: {
            ($0 as? ListSyntaxError)?.offset == offset
        }
    }

    @Test func aZoneHasToLeaveRoomForAnAddress() throws {
        let label = String(repeating: "z", count: 60)
        #expect(throws: ListSyntaxError.self) { try ListSpecification([label, label, label, "example"].joined(separator: ".")) }
        let longest = [label, label, label].joined(separator: ".") + ".exampl"
        #expect(longest.utf8.count == ListName.longestZone)
        let zone = DNSName(try ListSpecification(longest).zone)
        #expect(ListName.address(try #require(IPAddress("2001:db8::1")), zone: zone) != nil)
    }

    @Test func filtersMatchOctetByOctet() throws {
        let filter = try ReplyFilter("127.[0..1].0.[2;4..6]")
        for (text, wanted) in [
            ("127.0.0.2", true), ("127.1.0.5", true), ("127.0.0.3", false), ("127.2.0.2", false), ("126.0.0.2", false),
            ("127.0.1.2", false),
        ] {
            #expect(try filter.matches(address(text)) == wanted, "\(text)")
        }
        let every = try ReplyFilter("[0..255].[0..255].[0..255].[0..255]")
        #expect(every.matches(0) && every.matches(.max))
    }

    @Test func eachFilterOfAZoneCountsOnce() throws {
        let filters = ListFilters([
            .init(filter: try ReplyFilter("127.0.0.[2..3]"), weight: 3), .init(filter: try ReplyFilter("127.0.0.[4..7]"), weight: 2),
            .init(filter: try ReplyFilter("127.0.0.[10..11]"), weight: -1),
        ])
        #expect(filters.reach == -1...5)
        #expect(
            try filters.reply(for: [address("127.0.0.2"), address("127.0.0.3"), address("127.0.0.4")])
                == .listed(codes: [address("127.0.0.2"), address("127.0.0.3"), address("127.0.0.4")], weight: 5))
        #expect(try filters.reply(for: [address("127.0.0.9")]) == .notListed)
        #expect(filters.reply(for: []) == .notListed)
        let plain = ListFilters([.init(filter: nil, weight: 1)])
        #expect(try plain.reply(for: [address("127.0.0.9")]) == .listed(codes: [address("127.0.0.9")], weight: 1))
    }

    /// An admin's filter may be wider than it ought to be: an error is none the less an error.
    @Test(arguments: [
        "127.255.255.252", "127.255.255.254", "127.255.255.255", "127.255.255.1", "10.0.0.1", "192.0.2.1", "0.0.0.0", "128.0.0.2",
    ])
    func errorsAreNeverListings(_ text: String) throws {
        let code = try address(text)
        let filters = ListFilters([
            .init(filter: nil, weight: 1), .init(filter: try ReplyFilter("[0..255].[0..255].[0..255].[0..255]"), weight: 9),
        ])
        #expect(filters.reply(for: [code]) == .error(code: code))
        #expect(try filters.reply(for: [address("127.0.0.2"), code]) == .error(code: code))
    }
}

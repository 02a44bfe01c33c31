import AddressTables
import DNSProtocol
import PosternCore
import PosternEngine
import Testing

@testable import PublishedLists

/// Questions and answers, as octets on the wire.
struct ListResponderTests {
    private static let zone = DNSName("bl.example.net")!
    private static let time = ZoneTime(now: 1000, toWall: 1_795_000_000)

    static func source(_ entries: [(String, ListColour, String, UInt32)], domains: [(String, ListColour)] = [], name: String = "own")
        -> PublishedSource
    {
        var statements = StatementTable()
        var builder = AddressTableBuilder()
        for (text, colour, reason, end) in entries {
            builder.add(Prefix(text)!, mark: statements.mark(PublishedStatement(colour, reason: reason)), expires: end)
        }
        var listed: [DNSName: AddressListing] = [:]
        for (text, colour) in domains {
            listed[DNSName(text)!] = AddressListing(
                mark: statements.mark(PublishedStatement(colour, reason: "a domain")), length: 0, expires: 0)
        }
        return PublishedSource(name: name, layers: [builder.table()], statements: statements.statements, domains: [listed])
    }

    static func settings(_ name: String = "bl.example.net") -> ZoneSettings {
        var settings = ZoneSettings(
            name: DNSName(name)!, nameServers: [DNSName("ns1.example.org")!, DNSName("ns2.example.org")!],
            mailbox: DNSName("dnsbl.example.org")!)
        settings.lookup = "https://example.net/?a=$"
        settings.contact = "dnsbl@example.org"
        return settings
    }

    private static let responder: ListResponder = {
        let own = source([
            ("192.0.2.7", .black, "spam run", 1100), ("198.51.100.0/24", .white, "friends", 0), ("198.51.100.9", .black, "", 0),
            ("203.0.113.5", .yellow, "big", 900), ("2001:db8::/64", .brown, "six", 0), ("127.0.0.0/8", .black, "all", 0),
        ])
        let second = source([("198.51.100.77", .black, "theirs", 0), ("203.0.113.5", .brown, "theirs", 0)], name: "theirs")
        var black = settings("black.bl.example.net")
        black.colours = [.black]
        var domains = settings("dbl.example.net")
        domains.kind = .domain
        let names = source([], domains: [("spam.example", .black), ("a.b.good.example", .white)])
        return ListResponder(zones: [
            PublishedZone(settings(), sources: [own, second], serial: 77), PublishedZone(black, sources: [own, second], serial: 77),
            PublishedZone(domains, sources: [names], serial: 77),
        ])
    }()

    static func ask(
        _ responder: ListResponder, _ octets: [UInt8], _ manner: ListResponder.Manner = .datagram, time: ZoneTime = time, room: Int = 4096
    ) -> (reply: [UInt8], outcome: AnswerKind) {
        var buffer = [UInt8](repeating: 0xaa, count: room)
        let response = buffer.withUnsafeMutableBytes { room in
            octets.withUnsafeBytes { responder.respond(to: $0, into: room, manner, time) }
        }
        // What had no room leaves traces below the limit, and nothing beyond it.
        let limit = manner == .stream ? room : ListResponder.largestDatagram
        #expect(buffer[max(response.count, limit)...].allSatisfy { $0 == 0xaa })
        return (Array(buffer[..<response.count]), response.outcome)
    }

    private static func parse(_ reply: [UInt8]) throws -> DNSMessage { try DNSMessage(parsing: reply.span) }

    private func ask(
        _ name: String, _ type: RecordType = .a, in zone: String = "bl.example.net", extensions: DNSMessage.Extensions? = nil,
        time: ZoneTime = Self.time
    ) throws -> DNSMessage {
        var query = DNSMessage.query(Question(DNSName(name.isEmpty ? zone : "\(name).\(zone)")!, type), id: 4711)
        query.extensions = extensions
        let reply = Self.ask(Self.responder, query.serialised(), time: time).reply
        let message = try DNSMessage(parsing: reply.span)
        #expect(message.id == 4711 && message.isResponse && message.recursionDesired && !message.recursionAvailable)
        #expect(message.questions == query.questions && (message.extensions != nil) == (extensions != nil))
        return message
    }

    private func expectNegative(_ message: DNSMessage, _ code: ResponseCode, zone: String = "bl.example.net") {
        #expect(message.code == code && message.isAuthoritative && message.answers.isEmpty && message.authorities.count == 1)
        guard case .soa(let soa)? = message.authorities.first?.data else {
            Issue.record("no SOA")
            return
        }
        #expect(message.authorities[0].name == DNSName(zone) && soa.serial == 77 && soa.minimum == 60)
        #expect(message.authorities[0].timeToLive == 60)
    }

    @Test(arguments: [
        ("7.2.0.192", UInt8(2), UInt32(99)), ("1.100.51.198", 1, 300), ("9.100.51.198", 2, 300), ("77.100.51.198", 1, 300),
        ("5.113.0.203", 4, 300), ("2.0.0.127", 2, 300),
    ])
    func listed(name: String, code: UInt8, timeToLive: UInt32) throws {
        let message = try ask(name)
        #expect(message.code == .noError && message.isAuthoritative && message.authorities.isEmpty)
        #expect(message.answers.map(\.data) == [.a(0x7f00_0000 | UInt32(code))] && message.answers[0].timeToLive == timeToLive)
    }

    @Test(arguments: [
        "8.2.0.192", "1.0.0.127", "foo", "7.2.0.192.foo", "1.7.2.0.192", "07.2.0.192", "256.2.0.192", "7.2.0.1922", "1.2.3.4.5.6",
        "g.0.0.0", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2",
    ])
    func notListed(name: String) throws { expectNegative(try ask(name), .noSuchDomain) }

    @Test(arguments: ["192", "0.192", "2.0.192", "51.198", "200.51.198", "127", "0.0.127", "2", "0.0.2", "8.b.d.0.1.0.0.2"])
    func namesWithNamesBelowThem(name: String) throws {
        // RFC 8020; 200.51.198 has none.
        expectNegative(try ask(name), name == "200.51.198" ? .noSuchDomain : .noError)
    }

    @Test func aNameAboveAnotherZoneExists() throws {
        // RFC 8020 §2: a resolver that asks for the names one by one would stop there.
        let responder = ListResponder(
            zones: ["bl.example.net", "yellow.x.bl.example.net"].map { PublishedZone(Self.settings($0), sources: [], serial: 77) })
        func code(_ name: String) throws -> ResponseCode {
            let reply = Self.ask(responder, DNSMessage.query(Question(DNSName(name)!, .a), id: 1).serialised()).reply
            return try Self.parse(reply).code
        }
        #expect(try code("x.bl.example.net") == .noError && code("X.bl.example.net") == .noError)
        #expect(try code("y.bl.example.net") == .noSuchDomain && code("low.x.bl.example.net") == .noSuchDomain)
        #expect(try code("z.yellow.x.bl.example.net") == .noSuchDomain && code("x.x.bl.example.net") == .noSuchDomain)
    }

    @Test func extensionsComeBackWithAnyAnswer() throws {
        // RFC 6891 §6.1.1, where the operation is none of ours, too.
        var query = DNSMessage.query(Question(DNSName("bl.example.net")!, .a), id: 4711)
        query.extensions = DNSMessage.Extensions(payloadSize: 1232)
        var octets = query.serialised()
        octets[2] = 5 << 3
        let message = try Self.parse(Self.ask(Self.responder, octets).reply)
        #expect(message.code == .notImplemented && message.extensions != nil)
    }

    @Test func otherTypesHaveNoData() throws {
        for type in [RecordType.aaaa, .mx, .ns, .soa, .cname, RecordType(rawValue: 65)] {
            expectNegative(try ask("7.2.0.192", type), .noError)
        }
        expectNegative(try ask("", .a), .noError)
        expectNegative(try ask("", .txt), .noError)
    }

    @Test func texts() throws {
        let text = { (message: DNSMessage) -> String in
            guard case .txt(let strings)? = message.answers.first?.data else { return "" }
            return strings.map { String(decoding: $0, as: UTF8.self) }.joined()
        }
        let listed = text(try ask("7.2.0.192", .txt))
        #expect(listed.hasPrefix("192.0.2.7 is listed black: spam run; until 2026-11-"), "\(listed)")
        #expect(listed.hasSuffix("Z; see https://example.net/?a=192.0.2.7; contact dnsbl@example.org"), "\(listed)")
        #expect(text(try ask("2.0.0.127", .txt)).hasPrefix("127.0.0.2 is listed black: test entry (RFC 5782); see"))
        let six = text(try ask(nibbles("2001:db8::17"), .txt))
        #expect(six.hasPrefix("2001:db8::17 is listed brown: six; see https://example.net/?a=2001:db8::17;"), "\(six)")
        #expect(text(try ask("www.spam.example", .txt, in: "dbl.example.net")).hasPrefix("www.spam.example is listed black: a domain;"))
    }

    private func nibbles(_ text: String) -> String {
        ListName.address(IPAddress(text)!, zone: .root).map { "\($0)" } ?? ""
    }

    @Test func ipv6AndItsTestEntries() throws {
        #expect(try ask(nibbles("2001:db8::17")).answers.map(\.data) == [.a(0x7f00_0004)])
        #expect(try ask(nibbles("2001:db8::17").uppercased()).answers.map(\.data) == [.a(0x7f00_0004)])
        // ::FFFF:7F00:2 is listed, ::FFFF:7F00:1 is not (RFC 5782 §5).
        let mapped = { (last: String) in last + ".0.0.0.0.0.f.7.f.f.f.f" + String(repeating: ".0", count: 20) }
        #expect(try ask(mapped("2")).answers.map(\.data) == [.a(0x7f00_0002)])
        expectNegative(try ask(mapped("1")), .noSuchDomain)
        expectNegative(try ask("f.f.f.f" + String(repeating: ".0", count: 20)), .noError)
    }

    @Test func aZoneOfOneColour() throws {
        #expect(try ask("7.2.0.192", in: "black.bl.example.net").answers.map(\.data) == [.a(0x7f00_0002)])
        expectNegative(try ask("1.100.51.198", in: "black.bl.example.net"), .noSuchDomain, zone: "black.bl.example.net")
        #expect(try ask("2.0.0.127", in: "black.bl.example.net").answers.count == 1)
        // An allow of ours is stronger than what others say, in every zone.
        expectNegative(try ask("77.100.51.198", in: "black.bl.example.net"), .noSuchDomain, zone: "black.bl.example.net")
    }

    @Test func domains() throws {
        let zone = "dbl.example.net"
        for name in ["spam.example", "a.very.spam.EXAMPLE", "test"] {
            #expect(try ask(name, in: zone).answers.map(\.data) == [.a(0x7f00_0002)], "\(name)")
        }
        #expect(try ask("a.b.good.example", in: zone).answers.map(\.data) == [.a(0x7f00_0001)])
        for name in ["invalid", "com", "notspam.example", "2.0.0.127"] {
            expectNegative(try ask(name, in: zone), .noSuchDomain, zone: zone)
        }
        for name in ["example", "b.good.example"] { expectNegative(try ask(name, in: zone), .noError, zone: zone) }
    }

    @Test func expiry() throws {
        // A second that has begun counts as over.
        #expect(try ask("7.2.0.192", time: ZoneTime(now: 1095)).answers.first?.timeToLive == 4)
        #expect(try ask("7.2.0.192", time: ZoneTime(now: 1099)).answers.first?.timeToLive == 0)
        expectNegative(try ask("7.2.0.192", time: ZoneTime(now: 1100)), .noSuchDomain)
    }

    @Test func apex() throws {
        let soa = try ask("", .soa)
        guard case .soa(let data)? = soa.answers.first?.data else {
            Issue.record("no SOA")
            return
        }
        #expect(data.primary == DNSName("ns1.example.org") && data.contact == DNSName("dnsbl.example.org") && data.serial == 77)
        #expect(try ask("", .ns).answers.map(\.data) == [.ns(DNSName("ns1.example.org")!), .ns(DNSName("ns2.example.org")!)])
    }

    @Test func refusals() throws {
        for (name, type) in [("example.net", RecordType.a), ("xbl.example.net", .a), ("com", .soa)] {
            let message = try ask("", type, in: name)
            #expect(message.code == .refused && !message.isAuthoritative && message.answers.isEmpty && message.authorities.isEmpty)
        }
        for type in [RecordType.axfr, .ixfr] { #expect(try ask("", type).code == .refused) }
        var chaos = DNSMessage.query(Question(Self.zone, .txt, recordClass: RecordClass(rawValue: 3)), id: 1)
        chaos.extensions = nil
        #expect(try Self.parse(Self.ask(Self.responder, chaos.serialised()).reply).code == .refused)
    }

    @Test func extensions() throws {
        let plain = try ask("7.2.0.192", extensions: .init(payloadSize: 4096, dnssecOK: true))
        #expect(plain.extensions == .init(payloadSize: 1232, dnssecOK: true))
        let version = try #require(
            try? Self.parse(
                Self.ask(
                    Self.responder,
                    {
                        var query = DNSMessage.query(Question(Self.zone, .soa), id: 2)
                        query.extensions = .init(payloadSize: 512, version: 1)
                        return query.serialised()
                    }()
                ).reply))
        #expect(version.code == .badVersion && version.extensions?.version == 0)
    }

    @Test func aResponseIsNeverLargerThanItsLimit() throws {
        // A text and a name so long that they do not fit into 512 octets.
        let label = String(repeating: "x", count: 62)
        let name = "\(label).\(label).\(label)"
        let zone = "dbl.\(String(repeating: "z", count: 40)).example.net"
        var settings = Self.settings(zone)
        settings.kind = .domain
        settings.lookup = String(repeating: "l", count: 120)
        let source = Self.source([], domains: [(name, .black)])
        let responder = ListResponder(zones: [PublishedZone(settings, sources: [source], serial: 1)])
        var query = DNSMessage.query(Question(DNSName("\(name).\(zone)")!, .txt), id: 9)
        for size in [UInt16(0), 100, 512, 1232, 4096, 65_535] {
            query.extensions = size == 0 ? nil : .init(payloadSize: size)
            let reply = Self.ask(responder, query.serialised()).reply
            #expect(reply.count <= max(512, min(Int(size), 1232)))
            let message = try DNSMessage(parsing: reply.span)
            #expect(message.isTruncated == (size <= 512) && message.answers.isEmpty == (size <= 512), "\(size)")
            #expect(message.questions == query.questions)
        }
        #expect(try Self.parse(Self.ask(responder, query.serialised(), .stream).reply).answers.count == 1)
    }

    @Test func whatIsNoQuery() throws {
        let good = DNSMessage.query(Question(DNSName("7.2.0.192.bl.example.net")!, .a), id: 9).serialised()
        #expect(Self.ask(Self.responder, Array(good[..<11])).outcome == .ignored)
        var response = good
        response[2] |= 0x80
        #expect(Self.ask(Self.responder, response).reply.isEmpty)
        for (index, value) in [(4, UInt8(1)), (5, 2), (5, 0), (7, 1), (9, 1), (11, 2), (11, 17), (12, 0xc0), (12, 64)] {
            var bad = good
            bad[index] = value
            let message = try Self.parse(Self.ask(Self.responder, bad).reply)
            #expect(message.code == .formatError && message.questions.isEmpty, "\(index)")
        }
        for length in 12..<good.count {
            let outcome = Self.ask(Self.responder, Array(good[..<length])).outcome
            #expect(outcome == .rejected, "\(length)")
        }
        // RFC 1035 §4.1.1: OPCODE is copied.
        for opcode in UInt8(1)...15 {
            var other = good
            other[2] = opcode << 3
            let reply = try Self.parse(Self.ask(Self.responder, other).reply)
            #expect(reply.code == .notImplemented && reply.opcode == opcode && reply.isResponse)
        }
    }

    @Test func strangersAndThoseWhoAskTooMuch() throws {
        let good = DNSMessage.query(Question(DNSName("7.2.0.192.bl.example.net")!, .txt), id: 9).serialised()
        let refused = try Self.parse(Self.ask(Self.responder, good, .stranger).reply)
        #expect(refused.code == .refused && refused.answers.isEmpty && !refused.isTruncated)
        let (reply, _) = Self.ask(Self.responder, good, .slip)
        let slipped = try DNSMessage(parsing: reply.span)
        #expect(slipped.code == .noError && slipped.isTruncated && slipped.answers.isEmpty && reply.count <= good.count)
    }

    @Test func theSameLettersComeBack() throws {
        var query = DNSMessage.query(Question(DNSName("7.2.0.192.bl.example.net")!, .a), id: 9).serialised()
        for index in 12..<query.count where (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(query[index]) && index % 2 == 0 {
            query[index] -= 32
        }
        let reply = Self.ask(Self.responder, query).reply
        #expect(Array(reply[12..<38]) == Array(query[12..<38]) && reply[7] == 1)
    }

    @Test func statementsAreBounded() {
        let long = PublishedStatement(.black, reason: "a\r\u{2028}\u{9b}" + String(repeating: "ä", count: 500))
        #expect(long.reason == "a???" + String(repeating: "ä", count: 78) && long.reason.utf8.count == PublishedEntry.maximumReason)
        var table = StatementTable()
        for number in 0..<StatementTable.mostStatements + 100 { _ = table.mark(PublishedStatement(.black, reason: "\(number)")) }
        #expect(table.statements.count == StatementTable.mostStatements + 1)
    }

    @Test func layersOfOneSource() {
        var table = ChangingAddressTable()
        for number in 0..<2000 { table.set(Prefix(IPAddress(v4: UInt32(number) << 8), length: 24), .init(mark: 0, expires: 0)) }
        table.set(Prefix("0.0.5.7")!, .init(mark: 1, expires: 0))
        table.set(Prefix("0.0.6.0/24")!, nil)
        let source = PublishedSource(
            name: "x", layers: table.layers, statements: [.init(.black, reason: "a"), .init(.white, reason: "b")])
        #expect(source.layers.count == 2)
        #expect(source.listing(of: IPAddress("0.0.5.7")!, at: 1)?.mark == 1 && source.listing(of: IPAddress("0.0.5.8")!, at: 1)?.mark == 0)
        #expect(source.listing(of: IPAddress("0.0.6.8")!, at: 1) == nil)
        var count = 0
        source.forEach(at: 1) { _, _ in count += 1 }
        #expect(count == 2000)
    }
}

struct ResponseRateLimiterTests {
    @Test func aNetworkGetsSoManyASecond() {
        var limiter = ResponseRateLimiter(.init(perSecond: 10, slip: 2), seed: 1)
        func ask(_ text: String, _ now: UInt64) -> ResponseRateLimiter.Decision { limiter.decide(IPAddress(text)!, now: now) }
        let first = (0..<20).map { ask("192.0.2.\($0)", 5) }
        #expect(first.prefix(10).allSatisfy { $0 == .answer })
        #expect(first.suffix(10) == [.drop, .slip, .drop, .slip, .drop, .slip, .drop, .slip, .drop, .slip])
        #expect(ask("192.0.3.1", 5) == .answer && ask("2001:db8::1", 5) == .answer)
        #expect(ask("192.0.2.1", 105) == .answer && ask("192.0.2.1", 105) != .answer)
        #expect((0..<10).allSatisfy { _ in ask("192.0.2.9", 60_000) == .answer })
        #expect(ask("192.0.2.9", 60_000) != .answer)
    }

    @Test func offAndWithoutSlip() {
        var off = ResponseRateLimiter(.off, seed: 1)
        #expect((0..<1000).allSatisfy { _ in off.decide(IPAddress(v4: 1), now: 1) == .answer })
        var silent = ResponseRateLimiter(.init(perSecond: 1, slip: 0), seed: 1)
        _ = silent.decide(IPAddress(v4: 1), now: 1)
        #expect((0..<100).allSatisfy { _ in silent.decide(IPAddress(v4: 1), now: 1) == .drop })
    }

    @Test func manyNetworksTakeNoMoreRoom() {
        var limiter = ResponseRateLimiter(.init(perSecond: 1, slip: 0), seed: 3)
        var answered = 0
        for number in 0..<200_000 where limiter.decide(IPAddress(v4: UInt32(number) << 8), now: UInt64(number)) == .answer { answered += 1 }
        // Each is new to it, and no other's misdeeds are its own.
        #expect(answered == 200_000)
    }
}

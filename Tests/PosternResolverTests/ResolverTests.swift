import DNSProtocol
import IntegrationSupport
import PosternCore
import PosternResolver
import Testing

func name(_ text: String) throws -> DNSName { try #require(DNSName(text)) }

func question(_ text: String, _ type: RecordType = .a) throws -> Question { Question(try name(text), type) }

extension ResolverSettings {
    /// For a server on this host.
    init(ports: UInt16...) {
        self.init(servers: ports.map { Server(IPAddress(v4: 0x7f00_0001), port: $0) })
        attemptTimeout = .milliseconds(200)
    }
}

func within(_ milliseconds: Int64) -> Deadline { .after(.milliseconds(milliseconds)) }

@Suite struct ResolverTests {
    private func resolver(_ settings: ResolverSettings) throws -> Resolver { try Resolver(settings) }

    @Test func everyTypeComesAsItIs() async throws {
        let zone = ScriptedZone()
        zone.add("a.example", .a(0xc000_0201), .a(0xc000_0202), .aaaa(high: 0x2001_0db8_0000_0000, low: 7))
        zone.add("a.example", text: String(repeating: "x", count: 700))
        zone.add("a.example", exchange: "low.example", preference: 20)
        zone.add("a.example", exchange: "high.example", preference: 5)
        zone.add("1.2.0.192.in-addr.arpa", pointer: "a.example")
        zone.add("www.example", alias: "web.example")
        zone.add("web.example", alias: "a.example")
        let server = try ScriptedDNSServer(zone.script)
        let resolver = try resolver(ResolverSettings(ports: server.port))
        defer { resolver.close() }
        #expect(await resolver.ask(try question("A.example"), deadline: within(5000)).addresses4 == [0xc000_0201, 0xc000_0202])
        #expect(await resolver.ask(try question("a.example", .aaaa), deadline: within(5000)).addresses == [IPAddress("2001:db8::7")])
        #expect(
            await resolver.ask(try question("a.example", .txt), deadline: within(5000)).texts == [[UInt8](repeating: 0x78, count: 700)])
        let exchanges = await resolver.ask(try question("a.example", .mx), deadline: within(5000)).exchanges
        #expect(exchanges.map(\.preference) == [5, 20])
        #expect(try exchanges.map(\.host) == [name("high.example"), name("low.example")])
        let pointer = Question(ListName.pointer(IPAddress(v4: 0xc000_0201)), .ptr)
        #expect(await resolver.ask(pointer, deadline: within(5000)).names == [try name("a.example")])
        let aliased = await resolver.ask(try question("www.example"), deadline: within(5000))
        #expect(try aliased.outcome == .records([.a(0xc000_0201), .a(0xc000_0202)], owner: name("a.example")))
        #expect(await resolver.ask(try question("www.example", .cname), deadline: within(5000)).names == [try name("web.example")])
        #expect(await resolver.ask(try question("none.example"), deadline: within(5000)).outcome == .noSuchDomain)
        #expect(await resolver.ask(try question("a.example", .ns), deadline: within(5000)).outcome == .noData)
    }

    @Test func whatIsKnownIsAnsweredAtOnce() async throws {
        let zone = ScriptedZone()
        zone.add("a.example", .a(1), timeToLive: 1)
        zone.add("b.example", .a(2), timeToLive: 500)
        let server = try ScriptedDNSServer(zone.script)
        let resolver = try resolver(ResolverSettings(ports: server.port))
        defer { resolver.close() }
        #expect(
            await resolver.ask(try question("b.example"), deadline: within(5000))
                == Answer(.records([.a(2)], owner: try name("b.example")), timeToLive: 500))
        let again = await resolver.ask(try question("B.EXAMPLE"), deadline: within(0))
        #expect(again.isCached && again.addresses4 == [2] && (495...500).contains(again.timeToLive))
        #expect(try resolver.known(question("b.example"))?.addresses4 == [2])
        #expect(try resolver.known(question("c.example")) == nil)
        _ = await resolver.ask(try question("a.example"), deadline: within(5000))
        _ = await resolver.ask(try question("none.example"), deadline: within(5000))
        #expect(await resolver.ask(try question("none.example"), deadline: within(5000)).isCached)
        try await waitUntil("the record runs out") { try resolver.known(question("a.example")) == nil }
        #expect(await resolver.ask(try question("a.example"), deadline: within(5000)).addresses4 == [1])
        #expect(try server.count(question("a.example")) == 2)
        #expect(try server.count(question("b.example")) == 1)
        #expect(try server.count(question("none.example")) == 1)
        let counts = resolver.counts
        #expect(counts.queries == 6 && counts.sent == 4)
        #expect(counts.hits >= 2 && counts.cacheEntries == 3 && counts.cacheBytes > 0)
    }

    /// RFC 2308 §5: a negative answer without a SOA record is not to be kept.
    @Test func aNegativeAnswerOfUnknownAgeIsNotKept() async throws {
        let server = try ScriptedDNSServer { query, _ in .message(query.answer(code: .noSuchDomain)) }
        let resolver = try resolver(ResolverSettings(ports: server.port))
        defer { resolver.close() }
        for _ in 0..<2 { #expect(await resolver.ask(try question("a.example"), deadline: within(5000)).outcome == .noSuchDomain) }
        #expect(server.count == 2)
    }

    @Test func equalQuestionsUnderWayAreOne() async throws {
        let server = try ScriptedDNSServer { query, _ in
            .after(.milliseconds(100), .message(query.answer([ResourceRecord(query.questions[0].name, .a(9), timeToLive: 9)])))
        }
        let resolver = try resolver(ResolverSettings(ports: server.port))
        defer { resolver.close() }
        let asked = try question("a.example")
        await withTaskGroup(of: Answer.self) { group in
            for _ in 0..<100 { group.addTask { await resolver.ask(asked, deadline: within(5000)) } }
            for await answer in group { #expect(answer.addresses4 == [9]) }
        }
        #expect(server.count == 1)
        #expect(resolver.counts.coalesced + resolver.counts.hits == 99)
    }

    @Test func aliasesAreFollowedFromAnswerToAnswer() async throws {
        // A resolver that leaves the target to its client.
        @Sendable func link(_ query: DNSMessage, to target: String) -> ScriptedDNSServer.Reply {
            .message(query.answer([ResourceRecord(query.questions[0].name, .cname(DNSName(target) ?? .root), timeToLive: 40)]))
        }
        let server = try ScriptedDNSServer { query, _ in
            switch query.questions[0].name.description {
            case "a.example": link(query, to: "b.example")
            case "b.example": link(query, to: "c.example")
            case "c.example": .message(query.answer([ResourceRecord(query.questions[0].name, .a(3), timeToLive: 90)]))
            case "left.example": link(query, to: "right.example")
            case "right.example": link(query, to: "left.example")
            case "self.example": link(query, to: "self.example")
            case "gone.example": link(query, to: "none.example")
            case "broken.example": link(query, to: "failing.example")
            case "failing.example": .message(query.answer(code: .serverFailure))
            default: .message(query.answer(authorities: [ScriptedZone.authority], code: .noSuchDomain))
            }
        }
        let resolver = try resolver(ResolverSettings(ports: server.port))
        defer { resolver.close() }
        let found = await resolver.ask(try question("a.example"), deadline: within(5000))
        #expect(try found == Answer(.records([.a(3)], owner: name("c.example")), timeToLive: 40))
        #expect(await resolver.ask(try question("a.example"), deadline: within(5000)).isCached)
        for text in ["left.example", "right.example"] {
            #expect(await resolver.ask(try question(text), deadline: within(5000)).outcome == .failure(.aliasChain), "\(text)")
        }
        #expect(await resolver.ask(try question("self.example"), deadline: within(5000)).outcome == .failure(.malformed))
        #expect(await resolver.ask(try question("gone.example"), deadline: within(5000)).outcome == .noSuchDomain)
        #expect(await resolver.ask(try question("broken.example"), deadline: within(5000)).outcome == .failure(.serverFailure))
        #expect(server.count < 40)
    }

    @Test func withoutServersNothingIsAsked() async throws {
        let resolver = try resolver(ResolverSettings(servers: []))
        defer { resolver.close() }
        #expect(await resolver.ask(try question("a.example"), deadline: within(5000)).outcome == .failure(.switchedOff))
    }

    @Test func otherServersAreTakenUpWhileQuestionsAreUnderWay() async throws {
        let silent = try ScriptedDNSServer { _, _ in .silence }
        let zone = ScriptedZone()
        zone.add("a.example", .a(1))
        let server = try ScriptedDNSServer(zone.script)
        let resolver = try resolver(ResolverSettings(ports: silent.port))
        defer { resolver.close() }
        let asked = try question("a.example")
        async let answer = resolver.ask(asked, deadline: within(10_000))
        try await waitUntil("the question is under way") { silent.count > 0 }
        resolver.update(ResolverSettings(ports: server.port))
        #expect(await answer.addresses4 == [1])
        resolver.update(ResolverSettings(servers: []))
        #expect(await resolver.ask(try question("b.example"), deadline: within(5000)).outcome == .failure(.switchedOff))
    }

    @Test func closingAnswersWhoWaits() async throws {
        let silent = try ScriptedDNSServer { _, _ in .silence }
        let resolver = try resolver(ResolverSettings(ports: silent.port))
        let asked = try (0..<50).map { try question("h\($0).example") }
        await withTaskGroup(of: Answer.self) { group in
            for asked in asked { group.addTask { await resolver.ask(asked, deadline: within(60_000)) } }
            try? await waitUntil("a question is under way") { silent.count > 0 }
            resolver.close()
            for await answer in group { #expect(answer.outcome == .failure(.closed)) }
        }
        #expect(await resolver.ask(try question("a.example"), deadline: within(5000)).outcome == .failure(.closed))
        resolver.close()
    }

    @Test func resolvConfIsReadAsTheLibraryDoes() throws {
        let folder = try TemporaryFolder("resolv")
        defer { folder.remove() }
        let path = try folder.write(
            """
            # nameserver 192.0.2.9
            search example.org
            nameserver 192.0.2.1
            nameserver\t2001:db8::1
            nameserver 192.0.2.1
            nameserver fe80::1%eth0
            nameserver nonsense
            options edns0
            """, to: "resolv.conf")
        #expect(SystemResolvers.servers(from: path).map(\.description) == ["192.0.2.1:53", "[2001:db8::1]:53"])
        #expect(SystemResolvers.servers(from: folder.file("none")).map(\.description) == ["127.0.0.1:53"])
    }
}

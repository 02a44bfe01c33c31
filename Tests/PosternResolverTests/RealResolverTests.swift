import DNSProtocol
import IntegrationSupport
import PosternCore
import PosternResolver
import Testing

/// With a real recursive resolver.
@Suite struct RealResolverTests {
    @Test(.enabled(if: requireServer("unbound"))) func unboundAnswersWhatItHas() async throws {
        let server = try await UnboundServer.start(
            records: [
                "a.example. 300 IN A 192.0.2.1", "a.example. 300 IN AAAA 2001:db8::1", "a.example. 300 IN MX 10 mx.example.",
                "a.example. 300 IN TXT \"v=spf1 \" \"-all\"", "1.2.0.192.in-addr.arpa. 300 IN PTR a.example.",
                "2.0.0.127.bl.example. 60 IN A 127.0.0.2",
            ] + (0..<200).map { "many.example. 300 IN A 10.0.0.\($0)" }, zones: ["example", "2.0.192.in-addr.arpa"])
        let resolver = try Resolver(ResolverSettings(ports: server.port))
        defer { resolver.close() }
        #expect(await resolver.ask(try question("a.example"), deadline: within(5000)).addresses == [IPAddress("192.0.2.1")])
        #expect(await resolver.ask(try question("a.example", .aaaa), deadline: within(5000)).addresses == [IPAddress("2001:db8::1")])
        #expect(
            await resolver.ask(try question("a.example", .mx), deadline: within(5000)).exchanges.map(\.host) == [try name("mx.example")])
        #expect(await resolver.ask(try question("a.example", .txt), deadline: within(5000)).texts == [Array("v=spf1 -all".utf8)])
        let pointer = Question(ListName.pointer(IPAddress(v4: 0xc000_0201)), .ptr)
        #expect(await resolver.ask(pointer, deadline: within(5000)).names == [try name("a.example")])
        #expect(await resolver.ask(try question("none.example"), deadline: within(5000)).outcome == .noSuchDomain)
        #expect(await resolver.ask(try question("a.example", .ptr), deadline: within(5000)).outcome == .noData)
        // Too much for a datagram.
        #expect(await resolver.ask(try question("many.example"), deadline: within(5000)).addresses.count == 200)
        #expect(resolver.counts.tcp == 1)
        // What it cannot find out: the one that it forwards to does not answer.
        let beyond = await resolver.ask(try question("elsewhere.net"), deadline: within(5000))
        #expect(beyond.failure == .serverFailure || beyond.failure == .timeout)
        // Many at a time, none lost.
        let asked = try (0..<5000).map { try question("h\($0).example") }
        await withTaskGroup(of: Answer.self) { group in
            for asked in asked { group.addTask { await resolver.ask(asked, deadline: within(5000)) } }
            for await answer in group { #expect(answer.outcome == .noSuchDomain) }
        }
        try await server.stop()
        #expect(await resolver.ask(try question("late.example"), deadline: within(5000)).outcome == .failure(.unreachable))
    }
}

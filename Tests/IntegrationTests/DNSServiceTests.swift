import Foundation
import IntegrationSupport
import Testing

/// `postern serve` with a DNS service, as dig and resolvers see it.
@Suite("DNS service", .serialized, .servers("bind9-dnsutils"))
struct DNSServiceTests {
    private func start(_ port: UInt16, _ options: String = "", _ lines: String = "", address: String = "127.0.0.1") async throws
        -> PosternProcess
    {
        let postern = try PosternProcess(
            lines,
            listener:
                "address: \"127.0.0.1:0\" }, { name: lists, role: dnsbl, address: \"\(address):\(port)\", zone: bl.example.net, contact: dnsbl@example.org, nameservers: [ns.example.org]\(options)"
        )
        try await postern.start()
        try await waitUntil("the DNS service listens") { FreePort.isListening(port) }
        return postern
    }

    /// How long a change takes to be seen, at best: where a busy machine makes a second of it, it is undone and made again.
    private func soonest(
        _ change: () async throws -> Void, until isSeen: () async throws -> Bool,
        undo: () async throws -> Void, until isUndone: () async throws -> Bool
    ) async throws -> Duration {
        var best = Duration.seconds(60)
        for attempt in 0..<5 where best >= .seconds(1) {
            if attempt > 0 {
                try await undo()
                try await waitUntil("the change is undone", isUndone)
            }
            try await change()
            let start = ContinuousClock.now
            try await waitUntil("the change is seen", isSeen)
            best = min(best, ContinuousClock.now - start)
        }
        return best
    }

    @Test("whom we trust is a zone of its own, and in no other; a file that changes is read again")
    func trusted() async throws {
        let port = try FreePort.next()
        let folder = try TemporaryFolder("trusted")
        let file = try folder.write("198.51.100.0/24\nfriend.example\n", to: "trusted.txt")
        let postern = try await start(
            port,
            ", zones: [ { zone: trusted.example.net, sources: [trusted, own], colours: [white] }, { zone: domains.example.net, kind: domain, sources: [trusted] } ]",
            "trusted: [192.0.2.7, partner.example]\ntrusted_files: [\(file)]")
        let client = DNSClient(port: port)
        func listed(_ name: String, _ zone: String = "trusted.example.net") async throws -> String {
            try await client.dig("\(name).\(zone)", "A", "+short")
        }
        #expect(try await listed("7.2.0.192") == "127.0.0.1\n")
        #expect(try await listed("9.100.51.198") == "127.0.0.1\n")
        #expect(try await listed("8.2.0.192").isEmpty)
        #expect(try await listed("partner.example", "domains.example.net") == "127.0.0.1\n")
        #expect(try await listed("friend.example", "domains.example.net") == "127.0.0.1\n")
        #expect(try await listed("7.2.0.192", "bl.example.net").isEmpty, "it is shown where it is named")
        #expect(try await postern.verb("allow", "add", "192.0.2.8").status == 0)
        try await waitUntil("an entry of the admin's") { try await listed("8.2.0.192") == "127.0.0.1\n" }
        try folder.write("203.0.113.5\n", to: "trusted.txt")
        try await waitUntil("the file is read again", within: .seconds(15)) {
            guard try await listed("5.113.0.203") == "127.0.0.1\n" else { return false }
            return try await listed("9.100.51.198").isEmpty
        }
        #expect(try await postern.verb("export", "text", "--source", "trusted", "--colour", "white").output.contains("192.0.2.7"))
        #expect(try await !postern.verb("export", "text", "--colour", "white").output.contains("192.0.2.7"))
        #expect(try await postern.stop() == .status(0))
    }

    @Test("what is blocked is there within a second, over UDP and TCP, and gone as fast")
    func entries() async throws {
        let port = try FreePort.next()
        let postern = try await start(port)
        let client = DNSClient(port: port)
        let before = try await client.dig("7.2.0.192.bl.example.net", "A")
        #expect(
            before.contains("status: NXDOMAIN") && before.contains("flags: qr aa rd;") && before.contains("SOA\tns.example.org."),
            "\(before)")
        let name = "7.2.0.192.bl.example.net"
        func block() async throws {
            #expect(try await postern.verb("block", "add", "192.0.2.7", "--for", "1h", "--note", "spam run").status == 0)
        }
        func unblock() async throws { #expect(try await postern.verb("block", "remove", "192.0.2.7").status == 0) }
        func isListed() async throws -> Bool { try await client.dig(name, "A", "+short") == "127.0.0.2\n" }
        func isGone() async throws -> Bool { try await client.dig(name, "A").contains("NXDOMAIN") }
        #expect(try await soonest(block, until: isListed, undo: unblock, until: isGone) < .seconds(1))
        #expect(try await client.dig(name, "A", "+short", "+tcp") == "127.0.0.2\n")
        let text = try await client.dig(name, "TXT", "+short")
        #expect(
            text.hasPrefix("\"192.0.2.7 is listed black: spam run; until 20") && text.hasSuffix("; contact dnsbl@example.org\"\n"),
            "\(text)")
        #expect(try await postern.verb("allow", "add", "2001:db8:7::/48").status == 0)
        let six = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.7.0.0.0.8.b.d.0.1.0.0.2.bl.example.net"
        #expect(try await client.dig(six, "A", "+short") == "127.0.0.1\n")
        #expect(try await client.dig("2.0.192.bl.example.net", "A").contains("status: NOERROR"))
        #expect(try await client.dig("bl.example.net", "NS", "+short") == "ns.example.org.\n")
        #expect(try await client.dig("bl.example.net", "SOA", "+short").hasPrefix("ns.example.org. dnsbl.example.org. "))
        #expect(try await client.dig("example.net", "A").contains("status: REFUSED"))
        #expect(try await client.dig("bl.example.net", "AXFR").contains("Transfer failed"))
        #expect(try await client.dig("bl.example.net", "SOA", "+edns=1", "+noednsnegotiation").contains("status: BADVERS"))
        #expect(try await soonest(unblock, until: isGone, undo: block, until: isListed) < .seconds(1))
        let status = try await postern.verb("status", "--json")
        #expect(status.output.contains("\"dns_services\"") && status.output.contains("\"over_tcp\" : 2"), "\(status.output)")
        #expect(try await postern.stop() == .status(0))
    }

    @Test("a network that asks too much is asked to come by TCP, strangers are refused, and a reload changes both")
    func limits() async throws {
        let port = try FreePort.next()
        let postern = try await start(port, ", rate_limit: 3, slip: 1")
        let client = DNSClient(port: port)
        var outputs: [String] = []
        let many = (0..<12).map { _ in "2.0.0.127.bl.example.net" }
        outputs.append(try await client.dig(["+ignore", "+short"] + many))
        let answered = outputs[0].split(separator: "\n").count { $0 == "127.0.0.2" }
        #expect((3...6).contains(answered), "\(outputs[0])")
        // Over TCP, where dig then goes by itself, there is no limit.
        #expect(try await client.dig(["+short"] + many).split(separator: "\n").count { $0 == "127.0.0.2" } == 12)
        let path = postern.configurationPath
        let text = try String(contentsOfFile: path, encoding: .utf8)
        try text.replacing("rate_limit: 3", with: "rate_limit: 0, allow: [192.0.2.0/24]").write(
            toFile: path, atomically: true, encoding: .utf8)
        #expect(try await postern.verb("reload").status == 0)
        #expect(try await client.dig("2.0.0.127.bl.example.net", "A").contains("status: REFUSED"))
        #expect(try await client.dig("2.0.0.127.bl.example.net", "A", "+tcp").contains("status: REFUSED"))
        #expect(try await postern.stop() == .status(0))
    }

    @Test("connections that only sit there keep nobody out, and one network has no more than its share")
    func idleConnections() async throws {
        let port = try FreePort.next()
        let postern = try await start(port)
        let begin = ContinuousClock.now
        let busy = try DNSStream(from: "127.0.7.1", port: port)
        #expect(busy.isAnswered())
        var idle: [DNSStream] = []
        for network in 10...17 {
            for host in 1...32 where idle.count < 255 { idle.append(try DNSStream(from: "127.0.\(network).\(host)", port: port)) }
        }
        // Asked once all have been accepted, which nothing shows: whoever comes in behind it has been silent for less long.
        try await Task.sleep(for: .milliseconds(500))
        #expect(busy.isAnswered() && idle.allSatisfy { !$0.isClosed })
        // Who comes now is answered, and one of those that ask nothing is gone for it.
        let late = try DNSStream(from: "127.0.200.1", port: port)
        #expect(late.isAnswered())
        try await waitUntil("one gives way") { idle.contains(where: \.isClosed) }
        let gone = idle.count(where: \.isClosed)
        // Who asked while some of them still waited to be accepted has been silent for longer than those.
        #expect(busy.isAnswered())
        // Silence ends a connection too, after ten seconds.
        func isSoon() -> Bool { ContinuousClock.now - begin < .seconds(9) }
        #expect(gone == 1 || !isSoon())
        // A network has 32, whoever sits in it.
        let crowd = try (1...40).map { try DNSStream(from: "127.0.99.\($0)", port: port) }
        try await waitUntil("the crowd gives way to itself") { crowd.count(where: \.isClosed) >= 8 }
        #expect(crowd.count(where: \.isClosed) == 8 || !isSoon())
        #expect((busy.isAnswered() && late.isAnswered()) || !isSoon())
        #expect(try await postern.stop() == .status(0))
    }

    @Test("the reply comes from the address that was asked, also where the service listens on all of them")
    func everyAddress() async throws {
        let port = try FreePort.next()
        let postern = try await start(port, address: "0.0.0.0")
        for address in ["127.0.0.1", "127.0.0.7"] {
            #expect(try await DNSClient(address, port: port).dig("2.0.0.127.bl.example.net", "A", "+short") == "127.0.0.2\n")
        }
        #expect(try await postern.stop() == .status(0))
    }

    @Test("a resolver in front of it resolves and caches", .servers("unbound", "bind9-dnsutils"))
    func behindUnbound() async throws {
        let port = try FreePort.next()
        let postern = try await start(port)
        #expect(try await postern.verb("block", "add", "192.0.2.7").status == 0)
        let unbound = try await UnboundServer.start(stub: "bl.example.net", port: port)
        let client = DNSClient(port: unbound.port)
        #expect(try await client.dig("7.2.0.192.bl.example.net", "A", "+short") == "127.0.0.2\n")
        #expect(try await client.dig("8.2.0.192.bl.example.net", "A").contains("status: NXDOMAIN"))
        #expect(try await client.dig("2.0.192.bl.example.net", "A").contains("status: NOERROR"))
        #expect(try await client.dig("7.2.0.192.bl.example.net", "TXT", "+short").contains("listed black"))
        try await unbound.stop()
        #expect(try await postern.stop() == .status(0))
    }
}

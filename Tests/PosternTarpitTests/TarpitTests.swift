import Glibc
import NIOConcurrencyHelpers
import PosternCore
import PosternTarpit
import Testing

/// The tarpit over real sockets on loopback.
@Suite("A tarpit", .serialized)
struct TarpitTests {
    @Test("greets, takes EHLO, and is never done answering; a visit is an address and two times")
    func holds() async throws {
        let tarpit = try TestTarpit(pace: .milliseconds(20))
        let client = try TarpitClient(port: tarpit.port, from: "127.0.0.7")
        #expect(try await client.read(until: "\n") == "220 tarpit.example.test ESMTP\r\n")
        client.send("EHLO bot.example\r\n")
        let reply = try await client.read(until: "250-P")
        #expect(reply == "250-tarpit.example.test\r\n250-P")
        #expect(tarpit.totals.heldNow == 1 && tarpit.totals.octetsSent > 50)
        // All that it wants to say is taken, and answered by nothing.
        client.send("MAIL FROM:<sender@example.org>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\nhello\r\n.\r\nQUIT\r\n")
        #expect(try await client.read(until: "250-SIZE").hasPrefix("IPELINING\r\n250-SIZE"))
        client.close()
        try await eventually { tarpit.totals.heldNow == 0 }
        let visit = try #require(tarpit.visits.first)
        #expect(tarpit.visits.count == 1 && visit.listener == "trap" && visit.address.description == "127.0.0.7")
        #expect(visit.disconnected > visit.connected)
        #expect(tarpit.totals.secondsPerOctet > 0.01)
    }

    @Test("over IPv6")
    func sixth() async throws {
        let tarpit = try TestTarpit(pace: .milliseconds(20), host: "::1")
        let client = try TarpitClient(port: tarpit.port, to: "::1")
        _ = try await client.read(until: "\n")
        client.close()
        try await eventually { tarpit.visits.first?.address.description == "::1" }
    }

    @Test("an unlisted client is let go with 421 at the end of its line, wherever it was", arguments: ["", "EHLO b\r\n", "NONSENSE\r\n"])
    func letsGo(line: String) async throws {
        let tarpit = try TestTarpit(pace: .milliseconds(20), hold: .milliseconds(900))
        let client = try TarpitClient(port: tarpit.port)
        client.send(line)
        let lines = try await client.readToEnd().split(separator: "\r\n")
        #expect(lines.first == "220 tarpit.example.test ESMTP")
        #expect(lines.last?.hasPrefix("421 4.3.2 tarpit.example.test takes no mail") == true)
        for line in lines { #expect(line.wholeMatch(of: /[0-9]{3}[ -].+/) != nil, "each line is whole: \(line)") }
        client.close()
        try await eventually { tarpit.totals.heldNow == 0 && tarpit.totals.letGo == 1 }
    }

    @Test("a listed client is held for as long as it stays, an exempt one not at all")
    func standing() async throws {
        let tarpit = try TestTarpit(pace: .milliseconds(20), hold: .milliseconds(300)) { address in
            switch address.description {
            case "127.0.0.2": .listed
            case "127.0.0.3": .exempt
            default: .unlisted
            }
        }
        let listed = try TarpitClient(port: tarpit.port, from: "127.0.0.2")
        let unlisted = try TarpitClient(port: tarpit.port, from: "127.0.0.4")
        let exempt = try TarpitClient(port: tarpit.port, from: "127.0.0.3")
        #expect(try await exempt.readToEnd().hasPrefix("421 4.3.2"))
        listed.send("EHLO a\r\n")
        #expect(try await unlisted.readToEnd().contains("421 4.3.2"))
        unlisted.close()
        try await Task.sleep(for: .milliseconds(800))
        #expect(tarpit.totals.heldNow == 1 && tarpit.totals.heldEver == 2 && tarpit.totals.letGo == 2)
        #expect(!(try await listed.read(until: "250-PIPE")).contains("421"))
        listed.close()
    }

    @Test("at capacity the oldest is let go, and counted")
    func capacity() async throws {
        let tarpit = try TestTarpit(pace: .milliseconds(100), capacity: 3)
        var clients: [TarpitClient] = []
        for number in 0..<5 {
            clients.append(try TarpitClient(port: tarpit.port, from: "127.0.0.\(10 + number)"))
            try await eventually { tarpit.totals.heldEver == number + 1 }
        }
        try await eventually { tarpit.visits.count == 2 }
        #expect(tarpit.totals.heldNow == 3 && tarpit.totals.shed == 2)
        #expect(tarpit.visits.map(\.address.description) == ["127.0.0.10", "127.0.0.11"])
        #expect(try await clients[0].readToEnd().contains("421 4.3.2"))
        for client in clients { client.close() }
        try await eventually { tarpit.totals.heldNow == 0 }
    }

    @Test("QUIT before HELO is answered")
    func quit() async throws {
        let tarpit = try TestTarpit(pace: .milliseconds(20))
        let client = try TarpitClient(port: tarpit.port)
        _ = try await client.read(until: "\n")
        client.send("QUIT\r\n")
        #expect(try await client.readToEnd() == "221 2.0.0 tarpit.example.test closing connection\r\n")
        client.close()
    }

    @Test("a peer that is gone is noticed: closed, half closed, reset")
    func gone() async throws {
        let tarpit = try TestTarpit(pace: .minutes(5))
        let clients = try (0..<3).map { _ in try TarpitClient(port: tarpit.port) }
        try await eventually { tarpit.totals.heldNow == 3 }
        clients[0].close()
        clients[1].shutdownWriting()
        clients[2].reset()
        try await eventually { tarpit.totals.heldNow == 0 }
        clients[1].close()
    }

    @Test("a client that floods is held at a bounded cost, and can still be seen to go")
    func flood() async throws {
        let tarpit = try TestTarpit(pace: .milliseconds(40))
        let client = try TarpitClient(port: tarpit.port)
        let junk = String(repeating: "x", count: 65_536)
        var taken = 0
        for _ in 0..<100 {
            taken += client.trySend(junk)
            try await Task.sleep(for: .milliseconds(2))
        }
        #expect(tarpit.totals.heldNow == 1)
        #expect(taken < 20_000_000)
        client.reset()
        try await eventually { tarpit.totals.heldNow == 0 }
    }

    @Test("a client that never reads is held, without octets being counted that it does not take")
    func neverReads() async throws {
        let tarpit = try TestTarpit(pace: .milliseconds(20))
        let client = try TarpitClient(port: tarpit.port, receiveBuffer: 1)
        client.send("EHLO x\r\n")
        try await Task.sleep(for: .milliseconds(500))
        #expect(tarpit.totals.heldNow == 1)
        client.close()
        try await eventually { tarpit.totals.heldNow == 0 }
    }

    @Test("a connection that somebody else accepted is held like any other")
    func adopted() async throws {
        let tarpit = try TestTarpit(pace: .milliseconds(20), listens: false)
        var pair: [Int32] = [0, 0]
        #expect(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue), 0, &pair) == 0)
        let address = try #require(IPAddress("2001:db8::7"))
        #expect(tarpit.tarpit.adopt(pair[1], from: address, for: tarpit.source))
        let client = TarpitClient(descriptor: pair[0])
        #expect(try await client.read(until: "\n") == "220 tarpit.example.test ESMTP\r\n")
        client.close()
        try await eventually { tarpit.visits.first?.address == address }
    }

    @Test("settings change while clients are held; draining tells everybody to go; what comes after the end is refused")
    func changesAndDrains() async throws {
        let tarpit = try TestTarpit(pace: .milliseconds(20))
        let clients = try (0..<20).map { try TarpitClient(port: tarpit.port, from: "127.0.1.\($0 + 1)") }
        try await eventually { tarpit.totals.heldNow == 20 }
        for client in clients { client.send("EHLO x\r\n") }
        var settings = tarpit.settings
        settings.hostname = "other.example.test"
        settings.capacity = 10
        tarpit.tarpit.update(tarpit.source, settings)
        try await eventually { tarpit.totals.heldNow == 10 && tarpit.totals.shed == 10 }
        let shut = Task { await tarpit.tarpit.shut(tarpit.source) }
        for client in clients[10...] {
            let text = try await client.readToEnd()
            #expect(
                text.hasSuffix("421 4.3.2 other.example.test takes no mail; please use another mail exchanger of the domain\r\n"), "\(text)"
            )
            client.close()
        }
        await shut.value
        #expect(tarpit.totals.heldNow == 0 && tarpit.visits.count == 20)
        #expect(throws: (any Error).self) { try TarpitClient(port: tarpit.port) }
        for client in clients[..<10] { client.close() }
        tarpit.tarpit.end()
        await tarpit.tarpit.shut(tarpit.source)
    }

    @Test("those who do not go when told are gone some seconds later")
    func drainsTheStubborn() async throws {
        let tarpit = try TestTarpit(pace: .milliseconds(20))
        let client = try TarpitClient(port: tarpit.port)
        try await eventually { tarpit.totals.heldNow == 1 }
        let start = ContinuousClock.now
        await tarpit.tarpit.shut(tarpit.source)
        #expect(ContinuousClock.now - start < .seconds(20))
        client.close()
    }

    @Test("hundreds come and go, and each is told of once")
    func many() async throws {
        let tarpit = try TestTarpit(pace: .milliseconds(20))
        let clients = try (0..<300).map { try TarpitClient(port: tarpit.port, from: "127.0.2.\($0 % 250 + 1)") }
        try await eventually { tarpit.totals.heldNow == 300 }
        for client in clients.reversed() { client.close() }
        try await eventually { tarpit.totals.heldNow == 0 && tarpit.visits.count == 300 }
        #expect(tarpit.totals.heldEver == 300 && tarpit.totals.millisecondsHeld > 0)
    }
}

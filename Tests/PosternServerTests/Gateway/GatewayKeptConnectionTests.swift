import NIOPosix
import PosternCore
import SMTPProtocol
import Testing

@testable import PosternServer

/// Backend connections that go over to the next client. One event loop, so that the next client finds them.
@Suite(.serialized) struct GatewayKeptConnectionTests {
    private static let xclient = "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"

    /// A gateway on one loop, with its backend.
    private struct Bench {
        let test: TestGateway
        let backend: ScriptedBackend
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)

        init(_ script: ScriptedBackend.Script = .init(), configure: (inout GatewaySettings) -> Void = { _ in }) async throws {
            let backend = try ScriptedBackend(script)
            self.backend = backend
            test = try await TestGateway([backend.address], group: group, configure: configure)
            // The gateway's own connection, by which it learns what the backend offers.
            try await eventually("it has learnt") { backend.record.open == 0 && backend.record.connections == 1 }
        }

        func stop() async throws {
            await test.stop()
            try await eventually("no connection is left") { backend.record.open == 0 }
            try await group.shutdownGracefully()
        }
    }

    @discardableResult
    private func deliver(_ test: TestGateway, helo: String = "client.example", source: String? = nil) async throws -> Substring? {
        let client = try await test.client(source: source)
        _ = try await client.reply()
        _ = try await client.ask("EHLO \(helo)")
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
        let replies = try await client.replies(3)
        var answer = replies[1]
        if replies[2]?.hasPrefix("354") == true { answer = try await client.ask("x\r\n.") }
        _ = try await client.ask("QUIT")
        try await client.waitUntilClosed()
        try await eventually("the session is over") { test.counters.sessions == 0 }
        return answer?.prefix(3)
    }

    @Test func theNextClientOfTheSameNameGoesOnAtOnce() async throws {
        let bench = try await Bench()
        let (test, backend) = (bench.test, bench.backend)
        for _ in 0..<5 { #expect(try await deliver(test) == "250") }
        #expect(backend.record.connections == 2)
        #expect(backend.record.lines[1].filter { $0.hasPrefix("EHLO") } == ["EHLO client.example"])
        #expect(backend.record.messages.count == 5)
        // Another name is told.
        #expect(try await deliver(test, helo: "other.example") == "250")
        #expect(backend.record.connections == 2)
        #expect(backend.record.lines[1].last { $0.hasPrefix("EHLO") } == "EHLO other.example")
        try await bench.stop()
    }

    @Test func theBackendIsToldOfEveryClientByXclient() async throws {
        var script = ScriptedBackend.Script()
        script.extensions.append(Self.xclient)
        let bench = try await Bench(script, configure: { $0.clientInformation = .xclient })
        let (test, backend) = (bench.test, bench.backend)
        for number in 1...4 {
            #expect(try await deliver(test, helo: "h\(number).example", source: "127.0.0.\(number)") == "250")
        }
        #expect(backend.record.connections == 2)
        // Before each MAIL stands an XCLIENT of its own client, then the client's own EHLO.
        let lines = backend.record.lines[1]
        let mails = lines.indices.filter { lines[$0].hasPrefix("MAIL") }
        #expect(mails.count == 4)
        for (number, index) in zip(1..., mails) {
            #expect(lines[index - 1] == "EHLO h\(number).example")
            #expect(lines[index - 2].hasPrefix("XCLIENT ") && lines[index - 2].hasSuffix(" ADDR=127.0.0.\(number)"))
        }
        try await bench.stop()
    }

    @Test func aBackendThatForbidsASecondXclientGetsAConnectionForEachClient() async throws {
        var script = ScriptedBackend.Script()
        script.extensions.append(Self.xclient)
        let bench = try await Bench(script, configure: { $0.clientInformation = .xclient })
        let (test, backend) = (bench.test, bench.backend)
        #expect(try await deliver(test, source: "127.0.0.1") == "250")
        backend.change { $0.replies = [("XCLIENT NAME=[UNAVAILABLE] PORT", "503 5.5.1 once only")] }
        let before = backend.record.connections
        // The new connection is refused as well, by this script: nothing is forwarded, and nothing is kept.
        #expect(try await deliver(test, source: "127.0.0.2") == "451")
        #expect(backend.record.connections == before + 1)
        #expect(backend.record.messages.count == 1)
        backend.change { $0.replies = [] }
        for number in 3...5 { #expect(try await deliver(test, source: "127.0.0.\(number)") == "250") }
        #expect(backend.record.connections == before + 4)
        #expect(backend.record.lines.dropFirst(2).allSatisfy { $0.filter { $0.hasPrefix("XCLIENT") }.count == 1 })
        try await bench.stop()
    }

    /// Postfix offers XCLIENT by the address that was told last: nobody could go on with that connection.
    @Test func aConnectionThatNobodyCanGoOnWithIsNotKept() async throws {
        var script = ScriptedBackend.Script()
        script.extensions.append(Self.xclient)
        script.takesOneXclient = true
        let bench = try await Bench(script, configure: { $0.clientInformation = .xclient })
        for number in 1...3 { #expect(try await deliver(bench.test, source: "127.0.0.\(number)") == "250") }
        try await eventually("each is let go at once") { bench.backend.record.open == 0 }
        let lines = bench.backend.record.lines.dropFirst()
        #expect(lines.count == 3 && lines.allSatisfy { $0.last == "QUIT" && $0.filter { $0.hasPrefix("XCLIENT") }.count == 1 })
        try await bench.stop()
    }

    @Test func aConnectionThatTheBackendHasClosedIsNoFailure() async throws {
        let bench = try await Bench()
        let (test, backend) = (bench.test, bench.backend)
        #expect(try await deliver(test) == "250")
        // Dies at the next command: the mail goes by a new connection, and neither client nor log hears of it.
        backend.change { $0.diesAt = "MAIL" }
        let client = try await test.greeted()
        _ = try await client.ask("MAIL FROM:<a@example.com>")
        let connections = backend.record.connections
        async let answer = client.ask("RCPT TO:<b@example.org>")
        try await eventually("the old one was used") { backend.record.lines[1].filter { $0.hasPrefix("MAIL") }.count == 2 }
        backend.change { $0.diesAt = nil }
        let code = try await answer?.prefix(3)
        #expect(code == "250" || (code == "451" && backend.record.connections > connections))
        #expect(!test.log.lines.contains { $0.hasPrefix("backend is out") })
        try await bench.stop()
    }

    @Test func oneThatRefusedSomethingIsNotKept() async throws {
        let bench = try await Bench()
        let (test, backend) = (bench.test, bench.backend)
        backend.change { $0.replies = [("RCPT TO:<no", "550 5.1.1 no such user")] }
        let client = try await test.greeted()
        _ = try await client.ask("MAIL FROM:<a@example.com>")
        #expect(try await client.ask("RCPT TO:<no@example.org>")?.prefix(3) == "550")
        #expect(try await client.ask("RCPT TO:<b@example.org>")?.prefix(3) == "250")
        _ = try await client.ask("DATA")
        #expect(try await client.ask("x\r\n.")?.prefix(3) == "250")
        _ = try await client.ask("QUIT")
        try await eventually("it is let go") { backend.record.open == 0 && backend.record.lines.last?.last == "QUIT" }
        try await bench.stop()
    }

    @Test func theyAreLetGoAfterAWhile() async throws {
        let bench = try await Bench(configure: { $0.kept.idle = .milliseconds(300) })
        let (test, backend) = (bench.test, bench.backend)
        #expect(try await deliver(test) == "250")
        #expect(backend.record.open == 1)
        try await eventually("it is let go") { backend.record.open == 0 && backend.record.lines.last?.last == "QUIT" }
        #expect(test.counters.backendFailures == 0)
        try await bench.stop()
    }

    @Test func theirNumberAndTheirMessagesAreBounded() async throws {
        let none = try await Bench(configure: { $0.kept.connections = 0 })
        for _ in 0..<3 { #expect(try await deliver(none.test) == "250") }
        #expect(none.backend.record.connections == 4)
        try await none.stop()
        let few = try await Bench(configure: { $0.kept.messages = 2 })
        for _ in 0..<6 { #expect(try await deliver(few.test) == "250") }
        #expect(few.backend.record.lines.dropFirst().map { $0.filter { $0 == "DATA" }.count } == [2, 2, 2])
        try await few.stop()
    }

    @Test func anUnfinishedMessageIsNeverHandedOn() async throws {
        let bench = try await Bench()
        let (test, backend) = (bench.test, bench.backend)
        #expect(try await deliver(test) == "250")
        let client = try await test.greeted()
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
        _ = try await client.replies(3)
        client.send("half a mess")
        await client.close()
        try await eventually("its connection is closed") { backend.record.truncated.count == 1 && backend.record.open == 0 }
        #expect(try await deliver(test) == "250")
        #expect(backend.record.messages.count == 2 && backend.record.connections == 3)
        try await bench.stop()
    }
}

import NIOCore
import PosternCore
import PosternEngine
import Testing

@testable import PosternServer

/// Whatever breaks, the client is never told 250 by us, and the backend never sees an end that the client did not send.
@Suite(.serialized) struct GatewayFailureTests {
    @Test(arguments: ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "*", "."])
    func aBackendThatDiesGivesATransientAnswer(stage: String) async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address])
        let client = try await test.greeted()
        backend.change { $0.diesAt = stage }
        let content = String(repeating: "0123456789\r\n", count: 20_000)
        var codes: [Substring?] = []
        for command in ["MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>", "DATA"] {
            codes.append(try await client.ask(command)?.prefix(3))
        }
        if codes[2] == "354" {
            client.send(content)
            codes.append(try await client.ask(".")?.prefix(3))
        }
        let expected: [Substring?] =
            switch stage {
            case "greeting", "EHLO", "MAIL", "RCPT": ["250", "451", "451"]
            case "DATA": ["250", "250", "451"]
            default: ["250", "250", "354", "451"]
            }
        #expect(codes == expected)
        // The session goes on, and the next message passes once the backend is well.
        backend.change { $0.diesAt = nil }
        _ = try await client.ask("RSET")
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
        #expect(try await client.replies(3).map { $0?.prefix(3) } == ["250", "250", "354"])
        #expect(try await client.ask("x\r\n.")?.hasPrefix("250 ") == true)
        await test.stop()
    }

    @Test func aChunkedMessageIsReadToItsEndWhenTheBackendDies() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address])
        let client = try await test.greeted()
        backend.change { $0.diesAt = "." }
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nBDAT 3\r\nx\r\nBDAT 3 LAST\r\ny\r\nNOOP\r\n")
        #expect(try await client.replies(5).map { $0?.prefix(3) } == ["250", "250", "250", "451", "250"])
        await test.stop()
    }

    @Test(arguments: ["MAIL", "RCPT", "DATA"])
    func aBackendThatCloses(stage: String) async throws {
        var script = ScriptedBackend.Script()
        script.replies = [(stage, "421 4.3.2 Going down")]
        let backend = try ScriptedBackend(script)
        let test = try await TestGateway([backend.address])
        let client = try await test.greeted()
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
        // What it says, but not as 421: this connection stays open.
        let told = "451 4.3.2 Going down"
        #expect(
            try await client.replies(3) == (stage == "DATA" ? ["250 2.1.0 Ok", "250 2.1.5 Ok", told] : ["250 2.1.0 Ok", told, told]))
        #expect(try await client.ask("NOOP") == "250 2.0.0 Ok")
        await test.stop()
    }

    @Test func aBackendThatIsDownDefersAndItsExtensionsAreRemembered() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address]) { $0.health.refresh = .seconds(1) }
        backend.stop()
        try await eventually("nobody listens") { (try? ScriptedBackend(port: backend.port)).map { $0.stop() } != nil }
        let client = try await test.client()
        _ = try await client.reply()
        let hello = try #require(try await client.ask("EHLO client.example"))
        #expect(hello.contains("DSN") && hello.contains("SMTPUTF8"))
        _ = try await client.ask("MAIL FROM:<a@example.com>")
        #expect(try await client.ask("RCPT TO:<b@example.org>") == "451 4.4.1 Mail system temporarily unavailable")
        // It is out after three failures; the log says why.
        for _ in 0..<2 {
            _ = try await client.ask("RSET")
            _ = try await client.ask("MAIL FROM:<a@example.com>")
            _ = try await client.ask("RCPT TO:<b@example.org>")
        }
        try await eventually("the log says so") { test.log.lines.contains { $0.hasPrefix("backend is out") } }
        let line = try #require(test.log.lines.first { $0.hasPrefix("backend is out") })
        #expect(line.contains("error=Connection refused") && line.contains("reason=no connection can be made"), "\(line)")
        await test.stop()
    }

    /// RFC 6531 §3.5: who misses SMTPUTF8 here returns the mail. So nothing is withheld that a backend may have which was never heard.
    @Test func aBackendThatWasNeverThereMakesNothingPermanent() async throws {
        let first = try ScriptedBackend()
        let port = first.port
        first.stop()
        try await eventually("nobody listens") { (try? ScriptedBackend(port: port)).map { $0.stop() } != nil }
        let test = try await TestGateway([first.address]) { $0.health.refresh = .hours(1) }
        let client = try await test.client()
        _ = try await client.reply()
        let hello = try #require(try await client.ask("EHLO client.example"))
        for keyword in ["8BITMIME", "SMTPUTF8", "DSN"] { #expect(hello.contains(keyword)) }
        let asking = "MAIL FROM:<a@example.com> BODY=8BITMIME SMTPUTF8 RET=HDRS"
        #expect(try await client.ask(asking) == "250 2.1.0 Ok")
        #expect(try await client.ask("RCPT TO:<b@example.org> NOTIFY=NEVER")?.hasPrefix("451 4.4.1") == true)
        // It is back, and has nothing of it: put off, and not delivered without what was asked for.
        var script = ScriptedBackend.Script()
        script.extensions = ["PIPELINING"]
        var found: ScriptedBackend?
        try await eventually("the port is free") {
            found = found ?? (try? ScriptedBackend(script, port: port))
            return found != nil
        }
        let backend = try #require(found)
        for (mail, recipient) in [
            (asking, "RCPT TO:<b@example.org>"), ("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org> NOTIFY=NEVER"),
        ] {
            _ = try await client.ask("RSET")
            #expect(try await client.ask(mail) == "250 2.1.0 Ok")
            #expect(try await client.ask(recipient)?.hasPrefix("451 4.3.0 ") == true)
            #expect(try await client.ask("DATA")?.hasPrefix("554 5.5.1") == true)
        }
        #expect(backend.record.messages.isEmpty)
        // The next session is told the truth.
        let next = try await test.client()
        _ = try await next.reply()
        #expect(try await next.ask("EHLO client.example")?.contains("8BITMIME") == false)
        await test.stop()
    }

    @Test func refusalsAtEachStageAreHandedOn() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address])
        backend.change { $0.replies = [("MAIL", "550 5.1.8 bad sender")] }
        var client = try await test.greeted()
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nRCPT TO:<c@example.org>\r\nDATA\r\n")
        #expect(
            try await client.replies(4) == [
                "250 2.1.0 Ok", "550 5.1.8 bad sender", "550 5.1.8 bad sender", "554 5.5.1 No valid recipients",
            ])
        backend.change { $0.replies = [("DATA", "452 4.3.1 no space")] }
        client = try await test.greeted()
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
        #expect(try await client.replies(3).last == "452 4.3.1 no space")
        backend.change {
            $0.replies = []
            $0.final = "554 5.6.0 content refused"
        }
        client = try await test.greeted()
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
        _ = try await client.replies(3)
        #expect(try await client.ask("x\r\n.") == "554 5.6.0 content refused")
        #expect(test.counters.messagesRefused == 1)
        await test.stop()
    }

    @Test func aClientThatDiesInTheMidstOfContentLeavesNoMessage() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address])
        for size in [10, 100_000] {
            let client = try await test.greeted()
            client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
            _ = try await client.replies(3)
            client.send(String(repeating: "x", count: size) + "\r\n")
            try await Task.sleep(for: .milliseconds(50))
            await client.close()
        }
        try await eventually("both connections close") { backend.record.open == 0 }
        #expect(backend.record.messages.isEmpty)
        #expect(backend.record.truncated.count == 2)
        await test.stop()
    }

    @Test(arguments: ["a\r\n.\n", "a\n.\r\n", "a\n.\n", "a\r.\r\n", "a\r.\r", "a\r\n.\r", "a\u{0}b\r\n"])
    func contentThatCouldBeSplitIsRefusedAfterItsRealEnd(content: String) async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address])
        let client = try await test.greeted()
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
        _ = try await client.replies(3)
        client.send(content + "MAIL FROM:<evil@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nsmuggled\r\n.\r\nNOOP\r\n")
        #expect(try await client.replies(2).map { $0?.prefix(3) } == ["554", "250"])
        try await eventually("the backend connection closes") { backend.record.open == 0 }
        #expect(backend.record.messages.isEmpty)
        #expect(test.counters.messagesRefused == 1)
        await test.stop()
    }

    @Test func aStalledBackendHoldsTheClientBack() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address])
        let client = try await test.greeted()
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
        _ = try await client.replies(3)
        backend.change { $0.isStalled = true }
        // Far more than two kernels' buffers take on loopback.
        let line = String(repeating: "y", count: 1022) + "\r\n"
        client.send(String(repeating: line, count: 30_000))
        try await Task.sleep(for: .milliseconds(500))
        #expect(!client.channel.isWritable)
        backend.change { $0.isStalled = false }
        client.send(".\r\n")
        #expect(try await client.reply(within: .seconds(60))?.hasPrefix("250 ") == true)
        #expect(backend.record.messages.first?.content.utf8.count == 30_000 * 1024)
        await test.stop()
    }

    @Test func aBackendThatStutters() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address])
        let client = try await test.greeted()
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
        _ = try await client.replies(3)
        // Much more often than what a client may have sent unasked lasts for.
        let line = String(repeating: "y", count: 1022) + "\r\n"
        for round in 0..<6 {
            backend.change { $0.isStalled = true }
            client.send(String(repeating: line, count: 1500))
            try await Task.sleep(for: .milliseconds(200))
            backend.change { $0.isStalled = false }
            try await eventually("round \(round) is taken") { client.channel.isWritable }
        }
        client.send(".\r\n")
        #expect(try await client.reply(within: .seconds(120))?.hasPrefix("250 ") == true)
        #expect(backend.record.messages.first?.content.utf8.count == 6 * 1500 * 1024)
        await test.stop()
    }

    @Test func aSilentClientTimesOut() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address]) { $0.timeouts.command = .seconds(2) }
        let client = try await test.greeted()
        #expect(try await client.reply() == "421 4.4.2 Timeout, closing connection")
        try await client.waitUntilClosed()
        await test.stop()
    }

    @Test func aWholeSessionHasItsEnd() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address]) { $0.timeouts.session = .seconds(2) }
        let client = try await test.greeted()
        var last: String?
        for _ in 0..<600 {
            last = try await client.ask("NOOP")
            if last?.hasPrefix("421") != false { break }
            try await Task.sleep(for: .milliseconds(20))
        }
        #expect(last == "421 4.4.2 Timeout, closing connection")
        await test.stop()
    }

    @Test func aSilentBackendTimesOut() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address]) { $0.backendTimeouts.command = .seconds(1) }
        backend.change { $0.slowAt = ("RCPT", 5000) }
        let client = try await test.greeted()
        _ = try await client.ask("MAIL FROM:<a@example.com>")
        #expect(try await client.ask("RCPT TO:<b@example.org>") == "451 4.4.2 Mail system timed out")
        await test.stop()
    }

    @Test func drainingDoesNotWaitForThoseWhoAreMadeToWait() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address], engine: { $0.delays.greeting = .fixed(.seconds(20)) })
        let client = try await test.client()
        try await eventually("held") { test.counters.sessions == 1 }
        try await Task.sleep(for: .milliseconds(50))
        let start = ContinuousClock.now
        await test.listener.drain(patience: .seconds(30))
        #expect(ContinuousClock.now - start < .seconds(15))
        #expect(try await client.replies(2).last??.hasPrefix("421 4.3.2 Shutting down") == true)
        await test.store.close()
    }

    @Test func drainingLetsAMessageFinish() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address])
        let idle = try await test.greeted()
        let busy = try await test.greeted()
        busy.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
        _ = try await busy.replies(3)
        async let drained: Void = test.listener.drain(patience: .seconds(60))
        #expect(try await idle.reply() == "421 4.3.2 Shutting down, closing connection")
        busy.send("x\r\n.\r\n")
        #expect(try await busy.replies(2).map { $0?.prefix(3) } == ["250", "421"])
        await drained
        await #expect(throws: (any Error).self) { _ = try await test.client() }
        await test.store.close()
    }
}

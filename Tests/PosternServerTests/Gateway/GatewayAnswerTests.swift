import NIOCore
import PosternCore
import PosternEngine
import SMTPProtocol
import Testing

@testable import PosternServer

/// What the backend has said reaches the client, so that no message comes twice; and what it has not been told is not lost with it.
@Suite(.serialized) struct GatewayAnswerTests {
    private let envelope = "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n"

    /// A client whose message has come to the backend, but for what `content` lacks.
    private func sending(_ test: TestGateway, _ content: String) async throws -> SMTPTestClient {
        let client = try await test.greeted()
        client.send(envelope + "DATA\r\n")
        #expect(try await client.replies(3).map { $0?.prefix(3) } == ["250", "250", "354"])
        client.send(content)
        return client
    }

    @Test(arguments: ["421 4.3.2 Shutting down", "250 2.0.0 and again", "what is this"])
    func anAnswerStandsWhateverFollowsIt(more: String) async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address])
        backend.change { $0.final = "250 2.0.0 Ok: queued as 4711\r\n\(more)" }
        let client = try await sending(test, "x\r\n.\r\n" + envelope + "DATA\r\n")
        #expect(try await client.reply() == "250 2.0.0 Ok: queued as 4711")
        // The session goes on, on another connection.
        #expect(try await client.replies(3).map { $0?.prefix(3) } == ["250", "250", "354"])
        #expect(try await client.ask("y\r\n.") == "250 2.0.0 Ok: queued as 4711")
        #expect(backend.record.messages.map(\.content) == ["x\r\n", "y\r\n"])
        #expect(test.lines.lines.filter { $0.contains("msg=message ") && $0.contains(" backend=\(backend.address)") }.count == 2)
        #expect(test.counters.messagesAccepted == 2 && test.counters.messagesDeferred == 0)
        await test.stop()
    }

    @Test func aRecipientThatWasAcceptedIsLostWithTheConnection() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address])
        backend.change { $0.replies = [("RCPT", "250 2.1.5 Ok\r\n421 4.3.2 Going down")] }
        let client = try await test.greeted()
        client.send(envelope)
        #expect(try await client.replies(2).last == "250 2.1.5 Ok")
        #expect(try await client.ask("RCPT TO:<c@example.org>") == "451 4.3.2 Going down")
        #expect(try await client.ask("DATA") == "451 4.3.2 Going down")
        await test.stop()
    }

    /// Exim's `drop`, and Postfix at its limit of errors: MAIL is refused and the connection closes, with RCPT on its way.
    @Test(arguments: [true, false])
    func aRefusalOfMailStandsWhateverFollowsIt(pipelining: Bool) async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address])
        backend.change {
            if !pipelining { $0.extensions = [] }
            $0.replies = [("MAIL FROM:<bad@", "550-5.7.1 first\r\n550 5.7.1 sender dropped\r\n421 4.7.0 too many errors")]
        }
        let client = try await test.greeted()
        for _ in 0..<2 {
            client.send("MAIL FROM:<bad@example.com>\r\nRCPT TO:<b@example.org>\r\nRCPT TO:<c@example.org>\r\nDATA\r\n")
            #expect(try await client.reply() == "250 2.1.0 Ok")
            for _ in 0..<2 { #expect(try await client.reply()?.hasSuffix("550 5.7.1 sender dropped") == true) }
            #expect(try await client.reply() == "554 5.5.1 No valid recipients")
            #expect(try await client.ask("RSET") == "250 2.0.0 Ok")
        }
        // The next message is another's.
        client.send(envelope + "DATA\r\n")
        #expect(try await client.replies(3).map { $0?.prefix(3) } == ["250", "250", "354"])
        #expect(try await client.ask("x\r\n.") == "250 2.0.0 Ok: queued as 4711")
        #expect(!test.log.lines.contains { $0.hasPrefix("backend is out") })
        await test.stop()
    }

    @Test func aBackendThatClosesBetweenMessagesCostsNothing() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address])
        backend.change { $0.leavesAfterMessage = true }
        let client = try await test.greeted()
        for _ in 0..<3 {
            // It closes behind MAIL, of which it has not been told.
            _ = try await client.ask("MAIL FROM:<a@example.com>")
            try await eventually("the backend has closed") { backend.record.open == 0 }
            try await Task.sleep(for: .milliseconds(50))
            client.send("RCPT TO:<b@example.org>\r\nRCPT TO:<c@example.org>\r\nDATA\r\n")
            #expect(try await client.replies(3).map { $0?.prefix(3) } == ["250", "250", "354"])
            #expect(try await client.ask("x\r\n.")?.prefix(3) == "250")
        }
        #expect(backend.record.messages.map(\.commands.count) == [3, 3, 3])
        await test.stop()
    }

    @Test func theSessionsEndWaitsForTheAnswer() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address]) { $0.timeouts.session = .seconds(4) }
        backend.change { $0.slowAt = (".", 6000) }
        let client = try await sending(test, "x\r\n.\r\n")
        #expect(try await client.reply() == "250 2.0.0 Ok: queued as 4711")
        #expect(try await client.reply() == "421 4.4.2 Timeout, closing connection")
        await test.stop()
    }

    @Test func drainingWaitsLongestForAnswers() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address])
        backend.change { $0.slowAt = (".", 2500) }
        let unfinished = try await sending(test, "half of it\r\n")
        let begun = try await test.greeted()
        begun.send(envelope)
        _ = try await begun.replies(2)
        let whole = try await sending(test, "x\r\n.\r\n")
        try await eventually("it has come whole") { backend.record.messages.count == 1 }
        let start = ContinuousClock.now
        async let drained: Void = test.listener.drain(patience: .milliseconds(400), forAnswers: .seconds(60))
        for client in [unfinished, begun] {
            #expect(try await client.reply() == "421 4.3.2 Shutting down, closing connection")
            try await client.waitUntilClosed()
        }
        #expect(ContinuousClock.now - start >= .milliseconds(400))
        #expect(try await whole.reply() == "250 2.0.0 Ok: queued as 4711")
        #expect(try await whole.reply() == "421 4.3.2 Shutting down, closing connection")
        await drained
        #expect(ContinuousClock.now - start < .seconds(30))
        #expect(backend.record.messages.count == 1)
        // Within what the service manager allows (packaging/systemd/postern.service), with some seconds to spare.
        #expect(Daemon.drainPatience.milliseconds + GatewayListener.answerPatience.milliseconds <= 25_000)
        await test.store.close()
    }

    @Test func aClientIsNotBlamedForAStalledBackend() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address]) { $0.timeouts.content = .seconds(2) }
        let client = try await sending(test, "first\r\n")
        backend.change { $0.isStalled = true }
        // Far more than two kernels' buffers take on loopback.
        let line = String(repeating: "y", count: 1022) + "\r\n"
        client.send(String(repeating: line, count: 20_000))
        try await Task.sleep(for: .seconds(5))
        #expect(!client.channel.isWritable && !client.isClosed)
        backend.change { $0.isStalled = false }
        client.send(".\r\n")
        #expect(try await client.reply()?.hasPrefix("250 ") == true)
        // Its own silence still counts.
        client.send(envelope + "DATA\r\n")
        _ = try await client.replies(3)
        #expect(try await client.reply() == "421 4.4.2 Timeout, closing connection")
        await test.stop()
    }

    // MARK: - Fields of ours

    /// RFC 5322 §2.2.3: a line that begins with white space belongs to the field before it. The last of them: content, and how the backend
    /// gets it behind our field.
    @Test(
        arguments: [
            (" ;dkim=pass header.d=bank.example\r\nFrom: x\r\n", "\r\n ;dkim=pass header.d=bank.example\r\nFrom: x\r\n"),
            ("\t;dkim=pass\r\n", "\r\n\t;dkim=pass\r\n"), (". ;unstuffed\r\n", "\r\n ;unstuffed\r\n"),
            ("\r;a bare CR\r\n", "\r\n ;a bare CR\r\n"), ("\r\n ;body\r\n", "\r\n ;body\r\n"), ("\n ;body\r\n", "\r\n ;body\r\n"),
            ("From: x\r\n folded\r\n", "From: x\r\n folded\r\n"), ("..\r\n", "..\r\n"), ("", ""),
        ])
    func contentDoesNotContinueThem(content: String, told: String) async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway(
            [backend.address], evidence: FixedEvidence.clean,
            engine: { $0.putsBothFields() })
        let client = try await test.greeted()
        client.send(envelope)
        #expect(try await client.replies(2).last??.hasPrefix("451") == true)
        try await Task.sleep(for: .milliseconds(150))
        for bytewise in [false, true] {
            client.send((bytewise ? "MAIL FROM:<a@example.com>\r\n" : "") + "RCPT TO:<b@example.org>\r\nDATA\r\n")
            #expect(try await client.replies(bytewise ? 3 : 2).last??.hasPrefix("354") == true)
            let pieces = bytewise ? (content + ".\r\n").map { String($0) } : [content + ".\r\n"]
            for piece in pieces {
                client.send(piece)
                if bytewise { try await Task.sleep(for: .milliseconds(5)) }
            }
            #expect(try await client.reply()?.prefix(3) == "250")
        }
        for message in backend.record.messages {
            #expect(message.content.hasPrefix("Received-SPF: "))
            // Our fields are one line each.
            var rest = message.content[...]
            while rest.hasPrefix("Received-SPF: ") || rest.hasPrefix("X-Greylist: "), let end = rest.firstIndex(of: "\r\n") {
                rest = rest[rest.index(after: end)...]
            }
            #expect(rest == told, "\(message.content)")
        }
        #expect(backend.record.messages.count == 2)
        await test.stop()
    }
}

import NIOCore
import NIOSSL
import PosternCore
import PosternEngine
import Testing

@testable import PosternServer

extension SMTPTestClient {
    /// Says that nothing more comes, and goes on reading; with TLS by its own word for that.
    func sendNoMore() async throws { try await channel.close(mode: .output).get() }

    /// Ends the sending half of the TCP connection under TLS, without a word of TLS.
    func cutOff() async throws {
        let channel = channel
        try await channel.eventLoop.submit {
            try channel.pipeline.syncOperations.context(handlerType: NIOSSLClientHandler.self).close(mode: .output, promise: nil)
        }.get()
    }
}

/// Clients that close their side and wait for what they are owed, and clients that have gone: both look alike at first.
@Suite(.serialized) struct GatewayHalfCloseTests {
    /// Far below every pause and time-out in here.
    private static let soon = Duration.seconds(10)

    private func expectNoSession(_ test: TestGateway, _ comment: Comment = "") async throws {
        let end = ContinuousClock.now + Self.soon
        while test.counters.sessions > 0, ContinuousClock.now < end { try await Task.sleep(for: .milliseconds(5)) }
        #expect(test.counters.sessions == 0, comment)
        #expect(test.listener.gateway.sessions.held == 0, comment)
    }

    private func inContent(_ client: SMTPTestClient) async throws {
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
        #expect(try await client.replies(3).last??.hasPrefix("354") == true)
    }

    @Test func aMessageHasItsAnswerAllTheSame() async throws {
        var script = ScriptedBackend.Script()
        script.slowAt = (".", 300)
        let backend = try ScriptedBackend(script)
        let test = try await TestGateway([backend.address])
        let client = try await test.greeted()
        try await inContent(client)
        client.send("hello\r\n.\r\n")
        try await client.sendNoMore()
        #expect(try await client.reply() == "250 2.0.0 Ok: queued as 4711")
        #expect(try await client.reply() == nil)
        try await expectNoSession(test)
        #expect(backend.record.messages.map(\.content) == ["hello\r\n"])
        #expect(test.counters.messagesAccepted == 1)
        #expect(test.lines.lines.contains { $0.contains("msg=message") && $0.contains("result=250") })
        await test.stop()
    }

    @Test(arguments: [false, true])
    func queuedCommandsHaveTheirAnswers(greylisted: Bool) async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address], engine: { if greylisted { $0.greylist.mode = .on } })
        let client = try await test.greeted()
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nRCPT TO:<c@example.org>\r\nQUIT\r\n")
        try await client.sendNoMore()
        let recipient: Substring = greylisted ? "451" : "250"
        #expect(try await client.replies(4).map { $0?.prefix(3) } == ["250", recipient, recipient, "221"])
        #expect(try await client.reply() == nil)
        try await expectNoSession(test)
        await test.stop()
    }

    @Test func withoutQUITTheSessionEndsBehindTheLastAnswer() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address])
        let client = try await test.greeted()
        client.send("NOOP\r\nNOOP\r\nMAIL FROM:<a@exa")
        try await client.sendNoMore()
        #expect(try await client.replies(3) == ["250 2.0.0 Ok", "250 2.0.0 Ok", nil])
        try await expectNoSession(test)
        await test.stop()
    }

    @Test(arguments: ["half a mess", "a line\r\n", "a line\r\n.", "a line\r\n.\r"])
    func contentWithoutItsEndIsNoMessage(content: String) async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address])
        let client = try await test.greeted()
        try await inContent(client)
        client.send(content)
        try await client.sendNoMore()
        #expect(try await client.reply() == nil)
        try await expectNoSession(test)
        try await eventually("the backend is left") { backend.record.open == 0 }
        #expect(backend.record.messages.isEmpty && backend.record.truncated.count == 1)
        await test.stop()
    }

    @Test func aChunkThatIsNotWholeIsNoMessage() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address])
        let client = try await test.greeted()
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nBDAT 3\r\nx\r\nBDAT 30 LAST\r\ny\r\n")
        #expect(try await client.replies(3).map { $0?.prefix(3) } == ["250", "250", "250"])
        try await client.sendNoMore()
        #expect(try await client.reply() == nil)
        try await expectNoSession(test)
        try await eventually("the backend is left") { backend.record.open == 0 }
        #expect(backend.record.messages.isEmpty)
        await test.stop()
    }

    @Test func nobodyIsKeptForAPause() async throws {
        let backend = try ScriptedBackend()
        // Before the greeting, whether it has talked or not.
        var test = try await TestGateway(
            [backend.address],
            engine: {
                $0.delays.greeting = .fixed(.seconds(25))
                $0.checks[.earlyTalk] = CheckSetting(mode: .shadow, score: 5)
            })
        for talk in ["", "EHLO early.example\r\nQUIT\r\n"] {
            let client = try await test.client()
            try await eventually("held") { test.listener.gateway.sessions.held == 1 }
            client.send(talk)
            try await client.sendNoMore()
            try await expectNoSession(test, "\(talk)")
            #expect(try await client.reply() == nil)
        }
        await test.stop()
        // Before an answer.
        test = try await TestGateway([backend.address], engine: { $0.delays.stage = .seconds(30) })
        for isWhole in [false, true] {
            let client = try await test.client()
            _ = try await client.reply()
            client.send("EHLO client.example\r\n")
            try await eventually("held") { test.listener.gateway.sessions.held == 1 }
            if isWhole { await client.close() } else { try await client.sendNoMore() }
            try await expectNoSession(test, "\(isWhole)")
        }
        await test.stop()
        // In an answer that goes out byte by byte.
        test = try await TestGateway(
            [backend.address],
            engine: {
                $0.bands.slow = 1
                $0.delays.stutter = .seconds(2)
            })
        let client = try await test.client()
        _ = try await client.reply()
        _ = try await client.ask("MAIL FROM:<a@example.com>")
        client.send("HELO client.example\r\n")
        try await eventually("it has begun") { !client.pending.text.isEmpty }
        try await client.sendNoMore()
        try await expectNoSession(test)
        try await client.waitUntilClosed()
        await test.stop()
    }

    @Test func whoHasGoneLeavesNothingBehind() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address])
        // Idle, in the midst of a line, and in the midst of a chunk.
        for last in ["", "NOO", "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nBDAT 100\r\nx"] {
            let client = try await test.greeted()
            client.send(last)
            try await Task.sleep(for: .milliseconds(50))
            await client.close()
            try await expectNoSession(test, "\(last)")
        }
        // While the backend is being waited for: until its answer, which nobody takes.
        backend.change { $0.slowAt = ("RCPT", 500) }
        var client = try await test.greeted()
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nRCPT TO:<c@example.org>\r\n")
        _ = try await client.reply()
        await client.close()
        try await expectNoSession(test)
        backend.change { $0.slowAt = (".", 500) }
        client = try await test.greeted()
        try await inContent(client)
        client.send("x\r\n.\r\n")
        try await eventually("the message is there") { backend.record.messages.count == 1 }
        await client.close()
        try await expectNoSession(test)
        try await eventually("the backend is left, or kept") { backend.record.open <= 1 }
        await test.stop()
    }

    /// What a client has sent before it closed its side comes at once, wanted or not.
    @Test(arguments: [true, false])
    func whatComesUnaskedHasItsBound(isRoomy: Bool) async throws {
        var script = ScriptedBackend.Script()
        script.slowAt = ("RCPT", 500)
        let backend = try ScriptedBackend(script)
        let test = try await TestGateway([backend.address]) {
            guard !isRoomy else { return }
            $0.memory.read = 1024
            $0.memory.unread = 2048
            $0.memory.unreadTogether = 4096
        }
        let client = try await test.greeted()
        let noops = 3000
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n" + String(repeating: "NOOP\r\n", count: noops))
        try await client.sendNoMore()
        var replies = 0
        while try await client.reply() != nil { replies += 1 }
        #expect(isRoomy ? replies == noops + 2 : replies <= 1)
        try await expectNoSession(test)
        await test.stop()
    }

    /// A message beyond every buffer, to a backend that takes it slowly.
    @Test func aLargeMessageHasItsAnswerToo() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address])
        let client = try await test.greeted()
        try await inContent(client)
        backend.change { $0.isStalled = true }
        let content = String(repeating: String(repeating: "y", count: 1022) + "\r\n", count: 8000)
        client.send(content + ".\r\n")
        async let ended: Void = client.sendNoMore()
        try await Task.sleep(for: .milliseconds(300))
        backend.change { $0.isStalled = false }
        try await ended
        #expect(try await client.reply() == "250 2.0.0 Ok: queued as 4711")
        #expect(backend.record.messages.first?.content.utf8.count == content.utf8.count)
        try await expectNoSession(test)
        await test.stop()
    }

    enum TLSEnding: CaseIterable {
        case announced
        case cutOff
    }

    @Test(arguments: TLSEnding.allCases)
    func byTLSToo(ending: TLSEnding) async throws {
        let folder = try CertificateFolder(TestCertificates.one)
        var script = ScriptedBackend.Script()
        script.slowAt = (".", 300)
        let backend = try ScriptedBackend(script)
        let test = try await TestGateway([backend.address]) { $0.certificate = folder.certificate }
        func secured() async throws -> SMTPTestClient {
            let client = try await test.greeted()
            _ = try await client.ask("STARTTLS")
            try await client.startTLS()
            _ = try await client.ask("EHLO client.example")
            return client
        }
        func end(_ client: SMTPTestClient) async throws {
            switch ending {
            case .announced: try await client.sendNoMore()
            case .cutOff: try await client.cutOff()
            }
        }
        // A message.
        var client = try await secured()
        try await inContent(client)
        client.send("hello\r\n.\r\n")
        try await end(client)
        #expect(try await client.reply() == "250 2.0.0 Ok: queued as 4711")
        try await client.waitUntilClosed()
        try await expectNoSession(test)
        // Content without its end.
        client = try await secured()
        try await inContent(client)
        client.send("half a mess\r\n")
        try await end(client)
        #expect(try await client.reply() == nil)
        try await expectNoSession(test)
        #expect(backend.record.messages.count == 1)
        // Nothing at all.
        client = try await secured()
        try await end(client)
        try await client.waitUntilClosed()
        try await expectNoSession(test)
        client = try await secured()
        await client.close()
        try await expectNoSession(test)
        await test.stop()
    }

    @Test func inTheMidstOfAHandshake() async throws {
        let folder = try CertificateFolder(TestCertificates.one)
        let backend = try ScriptedBackend()
        for isImplicit in [false, true] {
            let test = try await TestGateway([backend.address]) {
                $0.certificate = folder.certificate
                if isImplicit { $0.submission = .init(isImplicitlySecured: true) }
            }
            let client = isImplicit ? try await test.client() : try await test.greeted()
            if !isImplicit { _ = try await client.ask("STARTTLS") }
            client.send([0x16, 0x03, 0x01])
            try await client.sendNoMore()
            try await expectNoSession(test, "\(isImplicit)")
            await test.stop()
        }
    }

    @Test func beforeAProxyHeader() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address]) { $0.proxies = PrefixSet([Prefix("127.0.0.0/8")!]) }
        let client = try await test.client()
        client.send("PROXY TCP4 192.")
        try await client.sendNoMore()
        #expect(try await client.reply() == nil)
        try await expectNoSession(test)
        await test.stop()
    }
}

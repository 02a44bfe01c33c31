import PosternCore
import PosternEngine
import Testing

@testable import PosternServer

/// The way of a message from a client to a backend.
@Suite(.serialized) struct GatewayRelayTests {
    @Test func aMessageGoesThroughAndTheBackendsWordsComeBack() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address])
        let client = try await test.client()
        #expect(try await client.reply() == "220 mx.example.org ESMTP")
        let hello = try #require(try await client.ask("EHLO client.example"))
        for keyword in ["PIPELINING", "SIZE 100000000", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "CHUNKING"] {
            #expect(hello.contains("250-\(keyword)\r\n") || hello.hasSuffix("250 \(keyword)"), "\(keyword)")
        }
        #expect(!hello.contains("STARTTLS"))
        #expect(try await client.ask("MAIL FROM:<a@example.com> SIZE=100 BODY=8BITMIME RET=HDRS ENVID=x") == "250 2.1.0 Ok")
        #expect(try await client.ask("RCPT TO:<b@example.org> NOTIFY=FAILURE ORCPT=rfc822;b@example.org") == "250 2.1.5 Ok")
        #expect(try await client.ask("DATA") == "354 End data with <CR><LF>.<CR><LF>")
        client.send("Subject: x\r\n\r\n..stuffed\r\nline\r\n.\r\n")
        #expect(try await client.reply() == "250 2.0.0 Ok: queued as 4711")
        #expect(try await client.ask("QUIT") == "221 2.0.0 Bye")
        try await client.waitUntilClosed()

        let message = try #require(backend.record.messages.first)
        #expect(message.content == "Subject: x\r\n\r\n..stuffed\r\nline\r\n")
        #expect(
            message.commands == [
                "MAIL FROM:<a@example.com> SIZE=100 BODY=8BITMIME RET=HDRS ENVID=x",
                "RCPT TO:<b@example.org> NOTIFY=FAILURE ORCPT=rfc822;b@example.org",
            ])
        try await eventually("the backend is left with QUIT") { backend.record.lines.last?.last == "QUIT" && backend.record.open == 0 }
        #expect(test.counters.messagesAccepted == 1)
        try await eventually("sessions end") { test.counters.sessions == 0 }
        let lines = test.lines.lines.filter { !$0.contains("msg=decision") }
        #expect(lines.contains { $0.contains("msg=message ") && $0.contains("result=250") && $0.contains("recipients=1") })
        #expect(!(lines + test.log.lines).contains { $0.contains("stuffed") || $0.contains("a@example.com") })
        await test.stop()
    }

    @Test func aPipelinedMessageInOneWrite() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address])
        let client = try await test.greeted()
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nRCPT TO:<c@example.org>\r\nDATA\r\n")
        #expect(
            try await client.replies(4) == ["250 2.1.0 Ok", "250 2.1.5 Ok", "250 2.1.5 Ok", "354 End data with <CR><LF>.<CR><LF>"])
        client.send("one\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
        #expect(try await client.replies(4).map { $0?.prefix(3) } == ["250", "250", "250", "354"])
        client.send("two\r\n.\r\nQUIT\r\n")
        #expect(try await client.replies(2).map { $0?.prefix(3) } == ["250", "221"])
        #expect(backend.record.messages.map(\.content) == ["one\r\n", "two\r\n"])
        #expect(backend.record.messages.first?.commands.count == 3)
        // Both went over one connection, behind the one that learnt the extensions.
        #expect(backend.record.connections == 2)
        await test.stop()
    }

    @Test func repliesPerRecipientStayApartAndComeWordForWord() async throws {
        var script = ScriptedBackend.Script()
        script.replies = [
            ("RCPT TO:<no@", "550-5.1.1 nobody\r\n550 5.1.1 here"), ("RCPT TO:<later@", "451 4.2.2 Mailbox full, \u{e9}"),
        ]
        script.final = "250-2.0.0 first line\r\n250 2.0.0 second"
        let backend = try ScriptedBackend(script)
        let test = try await TestGateway([backend.address])
        let client = try await test.greeted()
        _ = try await client.ask("MAIL FROM:<a@example.com>")
        #expect(try await client.ask("RCPT TO:<no@example.org>") == "550-5.1.1 nobody\r\n550 5.1.1 here")
        #expect(try await client.ask("RCPT TO:<later@example.org>") == "451 4.2.2 Mailbox full, \u{e9}")
        #expect(try await client.ask("RCPT TO:<b@example.org>") == "250 2.1.5 Ok")
        _ = try await client.ask("DATA")
        #expect(try await client.ask("text\r\n.") == "250-2.0.0 first line\r\n250 2.0.0 second")
        #expect(backend.record.messages.first?.commands.count == 2)
        await test.stop()
    }

    @Test func nothingIsOpenedBeforeARecipientIsAccepted() async throws {
        let backend = try ScriptedBackend()
        let entry = ListEntry(.block, .recipient, Pattern("no@example.org")!, added: WallTime(seconds: 0))
        let test = try await TestGateway([backend.address], lists: Lists(entries: [entry]))
        let client = try await test.greeted()
        let before = backend.record.connections
        _ = try await client.ask("MAIL FROM:<a@example.com>")
        #expect(try await client.ask("RCPT TO:<no@example.org>")?.hasPrefix("554 5.7.1 ") == true)
        #expect(backend.record.connections == before)
        #expect(try await client.ask("RCPT TO:<yes@example.org>")?.hasPrefix("250") == true)
        #expect(backend.record.connections == before + 1)
        await test.stop()
    }

    @Test func greylistingAtRcptAndAHeaderOnceItHasPassed() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway(
            [backend.address],
            engine: {
                $0.greylist.mode = .on
                $0.greylist.delay = .milliseconds(200)
            })
        let client = try await test.greeted()
        _ = try await client.ask("MAIL FROM:<a@example.com>")
        let reply = try #require(try await client.ask("RCPT TO:<b@example.org>"))
        #expect(reply.hasPrefix("451 4.7.1 Greylisted: please come back in 1 second or later (mx.example.org "))
        #expect(try await client.ask("DATA") == "554 5.5.1 No valid recipients")
        _ = try await client.ask("RSET")
        try await Task.sleep(for: .milliseconds(250))
        _ = try await client.ask("MAIL FROM:<a@example.com>")
        #expect(try await client.ask("RCPT TO:<b@example.org>") == "250 2.1.5 Ok")
        _ = try await client.ask("DATA")
        _ = try await client.ask(".dot first\r\n.")
        let content = try #require(backend.record.messages.first?.content)
        #expect(content.hasPrefix("X-Greylist: delayed "))
        #expect(content.hasSuffix(" mx.example.org\r\ndot first\r\n"), "\(content)")
        await test.stop()
    }

    /// A line that begins with white space goes on with the field before it (RFC 5322 §2.2.3): a client that begins with one would
    /// write on in ours, which others believe.
    @Test(arguments: [" ", "\t", "\r", ".. ", "x"])
    func contentNeverGoesOnWithAFieldOfOurs(first: String) async throws {
        let backend = try ScriptedBackend()
        var findings = FixedEvidence.clean.findings
        findings.spfField = "Authentication-Results: mx.example.org; spf=pass smtp.mailfrom=example.com"
        let test = try await TestGateway(
            [backend.address], evidence: FixedEvidence(findings: findings),
            engine: {
                $0.looksUp = true
                $0.spfHeader = .authenticationResults
            })
        let client = try await test.greeted()
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
        #expect(try await client.replies(3).last??.prefix(3) == "354")
        // The first octet by itself.
        client.send(first)
        try await Task.sleep(for: .milliseconds(30))
        #expect(try await client.ask(";dkim=pass header.d=bank.example\r\n\r\ntext\r\n.")?.prefix(3) == "250")
        let content = try #require(backend.record.messages.first?.content)
        let folds = first.first == " " || first.first == "\t" || first.first == "\r"
        let sent = first == "\r" ? " " : first
        #expect(content.hasPrefix("Authentication-Results: "), "\(content)")
        #expect(content.hasSuffix("\r\n\(folds ? "\r\n" : "")\(sent);dkim=pass header.d=bank.example\r\n\r\ntext\r\n"), "\(content)")
        // And one without any content at all has them.
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
        #expect(try await client.replies(3).last??.prefix(3) == "354")
        #expect(try await client.ask(".")?.prefix(3) == "250")
        #expect(backend.record.messages.last?.content.hasPrefix("Authentication-Results: ") == true)
        await test.stop()
    }

    /// RFC 2034 §4: whoever offers it gives a code with each reply, and the backend's go on as they are.
    @Test func codesAreOfferedWhereTheBackendGivesThem() async throws {
        var script = ScriptedBackend.Script()
        script.extensions.removeAll { $0 == "ENHANCEDSTATUSCODES" }
        let backend = try ScriptedBackend(script)
        let test = try await TestGateway([backend.address])
        let client = try await test.client()
        _ = try await client.reply()
        let hello = try #require(try await client.ask("EHLO client.example"))
        #expect(hello.contains("SMTPUTF8") && !hello.contains("ENHANCEDSTATUSCODES"), "\(hello)")
        await test.stop()
    }

    @Test func fieldsOfOursStandAheadOfTheContent() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway(
            [backend.address], evidence: FixedEvidence.clean,
            engine: { $0.putsBothFields() })
        let client = try await test.greeted()
        _ = try await client.ask("MAIL FROM:<a@example.com>")
        #expect(try await client.ask("RCPT TO:<b@example.org>")?.hasPrefix("451") == true)
        try await Task.sleep(for: .milliseconds(150))
        for _ in 0..<2 {
            #expect(try await client.ask("RCPT TO:<b@example.org>") == "250 2.1.5 Ok")
            _ = try await client.ask("DATA")
            _ = try await client.ask("Subject: x\r\n\r\ntext\r\n.")
            _ = try await client.ask("MAIL FROM:<a@example.com>")
        }
        let fields = backend.record.messages.map { $0.content.split(separator: "\r\n").map { $0.prefix(12) } }
        #expect(fields == [["Received-SPF", "X-Greylist: ", "Subject: x", "text"], ["Received-SPF", "Subject: x", "text"]])
        await test.stop()
    }

    @Test func aNullSenderIsDeferredInReplyToData() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway(
            [backend.address],
            engine: {
                $0.greylist.mode = .on
                $0.greylist.delay = .seconds(600)
            })
        let client = try await test.greeted()
        _ = try await client.ask("MAIL FROM:<>")
        #expect(try await client.ask("RCPT TO:<b@example.org>") == "250 2.1.5 Ok")
        #expect(try await client.ask("DATA")?.hasPrefix("451 4.7.1 Greylisted") == true)
        _ = try await client.ask("RSET")
        _ = try await client.ask("MAIL FROM:<>")
        #expect(try await client.ask("RCPT TO:<b@example.org>") == "250 2.1.5 Ok")
        client.send("BDAT 4 LAST\r\nab\r\n")
        #expect(try await client.reply()?.hasPrefix("451 4.7.1 Greylisted") == true)
        #expect(try await client.ask("NOOP") == "250 2.0.0 Ok")
        #expect(backend.record.messages.isEmpty)
        await test.stop()
    }

    @Test func chunksGoOnAsData() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address])
        let client = try await test.greeted()
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nBDAT 7\r\n.one\r\n.BDAT 5 LAST\r\ntwo\r\n")
        #expect(try await client.replies(4).map { $0?.prefix(3) } == ["250", "250", "250", "250"])
        #expect(backend.record.messages.first?.content == "..one\r\n..two\r\n")
        await test.stop()
    }

    @Test(arguments: [200_000, 5_000_000])
    func aLargeMessageComesWhole(size: Int) async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address])
        let client = try await test.greeted()
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
        _ = try await client.replies(3)
        let line = String(repeating: "x", count: 76) + "\r\n"
        let content = String(repeating: line, count: size / line.utf8.count)
        client.send(content)
        client.send(".\r\n")
        #expect(try await client.reply(within: .seconds(30))?.hasPrefix("250 ") == true)
        #expect(backend.record.messages.first?.content.utf8.count == content.utf8.count)
        await test.stop()
    }
}

import Foundation
import IntegrationSupport
import PosternCore
import PosternEngine
import SMTPProtocol
import Testing

@testable import PosternServer

/// Real mail servers behind the gateway.
@Suite("gateway in front of real servers", .serialized, .servers("postfix", "exim4", "opensmtpd", "swaks"))
struct GatewayWithServersTests {
    private let stranger = "127.0.0.9"

    @Test("a message passes plain, pipelined and over STARTTLS, and the server sees the true client", arguments: RealBackend.allCases)
    func passes(kind: RealBackend) async throws {
        let certificate = try await Certificate(hostname: "mx.example.test")
        let folder = try TemporaryFolder("tls")
        try certificate.copy(to: folder, "tls")
        let backend = try await kind.start()
        let gateway = try await GatewayUnderTest(backend: backend.port, kind.information) {
            $0.certificate = .init(chainPath: folder.file("tls/certificate.pem"), keyPath: folder.file("tls/key.pem"))
        }
        let swaks = try Swaks(port: gateway.port)
        for (index, options) in [[], ["--pipeline"], ["--tls"]].enumerated() {
            let outcome = try await swaks.send(source: stranger, body: "number \(index)\n.dot\n..dots\n", extra: options)
            #expect(outcome.accepted, "\(outcome.transcript)\n\(backend.log())")
        }
        let messages = try await backend.mailbox.waitForMessages(3)
        #expect(messages.count == 3)
        for message in messages {
            #expect(message.recipients == ["bob@example.test"])
            #expect(message.returnPath == "alice@sender.test")
            #expect(message.text.contains("\n.dot\n..dots\n"), "\(message.text)")
            let received = message.all("Received").joined(separator: "\n")
            if kind.information != .none { #expect(received.contains("[127.0.0.9]"), "\(received)") }
            #expect(received.contains("mail.sender.test"), "\(received)")
        }
        await gateway.stop()
    }

    @Test("SMTPUTF8, DSN, 8-bit content, BDAT, the null sender and several messages in one session", arguments: RealBackend.allCases)
    func extensions(kind: RealBackend) async throws {
        let backend = try await kind.start()
        let gateway = try await GatewayUnderTest(backend: backend.port, kind.information)
        let dialogue = try await Dialogue.open(port: gateway.port, source: stranger)
        let hello = await dialogue.ask("EHLO mail.sender.test")
        var sent = 0
        func message(_ mail: String, _ rcpt: String, body: String = "x\r\n", chunked: Bool = false) async {
            #expect(await dialogue.ask("MAIL FROM:<alice@sender.test>\(mail)").hasPrefix("250"), "\(mail)")
            #expect(await dialogue.ask("RCPT TO:<bob@example.test>\(rcpt)").hasPrefix("250"), "\(mail) \(rcpt)")
            let content = "Subject: \(sent)\r\n\r\n\(body)"
            if chunked {
                await dialogue.send("BDAT 5\r\nSubje")
                #expect(await dialogue.codes(1) == [250])
                await dialogue.send("BDAT \(content.utf8.count - 5) LAST\r\n\(content.dropFirst(5))")
            } else {
                #expect(await dialogue.ask("DATA").hasPrefix("354"))
                await dialogue.send(content + ".\r\n")
            }
            #expect(await dialogue.codes(1) == [250])
            sent += 1
        }
        await message("", "")
        if hello.contains("8BITMIME") { await message(" BODY=8BITMIME", "", body: "gr\u{fc}n\r\n") }
        if hello.contains("SMTPUTF8") { await message(" SMTPUTF8", "", body: "\u{65e5}\u{672c}\r\n") }
        if hello.contains("DSN") { await message(" RET=HDRS ENVID=abc", " NOTIFY=NEVER ORCPT=rfc822;bob@example.test") }
        await message("", "", body: ".starts with a dot\r\n", chunked: true)
        #expect(await dialogue.ask("MAIL FROM:<>").hasPrefix("250"))
        #expect(await dialogue.ask("RCPT TO:<bob@example.test>").hasPrefix("250"))
        #expect(await dialogue.ask("DATA").hasPrefix("354"))
        await dialogue.send("Subject: bounce\r\n\r\nx\r\n.\r\n")
        #expect(await dialogue.codes(1) == [250])
        #expect(await dialogue.ask("QUIT").hasPrefix("221"))
        let messages = try await backend.mailbox.waitForMessages(sent + 1)
        #expect(messages.contains { ($0.returnPath ?? "").isEmpty && $0["Subject"] == "bounce" })
        if hello.contains("8BITMIME") { #expect(messages.contains { $0.text.contains("gr\u{fc}n") }) }
        #expect(messages.contains { $0.text.contains("\n.starts with a dot\n") || $0.text.hasPrefix(".starts with a dot\n") })
        await gateway.stop()
    }

    @Test("recipients have each their own answer, and unknown ones their 550 before any greylisting", arguments: RealBackend.allCases)
    func mixedRecipients(kind: RealBackend) async throws {
        let backend = try await kind.start(mailboxes: ["bob", "eve"])
        let gateway = try await GatewayUnderTest(backend: backend.port, kind.information)
        let dialogue = try await Dialogue.open(port: gateway.port, source: stranger)
        await dialogue.send("MAIL FROM:<alice@sender.test>\r\n")
        for name in ["bob", "nobody", "eve"] { await dialogue.send("RCPT TO:<\(name)@example.test>\r\n") }
        await dialogue.send("DATA\r\n")
        #expect(await dialogue.codes(5) == [250, 250, 550, 250, 354], "\(backend.log())")
        await dialogue.send("Subject: x\r\n\r\nx\r\n.\r\n")
        #expect(await dialogue.codes(1) == [250])
        _ = try await backend.mailbox.waitForMessages(1)
        await gateway.stop()

        let grey = try await GatewayUnderTest(backend: backend.port, kind.information, engine: { $0.greylist.mode = .on })
        let other = try await Dialogue.open(port: grey.port, source: stranger)
        await other.send("MAIL FROM:<alice@sender.test>\r\nRCPT TO:<nobody@example.test>\r\nRCPT TO:<bob@example.test>\r\n")
        #expect(await other.codes(3) == [250, 550, 451], "\(grey.counters)")
        await grey.stop()
    }

    @Test("a message of 50 MB", arguments: RealBackend.servers)
    func large(kind: RealBackend) async throws {
        let backend = try await kind.start()
        let gateway = try await GatewayUnderTest(backend: backend.port, kind.information)
        let dialogue = try await Dialogue.open(port: gateway.port, source: stranger)
        await dialogue.send("MAIL FROM:<alice@sender.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n")
        #expect(await dialogue.codes(3) == [250, 250, 354])
        await dialogue.send("Subject: large\r\n\r\n")
        let block = String(repeating: String(repeating: "0123456789abcde", count: 4) + "..\r\n", count: 1024)
        for _ in 0..<800 { await dialogue.send(block) }
        await dialogue.send(".\r\n")
        #expect(await dialogue.codes(1) == [250], "\(backend.log().suffix(2000))")
        let message = try #require(try await backend.mailbox.waitForMessages(1).first)
        #expect(message.body.count == 800 * 1024 * 63)
        await gateway.stop()
    }

    @Test(
        "a server that dies gives a transient answer at each stage, and the message passes once it is back", arguments: RealBackend.servers)
    func dies(kind: RealBackend) async throws {
        let backend = try await kind.start()
        let gateway = try await GatewayUnderTest(backend: backend.port, kind.information)
        for stage in 0..<4 {
            let dialogue = try await Dialogue.open(port: gateway.port, source: stranger)
            var codes: [Int] = []
            func step(_ number: Int, _ text: String) async throws {
                if number == stage { try backend.kill() }
                await dialogue.send(text)
                codes += await dialogue.codes(1)
            }
            await dialogue.send("MAIL FROM:<alice@sender.test>\r\n")
            _ = await dialogue.codes(1)
            try await step(0, "RCPT TO:<bob@example.test>\r\n")
            if stage > 0 { try await step(1, "DATA\r\n") }
            if stage > 1 {
                if stage == 2 { try backend.kill() }
                await dialogue.send("Subject: \(stage)\r\n\r\n" + String(repeating: "0123456789\r\n", count: 50_000))
                if stage == 3 { try backend.kill() }
                try await step(9, ".\r\n")
            }
            #expect(codes.last == 451 && !codes.dropLast().contains { $0 >= 400 }, "stage \(stage): \(codes)")
            try await backend.start()
        }
        #expect(try backend.mailbox.count() == 0)
        let outcome = try await Swaks(port: gateway.port).send(source: stranger)
        #expect(outcome.accepted, "\(outcome.transcript)")
        _ = try await backend.mailbox.waitForMessages(1)
        await gateway.stop()
    }

    @Test("a message whose client dies is not delivered", arguments: RealBackend.servers)
    func clientDies(kind: RealBackend) async throws {
        let backend = try await kind.start()
        let gateway = try await GatewayUnderTest(backend: backend.port, kind.information)
        for size in [1, 10_000] {
            let dialogue = try await Dialogue.open(port: gateway.port, source: stranger)
            await dialogue.send("MAIL FROM:<alice@sender.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n")
            #expect(await dialogue.codes(3) == [250, 250, 354])
            await dialogue.send("Subject: half\r\n\r\n" + String(repeating: "0123456789\r\n", count: size))
            await dialogue.close()
        }
        #expect(try await Swaks(port: gateway.port).send(source: stranger).accepted)
        let messages = try await backend.mailbox.waitForMessages(1)
        try await Task.sleep(for: .milliseconds(300))
        #expect(try backend.mailbox.count() == 1 && messages[0]["Subject"] != "half")
        await gateway.stop()
    }

    // MARK: - Safety

    /// What servers have taken for the end of the data, one way or another.
    static let smuggling = [
        "\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\r.\n", "\n.\r", "\r\n\0.\r\n", "\r\n.\0\r\n", "\0\n.\n",
        "\r\n.\r\r\n",
        "\r\r\n.\r\r\n", "\n\n.\r\n", "\r\n. \r\n", "\r\n..\r\n", "\u{85}.\u{85}", "\r\n.\u{b}\r\n",
    ]

    @Test("never two messages where one was sent", arguments: RealBackend.servers, [Framing.normalize, .reject])
    func smuggling(kind: RealBackend, framing: Framing) async throws {
        let backend = try await kind.start()
        let gateway = try await GatewayUnderTest(backend: backend.port, kind.information) { $0.framing = framing }
        var accepted = 0
        for (number, end) in Self.smuggling.enumerated() {
            for split in [false, true] {
                let dialogue = try await Dialogue.open(port: gateway.port, source: stranger)
                await dialogue.send("MAIL FROM:<alice@sender.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n")
                #expect(await dialogue.codes(3) == [250, 250, 354])
                await dialogue.send("Subject: outer \(number)\r\n\r\nouter")
                if split {
                    for octet in end.unicodeScalars {
                        await dialogue.send(String(octet))
                        try await Task.sleep(for: .milliseconds(2))
                    }
                } else {
                    await dialogue.send(end)
                }
                await dialogue.send(
                    "MAIL FROM:<admin@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\nSubject: smuggled\r\n\r\ninner\r\n.\r\nQUIT\r\n"
                )
                let codes = await dialogue.codes(2)
                #expect(codes[0] == 250 || codes[0] == 554, "\(end.debugDescription): \(codes)")
                #expect(codes[1] == 221, "\(end.debugDescription): \(codes)")
                if codes[0] == 250 { accepted += 1 }
            }
        }
        #expect(accepted > 0)
        let messages = try await backend.mailbox.waitForMessages(accepted)
        try await Task.sleep(for: .milliseconds(500))
        #expect(try backend.mailbox.count() == accepted)
        for message in messages {
            #expect(message["Subject"]?.hasPrefix("outer") == true)
            #expect(message.returnPath == "alice@sender.test")
        }
        await gateway.stop()
    }

    @Test(
        "strangers relay nothing through a Postfix that trusts its own host", arguments: [BackendSettings.ClientInformation.xclient, .none])
    func noOpenRelay(information: BackendSettings.ClientInformation) async throws {
        let elsewhere = try await SMTPSink.start()
        // As Debian ships it: `mynetworks` has all of loopback, and Postern connects from there.
        let postfix = try await PostfixServer.start(
            .init(
                clientInformation: information == .xclient ? .xclient : .connection, relayHost: "[127.0.0.1]:\(elsewhere.port)",
                trustedNetworks: ["127.0.0.1/32"]))
        let direct = try await Dialogue.open(port: postfix.port)
        #expect(await direct.ask("MAIL FROM:<alice@sender.test>").hasPrefix("250"))
        #expect(await direct.ask("RCPT TO:<victim@elsewhere.test>").hasPrefix("250"), "without the gateway it relays for its own host")
        let gateway = try await GatewayUnderTest(backend: postfix.port, information)
        let dialogue = try await Dialogue.open(port: gateway.port, source: stranger)
        #expect(await dialogue.ask("MAIL FROM:<alice@sender.test>").hasPrefix("250"))
        for path in [
            "victim@elsewhere.test", "victim%elsewhere.test@example.test", "elsewhere.test!victim@example.test",
            "\"victim@elsewhere.test\"@example.test", "@example.test:victim@elsewhere.test", "victim%elsewhere.test@[127.0.0.1]",
        ] {
            let reply = await dialogue.ask("RCPT TO:<\(path)>")
            #expect(reply.hasPrefix("5"), "\(path): \(reply)")
        }
        #expect(await dialogue.ask("RCPT TO:<bob@example.test>").hasPrefix("250"))
        #expect(await dialogue.ask("DATA").hasPrefix("354"))
        await dialogue.send("x\r\n.\r\n")
        #expect(await dialogue.codes(1) == [250])
        _ = try await postfix.mailbox.waitForMessages(1)
        #expect(elsewhere.counters.messages == 0)
        await gateway.stop()
    }

    @Test("what is too long for one XCLIENT command goes in several, and Postfix takes it all")
    func longIntroduction() async throws {
        let name = Array(repeating: String(repeating: "n", count: 60), count: 4).joined(separator: ".")
        let helo = Array(repeating: String(repeating: "h", count: 60), count: 4).joined(separator: ".")
        let postfix = try await PostfixServer.start(.init(clientInformation: .xclient))
        let gateway = try await GatewayUnderTest(
            backend: postfix.port, .xclient, clientName: { _ in .known(DomainName(name)!) }, engine: { _ in }
        ) {
            // A front that has authenticated somebody.
            $0.xclient = PrefixSet([Prefix(IPAddress(v4: 0x7f00_0001), length: 32)])
        }
        let front = try await Dialogue.open(port: gateway.port)
        let login = String(repeating: "l", count: 100)
        #expect(await front.ask("XCLIENT NAME=\(name) PORT=4321 PROTO=ESMTP").hasPrefix("220"))
        #expect(await front.ask("XCLIENT NAME=\(name) LOGIN=\(login) ADDR=192.0.2.77").hasPrefix("220"))
        #expect(await front.ask("EHLO \(helo)").hasPrefix("250"))
        #expect(await front.ask("MAIL FROM:<alice@sender.test>").hasPrefix("250"))
        #expect(await front.ask("RCPT TO:<bob@example.test>").hasPrefix("250"))
        #expect(await front.ask("DATA").hasPrefix("354"))
        await front.send("Subject: long\r\n\r\nx\r\n.\r\n")
        #expect(await front.codes(1) == [250], "\(postfix.log)")
        let message = try #require(try await postfix.mailbox.waitForMessages(1).first)
        let received = message.all("Received").joined()
        #expect(received.contains("\(helo) (\(name) [192.0.2.77])"), "\(received)")
        #expect(postfix.log.contains("sasl_method=XCLIENT, sasl_username=\(login)"), "\(postfix.log)")
        await gateway.stop()
    }

    @Test("a Postfix that does not let us use XCLIENT is sent nothing")
    func xclientNotAuthorised() async throws {
        let postfix = try await PostfixServer.start(.init(trustedNetworks: ["127.0.0.0/8"]))
        let gateway = try await GatewayUnderTest(backend: postfix.port, .xclient) { $0.probe.isOn = false }
        let dialogue = try await Dialogue.open(port: gateway.port, source: stranger)
        await dialogue.send("MAIL FROM:<alice@sender.test>\r\nRCPT TO:<bob@example.test>\r\n")
        #expect(await dialogue.codes(2) == [250, 451])
        #expect(!postfix.log.contains("alice@sender.test"))
        await gateway.stop()
    }
}

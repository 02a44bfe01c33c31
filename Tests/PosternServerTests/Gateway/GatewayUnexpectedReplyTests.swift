import PosternCore
import PosternEngine
import SMTPProtocol
import Testing

@testable import PosternServer

/// A backend that does not understand what Postern says first, or says more than it was asked.
@Suite(.serialized) struct GatewayUnexpectedReplyTests {
    private static let openings = [
        "220 m\r\n500 5.5.2 bad\r\n", "220 m\r\n500 5.5.2 bad\r\n500 5.5.2 bad\r\n500 5.5.2 bad\r\n",
        "220 m\r\n500 5.5.2 bad\r\n500 5.5.2 bad\r\n500 5.5.2 bad\r\n221 bye\r\n", "220 m\r\n220 m\r\n",
        "554 SMTP synchronization error\r\n", "500 5.5.2 bad\r\n220 m\r\n", "220 m\r\n",
    ]

    @Test(arguments: openings, BackendSettings.ClientInformation.allCases)
    func isNeverAFinalNoToTheClient(opening: String, information: BackendSettings.ClientInformation) async throws {
        var script = ScriptedBackend.Script()
        script.greeting = opening
        script.replies = [("", "500 5.5.2 bad")]
        let backend = try ScriptedBackend(script)
        let test = try await TestGateway([backend.address]) { $0.clientInformation = information }
        for _ in 0..<2 {
            let client = try await test.greeted()
            _ = try await client.ask("MAIL FROM:<a@example.com>")
            for name in ["b", "c"] {
                let answer = try #require(try await client.ask("RCPT TO:<\(name)@example.org>", within: .seconds(20)))
                #expect(answer.hasPrefix("451 "), "\(answer)")
            }
            await client.close()
        }
        try await eventually("the sessions end") { test.counters.sessions == 0 }
        #expect(!backend.record.lines.joined().contains { $0.hasPrefix("RCPT") }, "nothing is forwarded")
        // The log tells it in words.
        #expect(!test.log.lines.contains { $0.contains("(500") || $0.contains("refusedUs") || $0.contains("notUnderstood") })
        if information == .proxyV2, opening.hasPrefix("220 m\r\n500") {
            let line = try #require(test.log.lines.first { $0.hasPrefix("backend does not understand the PROXY header") })
            #expect(line.contains("smtpd_upstream_proxy_protocol") && line.contains("500 5.5.2 bad"))
        }
        await test.stop()
    }

    /// The backend's refusal of the client stands for the session, whatever follows it.
    @Test(arguments: ["", "221 bye\r\n", "500 5.5.2 bad\r\n500 5.5.2 bad\r\n"])
    func aRefusalAnswersEveryRecipient(more: String) async throws {
        var script = ScriptedBackend.Script()
        script.greeting = "220 m\r\n550 5.7.1 go away\r\n\(more)"
        script.replies = [("", "500 5.5.2 bad")]
        let backend = try ScriptedBackend(script)
        let test = try await TestGateway([backend.address])
        let client = try await test.greeted()
        for sender in ["a", "d"] {
            _ = try await client.ask("MAIL FROM:<\(sender)@example.com>")
            for name in ["b", "c"] {
                #expect(try await client.ask("RCPT TO:<\(name)@example.org>", within: .seconds(20)) == "550 5.7.1 go away")
            }
            _ = try await client.ask("RSET")
        }
        await client.close()
        try await eventually("the session ends") { test.counters.sessions == 0 }
        await test.stop()
    }

    @Test func aGreetingIsTheClientsWhereTheBackendIsKnownToReadTheHeader() async throws {
        var script = ScriptedBackend.Script()
        script.readsProxy = true
        script.greeting = "554 not you\r\n"
        let backend = try ScriptedBackend(script)
        let test = try await TestGateway([backend.address]) { $0.clientInformation = .proxyV2 }
        let client = try await test.greeted()
        _ = try await client.ask("MAIL FROM:<a@example.com>")
        #expect(try await client.ask("RCPT TO:<b@example.org>") == "451 4.4.1 Mail system temporarily unavailable")
        #expect(test.log.lines.contains { $0.contains("not known to read") && $0.contains("554 not you") })
        backend.change { $0.greeting = "554 5.7.1 listed\r\n" }
        #expect(try await client.ask("RSET") == "250 2.0.0 Ok")
        _ = try await client.ask("MAIL FROM:<a@example.com>")
        #expect(try await client.ask("RCPT TO:<b@example.org>") == "554 5.7.1 listed", "that is about the client whatever else")
        backend.change { $0.greeting = "220 m\r\n" }
        #expect(try await client.ask("RCPT TO:<b@example.org>") == "250 2.1.5 Ok")
        await client.close()
        backend.change { $0.greeting = "554 not you\r\n" }
        let another = try await test.greeted()
        _ = try await another.ask("MAIL FROM:<a@example.com>")
        #expect(try await another.ask("RCPT TO:<b@example.org>") == "554 not you")
        await test.stop()
    }

    /// XCLIENT_README note 1: a front splits what has no room in one command.
    @Test func severalXclientCommandsAreOneClient() async throws {
        var script = ScriptedBackend.Script()
        script.extensions.append("XCLIENT NAME ADDR PROTO HELO")
        let backend = try ScriptedBackend(script)
        let test = try await TestGateway([backend.address]) { settings in
            settings.clientInformation = .xclient
            settings.xclient = PrefixSet([Prefix("127.0.0.20")!])
        }
        let client = try await test.greeted(source: "127.0.0.20")
        #expect(try await client.ask("XCLIENT NAME=foo.example HELO=helo.example PROTO=ESMTP")?.hasPrefix("220") == true)
        #expect(try await client.ask("XCLIENT ADDR=192.0.2.7")?.hasPrefix("220") == true)
        #expect(try await client.ask("MAIL FROM:<a@example.com>") == "250 2.1.0 Ok", "HELO was told")
        #expect(try await client.ask("RCPT TO:<b@example.org>") == "250 2.1.5 Ok")
        let told = try #require(backend.record.lines.last?.first { $0.hasPrefix("XCLIENT") })
        #expect(told.contains("NAME=foo.example") && told.contains("HELO=helo.example") && told.contains("ADDR=192.0.2.7"), "\(told)")
        // The next client is another, of whom nothing is known but what is told anew.
        _ = try await client.ask("RSET")
        #expect(try await client.ask("XCLIENT ADDR=192.0.2.8")?.hasPrefix("220") == true)
        #expect(try await client.ask("MAIL FROM:<a@example.com>")?.hasPrefix("503") == true)
        _ = try await client.ask("EHLO other.example")
        _ = try await client.ask("MAIL FROM:<a@example.com>")
        #expect(try await client.ask("RCPT TO:<b@example.org>") == "250 2.1.5 Ok")
        let next = try #require(backend.record.lines.joined().first { $0.contains("ADDR=192.0.2.8") })
        #expect(next.contains("NAME=[UNAVAILABLE]"), "\(next)")
        await test.stop()
    }

    @Test func theLogSaysInWordsWhatIsWrong() {
        let reply = Reply(500, "5.5.2", "bad")
        let reasons: [BackendFailure.Reason] = [
            .notConnected("x"), .connectionLost, .timedOut, .nonsense, .refusedUs(reply), .notUnderstood(reply), .closing(reply),
            .clientInformationNotNegotiated, .notLoggedIn, .tlsUnavailable, .handshakeFailed("x"), .plaintextAfterStartTLS, .contentRefused,
        ]
        let words = reasons.map(\.words)
        #expect(Set(words).count == words.count)
        for (reason, words) in zip(reasons, words) {
            #expect(words.contains(" ") && !words.contains("(") && !words.contains("500"), "\(reason)")
        }
    }
}

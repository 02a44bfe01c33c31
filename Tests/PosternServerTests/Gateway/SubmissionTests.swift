import Foundation
import PosternCore
import PosternEngine
import SMTPProtocol
import Testing

@testable import PosternServer

/// Accounts that log in, with a backend that a script plays.
@Suite(.serialized) struct SubmissionTests {
    private static let offers = ["PIPELINING", "SIZE 100000000", "8BITMIME", "XCLIENT NAME ADDR PORT PROTO HELO LOGIN", "AUTH PLAIN LOGIN"]

    /// ann has the password sesame; everybody else, and every other password, is refused.
    private static func script() -> ScriptedBackend.Script {
        var script = ScriptedBackend.Script()
        script.extensions = offers
        script.replies = [
            ("AUTH PLAIN \(base64("\0ann@example.net\0sesame"))", "235 2.7.0 Authentication successful"),
            ("AUTH PLAIN \(base64("\0Ann@Example.Net\0sesame"))", "235 2.7.0 Authentication successful"),
            ("AUTH PLAIN \(base64("\0ann\0sesame"))", "235 2.7.0 Authentication successful"),
            ("AUTH PLAIN", "535 5.7.8 Error: authentication failed: UGFzc3dvcmQ6"),
            ("RCPT TO:<nobody", "550 5.1.1 no such user"),
        ]
        return script
    }

    private static func base64(_ text: String) -> String { Data(text.utf8).base64EncodedString() }

    private static func plain(_ name: String, _ password: String = "sesame") -> String { "AUTH PLAIN \(base64("\0\(name)\0\(password)"))" }

    private let folder: CertificateFolder

    init() throws {
        folder = try CertificateFolder(TestCertificates.one)
    }

    private func gateway(
        _ backends: [ListenAddress], implicit: Bool = false, lists: Lists = Lists(), accounts: (inout AccountSettings) -> Void = { _ in },
        engine: (inout EngineSettings) -> Void = { _ in }, configure: (inout GatewaySettings) -> Void = { _ in }
    ) async throws -> TestGateway {
        try await TestGateway(
            backends, lists: lists,
            engine: {
                $0.accounts.mode = .on
                accounts(&$0.accounts)
                engine(&$0)
            },
            configure: {
                $0.submission = .init(isImplicitlySecured: implicit)
                $0.certificate = folder.certificate
                $0.clientInformation = .xclient
                configure(&$0)
            })
    }

    /// A client that has said EHLO by TLS.
    private func secured(_ test: TestGateway, source: String? = nil) async throws -> SMTPTestClient {
        let client = try await test.greeted(source: source)
        #expect(try await client.ask("STARTTLS") == "220 2.0.0 Ready to start TLS")
        try await client.startTLS()
        let hello = try #require(try await client.ask("EHLO pc.example"))
        #expect(hello.contains("250-AUTH PLAIN LOGIN"))
        return client
    }

    private func loggedIn(_ test: TestGateway, as name: String = "ann@example.net", source: String? = nil) async throws -> SMTPTestClient {
        let client = try await secured(test, source: source)
        #expect(try await client.ask(Self.plain(name)) == "235 2.7.0 Authentication successful")
        return client
    }

    /// The reply to the recipient, or to the message where that was accepted.
    private func send(_ client: SMTPTestClient, to recipient: String = "bob@far.example") async throws -> String {
        #expect(try await client.ask("MAIL FROM:<ann@example.net>")?.hasPrefix("250") == true)
        let answer = try #require(try await client.ask("RCPT TO:<\(recipient)>"))
        guard answer.hasPrefix("250") else {
            _ = try await client.ask("RSET")
            return answer
        }
        #expect(try await client.ask("DATA")?.hasPrefix("354") == true)
        return try await client.ask("Subject: x\r\n\r\nhello\r\n.") ?? "closed"
    }

    private func logIns(_ backend: ScriptedBackend) -> [String] { backend.record.lines.flatMap { $0 }.filter { $0.hasPrefix("AUTH") } }

    // MARK: - Logging in

    @Test func oneConnectionTakesTheLogInAndAllItsMessages() async throws {
        let backend = try ScriptedBackend(Self.script())
        let test = try await gateway([backend.address])
        let client = try await loggedIn(test, source: "127.0.0.9")
        for _ in 0..<3 { #expect(try await send(client) == "250 2.0.0 Ok: queued as 4711") }
        #expect(try await client.ask("QUIT") == "221 2.0.0 Bye")
        try await eventually("the backend is left") { backend.record.open == 0 }
        // The first connection is our own, to learn what is offered.
        #expect(backend.record.connections == 2)
        let lines = backend.record.lines[1]
        let told = try #require(
            lines.firstIndex { $0.hasPrefix("XCLIENT") && $0.contains("ADDR=127.0.0.9") && $0.contains("LOGIN=[UNAVAILABLE]") })
        let given = try #require(lines.firstIndex(of: Self.plain("ann@example.net")))
        let sent = try #require(lines.firstIndex { $0.hasPrefix("MAIL") })
        #expect(told < given && given < sent)
        #expect(lines.last == "QUIT")
        #expect(backend.record.messages.count == 3)
        #expect(test.counters.logIns == 1 && test.counters.messagesAccepted == 3)
        // Neither password nor what it was sent in is written anywhere.
        let written = (test.log.lines + test.lines.lines).joined(separator: "\n")
        #expect(written.contains("msg=log-in") && written.contains("account=ann@example.net"))
        #expect(!written.contains("sesame") && !written.contains(Self.base64("\0ann@example.net\0sesame")))
        await test.stop()
    }

    @Test func tlsComesFirstWhereThatIsWanted() async throws {
        let backend = try ScriptedBackend(Self.script())
        let test = try await gateway([backend.address], implicit: true)
        let client = try await test.client()
        try await client.startTLS()
        #expect(try await client.reply() == "220 mx.example.org ESMTP")
        let hello = try #require(try await client.ask("EHLO pc.example"))
        #expect(hello.contains("AUTH PLAIN LOGIN") && !hello.contains("STARTTLS"))
        #expect(try await client.ask("STARTTLS")?.hasPrefix("503") == true)
        #expect(try await client.ask("AUTH LOGIN") == "334 VXNlcm5hbWU6")
        #expect(try await client.ask(Self.base64("ann@example.net")) == "334 UGFzc3dvcmQ6")
        #expect(try await client.ask(Self.base64("sesame")) == "235 2.7.0 Authentication successful")
        #expect(try await send(client).hasPrefix("250"))
        // One that speaks in clear hears nothing.
        let plain = try await test.client()
        plain.send("EHLO pc.example\r\n")
        try await plain.waitUntilClosed()
        #expect(!plain.pending.text.contains("220"))
        await test.stop()
    }

    @Test func aHandshakeThatDoesNotComeIsNotWaitedForForEver() async throws {
        let backend = try ScriptedBackend(Self.script())
        let test = try await gateway([backend.address], implicit: true, configure: { $0.timeouts.handshake = .milliseconds(200) })
        let client = try await test.client()
        try await client.waitUntilClosed()
        await test.stop()
    }

    @Test func aProxyNamesTheClientBeforeTLS() async throws {
        let backend = try ScriptedBackend(Self.script())
        let test = try await gateway([backend.address], implicit: true, configure: { $0.proxies = PrefixSet([Prefix("127.0.0.0/8")!]) })
        let client = try await test.client()
        client.send("PROXY TCP4 192.0.2.77 192.0.2.1 4711 465\r\n")
        try await client.startTLS()
        #expect(try await client.reply() == "220 mx.example.org ESMTP")
        _ = try await client.ask("EHLO pc.example")
        #expect(try await client.ask(Self.plain("ann@example.net"))?.hasPrefix("235") == true)
        #expect(backend.record.lines.joined().contains { $0.hasPrefix("XCLIENT") && $0.contains("ADDR=192.0.2.77") })
        await test.stop()
    }

    @Test func theBackendsRefusalIsTheClientsAndItMayTryAgain() async throws {
        let backend = try ScriptedBackend(Self.script())
        let test = try await gateway([backend.address])
        let client = try await secured(test)
        #expect(try await client.ask(Self.plain("ann@example.net", "wrong")) == "535 5.7.8 Error: authentication failed: UGFzc3dvcmQ6")
        #expect(try await client.ask("MAIL FROM:<a@example.net>") == "530 5.7.0 Authentication required")
        #expect(try await client.ask(Self.plain("ann@example.net"))?.hasPrefix("235") == true)
        #expect(try await send(client).hasPrefix("250"))
        #expect(backend.record.connections == 2 && logIns(backend).count == 2)
        #expect(test.counters.logIns == 1 && test.counters.logInsFailed == 1)
        await test.stop()
    }

    // MARK: - Nothing for strangers

    @Test func whoeverHasNotLoggedInRelaysNothing() async throws {
        let backend = try ScriptedBackend(Self.script())
        let test = try await gateway([backend.address], configure: { $0.clientInformation = .none })
        let clear = try await test.greeted()
        for command in ["MAIL FROM:<a@example.net>", "RCPT TO:<bob@far.example>", "DATA"] {
            #expect(try await clear.ask(command) == "530 5.7.0 Must issue a STARTTLS command first")
        }
        #expect(try await clear.ask(Self.plain("ann@example.net"))?.hasPrefix("538 5.7.11") == true)
        let client = try await secured(test)
        #expect(try await client.ask(Self.plain("ann@example.net", "wrong"))?.hasPrefix("535") == true)
        for command in ["MAIL FROM:<a@example.net>", "RCPT TO:<bob@far.example>", "DATA"] {
            #expect(try await client.ask(command) == "530 5.7.0 Authentication required")
        }
        // Nor with what was put behind a log-in in the same read.
        client.send("\(Self.plain("ann@example.net"))\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<bob@far.example>\r\n")
        #expect(try await client.reply()?.hasPrefix("554") == true)
        try await client.waitUntilClosed()
        #expect(!backend.record.lines.joined().contains { $0.hasPrefix("MAIL") || $0.hasPrefix("RCPT") || $0.hasPrefix("DATA") })
        #expect(backend.record.messages.isEmpty)
        await test.stop()
    }

    @Test func anAccountIsNoStranger() async throws {
        let backend = try ScriptedBackend(Self.script())
        // Greylisting, a blocked address, a greeting that is waited for: none of it is for users.
        let lists = Lists(entries: [ListEntry(.block, .client, Pattern("127.0.0.0/8")!, added: WallTime(seconds: 0))])
        let test = try await gateway(
            [backend.address], lists: lists,
            engine: {
                $0.greylist.mode = .on
                $0.delays.greeting = .fixed(.seconds(20))
            })
        let client = try await loggedIn(test)
        #expect(try await send(client).hasPrefix("250"))
        await test.stop()
    }

    // MARK: - Trouble behind

    @Test func aLostConnectionIsNotMadeAgainWithARememberedPassword() async throws {
        let backend = try ScriptedBackend(Self.script())
        let test = try await gateway([backend.address])
        let client = try await loggedIn(test)
        #expect(try await send(client).hasPrefix("250"))
        backend.change { $0.diesAt = "RCPT" }
        #expect(try await client.ask("MAIL FROM:<ann@example.net>")?.hasPrefix("250") == true)
        #expect(try await client.ask("RCPT TO:<bob@far.example>")?.hasPrefix("451") == true)
        #expect(try await client.ask("RCPT TO:<carol@far.example>")?.hasPrefix("451") == true)
        #expect(try await client.ask("RSET") == "250 2.0.0 Ok")
        #expect(try await client.ask("MAIL FROM:<ann@example.net>") == "421 4.4.2 Mail system connection lost, please log in again")
        try await client.waitUntilClosed()
        #expect(logIns(backend).count == 1)
        await test.stop()
    }

    @Test func contentWithoutItsEndIsNeverAnswered250() async throws {
        let backend = try ScriptedBackend(Self.script())
        let test = try await gateway([backend.address])
        let client = try await loggedIn(test)
        backend.change { $0.diesAt = "." }
        #expect(try await send(client).hasPrefix("451"))
        #expect(try await client.ask("MAIL FROM:<ann@example.net>")?.hasPrefix("421") == true)
        #expect(test.counters.messagesAccepted == 0)
        await test.stop()
    }

    @Test func anIdleClientIsToldThatItsConnectionIsGone() async throws {
        var script = Self.script()
        script.replies.append((start: "RCPT TO:<bye", reply: "421 4.3.2 Shutting down"))
        let backend = try ScriptedBackend(script)
        let test = try await gateway([backend.address])
        let client = try await loggedIn(test)
        #expect(try await client.ask("MAIL FROM:<ann@example.net>")?.hasPrefix("250") == true)
        #expect(try await client.ask("RCPT TO:<bye@far.example>")?.hasPrefix("451") == true)
        #expect(try await client.ask("RSET") == "250 2.0.0 Ok")
        #expect(try await client.reply()?.hasPrefix("421 4.4.2") == true)
        try await client.waitUntilClosed()
        await test.stop()
    }

    @Test func messagesThatFramingRefusesEndTheLogInToo() async throws {
        let backend = try ScriptedBackend(Self.script())
        let test = try await gateway([backend.address], configure: { $0.framing = .reject })
        let client = try await loggedIn(test)
        _ = try await client.ask("MAIL FROM:<ann@example.net>")
        _ = try await client.ask("RCPT TO:<bob@far.example>")
        _ = try await client.ask("DATA")
        #expect(try await client.ask("Subject: x\r\n\r\na\nb\r\n.")?.hasPrefix("5") == true)
        // What was under way at the backend had no end, so that its connection is closed.
        #expect(try await client.reply()?.hasPrefix("421 4.4.2") == true)
        #expect(backend.record.messages.isEmpty)
        await test.stop()
    }

    @Test func theNextBackendIsTriedWhileNobodyHasHeardThePassword() async throws {
        let backend = try ScriptedBackend(Self.script())
        let gone = try ScriptedBackend()
        gone.stop()
        let test = try await gateway([gone.address, backend.address], configure: { $0.connectTimeout = .seconds(1) })
        for _ in 0..<4 {
            let client = try await loggedIn(test)
            #expect(try await send(client).hasPrefix("250"))
            await client.close()
        }
        await test.stop()
    }

    @Test func withoutABackendTheClientIsToldToComeAgain() async throws {
        let gone = try ScriptedBackend()
        gone.stop()
        let test = try await gateway([gone.address])
        let client = try await secured(test)
        #expect(try await client.ask(Self.plain("ann@example.net")) == "454 4.7.0 Temporary authentication failure")
        #expect(test.counters.logInsUnanswered == 1 && test.counters.logInsFailed == 0)
        await test.stop()
    }

    @Test func aBackendWithoutAUTHIsTheAdminsBusiness() async throws {
        let backend = try ScriptedBackend()
        backend.change { $0.extensions = ["XCLIENT ADDR"] }
        let test = try await gateway([backend.address])
        let client = try await secured(test)
        #expect(try await client.ask(Self.plain("ann@example.net")) == "454 4.7.0 Temporary authentication failure")
        #expect(test.log.lines.contains { $0.contains("offers neither AUTH PLAIN nor LOGIN") && $0.contains("smtpd_sasl_auth_enable") })
        #expect(logIns(backend).isEmpty)
        await test.stop()
    }

    @Test func aBackendThatDoesNotLetUsNameTheClientHearsNoPassword() async throws {
        let backend = try ScriptedBackend(Self.script())
        backend.change { $0.extensions = ["AUTH PLAIN"] }
        let test = try await gateway([backend.address])
        let client = try await secured(test)
        #expect(try await client.ask(Self.plain("ann@example.net")) == "454 4.7.0 Temporary authentication failure")
        #expect(logIns(backend).isEmpty)
        #expect(test.log.lines.contains { $0.contains("smtpd_authorized_xclient_hosts") })
        await test.stop()
    }

    @Test func aSessionUnderWayEndsWellWhenTheGatewayStops() async throws {
        let backend = try ScriptedBackend(Self.script())
        let test = try await gateway([backend.address])
        let client = try await loggedIn(test)
        backend.change { $0.slowAt = (".", 300) }
        async let answer = send(client)
        try await eventually("content is on its way") { backend.record.lines.joined().contains("DATA") }
        await test.listener.drain(patience: .seconds(5))
        #expect(try await answer == "250 2.0.0 Ok: queued as 4711")
        await test.stop()
    }

    // MARK: - Limits

    @Test func guessingEndsForTheAccountAndForTheAddress() async throws {
        let backend = try ScriptedBackend(Self.script())
        let test = try await gateway(
            [backend.address],
            accounts: { $0.limits = [Limit(.account, .failures, 3, per: .hours(1)), Limit(.address, .failures, 4, per: .hours(1))] })
        for _ in 0..<3 {
            let client = try await secured(test, source: "127.0.0.9")
            #expect(try await client.ask(Self.plain("ann@example.net", "guess"))?.hasPrefix("535") == true)
            await client.close()
        }
        // Not even the right password is handed on, from anywhere, however the name is written.
        let asked = logIns(backend).count
        let other = try await secured(test, source: "127.0.0.10")
        #expect(try await other.ask(Self.plain("Ann@Example.Net"))?.hasPrefix("454 4.7.0 Too many failed log-ins for this account") == true)
        // And soon the address has had its turn whichever account it tries.
        let client = try await secured(test, source: "127.0.0.9")
        #expect(try await client.ask(Self.plain("bob@example.net", "guess"))?.hasPrefix("535") == true)
        #expect(
            try await client.ask(Self.plain("carol@example.net", "guess"))?.hasPrefix("421 4.7.0 Too many failed log-ins from your address")
                == true)
        try await client.waitUntilClosed()
        #expect(logIns(backend).count == asked + 1)
        #expect(test.counters.logInsRefused == 2)
        await test.stop()
    }

    @Test func shadowCountsFailuresAndShutsNobodyOut() async throws {
        let backend = try ScriptedBackend(Self.script())
        let test = try await gateway(
            [backend.address],
            accounts: {
                $0.mode = .shadow
                $0.limits = [Limit(.account, .failures, 1, per: .hours(1)), Limit(.account, .messages, 1, per: .hours(1))]
            })
        let client = try await secured(test)
        for _ in 0..<2 { #expect(try await client.ask(Self.plain("ann@example.net", "guess"))?.hasPrefix("535") == true) }
        #expect(try await client.ask(Self.plain("ann@example.net"))?.hasPrefix("235") == true)
        for _ in 0..<3 { #expect(try await send(client).hasPrefix("250")) }
        await test.stop()
    }

    @Test func whatTheBackendTookIsChargedAndPastTheLimitTheUserIsToldFor() async throws {
        let backend = try ScriptedBackend(Self.script())
        let test = try await gateway(
            [backend.address],
            accounts: {
                $0.limits = [Limit(.account, .messages, 2, per: .hours(1))]
                // Which a listener of ours cannot.
                $0.action = .hold
            })
        let client = try await loggedIn(test, as: "Ann@Example.Net")
        #expect(try await send(client).hasPrefix("250"))
        // Refused by the backend, so not charged.
        backend.change { $0.final = "552 5.3.4 too large" }
        #expect(try await send(client).hasPrefix("552"))
        backend.change { $0.final = "250 2.0.0 Ok" }
        #expect(try await send(client).hasPrefix("250"))
        let refused = try await send(client)
        #expect(refused.hasPrefix("554 5.7.1 Not sent: your account may send 2 messages within 1h"))
        await client.close()
        // One account, however it is written.
        let again = try await loggedIn(test)
        #expect(try await send(again).hasPrefix("554 5.7.1"))
        #expect(backend.record.messages.count == 3)
        await test.stop()
    }

    @Test func recipientsThatTheBackendRefusesAreNoneOfTheMessages() async throws {
        let backend = try ScriptedBackend(Self.script())
        let test = try await gateway(
            [backend.address],
            accounts: {
                $0.limits = [Limit(.account, .recipients, 5, per: .hours(1))]
                $0.suspend = []
            })
        let client = try await loggedIn(test)
        #expect(try await client.ask("MAIL FROM:<ann@example.net>")?.hasPrefix("250") == true)
        for number in 0..<6 { #expect(try await client.ask("RCPT TO:<nobody\(number)@far.example>") == "550 5.1.1 no such user") }
        for number in 0..<5 { #expect(try await client.ask("RCPT TO:<bob\(number)@far.example>")?.hasPrefix("250") == true) }
        #expect(try await client.ask("RCPT TO:<bob@far.example>")?.hasPrefix("554") == true)
        await client.close()
        await test.stop()
    }

    @Test func guessedRecipientsSuspendAnAccountUntilItIsReleased() async throws {
        let backend = try ScriptedBackend(Self.script())
        let test = try await gateway(
            [backend.address], accounts: { $0.suspend = [Limit(.account, .refusals, 3, per: .hours(1))] },
            configure: { $0.submission?.loginDomain = DomainName("example.net") })
        let client = try await loggedIn(test, as: "ann")
        for number in 0..<4 { #expect(try await send(client, to: "nobody\(number)@far.example") == "550 5.1.1 no such user") }
        #expect(test.decisions.limits?.suspensionsInForce.map(\.account) == ["ann@example.net"])
        #expect(try await send(client).hasPrefix("554 5.7.1 This account is suspended"))
        await client.close()
        // It may log in, so that its mail program tells the user why, and does not ask for another password.
        let again = try await loggedIn(test, as: "ann@example.net")
        #expect(try await send(again).hasPrefix("554 5.7.1 This account is suspended"))
        #expect(backend.record.messages.isEmpty)
        #expect(test.decisions.limits?.release("ann@example.net", now: test.decisions.steadyTime) == true)
        #expect(try await send(again).hasPrefix("250"))
        await test.stop()
    }

    @Test func exemptAccountsAreNotCounted() async throws {
        let backend = try ScriptedBackend(Self.script())
        let test = try await gateway(
            [backend.address],
            accounts: {
                $0.exempt = ["ann@example.net"]
                $0.limits = [Limit(.account, .messages, 1, per: .hours(1)), Limit(.account, .failures, 1, per: .hours(1))]
                $0.suspend = [Limit(.account, .refusals, 1, per: .hours(1))]
            })
        let client = try await secured(test)
        for _ in 0..<2 { #expect(try await client.ask(Self.plain("ann@example.net", "guess"))?.hasPrefix("535") == true) }
        #expect(try await client.ask(Self.plain("ann@example.net"))?.hasPrefix("235") == true)
        for _ in 0..<2 { #expect(try await send(client, to: "nobody@far.example").hasPrefix("550")) }
        for _ in 0..<3 { #expect(try await send(client).hasPrefix("250")) }
        await test.stop()
    }

    @Test func aFrontMayNameTheClientButNotItsAccount() async throws {
        let backend = try ScriptedBackend(Self.script())
        let test = try await gateway([backend.address], configure: { $0.xclient = PrefixSet([Prefix("127.0.0.0/8")!]) })
        let client = try await secured(test)
        #expect(try await client.ask("XCLIENT ADDR=192.0.2.77 LOGIN=ann@example.net")?.hasPrefix("220") == true)
        _ = try await client.ask("EHLO pc.example")
        #expect(try await client.ask("MAIL FROM:<a@example.net>")?.hasPrefix("530") == true)
        #expect(try await client.ask(Self.plain("ann@example.net"))?.hasPrefix("235") == true)
        #expect(try await send(client).hasPrefix("250"))
        // And whoever comes next in the same connection has not logged in.
        #expect(try await client.ask("XCLIENT ADDR=192.0.2.78")?.hasPrefix("220") == true)
        _ = try await client.ask("EHLO pc.example")
        #expect(try await client.ask("MAIL FROM:<a@example.net>")?.hasPrefix("530") == true)
        await test.stop()
    }

    @Test func itDoesNotStartWithoutACertificate() throws {
        var changed = GatewaySettings(hostname: "mx.example.org", backends: [.tcp(IPAddress("127.0.0.1")!, port: 1)])
        changed.submission = .init()
        let settings = changed
        #expect(throws: GatewaySettingsError.certificateRequired) { try settings.validate() }
    }
}

import Foundation
import IntegrationSupport
import Testing

/// `postern serve` where users log in, in front of real mail servers that alone know their passwords.
@Suite("submission with Postfix and Exim", .serialized, .servers("postfix", "dovecot", "exim4", "swaks"))
struct SubmissionWithServersTests {
    private static let users = ["ann@example.test": "sesame", "bob@example.test": "open"]

    /// Postern's two doors, for STARTTLS and for TLS from the start, and the Postfix behind.
    private struct Site {
        let postfix: PostfixServer
        let sink: SMTPSink
        let postern: PosternProcess
        let starttls: Swaks
        let implicit: Swaks
        let folder: TemporaryFolder
    }

    /// Who knows the passwords of Postfix's users.
    enum Passwords: String, CaseIterable, CustomTestStringConvertible {
        /// Its own database, by Cyrus SASL.
        case sasldb
        case dovecot

        var testDescription: String { rawValue }
    }

    private func site(_ lines: String, backendTLS: Bool = false, dovecot: DovecotServer? = nil) async throws -> Site {
        let certificate = try await Certificate(hostname: "mx.example.test")
        let folder = try TemporaryFolder("submission")
        try certificate.copy(to: folder, "own")
        let sink = try await SMTPSink.start()
        var submission = PostfixConfiguration.Submission(users: dovecot == nil ? Self.users : [:])
        submission.dovecot = dovecot?.port
        let postfix = try await PostfixServer.start(
            .init(
                clientInformation: .xclient, relayHost: "[127.0.0.1]:\(sink.port)", trustedNetworks: [],
                submission: submission, certificate: backendTLS ? certificate : nil))
        let behind = try #require(postfix.submissionPort)
        let (clear, secured) = (try FreePort.next(), try FreePort.next())
        let both =
            "backend: \"127.0.0.1:\(behind)\", backend_tls: \(backendTLS ? "required" : "never"), tls_certificate: \(folder.file("own/certificate.pem")), tls_key: \(folder.file("own/key.pem"))"
        let postern = try PosternProcess(
            lines,
            further: [
                "{ name: submission, role: submission, address: \"127.0.0.1:\(clear)\", \(both) }",
                "{ name: submissions, role: submission, tls: implicit, address: \"127.0.0.1:\(secured)\", \(both) }",
            ])
        try await postern.start()
        return Site(
            postfix: postfix, sink: sink, postern: postern, starttls: try Swaks(port: clear), implicit: try Swaks(port: secured),
            folder: folder)
    }

    private func credentials(_ user: String, _ password: String, _ mechanism: String = "PLAIN") -> [String] {
        ["--auth", mechanism, "--auth-user", user, "--auth-password", password]
    }

    @Test(
        "swaks logs in and sends to far away, by STARTTLS and by TLS from the start, with PLAIN and LOGIN; nobody else does",
        arguments: Passwords.allCases)
    func logsIn(passwords: Passwords) async throws {
        let dovecot = passwords == .dovecot ? try await DovecotServer.start(users: Self.users) : nil
        let site = try await site("accounts: { mode: on }", backendTLS: passwords == .dovecot, dovecot: dovecot)
        var sent = 0
        for (swaks, tls) in [(site.starttls, "--tls"), (site.implicit, "--tlsc")] {
            for mechanism in ["PLAIN", "LOGIN"] {
                let outcome = try await swaks.send(
                    from: "ann@example.test", to: ["x@far.test"], source: "127.0.0.9",
                    extra: [tls] + credentials("ann@example.test", "sesame", mechanism))
                #expect(outcome.accepted, "\(outcome.transcript)\n\(site.postern.log)\n\(site.postfix.log)")
                sent += 1
            }
            let wrong = try await swaks.send(
                to: ["x@far.test"], source: "127.0.0.66", extra: [tls] + credentials("ann@example.test", "guess"))
            #expect(wrong.transcript.contains("535 5.7.8 Error: authentication failed"), "\(wrong.transcript)")
            #expect(!wrong.accepted)
            // Neither to far away nor to Postfix's own mailboxes.
            for recipient in ["x@far.test", "bob@example.test"] {
                let stranger = try await swaks.send(to: [recipient], extra: [tls])
                #expect(stranger.reply(to: "MAIL")?.code == 530, "\(stranger.transcript)")
            }
        }
        let clear = try await site.starttls.send(
            to: ["x@far.test"], extra: ["--auth", "PLAIN", "--auth-user", "ann@example.test", "--auth-password", "sesame"])
        #expect(!clear.accepted && !clear.transcript.contains("~>"), "\(clear.transcript)")
        try await waitUntil("all are relayed") { site.sink.counters.messages >= sent }
        #expect(site.sink.counters.messages == sent)
        // Postfix knows the users' addresses, and by itself who they are.
        #expect(site.postfix.log.contains("client=unknown[127.0.0.9]"), "\(site.postfix.log)")
        #expect(site.postfix.log.contains("sasl_method=PLAIN, sasl_username=ann@example.test"))
        // Who guesses is told by its own address to whoever blocks such addresses.
        if let dovecot { #expect(dovecot.log.contains("(ann@example.test,127.0.0.66): Password mismatch"), "\(dovecot.log)") }
        #expect(try site.postfix.mailbox.count() == 0)
        #expect(!site.postern.log.contains("sesame") && !site.postern.log.contains("guess"))
        try await site.postern.stop()
    }

    @Test("Exim behind, by PROXY and TLS, and with LOGIN alone", arguments: [["PLAIN", "LOGIN"], ["LOGIN"]])
    func exim(mechanisms: [String]) async throws {
        let certificate = try await Certificate(hostname: "mx.example.test")
        let folder = try TemporaryFolder("submission")
        try certificate.copy(to: folder, "own")
        let sink = try await SMTPSink.start()
        var configuration = EximConfiguration(
            relay: (address: "127.0.0.1", port: sink.port), trustedNetworks: [], expectsProxyHeader: true, certificate: certificate)
        configuration.users = ["ann": "sesame"]
        configuration.mechanisms = mechanisms
        let exim = try await EximServer.start(configuration)
        let port = try FreePort.next()
        let postern = try PosternProcess(
            "accounts: { mode: on }",
            further: [
                "{ name: submission, role: submission, address: \"127.0.0.1:\(port)\", backend: \"127.0.0.1:\(exim.port)\", backend_client_info: proxy-v2, backend_tls: required, backend_ca: \(folder.file("own/certificate.pem")), tls_certificate: \(folder.file("own/certificate.pem")), tls_key: \(folder.file("own/key.pem")), login_domain: example.test }"
            ])
        try await postern.start()
        let swaks = try Swaks(port: port)
        let sent = try await swaks.send(
            from: "ann@example.test", to: ["x@far.test"], source: "127.0.0.9", extra: ["--tls"] + credentials("ann", "sesame"))
        #expect(sent.accepted, "\(sent.transcript)\n\(postern.log)\n\(exim.log)")
        let wrong = try await swaks.send(to: ["x@far.test"], extra: ["--tls"] + credentials("ann", "guess"))
        #expect(wrong.transcript.contains("535 Incorrect authentication data"), "\(wrong.transcript)")
        try await waitUntil("it is relayed") { sink.counters.messages >= 1 }
        #expect(sink.counters.messages == 1)
        #expect(exim.log.contains("[127.0.0.9]") && exim.log.contains("A=\(mechanisms[0].lowercased()):ann"), "\(exim.log)")
        #expect(postern.log.contains("account=ann@example.test"))
        try await postern.stop()
    }

    @Test("an account past its limit is told 554, a suspended one 554 until it is released, and whoever guesses is shut out")
    func limits() async throws {
        let site = try await site(
            """
            accounts:
              mode: on
              limits: ["account messages 3/1h", "account failures 20/1h", "address failures 20/1h"]
              suspend: ["account new-recipients 8/1h"]
            """)
        func send(_ user: String, _ password: String, to recipients: [String], source: String = "127.0.0.9") async throws -> Swaks.Outcome {
            try await site.starttls.send(
                from: user, to: recipients, source: source, extra: ["--tls"] + credentials(user, password))
        }
        for number in 0..<3 {
            let outcome = try await send("ann@example.test", "sesame", to: ["x\(number)@far.test"])
            #expect(outcome.accepted, "\(outcome.transcript)\n\(site.postern.log)")
        }
        let limited = try await send("ann@example.test", "sesame", to: ["x3@far.test"])
        #expect(limited.reply(to: "RCPT")?.reply.first?.contains("554 5.7.1 Not sent: your account may send 3 messages within 1h") == true)

        // Many whom bob has never written to.
        let burst = try await send("bob@example.test", "open", to: (0..<12).map { "y\($0)@far.test" })
        #expect(burst.transcript.contains("554 5.7.1 This account is suspended"), "\(burst.transcript)\n\(site.postern.log)")
        try await waitUntil("the suspension is told") { site.postern.log.contains("suspended") }
        let list = try await site.postern.verb("account", "list")
        #expect(list.output.contains("\nbob@example.test "), "\(list.output)")
        let stopped = try await send("bob@example.test", "open", to: ["z@far.test"])
        #expect(stopped.transcript.contains("235 ") && stopped.reply(to: "RCPT")?.code == 554, "\(stopped.transcript)")
        #expect(try await site.postern.verb("account", "release", "bob@example.test").output.contains("released"))
        #expect(try await send("bob@example.test", "open", to: ["z@far.test"]).accepted)

        // Twenty guesses, and then not even the right password; but the owner is where it has sent from before.
        for number in 0..<20 {
            let dialogue = try await send("bob@example.test", "guess\(number)", to: ["x@far.test"], source: "127.1.0.\(number + 1)")
            #expect(dialogue.transcript.contains("535 5.7.8"), "\(number): \(dialogue.transcript)")
        }
        let shut = try await send("bob@example.test", "open", to: ["x@far.test"], source: "127.2.0.1")
        #expect(shut.transcript.contains("454 4.7.0 Too many failed log-ins for this account") && !shut.accepted, "\(shut.transcript)")
        let owner = try await send("bob@example.test", "open", to: ["z@far.test"])
        #expect(owner.transcript.contains("235 "), "\(owner.transcript)")
        let status = try await site.postern.verb("status", "--json")
        #expect(status.output.contains("\"log_ins\""), "\(status.output)")
        try await site.postern.stop()
    }

    @Test("while Postfix is killed and started again, what was answered 250 is delivered, and all else is to come again")
    func nothingLost() async throws {
        let site = try await site("accounts: { mode: on, limits: [\"account messages 1000/1h\"] }")
        let (users, each) = (3, 14)
        let accepted = try await withThrowingTaskGroup(of: [Int].self) { group in
            for user in 0..<users {
                group.addTask {
                    var accepted: [Int] = []
                    for number in user * each..<(user + 1) * each {
                        let outcome = try await site.starttls.send(
                            from: "ann@example.test", to: ["bob@example.test"], headers: ["X-Number: \(number)"],
                            extra: ["--tls"] + credentials("ann@example.test", "sesame"))
                        if outcome.reply(to: ".")?.code == 250 { accepted.append(number) }
                        // Nobody is told that a password is wrong, or a message, because Postfix is away.
                        #expect(!outcome.exchanges.contains { $0.code >= 500 }, "\(number): \(outcome.transcript)")
                        if !outcome.accepted {
                            #expect(outcome.exchanges.contains { (400...499).contains($0.code) }, "\(number): \(outcome.transcript)")
                        }
                    }
                    return accepted
                }
            }
            for _ in 0..<2 {
                try await Task.sleep(for: .seconds(1))
                try site.postfix.kill()
                try await Task.sleep(for: .seconds(1))
                try await site.postfix.start()
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
        #expect(!accepted.isEmpty && accepted.count < users * each, "the kills fell between messages, or all of them: \(accepted)")
        let delivered = try await site.postfix.mailbox.waitForMessages(accepted.count, within: .seconds(60))
        let numbers = Set(delivered.compactMap { $0["X-Number"].flatMap { Int($0) } })
        #expect(numbers.isSuperset(of: accepted), "lost: \(Set(accepted).subtracting(numbers))")
        try await site.postern.stop()
    }
}

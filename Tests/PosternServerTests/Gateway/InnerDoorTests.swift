import Glibc
import NIOCore
import PosternControl
import PosternCore
import PosternEngine
import SMTPProtocol
import Testing

@testable import PosternServer

/// The real mail server behind a throttle.
@Suite struct InnerDoorTests {
    private let limits = Strangers.Limits(deferrals: 2, refusals: 1, silence: 1000, capacity: 3)

    @Test func strangersArePutOffThenRefusedThenNotAnswered() {
        var strangers = Strangers()
        let one = IPAddress("192.0.2.1")!
        var kinds: [Strangers.Reception] = []
        for time in 0..<6 { kinds.append(strangers.came(one, now: Int64(time) * 10, limits)) }
        #expect(kinds == [.deferred, .deferred, .busy, .unanswered, .unanswered, .unanswered])
        // The silence began with the fourth, and knocking does not lengthen it.
        #expect(strangers.came(one, now: 1029, limits) == .unanswered)
        #expect(strangers.came(one, now: 1030, limits) == .deferred)
        // Another is another; one of the same /64 is not.
        #expect(strangers.came(IPAddress("2001:db8::1")!, now: 0, limits) == .deferred)
        #expect(strangers.came(IPAddress("2001:db8::2")!, now: 0, limits) == .deferred)
        #expect(strangers.came(IPAddress("2001:db8::3")!, now: 0, limits) == .busy)
        #expect(strangers.came(IPAddress("2001:db8:0:1::1")!, now: 0, limits) == .deferred)
    }

    @Test func whoComesSeldomIsAlwaysToldWhatToDo() {
        var strangers = Strangers()
        for day in 0..<50 { #expect(strangers.came(IPAddress(v4: 1), now: Int64(day) * 1001, limits) == .deferred) }
    }

    @Test func strangersAreBounded() {
        var strangers = Strangers()
        for number in 0..<1000 {
            _ = strangers.came(IPAddress(v4: UInt32(number)), now: 0, limits)
            #expect(strangers.count <= 3)
        }
        // The one who came first is forgotten, the last are not.
        #expect(strangers.came(IPAddress(v4: 999), now: 1, limits) == .deferred)
        #expect(strangers.came(IPAddress(v4: 999), now: 2, limits) == .busy)
        #expect(strangers.came(IPAddress(v4: 1), now: 3, limits) == .deferred)
    }

    // MARK: - Sessions

    private func inner(_ checked: [ListenAddress], silence: Int64 = 60_000) -> InnerDoor.Settings {
        var inner = InnerDoor.Settings()
        inner.nodes = PrefixSet([Prefix("127.0.0.20")!])
        inner.checked = checked
        inner.checkInterval = .milliseconds(50)
        inner.advice = "Try the others"
        inner.limits = .init(deferrals: 2, refusals: 1, silence: silence, capacity: 100)
        return inner
    }

    private func door(
        _ backend: ScriptedBackend, checked: [ListenAddress] = [], silence: Int64 = 60_000,
        engine: (inout EngineSettings) -> Void = { _ in }, configure: (inout GatewaySettings) -> Void = { _ in }
    ) async throws -> TestGateway {
        try await TestGateway([backend.address], engine: engine) { settings in
            settings.inner = inner(checked, silence: silence)
            settings.xclient = PrefixSet([Prefix("127.0.0.20")!])
            configure(&settings)
        }
    }

    /// The answer to RCPT, or what came in its place.
    private func knock(
        _ test: TestGateway, _ source: String, to recipient: String = "b@example.org", from sender: String = "a@example.com"
    ) async throws -> String {
        let client = try await test.client(source: source)
        var answer = try await client.reply() ?? "closed"
        for command in ["EHLO client.example", "MAIL FROM:<\(sender)>", "RCPT TO:<\(recipient)>"] where answer.hasPrefix("2") {
            answer = try await client.ask(command) ?? "closed"
        }
        await client.close()
        return answer
    }

    @Test func aStrangerNeverHearsAFinalNo() async throws {
        let backend = try ScriptedBackend()
        let test = try await door(backend, silence: 3000)
        #expect(try await knock(test, "127.0.0.9") == "450 4.7.1 Try the others")
        #expect(try await knock(test, "127.0.0.9", to: "nobody@elsewhere.example") == "450 4.7.1 Try the others")
        #expect(try await knock(test, "127.0.0.9") == "421 4.7.0 Try the others")
        #expect(try await knock(test, "127.0.0.9") == "closed")
        #expect(try await knock(test, "127.0.0.9") == "closed")
        #expect(try await knock(test, "127.0.0.10") == "450 4.7.1 Try the others", "another stranger")
        try await Task.sleep(for: .milliseconds(3100))
        #expect(try await knock(test, "127.0.0.9") == "450 4.7.1 Try the others")
        #expect(!backend.record.lines.joined().contains { $0.hasPrefix("MAIL") }, "the backend has heard of none of them")
        let counts = test.counters
        #expect(counts.strangersDeferred == 4 && counts.strangersRefused == 1 && counts.strangersUnanswered == 2)
        await test.stop()
    }

    @Test func whoWritesForATrustedDomainComesInWhereSPFPasses() async throws {
        let backend = try ScriptedBackend()
        func door(_ evidence: FixedEvidence) async throws -> TestGateway {
            try await TestGateway(
                [backend.address], evidence: evidence,
                engine: { settings in
                    settings.looksUp = true
                    settings.trusted.domains = [DomainName("example.com")!]
                    // Everybody else would be greylisted.
                    settings.greylist.mode = .on
                }
            ) { $0.inner = inner([]) }
        }
        let test = try await door(.clean)
        for _ in 0..<5 { #expect(try await knock(test, "127.0.0.9", from: "a@lists.example.com").hasPrefix("250")) }
        #expect(test.counters.strangersDeferred == 0 && test.counters.strangersRefused == 0)
        // Others of the same address are strangers; the third session would be refused at once, but for whom it may be.
        for _ in 0..<2 { #expect(try await knock(test, "127.0.0.9", from: "a@example.net") == "450 4.7.1 Try the others") }
        #expect(try await knock(test, "127.0.0.9").hasPrefix("250"))
        for _ in 0..<2 { #expect(try await knock(test, "127.0.0.9", from: "a@example.net") == "450 4.7.1 Try the others") }
        #expect(try await knock(test, "127.0.0.9", from: "a@example.net") == "421 4.7.0 Try the others")
        #expect(try await knock(test, "127.0.0.9") == "closed")
        let counts = test.counters
        #expect(counts.strangersDeferred == 4 && counts.strangersRefused == 1 && counts.strangersUnanswered == 1)
        // It is the sender that is welcome, not the session.
        let client = try await test.greeted(source: "127.0.0.10")
        for (sender, answer) in [("a@example.com", "250"), ("a@example.net", "450 4.7.1 Try the others"), ("b@example.com", "250")] {
            _ = try await client.ask("MAIL FROM:<\(sender)>")
            for name in ["b", "c"] {
                #expect(try #require(try await client.ask("RCPT TO:<\(name)@example.org>")).hasPrefix(answer), "\(sender)")
            }
            _ = try await client.ask("RSET")
        }
        await client.close()
        await test.stop()
        // Its name alone is no proof.
        let another = try await door(FixedEvidence(findings: Findings()))
        #expect(try await knock(another, "127.0.0.9") == "450 4.7.1 Try the others")
        await another.stop()
    }

    @Test func postmasterCanBeReached() async throws {
        let backend = try ScriptedBackend()
        let test = try await door(backend)
        #expect(try await knock(test, "127.0.0.9", to: "postmaster@example.org").hasPrefix("250"))
        await test.stop()
    }

    /// What the door itself says, that is; the mail server's own word on mail that was let through goes on as it is.
    @Test func nothingThatTheDoorSaysIsFinal() async throws {
        var script = ScriptedBackend.Script()
        script.replies = [("RCPT TO:<abuse@", "550 5.1.1 nobody here")]
        let backend = try ScriptedBackend(script)
        let test = try await door(backend)
        let client = try await test.greeted(source: "127.0.0.9")
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
        #expect(try await client.replies(3) == ["250 2.1.0 Ok", "450 4.7.1 Try the others", "451 4.5.1 No valid recipients"])
        for line in [
            "BDAT 3 LAST\r\nx", "RSET", "RCPT TO:<b@example.org>", "FOO", "MAIL FROM:<a", "MAIL FROM:<\u{e9}@b.example>",
            "MAIL FROM:<a@b.example> SIZE=99999999999", "MAIL FROM:<a@b.example> FOO=1", "DATA", "STARTTLS", "EXPN x", "AUTH PLAIN x",
            "HELO", "DATA x", String(repeating: "x", count: 5000),
        ] {
            let answer = try #require(try await client.ask(line))
            #expect(answer.hasPrefix("451 4.") || answer == "250 2.0.0 Ok", "\(line): \(answer)")
        }
        _ = try await client.ask("MAIL FROM:<a@example.com>")
        #expect(try await client.ask("RCPT TO:<abuse@example.org>") == "550 5.1.1 nobody here")
        await client.close()
        await test.stop()
        // Who is known hears what a gateway says.
        let known = try await door(backend, engine: { $0.networks.local = PrefixSet([Prefix("127.0.0.30")!]) })
        let guest = try await known.greeted(source: "127.0.0.30")
        #expect(try await guest.ask("MAIL FROM:<a@b.example> FOO=1")?.hasPrefix("555 ") == true)
        await known.stop()
    }

    @Test func whoIsKnownComesIn() async throws {
        let backend = try ScriptedBackend()
        let test = try await door(backend, engine: { $0.networks.local = PrefixSet([Prefix("127.0.0.30")!]) })
        for _ in 0..<6 { #expect(try await knock(test, "127.0.0.30").hasPrefix("250")) }
        #expect(test.counters.strangersDeferred == 0)
        await test.stop()
    }

    @Test func aNodeSpeaksForOthersAndIsNotJudgedAgain() async throws {
        var script = ScriptedBackend.Script()
        script.extensions.append("XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT")
        let backend = try ScriptedBackend(script)
        // Everybody would be greylisted.
        let test = try await door(backend, engine: { $0.greylist.mode = .on }) { $0.clientInformation = .xclient }
        let client = try await test.client(source: "127.0.0.20")
        _ = try await client.reply()
        #expect(try await client.ask("EHLO node.throttle.example")?.contains("XCLIENT") == true)
        #expect(try await client.ask("XCLIENT ADDR=198.51.100.77")?.hasPrefix("220") == true)
        _ = try await client.ask("EHLO mail.sender.example")
        #expect(try await client.ask("MAIL FROM:<a@example.com>")?.hasPrefix("250") == true)
        #expect(try await client.ask("RCPT TO:<b@example.org>")?.hasPrefix("250") == true)
        #expect(backend.record.lines.joined().contains { $0.hasPrefix("XCLIENT") && $0.contains("198.51.100.77") })
        await client.close()
        // Nobody else may.
        let stranger = try await test.client(source: "127.0.0.9")
        _ = try await stranger.reply()
        #expect(try await stranger.ask("EHLO x.example")?.contains("XCLIENT") == false)
        #expect(try await stranger.ask("XCLIENT ADDR=127.0.0.20") == "450 4.7.0 Try the others")
        await test.stop()
    }

    /// A throttle's node in front of a door that knows it by its certificate alone.
    private func node(
        _ pair: TestCertificates.Pair, towards door: ListenAddress, _ folder: CertificateFolder
    ) async throws -> TestGateway {
        try folder.write(pair)
        return try await TestGateway([door]) { settings in
            settings.certificate = folder.certificate
            settings.backendTLS.mode = .required
            settings.clientInformation = .xclient
        }
    }

    /// A door that knows nodes by a certificate alone, `known`, and shows `own`.
    private func door(
        _ backend: ScriptedBackend, own: CertificateFolder, known: CertificateFolder, configure: (inout GatewaySettings) -> Void = { _ in }
    ) async throws -> TestGateway {
        try await door(
            backend,
            configure: { settings in
                settings.clientInformation = .xclient
                settings.certificate = own.certificate
                settings.xclient = PrefixSet()
                settings.inner?.nodes = PrefixSet()
                settings.inner?.certificates.paths = [known.path + "/cert.pem"]
                configure(&settings)
            })
    }

    @Test func aNodeIsKnownByItsCertificateAtAnyAddress() async throws {
        var script = ScriptedBackend.Script()
        script.extensions.append("XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT")
        let backend = try ScriptedBackend(script)
        let own = try CertificateFolder(TestCertificates.two)
        let known = try CertificateFolder(TestCertificates.one)
        let door = try await self.door(backend, own: own, known: known)
        let nodeFolder = try CertificateFolder(TestCertificates.one)
        let node = try await self.node(TestCertificates.one, towards: door.listener.address, nodeFolder)
        // More often than a stranger may come.
        for _ in 0..<6 {
            let client = try await node.greeted(source: "127.0.0.44")
            #expect(try await client.ask("MAIL FROM:<a@example.com>")?.hasPrefix("250") == true)
            let answer = try await client.ask("RCPT TO:<b@example.org>")
            #expect(answer?.hasPrefix("250") == true, "\(answer ?? "closed") \(door.log.lines)")
            await client.close()
        }
        #expect(backend.record.lines.joined().contains { $0.hasPrefix("XCLIENT") && $0.contains("127.0.0.44") })
        await node.stop()
        // Another certificate is a stranger's, whatever it is.
        let otherFolder = try CertificateFolder(TestCertificates.two)
        let other = try await self.node(TestCertificates.two, towards: door.listener.address, otherFolder)
        let client = try await other.greeted(source: "127.0.0.45")
        _ = try await client.ask("MAIL FROM:<a@example.com>")
        #expect(try await client.ask("RCPT TO:<b@example.org>")?.hasPrefix("451") == true)
        #expect(!backend.record.lines.joined().contains { $0.contains("127.0.0.45") })
        await other.stop()
        await door.stop()
    }

    /// Before it is greeted a node cannot show who it is: however many of its sessions begin at once, none of them is a stranger's.
    @Test func whoMayShowACertificateIsAStrangerFromItsFirstMailOn() async throws {
        let backend = try ScriptedBackend()
        let own = try CertificateFolder(TestCertificates.two)
        let known = try CertificateFolder(TestCertificates.one)
        let door = try await self.door(backend, own: own, known: known) {
            $0.inner?.limits = .init(deferrals: 1, refusals: 1, silence: 3_600_000, capacity: 100)
        }
        func client() async throws -> SMTPTestClient {
            let client = try await door.greeted(source: "127.0.0.46")
            #expect(try await client.ask("EHLO x.example")?.hasPrefix("250") == true)
            return client
        }
        var begun: [SMTPTestClient] = []
        for _ in 0..<5 { begun.append(try await client()) }
        #expect(door.listener.report.inner?.strangers == 0)
        // What we have to say ourselves is not final, whoever it turns out to be.
        #expect(try await begun[4].ask("NONSENSE")?.hasPrefix("4") == true)
        _ = try await begun[0].ask("MAIL FROM:<a@example.com>")
        #expect(try await begun[0].ask("RCPT TO:<b@example.org>")?.hasPrefix("450 4.7.1") == true)
        #expect(try await begun[1].ask("MAIL FROM:<a@example.com>")?.hasPrefix("421 4.7.0") == true)
        #expect(try await begun[2].ask("MAIL FROM:<a@example.com>") == nil)
        // The node is welcome meanwhile.
        let node = try await self.node(TestCertificates.one, towards: door.listener.address, try CertificateFolder(TestCertificates.one))
        let through = try await node.greeted(source: "127.0.0.47")
        #expect(try await through.ask("MAIL FROM:<a@example.com>")?.hasPrefix("250") == true)
        await node.stop()
        for client in begun { await client.close() }
        await door.stop()
    }

    @Test func whoIsTrustedComesIn() async throws {
        let backend = try ScriptedBackend()
        let test = try await door(backend, engine: { $0.trusted.addresses = PrefixSet([Prefix("127.0.0.30")!]) })
        for _ in 0..<6 { #expect(try await knock(test, "127.0.0.30").hasPrefix("250")) }
        #expect(test.listener.report.inner?.deferred == 0)
        #expect(try await knock(test, "127.0.0.31").hasPrefix("450"))
        #expect(test.listener.report.inner?.deferred == 1 && test.listener.report.inner?.strangers == 1)
        await test.stop()
    }

    @Test func theDoorOpensWhenNoNodeCanBeReachedAndShutsAgain() async throws {
        let backend = try ScriptedBackend()
        // A port where nobody listens, until somebody does.
        let (descriptor, bound) = try ListeningSocket.open(.tcp(IPAddress("127.0.0.1")!, port: 0))
        close(descriptor)
        let test = try await door(backend, checked: [bound])
        try await eventually("the door is open") { test.listener.isOpenToAll }
        #expect(test.log.lines.contains { $0.contains("open to everybody") })
        for _ in 0..<6 { #expect(try await knock(test, "127.0.0.9").hasPrefix("250")) }
        #expect(test.counters.strangersAdmitted == 6)
        let open = try #require(test.listener.report.inner)
        #expect(open.isOpen && open.admitted == 6 && open.nodes == [.init(address: bound.description, isReachable: false)])
        let node = try await TestGateway([backend.address])
        try await test.listener.update(
            TestGateway.settings([backend.address]) { $0.inner = inner([node.listener.address]) })
        try await eventually("the door is shut") { !test.listener.isOpenToAll }
        #expect(test.log.lines.contains { $0.contains("shut again") })
        #expect(test.listener.report.inner?.isOpen == false && test.listener.report.inner?.nodes.first?.isReachable == true)
        #expect(try await knock(test, "127.0.0.9").hasPrefix("450"))
        await node.stop()
        await test.stop()
    }

    @Test func aNodeThatTurnsAllAwayIsNotThere() async throws {
        let backend = try ScriptedBackend()
        let node = try await TestGateway([backend.address]) { $0.maxSessions = 0 }
        let test = try await door(backend, checked: [node.listener.address])
        try await eventually("the door is open") { test.listener.isOpenToAll }
        await test.stop()
        await node.stop()
    }
}

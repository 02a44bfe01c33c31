import NIOCore
import NIOPosix
import NIOSSL
import PosternConfiguration
import PosternCore
import PosternEngine
import SMTPProtocol
import Testing

@testable import PosternServer

/// TLS on both sides, PROXY and XCLIENT from the client's side.
@Suite(.serialized) struct GatewayTLSTests {
    @Test func aMessageOverTLS() async throws {
        let folder = try CertificateFolder(TestCertificates.one)
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address]) { $0.certificate = folder.certificate }
        let client = try await test.client()
        _ = try await client.reply()
        #expect(try await client.ask("EHLO client.example")?.contains("STARTTLS") == true)
        #expect(try await client.ask("STARTTLS") == "220 2.0.0 Ready to start TLS")
        try await client.startTLS()
        // RFC 3207 §4.2: all that was said before is forgotten.
        #expect(try await client.ask("MAIL FROM:<a@example.com>") == "503 5.5.1 Send HELO or EHLO first")
        let hello = try #require(try await client.ask("EHLO client.example"))
        #expect(!hello.contains("STARTTLS"))
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
        _ = try await client.replies(3)
        let content = String(repeating: "0123456789abcdef\r\n", count: 20_000)
        client.send(content)
        #expect(try await client.ask(".")?.hasPrefix("250 ") == true)
        #expect(backend.record.messages.first?.content == content)
        #expect(try await client.ask("QUIT") == "221 2.0.0 Bye")
        try await client.waitUntilClosed()
        await test.stop()
    }

    /// RFC 3207 §4: the 220 leaves in the clear, and before anything of TLS.
    @Test func aSuspectMayStartTLS() async throws {
        let folder = try CertificateFolder(TestCertificates.one)
        let backend = try ScriptedBackend()
        let test = try await TestGateway(
            [backend.address],
            engine: {
                $0.bands.slow = 1
                $0.delays.stutter = .milliseconds(5)
            }
        ) { $0.certificate = folder.certificate }
        let client = try await test.client()
        _ = try await client.reply()
        #expect(try await client.ask("MAIL FROM:<a@example.com>")?.hasPrefix("503 ") == true)
        #expect(try await client.ask("EHLO client.example")?.contains("STARTTLS") == true)
        #expect(try await client.ask("STARTTLS") == "220 2.0.0 Ready to start TLS")
        try await client.startTLS()
        #expect(try await client.ask("EHLO client.example")?.contains("8BITMIME") == true)
        #expect(try await client.ask("MAIL FROM:<a@example.com>") == "250 2.1.0 Ok")
        await test.stop()
    }

    @Test func whatFollowsSTARTTLSInTheClearEndsTheSession() async throws {
        let folder = try CertificateFolder(TestCertificates.one)
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address]) { $0.certificate = folder.certificate }
        let client = try await test.greeted()
        client.send("STARTTLS\r\nMAIL FROM:<evil@example.com>\r\n")
        #expect(try await client.reply() == "554 5.5.0 SMTP protocol synchronization error")
        try await client.waitUntilClosed()
        await test.stop()
    }

    @Test func certificatesAreReadAnewWithoutDroppingSessions() async throws {
        let folder = try CertificateFolder(TestCertificates.one)
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address]) { $0.certificate = folder.certificate }
        #expect(try await certificate(test).contains("one.example.org"))
        let old = try await test.greeted()
        try folder.write(TestCertificates.two)
        // As SIGHUP does it.
        try await test.listener.update(TestGateway.settings([backend.address]) { $0.certificate = folder.certificate })
        #expect(try await certificate(test).contains("two.example.org"))
        #expect(try await old.ask("NOOP") == "250 2.0.0 Ok")
        // By itself, once they have changed.
        try folder.write(TestCertificates.one)
        let end = ContinuousClock.now + .seconds(15)
        while try await !certificate(test).contains("one.example.org"), ContinuousClock.now < end {
            try await Task.sleep(for: .milliseconds(200))
        }
        #expect(try await certificate(test).contains("one.example.org"))
        // What cannot be used changes nothing.
        var broken = folder.certificate
        broken.keyPath = "/nonexistent"
        await #expect(throws: GatewaySettingsError.self) {
            try await test.listener.update(TestGateway.settings([backend.address]) { $0.certificate = broken })
        }
        #expect(try await certificate(test).contains("one.example.org"))
        await test.stop()
    }

    /// What is wrong with a file is told in words, by the file's own name.
    @Test func aCertificateThatCannotBeUsedIsTold() throws {
        let folder = try CertificateFolder(TestCertificates.one)
        let (chain, key) = (folder.certificate.chainPath, folder.certificate.keyPath)
        func told(_ change: (inout GatewaySettings.Certificate) throws -> Void) throws -> String {
            var certificate = folder.certificate
            try change(&certificate)
            let settings = TestGateway.settings([.tcp(try #require(IPAddress("127.0.0.1")), port: 25)]) { $0.certificate = certificate }
            do throws(GatewaySettingsError) {
                _ = try Gateway.Current(reading: settings)
                return ""
            } catch { return error.description }
        }
        #expect(try told { _ in } == "")
        #expect(try told { $0.keyPath = "/nonexistent" } == "cannot use the key /nonexistent: No such file or directory")
        #expect(try told { $0.chainPath = key } == "cannot use the certificate \(key): there is no certificate in PEM in it")
        #expect(
            try told { $0.keyPath = chain } == "cannot use the key \(chain): there is no private key in PEM in it, or it needs a password")
        let mismatch = try told { _ in try TestCertificates.two.key.write(toFile: key, atomically: true, encoding: .utf8) }
        #expect(mismatch == "cannot use the certificate \(chain): the key belongs to another certificate")
    }

    @Test func authoritiesWithoutACertificateAreTold() throws {
        let folder = try CertificateFolder(TestCertificates.one)
        let key = folder.certificate.keyPath
        let settings = TestGateway.settings([.tcp(try #require(IPAddress("127.0.0.1")), port: 25)]) {
            $0.backendTLS.mode = .required
            $0.backendTLS.authoritiesPath = key
        }
        let error = #expect(throws: GatewaySettingsError.self) { try Gateway.Current(reading: settings) }
        #expect(error?.description == "cannot use the authorities \(key): there is no certificate in PEM in it")
    }

    /// What `config check` says of files that can be read.
    @Test func filesThatTheDaemonWouldRefuse() throws {
        let (one, two) = (try CertificateFolder(TestCertificates.one), try CertificateFolder(TestCertificates.two))
        func trouble(_ change: (inout Configuration.Gateway) -> Void) -> String? {
            var gateway = Configuration.Gateway(backends: [.tcp(IPAddress(v4: 0x7f00_0001), port: 25)])
            gateway.certificate = one.certificate.chainPath
            gateway.key = one.certificate.keyPath
            change(&gateway)
            return ListenerFiles.trouble(of: gateway, in: Configuration()).map { "\($0.key): \($0.reason)" }
        }
        #expect(trouble { _ in } == nil)
        #expect(
            trouble { $0.key = two.certificate.keyPath }
                == "tls_certificate: cannot use the certificate \(one.certificate.chainPath): the key belongs to another certificate")
        #expect(trouble { $0.key = one.certificate.chainPath }?.hasPrefix("tls_key: cannot use the key ") == true)
        func withAuthorities(_ path: String) -> String? {
            trouble {
                $0.backendTLS = .required
                $0.backendAuthorities = path
            }
        }
        #expect(withAuthorities(two.certificate.chainPath) == nil)
        #expect(withAuthorities(two.certificate.keyPath)?.hasPrefix("backend_ca: cannot use the authorities ") == true)
        // It may be there where the daemon runs.
        #expect(trouble { $0.key = "/nonexistent" } == nil)
    }

    /// The subject of the certificate that a new session is shown.
    private func certificate(_ test: TestGateway) async throws -> String {
        let client = try await test.greeted()
        _ = try await client.ask("STARTTLS")
        try await client.startTLS()
        let channel = client.channel
        let text = try await channel.eventLoop.submit {
            let handler = try channel.pipeline.syncOperations.handler(type: NIOSSLClientHandler.self)
            return try handler.peerCertificate.map { String(decoding: try $0.toDERBytes(), as: UTF8.self) } ?? ""
        }.get()
        await client.close()
        return text
    }

    @Test(arguments: [BackendSettings.TLS.opportunistic, .required])
    func towardsTheBackend(mode: BackendSettings.TLS) async throws {
        let folder = try CertificateFolder(TestCertificates.one)
        let backend = try ScriptedBackend()
        let inner = try await TestGateway([backend.address]) { $0.certificate = folder.certificate }
        let outer = try await TestGateway([inner.listener.address]) {
            $0.backendTLS.mode = mode
            $0.backendTLS.authoritiesPath = folder.path + "/cert.pem"
        }
        let client = try await outer.greeted()
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
        _ = try await client.replies(3)
        #expect(try await client.ask("x\r\n.") == "250 2.0.0 Ok: queued as 4711")
        await outer.stop()
        await inner.stop()
    }

    @Test func aBackendWithAnotherAuthorityIsNotTrustedWhereTLSIsRequired() async throws {
        let folder = try CertificateFolder(TestCertificates.one)
        let other = try CertificateFolder(TestCertificates.two)
        let backend = try ScriptedBackend()
        let inner = try await TestGateway([backend.address]) { $0.certificate = folder.certificate }
        func outer(_ mode: BackendSettings.TLS) async throws -> TestGateway {
            try await TestGateway([inner.listener.address]) {
                $0.backendTLS.mode = mode
                $0.backendTLS.authoritiesPath = other.path + "/cert.pem"
            }
        }
        let strict = try await outer(.required)
        var client = try await strict.greeted()
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n")
        #expect(try await client.replies(2).last??.prefix(3) == "451")
        // In words, and by the right name.
        try await eventually("it is told") { strict.log.lines.contains { $0.hasPrefix("backend is out") } }
        let line = try #require(strict.log.lines.first { $0.hasPrefix("backend is out") })
        #expect(line.contains("reason=TLS with it fails") && line.contains("error=certificate verify failed"), "\(line)")
        await strict.stop()
        // A wish only: done without.
        let lenient = try await outer(.opportunistic)
        client = try await lenient.greeted()
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n")
        #expect(try await client.replies(2).last??.prefix(3) == "250")
        await lenient.stop()
        await inner.stop()
    }

    @Test func tlsThatIsRequiredAndNotOfferedForwardsNothing() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address]) { $0.backendTLS.mode = .required }
        let client = try await test.greeted()
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n")
        #expect(try await client.replies(2).last??.prefix(3) == "451")
        #expect(!backend.record.lines.joined().contains { $0.hasPrefix("MAIL") })
        await test.stop()
    }

    // MARK: - PROXY

    private static let loopback = PrefixSet([Prefix("127.0.0.0/8")!])

    @Test(arguments: [1, 2])
    func aProxyTellsWhoTheClientIs(version: Int) async throws {
        var script = ScriptedBackend.Script()
        script.extensions += ["XCLIENT ADDR PORT HELO PROTO"]
        let backend = try ScriptedBackend(script)
        let test = try await TestGateway([backend.address]) {
            $0.clientInformation = .xclient
            $0.proxies = Self.loopback
        }
        let client = try await test.client()
        let source = Endpoint(address: IPAddress("192.0.2.77")!, port: 4711)
        let destination = Endpoint(address: IPAddress("192.0.2.1")!, port: 25)
        if version == 1 {
            client.send("PROXY TCP4 192.0.2.77 192.0.2.1 4711 25\r\n")
        } else {
            let header = ProxyHeader.proxied(source: source, destination: destination).encodedV2(checksum: true)
            // In two pieces.
            client.send(Array(header[..<9]))
            try await Task.sleep(for: .milliseconds(30))
            client.send(Array(header[9...]))
        }
        #expect(try await client.reply() == "220 mx.example.org ESMTP")
        _ = try await client.ask("EHLO client.example")
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n")
        _ = try await client.replies(2)
        #expect(backend.record.lines.last?[1].contains("PORT=4711 ") == true)
        #expect(backend.record.lines.last?[1].hasSuffix("ADDR=192.0.2.77") == true)
        await test.stop()
    }

    @Test(arguments: ["EHLO client.example\r\n", "PROXY TCP4 1.2.3.4\r\n", ""])
    func aProxyWithoutAProperHeaderIsDroppedWithoutAWord(text: String) async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address]) {
            $0.proxies = Self.loopback
            $0.proxyTimeout = .milliseconds(200)
        }
        let client = try await test.client()
        client.send(text)
        #expect(try await client.reply() == nil)
        #expect(test.counters.proxyErrors == 1)
        await test.stop()
    }

    @Test func aChecksumThatIsWrongIsNoHeader() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address]) { $0.proxies = Self.loopback }
        let client = try await test.client()
        var header = ProxyHeader.local.encodedV2(checksum: true)
        header[header.count - 1] ^= 1
        client.send(header)
        // LOCAL's block is discarded unread.
        #expect(try await client.reply()?.hasPrefix("220 ") == true)
        let other = try await test.client()
        let end = Endpoint(address: IPAddress("192.0.2.77")!, port: 1)
        header = ProxyHeader.proxied(source: end, destination: end).encodedV2(checksum: true)
        header[header.count - 1] ^= 1
        other.send(header)
        #expect(try await other.reply() == nil)
        await test.stop()
    }

    @Test func aStrangerMustNotUseProxyOrXclient() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address])
        let client = try await test.greeted()
        #expect(try await client.ask("XCLIENT ADDR=192.0.2.1")?.hasPrefix("550 ") == true)
        let other = try await test.client()
        _ = try await other.reply()
        #expect(try await other.ask("PROXY TCP4 192.0.2.77 192.0.2.1 4711 25")?.prefix(1) == "5")
        await test.stop()
    }

    // MARK: - XCLIENT

    @Test func aTrustedFrontTellsWhoTheClientIs() async throws {
        var script = ScriptedBackend.Script()
        script.extensions += ["XCLIENT NAME ADDR PORT HELO PROTO"]
        let backend = try ScriptedBackend(script)
        let block = ListEntry(.block, .client, Pattern("203.0.113.0/24")!, added: WallTime(seconds: 0))
        let test = try await TestGateway([backend.address], lists: Lists(entries: [block])) {
            $0.clientInformation = .xclient
            $0.xclient = Self.loopback
        }
        let client = try await test.client()
        _ = try await client.reply()
        #expect(try await client.ask("EHLO front.example")?.contains("XCLIENT NAME") == true)
        #expect(try await client.ask("XCLIENT NAME=mail.example.net ADDR=198.51.100.4 PORT=99") == "220 mx.example.org ESMTP")
        _ = try await client.ask("EHLO mail.example.net")
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n")
        #expect(try await client.replies(2).last == "250 2.1.5 Ok")
        let line = try #require(backend.record.lines.last?.first { $0.hasPrefix("XCLIENT") })
        #expect(line.contains("NAME=mail.example.net ") && line.contains("HELO=mail.example.net") && line.hasSuffix("ADDR=198.51.100.4"))

        // Decisions are about the client, not about the front.
        _ = try await client.ask("RSET")
        #expect(try await client.ask("XCLIENT NAME=[UNAVAILABLE] ADDR=203.0.113.5") == "220 mx.example.org ESMTP")
        _ = try await client.ask("EHLO other.example")
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n")
        #expect(try await client.replies(2).last??.hasPrefix("554 5.7.1 ") == true)
        await test.stop()
    }

    /// As at Postfix: a client of whom no login is told has none, whoever came before it on the connection.
    @Test(arguments: [true, false])
    func aLoginIsOfTheClientThatItWasToldOf(saysHelo: Bool) async throws {
        var script = ScriptedBackend.Script()
        script.extensions += ["XCLIENT NAME ADDR PORT HELO PROTO LOGIN"]
        let backend = try ScriptedBackend(script)
        let test = try await TestGateway([backend.address], engine: { $0.greylist.mode = .on }) {
            $0.clientInformation = .xclient
            $0.xclient = Self.loopback
        }
        let client = try await test.greeted()
        #expect(try await client.ask("XCLIENT ADDR=192.0.2.3 LOGIN=bob")?.hasPrefix("220") == true)
        if saysHelo {
            _ = try await client.ask("EHLO one.example")
            client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nRSET\r\n")
            #expect(try await client.replies(3)[1] == "250 2.1.5 Ok", "who has logged in does not wait")
            #expect(backend.record.lines.joined().contains { $0.contains("LOGIN=bob ADDR=192.0.2.3") })
        }
        #expect(try await client.ask("XCLIENT ADDR=192.0.2.99")?.hasPrefix("220") == true)
        _ = try await client.ask("EHLO two.example")
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n")
        #expect(try await client.replies(2).last??.hasPrefix("451 4.7.1 Greylisted") == true)
        client.send("RSET\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<postmaster@example.org>\r\n")
        #expect(try await client.replies(3).last == "250 2.1.5 Ok")
        let line = try #require(backend.record.lines.joined().first { $0.contains("192.0.2.99") })
        #expect(line.contains("LOGIN=[UNAVAILABLE]"), "\(line)")
        await test.stop()
    }

    @Test func twoGatewaysInARowKeepTheClient() async throws {
        var script = ScriptedBackend.Script()
        script.extensions += ["XCLIENT NAME ADDR PORT HELO PROTO"]
        let backend = try ScriptedBackend(script)
        for information in [BackendSettings.ClientInformation.xclient, .proxyV2] {
            let inner = try await TestGateway([backend.address]) {
                $0.clientInformation = .xclient
                if information == .xclient { $0.xclient = Self.loopback } else { $0.proxies = Self.loopback }
            }
            let outer = try await TestGateway([inner.listener.address]) { $0.clientInformation = information }
            let client = try await outer.greeted(source: "127.0.0.33")
            client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
            _ = try await client.replies(3)
            #expect(try await client.ask("x\r\n.")?.hasPrefix("250 ") == true)
            #expect(backend.record.lines.last { $0.contains { $0.hasPrefix("MAIL") } }?[1].hasSuffix("ADDR=127.0.0.33") == true)
            await outer.stop()
            await inner.stop()
        }
    }
}

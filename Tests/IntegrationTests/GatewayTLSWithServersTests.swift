import Foundation
import IntegrationSupport
import PosternCore
import SMTPProtocol
import Testing

@testable import PosternServer

/// TLS with real programs on both sides: OpenSSL's client in front, Postfix and Exim behind.
@Suite("gateway and TLS", .serialized, .servers("postfix", "exim4", "swaks"))
struct GatewayTLSWithServersTests {
    private let certificate: Certificate
    private let folder: TemporaryFolder

    init() async throws {
        certificate = try await Certificate(hostname: "mx.example.test")
        folder = try TemporaryFolder("tls")
        try certificate.copy(to: folder, "own")
    }

    private var own: GatewaySettings.Certificate {
        .init(chainPath: folder.file("own/certificate.pem"), keyPath: folder.file("own/key.pem"))
    }

    // MARK: - In front

    private func client(_ port: UInt16, _ options: String...) async throws -> PrivateRoot.Result {
        let root = try PrivateRoot("swaks", folder: TemporaryFolder("openssl"))
        return try await root.run(
            ["/usr/bin/openssl", "s_client", "-starttls", "smtp", "-connect", "127.0.0.1:\(port)", "-brief", "-crlf", "-ign_eof"] + options,
            input: "QUIT\n")
    }

    @Test("openssl s_client speaks TLS 1.2 and 1.3 after STARTTLS, and nothing older, whatever it would agree to")
    func versions() async throws {
        let sink = try await SMTPSink.start()
        let gateway = try await GatewayUnderTest(backend: sink.port, .none) { $0.certificate = own }
        for (option, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
            let result = try await client(gateway.port, option)
            #expect(result.output.contains("Protocol version: \(version)"), "\(result.output)")
            #expect(result.output.contains("221 2.0.0"), "\(result.output)")
        }
        for option in ["-tls1", "-tls1_1"] {
            let result = try await client(gateway.port, option, "-cipher", "DEFAULT:@SECLEVEL=0")
            #expect(result.output.contains("alert protocol version"), "\(result.output)")
            #expect(!result.succeeded && !result.output.contains("221 2.0.0"))
        }
        await gateway.stop()
    }

    @Test("tls_minimum: 1.3 refuses 1.2")
    func minimum() async throws {
        let sink = try await SMTPSink.start()
        let gateway = try await GatewayUnderTest(backend: sink.port, .none) {
            $0.certificate = own
            $0.certificate?.minimumVersion = .tls13
        }
        #expect(try await client(gateway.port, "-tls1_2").output.contains("alert protocol version"))
        #expect(try await client(gateway.port, "-tls1_3").output.contains("Protocol version: TLSv1.3"))
        await gateway.stop()
    }

    @Test("commands that come with STARTTLS in the clear end the session, and reach nobody", arguments: [false, true])
    func injection(separately: Bool) async throws {
        let postfix = try await PostfixServer.start(.init(clientInformation: .xclient))
        let gateway = try await GatewayUnderTest(backend: postfix.port, .xclient) { $0.certificate = own }
        let dialogue = try await Dialogue.open(port: gateway.port, source: "127.0.0.9")
        let injected = "MAIL FROM:<injected@sender.test>\r\nRCPT TO:<bob@example.test>\r\n"
        if separately {
            // Behind the 220, where a handshake must begin.
            #expect(await dialogue.ask("STARTTLS").hasPrefix("220"))
            await dialogue.send(injected)
        } else {
            await dialogue.send("STARTTLS\r\n" + injected)
            #expect(await dialogue.reply().hasPrefix("554"))
        }
        #expect(await dialogue.reply() == "")
        #expect(!postfix.log.contains("injected@sender.test"))
        await gateway.stop()
    }

    // MARK: - Behind

    enum Server: String, CaseIterable, CustomTestStringConvertible {
        case postfix
        case exim

        var testDescription: String { rawValue }
    }

    @Test("TLS towards a real server that offers it, with the authority that signed its certificate", arguments: Server.allCases)
    func towardsTheBackend(server: Server) async throws {
        let (port, mailbox): (UInt16, IntegrationSupport.Mailbox)
        let log: () -> String
        switch server {
        case .postfix:
            let postfix = try await PostfixServer.start(.init(clientInformation: .xclient, certificate: certificate))
            (port, mailbox, log) = (postfix.port, postfix.mailbox, { postfix.log })
        case .exim:
            let exim = try await EximServer.start(.init(expectsProxyHeader: true, certificate: certificate))
            (port, mailbox, log) = (exim.port, exim.mailbox, { exim.log })
        }
        let information: BackendSettings.ClientInformation = server == .postfix ? .xclient : .proxyV2
        for mode in [BackendSettings.TLS.required, .opportunistic] {
            let gateway = try await GatewayUnderTest(backend: port, information) {
                $0.backendTLS.mode = mode
                $0.backendTLS.authoritiesPath = folder.file("own/certificate.pem")
            }
            let dialogue = try await Dialogue.open(port: gateway.port, source: "127.0.0.9")
            await dialogue.send("MAIL FROM:<alice@sender.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n")
            var answers: [String] = []
            for _ in 0..<3 { answers.append(await dialogue.reply()) }
            try #require(answers.map { Int($0.prefix(3)) } == [250, 250, 354], "\(mode): \(answers)\n\(log())")
            let answer = await dialogue.ask("Subject: \(mode)\r\n\r\nx\r\n.")
            #expect(answer.hasPrefix("250"), "\(mode): \(answer)")
            await gateway.stop()
        }
        let messages = try await mailbox.waitForMessages(2)
        for message in messages {
            let received = try #require(message.all("Received").first)
            #expect(received.contains("TLSv1.3") || received.contains("TLS1.3"), "\(received)")
            #expect(received.contains("127.0.0.9"), "\(received)")
        }

        // Signed by somebody else: nothing is forwarded.
        let other = try await Certificate(hostname: "mx.example.test")
        try other.copy(to: folder, "other")
        let gateway = try await GatewayUnderTest(backend: port, information) {
            $0.backendTLS.mode = .required
            $0.backendTLS.authoritiesPath = folder.file("other/certificate.pem")
        }
        let dialogue = try await Dialogue.open(port: gateway.port, source: "127.0.0.9")
        #expect(await dialogue.ask("MAIL FROM:<alice@sender.test>").hasPrefix("250"))
        #expect(await dialogue.ask("RCPT TO:<bob@example.test>").hasPrefix("451"))
        #expect(try mailbox.count() == 2)
        await gateway.stop()
    }
}

import Foundation
import IntegrationSupport
import PosternCore
import PosternEngine
import SMTPProtocol
import Testing

@testable import PosternServer

/// Real mail servers and load balancers in front of the gateway.
@Suite("gateway behind real clients", .serialized, .servers("postfix", "exim4", "opensmtpd", "haproxy", "swaks"))
struct GatewayWithClientsTests {
    private static let text = "From: alice@sender.test\nTo: bob@example.test\nSubject: from a server\n\nhello\n.\nthere\n"

    @Test("Postfix is greylisted, comes back by itself, and its message is delivered with the header")
    func postfix() async throws {
        let backend = try await RealBackend.postfixByXclient.start()
        let gateway = try await GatewayUnderTest(
            backend: backend.port, .xclient,
            engine: {
                $0.greylist.mode = .on
                $0.greylist.delay = .seconds(2)
            })
        let sender = try await PostfixServer.start(
            .init(hostname: "out.sender.test", domains: ["sender.test"], relayHost: "[127.0.0.1]:\(gateway.port)"))
        try await sender.submit(from: "alice@sender.test", to: ["bob@example.test"], message: Self.text)
        try await waitUntil("the message is delivered\n\(sender.log)\n\(backend.log())", within: PostfixServer.retryPatience) {
            try backend.mailbox.count() == 1
        }
        let message = try #require(try backend.mailbox.messages().first)
        #expect(message["X-Greylist"]?.hasPrefix("delayed ") == true)
        #expect(message.text.contains("hello\n.\nthere\n"))
        #expect(sender.log.contains("451 4.7.1 Greylisted"))
        await gateway.stop()
    }

    @Test("Exim sends through the gateway")
    func exim() async throws {
        let backend = try await RealBackend.eximByProxy.start()
        let gateway = try await GatewayUnderTest(backend: backend.port, .proxyV2)
        let sender = try await EximServer.start(
            .init(hostname: "out.sender.test", domains: ["sender.test"], relay: (address: "127.0.0.1", port: gateway.port)))
        try await sender.submit(from: "alice@sender.test", to: ["bob@example.test"], message: Self.text)
        let message = try #require(try await backend.mailbox.waitForMessages(1).first)
        #expect(message.text.contains("hello\n.\nthere\n"))
        await gateway.stop()
    }

    @Test("OpenSMTPD sends through the gateway")
    func openSMTPD() async throws {
        let backend = try await RealBackend.openSMTPDByProxy.start()
        let gateway = try await GatewayUnderTest(backend: backend.port, .proxyV2)
        let sender = try await OpenSMTPDServer.start(
            .init(hostname: "out.sender.test", domains: ["sender.test"], relay: "smtp+notls://127.0.0.1:\(gateway.port)"))
        let outcome = try await Swaks(port: sender.port).send(body: "hello\n.\nthere\n")
        #expect(outcome.accepted, "\(outcome.transcript)")
        let message = try #require(try await backend.mailbox.waitForMessages(1).first)
        #expect(message.text.contains("hello\n.\nthere\n"))
        await gateway.stop()
    }

    @Test(
        "HAProxy tells who the client is, and the server behind hears it",
        arguments: [HAProxyServer.Header.version1, .version2, .version2Checksum])
    func haproxy(header: HAProxyServer.Header) async throws {
        let backend = try await RealBackend.postfixByXclient.start()
        let gateway = try await GatewayUnderTest(backend: backend.port, .xclient) {
            $0.proxies = PrefixSet([Prefix(IPAddress(v4: 0x7f00_0001), length: 32)])
        }
        let proxy = try await HAProxyServer.start(backend: "127.0.0.1:\(gateway.port)", header: header)
        let outcome = try await Swaks(port: proxy.port).send(source: "127.0.0.77")
        #expect(outcome.accepted, "\(outcome.transcript)")
        let message = try #require(try await backend.mailbox.waitForMessages(1).first)
        #expect(message.all("Received").joined().contains("[127.0.0.77]"))
        await gateway.stop()
    }

    @Test("smtp-source at full speed, one message a session and many", arguments: [true, false])
    func load(onePerSession: Bool) async throws {
        let sink = try await SMTPSink.start()
        let gateway = try await GatewayUnderTest(backend: sink.port, .none) { $0.domains = .any }
        try await SMTPSource(port: gateway.port).send(messages: 2000, sessions: 32, size: 4096, onePerSession: onePerSession)
        try await waitUntil("all messages in the sink") { sink.counters.messages == 2000 }
        #expect(gateway.counters.messagesAccepted == 2000)
        await gateway.stop()
    }
}

import PosternCore
import SMTPProtocol
import Testing

@testable import PosternServer

/// What EHLO offers whom, where a backend does not offer the same to everybody.
@Suite(.serialized) struct GatewayOfferTests {
    private static let common = ["PIPELINING", "SIZE 100000000", "8BITMIME", "ENHANCEDSTATUSCODES"]
    private static let xclient = "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"

    private func bench(_ information: BackendSettings.ClientInformation, _ configure: (inout ScriptedBackend.Script) -> Void) async throws
        -> (TestGateway, ScriptedBackend)
    {
        var script = ScriptedBackend.Script()
        script.extensions = Self.common + ["SMTPUTF8", "DSN", Self.xclient]
        script.readsProxy = information == .proxyV2
        configure(&script)
        let backend = try ScriptedBackend(script)
        let test = try await TestGateway([backend.address]) {
            $0.clientInformation = information
            $0.health.refresh = .seconds(1)
        }
        try await eventually("it has learnt") { test.listener.gateway.directory.offered(to: nil, now: .now()) != nil }
        return (test, backend)
    }

    private func hello(_ test: TestGateway, from source: String) async throws -> (client: SMTPTestClient, offer: String) {
        let client = try await test.client(source: source)
        _ = try await client.reply()
        return (client, try #require(try await client.ask("EHLO client.example")))
    }

    /// Postfix' smtpd_discard_ehlo_keyword_address_maps, for all but us.
    @Test(arguments: [BackendSettings.ClientInformation.xclient, .proxyV2])
    func whatOnlyWeAreOfferedIsOfferedToAClientOnce(information: BackendSettings.ClientInformation) async throws {
        let (test, backend) = try await bench(information) { $0.clientExtensions = [("127.", Self.common + ["SMTPUTF8"])] }
        let (client, offer) = try await hello(test, from: "127.0.0.3")
        #expect(offer.contains("DSN"))
        _ = try await client.ask("MAIL FROM:<a@example.com>")
        let asking = "RCPT TO:<b@example.org> ORCPT=rfc822;b@example.org"
        #expect(try await client.ask(asking)?.hasPrefix("451 4.3.0 ") == true)
        // We are told otherwise once more.
        let asked = backend.record.connections
        try await eventually("it has been asked twice") { backend.record.connections >= asked + 2 && backend.record.open <= 1 }
        #expect(test.listener.gateway.directory.offered(to: nil, now: .now())?.dsn == true)
        // Neither in this session nor in the next one.
        let again = try #require(try await client.ask("EHLO client.example"))
        #expect(!again.contains("DSN") && again.contains("SMTPUTF8"), "\(again)")
        let (next, nextOffer) = try await hello(test, from: "127.0.0.3")
        #expect(!nextOffer.contains("DSN") && nextOffer.contains("SMTPUTF8"), "\(nextOffer)")
        for session in [client, next] {
            #expect(try await session.ask("MAIL FROM:<a@example.com>")?.hasPrefix("250") == true)
            #expect(try await session.ask(asking)?.hasPrefix("555 5.5.4 ") == true)
            #expect(try await session.ask("RCPT TO:<b@example.org>")?.hasPrefix("250") == true)
        }
        await test.stop()
    }

    /// Exim's smtputf8_advertise_hosts = ! 127.0.0.3. RFC 6531 §3.5: who misses SMTPUTF8 returns the mail.
    @Test(arguments: [BackendSettings.ClientInformation.xclient, .proxyV2])
    func whatOneClientIsNotOfferedIsTakenFromNobodyElse(information: BackendSettings.ClientInformation) async throws {
        let (test, _) = try await bench(information) { $0.clientExtensions = [("127.0.0.3", Self.common + ["DSN"])] }
        let (narrow, _) = try await hello(test, from: "127.0.0.3")
        _ = try await narrow.ask("MAIL FROM:<a@example.com>")
        #expect(try await narrow.ask("RCPT TO:<b@example.org>")?.hasPrefix("250") == true)
        _ = try await narrow.ask("RSET")
        #expect(try await narrow.ask("EHLO client.example")?.contains("SMTPUTF8") == false)
        for source in ["127.0.0.2", "127.0.9.3"] {
            let (client, offer) = try await hello(test, from: source)
            #expect(offer.contains("SMTPUTF8"), "\(source)")
            #expect(try await client.ask("MAIL FROM:<a@example.com> BODY=8BITMIME SMTPUTF8")?.hasPrefix("250") == true)
            #expect(try await client.ask("RCPT TO:<b@example.org>")?.hasPrefix("250") == true)
        }
        let (_, offer) = try await hello(test, from: "127.0.0.3")
        #expect(!offer.contains("SMTPUTF8") && offer.contains("DSN"), "\(offer)")
        await test.stop()
    }

    @Test func theNextEhloOfTheSameSessionOffersWhatIsThere() async throws {
        let (test, backend) = try await bench(.none) { _ in }
        let (client, offer) = try await hello(test, from: "127.0.0.1")
        #expect(offer.contains("DSN"))
        backend.change { $0.extensions = Self.common }
        _ = try await client.ask("MAIL FROM:<a@example.com> RET=HDRS")
        #expect(try await client.ask("RCPT TO:<b@example.org>")?.hasPrefix("451 4.3.0 ") == true)
        _ = try await client.ask("RSET")
        // Until then what was offered holds.
        #expect(try await client.ask("MAIL FROM:<a@example.com> RET=HDRS")?.hasPrefix("250") == true)
        _ = try await client.ask("RSET")
        let again = try #require(try await client.ask("EHLO client.example"))
        #expect(!again.contains("DSN") && again.contains("8BITMIME"), "\(again)")
        #expect(try await client.ask("MAIL FROM:<a@example.com> RET=HDRS")?.hasPrefix("555 5.5.4 ") == true)
        #expect(try await client.ask("MAIL FROM:<a@example.com>")?.hasPrefix("250") == true)
        #expect(try await client.ask("RCPT TO:<b@example.org>")?.hasPrefix("250") == true)
        await test.stop()
    }
}

import NIOPosix
import PosternConfiguration
import PosternCore
import PosternEngine
import struct SMTPProtocol.BackendSettings
import Testing

@testable import PosternServer

/// Never an open relay: the backend learns who the client is, or our own domains are enforced, or nothing is forwarded.
@Suite(.serialized) struct GatewayRelayingSafetyTests {
    @Test func withoutClientInformationOnlyOurDomainsAreForwarded() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address])
        let client = try await test.greeted()
        _ = try await client.ask("MAIL FROM:<a@example.com>")
        let before = backend.record.connections
        for path in [
            "x@elsewhere.example", "x@sub.example.org", "x%elsewhere.example@example.org", "elsewhere.example!x@example.org",
            "\"x@elsewhere.example\"@example.org", "x@[127.0.0.1]", "@example.org:x@elsewhere.example", "x@example.org.elsewhere.example",
        ] {
            let reply = try #require(try await client.ask("RCPT TO:<\(path)>"))
            #expect(reply == "550 5.7.1 Relaying denied", "\(path)")
        }
        #expect(backend.record.connections == before)
        for path in ["x@example.org", "x@EXAMPLE.org", "postmaster", "x+tag@example.org"] {
            #expect(try await client.ask("RCPT TO:<\(path)>") == "250 2.1.5 Ok", "\(path)")
        }
        await test.stop()
    }

    /// RFC 5321 §3.6.1 and appendix F.2: a local part may name the way on. A throttle's servers may trust us as any backend may.
    @Test func aThrottleForwardsNothingThatItsServersWouldSendOn() async throws {
        let backend = try ScriptedBackend()
        for information in [BackendSettings.ClientInformation.none, .proxyV2] {
            backend.change { $0.readsProxy = information == .proxyV2 }
            for domains in [Configuration.Domains.listed([]), .any] {
                let test = try await TestGateway([]) { settings in
                    settings.routes = [DomainName("dest.example")!: [backend.address]]
                    settings.domains = domains
                    settings.clientInformation = information
                    settings.throttles = true
                }
                let client = try await test.greeted()
                _ = try await client.ask("MAIL FROM:<a@example.com>")
                for path in [
                    "x%elsewhere.example@dest.example", "elsewhere.example!x@dest.example", "\"x@elsewhere.example\"@dest.example",
                ] {
                    let reply = try #require(try await client.ask("RCPT TO:<\(path)>"))
                    // A backend that sees the client judges by itself.
                    #expect(reply == (information == .none ? "550 5.7.1 Relaying denied" : "250 2.1.5 Ok"), "\(path)")
                }
                for path in ["x@DEST.example", "postmaster", "x+tag@dest.example"] {
                    #expect(try await client.ask("RCPT TO:<\(path)>") == "250 2.1.5 Ok", "\(path)")
                }
                #expect(try await client.ask("RCPT TO:<x@elsewhere.example>") == "550 5.7.1 Relaying denied")
                await test.stop()
            }
        }
    }

    /// RFC 6531 §3.2: both spellings of a domain are one; the backend hears the client's own words.
    @Test func aDomainHasTwoSpellings() async throws {
        var script = ScriptedBackend.Script()
        script.extensions += ["8BITMIME", "SMTPUTF8"]
        let backend = try ScriptedBackend(script)
        let test = try await TestGateway([backend.address]) {
            $0.domains = .listed(["b\u{fc}cher.example", "xn--mnchen-3ya.example"].compactMap { DomainName($0) })
        }
        let client = try await test.greeted()
        _ = try await client.ask("MAIL FROM:<a@example.com> SMTPUTF8")
        let ours = [
            "u@b\u{fc}cher.example", "u@xn--bcher-kva.example", "u@B\u{dc}CHER.example", "u@m\u{fc}nchen.example",
            "u@XN--MNCHEN-3YA.example",
        ]
        for path in ours { #expect(try await client.ask("RCPT TO:<\(path)>") == "250 2.1.5 Ok", "\(path)") }
        for path in ["u@b\u{fa}cher.example", "u@bucher.example", "u@x.b\u{fc}cher.example"] {
            #expect(try await client.ask("RCPT TO:<\(path)>") == "550 5.7.1 Relaying denied", "\(path)")
        }
        let lines = try #require(backend.record.lines.last)
        for path in ours { #expect(lines.contains { $0.hasPrefix("RCPT TO:<\(path)>") }, "\(path)") }
        await test.stop()
    }

    @Test func aRouteHasTwoSpellings() throws {
        var settings = GatewaySettings(hostname: "mx.example.org", backends: [])
        settings.routes = [try #require(DomainName("b\u{fc}cher.example")): [try ScriptedBackend().address]]
        for text in ["u@b\u{fc}cher.example", "u@xn--bcher-kva.example", "u@B\u{dc}CHER.example"] {
            #expect(settings.route(to: try #require(Mailbox(text))) != nil, "\(text)")
        }
        #expect(settings.route(to: try #require(Mailbox("u@bucher.example"))) == nil)
    }

    @Test func everyDomainOnlyWhereItIsWrittenOut() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address]) { $0.domains = .any }
        let client = try await test.greeted()
        _ = try await client.ask("MAIL FROM:<a@example.com>")
        #expect(try await client.ask("RCPT TO:<x@elsewhere.example>") == "250 2.1.5 Ok")
        await test.stop()
    }

    @Test func noDomainsAndNoClientInformationIsRefusedAtStart() async throws {
        let backend = try ScriptedBackend()
        await #expect(throws: GatewaySettingsError.domainsRequired) {
            _ = try await TestGateway([backend.address]) { $0.domains = .listed([]) }
        }
        await #expect(throws: GatewaySettingsError.noBackend) { _ = try await TestGateway([]) }
    }

    @Test func xclientComesBeforeAnythingOfTheClient() async throws {
        var script = ScriptedBackend.Script()
        script.extensions += ["XCLIENT NAME ADDR PORT PROTO HELO DESTADDR DESTPORT"]
        let backend = try ScriptedBackend(script)
        let test = try await TestGateway([backend.address]) { $0.clientInformation = .xclient }
        let client = try await test.greeted(source: "127.0.0.9")
        _ = try await client.ask("MAIL FROM:<a@example.com>")
        // The backend decides about domains: it sees who asks.
        #expect(try await client.ask("RCPT TO:<b@elsewhere.example>") == "250 2.1.5 Ok")
        let lines = try #require(backend.record.lines.last)
        #expect(lines[0] == "EHLO mx.example.org")
        #expect(lines[1].hasPrefix("XCLIENT NAME=[UNAVAILABLE] PORT="))
        #expect(lines[1].contains(" PROTO=ESMTP HELO=client.example DESTADDR=127.0.0.1 "))
        #expect(lines[1].hasSuffix(" ADDR=127.0.0.9"))
        #expect(Array(lines[2...]) == ["EHLO client.example", "MAIL FROM:<a@example.com>", "RCPT TO:<b@elsewhere.example>"])
        await test.stop()
    }

    @Test func aConnectionIsOfOneClientAtATime() async throws {
        var script = ScriptedBackend.Script()
        script.extensions += ["XCLIENT NAME ADDR PORT PROTO HELO"]
        let backend = try ScriptedBackend(script)
        let test = try await TestGateway([backend.address]) { $0.clientInformation = .xclient }
        for source in ["127.0.0.8", "127.0.0.9", "127.0.0.8"] {
            let client = try await test.greeted(source: source)
            client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
            _ = try await client.replies(3)
            _ = try await client.ask("x\r\n.")
            _ = try await client.ask("QUIT")
        }
        // Whether a connection was kept or made, the backend was told of the client before its mail.
        var introduced: [Substring] = []
        for lines in backend.record.lines {
            for index in lines.indices where lines[index].hasPrefix("MAIL") {
                #expect(lines[index - 2].hasPrefix("XCLIENT ") && lines[index - 1] == "EHLO client.example")
                introduced.append(lines[index - 2].suffix(9))
            }
        }
        #expect(introduced.sorted() == ["127.0.0.8", "127.0.0.8", "127.0.0.9"])
        await test.stop()
    }

    @Test func aNewHeloIsToldToTheBackendToo() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address])
        let client = try await test.greeted()
        for name in ["one.example", "two.example"] {
            _ = try await client.ask("EHLO \(name)")
            client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nRSET\r\n")
            _ = try await client.replies(3)
        }
        let told = backend.record.lines.joined().filter { $0.hasPrefix("EHLO") || $0.hasPrefix("MAIL") }
        #expect(told.suffix(4) == ["EHLO one.example", "MAIL FROM:<a@example.com>", "EHLO two.example", "MAIL FROM:<a@example.com>"])
        await test.stop()
    }

    @Test(arguments: [
        ["PIPELINING"], ["PIPELINING", "XCLIENT NAME HELO"],
    ])
    func whatIsNotNegotiatedIsNotForwarded(extensions: [String]) async throws {
        var script = ScriptedBackend.Script()
        script.extensions = extensions
        let backend = try ScriptedBackend(script)
        let test = try await TestGateway([backend.address]) { $0.clientInformation = .xclient }
        let client = try await test.greeted()
        _ = try await client.ask("MAIL FROM:<a@example.com>")
        #expect(try await client.ask("RCPT TO:<b@example.org>")?.hasPrefix("451 4.3.0 ") == true)
        #expect(!backend.record.lines.joined().contains { $0.hasPrefix("MAIL") || $0.hasPrefix("RCPT") })
        #expect(test.log.lines.contains { $0.contains("does not let us say who the client is") })
        await test.stop()
    }

    @Test func anXclientThatIsRefusedForwardsNothing() async throws {
        var script = ScriptedBackend.Script()
        script.extensions += ["XCLIENT NAME ADDR PORT PROTO HELO"]
        script.replies = [("XCLIENT", "550 5.7.0 Error: insufficient authorization")]
        let backend = try ScriptedBackend(script)
        let test = try await TestGateway([backend.address]) { $0.clientInformation = .xclient }
        let client = try await test.greeted()
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
        #expect(try await client.replies(3).map { $0?.prefix(3) } == ["250", "451", "451"])
        #expect(!backend.record.lines.joined().contains { $0.hasPrefix("MAIL") })
        await test.stop()
    }

    @Test func aBackendThatRefusesTheClientSaysSoToTheClient() async throws {
        var script = ScriptedBackend.Script()
        script.extensions += ["XCLIENT NAME ADDR PORT PROTO HELO"]
        script.replies = [("XCLIENT", "554 5.7.1 You are not welcome")]
        let backend = try ScriptedBackend(script)
        let test = try await TestGateway([backend.address]) { $0.clientInformation = .xclient }
        let client = try await test.greeted()
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n")
        #expect(try await client.replies(2) == ["250 2.1.0 Ok", "554 5.7.1 You are not welcome"])
        await test.stop()
    }

    @Test func proxyHeadersTellTheClient() async throws {
        var script = ScriptedBackend.Script()
        script.readsProxy = true
        let backend = try ScriptedBackend(script)
        let test = try await TestGateway([backend.address]) { $0.clientInformation = .proxyV2 }
        let client = try await test.greeted(source: "127.0.0.7")
        _ = try await client.ask("MAIL FROM:<a@example.com>")
        #expect(try await client.ask("RCPT TO:<b@elsewhere.example>") == "250 2.1.5 Ok")
        #expect(backend.record.proxied == ["local", "127.0.0.7"])
        #expect(backend.record.lines.last?.first == "EHLO client.example")
        await test.stop()
    }

    @Test func aGreetingThatRefusesAProxiedClientIsItsAnswer() async throws {
        var script = ScriptedBackend.Script()
        script.readsProxy = true
        let backend = try ScriptedBackend(script)
        let test = try await TestGateway([backend.address]) { $0.clientInformation = .proxyV2 }
        backend.change { $0.greeting = "554 5.7.1 listed\r\n" }
        for _ in 0..<5 {
            let client = try await test.greeted()
            _ = try await client.ask("MAIL FROM:<a@example.com>")
            #expect(try await client.ask("RCPT TO:<b@example.org>") == "554 5.7.1 listed")
        }
        // Clients that are not welcome do not make a backend ill.
        #expect(!test.log.lines.contains { $0.hasPrefix("backend is out") })
        await test.stop()
    }
}

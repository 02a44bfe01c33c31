import PosternConfiguration
import PosternCore
import PosternEngine
import SMTPProtocol
import Testing

@testable import PosternServer

/// What the configuration says of a gateway is what it goes by.
@Suite struct GatewayStartTests {
    private func settings(_ lines: String, around: String = "") throws -> GatewaySettings {
        let text =
            "hostname: mx.example.org\n\(around)\nlisteners: [ { role: gateway, address: \"127.0.0.1:25\", backend: \"127.0.0.1:26\", \(lines) } ]"
        let configuration = try ConfigurationLoader.load(text, file: "f").configuration
        return GatewaySettings(try #require(configuration.listeners[0].gateway), of: configuration)
    }

    @Test func defaultsAreTheMachinesOwn() throws {
        var expected = GatewaySettings(hostname: "mx.example.org", backends: [.tcp(IPAddress(v4: 0x7f00_0001), port: 26)])
        expected.limits.content.octets = 0
        #expect(try settings("backend_client_info: xclient") == expected)
    }

    @Test func everyKeyArrives() throws {
        let base = try settings("backend_client_info: xclient")
        let changes: [(String, (inout GatewaySettings) -> Void)] = [
            ("banner: ESMTP here", { $0.banner = "ESMTP here" }),
            ("backend_client_info: proxy-v2", { $0.clientInformation = .proxyV2 }),
            ("backend_tls: required", { $0.backendTLS.mode = .required }),
            ("backend_ca: /etc/ca.pem", { $0.backendTLS.authoritiesPath = "/etc/ca.pem" }),
            (
                "tls_certificate: /c.pem, tls_key: /k.pem, tls_minimum: \"1.3\"",
                {
                    $0.certificate = .init(chainPath: "/c.pem", keyPath: "/k.pem")
                    $0.certificate?.minimumVersion = .tls13
                }
            ),
            ("teaser: true", { $0.teaser = true }), ("probe: false", { $0.probe.isOn = false }),
            ("max_sessions: 7", { $0.maxSessions = 7 }), ("max_message_size: 70000", { $0.limits.content.octets = 70_000 }),
            ("max_recipients: 101", { $0.limits.recipients = 101 }), ("max_messages: 2", { $0.limits.messages = 2 }),
            ("max_commands: 102", { $0.limits.commands = 102 }), ("max_errors: 3", { $0.limits.errors = 3 }),
            ("max_unknown_commands: 4", { $0.limits.unknownCommands = 4 }),
            ("max_hops: 26", { $0.limits.content.hops = 26 }), ("max_text_line: 1001", { $0.limits.content.line = 1001 }),
            ("max_local_part: 65", { $0.leniency.localPart = 65 }),
            ("command_timeout: 1s", { $0.timeouts.command = .seconds(1) }), ("data_timeout: 2s", { $0.timeouts.content = .seconds(2) }),
            ("session_timeout: 3s", { $0.timeouts.session = .seconds(3) }),
            ("backend_connect_timeout: 4s", { $0.connectTimeout = .seconds(4) }),
            ("backend_greeting_timeout: 5s", { $0.backendTimeouts.greeting = .seconds(5) }),
            ("backend_command_timeout: 6s", { $0.backendTimeouts.command = .seconds(6) }),
            ("backend_data_timeout: 7s", { $0.backendTimeouts.dataStart = .seconds(7) }),
            ("backend_content_timeout: 8s", { $0.backendTimeouts.content = .seconds(8) }),
            ("backend_end_timeout: 9s", { $0.backendTimeouts.endOfData = .seconds(9) }),
            ("backend_failures: 4", { $0.health.failures = 4 }), ("backend_retry: 250ms", { $0.health.out = .milliseconds(250) }),
            ("backend_refresh: 1m", { $0.health.refresh = .minutes(1) }),
            ("backend_health_timeout: 9s", { $0.health.patience = .seconds(9) }),
            ("probe_known_for: 2h", { $0.probe.knownFor = .hours(2) }), ("probe_unknown_for: 0s", { $0.probe.unknownFor = .zero }),
            ("probe_patience: 1s", { $0.probe.patience = .seconds(1) }), ("probe_connections: 5", { $0.probe.connections = 5 }),
            ("probe_capacity: 9", { $0.probe.capacity = 9 }),
        ]
        for (line, change) in changes {
            var expected = base
            change(&expected)
            #expect(expected != base, "\(line)")
            #expect(try settings(line) == expected, "\(line)")
        }
        // No key of a gateway is left out here, but for its backend and the tarpit, which stands before it.
        let named = Set(
            changes.flatMap { $0.0.split(separator: ",").map { $0.split(separator: ":")[0].trimmingPrefix(while: { $0 == " " }) } })
        let keys = Parameter.all.filter { $0.section == "listeners[]" && $0.documentation.hasPrefix("Gateway:") }.map(\.name)
        #expect(keys.filter { !named.contains($0[...]) } == ["backend", "tarpit", "tarpit_capacity"])
    }

    @Test func sharedSectionsArriveToo() throws {
        var expected = try settings("backend_client_info: xclient")
        expected.framing = .reject
        expected.domains = .listed([try #require(DomainName("example.org"))])
        expected.proxies = PrefixSet([try #require(Prefix("192.0.2.1"))])
        expected.xclient = PrefixSet([try #require(Prefix("192.0.2.2"))])
        let around = "framing: reject\ndomains: [example.org]\nnetworks: { proxies: [192.0.2.1], xclient: [192.0.2.2] }"
        #expect(try settings("backend_client_info: xclient", around: around) == expected)
    }
}

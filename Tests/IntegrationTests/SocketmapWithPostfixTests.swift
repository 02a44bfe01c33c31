import DNSProtocol
import Foundation
import IntegrationSupport
import PosternCore
import Testing

/// A real Postfix that asks `postern serve` which throttle it may skip.
@Suite("socketmap with Postfix", .serialized, .servers("postfix"))
struct SocketmapWithPostfixTests {
    private func zone() -> ScriptedZone {
        let zone = ScriptedZone()
        zone.add("site.test", exchange: "mx1.throttle.test", preference: 10)
        zone.add("site.test", exchange: "mx.site.test", preference: 20)
        zone.add("plain.test", exchange: "mx.plain.test")
        zone.add("2.0.0.127.trusted.throttle.test", .a(0x7f00_0001))
        return zone
    }

    private func start(_ server: ScriptedDNSServer, _ port: UInt16, source: String) async throws -> PosternProcess {
        let postern = try PosternProcess(
            "dns: { resolvers: [\"127.0.0.1:\(server.port)\"], timeout: 2s }",
            listener: """
                address: "127.0.0.1:0" }, { name: skip, role: socketmap, address: "127.0.0.1:\(port)", throttle_names: [throttle.test], \
                trust_zone: "trusted.throttle.test=127.0.0.1", source_addresses: [\(source)]
                """)
        try await postern.start()
        return postern
    }

    @Test("mail of a trusted sender goes to the exchanger behind the throttle")
    func skips() async throws {
        let zone = zone()
        let server = try ScriptedDNSServer(zone.script)
        defer { server.stop() }
        let port = try FreePort.next()
        let postern = try await start(server, port, source: "127.0.0.2")
        let site = try await PostfixServer.start(.init(hostname: "mx.site.test", domains: ["site.test"]))
        let sender = try await PostfixServer.start(
            .init(
                hostname: "mail.sender.test", domains: ["sender.test"], relayHost: "[127.0.0.1]:\(try FreePort.next())",
                hosts: ["127.0.0.1": "mx.site.test"],
                extraMain: [
                    "transport_maps = socketmap:inet:127.0.0.1:\(port):transport", "smtp_tcp_port = \(site.port)",
                ]))
        func asked(_ key: String) async throws -> String {
            try await sender.root.run(["/usr/sbin/postmap", "-q", key, "socketmap:inet:127.0.0.1:\(port):transport"]).output
        }
        #expect(try await asked("bob@site.test") == "smtp:[mx.site.test]\n")
        #expect(try await asked("bob@plain.test") == "")
        try await sender.submit(from: "alice@sender.test", to: ["bob@site.test"], message: "Subject: direct\n\nx\n")
        try await sender.submit(from: "alice@sender.test", to: ["bob@plain.test"], message: "Subject: usual\n\nx\n")
        let messages = try await site.mailbox.waitForMessages(1)
        #expect(messages.count == 1, "\(sender.log)")
        try await waitUntil("the other waits for the usual way") {
            try await sender.queue().contains { $0.recipients.first?.delayReason?.contains("refused") == true }
        }
        #expect(postern.log.contains("throttle skipped"))
        try await postern.stop()
        // Without the table mail waits: nothing is lost.
        try await sender.submit(from: "alice@sender.test", to: ["carol@site.test"], message: "Subject: later\n\nx\n")
        try await waitUntil("it waits in the queue") {
            try await sender.queue().contains { $0.recipients.first?.address == "carol@site.test" }
        }
        try await postern.start()
        try await sender.flush()
        _ = try await site.mailbox.waitForMessages(2)
        try await postern.stop()
    }

    @Test("who is not on the list goes the usual way")
    func untrusted() async throws {
        let zone = zone()
        let server = try ScriptedDNSServer(zone.script)
        defer { server.stop() }
        let port = try FreePort.next()
        let postern = try await start(server, port, source: "127.0.0.3")
        let client = try PolicyClient(port: port)
        client.send("23:transport bob@site.test,")
        #expect(try client.read(until: ",") == "9:NOTFOUND ,")
        try await postern.stop()
    }
}

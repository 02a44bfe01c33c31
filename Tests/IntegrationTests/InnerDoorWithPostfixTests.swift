import Foundation
import IntegrationSupport
import PosternCore
import Testing

/// `postern serve` as the inner door of a real Postfix, with another Postfix as the throttle's node.
@Suite("inner door with Postfix", .serialized, .servers("postfix", "swaks"))
struct InnerDoorWithPostfixTests {
    @Test("mail goes through a throttle and a door that knows it by its certificate to a Postfix that sees the true client")
    func certificates() async throws {
        let site = try await PostfixServer.start(.init(clientInformation: .xclient))
        let folder = try TemporaryFolder("certificates")
        let names = ["node1.throttle.test", "node2.throttle.test", "stranger.test", "door.test"]
        for name in names { try await Certificate(hostname: name).copy(to: folder, name) }
        func tls(_ name: String) -> String {
            "tls_certificate: \"\(folder.file("\(name)/certificate.pem"))\", tls_key: \"\(folder.file("\(name)/key.pem"))\""
        }
        let ports = try (0..<5).map { _ in try FreePort.next() }
        func node(_ number: Int, towards door: UInt16) -> String {
            "{ name: t\(number), role: throttle, address: \"127.0.0.1:\(ports[number])\", routes: { example.test: \"127.0.0.1:\(door)\" }, backend_tls: required, \(tls(names[number])) }"
        }
        func door(_ name: String, _ port: UInt16, _ nodes: String) -> String {
            "{ name: \(name), role: inner, address: \"127.0.0.1:\(port)\", backend: \"127.0.0.1:\(site.port)\", \(tls("door.test")), \(nodes), deferrals: 1, refusals: 1 }"
        }
        // The doors are another host's.
        let inner = try PosternProcess(
            "greylist: { mode: off }\ndelays: { greeting: 0s, clean: 0s }",
            further: [
                door(
                    "pinned", ports[3],
                    "node_certificates: [\"\(folder.file("node1.throttle.test/certificate.pem"))\"], node_checks: [\"127.0.0.1:\(ports[0])\"]"
                ),
                door(
                    "named", ports[4],
                    "node_names: [node2.throttle.test], node_ca: \"\(folder.file("node2.throttle.test/certificate.pem"))\", node_checks: [\"127.0.0.1:\(ports[1])\"]"
                ),
            ])
        let throttle = try PosternProcess(
            "greylist: { mode: off }\ndelays: { greeting: 0s, clean: 0s }",
            further: [node(0, towards: ports[3]), node(1, towards: ports[4]), node(2, towards: ports[3])])
        try await throttle.start()
        try await inner.start()
        for _ in 0..<3 {
            for number in 0..<2 {
                let outcome = try await Swaks(port: ports[number]).send(source: "127.0.0.4\(number)")
                #expect(outcome.accepted, "\(number) \(outcome.transcript)\n\(throttle.log)\n\(inner.log)")
            }
        }
        let messages = try await site.mailbox.waitForMessages(6)
        for number in 0..<2 {
            #expect(messages.count { $0.all("Received").first?.contains("[127.0.0.4\(number)]") == true } == 3)
        }
        // A throttle that shows another's certificate is a stranger: put off, never refused for good.
        let outcome = try await Swaks(port: ports[2]).send(source: "127.0.0.42")
        #expect(outcome.reply(to: "RCPT")?.code == 451, "\(outcome.transcript)")
        let status = try await inner.verb("status", "--json")
        #expect(status.output.contains("\"is_reachable\" : true") && status.output.contains("\"is_open\" : false"), "\(status.output)")
        try await throttle.stop()
        try await inner.stop()
    }

    @Test("strangers are sent to the throttle, nodes come in for their clients, and all do while no node is there")
    func door() async throws {
        let site = try await PostfixServer.start(.init(clientInformation: .xclient))
        let node = try await PostfixServer.start(.init(hostname: "node.throttle.test"))
        let port = try FreePort.next()
        let postern = try PosternProcess(
            "greylist: { delay: 2s }\ndelays: { greeting: 0s, clean: 0s }\nnetworks: { local: [127.0.0.30] }",
            listener: """
                address: "127.0.0.1:0" }, { name: door, role: inner, address: "127.0.0.1:\(port)", backend: "127.0.0.1:\(site.port)", \
                nodes: [127.0.0.20], node_checks: ["127.0.0.1:\(node.port)"], node_check_interval: 200ms, deferrals: 2, refusals: 1, \
                advice: "please use the other mail exchangers"
                """)
        try await postern.start()
        let swaks = try Swaks(port: port)
        for _ in 0..<2 {
            let answer = try await swaks.send(source: "127.0.0.9")
            #expect(answer.reply(to: "RCPT")?.code == 450, "\(answer.transcript)\n\(postern.log)")
            #expect(answer.reply(to: "RCPT")?.reply.first?.contains("please use the other mail exchangers") == true)
        }
        #expect(try await swaks.send(source: "127.0.0.9").transcript.contains("421 4.7.0"))
        // A known sender.
        let known = try await swaks.send(source: "127.0.0.30")
        #expect(known.accepted, "\(known.transcript)\n\(postern.log)")
        _ = try await site.mailbox.waitForMessages(1)
        // A node, for a client of its own.
        let dialogue = try await Dialogue.open(port: port, source: "127.0.0.20")
        for (command, code) in [
            ("XCLIENT ADDR=198.51.100.77", "220"), ("EHLO mail.sender.test", "250"), ("MAIL FROM:<alice@sender.test>", "250"),
            ("RCPT TO:<bob@example.test>", "250"), ("DATA", "354"), ("Subject: through the throttle\r\n\r\nx\r\n.", "250"),
        ] {
            let answer = await dialogue.ask(command)
            try #require(answer.hasPrefix(code), "\(command): \(answer)\n\(postern.log)")
        }
        let messages = try await site.mailbox.waitForMessages(2)
        #expect(messages.contains { $0.all("Received").first?.contains("[198.51.100.77]") == true })
        // Without its throttle the site is a site like any other: strangers are greylisted.
        try node.kill()
        try await waitUntil("the door is open") { postern.log.contains("open to everybody") }
        let opened = try await swaks.send(source: "127.0.0.40")
        #expect(opened.reply(to: "RCPT")?.code == 451, "\(opened.transcript)")
        try await Task.sleep(for: .milliseconds(2100))
        #expect(try await swaks.send(source: "127.0.0.40").accepted)
        try await node.start()
        try await waitUntil("the door is shut") { postern.log.contains("shut again") }
        #expect(try await swaks.send(source: "127.0.0.41").reply(to: "RCPT")?.code == 450)
        try await postern.stop()
    }
}

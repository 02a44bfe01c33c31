import Foundation
import IntegrationSupport
import Testing

/// The gateway as an admin has it: `postern serve` with a configuration file, and a real Postfix behind.
@Suite("postern serve as a gateway", .serialized, .servers("postfix", "swaks"))
struct ServedGatewayTests {
    @Test("a stranger is deferred, comes back and is delivered; Postfix sees the stranger's address, and its words reach the client")
    func greylistedDelivery() async throws {
        let postfix = try await PostfixServer.start(.init(recipients: ["bob@example.test"], clientInformation: .xclient))
        let port = try FreePort.next()
        let postern = try PosternProcess(
            "greylist: { delay: 2s }\ndelays: { greeting: 200ms }",
            listener:
                "address: \"127.0.0.1:0\" }, { name: mx, role: gateway, address: \"127.0.0.1:\(port)\", backend: \"127.0.0.1:\(postfix.port)\""
        )
        try await postern.start()
        let swaks = try Swaks(port: port)
        let first = try await swaks.send(source: "127.0.0.9")
        #expect(first.reply(to: "RCPT")?.code == 451, "\(first.transcript)\n\(postern.log)")
        #expect(first.reply(to: "RCPT")?.reply.first?.contains("4.7.1 Greylisted") == true)
        #expect(try await swaks.send(to: ["nobody@example.test"], source: "127.0.0.9").reply(to: "RCPT")?.code == 550)
        #expect(try postfix.mailbox.count() == 0)
        try await Task.sleep(for: .milliseconds(2100))
        let retry = try await swaks.send(source: "127.0.0.9")
        #expect(retry.accepted, "\(retry.transcript)\n\(postern.log)")
        let message = try #require(try await postfix.mailbox.waitForMessages().first)
        #expect(message.all("Received").first?.contains("[127.0.0.9]") == true)
        #expect(try await postern.stop().code == 0)
    }

    @Test("an address in use is an error at its place in the file, exit code 78")
    func addressInUse() async throws {
        let sink = try await SMTPSink.start()
        let postern = try PosternProcess("", listener: "address: \"127.0.0.1:\(sink.port)\"")
        let outcome = try await postern.verb("serve")
        #expect(outcome.status == 78)
        #expect(outcome.output.contains("postern.yaml:3:"), "\(outcome.output)")
        #expect(outcome.output.contains("another process listens there"))
    }
}

import Foundation
import IntegrationSupport
import PosternConfiguration
import PosternCore
import Testing

@testable import PosternServer

/// A real Exim that asks a real Postern, with the very statements that `postern serve` prints.
@Suite("policy service with Exim", .serialized, .servers("exim4", "swaks"))
struct PolicyWithEximTests {
    private let stranger = "127.0.0.9"

    private func exim(_ postern: PosternProcess, trusting networks: [String] = []) async throws -> EximServer {
        let address = Configuration.Address.tcp(try #require(IPAddress("127.0.0.1")), port: postern.port)
        var configuration = EximConfiguration(
            recipientStatements: Snippets.eximStatements(address, at: .rcpt) + "\n",
            dataStatements: Snippets.eximStatements(address, at: .endOfMessage) + "\n", trustedNetworks: networks)
        configuration.predataStatements = Snippets.eximStatements(address, at: .data) + "\n"
        return try await EximServer.start(configuration)
    }

    @Test("a first attempt is deferred, so is an early retry; a later one is delivered with the header; the next passes at once")
    func greylisting() async throws {
        let postern = try await PosternProcess.start("greylist: { delay: 3s }")
        let exim = try await exim(postern)
        let swaks = try Swaks(port: exim.port)
        let first = try await swaks.send(source: stranger)
        #expect(first.reply(to: "RCPT")?.code == 451, "\(first.transcript)\n\(postern.log)\n\(exim.log)")
        let lines = try #require(first.reply(to: "RCPT")?.reply)
        // RFC 2034 §4: the enhanced code stands once in each line.
        #expect(lines.first?.dropFirst(4).hasPrefix("4.7.1 Greylisted: please come back in 3 seconds or later") == true, "\(lines)")
        #expect(lines.allSatisfy { $0.hasPrefix("451 4.7.1 ") || $0.hasPrefix("451-4.7.1 ") })
        #expect(try await swaks.send(source: stranger).reply(to: "RCPT")?.code == 451)
        #expect(try exim.mailbox.count() == 0)
        try await Task.sleep(for: .milliseconds(3100))
        let retry = try await swaks.send(source: stranger)
        #expect(retry.accepted, "\(retry.transcript)\n\(postern.log)")
        let message = try #require(try await exim.mailbox.waitForMessages().first)
        #expect(message["X-Greylist"]?.hasSuffix("seconds by postern at mx.example.test") == true)
        #expect(try await swaks.send(source: stranger).accepted)
        #expect(try await exim.mailbox.waitForMessages(2).filter { $0["X-Greylist"] != nil }.count == 1)
        try await postern.stop()
    }

    @Test("a blocked sender is refused; mail passes while Postern is stopped, and is asked about again when it is back")
    func blockedAndStopped() async throws {
        let postern = try await PosternProcess.start("greylist: { delay: 60s }")
        let exim = try await exim(postern)
        let swaks = try Swaks(port: exim.port)
        let added = try await postern.verb("block", "add", "spammer@sender.test")
        #expect(added.status == 0, "\(added.output)")
        let refused = try await swaks.send(from: "spammer@sender.test", source: stranger)
        #expect(refused.reply(to: "RCPT")?.reply.first?.hasPrefix("554") == true, "\(refused.transcript)")
        #expect(try await swaks.send(source: stranger).reply(to: "RCPT")?.code == 451)
        try await postern.stop()
        #expect(try await swaks.send(source: stranger).accepted)
        try await postern.start()
        #expect(try await swaks.send(source: stranger).reply(to: "RCPT")?.code == 451)
        try await postern.stop()
    }

    @Test("a stranger's null sender is judged in reply to DATA, that of one's own hosts is not")
    func nullSender() async throws {
        let postern = try await PosternProcess.start("greylist: { delay: 60s, reply: 451 }")
        let exim = try await exim(postern, trusting: ["127.0.0.5"])
        let swaks = try Swaks(port: exim.port)
        let strange = try await swaks.send(from: "", source: stranger)
        #expect(strange.reply(to: "RCPT")?.code == 250)
        let lines = try #require(strange.reply(to: "DATA")?.reply)
        #expect(lines.first?.dropFirst(4).hasPrefix("4.7.1 Greylisted") == true, "\(lines)")
        let own = try await swaks.send(from: "", source: "127.0.0.5")
        #expect(own.accepted, "\(own.transcript)\n\(exim.log)")
        try await postern.stop()
    }

    @Test("what was taken is charged at the end of the message")
    func charging() async throws {
        let postern = try await PosternProcess.start("greylist: { mode: off }\nthrottle: { mode: on, limits: [address messages 10/1h] }")
        let exim = try await exim(postern)
        let swaks = try Swaks(port: exim.port)
        for _ in 0..<2 { #expect(try await swaks.send(to: ["a@example.test", "b@example.test"], source: stranger).accepted) }
        let explained = try await postern.verb(
            "explain", "--ip", stranger, "--helo", "h.example", "--from", "a@sender.test", "--to", "b@example.test")
        #expect(explained.output.contains(#/address messages 10\/1h.*8 of 10/#), "\(explained.output)")
        try await postern.stop()
    }
}

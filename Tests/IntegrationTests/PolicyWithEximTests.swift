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

    private func exim(_ postern: PosternProcess) async throws -> EximServer {
        let address = Configuration.Address.tcp(try #require(IPAddress("127.0.0.1")), port: postern.port)
        return try await EximServer.start(
            .init(recipientStatements: Snippets.eximStatements(address, state: "RCPT", recipient: "$local_part@$domain") + "\n"))
    }

    @Test("a first attempt is deferred, so is an early retry; a later one is delivered with the header; the next passes at once")
    func greylisting() async throws {
        let postern = try await PosternProcess.start("greylist: { delay: 3s }")
        let exim = try await exim(postern)
        let swaks = try Swaks(port: exim.port)
        let first = try await swaks.send(source: stranger)
        #expect(first.reply(to: "RCPT")?.code == 451, "\(first.transcript)\n\(postern.log)\n\(exim.log)")
        #expect(first.reply(to: "RCPT")?.reply.first?.contains("4.7.1 Greylisted: please come back in 3 seconds or later") == true)
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
}

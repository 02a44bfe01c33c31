import Foundation
import IntegrationSupport
import PosternConfiguration
import PosternCore
import PosternServer
import Testing

/// A real Postfix that asks a real Postern.
@Suite("policy service with Postfix", .serialized, .servers("postfix", "swaks"))
struct PolicyWithPostfixTests {
    /// Not one of Postfix's own networks.
    private let stranger = "127.0.0.9"

    @Test("a first attempt is deferred, so is an early retry; a later one is delivered with the header; the next passes at once")
    func greylisting() async throws {
        let postern = try await PosternProcess.start("greylist: { delay: 3s }")
        let postfix = try await PostfixServer.start(
            .init(policy: .init("inet:127.0.0.1:\(postern.port)", atData: true), extraMain: ["access_map_defer_code = 451"]))
        let swaks = try Swaks(port: postfix.port)

        let first = try await swaks.send(source: stranger)
        #expect(first.reply(to: "RCPT")?.code == 451, "\(first.transcript)\n\(postern.log)")
        #expect(first.reply(to: "RCPT")?.reply.first?.contains("4.7.1") == true)
        #expect(first.reply(to: "RCPT")?.reply.first?.contains("Greylisted: please come back in 3 seconds or later") == true)
        #expect(try await swaks.send(source: stranger).reply(to: "RCPT")?.code == 451)
        #expect(try postfix.mailbox.count() == 0)

        try await Task.sleep(for: .milliseconds(3100))
        let retry = try await swaks.send(source: stranger)
        #expect(retry.accepted, "\(retry.transcript)\n\(postern.log)")
        let message = try #require(try await postfix.mailbox.waitForMessages().first)
        #expect(message["X-Greylist"]?.hasPrefix("delayed ") == true)
        #expect(message["X-Greylist"]?.hasSuffix("seconds by postern at mx.example.test") == true)
        #expect(message["X-Greylist"]?.contains("@") == false)

        #expect(try await swaks.send(source: stranger).accepted)
        let both = try await postfix.mailbox.waitForMessages(2)
        #expect(both.filter { $0["X-Greylist"] != nil }.count == 1)
        #expect(try await postern.stop().code == 0)
    }

    @Test("mail passes while Postern is stopped, and is greylisted again when it is back")
    func stopped() async throws {
        let postern = try await PosternProcess.start("greylist: { delay: 60s }")
        let postfix = try await PostfixServer.start(.init(policy: .init("inet:127.0.0.1:\(postern.port)")))
        let swaks = try Swaks(port: postfix.port)
        #expect(try await swaks.send(source: stranger).reply(to: "RCPT")?.code == 450)
        try await postern.stop()
        #expect(try await swaks.send(source: stranger).accepted)
        try await postern.start()
        // Postfix keeps a connection to the service for a while; it notices by itself that it is a new one.
        #expect(try await swaks.send(source: stranger).reply(to: "RCPT")?.code == 450)
        try await postern.stop()
    }

    @Test("a bounce passes RCPT, is deferred at DATA, and delivered when it comes back")
    func bounces() async throws {
        let postern = try await PosternProcess.start("greylist: { delay: 2s }")
        let postfix = try await PostfixServer.start(.init(policy: .init("inet:127.0.0.1:\(postern.port)", atData: true)))
        let swaks = try Swaks(port: postfix.port)
        let first = try await swaks.send(from: "", source: stranger)
        #expect(first.reply(to: "RCPT")?.code == 250)
        #expect(first.reply(to: "DATA")?.code == 450, "\(first.transcript)\n\(postern.log)")
        try await Task.sleep(for: .milliseconds(2100))
        let retry = try await swaks.send(from: "", source: stranger)
        #expect(retry.accepted, "\(retry.transcript)\n\(postern.log)")
        try await postern.stop()
    }

    @Test("several recipients: each has its own key, postmaster is never deferred, the header comes once")
    func recipients() async throws {
        let postern = try await PosternProcess.start("greylist: { delay: 2s }")
        let recipients = ["bob@example.test", "carol@example.test", "postmaster@example.test"]
        let postfix = try await PostfixServer.start(.init(recipients: recipients, policy: .init("inet:127.0.0.1:\(postern.port)")))
        let swaks = try Swaks(port: postfix.port)
        let first = try await swaks.send(to: recipients, source: stranger)
        #expect(first.reply(to: "RCPT TO:<bob")?.code == 450)
        #expect(first.reply(to: "RCPT TO:<carol")?.code == 450)
        #expect(first.reply(to: "RCPT TO:<postmaster")?.code == 250)
        try await Task.sleep(for: .milliseconds(2100))
        #expect(try await swaks.send(to: recipients, source: stranger).accepted)
        let delivered = try await postfix.mailbox.waitForMessages(4)
        #expect(delivered.allSatisfy { $0.all("X-Greylist").count <= 1 })
        try await postern.stop()
    }

    @Test("an account that has logged in is asked about ahead of permit_sasl_authenticated, and never greylisted")
    func submission() async throws {
        let postern = try await PosternProcess.start("greylist: { delay: 60s }")
        let sink = try await SMTPSink.start()
        let postfix = try await PostfixServer.start(
            .init(
                relayHost: "[127.0.0.1]:\(sink.port)", trustedNetworks: [],
                submission: .init(users: ["alice@own.test": "sesame"], policy: .init("inet:127.0.0.1:\(postern.port)"))))
        let swaks = try Swaks(port: try #require(postfix.submissionPort))
        let outcome = try await swaks.send(
            to: ["x@far.test"], extra: ["--auth", "PLAIN", "--auth-user", "alice@own.test", "--auth-password", "sesame"])
        #expect(outcome.accepted, "\(outcome.transcript)\n\(postern.log)")
        try await waitUntil("the decision in the log") { postern.log.contains("reason=authenticated") }
        #expect(postern.log.contains("account=alice@own.test"))
        try await postern.stop()
    }

    @Test("a UNIX socket serves as well as a port")
    func unixSocket() async throws {
        let folder = try TemporaryFolder()
        let path = folder.file("policy.sock")
        let postern = try PosternProcess("greylist: { delay: 60s }", listener: "address: \"unix:\(path)\", mode: \"0666\"")
        try await postern.start()
        let postfix = try await PostfixServer.start(.init(policy: .init("unix:\(path)"), binds: [folder.path]))
        let outcome = try await Swaks(port: postfix.port).send(source: stranger)
        #expect(outcome.reply(to: "RCPT")?.code == 450, "\(outcome.transcript)\n\(postfix.log)")
        try await postern.stop()
        #expect(!FileManager.default.fileExists(atPath: path))
    }

    @Test("a burst of messages over many sessions is deferred, then delivered by the sender's own retries")
    func burst() async throws {
        let postern = try await PosternProcess.start("greylist: { delay: 2s, proven_after: 0 }")
        let receiver = try await PostfixServer.start(
            .init(address: "127.0.0.1", policy: .init("inet:127.0.0.1:\(postern.port)", atData: true), trustedNetworks: []))
        let sender = try await PostfixServer.start(.init(domains: ["own.test"], relayHost: "[127.0.0.1]:\(receiver.port)"))
        for number in 0..<20 {
            try await sender.submit(from: "alice\(number)x@own.test", to: ["bob@example.test"], message: "Subject: \(number)\n\nbody\n")
        }
        let delivered = try await receiver.mailbox.waitForMessages(20, within: PostfixServer.retryPatience)
        #expect(delivered.count == 20)
        #expect(delivered.allSatisfy { $0["X-Greylist"] != nil }, "\(postern.log)")
        try await postern.stop()
    }
}

import EngineTestSupport
import Foundation
import IntegrationSupport
import Testing

/// A real queue, sent through a real gateway to a real server, while both are killed: nothing is lost, and nothing comes
/// twice but where nobody could know better.
@Suite("nothing lost through the gateway", .serialized, .servers("postfix"))
struct GatewayNothingLostTests {
    private static let messages = 500
    private static let size = 20_000
    /// Of each of the two.
    private static let kills = 8

    @Test(
        "a Postfix queue of 500 messages arrives whole while gateway and backend are killed at random moments",
        arguments: [UInt64(1), 2, 3])
    func queue(seed: UInt64) async throws {
        let backend = try await PostfixServer.start(.init(clientInformation: .xclient))
        let gatewayPort = try FreePort.next()
        let postern = try PosternProcess(
            "greylist: { delay: 1s }\ndelays: { greeting: 0s }",
            listener:
                "address: \"127.0.0.1:0\" }, { name: mx, role: gateway, address: \"127.0.0.1:\(gatewayPort)\", backend: \"127.0.0.1:\(backend.port)\""
        )
        let sender = try await PostfixServer.start(
            .init(
                hostname: "out.sender.test", domains: ["sender.test"], relayHost: "[127.0.0.1]:\(gatewayPort)",
                extraMain: [
                    "smtp_destination_concurrency_limit = 10",
                    // A gateway that is away for a moment is tried again at once.
                    "smtp_destination_concurrency_failed_cohort_limit = 0",
                    "smtp_connection_cache_on_demand = yes",
                ]))
        // Every recipient is another, so that each message is known by its own.
        try await SMTPSource(port: sender.port).send(
            messages: Self.messages, sessions: 10, size: Self.size, onePerSession: false, options: ["-N"])

        var random = Seeded(seed: seed)
        var kills = (gateway: 0, backend: 0)
        try await postern.start()
        func startGateway() async throws {
            try await postern.start()
            try await waitUntil("the gateway is back") { FreePort.isListening(gatewayPort) }
        }
        let victims = ([Bool](repeating: true, count: Self.kills) + [Bool](repeating: false, count: Self.kills)).shuffled(using: &random)
        for isGateway in victims {
            try await Task.sleep(for: .milliseconds(50 + random.below(450)))
            guard try backend.mailbox.count() < Self.messages else { break }
            if isGateway {
                kills.gateway += 1
                try await postern.kill()
                try await Task.sleep(for: .milliseconds(random.below(150)))
                try await startGateway()
            } else {
                kills.backend += 1
                try backend.kill()
                try await Task.sleep(for: .milliseconds(random.below(150)))
                try await backend.start()
            }
        }
        #expect(kills.gateway >= 3 && kills.backend >= 3, "\(kills)")

        var left: [PostfixServer.Queued] = []
        try await waitUntil(
            "an empty queue; \(left.count) left, such as \(left.first.map { "\($0)" } ?? "none")", within: PostfixServer.retryPatience,
            every: .milliseconds(200)
        ) {
            left = try await sender.queue()
            return left.isEmpty
        }
        try await waitUntil("the backend's own queue is empty", every: .milliseconds(200)) { try await backend.queue().isEmpty }
        let report = try DeliveryReport(backend.mailbox.messages(), senderLog: sender.log)
        #expect(report.recipients == Self.messages, "every message is delivered in the end: \(report)")
        #expect(report.lengths == 1, "and whole: \(report)")
        #expect(report.unexplained == [], "twice only where the last answer was cut off: \(report)")
        #expect(report.failedAttempts > 0, "the kills fell into deliveries: \(report)")
        #expect(!sender.log.contains("status=bounced"))
        print("nothing lost: \(kills.gateway) kills of the gateway, \(kills.backend) of the backend; \(report)")
        #expect(try await postern.stop().code == 0)
    }
}

/// What arrived, beside what the sender's log says of its attempts.
private struct DeliveryReport: CustomStringConvertible {
    /// Recipients that got their message.
    let recipients: Int
    /// Messages that the backend took more than once.
    let duplicates: Int
    /// Those copies for which no attempt ended without knowing whether the message was taken.
    let unexplained: [String]
    /// Attempts whose answer to the end of the data was cut off: the sender must try again.
    let cutOff: Int
    /// All attempts that failed.
    let failedAttempts: Int
    /// How many lengths of body there are.
    let lengths: Int

    init(_ messages: [DeliveredMessage], senderLog: String) throws {
        // Two files of one queue identifier are one message that the backend itself delivered anew after it was killed.
        var taken: [String: Set<String>] = [:]
        for message in messages {
            guard let recipient = message.recipients.first, let received = message.all("Received").first else {
                throw TestFailure("a message without its trace: \(message.headers)")
            }
            let identifier = received.components(separatedBy: "SMTP id ").last?.prefix { $0.isLetter || $0.isNumber } ?? ""
            taken[recipient, default: []].insert(String(identifier))
        }
        recipients = taken.count
        lengths = Set(messages.map(\.body.count)).count

        var uncertain: [String: Int] = [:]
        var failed = 0
        for line in senderLog.split(separator: "\n") where line.contains("status=deferred") {
            failed += 1
            guard let start = line.firstRange(of: "to=<"), let end = line[start.upperBound...].firstIndex(of: ">") else { continue }
            // Postfix says so where the connection broke; the gateway's own word is that it lost the backend.
            let isUncertain =
                line.contains("while sending end of data -- message may be sent more than once")
                || line.contains("in reply to end of DATA command")
            if isUncertain { uncertain[String(line[start.upperBound..<end]), default: 0] += 1 }
        }
        cutOff = uncertain.values.reduce(0, +)
        failedAttempts = failed
        duplicates = taken.values.reduce(0) { $0 + $1.count - 1 }
        unexplained = taken.compactMap { recipient, identifiers in
            identifiers.count - 1 > uncertain[recipient, default: 0] ? "\(recipient): \(identifiers.count) times" : nil
        }
    }

    var description: String {
        "\(recipients) recipients, \(failedAttempts) attempts failed, \(cutOff) of them with the last answer cut off, \(duplicates) duplicates"
    }
}

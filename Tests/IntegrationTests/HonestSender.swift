import IntegrationSupport
import Testing

/// Real mail servers that have mail for others, hand all of it to one host, and come again with what that puts off.
enum HonestSender: String, CaseIterable, CustomTestStringConvertible {
    case postfix
    case exim
    case openSMTPD

    var testDescription: String { rawValue }

    struct Running: Sendable {
        let submit: @Sendable (_ recipients: [String], _ message: String) async throws -> Void
        /// Tries again what waits, where a server would not by itself within seconds.
        let nudge: @Sendable () async throws -> Void
        let queueCount: @Sendable () async throws -> Int
        let log: @Sendable () -> String
    }

    /// All mail goes to this port.
    func start(towards port: UInt16) async throws -> Running {
        let (hostname, sender) = ("out.sender.test", "alice@sender.test")
        switch self {
        case .postfix:
            let server = try await PostfixServer.start(
                .init(hostname: hostname, domains: ["sender.test"], relayHost: "[127.0.0.1]:\(port)", retrySeconds: 3))
            return Running(
                submit: { try await server.submit(from: sender, to: $0, message: $1) }, nudge: {},
                queueCount: { try await server.queue().count }, log: { server.log })
        case .exim:
            let server = try await EximServer.start(
                .init(hostname: hostname, domains: ["sender.test"], relay: (address: "127.0.0.1", port: port)))
            return Running(
                submit: { try await server.submit(from: sender, to: $0, message: $1) }, nudge: {},
                queueCount: { try await server.queueCount() }, log: { server.log })
        case .openSMTPD:
            let server = try await OpenSMTPDServer.start(
                .init(hostname: hostname, domains: ["sender.test"], relay: "smtp+notls://127.0.0.1:\(port)"))
            let swaks = try Swaks(port: server.port)
            return Running(
                submit: { recipients, message in
                    let outcome = try await swaks.send(from: sender, to: recipients, data: message)
                    guard outcome.accepted else { throw TestFailure(outcome.transcript) }
                }, nudge: { try await server.flush() }, queueCount: { try await server.queueCount() }, log: { server.log })
        }
    }
}

extension HonestSender.Running {
    /// Waits until nothing waits any more.
    func waitUntilSent(within limit: Duration = .seconds(120)) async throws {
        try await waitUntil("the sender's queue is empty\n\(log().suffix(3000))", within: limit, every: .milliseconds(500)) {
            if try await queueCount() == 0 { return true }
            try await nudge()
            return false
        }
    }
}

import Testing
import IntegrationSupport
import SMTPProtocol

/// The real mail servers that a gateway stands in front of, each with the ways it has to learn of the client.
enum RealBackend: String, CaseIterable, CustomTestStringConvertible {
    case postfixByXclient
    case postfixByProxy
    case eximByProxy
    case eximBlind
    case openSMTPDByProxy
    case openSMTPDBlind

    var testDescription: String { rawValue }

    var information: BackendSettings.ClientInformation {
        switch self {
        case .postfixByXclient: .xclient
        case .postfixByProxy, .eximByProxy, .openSMTPDByProxy: .proxyV2
        case .eximBlind, .openSMTPDBlind: .none
        }
    }

    /// One of each server.
    static let servers: [RealBackend] = [.postfixByXclient, .eximByProxy, .openSMTPDByProxy]

    /// Starts it with these mailboxes at example.test, or with every one.
    func start(mailboxes: [String]? = nil, port: UInt16? = nil) async throws -> Running {
        let addresses = mailboxes?.map { "\($0)@example.test" }
        switch self {
        case .postfixByXclient, .postfixByProxy:
            let server = try await PostfixServer.start(
                .init(recipients: addresses, port: port, clientInformation: self == .postfixByXclient ? .xclient : .proxy))
            return Running(
                port: server.port, mailbox: server.mailbox, log: { server.log }, kill: { try server.kill() },
                start: { try await server.start() })
        case .eximByProxy, .eximBlind:
            let server = try await EximServer.start(.init(localParts: mailboxes, port: port, expectsProxyHeader: self == .eximByProxy))
            return Running(
                port: server.port, mailbox: server.mailbox, log: { server.log }, kill: { try server.kill() },
                start: { try await server.start() })
        case .openSMTPDByProxy, .openSMTPDBlind:
            let server = try await OpenSMTPDServer.start(
                .init(recipients: addresses, port: port, expectsProxyHeader: self == .openSMTPDByProxy))
            return Running(
                port: server.port, mailbox: server.mailbox, log: { server.log }, kill: { try server.kill() },
                start: { try await server.start() })
        }
    }

    struct Running: Sendable {
        let port: UInt16
        let mailbox: Mailbox
        let log: @Sendable () -> String
        let kill: @Sendable () throws -> Void
        let start: @Sendable () async throws -> Void
    }
}

import NIOCore
import NIOSSL
import SMTPProtocol

/// Connections that have served a client and wait for the next one, on one event loop.
///
/// A connection that a backend takes for another client's costs one exchange in place of several, and spares the backend a
/// process. Whether it does is up to `BackendSession.mayServe`; here are only the bounds.
final class BackendPool {
    private struct Kept {
        let connection: BackendConnection
        let since: NIODeadline
    }

    private unowned let gate: GatewayLoop
    private var kept: [Kept] = []
    private var isClosed = false

    init(gate: GatewayLoop) {
        self.gate = gate
    }

    var count: Int { kept.count }

    /// Takes over a connection that its user lets go; false where it is better ended.
    func keep(_ connection: BackendConnection) -> Bool {
        let settings = gate.gateway.settings.kept
        guard !isClosed, kept.count < settings.connections, connection.isReady, connection.messages < settings.messages,
            connection.session.maySpeakForAnother, !gate.gateway.directory.servesOnlyOne(connection.address)
        else { return false }
        kept.append(Kept(connection: connection, since: .now()))
        return true
    }

    /// A connection to this backend, opened as it would be opened now, that can serve `client`; one that knows it by its
    /// name already is best.
    func take(_ address: ListenAddress, _ settings: BackendSettings, tls: NIOSSLContext?, for client: BackendClient) -> BackendConnection? {
        var found: Int?
        for index in kept.indices.reversed() {
            let connection = kept[index].connection
            guard connection.address == address, connection.tls === tls, connection.session.settings == settings,
                connection.session.mayServe(client)
            else { continue }
            found = index
            if connection.session.knows(client) { break }
        }
        return found.map { kept.remove(at: $0).connection }
    }

    /// Lets go of those that have waited in vain.
    func tidy(_ now: NIODeadline) {
        let patience = TimeAmount.milliseconds(gate.gateway.settings.kept.idle.milliseconds)
        let old = kept.prefix { now - $0.since >= patience }
        kept.removeFirst(old.count)
        for entry in old { entry.connection.end() }
    }

    /// Lets go of all, and keeps none from here on.
    func close() {
        isClosed = true
        let all = kept
        kept = []
        for entry in all { entry.connection.end() }
    }
}

extension BackendPool: BackendUser {
    func backend(_ connection: BackendConnection, replied reply: Reply, to step: BackendStep) {}

    /// The backend has closed it.
    func backend(_ connection: BackendConnection, failed failure: BackendFailure) {
        kept.removeAll { $0.connection === connection }
    }

    func backendTurnEnded(_ connection: BackendConnection) {}
}

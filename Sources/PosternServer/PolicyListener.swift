import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import PosternCore

/// A listening socket of the policy service and the connections it has accepted.
final class PolicyListener: Sendable {
    let name: String
    let address: ListenAddress
    private let server: any Channel
    private let connections: ConnectionSet

    private init(name: String, address: ListenAddress, server: any Channel, connections: ConnectionSet) {
        self.name = name
        self.address = address
        self.server = server
        self.connections = connections
    }

    /// Starts to accept on a listening descriptor, which the listener then owns.
    static func start(
        name: String, address: ListenAddress, descriptor: Int32, group: any EventLoopGroup, service: PolicyService,
        limits: PolicyServiceLimits,
        logger: Logger
    ) async throws -> PolicyListener {
        let connections = ConnectionSet()
        let refusals = RateLimitedLog(logger: logger, interval: .minutes(1))
        let server = try await ServerBootstrap(group: group)
            .pausing(name, ShortageLog(logger: logger))
            .serverChannelOption(.maxMessagesPerRead, value: 64)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelInitializer { channel in
                guard service.counters.admit(limit: limits.connections) else {
                    service.counters.refusedConnection()
                    refusals.warning(
                        "policy connection refused: policy.max_connections is reached",
                        metadata: ["listener": "\(name)", "max_connections": "\(limits.connections)"])
                    return channel.close()
                }
                connections.insert(channel)
                return channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        PolicyConnectionHandler(
                            service: service, inbox: service.inbox(for: channel.eventLoop), listener: name, limits: limits, logger: logger))
                }
            }
            .withBoundSocket(descriptor)
            .get()
        return PolicyListener(name: name, address: address, server: server, connections: connections)
    }

    /// Stops accepting, lets every connection answer what it was asked, and waits for them at most `patience`.
    func drain(patience: WallTime.Span) async {
        try? await server.close()
        await connections.drain(patience: patience)
    }
}

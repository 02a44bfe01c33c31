import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import PosternConfiguration
import PosternCore

/// A listening socket of a socketmap and the connections it has accepted.
public final class SocketmapListener: RunningListener {
    public let name: String
    public let address: ListenAddress
    let role = Configuration.Role.socketmap
    public let service: SocketmapService
    private let server: any Channel
    private let connections: ConnectionSet

    private init(name: String, address: ListenAddress, service: SocketmapService, server: any Channel, connections: ConnectionSet) {
        self.name = name
        self.address = address
        self.service = service
        self.server = server
        self.connections = connections
    }

    /// Starts to accept on a listening descriptor, which the listener then owns.
    public static func start(
        name: String, address: ListenAddress, descriptor: Int32, group: any EventLoopGroup, service: SocketmapService,
        limits: SocketmapLimits = SocketmapLimits(), logger: Logger
    ) async throws -> SocketmapListener {
        let connections = ConnectionSet()
        let refusals = RateLimitedLog(logger: logger, interval: .minutes(1))
        let open = NIOLockedValueBox(0)
        let server = try await ServerBootstrap(group: group)
            .pausing(name, ShortageLog(logger: logger))
            .serverChannelOption(.maxMessagesPerRead, value: 16)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelInitializer { channel in
                let isAdmitted = open.withLockedValue { open in
                    guard open < limits.connections else { return false }
                    open += 1
                    return true
                }
                guard isAdmitted else {
                    refusals.warning(
                        "socketmap connection refused: there are too many",
                        metadata: ["listener": "\(name)", "connections": "\(limits.connections)"])
                    return channel.close()
                }
                channel.closeFuture.whenComplete { _ in open.withLockedValue { $0 -= 1 } }
                connections.insert(channel)
                return channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        SocketmapConnectionHandler(service: service, listener: name, limits: limits, logger: logger))
                }
            }
            .withBoundSocket(descriptor)
            .get()
        return SocketmapListener(name: name, address: address, service: service, server: server, connections: connections)
    }

    /// Stops accepting, answers what was asked, and waits for that at most `patience`.
    public func drain(patience: WallTime.Span) async {
        try? await server.close()
        await connections.drain(patience: patience)
    }
}

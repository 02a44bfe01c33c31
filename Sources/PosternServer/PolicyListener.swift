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
        if case .unix(let path, _, _) = address { ListeningSocket.remove(path) }
        await connections.drain(patience: patience)
    }
}

/// The open connections of a listener.
final class ConnectionSet: Sendable {
    private let channels = NIOLockedValueBox<[ObjectIdentifier: any Channel]>([:])

    func insert(_ channel: any Channel) {
        let id = ObjectIdentifier(channel)
        channels.withLockedValue { $0[id] = channel }
        channel.closeFuture.whenComplete { [channels] _ in channels.withLockedValue { $0[id] = nil } }
    }

    /// Tells every connection that we are stopping, waits, and closes what is left.
    func drain(patience: WallTime.Span) async {
        let open = channels.withLockedValue { Array($0.values) }
        for channel in open { channel.pipeline.fireUserInboundEventTriggered(DrainEvent()) }
        let deadline = NIODeadline.now() + .milliseconds(patience.milliseconds)
        while NIODeadline.now() < deadline, channels.withLockedValue({ !$0.isEmpty }) {
            try? await Task.sleep(for: .milliseconds(10))
        }
        for channel in channels.withLockedValue({ Array($0.values) }) { channel.close(promise: nil) }
    }
}

/// Logs at most one line an interval, and then says how many it kept back.
final class RateLimitedLog: Sendable {
    private struct State {
        var last: NIODeadline?
        var heldBack = 0
    }

    private let logger: Logger
    private let interval: TimeAmount
    private let state = NIOLockedValueBox(State())

    init(logger: Logger, interval: WallTime.Span) {
        self.logger = logger
        self.interval = .milliseconds(interval.milliseconds)
    }

    func warning(_ message: Logger.Message, metadata: Logger.Metadata) {
        log(.warning, message, metadata: metadata)
    }

    func log(_ level: Logger.Level, _ message: Logger.Message, metadata: Logger.Metadata) {
        let now = NIODeadline.now()
        let heldBack: Int? = state.withLockedValue { state in
            if let last = state.last, now - last < interval {
                state.heldBack += 1
                return nil
            }
            defer { state.heldBack = 0 }
            state.last = now
            return state.heldBack
        }
        guard let heldBack else { return }
        var metadata = metadata
        if heldBack > 0 { metadata["more_since_last_line"] = "\(heldBack)" }
        logger.log(level: level, message, metadata: metadata)
    }
}

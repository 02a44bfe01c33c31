import Hummingbird
import HummingbirdCore
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import PosternCore

/// A listening socket of the admin's, and the connections it has accepted: Hummingbird's HTTP over a descriptor that was
/// opened before we left root behind. It has a thread of its own, so that a page never holds up a decision.
public final class AdminListener: Sendable {
    private let loops: MultiThreadedEventLoopGroup
    private let server: any NIOCore.Channel
    private let serving: Task<Void, Never>
    private let hasEnded: NIOLockedValueBox<Bool>
    private let site: AdminSite
    private let door: AdminDoor
    /// What new connections are encrypted with; `nil` where they are not.
    private let encryption: NIOLockedValueBox<NIOSSLContext>?

    private init(
        loops: MultiThreadedEventLoopGroup, server: any NIOCore.Channel, serving: Task<Void, Never>, hasEnded: NIOLockedValueBox<Bool>,
        site: AdminSite, door: AdminDoor, encryption: NIOLockedValueBox<NIOSSLContext>?
    ) {
        self.loops = loops
        self.server = server
        self.serving = serving
        self.hasEnded = hasEnded
        self.site = site
        self.door = door
        self.encryption = encryption
    }

    /// What takes up a token, names and a certificate that have changed, when it is called; whether there is TLS at all stays as
    /// it was at the start. Connections that are open keep theirs. Throws where the certificate cannot be used.
    public func renewal(_ settings: AdminSettings) throws -> @Sendable () -> Void {
        let fresh = try settings.tls.map { try NIOSSLContext(configuration: $0) }
        return { [encryption, door] in
            if let encryption, let fresh { encryption.withLockedValue { $0 = fresh } }
            door.update(settings)
        }
    }

    /// Starts to accept on a listening descriptor, which the listener then owns.
    ///
    /// - Parameter prepare: called with the listening channel before it accepts.
    public static func start(
        descriptor: Int32, settings: AdminSettings, site: AdminSite, logger: Logger,
        prepare: @escaping @Sendable (any NIOCore.Channel) -> EventLoopFuture<Void>
    ) async throws -> AdminListener {
        let door = AdminDoor(settings: settings, site: site, logger: logger)
        let responder = door.responder()
        var http = HTTP1Channel.Configuration(idleTimeout: .seconds(AdminSettings.idle))
        // The door turns away what is shorter, in words.
        http.httpDecoder.maxHeaderFieldSize = 4 * AdminSettings.maximumHeader
        http.httpDecoder.maxHeaderListSize = 4 * AdminSettings.maximumHeader
        http.httpDecoder.maxHeaderFieldCount = 100
        let plain = PlainChannel(base: HTTP1Channel(responder: responder, configuration: http))
        if let tls = settings.tls {
            let encryption = NIOLockedValueBox(try NIOSSLContext(configuration: tls))
            return try await start(
                descriptor, EncryptedChannel(base: plain, encryption: encryption), site, door, encryption, logger, prepare)
        }
        return try await start(descriptor, plain, site, door, nil, logger, prepare)
    }

    private static func start<Child: ServerChildChannel>(
        _ descriptor: Int32, _ child: Child, _ site: AdminSite, _ door: AdminDoor, _ encryption: NIOLockedValueBox<NIOSSLContext>?,
        _ logger: Logger, _ prepare: @escaping @Sendable (any NIOCore.Channel) -> EventLoopFuture<Void>
    ) async throws -> AdminListener {
        let loops = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let room = ConnectionRoom(AdminSettings.maximumConnections)
        let listening: NIOAsyncChannel<Child.Value?, Never>
        do {
            listening = try await ServerBootstrap(group: loops)
                .serverChannelInitializer(prepare)
                .childChannelOption(.allowRemoteHalfClosure, value: true)
                .bind(descriptor, serverBackPressureStrategy: nil) { channel in
                    guard room.enter() else {
                        return channel.close().map { nil }.flatMapErrorThrowing { _ in nil }
                    }
                    channel.closeFuture.whenComplete { _ in room.leave() }
                    return child.setup(channel: channel, logger: logger).map { Optional($0) }
                }
        } catch {
            try? await loops.shutdownGracefully()
            throw error
        }
        let hasEnded = NIOLockedValueBox(false)
        let serving = Task {
            defer { hasEnded.withLockedValue { $0 = true } }
            await withDiscardingTaskGroup { group in
                do {
                    try await listening.executeThenClose { connections in
                        for try await connection in connections {
                            guard let connection else { continue }
                            group.addTask { await child.handle(value: connection, logger: logger) }
                        }
                    }
                } catch {
                    logger.debug("the admin listener ended", metadata: ["error": "\(error)"])
                }
                group.cancelAll()
            }
        }
        return AdminListener(
            loops: loops, server: listening.channel, serving: serving, hasEnded: hasEnded, site: site, door: door, encryption: encryption)
    }

    /// Stops accepting, ends what is live, and waits at most `patience` for answers under way.
    public func drain(patience: WallTime.Span) async {
        site.live.end()
        try? await server.close()
        serving.cancel()
        // Looked at, not awaited: a connection whose loop is gone may never say that it has ended.
        let deadline = ContinuousClock.now + .milliseconds(patience.milliseconds)
        while !hasEnded.withLockedValue({ $0 }), ContinuousClock.now < deadline {
            try? await Task.sleep(for: .milliseconds(10))
        }
        // Whoever does not end by itself is ended with its loop.
        try? await loops.shutdownGracefully()
    }
}

/// HTTP whose requests pass `RequestHeads`.
private struct PlainChannel: ServerChildChannel {
    let base: HTTP1Channel

    func setup(channel: any NIOCore.Channel, logger: Logger) -> EventLoopFuture<HTTP1Channel.Value> {
        base.setup(channel: channel, logger: logger).flatMapThrowing { value in
            let pipeline = channel.pipeline.syncOperations
            let decoder = try pipeline.handler(type: ByteToMessageHandler<HTTPRequestDecoder>.self)
            try pipeline.addHandler(RequestHeads(), position: .after(decoder))
            return value
        }
    }

    func handle(value: HTTP1Channel.Value, logger: Logger) async { await base.handle(value: value, logger: logger) }
}

/// TLS before HTTP, with a certificate that may be renewed between two connections.
private struct EncryptedChannel<Base: ServerChildChannel>: ServerChildChannel {
    typealias Value = Base.Value

    let base: Base
    let encryption: NIOLockedValueBox<NIOSSLContext>

    func setup(channel: any NIOCore.Channel, logger: Logger) -> EventLoopFuture<Value> {
        channel.eventLoop.makeCompletedFuture {
            try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: encryption.withLockedValue { $0 }))
        }.flatMap { base.setup(channel: channel, logger: logger) }
    }

    func handle(value: Base.Value, logger: Logger) async { await base.handle(value: value, logger: logger) }
}

/// How many connections are open, against a bound.
private final class ConnectionRoom: Sendable {
    private let limit: Int
    private let open = NIOLockedValueBox(0)

    init(_ limit: Int) { self.limit = limit }

    func enter() -> Bool {
        open.withLockedValue { open in
            guard open < limit else { return false }
            open += 1
            return true
        }
    }

    func leave() { open.withLockedValue { $0 -= 1 } }
}

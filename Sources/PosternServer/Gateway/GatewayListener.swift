import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import NIOSSL
import PosternCore
import SMTPProtocol

/// A listening socket of the gateway, and the sessions it has accepted.
public final class GatewayListener: Sendable {
    public let name: String
    public let address: ListenAddress
    /// Whether it is a gateway to the mail servers of many domains.
    public let isThrottle: Bool
    let gateway: Gateway
    private let server: any Channel
    private let connections: ConnectionSet
    private let upkeep: GatewayUpkeep
    private let nodes: NodeCheck?

    private init(
        gateway: Gateway, address: ListenAddress, server: any Channel, connections: ConnectionSet, upkeep: GatewayUpkeep, nodes: NodeCheck?
    ) {
        name = gateway.name
        self.address = address
        isThrottle = !gateway.settings.routes.isEmpty
        self.gateway = gateway
        self.server = server
        self.connections = connections
        self.upkeep = upkeep
        self.nodes = nodes
    }

    /// How long a start waits to learn what the backends offer. Without that we offer what any of them may have (`Gateway.extensions`).
    static let learningPatience = TimeAmount.seconds(2)

    public var counters: GatewayCounters { gateway.counters }

    /// Whether accounts log in here.
    public var isSubmission: Bool { gateway.settings.submission != nil }
    var isInner: Bool { gateway.door != nil }
    /// Whether an inner door is open to everybody, since no node of its throttle can be reached.
    public var isOpenToAll: Bool { gateway.door?.isOpen ?? false }

    /// How many backends are taken for ill, and tried only where no other is left.
    public var backendsOut: Int { gateway.directory.entries.count { $0.outUntil != nil } }

    /// Starts to accept on a listening descriptor, which the listener then owns.
    ///
    /// - Parameters:
    ///   - group: its loops serve the sessions; all that a session does happens on one of them.
    ///   - clientName: looks up a client's forward-confirmed name.
    ///   - diversion: who takes listed clients off its hands; `nil` where nobody does.
    /// - Throws: `GatewaySettingsError` where the settings cannot work.
    public static func start(
        name: String, address: ListenAddress, descriptor: Int32, group: any EventLoopGroup, settings: GatewaySettings,
        decisions: DecisionService, clientName: ClientNameLookup? = nil, diversion: GatewayDiversion? = nil, logger: Logger
    ) async throws -> GatewayListener {
        let current = try Gateway.Current(reading: settings)
        let gateway = Gateway(
            name: name, current: current, decisions: decisions, clientName: clientName, diversion: diversion, logger: logger)
        let loops = GatewayLoops(gateway, group: group)
        let upkeep = GatewayUpkeep(gateway, loops: loops)
        await upkeep.learn(within: learningPatience)

        let connections = ConnectionSet()
        let refusals = RateLimitedLog(logger: logger, interval: .minutes(1))
        let server = try await ServerBootstrap(group: group)
            .pausing(name, ShortageLog(logger: logger))
            .serverChannelOption(.maxMessagesPerRead, value: 64)
            .childChannelInitializer { channel in
                let settings = gateway.settings
                // Behind a proxy the client is not known yet.
                let peer = channel.remoteAddress.flatMap(Endpoint.init)?.address
                let client = peer.flatMap { settings.proxies.contains($0) ? nil : $0 }
                if let client, gateway.diverts(channel, from: client) {
                    return channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(HandedOverHandler())
                    }
                }
                let limit = settings.maxSessions
                guard gateway.sessions.admit(limit: limit) == .admitted else {
                    if settings.submission == nil { gateway.turnedAway(client) }
                    refusals.warning(
                        "session refused: max_sessions is reached and no session is held",
                        metadata: ["listener": "\(name)", "max_sessions": "\(limit)"])
                    return channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(TurnedAwayHandler())
                    }
                }
                connections.insert(channel)
                return channel.eventLoop.makeCompletedFuture {
                    let gate = loops[channel.eventLoop]
                    try gate.setOptions(of: channel)
                    // Whoever has sent all that it wants to say may close its side, and still has its answers (RFC 9293 §3.6).
                    try channel.syncOptions?.setOption(.allowRemoteHalfClosure, value: true)
                    let handler = SessionHandler(gate: gate, channel: channel)
                    try channel.pipeline.syncOperations.addHandler(handler)
                }
            }
            .withBoundSocket(descriptor)
            .get()
        upkeep.start()
        let nodes = gateway.door.map { NodeCheck(gateway, $0, loop: group.next()) }
        nodes?.start()
        return GatewayListener(gateway: gateway, address: address, server: server, connections: connections, upkeep: upkeep, nodes: nodes)
    }

    /// Whether it takes who comes, and at least one of the mail servers behind it is not out.
    var isWell: Bool { !gateway.isTurningAway && gateway.directory.entries.contains { $0.outUntil == nil } }

    /// Takes new settings, reads the certificates anew, and forgets which mailboxes there are. Sessions that are open keep their
    /// settings; where this throws, all do.
    public func update(_ settings: GatewaySettings) async throws {
        gateway.update(try Gateway.Current(reading: settings))
        gateway.mailboxes.forget()
        await upkeep.learn(within: Self.learningPatience)
    }

    /// How long a message that the backend has been given whole is waited for, once all else has had its time: whoever is not told its
    /// answer sends it again. With the daemon's patience it has to fit `TimeoutStopSec` of packaging/systemd/postern.service.
    static let answerPatience = WallTime.Span.seconds(15)

    /// Stops accepting, and lets what is under way finish within `patience`. Then clients are told 421, but those whose message
    /// the backend has whole have its answer, if that comes within `answerPatience`.
    public func drain(patience: WallTime.Span) async { await drain(patience: patience, forAnswers: Self.answerPatience) }

    func drain(patience: WallTime.Span, forAnswers answers: WallTime.Span) async {
        try? await server.close()
        upkeep.closePools()
        await connections.drain(patience: patience, lastCall: answers)
        await upkeep.stop()
        nodes?.stop()
    }
}

/// Tells a client that there is no room for it (RFC 5321 §3.8), and closes.
final class TurnedAwayHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private static let reply = ByteBuffer(string: "421 4.3.2 Too busy, please come back later\r\n")

    func channelActive(context: ChannelHandlerContext) {
        context.writeAndFlush(wrapOutboundOut(Self.reply), promise: nil)
        context.close(promise: nil)
    }
}

/// What the sessions on each event loop share. Made once, read from anywhere; each part is touched on its own loop only.
final class GatewayLoops: Sendable {
    private let parts: [ObjectIdentifier: NIOLoopBoundBox<GatewayLoop>]
    let loops: [any EventLoop]

    init(_ gateway: Gateway, group: any EventLoopGroup) {
        loops = Array(group.makeIterator())
        parts = Dictionary(
            uniqueKeysWithValues: loops.map { loop in
                (ObjectIdentifier(loop), NIOLoopBoundBox.makeBoxSendingValue(GatewayLoop(gateway, loop: loop), eventLoop: loop))
            })
    }

    /// Called on that loop.
    subscript(loop: any EventLoop) -> GatewayLoop {
        guard let part = parts[ObjectIdentifier(loop)] else { preconditionFailure("a channel runs on a loop of its group") }
        return part.value
    }
}

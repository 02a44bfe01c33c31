import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import PosternCore
import PosternEngine
import SMTPProtocol

/// A listening socket of a fake MX: a correct mail server that takes no mail, or, as a sink, takes it and throws it away.
public final class FakeMXListener: Sendable {
    public let name: String
    public let address: ListenAddress
    let mx: FakeMX
    private let server: any Channel
    private let connections: ConnectionSet

    private init(_ mx: FakeMX, address: ListenAddress, server: any Channel, connections: ConnectionSet) {
        name = mx.name
        self.mx = mx
        self.address = address
        self.server = server
        self.connections = connections
    }

    /// Starts to accept on a listening descriptor, which the listener then owns.
    ///
    /// - Parameters:
    ///   - allows: whether the admin allows a sender, whose mail to a sink says nothing; called on an event loop, must not block.
    ///   - ended: told of each visit when it is over; called on an event loop, must not block.
    public static func start(
        name: String, address: ListenAddress, descriptor: Int32, group: any EventLoopGroup, settings: FakeMXSettings, clock: ServiceClock,
        log: DecisionLog, logger: Logger, allows: @escaping @Sendable (Mailbox) -> Bool = { _ in false },
        ended: @escaping @Sendable (FakeMXVisit) -> Void
    ) async throws -> FakeMXListener {
        let mx = FakeMX(name: name, settings: settings, clock: clock, log: log, allows: allows, ended: ended)
        let loops = FakeMXLoops(mx, group: group)
        let connections = ConnectionSet()
        let server = try await ServerBootstrap(group: group)
            .pausing(name, ShortageLog(logger: logger))
            .serverChannelOption(.maxMessagesPerRead, value: 64)
            .childChannelInitializer { channel in
                // Everybody is held, so there is always an oldest to make room.
                guard mx.sessions.admit(limit: mx.settings.capacity) == .admitted else {
                    return channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(TurnedAwayHandler())
                    }
                }
                mx.sessions.hold(ObjectIdentifier(channel), channel)
                connections.insert(channel)
                return channel.eventLoop.makeCompletedFuture {
                    let loop = loops[channel.eventLoop]
                    try loop.setOptions(of: channel)
                    try channel.pipeline.syncOperations.addHandler(FakeMXHandler(loop, channel: channel))
                }
            }
            .withBoundSocket(descriptor)
            .get()
        return FakeMXListener(mx, address: address, server: server, connections: connections)
    }

    /// Sessions that are open keep the settings they began with.
    public func update(_ settings: FakeMXSettings) { mx.update(settings) }

    public var totals: FakeMXTotals { mx.totals }

    /// Accepts no more, tells everybody 421, and waits for that at most `patience`.
    public func drain(patience: WallTime.Span) async {
        try? await server.close()
        await connections.drain(patience: patience)
    }
}

/// What all sessions of one fake MX share.
final class FakeMX: Sendable {
    let name: String
    let clock: ServiceClock
    let log: DecisionLog
    let counters = GatewayCounters()
    let sessions: SessionTable
    let allows: @Sendable (Mailbox) -> Bool
    private let ended: @Sendable (FakeMXVisit) -> Void
    private let state: NIOLockedValueBox<State>

    private struct State {
        var settings: FakeMXSettings
        var totals = FakeMXTotals()
        var counter: UInt16 = 0
    }

    init(
        name: String, settings: FakeMXSettings, clock: ServiceClock, log: DecisionLog, allows: @escaping @Sendable (Mailbox) -> Bool,
        ended: @escaping @Sendable (FakeMXVisit) -> Void
    ) {
        self.name = name
        self.clock = clock
        self.log = log
        self.allows = allows
        self.ended = ended
        sessions = SessionTable(counters: counters)
        state = NIOLockedValueBox(State(settings: settings))
    }

    var settings: FakeMXSettings { state.withLockedValue { $0.settings } }
    var totals: FakeMXTotals { state.withLockedValue { $0.totals } }

    func update(_ settings: FakeMXSettings) { state.withLockedValue { $0.settings = settings } }
    func count(_ change: (inout FakeMXTotals) -> Void) { state.withLockedValue { change(&$0.totals) } }

    /// By which the admin finds a session's line in the log.
    func reference() -> Reference {
        let counter = state.withLockedValue { state in
            state.counter &+= 1
            return state.counter
        }
        return Reference(time: clock.now().wall, counter: counter)
    }

    func finished(_ visit: FakeMXVisit) { ended(visit) }
}

/// What the sessions of one fake MX on one event loop share.
final class FakeMXLoop {
    let mx: FakeMX
    let loop: any EventLoop
    let wheel: TimerWheel
    /// Small, since what one read makes us say is held for a client that does not take it.
    let reads = ReadBuffers(size: 2048)
    /// Output that a client does not take: past it nothing more is read from it.
    static let highWater = 4096

    init(_ mx: FakeMX, loop: any EventLoop) {
        self.mx = mx
        self.loop = loop
        wheel = TimerWheel(loop: loop)
    }

    func setOptions(of channel: any Channel) throws {
        guard let options = channel.syncOptions else { return }
        try options.setOption(.maxMessagesPerRead, value: 1)
        try options.setOption(.recvAllocator, value: reads.allocator(on: loop))
        try options.setOption(.writeBufferWaterMark, value: .init(low: 1, high: Self.highWater))
    }
}

/// One `FakeMXLoop` for each event loop, touched on that loop only.
private final class FakeMXLoops: Sendable {
    private let parts: [ObjectIdentifier: NIOLoopBoundBox<FakeMXLoop>]

    init(_ mx: FakeMX, group: any EventLoopGroup) {
        parts = Dictionary(
            uniqueKeysWithValues: group.makeIterator().map { loop in
                (ObjectIdentifier(loop), NIOLoopBoundBox.makeBoxSendingValue(FakeMXLoop(mx, loop: loop), eventLoop: loop))
            })
    }

    /// Called on that loop.
    subscript(loop: any EventLoop) -> FakeMXLoop {
        guard let part = parts[ObjectIdentifier(loop)] else { preconditionFailure("a channel runs on a loop of its group") }
        return part.value
    }
}

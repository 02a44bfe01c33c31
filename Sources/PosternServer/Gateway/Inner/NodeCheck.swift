import NIOConcurrencyHelpers
import NIOCore
import NIOPosix

/// Looks now and then whether the throttle's nodes can be reached, and tells the door.
final class NodeCheck: Sendable {
    /// For a connection to be made, and for the greeting after it: a node may hold its greeting back, as we do.
    static let patience = TimeAmount.seconds(35)
    static let connectPatience = TimeAmount.seconds(10)

    private let gateway: Gateway
    private let door: InnerDoor
    private let loop: any EventLoop
    private let task = NIOLockedValueBox<Task<Void, Never>?>(nil)

    init(_ gateway: Gateway, _ door: InnerDoor, loop: any EventLoop) {
        self.gateway = gateway
        self.door = door
        self.loop = loop
    }

    func start() {
        task.withLockedValue { $0 = Task { await run() } }
    }

    /// A node that is being waited for is not waited for any more.
    func stop() {
        task.withLockedValue { task in
            task?.cancel()
            task = nil
        }
    }

    private func run() async {
        while !Task.isCancelled {
            let settings = gateway.settings.inner ?? InnerDoor.Settings()
            door.checked(await check(settings.checked))
            try? await Task.sleep(for: .milliseconds(settings.checkInterval.milliseconds))
        }
    }

    private func check(_ addresses: [ListenAddress]) async -> [(address: ListenAddress, isReachable: Bool)] {
        await withTaskGroup(of: (Int, Bool).self) { group in
            for (index, address) in addresses.enumerated() { group.addTask { (index, await self.isReachable(address)) } }
            var found = addresses.map { (address: $0, isReachable: false) }
            for await (index, isReachable) in group { found[index].isReachable = isReachable }
            return found
        }
    }

    /// Whether it greets as a mail server that takes mail (RFC 5321 §4.3.1: 220).
    private func isReachable(_ address: ListenAddress) async -> Bool {
        let promise = loop.makePromise(of: Bool.self)
        let bootstrap = ClientBootstrap(group: loop)
            .connectTimeout(Self.connectPatience)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(GreetingHandler(promise))
                }
            }
        let connecting =
            switch address {
            case .tcp(let host, let port): SocketAddresses.nio(host, port).map { bootstrap.connect(to: $0) }
            case .unix(let path, _, _): bootstrap.connect(unixDomainSocketPath: path)
            }
        guard let connecting else {
            promise.succeed(false)
            return false
        }
        connecting.whenFailure { _ in promise.succeed(false) }
        return (try? await promise.futureResult.get()) ?? false
    }
}

/// Waits for the first octets of a greeting, then says goodbye.
private final class GreetingHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let promise: EventLoopPromise<Bool>
    private var isDone = false
    private var timeout: Scheduled<Void>?

    init(_ promise: EventLoopPromise<Bool>) {
        self.promise = promise
    }

    func channelActive(context: ChannelHandlerContext) {
        let channel = context.channel
        timeout = context.eventLoop.scheduleTask(in: NodeCheck.patience) { channel.close(promise: nil) }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isDone else { return }
        isDone = true
        let greeting = unwrapInboundIn(data).readableBytesView
        promise.succeed(greeting.first == UInt8(ascii: "2"))
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: "QUIT\r\n")), promise: nil)
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        timeout?.cancel()
        if !isDone { promise.succeed(false) }
        isDone = true
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}

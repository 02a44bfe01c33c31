import Logging
import NIOCore
import PolicyProtocol
import PosternCore

/// Bounds of a socketmap listener.
public struct SocketmapLimits: Equatable, Sendable {
    /// A connection that is silent this long is closed. Postfix closes its own after 10 s.
    public var idle = WallTime.Span.minutes(2)
    /// Open connections of a listener; further ones are closed at once, and Postfix puts the mail off.
    public var connections = 1000
    /// Octets of a request.
    public var request = SocketmapRequestDecoder.longestRequest

    public init() {}
}

/// One connection to a socketmap: a request, its reply, the next. While an answer is looked up nothing more is read.
final class SocketmapConnectionHandler: ChannelDuplexHandler, IdleWatched {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let service: SocketmapService
    private let listener: String
    private let limits: SocketmapLimits
    private let logger: Logger
    private var decoder: SocketmapRequestDecoder
    private(set) var isAnswering = false
    private var readIsWithheld = false
    /// No more requests will be answered: the peer has half-closed, sent nonsense, or we are draining.
    private var isEnding = false
    private(set) var lastActivity = NIODeadline.uptimeNanoseconds(0)
    var idleTimer: Scheduled<Void>?
    private var context: ChannelHandlerContext?

    var idleLimit: TimeAmount { .milliseconds(limits.idle.milliseconds) }

    init(service: SocketmapService, listener: String, limits: SocketmapLimits, logger: Logger) {
        self.service = service
        self.listener = listener
        self.limits = limits
        self.logger = logger
        decoder = SocketmapRequestDecoder(limit: limits.request)
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func channelActive(context: ChannelHandlerContext) {
        lastActivity = context.eventLoop.now
        watchIdle(context)
        context.fireChannelActive()
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        idleTimer?.cancel()
        context.fireChannelInactive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isEnding else { return }
        lastActivity = context.eventLoop.now
        decoder.feed(unwrapInboundIn(data).readableBytesView)
        answerNext(context)
    }

    private func answerNext(_ context: ChannelHandlerContext) {
        guard !isAnswering else { return }
        do throws(SocketmapError) {
            guard let request = try decoder.next() else {
                if isEnding { context.close(promise: nil) }
                return
            }
            isAnswering = true
            let connection = NIOLoopBound(self, eventLoop: context.eventLoop)
            let loop = context.eventLoop
            Task { [service] in
                let reply = await service.answer(request)
                loop.execute { connection.value.answered(reply) }
            }
        } catch {
            refuse(error, context)
        }
    }

    private func answered(_ reply: SocketmapReply) {
        isAnswering = false
        guard let context else { return }
        lastActivity = context.eventLoop.now
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: reply.encoded)), promise: nil)
        answerNext(context)
        if !isAnswering, readIsWithheld {
            readIsWithheld = false
            context.read()
        }
    }

    /// Backpressure: one request at a time.
    func read(context: ChannelHandlerContext) {
        if isAnswering || isEnding {
            readIsWithheld = true
        } else {
            context.read()
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event as? ChannelEvent == .inputClosed || event is DrainEvent {
            isEnding = true
            if !isAnswering { answerNext(context) }
        }
        context.fireUserInboundEventTriggered(event)
    }

    /// Without an answer: Postfix tries once more, then puts the mail off.
    private func refuse(_ error: SocketmapError, _ context: ChannelHandlerContext) {
        isEnding = true
        logger.warning(
            "malformed socketmap request, connection closed", metadata: ["listener": "\(listener)", "error": "\(error)"])
        context.close(promise: nil)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        logger.debug("socketmap connection failed", metadata: ["listener": "\(listener)", "error": "\(error)"])
        context.close(promise: nil)
    }
}

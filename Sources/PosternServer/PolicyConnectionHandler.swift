import Logging
import NIOCore
import PolicyProtocol
import PosternCore

/// Bounds of the policy service.
public struct PolicyServiceLimits: Equatable, Sendable {
    public var requests = PolicyLimits()
    /// A connection that is silent this long is closed. Postfix closes its own after 300 s.
    public var idle = WallTime.Span.minutes(10)
    /// Open connections over all policy listeners.
    public var connections = 2000
    /// Requests of one connection that are being answered; beyond it the connection is not read.
    public var inFlight = 64

    public init() {}
}

/// One connection to the policy service: requests in, replies out in the order of the requests.
final class PolicyConnectionHandler: ChannelDuplexHandler, IdleWatched {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let service: PolicyService
    /// Where answers that were made elsewhere come in.
    private let inbox: LoopInbox<PolicyAnswer>
    private let listener: String
    private let limits: PolicyServiceLimits
    private let logger: Logger

    private var decoder: PolicyRequestDecoder
    /// Replies by request, the oldest first; `nil` while the answer is awaited.
    private var replies: CircularBuffer<PolicyReply?> = []
    /// The number of the request that `replies` begins with.
    private var firstReply = 0
    /// What is written; its memory serves the next answer, once it has left.
    private var out = ByteBuffer()
    private let writer = SocketWriter()
    private var isReading = false
    private var readIsWithheld = false
    /// No more requests will be read: the peer has half-closed, sent nonsense, or we are draining.
    private var isEnding = false
    private(set) var lastActivity = NIODeadline.uptimeNanoseconds(0)
    var idleTimer: Scheduled<Void>?
    /// While the connection is open.
    private var context: ChannelHandlerContext?

    var idleLimit: TimeAmount { .milliseconds(limits.idle.milliseconds) }
    var isAnswering: Bool { !replies.isEmpty }

    init(service: PolicyService, inbox: LoopInbox<PolicyAnswer>, listener: String, limits: PolicyServiceLimits, logger: Logger) {
        self.service = service
        self.inbox = inbox
        self.listener = listener
        self.limits = limits
        self.logger = logger
        decoder = PolicyRequestDecoder(limits: limits.requests)
    }

    func channelActive(context: ChannelHandlerContext) {
        lastActivity = context.eventLoop.now
        writer.open(context)
        watchIdle(context)
        context.fireChannelActive()
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        writer.close()
        idleTimer?.cancel()
        service.counters.departed()
        context.fireChannelInactive()
    }

    // MARK: - Requests

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isEnding else { return }
        lastActivity = context.eventLoop.now
        unwrapInboundIn(data).withUnsafeReadableBytes { decoder.feed($0) }
        do throws(PolicyRequestError) {
            while let request = try decoder.next() { ask(request, context) }
        } catch {
            refuse(error, context)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        isReading = false
        context.fireChannelReadComplete()
    }

    private func ask(_ request: PolicyRequest, _ context: ChannelHandlerContext) {
        let number = firstReply + replies.count
        replies.append(nil)
        let asker = PolicyAsker(connection: NIOLoopBound(self, eventLoop: context.eventLoop), inbox: inbox, number: number)
        service.answer(request, listener: listener, to: asker)
    }

    /// The answer to a request; nobody waits for it when the connection has gone.
    func answered(_ number: Int, _ reply: PolicyReply) {
        guard let context, number >= firstReply else { return }
        guard number == firstReply else {
            replies[offset: number - firstReply] = reply
            return
        }
        out.clear(minimumCapacity: reply.longestEncoding)
        out.write(reply)
        replies.removeFirst()
        firstReply += 1
        // Later requests may have been answered before.
        while let first = replies.first, let reply = first {
            out.write(reply)
            replies.removeFirst()
            firstReply += 1
        }
        writer.write(out, context)
        lastActivity = context.eventLoop.now
        if isEnding {
            endIfAnswered(context)
        } else if readIsWithheld, replies.count < limits.inFlight {
            readIsWithheld = false
            context.read()
        }
    }

    /// Backpressure: a peer that sends faster than we answer is read no further until answers have left.
    func read(context: ChannelHandlerContext) {
        if replies.count >= limits.inFlight || isEnding {
            readIsWithheld = true
        } else {
            context.read()
        }
    }

    // MARK: - Endings

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event as? ChannelEvent == .inputClosed {
            // Exim's readsocket half-closes and then waits for the answer.
            if decoder.isWithinRequest, !isEnding {
                refuse(.truncated, context)
            } else {
                isEnding = true
                endIfAnswered(context)
            }
        } else if event is DrainEvent {
            isEnding = true
            endIfAnswered(context)
        }
        context.fireUserInboundEventTriggered(event)
    }

    /// SMTPD_POLICY_README: in case of trouble the server sends nothing and disconnects.
    private func refuse(_ error: PolicyRequestError, _ context: ChannelHandlerContext) {
        isEnding = true
        service.counters.malformed()
        logger.warning(
            "malformed policy request, connection closed",
            metadata: [
                "listener": "\(listener)", "peer": "\(context.remoteAddress?.shown ?? "unix socket")", "error": "\(error)",
            ])
        endIfAnswered(context)
    }

    /// Closes once every request that was understood has its answer.
    private func endIfAnswered(_ context: ChannelHandlerContext) {
        if replies.isEmpty { context.close(promise: nil) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        logger.debug("policy connection failed", metadata: ["listener": "\(listener)", "error": "\(error)"])
        context.close(promise: nil)
    }
}

/// Who waits for an answer: a connection, for that to one of its requests.
struct PolicyAsker: Sendable {
    let connection: NIOLoopBound<PolicyConnectionHandler>
    let inbox: LoopInbox<PolicyAnswer>
    let number: Int

    /// Hands over the answer, on any thread; it is held back for `wait`.
    func take(_ reply: consuming PolicyReply, after wait: WallTime.Span) {
        if wait > .zero {
            connection.eventLoop.scheduleTask(in: .milliseconds(wait.milliseconds)) { [reply] in connection.value.answered(number, reply) }
        } else if inbox.isOnLoop {
            connection.value.answered(number, reply)
        } else {
            inbox.send(PolicyAnswer(connection: connection, number: number, reply: reply))
        }
    }
}

/// An answer on its way back to the connection that waits for it.
struct PolicyAnswer: Sendable {
    let connection: NIOLoopBound<PolicyConnectionHandler>
    let number: Int
    let reply: PolicyReply

    func deliver() { connection.value.answered(number, reply) }
}

extension ByteBuffer {
    fileprivate mutating func write(_ reply: PolicyReply) {
        writeWithUnsafeMutableBytes(minimumWritableBytes: reply.longestEncoding) { reply.encode(into: $0) }
    }
}

/// Tells a connection that the daemon is stopping: what was asked is answered, then it closes.
struct DrainEvent: Sendable {}

/// Tells a connection that the time to finish in is over: it says so to its client, and ends.
struct LastCallEvent: Sendable {}

import NIOCore
import PosternCore
import PublishedLists
import SMTPProtocol

/// A connection to a DNS service (RFC 7766): each message after its length in two octets (RFC 1035 §4.2.2), as many as the
/// client likes, answered in their order. A forged address gets no connection, so nothing is limited here but time, room and
/// connections (`StreamPlaces`).
final class DNSStreamHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// RFC 7766 §6.2.3: a few seconds of silence are enough.
    static let patience = TimeAmount.seconds(10)
    /// Octets of a query; whoever announces more is cut off.
    static let longestQuery = 4096
    private static let longestResponse = 4096

    private let service: StreamService
    private var waiting = ByteBuffer()
    private var hasEnded = false

    init(_ service: StreamService) {
        self.service = service
    }

    func channelActive(context: ChannelHandlerContext) {
        let address = context.remoteAddress.flatMap { Endpoint($0)?.address }
        if let address, let allowed = service.service.allowed, !allowed.contains(address) { isStranger = true }
        service.places.take(context.channel, from: address)
        context.fireChannelActive()
    }

    private var isStranger = false

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !hasEnded else { return }
        var buffer = unwrapInboundIn(data)
        waiting.writeBuffer(&buffer)
        answer(context)
    }

    /// As long as the client takes what we send.
    private func answer(_ context: ChannelHandlerContext) {
        let responder = service.service.responder
        let time = service.time()
        while !hasEnded, context.channel.isWritable, let length: UInt16 = waiting.getInteger(at: waiting.readerIndex) {
            guard Int(length) <= Self.longestQuery else { return end(context) }
            guard waiting.readableBytes >= 2 + Int(length) else { break }
            waiting.moveReaderIndex(forwardBy: 2)
            guard let query = waiting.readSlice(length: Int(length)) else { return end(context) }
            var reply = context.channel.allocator.buffer(capacity: 2 + Self.longestResponse)
            var outcome = AnswerKind.ignored
            reply.writeInteger(UInt16(0))
            let count = reply.writeWithUnsafeMutableBytes(minimumWritableBytes: Self.longestResponse) { room in
                query.withUnsafeReadableBytes { octets in
                    let limited = UnsafeMutableRawBufferPointer(rebasing: room[..<Self.longestResponse])
                    let response = responder.respond(to: octets, into: limited, isStranger ? .stranger : .stream, time)
                    outcome = response.outcome
                    return response.count
                }
            }
            service.count(outcome)
            service.places.use(context.channel)
            guard count > 0 else { return end(context) }
            reply.setInteger(UInt16(count), at: reply.readerIndex)
            context.write(wrapOutboundOut(reply), promise: nil)
        }
        waiting.discardReadBytes()
        context.flush()
        // What is left is a part of a query, or more than the client takes for now.
        _ = context.channel.setOption(.autoRead, value: waiting.readableBytes < 2 * Self.longestQuery)
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { answer(context) }
        context.fireChannelWritabilityChanged()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case is IdleStateHandler.IdleStateEvent, is DrainEvent: end(context)
        default: context.fireUserInboundEventTriggered(event)
        }
    }

    private func end(_ context: ChannelHandlerContext) {
        hasEnded = true
        context.flush()
        context.close(promise: nil)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { end(context) }
}

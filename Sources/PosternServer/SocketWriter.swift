import Glibc
import NIOCore
import NIOPosix

/// What one connection writes: straight to its socket, as long as that takes it all.
///
/// A channel's own way is made for what has to wait: a queue, two walks through the pipeline, a state machine. Replies and content hardly ever
/// wait. What the socket does not take, and everything until that has left, goes the channel's way, and so does what fails here: the channel
/// finds the failure by itself. So the channel's writability and its closing mean what they always mean.
final class SocketWriter {
    /// `nil` where all goes the channel's way: TLS, or a channel without a socket.
    private var socket: Socket?
    /// Writes that the channel has not finished.
    private var waiting = 0

    private struct Socket {
        let descriptor: CInt
        let channel: any Channel
    }

    /// The connection is open, in the clear.
    func open(_ context: ChannelHandlerContext) {
        let descriptor = try? context.pipeline.syncOperations.withUnsafeTransportIfAvailable(of: NIOBSDSocket.Handle.self) { $0 }
        socket = descriptor.map { Socket(descriptor: $0, channel: context.channel) }
    }

    /// From here on all goes the channel's way. To be called when the channel has closed, too: until then it is held on to.
    func close() { socket = nil }

    func write(_ buffer: ByteBuffer, _ context: ChannelHandlerContext) {
        var sent = 0
        // A channel that is closed has no descriptor any more: the number may be another connection's.
        if waiting == 0, let socket, socket.channel.isActive {
            sent = buffer.withUnsafeReadableBytes { Glibc.send(socket.descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            if sent == buffer.readableBytes { return }
        }
        var rest = buffer
        rest.moveReaderIndex(forwardBy: max(sent, 0))
        guard socket != nil else { return context.writeAndFlush(NIOAny(rest), promise: nil) }
        waiting += 1
        let promise = context.eventLoop.makePromise(of: Void.self)
        promise.futureResult.assumeIsolated().whenComplete { _ in self.waiting -= 1 }
        context.writeAndFlush(NIOAny(rest), promise: promise)
    }
}

import Glibc
import NIOCore
import PosternCore
import PosternTarpit

/// Where listed clients of a gateway go before they are greeted: the socket is handed to the tarpit, which holds it for next to
/// nothing. They are no sessions, so they take no session's place.
public struct GatewayDiversion: Sendable {
    private let tarpit: Tarpit
    private let source: Tarpit.Source
    private let isListed: @Sendable (IPAddress) -> Bool

    /// - Parameter isListed: asked about each client, on its event loop; must not block.
    public init(tarpit: Tarpit, source: Tarpit.Source, isListed: @escaping @Sendable (IPAddress) -> Bool) {
        self.tarpit = tarpit
        self.source = source
        self.isListed = isListed
    }

    /// Called on the channel's loop, before anything has been read. Where it is `true` the channel is to be closed: the tarpit has a
    /// descriptor of its own, and so the client notices nothing.
    func takes(_ channel: any Channel, from address: IPAddress) -> Bool {
        guard isListed(address) else { return false }
        // What the client sends now is for the tarpit.
        guard let options = channel.syncOptions, (try? options.setOption(.autoRead, value: false)) != nil else { return false }
        let isTaken = try? channel.pipeline.syncOperations.withUnsafeTransportIfAvailable(of: NIOBSDSocket.Handle.self) { socket in
            let descriptor = fcntl(socket, F_DUPFD_CLOEXEC, 3)
            guard descriptor >= 0 else { return false }
            if tarpit.adopt(descriptor, from: address, for: source) { return true }
            Glibc.close(descriptor)
            return false
        }
        if isTaken == true { return true }
        try? options.setOption(.autoRead, value: true)
        return false
    }
}

/// Closes what was handed over, as soon as that can be done.
final class HandedOverHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    func channelActive(context: ChannelHandlerContext) { context.close(promise: nil) }
}

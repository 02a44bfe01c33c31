// The yardstick for a policy service: reads to the end of each request, knows nothing, remembers nothing, answers DUNNO.

import NIOCore
import NIOPosix

final class DunnoHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private var lastWasLineFeed = false

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var requests = 0
        unwrapInboundIn(data).withUnsafeReadableBytes { bytes in
            for byte in bytes {
                let isLineFeed = byte == UInt8(ascii: "\n")
                if isLineFeed, lastWasLineFeed {
                    requests += 1
                    lastWasLineFeed = false
                } else {
                    lastWasLineFeed = isLineFeed
                }
            }
        }
        guard requests > 0 else { return }
        var out = context.channel.allocator.buffer(capacity: 16 * requests)
        for _ in 0..<requests { out.writeStaticString("action=DUNNO\n\n") }
        context.writeAndFlush(wrapOutboundOut(out), promise: nil)
    }
}

let port = CommandLine.arguments.count > 1 ? Int(CommandLine.arguments[1]) ?? 0 : 0
let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
let server = try await ServerBootstrap(group: group)
    .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(DunnoHandler()) }
    }
    .bind(host: "127.0.0.1", port: port).get()
print("listening on \(server.localAddress?.port ?? 0)")
try await server.closeFuture.get()

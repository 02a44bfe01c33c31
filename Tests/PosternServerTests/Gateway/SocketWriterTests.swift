import Foundation
import NIOCore
import NIOPosix
import Testing

@testable import PosternServer

/// Whatever the socket takes and leaves, octets arrive once and in order.
@Suite(.timeLimit(.minutes(1))) struct SocketWriterTests {
    /// Writes numbers in pieces of all sizes, much more than a socket takes at once, and then closes its side.
    private final class Counting: ChannelInboundHandler, Sendable {
        typealias InboundIn = ByteBuffer

        static let pieces = 3000
        let isClosedAtHalf: Bool

        init(isClosedAtHalf: Bool) { self.isClosedAtHalf = isClosedAtHalf }

        static func piece(_ index: Int) -> ByteBuffer {
            var buffer = ByteBuffer()
            for number in 0..<(index * 7 % 501) + 1 { buffer.writeInteger(UInt32(index * 1000 + number)) }
            return buffer
        }

        func channelActive(context: ChannelHandlerContext) {
            let writer = SocketWriter()
            writer.open(context)
            write(from: 0, writer, context)
        }

        /// Some in one turn, the rest in later ones: meanwhile the socket may have taken what waited.
        private func write(from first: Int, _ writer: SocketWriter, _ context: ChannelHandlerContext) {
            let next = first + 100
            for index in first..<next {
                if isClosedAtHalf, index == Self.pieces / 2 { writer.close() }
                writer.write(Self.piece(index), context)
            }
            guard next < Self.pieces else { return context.close(mode: .output, promise: nil) }
            context.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(10)) { self.write(from: next, writer, context) }
        }
    }

    @Test(arguments: [false, true])
    func slowReader(isClosedAtHalf: Bool) async throws {
        let server = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.syncOptions?.setOption(.socketOption(.so_sndbuf), value: 8192)
                    try channel.syncOptions?.setOption(.allowRemoteHalfClosure, value: true)
                    try channel.pipeline.syncOperations.addHandler(Counting(isClosedAtHalf: isClosedAtHalf))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let port = try #require(server.localAddress?.port)
        let received = try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread {
                continuation.resume(with: Result { try Self.readSlowly(port) })
            }
        }
        try await server.close()
        var expected = ByteBuffer()
        for index in 0..<Counting.pieces {
            var piece = Counting.piece(index)
            expected.writeBuffer(&piece)
        }
        #expect(received.count == expected.readableBytes)
        #expect(received.elementsEqual(expected.readableBytesView))
    }

    private static func readSlowly(_ port: Int) throws -> [UInt8] {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let connected = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
        try #require(connected == 0)
        // Long enough that the other side has more than fits.
        usleep(100_000)
        var all: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 50_000)
        while true {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            try #require(count >= 0)
            guard count > 0 else { return all }
            all += buffer[..<count]
        }
    }
}

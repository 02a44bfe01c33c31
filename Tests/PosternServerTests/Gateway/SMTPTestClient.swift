import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import NIOSSL
import NIOTLS
import PosternCore

@testable import PosternServer

/// A client that says what a test tells it, and waits for replies with a bound.
final class SMTPTestClient: Sendable {
    struct TimedOut: Error, CustomStringConvertible {
        let received: String
        var description: String { "no reply in time; received so far: \(received)" }
    }

    private struct State {
        var bytes: [UInt8] = []
        /// When each octet came.
        var times: [NIODeadline] = []
        var isClosed = false
        var isSecured = false
    }

    private final class Collector: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        let state: NIOLockedValueBox<State>

        init(_ state: NIOLockedValueBox<State>) { self.state = state }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let bytes = Array(unwrapInboundIn(data).readableBytesView)
            let now = NIODeadline.now()
            state.withLockedValue {
                $0.bytes += bytes
                $0.times += bytes.map { _ in now }
            }
        }

        func channelInactive(context: ChannelHandlerContext) { state.withLockedValue { $0.isClosed = true } }

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            if case .handshakeCompleted? = event as? TLSUserEvent { state.withLockedValue { $0.isSecured = true } }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }

    private let state: NIOLockedValueBox<State>
    let channel: any Channel

    init(_ address: ListenAddress, source: String? = nil) async throws {
        guard case .tcp(let host, let port) = address else { throw TimedOut(received: "no TCP address") }
        let state = NIOLockedValueBox(State())
        self.state = state
        var bootstrap = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton).channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(Collector(state)) }
        }
        if let source { bootstrap = bootstrap.bind(to: try SocketAddress(ipAddress: source, port: 0)) }
        channel = try await bootstrap.connect(host: "\(host)", port: Int(port)).get()
    }

    func send(_ text: String) {
        channel.writeAndFlush(ByteBuffer(string: text), promise: nil)
    }

    func send(_ bytes: [UInt8]) {
        channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
    }

    var isClosed: Bool { state.withLockedValue { $0.isClosed } }

    /// The next reply, of all its lines, without the last CRLF; `nil` when the connection was closed instead.
    func reply(within limit: Duration = .seconds(60)) async throws -> String? {
        let end = ContinuousClock.now + limit
        while true {
            let (reply, closed): (String?, Bool) = state.withLockedValue { state in
                guard let count = Self.lengthOfReply(state.bytes) else { return (nil, state.isClosed) }
                let reply = String(decoding: state.bytes[..<(count - 2)], as: UTF8.self)
                state.bytes.removeFirst(count)
                state.times.removeFirst(count)
                return (reply, state.isClosed)
            }
            if let reply { return reply }
            if closed { return nil }
            guard ContinuousClock.now < end else {
                throw TimedOut(received: state.withLockedValue { String(decoding: $0.bytes, as: UTF8.self) })
            }
            try await Task.sleep(for: .milliseconds(2))
        }
    }

    /// The next `count` replies.
    func replies(_ count: Int) async throws -> [String?] {
        var replies: [String?] = []
        for _ in 0..<count { replies.append(try await reply()) }
        return replies
    }

    func ask(_ command: String, within limit: Duration = .seconds(60)) async throws -> String? {
        send(command + "\r\n")
        return try await reply(within: limit)
    }

    /// What has come and was not taken, and when each octet did.
    var pending: (text: String, times: [NIODeadline]) {
        state.withLockedValue { (String(decoding: $0.bytes, as: UTF8.self), $0.times) }
    }

    func waitUntilClosed(within limit: Duration = .seconds(60)) async throws {
        let end = ContinuousClock.now + limit
        while !isClosed {
            guard ContinuousClock.now < end else { throw TimedOut(received: "still open") }
            try await Task.sleep(for: .milliseconds(2))
        }
    }

    /// STARTTLS, accepted before: the handshake.
    func startTLS() async throws {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.certificateVerification = .none
        let context = try NIOSSLContext(configuration: configuration)
        let channel = channel
        try await channel.eventLoop.submit {
            try channel.pipeline.syncOperations.addHandler(NIOSSLClientHandler(context: context, serverHostname: nil), position: .first)
        }.get()
        let end = ContinuousClock.now + .seconds(60)
        while !state.withLockedValue({ $0.isSecured }) {
            guard ContinuousClock.now < end, !isClosed else { throw TimedOut(received: "no TLS handshake") }
            try await Task.sleep(for: .milliseconds(2))
        }
    }

    func close() async { try? await channel.close() }

    private static func lengthOfReply(_ bytes: [UInt8]) -> Int? {
        var start = 0
        while let end = bytes[start...].firstIndex(of: UInt8(ascii: "\n")) {
            if start + 3 >= end || bytes[start + 3] != UInt8(ascii: "-") { return end + 1 }
            start = end + 1
        }
        return nil
    }
}

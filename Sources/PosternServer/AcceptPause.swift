import Glibc
import Logging
import NIOCore
import NIOPosix

/// Tells, once a minute, that connections wait since the system has no room for another, and what to do.
final class ShortageLog: Sendable {
    private let log: RateLimitedLog

    init(logger: Logger) {
        log = RateLimitedLog(logger: logger, interval: .minutes(1))
    }

    /// Whether an error of accept(2) passes by itself, once something else is closed.
    static func isShortage(_ error: Int32) -> Bool { [EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(error) }

    func noticed(_ error: Int32, at listener: String) {
        let advice =
            switch error {
            case EMFILE:
                "the process may open no more files: raise LimitNOFILE= of its service (`ulimit -n`), or lower max_connections and max_sessions"
            case ENFILE: "the machine may open no more files: raise fs.file-max (sysctl), or find out who has so many open"
            default: "the machine is short of memory"
            }
        log.warning(
            "connections wait to be accepted: \(advice)",
            metadata: ["listener": "\(listener)", "error": "\(String(cString: strerror(error)))"])
    }
}

/// On a listening channel: where the system has no room for another connection, nothing is accepted for a moment. The channel by
/// itself would try again at once, for as long as anybody waits, and take a core for it.
final class AcceptPause: ChannelInboundHandler {
    typealias InboundIn = any Channel

    /// How long; whoever has connected waits in the backlog meanwhile.
    static let pause = TimeAmount.milliseconds(250)

    private let listener: String
    private let log: ShortageLog

    init(listener: String, log: ShortageLog) {
        self.listener = listener
        self.log = log
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let failure = error as? IOError, ShortageLog.isShortage(failure.errnoCode) else { return context.fireErrorCaught(error) }
        log.noticed(failure.errnoCode, at: listener)
        let channel = context.channel
        // Not by holding reads back: one that is pending stays so where accept(2) fails.
        guard (try? channel.syncOptions?.setOption(.autoRead, value: false)) != nil else { return }
        context.eventLoop.scheduleTask(in: Self.pause) { _ = channel.setOption(.autoRead, value: true) }
    }
}

extension AcceptPause {
    /// Puts one into a listening channel, and gives the socket its queue of connections back: whoever makes a channel of a socket that
    /// listens already has NIO listen once more, with room for 128.
    static func adding(_ listener: String, _ log: ShortageLog) -> @Sendable (any Channel) -> EventLoopFuture<Void> {
        { channel in
            channel.eventLoop.makeCompletedFuture {
                let pipeline = channel.pipeline.syncOperations
                _ = try pipeline.withUnsafeTransportIfAvailable(of: NIOBSDSocket.Handle.self) { listen($0, ListeningSocket.backlog) }
                try pipeline.addHandler(AcceptPause(listener: listener, log: log))
            }
        }
    }
}

extension ServerBootstrap {
    /// As `AcceptPause` has it.
    func pausing(_ listener: String, _ log: ShortageLog) -> ServerBootstrap {
        serverChannelInitializer(AcceptPause.adding(listener, log))
    }
}

import NIOCore

/// What is left of a limit is waited for at least this long, so that no timer spins.
private let shortestWatch = TimeAmount.milliseconds(100)

/// A handler whose connection is closed when its peer is silent for too long.
protocol IdleWatched: ChannelHandler, AnyObject, SendableMetatype {
    var idleLimit: TimeAmount { get }
    /// When the peer was last heard, or answered.
    var lastActivity: NIODeadline { get }
    /// The peer waits for us, and not we for it.
    var isAnswering: Bool { get }
    var idleTimer: Scheduled<Void>? { get set }
}

extension IdleWatched {
    /// One timer a connection, moved on lazily: it looks at the last activity when it fires. Cancel it when the connection ends.
    func watchIdle(_ context: ChannelHandlerContext) { watchIdle(context, after: idleLimit) }

    private func watchIdle(_ context: ChannelHandlerContext, after delay: TimeAmount) {
        let bound = NIOLoopBound((handler: self, context: context), eventLoop: context.eventLoop)
        idleTimer = context.eventLoop.scheduleTask(in: delay) {
            let (handler, context) = bound.value
            let silent = context.eventLoop.now - handler.lastActivity
            if silent >= handler.idleLimit, !handler.isAnswering {
                context.close(promise: nil)
            } else {
                handler.watchIdle(context, after: max(handler.idleLimit - silent, shortestWatch))
            }
        }
    }
}

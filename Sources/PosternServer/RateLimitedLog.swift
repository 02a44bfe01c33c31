import Logging
import NIOConcurrencyHelpers
import NIOCore
import PosternCore

/// Logs at most one line an interval, and then says how many it kept back.
final class RateLimitedLog: Sendable {
    private struct State {
        var last: NIODeadline?
        var heldBack = 0
    }

    private let logger: Logger
    private let interval: TimeAmount
    private let state = NIOLockedValueBox(State())

    init(logger: Logger, interval: WallTime.Span) {
        self.logger = logger
        self.interval = .milliseconds(interval.milliseconds)
    }

    func warning(_ message: Logger.Message, metadata: Logger.Metadata) {
        log(.warning, message, metadata: metadata)
    }

    func log(_ level: Logger.Level, _ message: Logger.Message, metadata: Logger.Metadata) {
        let now = NIODeadline.now()
        let heldBack: Int? = state.withLockedValue { state in
            if let last = state.last, now - last < interval {
                state.heldBack += 1
                return nil
            }
            defer { state.heldBack = 0 }
            state.last = now
            return state.heldBack
        }
        guard let heldBack else { return }
        var metadata = metadata
        if heldBack > 0 { metadata["more_since_last_line"] = "\(heldBack)" }
        logger.log(level: level, message, metadata: metadata)
    }
}

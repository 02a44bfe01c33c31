import NIOConcurrencyHelpers
import NIOCore

/// Hands values from other threads to one event loop, in order. Those that come while the loop is busy cross together, in
/// one task.
final class LoopInbox<Value: Sendable>: Sendable {
    private let loop: any EventLoop
    private let waiting = NIOLockedValueBox<[Value]>([])
    private let deliver: @Sendable (Value) -> Void

    /// `deliver` is called on the loop, once for each value.
    init(loop: any EventLoop, deliver: @escaping @Sendable (Value) -> Void) {
        self.loop = loop
        self.deliver = deliver
    }

    var isOnLoop: Bool { loop.inEventLoop }

    func send(_ value: Value) {
        let isFirst = waiting.withLockedValue { waiting in
            waiting.append(value)
            return waiting.count == 1
        }
        if isFirst { loop.execute { self.empty() } }
    }

    private func empty() {
        let values = waiting.withLockedValue { waiting in
            defer {
                waiting = []
                waiting.reserveCapacity(Self.usual)
            }
            return waiting
        }
        for value in values { deliver(value) }
    }

    /// As many values as cross together under load.
    private static var usual: Int { 32 }
}

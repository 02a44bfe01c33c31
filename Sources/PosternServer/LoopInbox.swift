import NIOConcurrencyHelpers
import NIOCore

/// Hands values from other threads to one event loop, in order. Those that come while the loop is busy cross together, in
/// one task.
final class LoopInbox<Value: Sendable>: Sendable {
    private let loop: any EventLoop
    private let queue = NIOLockedValueBox(Queue())
    private let deliver: @Sendable (Value) -> Void

    private struct Queue {
        var waiting: [Value?] = []
        /// Memory for those that come next.
        var spare: [Value?] = []
    }

    /// `deliver` is called on the loop, once for each value.
    init(loop: any EventLoop, deliver: @escaping @Sendable (Value) -> Void) {
        self.loop = loop
        self.deliver = deliver
    }

    var isOnLoop: Bool { loop.inEventLoop }

    func send(_ value: consuming Value) {
        var value = Optional(value)
        let isFirst = queue.withLockedValue { queue in
            queue.waiting.append(value.take())
            return queue.waiting.count == 1
        }
        if isFirst { loop.execute { self.empty() } }
    }

    private func empty() {
        var values: [Value?] = []
        queue.withLockedValue { queue in
            swap(&values, &queue.waiting)
            swap(&queue.waiting, &queue.spare)
        }
        for index in values.indices { if let value = values[index].take() { deliver(value) } }
        guard values.count <= Self.usual else { return }
        values.removeAll(keepingCapacity: true)
        queue.withLockedValue { swap(&values, &$0.spare) }
    }

    /// As many values as cross together under load; memory for more is not kept.
    private static var usual: Int { 256 }
}

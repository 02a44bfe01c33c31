import NIOConcurrencyHelpers
import NIOCore
import PosternCore

/// The open connections of a listener.
final class ConnectionSet: Sendable {
    private let channels = NIOLockedValueBox<[ObjectIdentifier: any Channel]>([:])

    func insert(_ channel: any Channel) {
        let id = ObjectIdentifier(channel)
        channels.withLockedValue { $0[id] = channel }
        channel.closeFuture.whenComplete { [channels] _ in channels.withLockedValue { $0[id] = nil } }
    }

    var count: Int { channels.withLockedValue { $0.count } }

    /// Tells every connection that we are stopping, waits, and closes what is left.
    func drain(patience: WallTime.Span) async {
        let open = channels.withLockedValue { Array($0.values) }
        for channel in open { channel.pipeline.fireUserInboundEventTriggered(DrainEvent()) }
        let deadline = NIODeadline.now() + .milliseconds(patience.milliseconds)
        while NIODeadline.now() < deadline, channels.withLockedValue({ !$0.isEmpty }) {
            try? await Task.sleep(for: .milliseconds(10))
        }
        for channel in channels.withLockedValue({ Array($0.values) }) { channel.close(promise: nil) }
    }
}

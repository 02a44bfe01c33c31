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

    /// Tells every connection that we are stopping, waits, and closes what is left. Where `lastCall` is not zero those that are left
    /// are told first that their time is up, and have that long to end by themselves.
    func drain(patience: WallTime.Span, lastCall: WallTime.Span = .zero) async {
        tell(DrainEvent())
        await wait(atMost: patience)
        if lastCall > .zero, count > 0 {
            tell(LastCallEvent())
            await wait(atMost: lastCall)
        }
        for channel in channels.withLockedValue({ Array($0.values) }) { channel.close(promise: nil) }
    }

    private func tell(_ event: some Sendable) {
        for channel in channels.withLockedValue({ Array($0.values) }) { channel.pipeline.fireUserInboundEventTriggered(event) }
    }

    private func wait(atMost patience: WallTime.Span) async {
        let deadline = NIODeadline.now() + .milliseconds(patience.milliseconds)
        while NIODeadline.now() < deadline, count > 0 { try? await Task.sleep(for: .milliseconds(10)) }
    }
}

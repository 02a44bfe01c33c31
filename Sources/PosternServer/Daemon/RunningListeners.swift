import NIOConcurrencyHelpers
import PosternConfiguration
import PosternControl
import PosternCore

/// A listener that accepts connections, whatever it does with them.
protocol RunningListener: Sendable {
    var name: String { get }
    var address: ListenAddress { get }
    var role: Configuration.Role { get }
    /// Stops accepting, lets what is under way finish, and waits for that at most `patience`.
    func drain(patience: WallTime.Span) async
}

extension PolicyListener: RunningListener {
    var role: Configuration.Role { .policy }
}

extension GatewayListener: RunningListener {
    var role: Configuration.Role { isSubmission ? .submission : isInner ? .inner : isThrottle ? .throttle : .gateway }
}

/// The listeners that have been started, by what they are.
final class RunningListeners: Sendable {
    private let listeners = NIOLockedValueBox<[any RunningListener]>([])
    /// What the tarpit holds of each gateway.
    private let diversions = NIOLockedValueBox<[TrapListener]>([])

    func add(_ listener: any RunningListener) { listeners.withLockedValue { $0.append(listener) } }
    func add(diversion: TrapListener) { diversions.withLockedValue { $0.append(diversion) } }

    var all: [any RunningListener] { listeners.withLockedValue { $0 } }
    var gateways: [GatewayListener] { all.compactMap { $0 as? GatewayListener } }
    var traps: [any TrapRunning] { all.compactMap { $0 as? any TrapRunning } }
    var socketmaps: [SocketmapListener] { all.compactMap { $0 as? SocketmapListener } }
    var dnsServices: [DNSServiceListener] { all.compactMap { $0 as? DNSServiceListener } }
    var admins: [AdminRunning] { all.compactMap { $0 as? AdminRunning } }

    /// Of the traps, and of the gateways that hand clients to the tarpit.
    var trapReports: [StatusReport.Trap] { traps.map(\.report) + diversions.withLockedValue { $0 }.map(\.report) }

    /// Drains all at once.
    func drain(patience: WallTime.Span) async {
        await withTaskGroup(of: Void.self) { group in
            for listener in all { group.addTask { await listener.drain(patience: patience) } }
        }
    }
}

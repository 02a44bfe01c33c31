import Logging
import NIOConcurrencyHelpers
import NIOCore
import PosternConfiguration
import PosternCore
import PosternEngine

/// Who may come in at the real mail server behind a throttle: the throttle's nodes, senders that are known, and everybody
/// while no node can be reached.
final class InnerDoor: Sendable {
    struct Settings: Equatable, Sendable {
        var nodes = PrefixSet()
        /// Nodes at any address.
        var certificates = NodeCertificates()
        /// Where it is seen whether a node is there.
        var checked: [ListenAddress] = []
        var checkInterval = WallTime.Span.seconds(30)
        var advice = Configuration.Inner.defaultAdvice
        var limits = Strangers.Limits(deferrals: 5, refusals: 10, silence: 900_000, capacity: 100_000)

        init() {}

        init(_ inner: Configuration.Inner) {
            nodes = inner.nodes
            certificates = NodeCertificates(
                paths: inner.nodeCertificates, names: Set(inner.nodeNames), authoritiesPath: inner.nodeAuthorities)
            checked = inner.checked
            checkInterval = inner.checkInterval
            advice = inner.advice
            limits = .init(
                deferrals: inner.deferrals, refusals: inner.refusals, silence: inner.silence.milliseconds, capacity: inner.strangers)
        }
    }

    /// What a client is to the door.
    enum Guest: Equatable, Sendable {
        /// It has held its clients to their measure already.
        case node
        /// It may show a node's certificate yet; nothing is known of it until it comes to mail.
        case unseen
        /// As at any gateway.
        case welcome
        case stranger(Strangers.Reception)
    }

    /// Rounds of checks in a row that must find nobody before the door opens: one may be an accident of the network's.
    static let roundsToOpen = 2

    private struct State {
        var strangers = Strangers()
        var emptyRounds = 0
        /// As the last round has found them.
        var nodes: [(address: ListenAddress, isReachable: Bool)] = []
    }

    private let name: String
    private let logger: Logger
    private let counters: GatewayCounters
    private let state = NIOLockedValueBox(State())

    init(name: String, counters: GatewayCounters, logger: Logger) {
        self.name = name
        self.counters = counters
        self.logger = logger
    }

    /// Whether everybody may come in.
    var isOpen: Bool { state.withLockedValue { $0.emptyRounds >= Self.roundsToOpen } }

    /// A session begins. `isKnown` is whether the client's mail is taken without a throttle, `mayShowItself` whether it may show a
    /// certificate yet: then it is not counted.
    func guest(_ address: IPAddress, isKnown: Bool, mayShowItself: Bool, _ settings: Settings, now: NIODeadline) -> Guest {
        if settings.nodes.contains(address) { return .node }
        if isKnown { return .welcome }
        let guest: Guest = state.withLockedValue { state in
            if state.emptyRounds >= Self.roundsToOpen { return .welcome }
            if mayShowItself { return .unseen }
            return .stranger(state.strangers.came(address, now: Int64(now.uptimeNanoseconds / 1_000_000), settings.limits))
        }
        counters.count { counts in
            switch guest {
            case .stranger(.deferred): counts.strangersDeferred += 1
            case .stranger(.busy): counts.strangersRefused += 1
            case .stranger(.unanswered): counts.strangersUnanswered += 1
            case .welcome: counts.strangersAdmitted += 1
            case .node, .unseen, .stranger(.vouched): break
            }
        }
        return guest
    }

    /// One that was taken for a stranger has shown a node's certificate, or writes for a domain that is trusted.
    func recognised(_ address: IPAddress, as guest: Guest?) {
        state.withLockedValue { $0.strangers.forget(address) }
        counters.count { counts in
            switch guest {
            case .stranger(.deferred): counts.strangersDeferred -= min(counts.strangersDeferred, 1)
            case .stranger(.busy): counts.strangersRefused -= min(counts.strangersRefused, 1)
            default: break
            }
        }
    }

    /// Which nodes can be reached, as the last round has found.
    var nodes: [(address: ListenAddress, isReachable: Bool)] { state.withLockedValue { $0.nodes } }

    /// Strangers that are remembered.
    var strangers: Int { state.withLockedValue { $0.strangers.count } }

    /// What a round of checks has found: nothing where there was nobody to ask.
    func checked(_ nodes: [(address: ListenAddress, isReachable: Bool)]) {
        let isAnyReachable = nodes.contains { $0.isReachable }
        guard !nodes.isEmpty else {
            return state.withLockedValue { state in
                state.emptyRounds = 0
                state.nodes = []
            }
        }
        let (was, rounds) = state.withLockedValue { state in
            state.nodes = nodes
            let was = state.emptyRounds
            state.emptyRounds = isAnyReachable ? 0 : min(was + 1, Self.roundsToOpen)
            return (was, state.emptyRounds)
        }
        if rounds == Self.roundsToOpen {
            // At each round while it lasts.
            logger.error(
                "the inner door is open to everybody: no node of the throttle can be reached; check them, and networks in between",
                metadata: ["listener": "\(name)"])
        } else if was == Self.roundsToOpen {
            logger.notice("the inner door is shut again: a node of the throttle can be reached", metadata: ["listener": "\(name)"])
        }
    }
}

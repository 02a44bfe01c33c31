import DNSProtocol
import Logging
import NIOConcurrencyHelpers
import PosternCore
import PosternResolver

/// Whether anybody answers our questions. While nobody does, no decision waits for look-ups, and one question a second
/// finds out when that is over.
public final class ResolverHealth: Sendable {
    private struct State {
        var answers = false
        var timeoutsInARow = 0
        var probes = 0
    }

    private let state = NIOLockedValueBox(State())
    private let logger: Logger

    /// Questions in a row that must have gone unanswered.
    static let tolerated = 12
    static let interval = WallTime.Span.seconds(1)
    /// How long the daemon's start waits for the first answer.
    static let patienceAtStart = WallTime.Span.milliseconds(400)

    public init(logger: Logger) {
        self.logger = logger
    }

    /// False until the first answer.
    public var answers: Bool { state.withLockedValue { $0.answers } }

    /// Notes what became of a question that was really asked.
    func note(_ answer: Answer) {
        guard !answer.isCached else { return }
        let isSilence = answer.failure == .timeout || answer.failure == .unreachable
        let change: Bool? = state.withLockedValue { state in
            let before = state.answers
            if isSilence {
                state.timeoutsInARow += 1
                if state.timeoutsInARow >= Self.tolerated { state.answers = false }
            } else if answer.failure != .switchedOff, answer.failure != .closed, answer.failure != .overloaded {
                state.timeoutsInARow = 0
                state.answers = true
            }
            return before == state.answers ? nil : state.answers
        }
        switch change {
        case true?: logger.info("the resolver answers: look-ups are on")
        case false?:
            logger.warning(
                "no resolver answers: decisions are made without DNS until one does",
                metadata: ["unanswered": "\(Self.tolerated)", "see": "dns.resolvers"])
        case nil: break
        }
    }

    /// Asks for a name that resolvers answer for themselves (RFC 6761 §6.4), another one each time, so that no cache does.
    func probe(_ resolver: Resolver, patience: WallTime.Span) async {
        let number = state.withLockedValue { state in
            state.probes += 1
            return state.probes
        }
        guard let name = DNSName("probe\(number).postern.invalid") else { return }
        note(await resolver.ask(Question(name, .a), deadline: .after(patience)))
    }

    /// Runs until it is cancelled.
    func watch(_ resolver: Resolver) async {
        while !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(Self.interval.milliseconds))
            if !answers, !resolver.servers.isEmpty { await probe(resolver, patience: Self.interval) }
        }
    }
}

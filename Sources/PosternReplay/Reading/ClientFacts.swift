import PosternCore
import PosternEngine

/// What the log has told of one client lately, before its attempts: kept for minutes.
struct ClientFacts {
    /// Older facts say nothing of an attempt.
    static let lifetime = WallTime.Span.minutes(10)

    struct SPFAnswer {
        var result: SPFFinding.Result
        var isHelo: Bool
        var helo: String
        /// Of the sender as the log has it.
        var senderHash: UInt64
    }

    var evidence = AttemptEvidence()
    /// The last for a sender, and the last for HELO.
    var spf: SPFAnswer?
    var heloSPF: SPFAnswer?
    var seen: WallTime

    mutating func add(_ answer: SPFAnswer) {
        if answer.isHelo { heloSPF = answer } else { spf = answer }
    }
}

/// The facts of all clients that were lately seen.
struct ClientFactsTable {
    /// As many clients at once: above it all that is known is thrown away.
    static let maximum = 200_000

    private var facts: [IPAddress: ClientFacts] = [:]
    private var sweepAt = 1024

    var count: Int { facts.count }

    subscript(address: IPAddress, at time: WallTime) -> ClientFacts? {
        guard !facts.isEmpty, let found = facts[address], time - found.seen < ClientFacts.lifetime else { return nil }
        return found
    }

    mutating func update(_ address: IPAddress, at time: WallTime, _ change: (inout ClientFacts) -> Void) {
        var found = self[address, at: time] ?? ClientFacts(seen: time)
        found.seen = time
        change(&found)
        facts[address] = found
        guard facts.count > sweepAt else { return }
        facts = facts.filter { time - $0.value.seen < ClientFacts.lifetime }
        if facts.count > Self.maximum { facts.removeAll() }
        sweepAt = max(1024, facts.count * 2)
    }
}

import PosternCore
import PosternEngine

/// Rows as the simplest store there is keeps them.
public struct Rows: Sendable {
    public var triplets: [TripletKey: TripletRow] = [:]
    public var identities: [Identity: IdentityRow] = [:]

    public init() {}

    public func evidence(_ needs: Needs) -> Evidence {
        Evidence(triplets: needs.triplets.map { triplets[$0] }, identities: needs.identities.map { identities[$0] })
    }

    public mutating func apply(_ changes: Changes) {
        for change in changes.triplets { triplets[change.key] = change.row }
        for change in changes.identities { identities[change.identity] = change.row }
    }

    public mutating func expire(now: WallTime) {
        triplets = triplets.filter { $0.value.expires > now }
        identities = identities.filter { $0.value.expires > now }
    }
}

/// An engine with rows, the memory of its messages and a clock to turn: what a front and a store are to it, in one value.
public struct Site: Sendable {
    public var engine: Engine
    public var rows = Rows()
    public var messages: [String: MessageMemory] = [:]
    public var now = WallTime(seconds: 1_800_000_000)
    /// What look-ups find from now on, where they are asked.
    public var findings = Findings()
    /// How long what was let through last had waited, where it passed for another reason than that.
    public private(set) var waited: WallTime.Span?
    /// Triplets that wait for their retry.
    public var waiting: Set<String> {
        let live = rows.triplets.filter { now < $0.value.expires }
        let passed = Set(live.filter { !$0.value.isWaiting }.map { "\($0.key.sender)>\($0.key.recipient)" })
        return Set(live.filter { $0.value.isWaiting }.map { "\($0.key.sender)>\($0.key.recipient)" }).subtracting(passed)
    }
    /// How often they were asked.
    public private(set) var lookUps = 0

    public init(_ change: (inout EngineSettings) -> Void = { _ in }) {
        var settings = EngineSettings()
        settings.hostname = "mx.example.net"
        change(&settings)
        engine = Engine(settings: settings, domains: LastTwoLabels())
    }

    public mutating func wait(_ span: WallTime.Span) { now = now + span }

    /// Asks, commits and answers. Questions without an instance have no memory, as with a front that has no such mark.
    public mutating func ask(_ attempt: Attempt) -> Verdict {
        let memory = messages[attempt.instance] ?? MessageMemory()
        let decision: Decision =
            switch engine.begin(attempt, memory: memory, now: now) {
            case .decided(let decision): decision
            case .needs(let inquiry): decide(inquiry)
            }
        rows.apply(decision.changes)
        // As whoever commits it does, when the answer has left.
        let overtaken = rows.evidence(Needs(triplets: decision.overtaken))
        if let ended = engine.endOfWait(of: decision, evidence: overtaken, now: now) {
            rows.apply(ended.changes)
            waited = ended.verdict.waited
        } else {
            waited = decision.verdict.waited
        }
        if !attempt.instance.isEmpty { messages[attempt.instance] = decision.memory }
        return decision.verdict
    }

    private mutating func decide(_ inquiry: Engine.Inquiry) -> Decision {
        let evidence = rows.evidence(inquiry.needs)
        guard engine.wantsFindings(inquiry) else { return engine.conclude(inquiry, evidence: evidence, now: now) }
        if let decision = engine.recognise(inquiry, evidence: evidence, now: now) { return decision }
        lookUps += 1
        let informed = engine.inform(inquiry, with: findings)
        return engine.conclude(informed, evidence: rows.evidence(informed.needs), now: now)
    }

    /// Asks at RCPT.
    public mutating func rcpt(
        _ recipient: String = "bob@example.net", from sender: String = "alice@example.org", address: String = "192.0.2.1",
        name: String? = nil,
        instance: String = "", account: String? = nil, helo: String = "mail.example.org"
    ) -> Verdict {
        ask(
            Attempt(
                stage: .rcpt, client: Client(address: IPAddress(address), confirmedName: name.flatMap { DomainName($0) }, helo: helo),
                sender: ReversePath(sender), recipient: Mailbox(recipient), instance: instance, account: account))
    }

    /// Asks at DATA; a recipient is named where it is the only one.
    public mutating func data(
        _ recipient: String? = nil, count: Int = 1, from sender: String = "", address: String = "192.0.2.1", name: String? = nil,
        instance: String = ""
    ) -> Verdict {
        ask(
            Attempt(
                stage: .data, client: Client(address: IPAddress(address), confirmedName: name.flatMap { DomainName($0) }),
                sender: ReversePath(sender), recipient: recipient.flatMap { Mailbox($0) }, recipientCount: count, instance: instance))
    }
}

extension Verdict {
    /// How long it had waited, where it passes for another reason than that.
    fileprivate var waited: WallTime.Span? {
        for case .waited(let span) in causes { return span }
        return nil
    }

    /// The deciding cause in one word.
    public var word: String { causes[0].word }
}

import Logging
import NIOConcurrencyHelpers
import PolicyProtocol
import PosternCore
import PosternEngine

/// Answers policy requests: request → attempt → engine → store → reply. One for all listeners and connections.
public final class PolicyService: Sendable {
    private struct State {
        var engine: Engine
        var messages = MessageTable(capacity: 16_384)
        var counter: UInt16 = 0
    }

    private let state: NIOLockedValueBox<State>
    private let store: any Store
    private let clock: ServiceClock
    private let log: DecisionLog
    public let counters: Counters

    public init(engine: Engine, store: any Store, clock: ServiceClock, log: DecisionLog, counters: Counters) {
        state = NIOLockedValueBox(State(engine: engine))
        self.store = store
        self.clock = clock
        self.log = log
        self.counters = counters
    }

    public var engine: Engine { state.withLockedValue { $0.engine } }

    /// From here on decisions are made with these settings and lists.
    public func update(_ change: (inout Engine) -> Void) {
        state.withLockedValue { change(&$0.engine) }
    }

    /// Answers one request. `completion` is called once, at once or on the store's thread.
    func answer(_ request: PolicyRequest, listener: String, completion: @escaping @Sendable (PolicyReply) -> Void) {
        guard let attempt = Attempt(request) else { return completion(.dunno) }
        let (now, wall) = clock.now()
        let (engine, memory, counter) = state.withLockedValue { state in
            state.counter &+= 1
            return (state.engine, state.messages[attempt.instance], state.counter)
        }
        let reference = Reference(time: wall, counter: counter)

        switch engine.begin(attempt, memory: memory ?? MessageMemory(), now: now) {
        case .decided(let decision):
            let record = record(decision, attempt, reference, listener: listener, wall: wall, steady: now, triplets: [])
            if let record {
                store.submit(StoreTransaction(needs: Needs(), decide: { _ in (Decision(verdict: decision.verdict), record) }, completion: { _ in }))
            }
            finish(decision, record, attempt: attempt, memory: memory, settings: engine.settings, now: now, reference: reference, completion: completion)

        case .needs(let inquiry):
            store.submit(
                StoreTransaction(
                    needs: inquiry.needs,
                    decide: { [self] evidence in
                        let decision = engine.conclude(inquiry, evidence: evidence, now: now)
                        return (decision, record(decision, attempt, reference, listener: listener, wall: wall, steady: now, triplets: inquiry.needs.triplets))
                    },
                    completion: { [self] result in
                        switch result {
                        case .success((let decision, let record)):
                            finish(decision, record, attempt: attempt, memory: memory, settings: engine.settings, now: now, reference: reference, completion: completion)
                        case .failure(let failure):
                            counters.storeFailed(failure)
                            let decision = engine.failOpen(inquiry)
                            let record = record(decision, attempt, reference, listener: listener, wall: wall, steady: now, triplets: [])
                            finish(decision, record, attempt: attempt, memory: memory, settings: engine.settings, now: now, reference: reference, completion: completion)
                        }
                    }))
        }
    }

    private func finish(
        _ decision: Decision, _ record: DecisionRecord?, attempt: Attempt, memory: MessageMemory?, settings: EngineSettings, now: WallTime, reference: Reference,
        completion: @Sendable (PolicyReply) -> Void
    ) {
        if !attempt.instance.isEmpty, decision.memory != memory ?? MessageMemory() {
            state.withLockedValue { $0.messages[attempt.instance] = decision.memory }
        }
        if let record {
            counters.decided(decision.verdict)
            log.write(record)
        }
        completion(PolicyReply(decision.verdict, now: now, settings: settings, reference: reference))
    }

    /// What is kept of a decision; `nil` for a stage at which nothing is checked.
    private func record(
        _ decision: Decision, _ attempt: Attempt, _ reference: Reference, listener: String, wall: WallTime, steady: WallTime, triplets: [TripletKey]
    ) -> DecisionRecord? {
        guard decision.verdict.causes.first != .stageHasNoCheck else { return nil }
        var verdict = decision.verdict
        // People read wall time.
        verdict.passesAt = verdict.passesAt.map { wall + ($0 - steady) }
        return DecisionRecord(reference: reference, time: wall, listener: listener, attempt: attempt, verdict: verdict, triplets: triplets)
    }
}

extension Attempt {
    /// From a policy request; `nil` for a protocol state that is not known, where nothing is checked either.
    init?(_ request: PolicyRequest) {
        guard let stage = Stage(rawValue: request[.protocolState]) else { return nil }
        // Postfix writes "unknown" for a name that is not there or is not confirmed (SMTPD_POLICY_README).
        let name = request[.clientName]
        let client = Client(
            address: IPAddress(request[.clientAddress]), confirmedName: name == "unknown" ? nil : DomainName(name), helo: request[.heloName])
        let account = request[.saslUsername]
        self.init(
            stage: stage, client: client, sender: ReversePath(request[.sender]), recipient: Mailbox(request[.recipient]),
            recipientCount: request.number(.recipientCount), instance: request[.instance], account: account.isEmpty ? nil : account,
            size: request.number(.size), stressed: request[.stress] == "yes")
    }
}

extension PolicyReply {
    /// The reply that says what the verdict says, to the client and its admin. `now` is the steady time.
    init(_ verdict: Verdict, now: WallTime, settings: EngineSettings, reference: Reference) {
        switch verdict.action {
        case .accept, .hold, .tarpit:
            // A delay here would pin one of the MTA's processes.
            self = verdict.header.map(PolicyReply.prepend) ?? .dunno
        case .defer:
            let text = ReplyText.deferral(verdict, now: now, hostname: settings.hostname, reference: reference)
            self = settings.greylist.reply == .deferIfPermit ? .deferIfPermit(text) : .defer(code: 451, enhanced: "4.7.1", text: text)
        case .reject, .drop:
            let text = ReplyText.refusal(hostname: settings.hostname, reference: reference)
            self = .reject(code: 554, enhanced: "5.7.1", text: text)
        }
    }
}

/// Sentences of replies, shared by every front. They reach a sender's admin, and sometimes the sender.
enum ReplyText {
    /// Says when to come back.
    static func deferral(_ verdict: Verdict, now: WallTime, hostname: String, reference: Reference) -> String {
        let wait = max((verdict.passesAt ?? now) - now, .seconds(1))
        return "Greylisted: please come back in \(wait.secondsRoundedUp) seconds or later (\(hostname) \(reference))"
    }

    static func refusal(hostname: String, reference: Reference) -> String {
        "Refused by local policy; write to postmaster here about it (\(hostname) \(reference))"
    }
}

/// What is remembered of messages under way, by `instance`; the oldest is forgotten first.
struct MessageTable {
    private var memories: [String: MessageMemory] = [:]
    private var order: [String] = []
    private var next = 0
    let capacity: Int

    init(capacity: Int) {
        self.capacity = capacity
    }

    subscript(instance: String) -> MessageMemory? {
        get { memories.isEmpty || instance.isEmpty ? nil : memories[instance] }
        set {
            guard let newValue else { return }
            if memories.updateValue(newValue, forKey: instance) != nil { return }
            if order.count < capacity {
                order.append(instance)
            } else {
                memories[order[next]] = nil
                order[next] = instance
                next = (next + 1) % capacity
            }
        }
    }
}

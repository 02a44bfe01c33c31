import NIOConcurrencyHelpers
import NIOCore
import PolicyProtocol
import PosternCore
import PosternEngine

/// Answers policy requests: request → attempt → decision → reply. One for all listeners and connections.
public final class PolicyService: Sendable {
    private let decisions: DecisionService
    private let messages = NIOLockedValueBox(MessageTable(capacity: 16_384))
    private let inboxes = NIOLockedValueBox<[ObjectIdentifier: LoopInbox<PolicyAnswer>]>([:])

    /// The longest that an answer is held back, where the verdict is to hold: an MTA's process waits as long.
    private let hold: WallTime.Span

    public init(decisions: DecisionService, hold: WallTime.Span = .zero) {
        self.decisions = decisions
        self.hold = hold
    }

    var counters: Counters { decisions.counters }

    /// Where answers to the connections of a loop are sent: one for each loop, as long as the service lives.
    func inbox(for loop: any EventLoop) -> LoopInbox<PolicyAnswer> {
        inboxes.withLockedValue { inboxes in
            if let inbox = inboxes[ObjectIdentifier(loop)] { return inbox }
            let inbox = LoopInbox<PolicyAnswer>(loop: loop) { $0.deliver() }
            inboxes[ObjectIdentifier(loop)] = inbox
            return inbox
        }
    }

    /// Answers one request. `completion` is called once, at once or on the store's thread, with the reply and how long to hold
    /// it back.
    func answer(_ request: PolicyRequest, listener: String, completion: @escaping @Sendable (PolicyReply, WallTime.Span) -> Void) {
        guard let attempt = Attempt(request) else { return completion(.dunno, .zero) }
        if let address = attempt.client.address, attempt.account == nil { decisions.met(address, at: listener) }
        if attempt.stage == .rcpt { decisions.named(attempt, at: listener) }
        // What follows is kept until the answer comes; of the attempt that is little.
        let (stage, instance, isStressed) = (attempt.stage, attempt.instance, attempt.stressed)
        let memory = messages.withLockedValue { $0[instance] } ?? MessageMemory()
        decisions.decide(attempt, memory: memory, listener: listener) { [self] outcome in
            var now = outcome.memory
            let field = Self.field(of: outcome, at: stage, &now)
            var wait = WallTime.Span.zero
            // Once a message: each further recipient would cost the MTA's process as much again.
            if case .hold(let span) = outcome.verdict.action, !instance.isEmpty, !now.held, !isStressed {
                wait = min(span, hold)
                now.held = wait > .zero
            }
            if !instance.isEmpty, now != memory {
                messages.withLockedValue { [now] in $0[instance] = now }
            }
            completion(PolicyReply(outcome, field: field), wait)
        }
    }
}

extension PolicyService {
    /// The header field that this answer puts on the message, if any. An answer has room for one: what else is owed waits for
    /// the next recipient, or for DATA.
    private static func field(of outcome: DecisionService.Outcome, at stage: Stage, _ memory: inout MessageMemory) -> String? {
        switch outcome.verdict.action {
        case .accept, .hold, .tarpit: break
        case .defer, .reject, .drop: return nil
        }
        memory.fieldsOwed += [outcome.spfField, outcome.verdict.header].compactMap { $0 }
        // SMTPD_POLICY_README: PREPEND is not for the end of a message.
        guard stage == .rcpt || stage == .data, !memory.fieldsOwed.isEmpty else { return nil }
        return memory.fieldsOwed.removeFirst()
    }
}

extension Attempt {
    /// From a policy request; `nil` for a protocol state that is not known, where nothing is checked either.
    init?(_ request: PolicyRequest) {
        guard let stage = Stage(rawValue: request[.protocolState]) else { return nil }
        // Postfix writes "unknown" for a name that is not there or is not confirmed (SMTPD_POLICY_README).
        let name = request[.clientName]
        var client = Client(
            address: IPAddress(request[.clientAddress]), confirmedName: name == "unknown" ? nil : DomainName(name), helo: request[.heloName]
        )
        if let confirmed = client.confirmedName {
            client.reverseName = .confirmed(confirmed)
        } else if name == "unknown", !request.isEmpty(.reverseClientName) {
            // The name that is not confirmed. "unknown" stands for no name and for a DNS that failed a moment ago
            // (smtpd_peer.c), so that it says nothing: we ask ourselves.
            let reverse = request[.reverseClientName]
            if reverse != "unknown" { client.reverseName = DomainName(reverse).map { .unconfirmed($0) } ?? .none }
        }
        let account = request[.saslUsername]
        self.init(
            stage: stage, client: client, sender: ReversePath(request[.sender]), recipient: Mailbox(request[.recipient]),
            recipientCount: request.number(.recipientCount), instance: request[.instance], account: account.isEmpty ? nil : account,
            size: request.number(.size), stressed: request[.stress] == "yes")
    }
}

extension PolicyReply {
    /// The reply that says what the verdict says.
    init(_ outcome: DecisionService.Outcome, field: String?) {
        let verdict = outcome.verdict
        switch verdict.action {
        case .accept, .hold, .tarpit:
            self = field.map(PolicyReply.prepend) ?? .dunno
        case .defer:
            self =
                outcome.deferralReply == .deferIfPermit
                ? .deferIfPermit(outcome.text) : .defer(code: 451, enhanced: "4.7.1", text: outcome.text)
        case .reject where verdict.holdsMessage:
            self = .hold(outcome.text)
        case .reject, .drop:
            self = .reject(code: 554, enhanced: "5.7.1", text: outcome.text)
        }
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

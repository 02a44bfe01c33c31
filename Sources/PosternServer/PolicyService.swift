import NIOConcurrencyHelpers
import NIOCore
import PolicyProtocol
import PosternCore
import PosternEngine

/// Answers policy requests: request → attempt → decision → reply. One for all listeners and connections.
public final class PolicyService: Sendable {
    private let decisions: DecisionService
    private let messages = NIOLockedValueBox(MessageTable(capacity: 16_384, octets: 32 << 20))
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

    /// Answers one request. `asker` gets the reply once, at once or on the store's thread, and how long to hold it back.
    func answer(_ request: PolicyRequest, listener: String, to asker: PolicyAsker) {
        guard let attempt = Attempt(request) else { return asker.take(.dunno, after: .zero) }
        if let address = attempt.client.address, attempt.account == nil { decisions.met(address, at: listener) }
        if attempt.stage == .rcpt { decisions.named(attempt, at: listener) }
        // What follows is kept until the answer comes; of the attempt that is little.
        let (stage, instance, isStressed) = (attempt.stage, attempt.instance, attempt.stressed)
        let memory = messages.withLockedValue { $0[instance] } ?? MessageMemory()
        decisions.decide(attempt, memory: memory, listener: listener) { [self] outcome in
            guard outcome.verdict.action.passes else {
                if outcome.memory != memory { remember(outcome.memory, of: instance) }
                return asker.take(outcome.reply(field: nil), after: .zero)
            }
            var now = outcome.memory
            let field = Self.field(of: outcome, at: stage, &now)
            var wait = WallTime.Span.zero
            // Once a message: each further recipient would cost the MTA's process as much again.
            if case .hold(let span) = outcome.verdict.action, !instance.isEmpty, !now.held, !isStressed {
                wait = min(span, hold)
                now.held = wait > .zero
            }
            if now != memory { remember(now, of: instance) }
            asker.take(outcome.reply(field: field), after: wait)
        }
    }

    private func remember(_ memory: MessageMemory, of instance: String) {
        if !instance.isEmpty { messages.withLockedValue { $0[instance] = memory } }
    }

    /// The header field that the answer to a message that passes puts on it, if any. An answer has room for one: what else is owed
    /// waits for the next recipient, or for DATA.
    private static func field(of outcome: DecisionService.Outcome, at stage: Stage, _ memory: inout MessageMemory) -> String? {
        for case let field? in [outcome.spfField, outcome.verdict.header] { memory.fieldsOwed.append(field) }
        // SMTPD_POLICY_README: PREPEND is not for the end of a message.
        guard stage == .rcpt || stage == .data, !memory.fieldsOwed.isEmpty else { return nil }
        return memory.fieldsOwed.removeFirst()
    }
}

extension Verdict.Action {
    /// Whether Postfix is to go on; it has no slow answers of ours.
    fileprivate var passes: Bool {
        switch self {
        case .accept, .hold, .tarpit: true
        case .defer, .reject, .drop: false
        }
    }
}

extension Attempt {
    /// From a policy request; `nil` for a protocol state that is not known, where nothing is checked either.
    init?(_ request: PolicyRequest) {
        // Nearly every question is about a recipient.
        guard let stage = request.holds(.protocolState, "RCPT") ? .rcpt : Stage(rawValue: request[.protocolState]) else { return nil }
        // Postfix writes "unknown" for a name that is not there or is not confirmed (SMTPD_POLICY_README).
        let isUnknown = request.holds(.clientName, "unknown")
        var client = Client(
            address: request.address(.clientAddress), confirmedName: isUnknown ? nil : request.domainName(.clientName),
            helo: request[.heloName])
        if let confirmed = client.confirmedName {
            client.reverseName = .confirmed(confirmed)
        } else if isUnknown, !request.isEmpty(.reverseClientName), !request.holds(.reverseClientName, "unknown") {
            // The name that is not confirmed. "unknown" stands for no name and for a DNS that failed a moment ago
            // (smtpd_peer.c), so that it says nothing: we ask ourselves.
            client.reverseName = request.domainName(.reverseClientName).map { .unconfirmed($0) } ?? .none
        }
        self.init(
            stage: stage, client: client, sender: request.mailbox(.sender).map { .mailbox($0) } ?? .null,
            recipient: request.mailbox(.recipient), recipientCount: request.number(.recipientCount), instance: request[.instance],
            account: request.isEmpty(.saslUsername) ? nil : request[.saslUsername], size: request.number(.size),
            stressed: request.holds(.stress, "yes"))
    }
}

extension DecisionService.Outcome {
    /// The reply that says what the verdict says.
    fileprivate func reply(field: String?) -> PolicyReply {
        switch verdict.action {
        case .accept, .hold, .tarpit: field.map(PolicyReply.prepend) ?? .dunno
        case .defer where deferralReply == .deferIfPermit: .deferIfPermit(text)
        case .defer: .defer(code: 451, enhanced: "4.7.1", text: text)
        case .reject where verdict.holdsMessage: .hold(text)
        case .reject, .drop: .reject(code: 554, enhanced: "5.7.1", text: text)
        }
    }
}

/// What is remembered of messages under way, by `instance`; the oldest is forgotten first.
struct MessageTable {
    private var memories: [String: MessageMemory] = [:]
    private var order: CircularBuffer<String> = []
    /// Of what their recipients and fields take.
    private(set) var octets = 0
    private let capacity: Int
    private let mostOctets: Int

    /// - Parameters:
    ///   - capacity: messages at most.
    ///   - octets: of their recipients and fields, at most.
    init(capacity: Int, octets: Int) {
        self.capacity = capacity
        mostOctets = octets
    }

    var count: Int { memories.count }

    subscript(instance: String) -> MessageMemory? {
        get { memories.isEmpty || instance.isEmpty ? nil : memories[instance] }
        set {
            guard let newValue else { return }
            octets += newValue.octets
            if let old = memories.updateValue(newValue, forKey: instance) {
                octets -= old.octets
            } else {
                order.append(instance)
            }
            while order.count > capacity || octets > mostOctets, let oldest = order.popFirst() {
                if let forgotten = memories.removeValue(forKey: oldest) { octets -= forgotten.octets }
            }
        }
    }
}

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

    public init(decisions: DecisionService) {
        self.decisions = decisions
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

    /// Answers one request. `completion` is called once, at once or on the store's thread.
    func answer(_ request: PolicyRequest, listener: String, completion: @escaping @Sendable (PolicyReply) -> Void) {
        guard let attempt = Attempt(request) else { return completion(.dunno) }
        let instance = attempt.instance
        let memory = messages.withLockedValue { $0[instance] } ?? MessageMemory()
        decisions.decide(attempt, memory: memory, listener: listener) { [self] outcome in
            if !instance.isEmpty, outcome.memory != memory {
                messages.withLockedValue { $0[instance] = outcome.memory }
            }
            completion(PolicyReply(outcome))
        }
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
            // The name that is not confirmed; "unknown" again where there is none.
            let reverse = request[.reverseClientName]
            client.reverseName = reverse == "unknown" ? .none : DomainName(reverse).map { .unconfirmed($0) } ?? .none
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
    init(_ outcome: DecisionService.Outcome) {
        let verdict = outcome.verdict
        switch verdict.action {
        case .accept, .hold, .tarpit:
            // A delay here would pin one of the MTA's processes.
            self = verdict.header.map(PolicyReply.prepend) ?? .dunno
        case .defer:
            self =
                outcome.deferralReply == .deferIfPermit
                ? .deferIfPermit(outcome.text) : .defer(code: 451, enhanced: "4.7.1", text: outcome.text)
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

import NIOConcurrencyHelpers
import NIOCore
import PolicyProtocol
import PosternCore
import PosternEngine

/// Answers policy requests: request → attempt → decision → reply. One for all listeners and connections.
public final class PolicyService: Sendable {
    private let decisions: DecisionService
    private let messages = Messages()
    private let inboxes = NIOLockedValueBox<[ObjectIdentifier: LoopInbox<PolicyAnswer>]>([:])

    /// The longest that an answer is held back, where the verdict is to hold: an MTA's process waits as long.
    private let hold: WallTime.Span

    public init(decisions: DecisionService, hold: WallTime.Span = .zero) {
        self.decisions = decisions
        self.hold = hold
    }

    var counters: Counters { decisions.counters }

    /// Messages that are being asked about.
    var messagesUnderWay: Int { messages.underWay }

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
        repeat {
            if let memory = messages.enter(attempt.instance) { return decide(attempt, memory, at: listener, asker) }
        } while !messages.append(Turn(attempt, at: listener, asker), to: attempt.instance)
    }

    /// Decides on what is the only question about its message at present.
    private func decide(_ attempt: consuming Attempt, _ before: MessageMemory, at listener: String, _ asker: PolicyAsker) {
        var memory = before
        if attempt.stage == .rcpt, let trap = decisions.named(attempt, at: listener), memory.beforeTrap == nil { memory.beforeTrap = trap }
        // What follows is kept until the answer comes; of the attempt that is little.
        let (stage, instance, isStressed) = (attempt.stage, attempt.instance, attempt.stressed)
        decisions.decide(attempt, memory: memory, listener: listener) { [self] outcome in
            guard outcome.verdict.passes else {
                goOn(with: instance, outcome.memory, insteadOf: before)
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
            goOn(with: instance, now, insteadOf: before)
            asker.take(outcome.reply(field: field), after: wait)
        }
    }

    /// Remembers what the question has left behind of its message, and sees to the next about it.
    private func goOn(with instance: String, _ now: MessageMemory, insteadOf before: MessageMemory) {
        guard let next = messages.leave(instance, now, insteadOf: before) else { return }
        // Not from here, where one after another would go ever deeper.
        next.asker.connection.eventLoop.execute { [self] in
            decide(next.attempt, messages.memory(of: instance), at: next.listener, next.asker)
        }
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

extension Verdict {
    /// Whether Postfix is to go on, and has room for a header field; it has no slow answers of ours.
    fileprivate var passes: Bool {
        switch action {
        case .hold: !holdsMessage
        case .accept, .tarpit: true
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
        let confirmed = isUnknown ? nil : request.domainName(.clientName)
        var reverseName = Findings.ReverseName.unknown
        if let confirmed {
            reverseName = .confirmed(confirmed)
        } else if isUnknown, !request.isEmpty(.reverseClientName), !request.holds(.reverseClientName, "unknown") {
            // The name that is not confirmed. "unknown" stands for no name and for a DNS that failed a moment ago
            // (smtpd_peer.c), so that it says nothing: we ask ourselves.
            reverseName = request.domainName(.reverseClientName).map { .unconfirmed($0) } ?? .none
        }
        self.init(
            stage: stage,
            client: Client(
                address: request.address(.clientAddress), confirmedName: confirmed, reverseName: reverseName, helo: request[.heloName]),
            sender: request.mailbox(.sender).map { .mailbox($0) } ?? .null,
            recipient: request.mailbox(.recipient), recipientCount: request.number(.recipientCount), instance: request[.instance],
            account: request.isEmpty(.saslUsername) ? nil : request[.saslUsername], size: request.number(.size),
            stressed: request.holds(.stress, "yes"))
    }
}

extension DecisionService.Outcome {
    /// The reply that says what the verdict says.
    fileprivate func reply(field: String?) -> PolicyReply {
        switch verdict.action {
        case .hold where verdict.holdsMessage: .hold(text)
        case .accept, .hold, .tarpit: field.map(PolicyReply.prepend) ?? .dunno
        case .defer where deferralReply == .deferIfPermit: .deferIfPermit(text)
        case .defer: .defer(code: 451, enhanced: "4.7.1", text: text)
        case .reject, .drop: .reject(code: 554, enhanced: "5.7.1", text: text)
        }
    }
}

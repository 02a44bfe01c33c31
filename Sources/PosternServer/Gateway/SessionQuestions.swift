import NIOCore
import PosternConfiguration
import PosternCore
import PosternEngine
import SMTPProtocol

/// Who a session's client is, as far as we know and believe.
struct SessionClient {
    var source = Endpoint(address: IPAddress(v4: 0), port: 0)
    var destination = Endpoint(address: IPAddress(v4: 0), port: 0)
    /// Forward-confirmed, or why there is none.
    var confirmedName = XClientValue<DomainName>.unavailable
    var name: DomainName? { confirmedName.value }
    /// By reverse look-up alone, where a trusted front has told it.
    var reverseName: XClientValue<String>?
    /// The account that a trusted front has authenticated (XCLIENT LOGIN).
    var login: String?
    var isSecured = false
    /// XCLIENT has told who it is.
    var isIntroduced = false
}

/// What the engine is asked for a session, and the pause before its answer counts.
struct SessionQuestion {
    /// RFC 5321 §4.5.3.2.1 gives clients 5 minutes for the greeting; many wait only 30 seconds.
    static let longestGreeting = WallTime.Span.seconds(29)
    /// RFC 5321 §4.5.3.2.4: of all replies the one to DATA is waited for the least, 2 minutes.
    static let longestPause = WallTime.Span.seconds(60)

    fileprivate(set) var stage = Stage.connect
    /// Answers to earlier questions are no longer wanted.
    fileprivate var number: UInt64 = 0
    /// It counts among those who wait because of a limit.
    fileprivate var holdsPlace = false
    /// What was decided, while it is held back.
    fileprivate var paused: SMTPProtocol.Decision?
    fileprivate var pausedUntil = NIODeadline.distantFuture
    fileprivate var nameBy = NIODeadline.distantFuture
    /// The recipient that the backend is being asked about.
    fileprivate var probed: RecipientCommand?
    /// The recipient that the backend is being asked about with the client's own mail.
    fileprivate var inquired: RecipientCommand?
    fileprivate var probeBy = NIODeadline.distantFuture
    /// The recipient of a stranger at an inner door, while it is seen whether its sender is trusted.
    fileprivate var doubted: Question?
    /// The sender of this message is trusted, though its address is a stranger's.
    fileprivate(set) var isVouchedFor = false
    /// What the backend has said to a stranger at an inner door, while it is handed on.
    var backendsWord: Reply?
    /// The greeting is waited for and nothing has been decided.
    fileprivate var isOpen = false
    /// The name given with the HELO or EHLO that is asked about.
    fileprivate var helo = ""

    /// Its answer is known and held back.
    var isPaused: Bool { paused != nil }
    var awaitsName: Bool { nameBy != .distantFuture }
    var nextMoment: NIODeadline { min(pausedUntil, min(nameBy, probeBy)) }
}

extension SessionHandler {
    // MARK: - The client

    /// Starts to look up the client's name, where that can be done; the session begins without it after a while.
    func lookUpName() {
        guard let lookUp = gateway.clientName else { return }
        question.nameBy = .now() + .milliseconds(current.settings.nameTimeout.milliseconds)
        updateTimer()
        let bound = NIOLoopBound(self, eventLoop: gate.loop)
        let (loop, address) = (gate.loop, client.source.address)
        Task {
            let name = await lookUp(address)
            loop.execute { bound.value.named(name) }
        }
    }

    private func named(_ name: XClientValue<DomainName>) {
        guard question.awaitsName, !isGone else { return }
        question.nameBy = .distantFuture
        client.confirmedName = name
        greet()
    }

    /// What a trusted front says of its client.
    func adopt(_ attributes: XClientAttributes) {
        client.isIntroduced = true
        leaveLogIn()
        if let address = attributes.address?.value {
            client.source.address = address
            if current.settings.submission == nil { gateway.decisions.met(address, at: gateway.name) }
            // What was known belonged to another.
            client.confirmedName = .unavailable
            client.reverseName = nil
            signals = [:]
            beforeTrap = nil
        }
        if let port = attributes.port?.value { client.source.port = port }
        if let name = attributes.name { client.confirmedName = name.compactMap { DomainName($0) } }
        if let name = attributes.reverseName { client.reverseName = name }
        if let helo = attributes.helo { question.helo = helo.value ?? "" }
        if let address = attributes.destinationAddress?.value { client.destination.address = address }
        if let port = attributes.destinationPort?.value { client.destination.port = port }
        // All that was told of this client: one without a login has none, whoever came before it (XCLIENT_README).
        if current.settings.submission == nil { client.login = attributes.login?.value }
    }

    /// A breach of the protocol: counted for the engine, and named in the log.
    func note(_ violation: Violation) {
        violations.insert(violation)
        let address = client.source.address
        if violation == .unknownRecipient {
            gateway.clients.count(address, unknown: true, capacity: current.settings.probe.clients, now: .roughlyNow())
            gateway.counters.count { $0.unknownRecipients += 1 }
        } else if let check = Check(violation) {
            signals[check, default: 0] += 1
        }
        guard violation == .earlyTalk else { return }
        gateway.counters.count { $0.earlyTalkers += 1 }
        // The decision was made before this was known.
        if question.paused != nil { decide(attempt(.connect)) }
    }

    // MARK: - Asking

    func ask(_ asked: Question) {
        if case .mail = asked { question.isVouchedFor = false }
        guard case .recipient = asked, mayBeVouched else { return answer(asked) }
        question.doubted = asked
        question.stage = .rcpt
        question.number &+= 1
        output.stutter = nil
        let number = question.number
        let loop = gate.loop
        let bound = NIOLoopBound(self, eventLoop: loop)
        gateway.decisions.vouches(for: attempt(.rcpt, machine?.transaction?.mail)) { isVouched in
            if loop.inEventLoop {
                bound.value.doubtEnded(number, isVouched)
            } else {
                loop.execute { bound.value.doubtEnded(number, isVouched) }
            }
        }
    }

    private func doubtEnded(_ number: UInt64, _ isVouched: Bool) {
        guard number == question.number, !isGone, !output.closes, let asked = question.doubted else { return }
        question.doubted = nil
        if isVouched, case .recipient(let recipient, _) = asked {
            question.isVouchedFor = true
            welcomeForOneMessage()
            check(recipient)
        } else {
            answer(asked)
        }
        pump()
    }

    private func answer(_ asked: Question) {
        if let decision = answerAtTheDoor(asked) ?? answerOfSubmission(asked) {
            switch asked {
            case .connect: question.stage = .connect
            case .helo(let name, _): question.helo = name.text
            case .mail:
                memory = MessageMemory()
                relay.header = nil
            case .recipient, .content: break
            }
            question.number &+= 1
            output.stutter = nil
            ready = .decision(decision)
            return
        }
        switch asked {
        case .connect:
            guard countsRefusals || !isAccepted(at: .connect) else { return }
            decide(attempt(.connect))
        case .helo(let name, let extended):
            question.helo = name.text
            let stage: Stage = extended ? .ehlo : .helo
            guard !isAccepted(at: stage) else { return }
            decide(attempt(stage))
        case .mail(let mail):
            memory = MessageMemory()
            relay.header = nil
            guard !isAccepted(at: .mail) else { return }
            decide(attempt(.mail, mail))
        case .recipient(let recipient, _): check(recipient)
        case .content(let recipients):
            let mail = machine?.transaction?.mail
            guard !isAccepted(at: .data, nullSender: mail?.reversePath == .null) else { return }
            var attempt = attempt(.data, mail)
            attempt.recipientCount = recipients
            decide(attempt)
        }
    }

    /// Whether nothing is checked at this stage: the machine has its answer then.
    private func isAccepted(at stage: Stage, nullSender: Bool = false) -> Bool {
        guard gateway.decisions.stagesWithoutCheck.contains(stage, nullSender: nullSender, signals: signals) else { return false }
        question.stage = stage
        question.number &+= 1
        output.stutter = nil
        ready = .decision(.accept)
        return true
    }

    private func attempt(_ stage: Stage, _ mail: MailCommand? = nil, _ recipient: Mailbox? = nil) -> Attempt {
        Attempt(
            stage: stage, client: Client(address: client.source.address, confirmedName: client.name, helo: question.helo),
            sender: mail?.reversePath ?? .null, recipient: recipient, account: client.login,
            size: mail?.size.map { Int(clamping: $0) } ?? 0, isConversation: true, throttles: current.settings.throttles, signals: signals)
    }

    /// A recipient: first what the engine has no say in, then what it says.
    private func check(_ recipient: RecipientCommand) {
        if current.settings.submission == nil, gateway.decisions.hasTraps {
            let before = gateway.decisions.named(attempt(.rcpt, machine?.transaction?.mail, recipient.mailbox), at: gateway.name)
            beforeTrap = beforeTrap ?? before
        }
        if let refusal = relayRefusal(recipient.mailbox) ?? routeRefusal(recipient.mailbox) {
            guard refusal.isPermanent else { return ready = .decision(.defer(refusal)) }
            return refuse(recipient, refusal)
        }
        guard mayProbe(recipient) else { return decide(recipient) }
        guard let knowledge = gateway.mailboxes.knowledge(of: recipient.mailbox, now: .roughlyNow()) else { return probe(recipient) }
        go(by: knowledge, recipient)
    }

    private func go(by knowledge: MailboxCache.Knowledge, _ recipient: RecipientCommand) {
        switch knowledge {
        case .exists, .silent: decide(recipient)
        case .unknown(let reply): refuse(recipient, reply)
        case .doubted: inquire(recipient)
        }
    }

    private func decide(_ recipient: RecipientCommand) { decide(attempt(recipient)) }

    private func attempt(_ recipient: RecipientCommand) -> Attempt {
        var attempt = attempt(.rcpt, machine?.transaction?.mail, recipient.mailbox)
        let unknown = gateway.clients.unknown(client.source.address, now: .roughlyNow())
        if unknown > 0 { attempt.signals[.unknownRecipients] = unknown }
        return attempt
    }

    /// Whether somebody may be refused at connect for what it has done.
    private var countsRefusals: Bool {
        gateway.decisions.limits != nil && (current.settings.throttles || gateway.decisions.engine.settings.throttle.mode == .on)
    }

    /// A throttle takes mail for its domains alone, and a message for one domain's servers; `nil` to go on.
    private func routeRefusal(_ recipient: Mailbox) -> Reply? {
        guard !current.settings.routes.isEmpty else { return nil }
        guard let route = current.settings.route(to: recipient) else { return Reply(550, "5.7.1", "Relaying denied") }
        // RFC 5321 §4.5.3.1.10: the client sends what is left in another transaction.
        guard message?.recipients ?? 0 == 0 || relay.route == route else {
            return Reply(452, "4.5.3", "Recipients of one domain at a time, please")
        }
        return nil
    }

    /// Never an open relay: a backend that cannot see the client may take us for one of its own. `nil` to go on.
    func relayRefusal(_ recipient: Mailbox) -> Reply? {
        let settings = current.settings
        guard settings.clientInformation == .none, settings.submission == nil, !settings.routes.isEmpty || settings.domains != .any
        else { return nil }
        let refusal = Reply(550, "5.7.1", "Relaying denied")
        // Routing in the local part (RFC 5321 §3.6.1 and appendix F.2): `user%elsewhere.example@ours.example` is mail to
        // elsewhere for a backend that trusts us.
        guard !recipient.localPart.utf8.contains(where: { $0 == UInt8(ascii: "%") || $0 == UInt8(ascii: "!") || $0 == UInt8(ascii: "@") })
        else { return refusal }
        // Routes are domains of ours, too, and say which they are.
        guard settings.routes.isEmpty, case .listed(let domains) = settings.domains else { return nil }
        // RFC 5321 §4.5.1: postmaster needs no domain.
        if recipient.domain.isEmpty { return recipient.localPart.lowercasedASCII == "postmaster" ? nil : refusal }
        guard let domain = recipient.domainName, domains.contains(domain) else { return refusal }
        return nil
    }

    // MARK: - Probing

    private func mayProbe(_ recipient: RecipientCommand) -> Bool {
        current.settings.probe.isOn && !recipient.mailbox.isAlwaysReachable
    }

    private func probe(_ recipient: RecipientCommand) {
        question.probed = recipient
        question.probeBy = .now() + .milliseconds(current.settings.probe.patience.milliseconds)
        question.number &+= 1
        let number = question.number
        gate.prober.ask(recipient, current.settings) { [weak self] in
            guard let self, number == self.question.number, self.question.probed != nil, !self.isGone else { return }
            self.probeEnded()
            self.pump()
        }
    }

    /// With an answer or without: what is not known by now counts as existing.
    private func probeEnded() {
        guard let recipient = question.probed else { return }
        question.probed = nil
        question.probeBy = .distantFuture
        go(by: gateway.mailboxes.knowledge(of: recipient.mailbox, now: .roughlyNow()) ?? .silent, recipient)
    }

    /// The null sender was refused, perhaps for itself: the backend is asked again as it will be with this mail, by its client and
    /// from its sender. What it says then is its word to this client, and nobody else's.
    private func inquire(_ recipient: RecipientCommand) {
        guard let mail = machine?.transaction?.mail, mayInquire else { return decide(recipient) }
        question.inquired = recipient
        question.probeBy = .now() + .milliseconds(current.settings.probe.patience.milliseconds)
        question.number &+= 1
        gateway.counters.count { $0.probes += 1 }
        inquire(recipient, of: mail)
    }

    /// A backend takes mail for a mailbox.
    func knowsMailbox(_ mailbox: Mailbox) {
        gateway.mailboxes.remember(mailbox, .exists, of: mailboxEpoch, current.settings.probe, now: .roughlyNow())
    }

    /// The backend has answered, or could not be asked: then the mailbox counts as existing.
    func inquiryEnded(_ outcome: ProbeOutcome?) {
        guard let recipient = question.inquired else { return }
        question.inquired = nil
        question.probeBy = .distantFuture
        switch outcome {
        case .accepted?:
            knowsMailbox(recipient.mailbox)
            decide(recipient)
        case .refused(let reply)?: refuse(recipient, reply)
        case .inconclusive?, nil: decide(recipient)
        }
    }

    /// Nobody takes mail for the recipient here. Who guesses at names is counted for it, and waits like everybody; and whom the engine
    /// refuses for what it is learns nothing of mailboxes.
    private func refuse(_ recipient: RecipientCommand, _ reply: Reply) {
        guard current.settings.submission == nil else {
            question.stage = .rcpt
            question.number &+= 1
            output.stutter = nil
            ready = .decision(.reject(reply))
            return
        }
        let asked = attempt(recipient)
        let held = gateway.decisions.askedInVain(asked)
        weigh(asked, isInVain: true) { $0.refused($1, reply, $2, held) }
    }

    private func refused(
        _ number: UInt64, _ reply: Reply, _ outcome: DecisionService.Outcome, _ held: (hold: WallTime.Span, heldSessions: Int)?
    ) {
        guard number == question.number, !isGone, !output.closes else { return }
        let verdict = outcome.verdict
        var decision = SMTPProtocol.Decision.reject(reply)
        if verdict.action == .reject {
            decision = SMTPProtocol.Decision(outcome, at: .rcpt)
            // These words no longer tell.
            if reply.namesUnknownMailbox { note(.unknownRecipient) }
        }
        output.stutter = verdict.stutters ? stutterPause(outcome) : nil
        // It is neither deferred nor let pass: of all delays the stage's alone.
        var delay = gateway.shortened(min(verdict.delay, outcome.delays.stage), automatic: false, current)
        if let (hold, most) = held, hold > delay, let limits = gateway.decisions.limits, limits.beginHold(limit: most) {
            question.holdsPlace = true
            delay = hold
        }
        guard delay > .zero else { return go(decision) }
        pause(decision, min(delay, SessionQuestion.longestPause))
        pump()
    }

    // MARK: - Answers

    private func decide(_ attempt: consuming Attempt) {
        let early = attempt.signals[.earlyTalk] != nil
        weigh(attempt) { $0.decided($1, $2, early: early) }
    }

    /// Asks the engine. What it says comes at once or later, on this loop, with the question's number.
    private func weigh(
        _ attempt: consuming Attempt, isInVain: Bool = false,
        answered: @escaping @Sendable (SessionHandler, UInt64, DecisionService.Outcome) -> Void
    ) {
        question.stage = attempt.stage
        question.number &+= 1
        let number = question.number
        let loop = gate.loop
        let bound = NIOLoopBound(self, eventLoop: loop)
        memory.beforeTrap = beforeTrap
        gateway.decisions.decide(attempt, memory: memory, listener: gateway.name, isInVain: isInVain) { outcome in
            if loop.inEventLoop {
                answered(bound.value, number, outcome)
            } else {
                loop.execute { answered(bound.value, number, outcome) }
            }
        }
    }

    private func decided(_ number: UInt64, _ outcome: DecisionService.Outcome, early: Bool) {
        guard number == question.number, !isGone, !output.closes else { return }
        let stage = question.stage
        // It began to talk while this was being decided.
        if stage == .connect, !early, signals[.earlyTalk] != nil, !client.isIntroduced { return decide(attempt(.connect)) }
        let verdict = outcome.verdict
        let decision = SMTPProtocol.Decision(outcome, at: stage)
        if question.paused != nil {
            // An early talker that is not dropped for it waits as long as it would have.
            guard decision != .accept else { return }
            return go(decision)
        }
        let stutters = verdict.stutters || verdict.action == .tarpit
        output.stutter = stutters ? stutterPause(outcome) : nil

        var delay = verdict.delay
        if case .hold(let span) = verdict.action { delay = max(delay, span) }
        // A trusted front has let its client talk already.
        if stage == .connect, client.isIntroduced { delay = .zero }
        delay = min(delay, stage == .connect ? SessionQuestion.longestGreeting : SessionQuestion.longestPause)
        if case .hold? = outcome.throttled?.grade, delay > .zero, let limits = gateway.decisions.limits {
            // What a limit demands is never shortened: whoever cannot be made to wait is deferred.
            guard question.holdsPlace || limits.beginHold(limit: outcome.heldSessions) else {
                // Of this recipient nothing is remembered, of those before it all.
                return go(.defer(Reply(451, "4.7.1", outcome.textInsteadOfHold)))
            }
            question.holdsPlace = true
        } else {
            let automatic = stage == .connect && outcome.delays.greeting == .auto
            delay = gateway.shortened(delay, automatic: automatic, current)
        }
        memory = outcome.memory
        if let field = outcome.spfField { addHeader(field) }
        if let field = verdict.header { addHeader(field) }
        guard delay > .zero else { return go(decision) }
        pause(decision, delay)
        if stage == .connect, current.settings.teaser, decision == .accept, let machine { write(machine.teaser) }
        pump()
        updateTimer()
    }

    private func addHeader(_ field: String) {
        relay.header = relay.header.map { "\($0)\r\n\(field)" } ?? field
    }

    private func pause(_ decision: SMTPProtocol.Decision, _ delay: WallTime.Span) {
        gateway.decisions.metrics?.holds(forMilliseconds: delay.milliseconds)
        question.paused = decision
        question.pausedUntil = .now() + .milliseconds(delay.milliseconds)
        gateway.sessions.hold(id, channel: context?.channel)
        updateTimer()
    }

    private func stutterPause(_ outcome: DecisionService.Outcome) -> TimeAmount {
        .milliseconds(gateway.shortened(outcome.delays.stutter, automatic: false, current).milliseconds)
    }

    /// It waits for a limit no more.
    func leaveHold() {
        guard question.holdsPlace else { return }
        question.holdsPlace = false
        gateway.decisions.limits?.endHold()
    }

    private func go(_ decision: SMTPProtocol.Decision) {
        leaveHold()
        if question.paused != nil {
            question.paused = nil
            question.pausedUntil = .distantFuture
            gateway.sessions.release(id)
        }
        ready = .decision(decision)
        pump()
    }

    /// Whoever is being made to wait has waited long enough.
    func endPause() {
        if let decision = question.paused { go(decision) }
    }

    func questionTimeCame(_ now: NIODeadline) {
        if question.nameBy <= now {
            named(.temporarilyUnavailable)
        }
        if question.probeBy <= now {
            gateway.counters.count { $0.probesInconclusive += 1 }
            if question.inquired == nil { probeEnded() } else { giveUpInquiry() }
        }
        if question.pausedUntil <= now { endPause() }
    }
}

extension SMTPProtocol.Decision {
    /// What a verdict means for an SMTP session.
    init(_ outcome: borrowing DecisionService.Outcome, at stage: Stage) {
        switch (outcome.verdict.action, stage) {
        case (.accept, _), (.hold, _): self = .accept
        case (.defer, .connect), (.tarpit, .connect): self = .defer(Reply(421, "4.7.0", outcome.text))
        case (.defer, _), (.tarpit, _): self = .defer(Reply(451, "4.7.1", outcome.text))
        case (.reject, _): self = .reject(Reply(554, "5.7.1", outcome.text))
        case (.drop, .connect): self = .drop(Reply(554, "5.5.0", outcome.text))
        case (.drop, _): self = .drop(Reply(421, "4.7.0", outcome.text))
        }
    }
}

extension Check {
    /// What a breach of the protocol counts as; `nil` for what is no sign of a bot.
    init?(_ violation: Violation) {
        switch violation {
        case .earlyTalk: self = .earlyTalk
        case .pipeliningNotOffered, .pipelinedPastReply, .plaintextAfterStartTLS: self = .pipelining
        case .heloSyntax: self = .heloSyntax
        case .nonSMTP: self = .nonSMTP
        case .bareLF, .bareCR, .nul, .endOfDataLookAlike: self = .bareLineEnding
        case .badOrder: self = .badOrder
        case .unbracketedPath, .commandSpacing, .dotsInLocalPart: self = .pathSyntax
        case .eightBitEnvelope: self = .eightBitEnvelope
        case .unknownCommand: self = .unknownCommand
        case .unknownRecipient: self = .unknownRecipients
        case .commandSyntax, .overlongLine, .overLimit: return nil
        }
    }
}

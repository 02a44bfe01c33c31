import PosternCore

/// Decides. Pure: what it knows are its settings, the admin's lists, and the evidence it asked for; the time is an argument.
///
/// A question takes two steps: `begin` says what is decided already or names the evidence that is lacking, `conclude`
/// decides on that evidence. Whoever asks commits the decision's changes before its answer leaves.
public struct Engine: Sendable {
    public var settings: EngineSettings
    public var lists: Lists
    let domains: any OrganisationalDomains

    public init(settings: EngineSettings, lists: Lists = Lists(), domains: any OrganisationalDomains) {
        self.settings = settings
        self.lists = lists
        self.domains = domains
    }

    /// A question under way. A class, since it travels far and holds much: handing it on costs one reference.
    public final class Inquiry: Sendable {
        public let shared: SharedAttempt
        /// The rows that it hangs on.
        public let needs: Needs
        /// What look-ups found out; `nil` while nothing has been looked up.
        public let findings: Findings?
        let memory: MessageMemory
        /// Whether the messages of this client count for its identities.
        let mayBeProven: Bool
        /// Why its recipient is not greylisted, where it is not.
        let spared: Cause?

        public var attempt: Attempt { _read { yield shared.value } }

        /// Whether its recipient is not greylisted: rows then tell only whether it waited.
        public var isSpared: Bool { spared != nil }

        init(
            attempt: SharedAttempt, needs: consuming Needs, findings: consuming Findings? = nil, memory: MessageMemory,
            mayBeProven: Bool = false, spared: Cause? = nil
        ) {
            shared = attempt
            self.needs = needs
            self.findings = findings
            self.memory = memory
            self.mayBeProven = mayBeProven
            self.spared = spared
        }

        /// Whom the needs are for: for each there is a triplet under every identity, side by side.
        var recipientCount: Int { needs.identities.isEmpty ? 0 : needs.triplets.count / needs.identities.count }
        var recipients: [String] { (0..<recipientCount).map { needs.triplets[$0 * needs.identities.count].recipient } }
    }

    public enum Step: Sendable {
        case decided(Decision)
        case needs(Inquiry)
    }

    /// The first step: exemptions, the admin's entries, and what a stage never checks. `memory` is what the front
    /// remembers of this message.
    ///
    /// - Parameter showsChecks: leaves every question that is judged by checks to the second step, those too that hang on no row
    ///   and no look-up: for people, who want to see them.
    public func begin(
        _ attempt: Attempt, memory: MessageMemory = MessageMemory(), now: WallTime, showsChecks: Bool = false
    ) -> Step {
        begin(SharedAttempt(attempt), memory: memory, now: now, showsChecks: showsChecks)
    }

    /// The same, for who holds on to the attempt.
    public func begin(_ shared: SharedAttempt, memory: MessageMemory, now: WallTime, showsChecks: Bool = false) -> Step {
        let attempt = shared.value
        func accept(_ cause: Cause) -> Step {
            .decided(Decision(verdict: Verdict(.accept, [cause]), memory: memory))
        }

        if let throttled = attempt.throttled, let step = throttle(throttled, attempt, memory: memory, now: now) { return step }
        if attempt.isConversation, let step = beginConversation(shared, memory: memory, now: now) { return step }
        switch attempt.stage {
        case .rcpt:
            if let exemption = exemption(of: attempt, now: now) {
                var decision = Decision(verdict: exemption, memory: memory)
                if exemption.action == .accept, memory.exemptAtRcpt == nil,
                    attempt.sender == .null || exemption.causes.first == .alwaysReachable
                {
                    decision.memory.exemptAtRcpt = exemption.causes.first
                }
                decision.overtaken = overtaken(attempt, by: exemption, recipients: attempt.recipient.map { [$0.folded] } ?? [])
                if attempt.account != nil {
                    decision.changes = expectAnswer(to: attempt, now: now)
                    if let throttled = attempt.throttled, throttled.isShadow { decision.verdict.causes.append(.overLimit(throttled)) }
                }
                return .decided(decision)
            }
            guard let recipient = attempt.recipient else { return accept(.stageHasNoCheck) }
            if attempt.sender == .null {
                var memory = memory
                var verdict = Verdict(.accept, [.nullSenderAwaitsData])
                var overtaken: [TripletKey] = []
                if let cause = greylistExemption(of: recipient) {
                    // It speaks for the message before all others: checks count.
                    if memory.exemptAtRcpt?.sparesGreylistingOnly != true { memory.exemptAtRcpt = cause }
                    verdict.causes = [cause]
                    overtaken = self.overtaken(attempt, by: verdict, recipients: [recipient.folded])
                } else if memory.awaitingData.count < MessageMemory.maximumRecipients, !memory.awaitingData.contains(recipient) {
                    memory.awaitingData.append(recipient)
                }
                if attempt.isConversation { pace(&verdict, shared) }
                return .decided(Decision(verdict: verdict, memory: memory, overtaken: overtaken))
            }
            return step(inquiry(shared, recipients: CollectionOfOne(recipient.folded), memory: memory), now: now, showsChecks)

        case .data:
            guard attempt.sender == .null else { return blockStep(attempt, memory: memory, now: now) ?? accept(.stageHasNoCheck) }
            if let exemption = exemption(of: attempt, now: now) {
                // RFC 5321 §4.5.1: whoever asks, and though DATA does not name it.
                if exemption.action == .reject, memory.awaitingData.isEmpty, memory.exemptAtRcpt == .alwaysReachable {
                    return accept(.alwaysReachable)
                }
                let overtaken = self.overtaken(attempt, by: exemption, recipients: recipientsAtData(attempt, memory))
                return .decided(Decision(verdict: exemption, memory: memory, overtaken: overtaken))
            }
            // One who must wait makes all wait, the exempt too: the answer to DATA is for all. Where every recipient was
            // exempt at RCPT, so is the message; from greylisting alone where one of them was exempt from that alone.
            if memory.awaitingData.isEmpty, let cause = memory.exemptAtRcpt, !cause.sparesGreylistingOnly { return accept(cause) }
            return step(inquiry(shared, recipients: recipientsAtData(attempt, memory), memory: memory), now: now, showsChecks)

        case .endOfMessage, .vrfy, .etrn:
            return blockStep(attempt, memory: memory, now: now) ?? accept(.stageHasNoCheck)

        case .connect, .ehlo, .helo, .mail:
            return accept(.stageHasNoCheck)
        }
    }

    /// What a block refuses at a stage at which nothing else is checked: for a mail server that asks there and not at RCPT.
    ///
    /// Not before RCPT, nor where the one recipient is not named, nor where postmaster or abuse is known to be a recipient: they stay
    /// reachable for everybody (RFC 5321 §4.5.1). A gateway has asked about each recipient.
    private func blockStep(_ attempt: Attempt, memory: MessageMemory, now: WallTime) -> Step? {
        guard lists.mayBlock, !attempt.isConversation else { return nil }
        if attempt.stage == .data || attempt.stage == .endOfMessage {
            guard attempt.recipient != nil || attempt.recipientCount > 1, memory.exemptAtRcpt != .alwaysReachable else { return nil }
        }
        guard let verdict = exemption(of: attempt, now: now), verdict.action == .reject else { return nil }
        return .decided(Decision(verdict: verdict, memory: memory))
    }

    /// Whom the null sender's message is for, as far as that is known when DATA is asked about. Where RCPT was not, or the memory is
    /// lost, one recipient is named by the request; of several nothing is known, and one key stands for all.
    private func recipientsAtData(_ attempt: Attempt, _ memory: MessageMemory) -> [String] {
        memory.awaitingData.isEmpty ? attempt.recipient.map { [$0.folded] } ?? ["*"] : memory.awaitingData.map(\.folded)
    }

    /// A question that hangs on no row and no look-up is answered at once.
    private func step(_ inquiry: Inquiry, now: WallTime, _ showsChecks: Bool) -> Step {
        guard inquiry.isSpared || inquiry.needs.isEmpty, !settings.gathers, !showsChecks else { return .needs(inquiry) }
        var decision = conclude(inquiry, evidence: Evidence(), now: now)
        switch decision.verdict.action {
        case .accept, .hold: decision.overtaken = inquiry.needs.triplets
        case .defer, .reject, .tarpit, .drop: break
        }
        return .decided(decision)
    }

    /// Whether look-ups could change the answer: to be asked where `recognise` had none.
    public func wantsFindings(_ inquiry: Inquiry) -> Bool {
        settings.gathers && inquiry.findings == nil && inquiry.attempt.stage != .connect
    }

    /// The same question with what look-ups found out, which may add identities, and so needs.
    public func inform(_ inquiry: Inquiry, with findings: Findings) -> Inquiry {
        var addsIdentity = inquiry.findings != nil || findings.spf?.vouchedDomain != nil
        if inquiry.attempt.client.confirmedName == nil, case .confirmed = findings.reverseName { addsIdentity = true }
        guard addsIdentity, inquiry.spared == nil else {
            return Inquiry(
                attempt: inquiry.shared, needs: inquiry.needs, findings: findings, memory: inquiry.memory,
                mayBeProven: inquiry.mayBeProven, spared: inquiry.spared)
        }
        return self.inquiry(inquiry.shared, recipients: inquiry.recipients, memory: inquiry.memory, findings: findings)
    }

    /// The decision on whoever is known already, and need not be judged: a proven identity, or a triplet that passed not
    /// long ago. `nil` for everybody else.
    public func recognise(_ inquiry: Inquiry, evidence: Evidence, now: WallTime) -> Decision? {
        guard inquiry.attempt.stage != .connect else { return conclude(inquiry, evidence: evidence, now: now) }
        guard inquiry.spared == nil, inquiry.attempt.throttled == nil else { return nil }
        // Whoever is trusted is not charged, which look-ups tell.
        guard !limitsStrangers(inquiry.attempt) || !namesTrusted(inquiry.attempt, now: now) else { return nil }
        // And so is whether a sender's allow lifts the block around it.
        if let sender = inquiry.attempt.sender.mailbox, lists.liftedBlock(sender, at: now) != nil { return nil }
        var (decision, isRecognised) = greylist(inquiry, evidence: evidence, now: now)
        guard isRecognised else { return nil }
        finish(&decision, inquiry)
        return decision
    }

    /// The second step.
    public func conclude(_ inquiry: Inquiry, evidence: Evidence, now: WallTime) -> Decision {
        let asked = inquiry.shared
        if asked.value.stage == .connect { return greet(inquiry, evidence: evidence, now: now) }
        if let block = unliftedBlock(inquiry, now: now) {
            return Decision(verdict: Verdict(.reject, [.blocked(block)]), memory: inquiry.memory)
        }
        var (decision, isRecognised) =
            if let spared = inquiry.spared {
                (spare(inquiry, because: spared, evidence: evidence, now: now), false)
            } else {
                greylist(inquiry, evidence: evidence, now: now)
            }
        let limits = limitsStrangers(asked.value)
        if isRecognised, asked.value.throttled == nil, !limits || inquiry.findings == nil || !mayBeTrusted(asked.value, now: now) {
            finish(&decision, inquiry)
            return consume decision
        }
        let assessment = settings.assess(asked.value, inquiry.findings, lists.suspicion(of: asked.value.client, at: now))
        if isRecognised {
            finish(&decision, inquiry)
            return throttled(decision, inquiry, isTrusted: limits ? isTrusted(inquiry, assessment, now: now) : nil)
        }
        if assessment.score >= settings.bands.reject {
            decision = Decision(verdict: Verdict(.reject, [.scoreTooHigh(assessment.score)]), memory: inquiry.memory)
        } else if decision.verdict.action == .defer, let verdict = pardon(inquiry, assessment, now: now) {
            decision = passAtOnce(inquiry, verdict, evidence: evidence, now: now)
        }
        if !assessment.causes.isEmpty { decision.verdict.causes += assessment.causes }
        finish(&decision, inquiry)
        if limits { return throttled(decision, inquiry, isTrusted: isTrusted(inquiry, assessment, now: now)) }
        return consume decision
    }

    /// The block of a sender whose allow lifts nothing, since SPF is known not to vouch for whoever names it.
    private func unliftedBlock(_ inquiry: Inquiry, now: WallTime) -> ListEntry? {
        switch inquiry.findings?.spf?.result {
        // RFC 7208 §2.6.6: the DNS may say so in a moment.
        case .pass?, .temperror?, nil: nil
        case .none?, .neutral?, .fail?, .softfail?, .permerror?:
            inquiry.attempt.sender.mailbox.flatMap { lists.liftedBlock($0, at: now) }
        }
    }

    /// Why a client that is not known need not wait, if it need not.
    private func pardon(_ inquiry: Inquiry, _ assessment: Assessment, now: WallTime) -> Verdict? {
        // Whoever writes the sender's name on an envelope is not yet the sender: its domain must vouch for the client.
        if let sender = inquiry.attempt.sender.mailbox, inquiry.findings?.spf?.result == .pass,
            let entry = lists.mailbox(.sender, sender, at: now), entry.list == .allow
        {
            return Verdict(.accept, [.allowed(entry)])
        }
        if let domain = inquiry.findings?.spf?.vouchedDomain, settings.trusted.vouches(for: domain) { return Verdict(.accept, [.trusted]) }
        if assessment.score <= settings.bands.pass { return Verdict(.accept, [.wellListed(assessment.score)]) }
        guard settings.profile == .selective, assessment.hasEvidence, assessment.score < settings.bands.greylist else { return nil }
        return Verdict(settings.delays.clean > .zero ? .hold(settings.delays.clean) : .accept, [.clean])
    }

    private func finish(_ decision: inout Decision, _ inquiry: Inquiry) {
        if settings.greylist.mode == .shadow {
            switch decision.verdict.action {
            case .defer, .hold:
                decision.verdict.causes.insert(.shadow(wouldBe: decision.verdict.action.name), at: 0)
                decision.verdict.action = .accept
                decision.verdict.passesAt = nil
            case .accept, .reject, .tarpit, .drop: break
            }
            decision.verdict.header = nil
        }
        if inquiry.shared.value.isConversation { pace(&decision.verdict, inquiry.shared) }
    }

    /// The decision where the evidence could not be had: the mail passes.
    public func failOpen(_ inquiry: Inquiry) -> Decision {
        Decision(verdict: Verdict(.accept, [.storeUnavailable]), memory: inquiry.memory)
    }

    func inquiry(
        _ shared: SharedAttempt, recipients: some Collection<String>, memory: MessageMemory, findings: Findings? = nil
    ) -> Inquiry {
        let attempt = shared.value
        let spared = spared(attempt, memory)
        var name = attempt.client.confirmedName
        if name == nil, case .confirmed(let found)? = findings?.reverseName { name = found }
        let hasGenericName = Client.hasGenericName(name, attempt.client.address)
        let identities = Client.identities(
            attempt.client.address, hasGenericName ? nil : name, spfDomain: findings?.spf?.vouchedDomain,
            widths: settings.greylist.widths, domains: domains)
        let triplets = attempt.triplets(identities, recipients)
        guard spared == nil else {
            return Inquiry(attempt: shared, needs: Needs(triplets: triplets), findings: findings, memory: memory, spared: spared)
        }
        return Inquiry(
            attempt: shared, needs: Needs(triplets: triplets, identities: identities), findings: findings, memory: memory,
            mayBeProven: !hasGenericName)
    }

    /// What ends the matter before any evidence is asked for.
    func exemption(of attempt: Attempt, now: WallTime) -> Verdict? {
        func accept(_ cause: Cause) -> Verdict { Verdict(.accept, [cause]) }

        // RFC 5321 §4.5.1; abuse@ is RFC 2142 §4.
        if attempt.recipient?.isAlwaysReachable == true { return accept(.alwaysReachable) }
        if let account = attempt.account { return accept(.authenticated(account: account)) }

        let client = lists.client(attempt.client, at: now)
        if let client, client.list == .block { return Verdict(.reject, [.blocked(client)]) }
        if let sender = attempt.sender.mailbox, let entry = lists.mailbox(.sender, sender, at: now), entry.list == .block {
            return Verdict(.reject, [.blocked(entry)])
        }
        let recipient = attempt.recipient.flatMap { lists.mailbox(.recipient, $0, at: now) }
        if let recipient, recipient.list == .block { return Verdict(.reject, [.blocked(recipient)]) }

        guard let address = attempt.client.address else { return accept(.noClientAddress) }
        if settings.networks.local.contains(address) { return accept(.localClient) }
        if settings.networks.forwarders.contains(address) { return accept(.forwarder) }
        if settings.networks.backupMX.contains(address) { return accept(.backupMX) }
        if let client { return accept(.allowed(client)) }
        if settings.trusted.addresses.contains(address) { return accept(.trusted) }
        if let recipient { return accept(.allowed(recipient)) }
        if let until = lists.release(for: attempt, at: now) { return accept(.released(until: until)) }
        return nil
    }

    /// Why mail to this recipient is not greylisted, if it is not.
    private func greylistExemption(of recipient: Mailbox) -> Cause? {
        if settings.greylist.mode == .off { return .greylistOff }
        return settings.greylist.covers(recipient) ? nil : .recipientOptedOut
    }

    /// Why a message, or its one recipient, is not greylisted, if it is not.
    private func spared(_ attempt: Attempt, _ memory: MessageMemory) -> Cause? {
        if let recipient = attempt.recipient, let cause = greylistExemption(of: recipient) { return cause }
        if settings.greylist.mode == .off { return .greylistOff }
        // At DATA, where the recipients of a null sender's message need not be named.
        guard attempt.stage == .data, memory.awaitingData.isEmpty, let cause = memory.exemptAtRcpt, cause.sparesGreylistingOnly
        else { return nil }
        return cause
    }

    /// A user of ours writes to somebody, whose answer shall not wait: it is known before it comes, from whoever SPF says
    /// may send for that domain.
    private func expectAnswer(to attempt: Attempt, now: WallTime) -> Changes {
        var changes = Changes()
        guard settings.looksUp, settings.greylist.mode != .off, let user = attempt.sender.mailbox, let correspondent = attempt.recipient,
            let identity = spfIdentity(of: correspondent)
        else { return changes }
        let key = TripletKey(identity: identity, sender: ReversePath.mailbox(correspondent).normalised, recipient: user.folded)
        changes.triplets = [
            Changes.Triplet(
                key: key,
                row: TripletRow(
                    firstSeen: now, lastSeen: now, passedAt: now, deferrals: 0, passes: 0, expires: now + settings.greylist.lifetime))
        ]
        return changes
    }
}

extension GreylistSettings {
    /// Whether mail to this recipient is greylisted: opted out by its mailbox beats opted in by its domain, and the
    /// other way round.
    func covers(_ recipient: Mailbox) -> Bool {
        guard !optIn.isEmpty || !optOut.isEmpty else { return true }
        let exact = Pattern.mailbox(recipient.folded)
        if optOut.contains(exact) { return false }
        if optIn.contains(exact) { return true }
        let local = Pattern.localPart(recipient.foldedLocalPart + "@")
        if optOut.contains(local) { return false }
        if optIn.contains(local) { return true }
        var domain = recipient.domainName
        while let current = domain {
            if optOut.contains(.domain(current)) { return false }
            if optIn.contains(.domain(current)) { return true }
            domain = current.parent
        }
        return optIn.isEmpty
    }
}

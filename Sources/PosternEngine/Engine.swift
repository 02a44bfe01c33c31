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
        public let attempt: Attempt
        public let needs: Needs
        let memory: MessageMemory
        /// What the needs are for.
        let recipients: Int
        /// Whether the messages of this client count for its identities.
        let mayBeProven: Bool

        init(attempt: Attempt, needs: Needs, memory: MessageMemory, recipients: Int, mayBeProven: Bool) {
            self.attempt = attempt
            self.needs = needs
            self.memory = memory
            self.recipients = recipients
            self.mayBeProven = mayBeProven
        }
    }

    public enum Step: Sendable {
        case decided(Decision)
        case needs(Inquiry)
    }

    /// The first step: exemptions, the admin's entries, and what a stage never checks. `memory` is what the front
    /// remembers of this message.
    public func begin(_ attempt: Attempt, memory: MessageMemory = MessageMemory(), now: WallTime) -> Step {
        func accept(_ cause: Cause) -> Step {
            .decided(Decision(verdict: Verdict(.accept, [cause]), memory: memory))
        }

        if attempt.isConversation, let step = beginConversation(attempt, memory: memory, now: now) { return step }
        switch attempt.stage {
        case .rcpt:
            if var exemption = exemption(of: attempt, now: now) {
                var memory = memory
                if attempt.sender == .null, exemption.action == .accept, memory.exemptAtRcpt == nil {
                    memory.exemptAtRcpt = exemption.causes.first
                }
                if attempt.isConversation, exemption.isOfGreylistOnly { pace(&exemption, attempt) }
                return .decided(Decision(verdict: exemption, memory: memory))
            }
            guard let recipient = attempt.recipient else { return accept(.stageHasNoCheck) }
            if attempt.sender == .null {
                var memory = memory
                if memory.awaitingData.count < MessageMemory.maximumRecipients, !memory.awaitingData.contains(recipient) {
                    memory.awaitingData.append(recipient)
                }
                var verdict = Verdict(.accept, [.nullSenderAwaitsData])
                if attempt.isConversation { pace(&verdict, attempt) }
                return .decided(Decision(verdict: verdict, memory: memory))
            }
            return .needs(inquiry(attempt, recipients: [recipient.folded], memory: memory))

        case .data:
            guard attempt.sender == .null else { return accept(.stageHasNoCheck) }
            if let exemption = exemption(of: attempt, now: now) {
                return .decided(Decision(verdict: exemption, memory: memory))
            }
            // One who must wait makes all wait, the exempt too: the answer to DATA is for all. Where every recipient was
            // exempt at RCPT, so is the message.
            if memory.awaitingData.isEmpty, let cause = memory.exemptAtRcpt { return accept(cause) }
            // Where RCPT was not asked about, or the memory is lost, one recipient is named by the request; of several
            // nothing is known, and one key stands for all.
            let recipients =
                !memory.awaitingData.isEmpty
                ? memory.awaitingData.map(\.folded)
                : attempt.recipient.map { [$0.folded] } ?? ["*"]
            return .needs(inquiry(attempt, recipients: recipients, memory: memory))

        case .connect, .ehlo, .helo, .mail, .endOfMessage, .vrfy, .etrn:
            return accept(.stageHasNoCheck)
        }
    }

    /// The second step.
    public func conclude(_ inquiry: Inquiry, evidence: Evidence, now: WallTime) -> Decision {
        if inquiry.attempt.stage == .connect { return greet(inquiry, evidence: evidence, now: now) }
        var decision = greylist(inquiry, evidence: evidence, now: now)
        if settings.greylist.mode == .shadow, decision.verdict.action != .accept {
            decision.verdict = Verdict(.accept, [.shadow(wouldBe: decision.verdict.action.name)] + decision.verdict.causes)
        }
        if settings.greylist.mode == .shadow { decision.verdict.header = nil }
        if inquiry.attempt.isConversation { pace(&decision.verdict, inquiry.attempt) }
        return decision
    }

    /// The decision where the evidence could not be had: the mail passes.
    public func failOpen(_ inquiry: Inquiry) -> Decision {
        Decision(verdict: Verdict(.accept, [.storeUnavailable]), memory: inquiry.memory)
    }

    func inquiry(_ attempt: Attempt, recipients: [String], memory: MessageMemory) -> Inquiry {
        let hasGenericName = attempt.client.hasGenericName
        let identities = attempt.client.identities(
            widths: settings.greylist.widths, domains: domains, hasGenericName: hasGenericName)
        let sender = attempt.sender.normalised
        var needs = Needs(identities: identities)
        needs.triplets.reserveCapacity(recipients.count * identities.count)
        for recipient in recipients {
            for identity in identities {
                needs.triplets.append(TripletKey(identity: identity, sender: sender, recipient: recipient))
            }
        }
        return Inquiry(attempt: attempt, needs: needs, memory: memory, recipients: recipients.count, mayBeProven: !hasGenericName)
    }

    /// A question about the client alone.
    func inquiry(_ attempt: Attempt, identities: [Identity], memory: MessageMemory) -> Inquiry {
        Inquiry(attempt: attempt, needs: Needs(identities: identities), memory: memory, recipients: 0, mayBeProven: false)
    }

    /// What ends the matter before any evidence is asked for: in full, or (`isOfGreylistOnly`) as far as greylisting goes.
    func exemption(of attempt: Attempt, now: WallTime) -> Verdict? {
        func accept(_ cause: Cause) -> Verdict { Verdict(.accept, [cause]) }

        // RFC 5321 §4.5.1; abuse@ is RFC 2142 §4.
        if let local = attempt.recipient?.localPart.lowercasedASCII, local == "postmaster" || local == "abuse" {
            return accept(.alwaysReachable)
        }
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
        if let recipient { return accept(.allowed(recipient)) }
        if let until = lists.release(for: attempt, at: now) { return accept(.released(until: until)) }
        if settings.greylist.mode == .off { return accept(.greylistOff) }
        if let mailbox = attempt.recipient, !settings.greylist.covers(mailbox) { return accept(.recipientOptedOut) }
        return nil
    }
}

extension Verdict {
    /// Whether it spares the recipient greylisting and nothing else: checks and pauses of the client still count.
    var isOfGreylistOnly: Bool { causes.first == .greylistOff || causes.first == .recipientOptedOut }
}

extension GreylistSettings {
    /// Whether mail to this recipient is greylisted: opted out by its mailbox beats opted in by its domain, and the
    /// other way round.
    func covers(_ recipient: Mailbox) -> Bool {
        guard !optIn.isEmpty || !optOut.isEmpty else { return true }
        let exact = Pattern.mailbox(recipient.folded)
        if optOut.contains(exact) { return false }
        if optIn.contains(exact) { return true }
        let local = Pattern.localPart(recipient.localPart.lowercasedASCII + "@")
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

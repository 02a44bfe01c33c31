import PosternCore

/// Somebody is past a limit, and what that means for what it does now.
public struct Throttled: Equatable, Sendable {
    public enum Grade: Equatable, Sendable {
        /// The reply waits this long.
        case hold(WallTime.Span)
        case `defer`
        /// Not even greeted for a while.
        case refuse
        /// An account: refused for good, or the message kept by the mail server, as the admin wants it.
        case refuseAccount
        case suspended
    }

    public var grade: Grade
    public var limit: Limit
    /// With what is asked for now.
    public var count: Double
    /// What it may do at present: less than the limit where its neighbours are loud.
    public var allowance: Double
    /// When it will do, if nothing more is done; by the steady clock.
    public var until: WallTime
    /// Counted and told only.
    public var isShadow: Bool
    /// What is asked for is more than the limit by itself: to wait is of no use.
    public var isAlone = false
    /// Why an account is suspended, for people.
    public var reason = ""

    public init(_ grade: Grade, _ limit: Limit, count: Double, allowance: Double, until: WallTime, isShadow: Bool = false) {
        self.grade = grade
        self.limit = limit
        self.count = count
        self.allowance = allowance
        self.until = until
        self.isShadow = isShadow
    }

    /// As `Cause.word`.
    var word: String {
        if isShadow { return "shadow-throttle" }
        return switch grade {
        case .hold: "throttle-hold"
        case .defer: "throttle-defer"
        case .refuse: "throttle-refuse"
        case .refuseAccount: "account-limit"
        case .suspended: "account-suspended"
        }
    }

    var would: String {
        switch grade {
        case .hold: "hold"
        case .defer: "defer"
        case .refuse: "refuse at connect"
        case .refuseAccount, .suspended: "reject"
        }
    }
}

extension Throttled {
    /// Of an account that was stopped.
    init(_ suspension: Suspension, at now: WallTime) {
        // The reason begins with the limit, which the configuration may know no more.
        self.init(.suspended, suspension.limit ?? Limit(.account, .messages, 1, per: .days(1)), count: 0, allowance: 0, until: now)
        reason = suspension.reason
    }
}

extension Throttled: CustomStringConvertible {
    public var description: String {
        if grade == .suspended { return "\(isShadow ? "shadow: would reject, past" : "the account is suspended: past") \(reason)" }
        let past = "past \(limit): \(Int(count.rounded(.up))) of \(Int(allowance))"
        return isShadow ? "shadow: would \(would), \(past)" : past
    }
}

/// One limit as it stands for somebody.
public struct LimitStanding: Equatable, Sendable {
    public var limit: Limit
    /// Whose: an address, a block, a name.
    public var subject: String
    /// In the limit's unit.
    public var used: Double
    public var allowance: Double

    public init(limit: Limit, subject: String, used: Double, allowance: Double) {
        self.limit = limit
        self.subject = subject
        self.used = used
        self.allowance = allowance
    }

    public var left: Double { max(allowance - used, 0) }
}

// MARK: - In decisions

extension Engine {
    /// What being past a limit decides before anything else is looked at; `nil` where it decides nothing, or where look-ups may
    /// show that the client is trusted.
    func throttle(_ throttled: Throttled, _ attempt: Attempt, memory: MessageMemory, now: WallTime) -> Step? {
        guard !throttled.isShadow else { return nil }
        let verdict = verdict(on: throttled, attempt)
        switch attempt.stage {
        case .connect:
            guard throttled.grade == .refuse, standing(of: attempt.client, now: now) != .spared else { return nil }
            // For whom it comes is not known yet.
            if let address = attempt.client.address, lists.mayRelease(Prefix(address), at: now) { return nil }
            return .decided(Decision(verdict: verdict, memory: memory))
        case .rcpt, .data:
            if attempt.account == nil {
                // The null sender is judged in reply to DATA, so that callouts never meet a deferral.
                guard (attempt.sender == .null) == (attempt.stage == .data) else { return nil }
                // Who is exempt is; postmaster and abuse are rate-limited like everybody (RFC 5321 §4.5.1 asks for no more).
                if let exemption = exemption(of: attempt, now: now), exemption.causes.first != .alwaysReachable { return nil }
                if case .hold = throttled.grade { return nil }
                if mayBeTrusted(attempt, now: now) { return nil }
            }
            return .decided(Decision(verdict: verdict, memory: memory))
        case .ehlo, .helo, .mail, .endOfMessage, .vrfy, .etrn:
            return nil
        }
    }

    /// Whether look-ups could show that a client past its limits is trusted.
    public func mayBeTrusted(_ attempt: Attempt, now: WallTime) -> Bool {
        settings.looksUp && (settings.hasAllowlists || namesTrusted(attempt, now: now))
    }

    /// Whether the sender that a client names is trusted where SPF passes for it. For the null sender that is the name it greets
    /// with (RFC 7208 §2.4).
    func namesTrusted(_ attempt: Attempt, now: WallTime) -> Bool {
        guard settings.looksUp, attempt.account == nil else { return false }
        guard let sender = attempt.sender.mailbox else {
            return !settings.trusted.domains.isEmpty && DomainName(attempt.client.helo).map(settings.trusted.vouches(for:)) ?? false
        }
        if lists.mailbox(.sender, sender, at: now)?.list == .allow { return true }
        return sender.domainName.map(settings.trusted.vouches(for:)) ?? false
    }

    /// Whether limits of strangers bear on an attempt.
    func limitsStrangers(_ attempt: Attempt) -> Bool {
        attempt.account == nil && (attempt.throttles || settings.throttle.mode != .off)
    }

    /// Whether a recipient is a postmaster or abuse desk of ours, to whom an account that is stopped may write.
    public func isReachableByAll(_ recipient: Mailbox) -> Bool {
        guard recipient.isAlwaysReachable else { return false }
        // RFC 5321 §4.5.1: postmaster needs no domain.
        guard let domain = recipient.domainName else { return recipient.domain.isEmpty }
        if settings.ourDomains.contains(domain) || domain == settings.ownName { return true }
        return settings.ownName.flatMap(domains.organisationalDomain(of:)) == domain
    }

    /// What being past a limit makes of a decision on everything else.
    func throttled(_ decision: Decision, _ inquiry: Inquiry, isTrusted: Bool?) -> Decision {
        var decision = decision
        decision.verdict.isTrusted = isTrusted
        guard let throttled = inquiry.attempt.throttled, inquiry.attempt.account == nil, isTrusted != true else { return decision }
        if throttled.isShadow {
            decision.verdict.causes.append(.overLimit(throttled))
            return decision
        }
        switch (decision.verdict.action, throttled.grade) {
        case (.reject, _), (.drop, _), (.tarpit, _): break
        case (.defer, .hold), (.defer, .defer), (.defer, .refuse): decision.verdict.causes.append(.overLimit(throttled))
        case (.accept, .hold(let span)):
            decision.verdict.action = .hold(span)
            decision.verdict.causes.insert(.overLimit(throttled), at: 0)
        case (.hold(let other), .hold(let span)):
            decision.verdict.action = .hold(max(span, other))
            decision.verdict.causes.insert(.overLimit(throttled), at: 0)
        default:
            var verdict = verdict(on: throttled, inquiry.attempt)
            verdict.causes += decision.verdict.causes
            verdict.isTrusted = isTrusted
            // Nothing is learnt from what does not pass.
            decision = Decision(verdict: verdict, memory: inquiry.memory)
        }
        return decision
    }

    /// Whether a client goes straight through whatever its counts are; `nil` where look-ups did not tell.
    func isTrusted(_ inquiry: Inquiry, _ assessment: Assessment, now: WallTime) -> Bool? {
        if assessment.score <= settings.bands.pass { return true }
        guard let findings = inquiry.findings else { return nil }
        if let domain = findings.spf?.vouchedDomain, settings.trusted.vouches(for: domain) { return true }
        switch findings.spf?.result {
        case .pass?: return inquiry.attempt.sender.mailbox.map { lists.mailbox(.sender, $0, at: now)?.list == .allow } ?? false
        // RFC 7208 §2.6.6: the DNS may say so in a moment.
        case .temperror?, nil: return namesTrusted(inquiry.attempt, now: now) ? nil : false
        case .none?, .neutral?, .fail?, .softfail?, .permerror?: return false
        }
    }

    private func verdict(on throttled: Throttled, _ attempt: Attempt) -> Verdict {
        let causes = [Cause.overLimit(throttled)]
        switch throttled.grade {
        case .hold(let span): return Verdict(.hold(span), causes)
        case .defer, .refuse: return Verdict(.defer, causes, passesAt: throttled.until)
        case .refuseAccount, .suspended:
            // A session of ours keeps no message.
            guard settings.accounts.action == .hold, !attempt.isConversation else { return Verdict(.reject, causes) }
            var verdict = Verdict(.hold(.zero), causes)
            verdict.holdsMessage = true
            return verdict
        }
    }
}

extension Verdict {
    /// Whether what was decided counts towards the limits of whoever asked: not for those who are exempt.
    public var countsTowardsLimits: Bool {
        if isTrusted == true { return false }
        return switch causes.first {
        case .localClient?, .forwarder?, .backupMX?, .allowed?, .blocked?, .released?, .trusted?, .wellListed?, .noClientAddress?: false
        default: true
        }
    }
}

extension Engine {
    /// The organisational domain that a client is known to belong to: by SPF, or by its confirmed name.
    public func domain(of client: Client, _ findings: Findings?) -> DomainName? {
        for identity in client.identities(widths: settings.greylist.widths, domains: domains, spfDomain: findings?.spf?.vouchedDomain) {
            switch identity {
            case .spfDomain(let domain), .nameDomain(let domain): return domain
            case .network, .address: continue
            }
        }
        return nil
    }
}

import PosternCore

// What the engine decides only for a front that speaks with the client itself: greeting pauses, early talkers, scores of
// protocol violations, and how slowly an answer goes out.

extension Engine {
    /// Decides, or asks for evidence, where a conversation differs from a policy request; `nil` where it does not.
    func beginConversation(_ shared: SharedAttempt, memory: MessageMemory, now: WallTime) -> Step? {
        let attempt = shared.value
        func decided(_ verdict: Verdict) -> Step { .decided(Decision(verdict: verdict, memory: memory)) }

        switch attempt.stage {
        case .connect:
            if isFamiliar(attempt.client, now: now) { return decided(Verdict(.accept, [.stageHasNoCheck])) }
            if attempt.signals[.earlyTalk] != nil, settings.isOn(.earlyTalk) {
                return decided(Verdict(.drop, settings.score(of: attempt.signals).causes))
            }
            guard settings.delays.greeting != .fixed(.zero) else { return decided(Verdict(.accept, [.stageHasNoCheck])) }
            let identities = attempt.client.identities(widths: settings.greylist.widths, domains: domains)
            return .needs(Inquiry(attempt: shared, needs: Needs(identities: identities), memory: memory))

        case .rcpt:
            let assessment = settings.score(of: attempt.signals)
            guard assessment.score >= settings.bands.reject, attempt.account == nil, !isFamiliar(attempt.client, now: now),
                exemption(of: attempt, now: now) == nil
            else { return nil }
            var verdict = Verdict(.reject, [.scoreTooHigh(assessment.score)] + assessment.causes)
            pace(&verdict, shared)
            return decided(verdict)

        case .ehlo, .helo, .mail:
            var verdict = Verdict(.accept, [.stageHasNoCheck])
            if attempt.account == nil, !isFamiliar(attempt.client, now: now) { pace(&verdict, shared) }
            return decided(verdict)

        case .data, .endOfMessage, .vrfy, .etrn:
            return nil
        }
    }

    /// How long to wait with the greeting: not at all for who is proven.
    func greet(_ inquiry: Inquiry, evidence: Evidence, now: WallTime) -> Decision {
        let settings = settings
        let isProven = evidence.identities.contains { row in
            guard let row, settings.greylist.provenAfter > 0 else { return false }
            return row.passes >= settings.greylist.provenAfter && now - row.lastSeen < settings.greylist.lifetime
        }
        var verdict = Verdict(.accept, [.stageHasNoCheck])
        if !isProven {
            switch settings.delays.greeting {
            case .fixed(let span): verdict.delay = span
            case .auto: verdict.delay = DelaySettings.longestGreeting
            }
        }
        return Decision(verdict: verdict, memory: inquiry.memory)
    }

    /// Sets how an answer goes out: after which pause, and whether byte by byte.
    func pace(_ verdict: inout Verdict, _ shared: SharedAttempt) {
        verdict.delay = settings.delays.stage
        switch (verdict.action, verdict.causes.first) {
        case (.defer, _): verdict.delay = verdict.delay + settings.delays.deferral
        // In shadow nobody was deferred who could be slowed for it.
        case (.accept, .greylistPassed) where settings.greylist.mode == .on: verdict.delay = verdict.delay + settings.delays.firstPass
        default: break
        }
        var score = settings.score(of: shared.value.signals).score
        if let check = shared.value.harvested?.check, settings.isOn(check) { score = (score + settings.setting(of: check).score).asScore }
        verdict.stutters = score >= settings.bands.slow
    }

    /// Clients that are spared all pauses and scores: the admin has named them.
    private func isFamiliar(_ client: Client, now: WallTime) -> Bool { standing(of: client, now: now) == .spared }
}

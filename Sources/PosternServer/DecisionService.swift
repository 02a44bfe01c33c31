import NIOConcurrencyHelpers
import PosternCore
import PosternEngine

/// The way from an attempt to a decision that is committed: engine, store, record, log, counters. One for all fronts.
public final class DecisionService: Sendable {
    /// A class, so that a question holds on to the engine it began with by one reference.
    fileprivate final class Snapshot: Sendable {
        let engine: Engine
        let stagesWithoutCheck: StagesWithoutCheck
        let hasTraps: Bool
        private let countsStrangers: Bool
        private let countsAccounts: Bool
        /// Whether anybody is counted by its domain, which look-ups may tell.
        let countsIdentities: Bool

        init(_ engine: Engine) {
            self.engine = engine
            stagesWithoutCheck = StagesWithoutCheck(engine.settings)
            hasTraps = engine.lists.hasTraps
            countsStrangers = engine.settings.throttle.mode != .off
            countsAccounts = engine.settings.accounts.mode != .off
            countsIdentities = engine.settings.throttle.limits.contains { $0.key == .identity }
        }

        /// Whether some limit may bear on an attempt.
        func counts(_ attempt: Attempt) -> Bool { attempt.account == nil ? attempt.throttles || countsStrangers : countsAccounts }
    }

    private struct State {
        var snapshot: Snapshot
        var counter: UInt16 = 0
        var revision: UInt64 = 0
    }

    /// A decision with what a front needs to word its answer.
    public struct Outcome: Sendable {
        public var verdict: Verdict { _read { yield ruling.decision.verdict } }
        fileprivate let ruling: Ruling
        /// What the front is to remember of the message from now on.
        public let memory: MessageMemory
        /// A header field that tells of SPF, for an accepted message that has none yet.
        public let spfField: String?
        fileprivate let snapshot: Snapshot
        /// By which the admin finds the decision.
        public let reference: Reference
        /// The steady time it was made at.
        public let now: WallTime

        /// By the settings that it was made with.
        public var delays: DelaySettings { snapshot.engine.settings.delays }
        public var deferralReply: DeferralReply {
            // What is past a limit is not to be looked at by later restrictions.
            if case .overLimit? = verdict.causes.first { return .plain }
            return snapshot.engine.settings.greylist.reply
        }

        /// What being past a limit means for it, where that decided.
        public var throttled: Throttled? {
            if case .overLimit(let throttled)? = verdict.causes.first, !throttled.isShadow { throttled } else { nil }
        }

        /// Sessions that may be made to wait for a limit.
        var heldSessions: Int { snapshot.engine.settings.throttle.heldSessions }

        /// The text of a deferral where a client should wait and too many do.
        var textInsteadOfHold: String {
            ReplyText.throttled(
                until: nil, now: now, settings: snapshot.engine.settings.throttle, hostname: snapshot.engine.settings.hostname,
                reference: reference)
        }

        /// Whether the client talked before it was greeted, and that counts.
        private var spokeEarly: Bool {
            verdict.causes.contains { cause in if case .scored(.earlyTalk, _, _, _) = cause { true } else { false } }
        }

        /// The text of a reply that defers or refuses.
        public var text: String {
            let hostname = snapshot.engine.settings.hostname
            if let throttled {
                switch throttled.grade {
                case .hold, .defer, .refuse:
                    return ReplyText.throttled(
                        until: throttled.until, now: now, settings: snapshot.engine.settings.throttle, hostname: hostname,
                        reference: reference)
                case .refuseAccount:
                    return ReplyText.accountLimit(throttled, now: now, hostname: hostname, reference: reference)
                case .suspended:
                    return "This account is suspended; write to postmaster here about it (\(hostname) \(reference))"
                }
            }
            return switch verdict.action {
            case .defer: ReplyText.deferral(until: verdict.passesAt, now: now, hostname: hostname, reference: reference)
            case .drop where spokeEarly: ReplyText.earlyTalk(hostname: hostname, reference: reference)
            default: ReplyText.refusal(hostname: hostname, reference: reference)
            }
        }
    }

    private let state: NIOLockedValueBox<State>
    private let store: any Store
    private let clock: ServiceClock
    let log: DecisionLog
    private let evidence: (any EvidenceSource)?
    /// What traps have learnt; `nil` where nobody harvests.
    let harvest: HarvestService?
    public let counters: Counters
    let metrics: ServiceMetrics?
    /// What clients and accounts may do; `nil` where nobody is counted.
    public let limits: LimitService?

    /// - Parameters:
    ///   - evidence: Who looks things up; `nil` where nobody does.
    ///   - metrics: Where times are recorded; `nil` where nobody wants them.
    ///   - harvest: What traps have learnt; `nil` where nobody harvests.
    ///   - limits: Who counts; `nil` where nobody does.
    public init(
        engine: Engine, store: any Store, clock: ServiceClock, log: DecisionLog, counters: Counters, evidence: (any EvidenceSource)? = nil,
        metrics: ServiceMetrics? = nil, harvest: HarvestService? = nil, limits: LimitService? = nil
    ) {
        state = NIOLockedValueBox(State(snapshot: Snapshot(engine)))
        self.store = store
        self.clock = clock
        self.log = log
        self.counters = counters
        self.evidence = evidence
        self.metrics = metrics
        self.harvest = harvest
        self.limits = limits
    }

    /// The engine's time.
    var steadyTime: WallTime { clock.now().steady }

    public var engine: Engine { state.withLockedValue { $0.snapshot.engine } }

    /// From here on decisions are made with these settings and lists.
    public func update(_ change: (inout Engine) -> Void) {
        state.withLockedValue { state in
            var engine = state.snapshot.engine
            change(&engine)
            state.snapshot = Snapshot(engine)
            state.revision &+= 1
        }
    }

    /// Another one whenever settings or lists are others.
    var revision: UInt64 { state.withLockedValue { $0.revision } }

    /// Where a conversation need not ask: it is accepted, and nothing is noted of it.
    var stagesWithoutCheck: StagesWithoutCheck { state.withLockedValue { $0.snapshot.stagesWithoutCheck } }

    /// Decides. `memory` is what the front remembers of this message; the decision says what to remember from now on.
    /// `completion` is called once: at once, or on the store's thread after the decision is committed; it must not block.
    ///
    /// - Parameter isInVain: the recipient is refused whatever is decided, since nobody takes mail for it. Then no limit bears on it, and
    ///   nothing is kept, counted or logged, unless the client is refused for what it is.
    public func decide(
        _ attempt: consuming Attempt, memory: MessageMemory = MessageMemory(), listener: String, isInVain: Bool = false,
        completion: @escaping @Sendable (Outcome) -> Void
    ) {
        if let before = memory.beforeTrap {
            attempt.harvested = before.colour
        } else if let harvest, attempt.harvested == nil, let address = attempt.client.address, let colour = harvest.colour(of: address) {
            attempt.harvested = colour
        }
        let (now, wall) = clock.now()
        let (snapshot, counter) = state.withLockedValue { state in
            state.counter &+= 1
            return (state.snapshot, state.counter)
        }
        let counts = limits != nil && !isInVain && snapshot.counts(attempt)
        if counts, let limits {
            let findings = snapshot.countsIdentities ? evidence?.known(attempt) : nil
            attempt.throttled = limits.assess(attempt, memory, snapshot.engine, findings, now: now)
        }
        let question = Question(
            service: self, attempt: SharedAttempt(attempt), isCounted: counts, isInVain: isInVain, hasPassed: memory.counted,
            snapshot: snapshot,
            reference: Reference(time: wall, counter: counter), now: now, wall: wall, listener: listener, completion: completion)

        let step = snapshot.engine.begin(question.attempt, memory: memory, now: now)
        switch consume step {
        case .decided(let decision):
            let ruling = question.ruling(decision, [])
            // Nothing hangs on this record but the admin's curiosity: the answer need not wait for it.
            if !ruling.decision.overtaken.isEmpty {
                store.submit(Overtaking(question, ruling))
            } else if ruling.isKept {
                store.submit(Keeping(ruling))
            }
            question.finish(ruling)

        case .needs(let inquiry):
            guard snapshot.engine.wantsFindings(inquiry), let evidence else {
                return store.submit(Concluding(consume question, inquiry))
            }
            if let findings = evidence.known(inquiry.attempt) {
                store.submit(Concluding(question, snapshot.engine.inform(inquiry, with: findings)))
            } else if inquiry.isSpared || inquiry.needs.isEmpty || snapshot.engine.settings.spfHeader != .none {
                // A field that only strangers' messages bear would tell their reader nothing.
                gather(evidence, inquiry, question)
            } else {
                store.submit(Recognising(question, inquiry, evidence))
            }
        }
    }

    /// Whether the admin has named a client as one of ours, or allowed it.
    func isSpared(_ client: Client) -> Bool {
        let snapshot = state.withLockedValue { $0.snapshot }
        return snapshot.engine.standing(of: client, now: clock.now().steady) == .spared
    }

    /// Of those who are past a limit whoever may be kept from connecting.
    func refusable(_ refused: [LimitService.Refusal], isThrottle: Bool) -> [LimitService.Refusal] {
        let (engine, now) = (engine, clock.now().steady)
        guard isThrottle || engine.settings.throttle.mode == .on else { return [] }
        return refused.filter { refusal in
            engine.standing(of: Client(address: refusal.network.address), now: now) != .spared
                && !engine.lists.mayRelease(refusal.network, at: now)
        }
    }

    /// Whether mail of some domains is taken from wherever their SPF records name.
    var trustsDomains: Bool {
        evidence != nil
            && state.withLockedValue { $0.snapshot.engine.settings.looksUp && !$0.snapshot.engine.settings.trusted.domains.isEmpty }
    }

    /// Whether mail of this domain is, where SPF passes for it.
    func trusts(_ domain: DomainName) -> Bool {
        trustsDomains && state.withLockedValue { $0.snapshot.engine.settings.trusted.vouches(for: domain) }
    }

    /// Whether SPF passes for a domain that the admin trusts. `completion` is called once, on any thread.
    func vouches(for attempt: Attempt, completion: @escaping @Sendable (Bool) -> Void) {
        guard let evidence else { return completion(false) }
        let settings = engine.settings
        @Sendable func isVouched(_ findings: Findings) -> Bool {
            findings.spf?.vouchedDomain.map(settings.trusted.vouches(for:)) ?? false
        }
        if let findings = evidence.known(attempt) { return completion(isVouched(findings)) }
        evidence.gather(attempt, for: settings) { completion(isVouched($0)) }
    }

    /// A client has come to a listener that takes mail.
    func met(_ address: IPAddress, at listener: String) { harvest?.primaryTouched(by: address, listener: listener) }

    /// Whether it matters which recipients are named.
    var hasTraps: Bool { harvest != nil && state.withLockedValue { $0.snapshot.hasTraps } }

    /// A client has named a recipient, whatever becomes of that; what it was listed as till then, where it will be listed for that.
    func named(_ attempt: Attempt, at listener: String) -> MessageMemory.BeforeTrap? {
        guard let harvest else { return nil }
        let snapshot = state.withLockedValue { $0.snapshot }
        return snapshot.hasTraps ? harvest.named(attempt, at: listener, snapshot.engine) : nil
    }

    /// A backend took a message: its client is charged, once, whatever it waited for.
    func charge(_ client: SessionClient, recipients: Int, octets: UInt64, _ pending: PendingRecipients) {
        guard let limits else { return }
        let snapshot = state.withLockedValue { $0.snapshot }
        let known = Client(address: client.source.address, confirmedName: client.name)
        let subject = LimitSubject(
            address: client.source.address, identity: snapshot.countsIdentities ? snapshot.engine.domain(of: known, nil)?.text : nil,
            account: client.login)
        limits.accepted(subject, recipients: recipients, size: Int(clamping: octets), pending: pending, now: clock.now().steady)
    }

    /// A backend took a message that had passed.
    ///
    /// - Parameter identities: whom it has yet to be counted for.
    func taken(from address: IPAddress, countsFor identities: [Identity]) {
        harvest?.taken(from: address)
        guard !identities.isEmpty else { return }
        let (engine, now) = (engine, steadyTime)
        @Sendable func decide(_ evidence: Evidence) -> (Decision, DecisionRecord?) {
            var decision = Decision(verdict: Verdict(.accept, [.stageHasNoCheck]))
            decision.changes.identities = engine.counted(identities, evidence: evidence, now: now)
            return (decision, nil)
        }
        store.submit(BlockTransaction(needs: Needs(identities: identities), isAwaited: false, decide: decide, completion: { _ in }))
    }

    /// What counts mean for an attempt now, and every limit that bears on it: for someone who wants to see it.
    func standing(of attempt: Attempt) async -> (throttled: Throttled?, limits: [LimitStanding]) {
        guard let limits else { return (nil, []) }
        let snapshot = state.withLockedValue { $0.snapshot }
        // By whose domain it is counted, too.
        let findings = snapshot.countsIdentities ? await findings(for: attempt) : nil
        let now = clock.now().steady
        return (
            limits.assess(attempt, MessageMemory(), snapshot.engine, findings, now: now),
            limits.standings(attempt, snapshot.engine, findings, now: now)
        )
    }

    /// A recipient was asked for to whom nobody here takes mail.
    ///
    /// - Returns: how long the answer to that waits, by the client's counts, and at how many sessions that wait none does; `nil` where it
    ///   does not wait.
    func askedInVain(_ attempt: Attempt) -> (hold: WallTime.Span, heldSessions: Int)? {
        let snapshot = state.withLockedValue { $0.snapshot }
        let engine = snapshot.engine
        guard let limits, attempt.account == nil, snapshot.counts(attempt) else { return nil }
        let now = clock.now().steady
        guard engine.standing(of: attempt.client, now: now) == .unknown else { return nil }
        let findings = snapshot.countsIdentities ? evidence?.known(attempt) : nil
        var attempt = attempt
        attempt.throttled = limits.assess(attempt, MessageMemory(), engine, findings, now: now)
        limits.attemptedInVain(attempt, engine, now: now)
        guard let throttled = attempt.throttled, !throttled.isShadow, !engine.mayBeTrusted(attempt, now: now) else { return nil }
        let span =
            switch throttled.grade {
            case .hold(let span): span
            case .defer, .refuse, .refuseAccount, .suspended: engine.settings.throttle.hold
            }
        return (span, engine.settings.throttle.heldSessions)
    }

    /// What look-ups find out now, for someone who wants to see it.
    func findings(for attempt: Attempt) async -> Findings {
        guard let evidence else { return Findings() }
        if let findings = evidence.known(attempt) { return findings }
        let settings = engine.settings
        return await withCheckedContinuation { continuation in
            evidence.gatherAll(attempt, for: settings) { continuation.resume(returning: $0) }
        }
    }

    private func gather(_ evidence: any EvidenceSource, _ inquiry: Engine.Inquiry, _ question: Question) {
        let began = metrics == nil ? 0 : ServiceMetrics.now()
        let snapshot = question.snapshot
        evidence.gather(inquiry.attempt, for: snapshot.engine.settings) { [store, metrics] findings in
            metrics?.lookedUp(since: began)
            store.submit(Concluding(question, snapshot.engine.inform(inquiry, with: findings)))
        }
    }

    /// One question on its way.
    private struct Question: Sendable {
        let service: DecisionService
        let attempt: SharedAttempt
        /// Whether it is to be charged once it is decided.
        private let isCounted: Bool
        /// Whether its recipient is refused whatever is decided.
        private let isInVain: Bool
        /// Whether its message has passed by an earlier answer.
        private let hasPassed: Bool
        let snapshot: Snapshot
        private let reference: Reference
        let now: WallTime
        private let wall: WallTime
        private let listener: String
        private let began: UInt64
        private let completion: @Sendable (Outcome) -> Void

        init(
            service: DecisionService, attempt: consuming SharedAttempt, isCounted: Bool, isInVain: Bool, hasPassed: Bool,
            snapshot: consuming Snapshot, reference: Reference, now: WallTime, wall: WallTime, listener: consuming String,
            completion: @escaping @Sendable (Outcome) -> Void
        ) {
            self.service = service
            self.attempt = attempt
            self.isCounted = isCounted
            self.isInVain = isInVain
            self.hasPassed = hasPassed
            self.snapshot = snapshot
            self.reference = reference
            self.now = now
            self.wall = wall
            self.listener = listener
            self.completion = completion
            began = service.metrics == nil ? 0 : ServiceMetrics.now()
        }

        /// A decision with what is kept of it: nothing for a stage at which nothing is checked, nor for a recipient in vain.
        func ruling(_ decision: consuming Decision, _ triplets: [TripletKey]) -> Ruling {
            if isInVain, decision.verdict.action != .reject {
                return Ruling(Decision(verdict: decision.verdict, memory: decision.memory))
            }
            if case .stageHasNoCheck? = decision.verdict.causes.first { return Ruling(decision) }
            let verdict = decision.verdict.shown { [wall, now] in wall + ($0 - now) }
            return Ruling(
                decision,
                record: DecisionRecord(
                    reference: reference, time: wall, listener: listener, attempt: attempt, verdict: verdict, triplets: triplets))
        }

        /// Tells everybody what was decided, the front last.
        func finish(_ ruling: Ruling, findings: Findings? = nil) {
            if ruling.isKept {
                service.counters.decided(ruling.decision.verdict)
                service.metrics?.decided(ruling.decision.verdict.action, since: began)
                // Of a conversation it is heard later.
                if let harvest = service.harvest, !hasPassed, ruling.decision.memory.counted, !attempt.value.isConversation,
                    let address = attempt.value.client.address
                {
                    harvest.taken(from: address)
                }
                service.log.write(ruling)
            }
            var memory = ruling.decision.memory
            var field: String?
            if let spfField = findings?.spfField, !memory.spfFieldGiven, ruling.decision.verdict.action.accepts {
                field = spfField
                memory.spfFieldGiven = true
            }
            if isCounted, let limits = service.limits { settle(limits, ruling.decision.verdict, &memory) }
            completion(Outcome(ruling: ruling, memory: memory, spfField: field, snapshot: snapshot, reference: reference, now: now))
        }

        private func settle(_ limits: LimitService, _ verdict: Verdict, _ memory: inout MessageMemory) {
            let attempt = attempt.value
            let country = attempt.account == nil ? nil : attempt.client.address.flatMap { service.evidence?.country(of: $0) }
            let known = snapshot.countsIdentities ? service.evidence?.known(attempt) : nil
            limits.settle(attempt, verdict, &memory, snapshot.engine, known, country: country, now: now)
        }

        /// The store could not say: the mail passes.
        func failOpen(_ inquiry: Engine.Inquiry, _ failure: StoreFailure) {
            service.counters.storeFailed(failure)
            finish(ruling(snapshot.engine.failOpen(inquiry), []))
        }
    }

    /// A question whose answer hangs on rows of the store, and on nothing else any more.
    private final class Concluding: StoreTransaction {
        private let question: Question
        private let inquiry: Engine.Inquiry

        init(_ question: consuming Question, _ inquiry: consuming Engine.Inquiry) {
            self.question = question
            self.inquiry = inquiry
        }

        var needs: Needs { inquiry.needs }

        func decide(_ evidence: Evidence) -> Ruling? {
            let snapshot = question.snapshot
            let decision = snapshot.engine.conclude(inquiry, evidence: evidence, now: question.now)
            return question.ruling(decision, inquiry.needs.triplets)
        }

        func completed(_ result: Result<Ruling?, StoreFailure>) {
            switch result {
            case .success(let ruling?): question.finish(ruling, findings: inquiry.findings)
            // It always decides.
            case .success(nil): question.failOpen(inquiry, .undecided)
            case .failure(let failure): question.failOpen(inquiry, failure)
            }
        }
    }

    /// A question that is answered at once for whoever is known, and else goes on to look-ups.
    private final class Recognising: StoreTransaction {
        private let question: Question
        private let inquiry: Engine.Inquiry
        private let evidence: any EvidenceSource

        init(_ question: consuming Question, _ inquiry: consuming Engine.Inquiry, _ evidence: any EvidenceSource) {
            self.question = question
            self.inquiry = inquiry
            self.evidence = evidence
        }

        var needs: Needs { inquiry.needs }

        func decide(_ evidence: Evidence) -> Ruling? {
            let snapshot = question.snapshot
            guard let decision = snapshot.engine.recognise(inquiry, evidence: evidence, now: question.now) else { return nil }
            return question.ruling(decision, inquiry.needs.triplets)
        }

        func completed(_ result: Result<Ruling?, StoreFailure>) {
            switch result {
            case .success(let ruling?): question.finish(ruling)
            case .success(nil): question.service.gather(evidence, inquiry, question)
            case .failure(let failure): question.failOpen(inquiry, failure)
            }
        }
    }

    /// What was decided without a look at rows, and what that changes for those that waited.
    private final class Overtaking: StoreTransaction {
        private let question: Question
        private let ruling: Ruling

        init(_ question: Question, _ ruling: Ruling) {
            self.question = question
            self.ruling = ruling
        }

        var isAwaited: Bool { false }
        var needs: Needs { Needs(triplets: ruling.decision.overtaken) }

        func decide(_ evidence: Evidence) -> Ruling? {
            let snapshot = question.snapshot
            let ended = snapshot.engine.endOfWait(of: ruling.decision, evidence: evidence, now: question.now)
            return ended.map { question.ruling($0, ruling.decision.overtaken) } ?? ruling
        }

        func completed(_ result: Result<Ruling?, StoreFailure>) {}
    }

    /// A record that is kept, whoever waits for it or not.
    private final class Keeping: StoreTransaction {
        private let ruling: Ruling

        init(_ ruling: Ruling) {
            self.ruling = ruling
        }

        var isAwaited: Bool { false }
        var needs: Needs { Needs() }
        func decide(_ evidence: Evidence) -> Ruling? { ruling }
        func completed(_ result: Result<Ruling?, StoreFailure>) {}
    }
}

extension Verdict.Action {
    fileprivate var accepts: Bool {
        switch self {
        case .accept, .hold: true
        case .defer, .reject, .tarpit, .drop: false
        }
    }
}

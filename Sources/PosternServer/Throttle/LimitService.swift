import Logging
import NIOConcurrencyHelpers
import PosternCore
import PosternEngine

/// The limits of the running daemon: what everybody has done, behind one lock, and who is told of it.
///
/// Counts live in memory. What has changed is written to the store every `flushInterval`, and when the daemon stops: a process
/// that is killed forgets that much of counts, and nothing of suspensions.
public final class LimitService: Sendable {
    public static let flushInterval = WallTime.Span.seconds(5)
    /// Rows in one turn, so that a flush never holds the lock for long.
    static let flushStep = 500
    private static let restoreStep = 1000
    /// Slots of each table that are looked at each second for rows that are over.
    private static let sweepLooks = 20_000

    private struct State {
        var counts: LimitCounts
        /// Sessions that are made to wait.
        var held = 0
        var numbers = Numbers()
    }

    /// Since the start.
    public struct Numbers: Equatable, Sendable {
        public var held: UInt64 = 0
        public var deferred: UInt64 = 0
        public var refused: UInt64 = 0
        public var accountsRefused: UInt64 = 0
        /// Kept by the mail server instead.
        public var accountsHeld: UInt64 = 0
        /// Held no more since too many were.
        public var holdsDenied: UInt64 = 0
    }

    private let state: NIOLockedValueBox<State>
    private let seed: (UInt64, UInt64)
    private let suspensions: AsyncStream<Suspension>.Continuation
    /// Accounts as they are suspended, to be kept and told of.
    public let suspended: AsyncStream<Suspension>

    public init(throttle: ThrottleSettings, accounts: AccountSettings, seed: (UInt64, UInt64)) {
        self.seed = seed
        state = NIOLockedValueBox(State(counts: LimitCounts(throttle: throttle, accounts: accounts, seed: seed)))
        (suspended, suspensions) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1000))
    }

    /// Takes up other limits. Counts of units and windows that stay are kept.
    public func update(throttle: ThrottleSettings, accounts: AccountSettings, now: WallTime) {
        state.withLockedValue { state in
            guard state.counts.differs(from: throttle, accounts) else { return }
            var counts = LimitCounts(throttle: throttle, accounts: accounts, seed: seed)
            counts.adopt(&state.counts, at: now)
            state.counts = counts
        }
    }

    // MARK: - Decisions

    /// What its counts mean for an attempt; `nil` for one that is within all limits, or to which none applies.
    /// Nothing is charged, and nobody refused: `settle` does that.
    func assess(_ attempt: Attempt, _ memory: MessageMemory, _ engine: Engine, _ findings: Findings?, now: WallTime) -> Throttled? {
        let settings = engine.settings
        if let account = attempt.account {
            guard settings.accounts.mode != .off, attempt.stage == .rcpt, !settings.accounts.exempt.contains(account.foldedMailbox) else {
                return nil
            }
            var throttled = state.withLockedValue { state in
                let subject = LimitSubject(address: attempt.client.address, account: account)
                return state.counts.assessAccount(
                    subject, Self.request(attempt, memory, state.counts, subject),
                    isReachableByAll: attempt.recipient.map(engine.isReachableByAll) ?? false, at: now)
            }
            throttled?.isShadow = settings.accounts.mode == .shadow
            return throttled
        }
        let mode = attempt.throttles ? .on : settings.throttle.mode
        guard mode != .off, attempt.client.address != nil else { return nil }
        let subject = LimitSubject(address: attempt.client.address, identity: Self.identity(attempt, engine, findings))
        var throttled: Throttled?
        switch attempt.stage {
        case .connect: throttled = state.withLockedValue { $0.counts.refusal(of: subject, at: now) }
        case .rcpt, .data:
            guard engine.standing(of: attempt.client, now: now) == .unknown else { return nil }
            throttled = state.withLockedValue { state in
                state.counts.assess(subject, Self.request(attempt, memory, state.counts, subject), at: now)
            }
        case .ehlo, .helo, .mail, .endOfMessage, .vrfy, .etrn: return nil
        }
        throttled?.isShadow = mode == .shadow
        return throttled
    }

    private static func request(
        _ attempt: Attempt, _ memory: MessageMemory, _ counts: LimitCounts, _ subject: LimitSubject
    ) -> LimitRequest {
        var request = LimitRequest()
        request.size = attempt.size
        request.recipientDomain = attempt.recipient?.domainName?.text
        request.isWhole = attempt.stage == .data
        guard !request.isWhole else {
            request.recipients = max(Int(memory.accepted), 1)
            request.newRecipients = memory.pending.newRecipients
            return request
        }
        let repeats = attempt.recipient.map { memory.repeats(counts.mark(of: $0)) } ?? false
        request.recipients = Int(memory.accepted) + (repeats ? 0 : 1)
        if let recipient = attempt.recipient {
            (request.newRecipients, request.recipientsOfDomain) = counts.asked(recipient, of: subject, memory.pending)
            if repeats { request.recipientsOfDomain = max(request.recipientsOfDomain - 1, 1) }
        }
        return request
    }

    /// The organisational domain that the client is known to belong to.
    private static func identity(_ attempt: Attempt, _ engine: Engine, _ findings: Findings?) -> String? {
        guard engine.settings.throttle.limits.contains(where: { $0.key == .identity }) else { return nil }
        return engine.domain(of: attempt.client, findings)?.text
    }

    /// Charges what a decision means, and notes it in what the front remembers of the message.
    func settle(
        _ attempt: Attempt, _ verdict: Verdict, _ memory: inout MessageMemory, _ engine: Engine, _ findings: Findings?, country: String?,
        now: WallTime
    ) {
        let settings = engine.settings
        let applies =
            attempt.account.map { settings.accounts.mode != .off && !settings.accounts.exempt.contains($0.foldedMailbox) }
            ?? (attempt.throttles || settings.throttle.mode != .off)
        guard applies, attempt.client.address != nil || attempt.account != nil else { return }
        var subject = LimitSubject(
            address: attempt.client.address, identity: attempt.account == nil ? Self.identity(attempt, engine, findings) : nil,
            account: attempt.account, country: country)
        let isAccepted: Bool =
            switch verdict.action {
            case .accept, .hold: true
            case .defer, .reject, .tarpit, .drop: false
            }
        if verdict.countsTowardsLimits { refuse(attempt, isTrusted: verdict.isTrusted, engine, now: now) }
        switch attempt.stage {
        case .rcpt:
            // A session of ours is told by its backend what became of the last recipient.
            let asked = attempt.isConversation ? nil : attempt.recipient
            let mark = asked.map { recipient in state.withLockedValue { $0.counts.mark(of: recipient) } } ?? 0
            guard !memory.repeats(mark) else {
                if !isAccepted { memory.withdrawRecipient() }
                return
            }
            memory.confirmRecipient()
            if case .overLimit(let throttled)? = verdict.causes.first, !throttled.isShadow { note(throttled.grade, verdict) }
            memory.wasAsked = true
            guard verdict.countsTowardsLimits else { return }
            memory.counts = true
            if isAccepted { memory.countRecipient(mark) }
            state.withLockedValue { state in
                report(state.counts.attempted(subject, recipientDomain: attempt.recipient?.domainName?.text, at: now))
                guard isAccepted, let recipient = attempt.recipient else { return }
                report(state.counts.acceptedRecipient(recipient, of: subject, &memory.pending, at: now))
            }
        case .endOfMessage:
            // A gateway tells by itself what its backend took.
            guard !attempt.isConversation, isAccepted, !memory.charged else { return }
            // Where nothing else is known of it, as after a restart, by who the client is; an account is none of the networks.
            let isUnknown = attempt.account != nil || engine.standing(of: attempt.client, now: now) == .unknown
            guard memory.counts || !memory.wasAsked && isUnknown else { return }
            memory.charged = true
            let recipients = max(attempt.recipientCount, 1)
            let pending = memory.pending
            memory.pending = PendingRecipients()
            subject.country = nil
            subject.identity = subject.identity ?? pending.identity
            // By the mail server, of those that were not refused here.
            let refused = attempt.account == nil ? 0 : max(Int(memory.accepted) - recipients, 0)
            state.withLockedValue { state in
                report(state.counts.accepted(subject, recipients: recipients, size: attempt.size, at: now))
                report(state.counts.accepted(pending, of: subject, recipients: recipients, at: now))
                if refused > 0 { report(state.counts.refusedRecipient(subject, refused, at: now)) }
            }
        case .connect, .ehlo, .helo, .mail, .data, .vrfy, .etrn: break
        }
    }

    /// Who hammers on is refused at connect, where nothing says that it is trusted, and nothing may yet say so.
    private func refuse(_ attempt: Attempt, isTrusted: Bool?, _ engine: Engine, now: WallTime) {
        guard let throttled = attempt.throttled, throttled.grade == .refuse, !throttled.isShadow, let address = attempt.client.address,
            attempt.stage == .rcpt || attempt.stage == .data, isTrusted == false || !engine.mayBeTrusted(attempt, now: now)
        else { return }
        state.withLockedValue { $0.counts.refuse(address, until: throttled.until, at: now) }
    }

    /// A recipient was asked for to whom nobody here takes mail: an attempt like any other, about which nothing else is decided.
    func attemptedInVain(_ attempt: Attempt, _ engine: Engine, now: WallTime) {
        guard attempt.throttles || engine.settings.throttle.mode != .off else { return }
        let subject = LimitSubject(address: attempt.client.address, identity: Self.identity(attempt, engine, nil))
        state.withLockedValue { report($0.counts.attempted(subject, recipientDomain: attempt.recipient?.domainName?.text, at: now)) }
        refuse(attempt, isTrusted: nil, engine, now: now)
    }

    private func note(_ grade: Throttled.Grade, _ verdict: Verdict) {
        state.withLockedValue { state in
            switch grade {
            case .hold: state.numbers.held += 1
            case .defer: state.numbers.deferred += 1
            case .refuse: state.numbers.refused += 1
            case .refuseAccount, .suspended:
                if verdict.holdsMessage { state.numbers.accountsHeld += 1 } else { state.numbers.accountsRefused += 1 }
            }
        }
    }

    private func report(_ suspension: Suspension?) {
        if let suspension { suspensions.yield(suspension) }
    }

    // MARK: - For fronts that speak with clients

    /// A message was taken by a backend: charges it once.
    ///
    /// - Parameters:
    ///   - size: octets.
    ///   - pending: what its recipients cost beside.
    public func accepted(
        _ subject: LimitSubject, recipients: Int, size: Int, pending: PendingRecipients = PendingRecipients(), now: WallTime
    ) {
        var subject = subject
        if subject.account == nil { subject.identity = subject.identity ?? pending.identity }
        state.withLockedValue { [subject] state in
            report(state.counts.accepted(subject, recipients: recipients, size: size, at: now))
            report(state.counts.accepted(pending, of: subject, recipients: recipients, at: now))
        }
    }

    /// A backend refused a recipient of an account's for good.
    public func refusedRecipient(_ subject: LimitSubject, now: WallTime) {
        state.withLockedValue { state in report(state.counts.refusedRecipient(subject, at: now)) }
    }

    /// A backend refused a log-in.
    public func failedLogIn(_ subject: LimitSubject, now: WallTime) {
        state.withLockedValue { $0.counts.failedLogIn(subject, at: now) }
    }

    /// Whether no log-in is to be tried any more, of this address or for this account.
    public func assessLogIn(_ subject: LimitSubject, now: WallTime) -> Throttled? {
        state.withLockedValue { $0.counts.assessLogIn(subject, at: now) }
    }

    /// A session is to wait. False where as many wait as may: then it is deferred instead, never accepted.
    func beginHold(limit: Int) -> Bool {
        state.withLockedValue { state in
            guard state.held < limit else {
                state.numbers.holdsDenied += 1
                return false
            }
            state.held += 1
            return true
        }
    }

    func endHold() { state.withLockedValue { $0.held -= 1 } }

    // MARK: - For people

    /// Every limit that bears on an attempt, with what is left.
    public func standings(_ attempt: Attempt, _ engine: Engine, _ findings: Findings? = nil, now: WallTime) -> [LimitStanding] {
        let subject = LimitSubject(
            address: attempt.client.address, identity: engine.domain(of: attempt.client, findings)?.text, account: attempt.account)
        let ofAccount = attempt.account != nil
        return state.withLockedValue { state in
            state.counts.standings(of: subject, recipientDomain: attempt.recipient?.domainName?.text, at: now)
        }.filter { ($0.limit.key == .account || $0.limit.key == .accountDomain || $0.limit.unit == .failures) == ofAccount }
    }

    public var suspensionsInForce: [Suspension] {
        state.withLockedValue { $0.counts.suspended.values.sorted { $0.account < $1.account } }
    }

    /// Lets a suspended account go on. False where it was not suspended.
    public func release(_ account: String, now: WallTime) -> Bool { state.withLockedValue { $0.counts.release(account, at: now) } }

    /// Puts a suspension back that was released by mistake.
    public func suspend(_ suspension: Suspension) { state.withLockedValue { $0.counts.suspend(suspension) } }

    /// Of somebody's limits, from which it is shown to people.
    static let nearShare = 0.5
    /// Looked at in one turn of the lock.
    private static let nearStep = 256
    /// Counts that are walked past in one turn of the lock: a fraction of a millisecond.
    private static let walkStep = 8192
    /// Told of at most.
    public static let maximumNear = 4096

    /// Who is near a limit or past it, the furthest first, at most `maximumNear`. Looks at all that is counted, in turns.
    ///
    /// - Parameters:
    ///   - refuses: whether anybody is refused at connect.
    ///   - isSpared: whom no limit of strangers bears on, by the network that its counts are of.
    public func nearLimits(refuses: Bool = true, now: WallTime, isSpared: (Prefix) -> Bool = { _ in false }) -> [NearLimit] {
        var found: [NearLimit] = []
        func look(at places: [LimitPlace]) {
            for start in stride(from: 0, to: places.count, by: Self.nearStep) {
                let slice = places[start..<min(start + Self.nearStep, places.count)]
                let near = state.withLockedValue { state in
                    slice.compactMap { state.counts.near($0, share: Self.nearShare, refuses: refuses, at: now) }
                }
                found += near.filter { near in near.place.network.map { !isSpared($0) } ?? true }
                if found.count >= 2 * Self.maximumNear { found = Self.furthest(found) }
            }
        }
        look(at: state.withLockedValue { $0.counts.watched(at: now) })
        var walk = state.withLockedValue { $0.counts.walk(share: Self.nearShare) }
        while let places = state.withLockedValue({ $0.counts.next(&walk, looks: Self.walkStep, at: now) }) {
            look(at: places)
        }
        return Self.furthest(found)
    }

    /// Each once, the furthest first.
    private static func furthest(_ all: [NearLimit]) -> [NearLimit] {
        func rank(_ near: NearLimit) -> Int { NearLimit.State.allCases.firstIndex(of: near.state) ?? 0 }
        func share(_ near: NearLimit) -> Double { near.used / max(near.allowance, 1) }
        var seen: Set<LimitPlace> = []
        let each = all.filter { seen.insert($0.place).inserted }
        return Array(each.sorted { (rank($1), share($1), $0.subject) < (rank($0), share($0), $1.subject) }.prefix(maximumNear))
    }

    /// What somebody had to its name, which is forgotten; `nil` where it had nothing.
    public func forget(_ place: LimitPlace) -> (subject: String, had: [UInt8])? { state.withLockedValue { $0.counts.forget(place) } }

    public func giveBack(_ place: LimitPlace, _ had: [UInt8], now: WallTime) -> Bool {
        state.withLockedValue { $0.counts.giveBack(place, had, at: now) }
    }

    public struct Report: Equatable, Sendable {
        public var rows: Int
        public var bytes: Int
        public var evicted: UInt64
        public var heldNow: Int
        public var suspended: Int
        public var numbers: Numbers
    }

    public func report(now: WallTime) -> Report {
        state.withLockedValue { state in
            let (rows, evicted, bytes) = state.counts.statistics
            return Report(
                rows: rows, bytes: bytes, evicted: evicted, heldNow: state.held, suspended: state.counts.suspended.count,
                numbers: state.numbers)
        }
    }

    // MARK: - Upkeep

    /// Somebody who is refused at connect.
    typealias Refusal = (network: Prefix, until: WallTime)

    /// All who are refused at connect.
    func refusals(now: WallTime) -> [Refusal] { state.withLockedValue { $0.counts.refusals(at: now) } }

    /// All who are refused at connect, where that has changed.
    func takeRefusals(now: WallTime) -> [Refusal]? {
        state.withLockedValue { state in
            let hasForgotten = state.counts.takeForgottenRefusal()
            return state.counts.takeRefusals().isEmpty && !hasForgotten ? nil : state.counts.refusals(at: now)
        }
    }

    func sweep(now: WallTime) { state.withLockedValue { $0.counts.sweep(Self.sweepLooks, at: now) } }

    /// Writes what has changed.
    func flush(to store: any Store, now: WallTime) async throws(StoreFailure) {
        while true {
            let rows = state.withLockedValue { $0.counts.takeChanges(Self.flushStep, at: now) }
            guard !rows.isEmpty else { return }
            try await store.keep(rows)
        }
    }

    /// Takes up what an earlier process left.
    func restore(from store: any Store, now: WallTime) async throws(StoreFailure) {
        for suspension in try await store.suspensions() { state.withLockedValue { $0.counts.suspend(suspension) } }
        var position: CountPosition?
        while case let rows = try await store.counts(after: position, limit: Self.restoreStep), let last = rows.last {
            position = last.position
            state.withLockedValue { state in
                for row in rows where now < row.expires { state.counts.restore(row, at: now) }
            }
        }
    }

    /// The secret that names are hashed with, which is kept beside the counts.
    static func seed(in store: any Store, fresh: (UInt64, UInt64)) async throws(StoreFailure) -> (UInt64, UInt64) {
        let position = CountPosition(table: 0, key: 0)
        if let row = try await store.counts(after: nil, limit: 1).first, row.position == position, row.data.count == 16 {
            func word(_ octets: some Sequence<UInt8>) -> UInt64 { octets.reduce(0) { $0 << 8 | UInt64($1) } }
            return (word(row.data[..<8]), word(row.data[8...]))
        }
        let data = [fresh.0, fresh.1].flatMap { word in
            stride(from: 56, through: 0, by: -8).map { UInt8(truncatingIfNeeded: word >> UInt64($0)) }
        }
        try await store.keep([CountRow(table: 0, key: 0, data: data, expires: WallTime(milliseconds: .max))])
        return fresh
    }
}

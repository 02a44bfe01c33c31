import PosternCore
import PosternEngine
import Synchronization

/// Runs a schedule against engine, store and clock, beside the naive model, and holds what they say against it and
/// against what must be true whoever is right.
public struct ScheduleRun {
    public struct Failure: Error, CustomStringConvertible {
        public var step: Int
        public var reason: String

        public var description: String { "at step \(step): \(reason)" }
    }

    /// A machine whose true time goes on, and whose wall clock somebody sets.
    private struct Machine {
        var elapsed = WallTime.Span.zero
        var wall = WallTime(seconds: 1_800_000_000)
        var monotonic = WallTime.Span.hours(1)
        var boots = 0

        mutating func pass(_ span: WallTime.Span) {
            elapsed = elapsed + span
            wall = wall + span
            monotonic = monotonic + span
        }
    }

    /// A question whose answer is being looked up.
    private struct Pending {
        var transaction: BlockTransaction
        var result: ResultBox
        var message: Int
        var host: Int
        var person: World.Person
        var recipients: [String]
        var mode: Mode
        var now: WallTime
        var elapsed: WallTime.Span
    }

    private final class ResultBox: Sendable {
        let decision = Mutex<Result<Decision, StoreFailure>?>(nil)
    }

    /// One attempt that was committed, by true time.
    private struct Past {
        var elapsed: WallTime.Span
        var identities: [String]
        var person: World.Person
        var recipients: [String]
        /// The message, and how often the process has started: its memory of messages does not outlive it.
        var message: [Int]
        var passed: Bool
        /// Passed without its rows being looked at or written.
        var wasProven: Bool
        var wasAnswered: Bool
    }

    private let schedule: Schedule
    private let bug: PlantedBug?
    private let store: any ScheduleStore
    private var engine: Engine
    private var model: NaiveModel
    private var machine = Machine()
    private var clock: SteadyClock
    private var messages: [Int: MessageMemory] = [:]
    private var pending: [Pending] = []
    private var past: [Past] = []
    /// Steps of the wall clock too small to be told from its being disciplined: they are followed.
    private var smallSteps = WallTime.Span.zero
    private var starts = 0
    private var answers: [String: Int] = [:]
    private var step = 0

    public static func failure(of schedule: Schedule, bug: PlantedBug? = nil, store: any ScheduleStore) async throws -> Failure? {
        var run = ScheduleRun(schedule, bug: bug, store: store)
        do {
            try await run.run()
            return nil
        } catch let failure as Failure {
            return failure
        }
    }

    /// How often each answer was given in a schedule that does not fail.
    public static func answers(to schedule: Schedule, store: any ScheduleStore) async throws -> [String: Int] {
        var run = ScheduleRun(schedule, bug: nil, store: store)
        try await run.run()
        return run.answers
    }

    private init(_ schedule: Schedule, bug: PlantedBug?, store: any ScheduleStore) {
        self.schedule = schedule
        self.bug = bug
        self.store = store
        var settings = EngineSettings()
        settings.hostname = "mx.example.net"
        settings.greylist = schedule.greylist
        settings.greylist.optOut = [.mailbox(World.optedOut)]
        settings.networks.forwarders = PrefixSet(World.hosts.filter(\.isForwarder).compactMap { Prefix($0.address) })
        engine = Engine(settings: settings, domains: LastTwoLabels())
        model = NaiveModel(schedule.greylist)
        clock = SteadyClock(wall: machine.wall, monotonic: machine.monotonic, boot: "0")
    }

    private mutating func run() async throws {
        try await keepTime()
        for (index, step) in schedule.steps.enumerated() {
            self.step = index
            try await perform(step)
        }
    }

    private func fail(_ reason: String) -> Failure { Failure(step: step, reason: reason) }

    // MARK: Time

    private mutating func now() -> WallTime {
        bug == .rawWallClock ? machine.wall : clock.now(wall: machine.wall, monotonic: machine.monotonic)
    }

    /// As a daemon does every few seconds.
    private mutating func keepTime() async throws {
        _ = clock.now(wall: machine.wall, monotonic: machine.monotonic)
        try await store.keep(clock.anchor(boot: "\(machine.boots)"))
    }

    private mutating func start() async throws {
        starts += 1
        messages = [:]
        model.messages = [:]
        try await store.reopen()
        let anchor = bug == .restartForgetsTheClock ? nil : try await store.anchor()
        clock = SteadyClock(wall: machine.wall, monotonic: machine.monotonic, boot: "\(machine.boots)", after: anchor)
        try await keepTime()
    }

    // MARK: Steps

    /// No store takes longer over a commit.
    private static let longestCommit = WallTime.Span.seconds(2)

    private mutating func perform(_ step: Step) async throws {
        switch step {
        case .rcpt(let message, let host, let person, let sender, let recipient):
            try await ask(message, host, person, sender, .rcpt, [recipient])
        case .data(let message, let host, let person, let sender, let recipients):
            try await ask(message, host, person, sender, .data, recipients)
        case .commit:
            try await commit(answering: true)
        case .crash:
            pending = []
            try await start()
        case .crashBeforeAnswers:
            try await commit(answering: false)
            try await start()
        case .restart:
            try await commit(answering: true)
            try await keepTime()
            try await start()
        case .reboot(let down):
            pending = []
            machine.pass(down)
            machine.boots += 1
            machine.monotonic = .seconds(10)
            try await start()
        case .wait(let span):
            if span > Self.longestCommit { try await commit(answering: true) }
            machine.pass(span)
            if span > .seconds(10) { try await keepTime() }
        case .stepClock(let span):
            machine.wall = machine.wall + span
            if max(span, -span) <= SteadyClock.stepThreshold { smallSteps = smallSteps + max(span, -span) }
            try await keepTime()
        case .expire:
            // A question is not older than what has expired meanwhile.
            try await commit(answering: true)
            let lead: WallTime.Span = bug == .expiryTakesLiveRows ? schedule.greylist.window : .zero
            try await store.expire(now: now() + lead)
        case .mode(let mode):
            engine.settings.greylist.mode = mode
            model.mode = mode
        case .list(let list, let kind, let until):
            guard let entry = Self.entry(list, kind, until: until.map { now() + $0 }) else { return }
            engine.lists.insert(entry)
            model.listed.removeAll { $0.list == list && $0.kind == kind }
            model.listed.append((list, kind, entry.expires))
        case .unlist(let list, let kind):
            guard let entry = Self.entry(list, kind, until: nil) else { return }
            let was = model.listed.contains { $0.list == list && $0.kind == kind }
            guard engine.lists.remove(list, entry.kind, entry.pattern) == was else {
                throw fail("removing an entry that was listed: \(was)")
            }
            model.listed.removeAll { $0.list == list && $0.kind == kind }
        case .release(let recipient, let span):
            let until = now() + span
            engine.lists.insert(Release(recipient: World.recipients[recipient], expires: until))
            model.releases.removeAll { $0.recipient == World.recipients[recipient] }
            model.releases.append((World.recipients[recipient], until))
        }
    }

    private static func entry(_ list: ListEntry.List, _ kind: Step.ListedKind, until: WallTime?) -> ListEntry? {
        let (place, text): (ListEntry.Kind, String?) =
            switch kind {
            case .host(let host): (.client, World.hosts[host].address)
            case .person(let person): (.sender, person.blockable)
            case .recipient(let recipient): (.recipient, World.recipients[recipient])
            }
        return text.flatMap { Pattern($0) }.map { ListEntry(list, place, $0, expires: until, added: WallTime(seconds: 0)) }
    }

    private mutating func ask(
        _ message: Int, _ host: Int, _ person: World.Person, _ sender: String, _ stage: Stage, _ recipients: [Int]
    ) async throws {
        // A mail server asks one question of a message at a time.
        if pending.contains(where: { $0.message == message }) { try await commit(answering: true) }
        let now = now()
        guard !model.isDoubtful(host: host, at: now) else { return }
        let attempt = Attempt(
            stage: stage, client: World.hosts[host].client, sender: ReversePath(sender),
            recipient: recipients.count == 1 ? Mailbox(World.recipients[recipients[0]]) : nil,
            recipientCount: stage == .data ? recipients.count : 0, instance: "\(message)")
        let memory = messages[message] ?? MessageMemory()
        let step = engine.begin(attempt, memory: bug?.memory(memory) ?? memory, now: now)
        let expected =
            stage == .rcpt
            ? model.beginRcpt(message: message, host: host, person: person, recipient: recipients[0], at: now)
            : model.beginData(message: message, host: host, person: person, recipients: recipients, at: now)
        switch (step, expected) {
        case (.decided(let decision), .some(let expected)):
            messages[message] = decision.memory
            try compare(decision, expected)
            guard decision.changes.isEmpty else { throw fail("\(expected.word) writes rows") }
            try await overtake(decision, now)
        case (.needs(let inquiry), .none):
            let names =
                stage == .rcpt ? [World.recipients[recipients[0]]] : model.recipients(message: message, ofData: recipients)
            submit(inquiry, message, host, person, names, now)
        case (.decided(let decision), .none):
            throw fail("decided without evidence: \(decision.verdict)")
        case (.needs, .some(let expected)):
            throw fail("asks for evidence where the answer is \(expected)")
        }
    }

    private mutating func submit(
        _ inquiry: Engine.Inquiry, _ message: Int, _ host: Int, _ person: World.Person, _ recipients: [String], _ now: WallTime
    ) {
        let (engine, bug) = (engine, bug)
        var needs = inquiry.needs
        if let bug { needs.triplets = needs.triplets.map { bug.key($0, of: inquiry.attempt) } }
        let result = ResultBox()
        let transaction = BlockTransaction(needs: needs) { evidence in
            guard let bug else { return (engine.conclude(inquiry, evidence: evidence, now: now), nil) }
            let settings = engine.settings.greylist
            let seen = bug.evidence(evidence, for: inquiry.needs, settings: settings, now: now)
            var decision = engine.conclude(inquiry, evidence: seen, now: now)
            decision = bug.decision(decision, needs: inquiry.needs, settings: settings, now: now)
            for index in decision.changes.triplets.indices {
                decision.changes.triplets[index].key = bug.key(decision.changes.triplets[index].key, of: inquiry.attempt)
            }
            return (decision, nil)
        } completion: { outcome in
            result.decision.withLock { $0 = outcome.map(\.0) }
        }
        pending.append(
            Pending(
                transaction: transaction, result: result, message: message, host: host, person: person, recipients: recipients,
                mode: engine.settings.greylist.mode, now: now, elapsed: machine.elapsed))
    }

    /// What passes without a look at its rows leaves its mark on them, which greylisting never goes by.
    private func overtake(_ decision: Decision, _ now: WallTime) async throws {
        guard !decision.overtaken.isEmpty else { return }
        let engine = engine
        let transaction = BlockTransaction(needs: Needs(triplets: decision.overtaken)) { evidence in
            (engine.endOfWait(of: decision, evidence: evidence, now: now) ?? decision, nil)
        } completion: { _ in
        }
        try await store.commit([transaction])
    }

    private mutating func commit(answering: Bool) async throws {
        let batch = pending
        pending = []
        try await store.commit(batch.map(\.transaction))
        for question in batch {
            guard let outcome = question.result.decision.withLock({ $0 }) else { throw fail("a transaction was never completed") }
            let decision = try outcome.get()
            let expected = model.conclude(
                message: question.message, host: question.host, person: question.person, recipients: question.recipients,
                mode: question.mode,
                at: question.now)
            try compare(decision, expected)
            try checkTrueTime(question, expected)
            past.append(
                Past(
                    elapsed: question.elapsed, identities: World.hosts[question.host].identities, person: question.person,
                    recipients: question.recipients, message: [question.message, starts],
                    passed: ["passed", "known", "proven"].contains(expected.word),
                    wasProven: expected.word == "proven", wasAnswered: answering))
            if answering { messages[question.message] = decision.memory }
        }
    }

    // MARK: What must be true

    private mutating func compare(_ decision: Decision, _ expected: NaiveModel.Answer) throws {
        let verdict = decision.verdict
        let seconds = verdict.header.flatMap { $0.split(separator: " ").dropFirst(2).first }.flatMap { Int64($0) }
        let answer = NaiveModel.Answer(action: verdict.action, word: verdict.word, passesAt: verdict.passesAt, headerSeconds: seconds)
        guard answer == expected else { throw fail("said \(answer), expected \(expected)") }
        answers[answer.word, default: 0] += 1
        guard verdict.passesAt == nil || verdict.action == .defer else { throw fail("a promise without a deferral") }
    }

    /// By true time, which neither engine nor model knows: a clock that is set may make 5 % of difference, no more.
    private func checkTrueTime(_ question: Pending, _ answer: NaiveModel.Answer) throws {
        let delay = schedule.greylist.delay.milliseconds
        let slack = 2100 + smallSteps.milliseconds
        let longest = delay * 106 / 100 + slack
        let shortest = delay * 94 / 100 - slack
        let identities = World.hosts[question.host].identities
        func shares(_ other: [String]) -> Bool { other.contains { identities.contains($0) } }
        func age(_ past: Past) -> Int64 { (question.elapsed - past.elapsed).milliseconds }

        if answer.action == .defer, question.recipients.count == 1 {
            // Nobody who was told to come back, and comes back in time, is sent away after the delay.
            let trapped = past.first {
                $0.wasAnswered && !$0.wasProven && $0.person == question.person && $0.recipients == question.recipients
                    && shares($0.identities)
                    && age($0) >= longest && age($0) + longest <= schedule.greylist.window.milliseconds * 94 / 100
            }
            if let trapped { throw fail("deferred \(age(trapped)) ms after an attempt that was answered, the delay is \(delay) ms") }
        }
        if answer.word == "passed" || answer.word == "known" {
            for recipient in question.recipients {
                // Nobody passes whose first attempt, or that of anybody its identities came together with, is younger than the delay.
                var group = Set(identities)
                let attempts = past.filter { $0.person == question.person && $0.recipients.contains(recipient) }
                for _ in attempts {
                    for attempt in attempts where attempt.identities.contains(where: group.contains) { group.formUnion(attempt.identities) }
                }
                let oldest = attempts.filter { $0.identities.contains(where: group.contains) }.map(age).max()
                guard let oldest, oldest >= shortest else {
                    throw fail("passed for \(recipient) \(oldest ?? 0) ms after the first attempt")
                }
            }
        }
        if answer.word == "proven" {
            let counts = identities.map { identity in
                Set(past.filter { $0.passed && $0.identities.contains(identity) }.map(\.message)).count
            }
            guard counts.contains(where: { $0 >= Int(schedule.greylist.provenAfter) }) else { throw fail("proven by \(counts) messages") }
        }
    }
}

extension Schedule {
    /// The steps without those that a failure does not need: the shortest that still fails which taking out blocks of
    /// ever smaller size comes to, within a bounded number of runs.
    public func shrunk(runs: Int = 400, fails: (Schedule) async throws -> Bool) async throws -> Schedule {
        var best = self
        var left = runs
        var block = max(steps.count / 2, 1)
        while block >= 1 {
            var start = 0
            while start < best.steps.count, left > 0 {
                var candidate = best
                candidate.steps.removeSubrange(start..<min(start + block, best.steps.count))
                left -= 1
                if try await fails(candidate) { best = candidate } else { start += block }
            }
            if block == 1 || left == 0 { break }
            block /= 2
        }
        return best
    }
}

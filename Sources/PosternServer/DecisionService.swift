import NIOConcurrencyHelpers
import PosternCore
import PosternEngine

/// The way from an attempt to a decision that is committed: engine, store, record, log, counters. One for all fronts.
public final class DecisionService: Sendable {
    /// A class, so that a question holds on to the engine it began with by one reference.
    private final class Snapshot: Sendable {
        let engine: Engine

        init(_ engine: Engine) {
            self.engine = engine
        }
    }

    private struct State {
        var snapshot: Snapshot
        var counter: UInt16 = 0
    }

    /// A decision with what a front needs to word its answer.
    public struct Outcome: Sendable {
        public let decision: Decision
        /// By which the admin finds the decision.
        public let reference: Reference
        /// The settings it was made with.
        public let settings: EngineSettings
        /// The steady time it was made at.
        public let now: WallTime

        /// The text of a reply that defers or refuses.
        public var text: String {
            switch decision.verdict.action {
            case .defer: ReplyText.deferral(decision.verdict, now: now, hostname: settings.hostname, reference: reference)
            default: ReplyText.refusal(hostname: settings.hostname, reference: reference)
            }
        }
    }

    private let state: NIOLockedValueBox<State>
    private let store: any Store
    private let clock: ServiceClock
    private let log: DecisionLog
    public let counters: Counters

    public init(engine: Engine, store: any Store, clock: ServiceClock, log: DecisionLog, counters: Counters) {
        state = NIOLockedValueBox(State(snapshot: Snapshot(engine)))
        self.store = store
        self.clock = clock
        self.log = log
        self.counters = counters
    }

    public var engine: Engine { state.withLockedValue { $0.snapshot.engine } }

    /// From here on decisions are made with these settings and lists.
    public func update(_ change: (inout Engine) -> Void) {
        state.withLockedValue { state in
            var engine = state.snapshot.engine
            change(&engine)
            state.snapshot = Snapshot(engine)
        }
    }

    /// Decides. `memory` is what the front remembers of this message; the decision says what to remember from now on.
    /// `completion` is called once: at once, or on the store's thread after the decision is committed; it must not block.
    public func decide(
        _ attempt: Attempt, memory: MessageMemory = MessageMemory(), listener: String, completion: @escaping @Sendable (Outcome) -> Void
    ) {
        let (now, wall) = clock.now()
        let (snapshot, counter) = state.withLockedValue { state in
            state.counter &+= 1
            return (state.snapshot, state.counter)
        }
        let question = Question(
            service: self, snapshot: snapshot, reference: Reference(time: wall, counter: counter), now: now, wall: wall, listener: listener,
            completion: completion)

        switch snapshot.engine.begin(attempt, memory: memory, now: now) {
        case .decided(let decision):
            // Nothing hangs on this record but the admin's curiosity: the answer need not wait for it.
            let record = question.record(decision, attempt, [])
            if let record { store.submit(StoreTransaction(needs: Needs(), decide: { _ in (decision, record) }, completion: { _ in })) }
            question.finish(decision, record)

        case .needs(let inquiry):
            store.submit(
                StoreTransaction(
                    needs: inquiry.needs, decide: { question.conclude(inquiry, $0) }, completion: { question.committed(inquiry, $0) }))
        }
    }

    /// One question on its way through the store.
    private final class Question: Sendable {
        private let service: DecisionService
        private let snapshot: Snapshot
        private let reference: Reference
        private let now: WallTime
        private let wall: WallTime
        private let listener: String
        private let completion: @Sendable (Outcome) -> Void

        init(
            service: DecisionService, snapshot: Snapshot, reference: Reference, now: WallTime, wall: WallTime, listener: String,
            completion: @escaping @Sendable (Outcome) -> Void
        ) {
            self.service = service
            self.snapshot = snapshot
            self.reference = reference
            self.now = now
            self.wall = wall
            self.listener = listener
            self.completion = completion
        }

        func conclude(_ inquiry: Engine.Inquiry, _ evidence: Evidence) -> (Decision, DecisionRecord?) {
            let decision = snapshot.engine.conclude(inquiry, evidence: evidence, now: now)
            return (decision, record(decision, inquiry.attempt, inquiry.needs.triplets))
        }

        func committed(_ inquiry: Engine.Inquiry, _ result: Result<(Decision, DecisionRecord?), StoreFailure>) {
            switch result {
            case .success((let decision, let record)):
                finish(decision, record)
            case .failure(let failure):
                service.counters.storeFailed(failure)
                let decision = snapshot.engine.failOpen(inquiry)
                finish(decision, record(decision, inquiry.attempt, []))
            }
        }

        /// What is kept of a decision; `nil` for a stage at which nothing is checked.
        func record(_ decision: Decision, _ attempt: Attempt, _ triplets: [TripletKey]) -> DecisionRecord? {
            guard decision.verdict.causes.first != .stageHasNoCheck else { return nil }
            var verdict = decision.verdict
            // People read wall time.
            verdict.passesAt = verdict.passesAt.map { wall + ($0 - now) }
            return DecisionRecord(
                reference: reference, time: wall, listener: listener, attempt: attempt, verdict: verdict, triplets: triplets)
        }

        func finish(_ decision: Decision, _ record: DecisionRecord?) {
            if let record {
                service.counters.decided(decision.verdict)
                service.log.write(record)
            }
            completion(Outcome(decision: decision, reference: reference, settings: snapshot.engine.settings, now: now))
        }
    }
}

/// Sentences of replies, shared by every front. They reach a sender's admin, and sometimes the sender.
enum ReplyText {
    /// Says when to come back.
    static func deferral(_ verdict: Verdict, now: WallTime, hostname: String, reference: Reference) -> String {
        let wait = max((verdict.passesAt ?? now) - now, .seconds(1))
        return "Greylisted: please come back in \(wait.secondsRoundedUp) seconds or later (\(hostname) \(reference))"
    }

    static func refusal(hostname: String, reference: Reference) -> String {
        "Refused by local policy; write to postmaster here about it (\(hostname) \(reference))"
    }
}

import NIOConcurrencyHelpers
import PosternCore
import PosternEngine

/// The way from an attempt to a decision that is committed: engine, store, record, log, counters. One for all fronts.
public final class DecisionService: Sendable {
    private struct State {
        var engine: Engine
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
        state = NIOLockedValueBox(State(engine: engine))
        self.store = store
        self.clock = clock
        self.log = log
        self.counters = counters
    }

    public var engine: Engine { state.withLockedValue { $0.engine } }

    /// From here on decisions are made with these settings and lists.
    public func update(_ change: (inout Engine) -> Void) {
        state.withLockedValue { change(&$0.engine) }
    }

    /// Decides. `memory` is what the front remembers of this message; the decision says what to remember from now on.
    /// `completion` is called once: at once, or on the store's thread after the decision is committed; it must not block.
    public func decide(
        _ attempt: Attempt, memory: MessageMemory = MessageMemory(), listener: String, completion: @escaping @Sendable (Outcome) -> Void
    ) {
        let (now, wall) = clock.now()
        let (engine, counter) = state.withLockedValue { state in
            state.counter &+= 1
            return (state.engine, state.counter)
        }
        let reference = Reference(time: wall, counter: counter)

        @Sendable func record(_ decision: Decision, _ triplets: [TripletKey]) -> DecisionRecord? {
            guard decision.verdict.causes.first != .stageHasNoCheck else { return nil }
            var verdict = decision.verdict
            // People read wall time.
            verdict.passesAt = verdict.passesAt.map { wall + ($0 - now) }
            return DecisionRecord(
                reference: reference, time: wall, listener: listener, attempt: attempt, verdict: verdict, triplets: triplets)
        }
        @Sendable func finish(_ decision: Decision, _ record: DecisionRecord?) {
            if let record {
                counters.decided(decision.verdict)
                log.write(record)
            }
            completion(Outcome(decision: decision, reference: reference, settings: engine.settings, now: now))
        }

        switch engine.begin(attempt, memory: memory, now: now) {
        case .decided(let decision):
            // Nothing hangs on this record but the admin's curiosity: the answer need not wait for it.
            let record = record(decision, [])
            if let record { store.submit(StoreTransaction(needs: Needs(), decide: { _ in (decision, record) }, completion: { _ in })) }
            finish(decision, record)

        case .needs(let inquiry):
            store.submit(
                StoreTransaction(
                    needs: inquiry.needs,
                    decide: { evidence in
                        let decision = engine.conclude(inquiry, evidence: evidence, now: now)
                        return (decision, record(decision, inquiry.needs.triplets))
                    },
                    completion: { [counters] result in
                        switch result {
                        case .success((let decision, let record)):
                            finish(decision, record)
                        case .failure(let failure):
                            counters.storeFailed(failure)
                            let decision = engine.failOpen(inquiry)
                            finish(decision, record(decision, []))
                        }
                    }))
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

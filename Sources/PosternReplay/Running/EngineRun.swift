import PosternCore
import PosternEngine

/// All that a replay has to do with the engine: an attempt goes in with its evidence, a ruling comes out, and what the engine
/// wants remembered is remembered.
struct EngineRun {
    struct Ruling {
        enum Action: Equatable {
            case pass
            /// Passes, and the answer is held back for so long.
            case hold(WallTime.Span)
            case `defer`
            case refuse
        }

        var action: Action
        /// The deciding one first.
        var causes: [Cause]
        /// What the greylist was asked by, the most telling identity first; `nil` where it was not asked.
        var triplet: TripletKey?
    }

    let engine: Engine
    /// Whether Postern speaks with the clients itself.
    private let isConversation: Bool
    private(set) var memory = ReplayMemory()
    /// The message that was last asked about, and what its front remembers of it.
    private var message: UInt64 = 0
    private var messageMemory = MessageMemory()

    /// A greylist in shadow mode is replayed as if it were on: what it would do is what is asked for.
    init(engine: Engine, isConversation: Bool) {
        var engine = engine
        if engine.settings.greylist.mode == .shadow { engine.settings.greylist.mode = .on }
        self.engine = engine
        self.isConversation = isConversation
    }

    var greylist: GreylistSettings { engine.settings.greylist }

    /// Decides at a time that never goes back. Questions about one message follow each other.
    mutating func decide(_ logged: LoggedAttempt, client: Client, findings: Findings, now: WallTime) -> Ruling {
        if logged.message == 0 || logged.message != message {
            message = logged.message
            messageMemory = MessageMemory()
        }
        var attempt = Attempt(
            stage: .rcpt, client: client, sender: logged.sender, recipient: logged.recipient, account: logged.account, size: logged.bytes)
        attempt.isConversation = isConversation
        if isConversation { attempt.signals = logged.evidence.signals }

        // Who talks before the greeting is sent away there.
        if isConversation, attempt.signals[.earlyTalk] != nil {
            var greeting = attempt
            greeting.stage = .connect
            greeting.recipient = nil
            if case .decided(let decision) = engine.begin(greeting, now: now), decision.verdict.action == .drop {
                return Ruling(action: .refuse, causes: decision.verdict.causes)
            }
        }
        var (decision, triplet) = decide(attempt, findings, now: now)
        // The null sender is judged in reply to DATA.
        if attempt.sender == .null, decision.verdict.leavesNullSenderToData {
            messageMemory = decision.memory
            attempt.stage = .data
            attempt.recipientCount = 1
            (decision, triplet) = decide(attempt, findings, now: now)
        }
        messageMemory = decision.memory
        // What has passed is taken to have been taken.
        if !messageMemory.countsFor.isEmpty {
            var changes = Changes()
            changes.identities = engine.counted(
                messageMemory.countsFor, evidence: memory.evidence(Needs(identities: messageMemory.countsFor)), now: now)
            memory.apply(changes, now: now)
            messageMemory.countsFor = []
        }
        return Ruling(action: action(decision.verdict.action), causes: decision.verdict.causes, triplet: triplet)
    }

    /// The order of the daemon: whoever is known is not judged; for all others what look-ups found counts.
    private mutating func decide(_ attempt: Attempt, _ findings: Findings, now: WallTime) -> (Decision, TripletKey?) {
        switch engine.begin(attempt, memory: messageMemory, now: now) {
        case .decided(let decision):
            memory.apply(decision.changes, now: now)
            return (decision, nil)
        case .needs(var inquiry):
            var decision: Decision?
            if engine.wantsFindings(inquiry) {
                decision = engine.recognise(inquiry, evidence: memory.evidence(inquiry.needs), now: now)
                if decision == nil { inquiry = engine.inform(inquiry, with: findings) }
            }
            let final = decision ?? engine.conclude(inquiry, evidence: memory.evidence(inquiry.needs), now: now)
            memory.apply(final.changes, now: now)
            return (final, inquiry.isSpared ? nil : inquiry.needs.triplets.first)
        }
    }

    private func action(_ action: Verdict.Action) -> Ruling.Action {
        switch action {
        case .accept: .pass
        case .hold(let span): isConversation ? .hold(span) : .pass
        case .defer: .defer
        case .reject, .drop: .refuse
        // A policy service lets pass whom it cannot hold.
        case .tarpit: isConversation ? .refuse : .pass
        }
    }

    /// Counts a message that passed by a triplet.
    mutating func passed(_ triplet: TripletKey, wasDelayed: Bool) -> (mails: UInt32, delayedMails: UInt32)? {
        memory.passed(triplet, wasDelayed: wasDelayed)
    }
}

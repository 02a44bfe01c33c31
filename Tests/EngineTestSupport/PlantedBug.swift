import PosternCore
import PosternEngine

/// A mistake that an engine, a store or a runtime could make, planted through a seam around the right one: to show that
/// the property test would find it.
public enum PlantedBug: String, CaseIterable, Sendable {
    case earlyRetryResetsTheClock
    case earlyRetryLengthensTheDelay
    case onlyTheFirstIdentityIsRecorded
    case rowsLeakBetweenRecipients
    case windowIsNotEnforced
    case lifetimeIsNotRenewed
    case provenCountsRecipientsNotMessages
    case answersBeforeTheCommit
    case rawWallClock
    case restartForgetsTheClock
    case expiryTakesLiveRows
    case bouncePassesWithItsFirstRecipient
    case sendersAreNotNormalised
    case headerOnEveryRecipient
    case shadowRecordsNothing
    case promiseCountsFromNow

    /// Of the memory of a message, before it is used.
    func memory(_ memory: MessageMemory) -> MessageMemory {
        var memory = memory
        switch self {
        case .provenCountsRecipientsNotMessages: memory.counted = false
        case .headerOnEveryRecipient: memory.headerGiven = false
        default: break
        }
        return memory
    }

    /// Of a key, on its way to the store.
    func key(_ key: TripletKey, of attempt: Attempt) -> TripletKey {
        var key = key
        switch self {
        case .rowsLeakBetweenRecipients: key.recipient = ""
        case .sendersAreNotNormalised: key.sender = attempt.sender.description.lowercasedASCII
        default: break
        }
        return key
    }

    /// Of what the store found.
    func evidence(_ evidence: Evidence, for needs: Needs, settings: GreylistSettings, now: WallTime) -> Evidence {
        var evidence = evidence
        switch self {
        case .windowIsNotEnforced:
            for index in evidence.triplets.indices {
                guard let row = evidence.triplets[index], row.passedAt == nil, now - row.firstSeen >= settings.window else { continue }
                evidence.triplets[index]?.firstSeen = now - settings.delay
            }
        case .bouncePassesWithItsFirstRecipient:
            let identities = needs.identities.count
            for index in evidence.triplets.indices where identities > 0 { evidence.triplets[index] = evidence.triplets[index % identities] }
        default: break
        }
        return evidence
    }

    /// Of a decision, before it is committed.
    func decision(_ decision: Decision, needs: Needs, settings: GreylistSettings, now: WallTime) -> Decision {
        var decision = decision
        let isEarly = decision.verdict.causes.contains { if case .greylistEarly = $0 { true } else { false } }
        switch self {
        case .earlyRetryResetsTheClock where isEarly:
            for index in decision.changes.triplets.indices { decision.changes.triplets[index].row.firstSeen = now }
        case .earlyRetryLengthensTheDelay where isEarly:
            for index in decision.changes.triplets.indices {
                let first = decision.changes.triplets[index].row.firstSeen
                decision.changes.triplets[index].row.firstSeen = first + .milliseconds((now - first).milliseconds / 2)
            }
        case .onlyTheFirstIdentityIsRecorded:
            decision.changes.triplets.removeAll { $0.key.identity != needs.identities.first }
        case .lifetimeIsNotRenewed:
            for index in decision.changes.triplets.indices {
                guard let passed = decision.changes.triplets[index].row.passedAt else { continue }
                decision.changes.triplets[index].row.lastSeen = passed
                decision.changes.triplets[index].row.expires = passed + settings.lifetime
            }
        case .shadowRecordsNothing where settings.mode == .shadow:
            decision.changes = Changes()
        case .promiseCountsFromNow where isEarly && decision.verdict.passesAt != nil:
            decision.verdict.passesAt = now + settings.delay
        default: break
        }
        return decision
    }
}

import PosternCore
import PosternEngine

extension StoredDecision {
    /// A record in words, as every store keeps it.
    init(_ record: DecisionRecord) {
        let attempt = record.attempt
        self.init(
            reference: record.reference, time: record.time, listener: record.listener, stage: attempt.stage.rawValue,
            address: attempt.client.address?.description ?? "", name: attempt.client.confirmedName?.text ?? "", helo: attempt.client.helo,
            sender: attempt.sender.description, recipient: Self.recipient(record), account: attempt.account ?? "",
            action: record.verdict.action.name, reason: record.verdict.causes.map(\.description).joined(separator: "; "),
            passesAt: record.verdict.passesAt)
    }

    /// Where the question names no recipient, as at DATA, those that the decision was about.
    private static func recipient(_ record: DecisionRecord) -> String {
        if let recipient = record.attempt.recipient { return recipient.description }
        var recipients: [String] = []
        for triplet in record.triplets where triplet.recipient != "*" && !recipients.contains(triplet.recipient) {
            recipients.append(triplet.recipient)
        }
        return recipients.joined(separator: ", ")
    }
}

extension DecisionRecord {
    /// The decision's triplet keys by sender and recipient: the keys of a group are one triplet under several identities,
    /// and what is known under one of them is known of all.
    func tripletGroups<Key>(_ key: (TripletKey) -> Key) -> [[Key]] {
        var groups: [(sender: String, recipient: String, keys: [Key])] = []
        for triplet in triplets {
            // The engine lists a recipient's identities one after another.
            if let last = groups.indices.last, groups[last].sender == triplet.sender, groups[last].recipient == triplet.recipient {
                groups[last].keys.append(key(triplet))
            } else {
                groups.append((triplet.sender, triplet.recipient, [key(triplet)]))
            }
        }
        return groups.map(\.keys)
    }
}

/// Finds what still waits among deferring decisions that it is shown newest first.
struct WaitingSearch<Key: Hashable> {
    private let now: WallTime
    private let limit: Int
    private var seen: Set<Key> = []
    private(set) var found: [WaitingTriplet] = []

    init(now: WallTime, limit: Int) {
        self.now = now
        self.limit = limit
    }

    var isFull: Bool { found.count >= limit }

    /// Takes the decision if it is the newest of a triplet that waits: one with a live row that has not passed, and none
    /// that has.
    mutating func consider(_ decision: StoredDecision, groups: [[Key]], row: (Key) -> TripletRow?) {
        guard !isFull else { return }
        var waiting: TripletRow?
        for group in groups {
            let isNewest = !group.contains(where: seen.contains)
            seen.formUnion(group)
            guard isNewest, waiting == nil else { continue }
            let rows = group.compactMap(row).filter { now < $0.expires }
            if rows.allSatisfy({ $0.passedAt == nil }) { waiting = rows.first }
        }
        if let waiting { found.append(WaitingTriplet(record: decision, row: waiting)) }
    }
}

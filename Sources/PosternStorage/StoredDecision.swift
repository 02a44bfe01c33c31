import PosternCore
import PosternEngine

extension StoredDecision {
    /// The texts of a decision, in the order of the table's columns.
    enum Column: CaseIterable {
        case action, address, sender, recipient, name, helo, account, listener, stage, reason
    }

    /// A record in words, as every store keeps it.
    init(_ record: DecisionRecord) {
        func text(_ column: Column) -> String {
            var octets = OctetWriter(capacity: 64)
            record.append(column, to: &octets)
            return String(decoding: octets.octets, as: UTF8.self)
        }
        self.init(
            reference: record.reference, time: record.time, listener: text(.listener), stage: text(.stage), address: text(.address),
            name: text(.name), helo: text(.helo), sender: text(.sender), recipient: text(.recipient), account: text(.account),
            action: text(.action), reason: text(.reason), passesAt: record.verdict.passesAt)
    }
}

extension DecisionRecord {
    /// Appends the text of a column as UTF-8; nothing where it is not known.
    func append(_ column: StoredDecision.Column, to octets: inout OctetWriter) {
        switch column {
        case .action: octets.append(text: verdict.action.name)
        case .address: if let address = attempt.client.address { octets.append(text: address.description) }
        case .sender: if case .mailbox(let mailbox) = attempt.sender { octets.append(mailbox) }
        case .recipient: appendRecipients(to: &octets)
        case .name: if let name = attempt.client.confirmedName { octets.append(text: name.text) }
        case .helo: octets.append(text: attempt.client.helo)
        case .account: if let account = attempt.account { octets.append(text: account) }
        case .listener: octets.append(text: listener)
        case .stage: octets.append(text: attempt.stage.rawValue)
        case .reason:
            for index in verdict.causes.indices {
                if index > 0 { octets.append(text: "; ") }
                octets.append(text: verdict.causes[index].description)
            }
        }
    }

    /// Where the question names no recipient, as at DATA, those that the decision was about.
    private func appendRecipients(to octets: inout OctetWriter) {
        if let recipient = attempt.recipient { return octets.append(recipient) }
        var seen: [String] = []
        for triplet in triplets where triplet.recipient != "*" && !seen.contains(triplet.recipient) {
            if !seen.isEmpty { octets.append(text: ", ") }
            octets.append(text: triplet.recipient)
            seen.append(triplet.recipient)
        }
    }

    /// Appends the keys in groups, as `TripletGroups` reads them. `key` tells the key of the triplet at a place.
    func appendTripletGroups(to octets: inout OctetWriter, key: (Int) -> Int64) {
        var start = 0
        while start < triplets.count {
            var end = start + 1
            while end < triplets.count, triplets[start].isSameMail(as: triplets[end]) { end += 1 }
            let kept = start..<min(end, start + TripletGroups.maximumKeys)
            octets.append(octet: UInt8(kept.count))
            for index in kept { octets.append(number: key(index)) }
            start = end
        }
    }
}

extension TripletKey {
    /// Whether both are one triplet under two identities.
    fileprivate func isSameMail(as other: TripletKey) -> Bool { recipient == other.recipient && sender == other.sender }
}

extension OctetWriter {
    fileprivate mutating func append(_ mailbox: Mailbox) {
        append(text: mailbox.canonicalLocalPart)
        guard !mailbox.domain.isEmpty else { return }
        append(octet: UInt8(ascii: "@"))
        append(text: mailbox.domain)
    }
}

extension DecisionRecord {
    /// The decision's triplet keys by sender and recipient: the keys of a group are one triplet under several identities,
    /// and what is known under one of them is known of all.
    func tripletGroups<Key>(_ key: (TripletKey) -> Key) -> [[Key]] {
        var groups: [(first: TripletKey, keys: [Key])] = []
        for triplet in triplets {
            // The engine lists a recipient's identities one after another.
            if let last = groups.indices.last, groups[last].first.isSameMail(as: triplet) {
                groups[last].keys.append(key(triplet))
            } else {
                groups.append((triplet, [key(triplet)]))
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

    /// Takes the decision if it is the newest of a triplet that waits: one with a live row that does, and none that has passed.
    mutating func consider(_ decision: StoredDecision, groups: [[Key]], row: (Key) -> TripletRow?) {
        guard !isFull else { return }
        var waiting: TripletRow?
        for group in groups {
            let isNewest = !group.contains(where: seen.contains)
            seen.formUnion(group)
            guard isNewest, waiting == nil else { continue }
            let rows = group.compactMap(row).filter { now < $0.expires }
            if rows.allSatisfy(\.isWaiting) { waiting = rows.first }
        }
        if let waiting { found.append(WaitingTriplet(record: decision, row: waiting)) }
    }
}

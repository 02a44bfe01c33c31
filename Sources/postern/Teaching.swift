import PosternControl
import PosternCore
import PosternEngine

// What imports hand to the store, in as many requests as it takes.

extension CommonOptions {
    /// How many of an import's entries were taken, and how many are known.
    ///
    /// - Parameter isTrial: only tells what would be taken.
    func takeOver(_ drafts: [EntryDraft], isTrial: Bool) async throws -> (entries: Int, known: Int) {
        var sum = (entries: 0, known: 0)
        guard !drafts.isEmpty else { return sum }
        try await withStore(for: isTrial ? .reading : .writing) { access in
            var progress = StepProgress(drafts.count, "entries")
            defer { progress.end() }
            let batches = drafts.batches
            for (index, batch) in batches.enumerated() {
                // All come into force with the last.
                let reply = try await access.send(.takeOver(entries: batch, more: index < batches.count - 1, isTrial: isTrial))
                guard case .tookOver(let entries, let known) = reply else { throw unexpected(reply) }
                sum.entries += entries
                sum.known += known
                progress.advance(by: batch.count)
            }
        }
        return sum
    }

    /// What of the lessons was learnt: the rest was too old, or known already. What is said twice counts once.
    ///
    /// - Parameter isTrial: only tells what would be learnt.
    func teach(
        _ triplets: [Lessons.Triplet], _ clients: [Lessons.Client], _ correspondents: [Lessons.Correspondent] = [], isTrial: Bool
    ) async throws -> LessonReport {
        let lessons =
            Lessons.Triplet.together(triplets).batches.map { Lessons(triplets: $0) }
            + Lessons.Client.together(clients).batches.map { Lessons(clients: $0) }
            + correspondents.batches.map { Lessons(correspondents: $0) }
        var sum = LessonReport()
        guard !lessons.isEmpty else { return sum }
        try await withStore(for: isTrial ? .reading : .writing) { access in
            var progress = StepProgress(lessons.count, "parts")
            defer { progress.end() }
            for lesson in lessons {
                let reply = try await access.send(isTrial ? .tryToLearn(lesson) : .learn(lesson))
                guard case .learnt(let part) = reply else { throw unexpected(reply) }
                sum.triplets += part.triplets
                sum.clients += part.clients
                sum.correspondents += part.correspondents
                sum.skipped += part.skipped
                sum.known += part.known
                progress.advance()
            }
        }
        return sum
    }
}

extension Array {
    /// In pieces that one request takes.
    fileprivate var batches: [[Element]] {
        stride(from: 0, to: count, by: ControlRequest.maximumBatch).map {
            Array(self[$0..<Swift.min($0 + ControlRequest.maximumBatch, count)])
        }
    }
}

extension Array {
    /// Each thing once, where its key first stood, with what all that is said of it comes to.
    fileprivate func together<Key: Hashable>(by key: (Element) -> Key, _ join: (inout Element, Element) -> Void) -> [Element] {
        var places: [Key: Int] = [:]
        var together: [Element] = []
        for element in self {
            let key = key(element)
            if let place = places[key] {
                join(&together[place], element)
            } else {
                places[key] = together.count
                together.append(element)
            }
        }
        return together
    }
}

extension Lessons.Triplet {
    private struct Key: Hashable {
        var address: String
        var name: String?
        var sender: String
        var recipient: String
    }

    /// Each triplet once.
    fileprivate static func together(_ all: [Self]) -> [Self] {
        all.together(by: { triplet in
            Key(
                address: triplet.address, name: triplet.name, sender: ReversePath(triplet.sender).normalised,
                recipient: Mailbox(triplet.recipient)?.folded ?? "")
        }) { known, triplet in
            known.firstSeen = min(known.firstSeen, triplet.firstSeen)
            known.lastSeen = max(known.lastSeen, triplet.lastSeen)
            known.passed = known.passed || triplet.passed
        }
    }
}

extension Lessons.Client {
    private struct Key: Hashable {
        var address: String
        var name: String?
    }

    /// Each client once, with the larger of its counts.
    fileprivate static func together(_ all: [Self]) -> [Self] {
        all.together(by: { Key(address: $0.address, name: $0.name) }) { known, client in
            known.passes = max(known.passes, client.passes)
            known.lastSeen = max(known.lastSeen, client.lastSeen)
        }
    }
}

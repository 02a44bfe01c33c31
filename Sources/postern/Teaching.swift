import PosternControl

// What imports hand to the store, in as many requests as it takes.

extension CommonOptions {
    func add(_ drafts: [EntryDraft]) async throws {
        guard !drafts.isEmpty else { return }
        try await withStore(for: .writing) { access in
            var progress = StepProgress(drafts.count, "entries")
            defer { progress.end() }
            let batches = drafts.batches
            for (index, batch) in batches.enumerated() {
                // All come into force with the last.
                _ = try await access.send(.add(entries: batch, more: index < batches.count - 1))
                progress.advance(by: batch.count)
            }
        }
    }

    /// What of the lessons was learnt: the rest was too old.
    func teach(
        _ triplets: [Lessons.Triplet], _ clients: [Lessons.Client], _ correspondents: [Lessons.Correspondent] = []
    ) async throws -> LessonReport {
        let lessons =
            triplets.batches.map { Lessons(triplets: $0) } + clients.batches.map { Lessons(clients: $0) }
            + correspondents.batches.map { Lessons(correspondents: $0) }
        var sum = LessonReport()
        guard !lessons.isEmpty else { return sum }
        try await withStore(for: .writing) { access in
            var progress = StepProgress(lessons.count, "parts")
            defer { progress.end() }
            for lesson in lessons {
                let reply = try await access.send(.learn(lesson))
                guard case .learnt(let part) = reply else { throw unexpected(reply) }
                sum.triplets += part.triplets
                sum.clients += part.clients
                sum.correspondents += part.correspondents
                sum.skipped += part.skipped
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

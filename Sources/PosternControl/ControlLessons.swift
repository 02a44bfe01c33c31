import PosternCore
import PosternEngine

// Takes over what another greylister had learnt, or what a mail server's log tells.

extension ControlHandler {
    /// Merges with what is there: of a triplet the earliest attempt and any pass, of a client the larger count.
    func learn(_ lessons: Lessons) async throws(ControlFailure) -> LessonReport {
        guard lessons.triplets.count + lessons.clients.count + lessons.correspondents.count <= ControlRequest.maximumBatch else {
            throw ControlFailure(.badData, "at most \(ControlRequest.maximumBatch) rows can be learnt at once")
        }
        let engine = state.engine()
        let settings = engine.settings.greylist
        let now = state.now().steady
        var report = LessonReport()
        // The last of two rows for one key would undo the first, so rows are merged before they are written.
        var triplets: [TripletKey: TripletRow] = [:]
        var clients: [Identity: IdentityRow] = [:]
        for lesson in lessons.triplets {
            guard let address = IPAddress(lesson.address), let row = TripletRow(lesson, settings: settings, now: now),
                !lesson.recipient.isEmpty
            else {
                report.skipped += 1
                continue
            }
            let sender = ReversePath(lesson.sender).normalised
            let recipient = lesson.recipient.foldedMailbox
            for identity in engine.identities(of: Client(address: address, confirmedName: DomainName(lesson.name ?? ""))) {
                let key = TripletKey(identity: identity, sender: sender, recipient: recipient)
                triplets[key] = triplets[key].map { $0.merged(with: row) } ?? row
            }
            report.triplets += 1
        }
        for lesson in lessons.clients {
            let seen = min(WallTime(seconds: lesson.lastSeen.clampedToTime), now)
            guard let address = IPAddress(lesson.address), lesson.passes > 0, seen + settings.lifetime > now else {
                report.skipped += 1
                continue
            }
            let client = Client(address: address, confirmedName: DomainName(lesson.name ?? ""))
            guard engine.mayBeProven(client) else {
                report.skipped += 1
                continue
            }
            let row = IdentityRow(passes: lesson.passes, lastSeen: seen, expires: seen + settings.lifetime)
            for identity in engine.identities(of: client) {
                clients[identity] = clients[identity].map { $0.merged(with: row) } ?? row
            }
            report.clients += 1
        }
        for lesson in lessons.correspondents {
            let seen = min(WallTime(seconds: lesson.lastWritten.clampedToTime), now)
            guard let correspondent = Mailbox(lesson.correspondent), let user = Mailbox(lesson.user), seen + settings.lifetime > now,
                let identity = engine.spfIdentity(of: correspondent)
            else {
                report.skipped += 1
                continue
            }
            // As when the user wrote to them: their answer is known before it comes, from whoever SPF says may send it.
            let key = TripletKey(identity: identity, sender: ReversePath.mailbox(correspondent).normalised, recipient: user.folded)
            let row = TripletRow(
                firstSeen: seen, lastSeen: seen, passedAt: seen, deferrals: 0, passes: 0, expires: seen + settings.lifetime)
            triplets[key] = triplets[key].map { $0.merged(with: row) } ?? row
            report.correspondents += 1
        }
        guard !triplets.isEmpty || !clients.isEmpty else { return report }
        try await commit(triplets, clients, now: now)
        return report
    }

    private func commit(_ triplets: [TripletKey: TripletRow], _ clients: [Identity: IdentityRow], now: WallTime)
        async throws(ControlFailure)
    {
        let keys = Array(triplets.keys)
        let identities = Array(clients.keys)
        let store = store
        let result: Result<Void, StoreFailure> = await withCheckedContinuation { continuation in
            store.submit(
                BlockTransaction(
                    needs: Needs(triplets: keys, identities: identities),
                    decide: { evidence in
                        var changes = Changes()
                        changes.triplets = zip(keys, evidence.triplets).compactMap { key, old in
                            triplets[key].map { row in
                                .init(key: key, row: old.flatMap { $0.expires > now ? $0.merged(with: row) : nil } ?? row)
                            }
                        }
                        changes.identities = zip(identities, evidence.identities).compactMap { identity, old in
                            clients[identity].map { row in
                                .init(identity: identity, row: old.flatMap { $0.expires > now ? $0.merged(with: row) : nil } ?? row)
                            }
                        }
                        return (Decision(verdict: Verdict(.accept, [.greylistKnown]), changes: changes), nil)
                    },
                    completion: { continuation.resume(returning: $0.map { _ in () }) }))
        }
        if case .failure(let failure) = result { throw ControlFailure(failure) }
    }
}

extension TripletRow {
    /// `nil` for what has expired, by our own window and lifetime.
    init?(_ lesson: Lessons.Triplet, settings: GreylistSettings, now: WallTime) {
        let last = min(WallTime(seconds: lesson.lastSeen.clampedToTime), now)
        let first = min(WallTime(seconds: lesson.firstSeen.clampedToTime), last)
        let expires = lesson.passed ? last + settings.lifetime : first + settings.window
        guard expires > now else { return nil }
        self.init(
            firstSeen: first, lastSeen: last, passedAt: lesson.passed ? last : nil, deferrals: 1, passes: lesson.passed ? 1 : 0,
            expires: expires)
    }

    fileprivate func merged(with other: TripletRow) -> TripletRow {
        var row = self
        row.firstSeen = min(firstSeen, other.firstSeen)
        row.lastSeen = max(lastSeen, other.lastSeen)
        row.passedAt = [passedAt, other.passedAt].compactMap { $0 }.min()
        row.deferrals = max(deferrals, other.deferrals)
        row.passes = max(passes, other.passes)
        row.expires = max(expires, other.expires)
        return row
    }
}

extension IdentityRow {
    fileprivate func merged(with other: IdentityRow) -> IdentityRow {
        IdentityRow(passes: max(passes, other.passes), lastSeen: max(lastSeen, other.lastSeen), expires: max(expires, other.expires))
    }
}

extension Int64 {
    /// Seconds that fit a time in milliseconds with room to add to: years 1970 to about 5000.
    fileprivate var clampedToTime: Int64 { Swift.min(Swift.max(self, 0), 100_000_000_000) }
}

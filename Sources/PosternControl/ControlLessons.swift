import PosternCore
import PosternEngine

// Takes over what another greylister had learnt, or what a mail server's log tells.

extension ControlHandler {
    /// Merges with what is there: of a triplet the earliest attempt and any pass, of a client the larger count.
    ///
    /// - Parameter isTrial: only tells what would be learnt.
    func learn(_ lessons: Lessons, isTrial: Bool = false) async throws(ControlFailure) -> LessonReport {
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
        // Of each lesson the keys that it is about: it is new where the rows of any of them change.
        var tripletsTaught: [[TripletKey]] = []
        var clientsTaught: [[Identity]] = []
        var correspondentsTaught: [TripletKey] = []
        for lesson in lessons.triplets {
            guard let address = IPAddress(lesson.address), let row = TripletRow(lesson, settings: settings, now: now),
                let recipient = Mailbox(lesson.recipient)?.folded
            else {
                report.skipped += 1
                continue
            }
            let sender = ReversePath(lesson.sender).normalised
            let identities = engine.identities(of: Client(address: address, confirmedName: DomainName(lesson.name ?? "")))
            let keys = identities.map { TripletKey(identity: $0, sender: sender, recipient: recipient) }
            for key in keys { triplets[key] = triplets[key].map { $0.merged(with: row) } ?? row }
            tripletsTaught.append(keys)
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
            let identities = engine.identities(of: client)
            for identity in identities { clients[identity] = clients[identity].map { $0.merged(with: row) } ?? row }
            clientsTaught.append(identities)
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
            correspondentsTaught.append(key)
        }
        guard !triplets.isEmpty || !clients.isEmpty else { return report }
        let lesson = Rows(triplets: triplets, identities: clients)
        let changes = try await isTrial ? wouldChange(lesson, now: now) : commit(lesson, now: now)
        let changedTriplets = Set(changes.triplets.map(\.key))
        let changedClients = Set(changes.identities.map(\.identity))
        report.triplets = tripletsTaught.count { $0.contains(where: changedTriplets.contains) }
        report.clients = clientsTaught.count { $0.contains(where: changedClients.contains) }
        report.correspondents = correspondentsTaught.count(where: changedTriplets.contains)
        report.known =
            tripletsTaught.count + clientsTaught.count + correspondentsTaught.count
            - (report.triplets + report.clients + report.correspondents)
        return report
    }

    /// Rows as a lesson has them.
    private struct Rows: Sendable {
        var triplets: [TripletKey: TripletRow]
        var identities: [Identity: IdentityRow]

        var needs: Needs { Needs(triplets: Array(triplets.keys), identities: Array(identities.keys)) }

        /// What they change of what is there.
        func changes(_ needs: Needs, _ evidence: Evidence, now: WallTime) -> Changes {
            var changes = Changes()
            changes.triplets = zip(needs.triplets, evidence.triplets).compactMap { key, old in
                guard let row = triplets[key] else { return nil }
                let merged = old.flatMap { $0.expires > now ? $0.merged(with: row) : nil } ?? row
                return merged == old ? nil : .init(key: key, row: merged)
            }
            changes.identities = zip(needs.identities, evidence.identities).compactMap { identity, old in
                guard let row = identities[identity] else { return nil }
                let merged = old.flatMap { $0.expires > now ? $0.merged(with: row) : nil } ?? row
                return merged == old ? nil : .init(identity: identity, row: merged)
            }
            return changes
        }
    }

    private func wouldChange(_ rows: Rows, now: WallTime) async throws(ControlFailure) -> Changes {
        let needs = rows.needs
        let evidence = try await stored { () async throws(StoreFailure) in try await store.read(needs) }
        return rows.changes(needs, evidence, now: now)
    }

    private func commit(_ rows: Rows, now: WallTime) async throws(ControlFailure) -> Changes {
        let needs = rows.needs
        let store = store
        let result: Result<Changes, StoreFailure> = await withCheckedContinuation { continuation in
            store.submit(
                BlockTransaction(
                    needs: needs,
                    decide: { evidence in
                        (Decision(verdict: Verdict(.accept, [.greylistKnown]), changes: rows.changes(needs, evidence, now: now)), nil)
                    },
                    completion: { continuation.resume(returning: $0.map(\.0.changes)) }))
        }
        do throws(StoreFailure) { return try result.get() } catch { throw ControlFailure(error) }
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

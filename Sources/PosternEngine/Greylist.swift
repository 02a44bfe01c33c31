import PosternCore

// Greylisting proper: blackout, retry window, lifetime and proven identities (Harris, "The Next Step in the Spam Control
// War: Greylisting", 2003; RFC 6647).

extension Engine {
    /// What greylisting alone says, and whether the client is known so well that nothing else need be asked.
    func greylist(_ inquiry: Inquiry, evidence: Evidence, now: WallTime) -> (decision: Decision, isRecognised: Bool) {
        if let decision = proven(inquiry, evidence: evidence, now: now) { return (decision, true) }

        var changes = Changes()
        var worst = Judgement.known
        var isRecent = true
        for places in inquiry.placesByRecipient {
            let rows = liveRows(evidence, places, now: now)
            isRecent = isRecent && rows.lastPass.map { now - $0 < settings.greylist.recheck } ?? false
            worst = max(worst, judge(rows.joined, now: now).judgement)
        }
        for places in inquiry.placesByRecipient {
            let judged = judge(liveRows(evidence, places, now: now).joined, now: now)
            // One recipient who must wait makes all wait, so nothing has passed then.
            guard judged.judgement.defers == worst.defers else { continue }
            // What one identity knows, all of them know from now on, so that the next attempt may come from any.
            for place in places {
                let old = evidence.triplets[place].flatMap { $0.isLive(settings.greylist, now: now) ? $0 : nil }
                guard needsWriting(old, judged.row) else { continue }
                changes.triplets.append(Changes.Triplet(key: inquiry.needs.triplets[place], row: judged.row))
            }
        }

        switch worst {
        case .known, .passed:
            var decision = Decision(verdict: Verdict(.accept, [.greylistKnown]), changes: changes, memory: inquiry.memory)
            count(inquiry, in: &decision, evidence: evidence, now: now)
            guard case .passed(let waited) = worst else { return (decision, isRecent) }
            decision.verdict.causes = [.greylistPassed(waited: waited)]
            if settings.greylist.header, !decision.memory.headerGiven {
                decision.verdict.header = "X-Greylist: delayed \(waited.secondsRoundedUp) seconds by postern at \(settings.hostname)"
                decision.memory.headerGiven = true
            }
            return (decision, false)
        case .early(let waited):
            return (
                Decision(
                    verdict: Verdict(.defer, [.greylistEarly(waited: waited)], passesAt: now + (settings.greylist.delay - waited)),
                    changes: changes, memory: inquiry.memory), false
            )
        case .new:
            return (
                Decision(
                    verdict: Verdict(.defer, [.greylistNew], passesAt: now + settings.greylist.delay), changes: changes,
                    memory: inquiry.memory), false
            )
        }
    }

    /// Lets a message pass that greylisting would defer, and remembers it as one that passed.
    func passAtOnce(_ inquiry: Inquiry, _ verdict: Verdict, evidence: Evidence, now: WallTime) -> Decision {
        var decision = Decision(verdict: verdict, memory: inquiry.memory)
        if let (_, waited) = endOfWait(of: inquiry.needs.triplets, evidence.triplets, now: now) {
            decision.verdict.causes.append(.waited(waited))
        }
        for (key, old) in zip(inquiry.needs.triplets, evidence.triplets) {
            var row =
                old.flatMap { $0.isLive(settings.greylist, now: now) ? $0 : nil }
                ?? TripletRow(firstSeen: now, lastSeen: now, deferrals: 0, passes: 0, expires: now)
            row.firstSeen = min(row.firstSeen, now)
            row.lastSeen = now
            row.passedAt = row.passedAt ?? now
            row.passes = row.passes.incrementedWithoutOverflow
            row.expires = now + settings.greylist.lifetime
            decision.changes.triplets.append(Changes.Triplet(key: key, row: row))
        }
        count(inquiry, in: &decision, evidence: evidence, now: now)
        return decision
    }

    /// What one triplet's rows say, ordered from the kindest to the harshest: a message with several recipients that
    /// cannot be answered one by one gets the harshest of their judgements.
    enum Judgement: Comparable {
        case known
        case passed(waited: WallTime.Span)
        /// Ordered by how long is still to wait.
        case early(waited: WallTime.Span)
        case new

        static func < (a: Judgement, b: Judgement) -> Bool {
            switch (a, b) {
            case (.passed(let a), .passed(let b)): a < b
            case (.early(let a), .early(let b)): a > b
            default: a.rank < b.rank
            }
        }

        var defers: Bool { rank >= 2 }

        private var rank: Int {
            switch self {
            case .known: 0
            case .passed: 1
            case .early: 2
            case .new: 3
            }
        }
    }

    /// What the live rows that a triplet has under its identities say together.
    private struct LiveRows {
        private(set) var joined: TripletRow?
        /// When one that has passed was last seen.
        private(set) var lastPass: WallTime?

        mutating func add(_ row: TripletRow) {
            if row.passedAt != nil { lastPass = max(lastPass ?? row.lastSeen, row.lastSeen) }
            guard var all = joined else {
                joined = row
                return
            }
            all.firstSeen = min(all.firstSeen, row.firstSeen)
            if let passed = row.passedAt { all.passedAt = min(all.passedAt ?? passed, passed) }
            all.deferrals = max(all.deferrals, row.deferrals)
            all.passes = max(all.passes, row.passes)
            joined = all
        }
    }

    private func liveRows(_ evidence: Evidence, _ places: Range<Int>, now: WallTime) -> LiveRows {
        var rows = LiveRows()
        for place in places {
            if let old = evidence.triplets[place], old.isLive(settings.greylist, now: now) { rows.add(old) }
        }
        return rows
    }

    /// The judgement on one triplet from what is known of it, and the row that follows.
    private func judge(_ known: TripletRow?, now: WallTime) -> (judgement: Judgement, row: TripletRow) {
        let settings = settings.greylist
        let isShadow = settings.mode == .shadow
        guard var row = known else {
            let row = TripletRow(firstSeen: now, lastSeen: now, deferrals: isShadow ? 0 : 1, passes: 0, expires: now + settings.window)
            return (.new, row)
        }
        // A row from the future can only come from a clock that was wrong when it was written: it counts as of now.
        row.firstSeen = min(row.firstSeen, now)
        row.lastSeen = now
        let waited = now - row.firstSeen
        if row.passedAt == nil, waited < settings.delay {
            // The clock started at the first attempt; coming back early neither restarts nor lengthens it.
            if !isShadow { row.deferrals = row.deferrals.incrementedWithoutOverflow }
            row.passes = 0
            row.expires = row.firstSeen + settings.window
            return (.early(waited: waited), row)
        }
        // What shadow alone has seen was never delayed: it has passed before.
        let isDelayed = row.passedAt == nil && (isShadow || row.deferrals > 0)
        let judgement = isDelayed ? Judgement.passed(waited: waited) : .known
        row.passedAt = row.passedAt ?? now
        row.passes = row.passes.incrementedWithoutOverflow
        row.expires = now + settings.lifetime
        return (judgement, row)
    }

    /// A row that says the same but for having been seen again is left alone until a hundredth of its lifetime has gone by.
    private func needsWriting(_ old: TripletRow?, _ new: TripletRow) -> Bool {
        guard let old, old.passedAt != nil, old.passedAt == new.passedAt, old.firstSeen == new.firstSeen else { return true }
        return new.passes <= 2 || isDue(old.lastSeen, new.lastSeen)
    }

    private func isDue(_ last: WallTime, _ now: WallTime) -> Bool {
        (now - last).milliseconds * 100 >= settings.greylist.lifetime.milliseconds
    }

    // MARK: - Proven identities

    private func proven(_ inquiry: Inquiry, evidence: Evidence, now: WallTime) -> Decision? {
        guard settings.greylist.provenAfter > 0, inquiry.mayBeProven else { return nil }
        for (identity, row) in zip(inquiry.needs.identities, evidence.identities) {
            guard let row, row.passes(within: settings.greylist.lifetime, now: now) >= settings.greylist.provenAfter else { continue }
            var decision = Decision(verdict: Verdict(.accept, [.proven(identity, messages: row.passes)]), memory: inquiry.memory)
            count(inquiry, in: &decision, evidence: evidence, now: now)
            if let (ended, waited) = endOfWait(of: inquiry.needs.triplets, evidence.triplets, now: now) {
                decision.changes.triplets = ended
                decision.verdict.causes.append(.waited(waited))
            }
            return decision
        }
        return nil
    }

    /// Counts a message that passes, once, for each of its identities, whichever of them let it pass: a client that is proven by its
    /// name stays proven by its network when the name cannot be looked up. A front that speaks with the client counts it when a
    /// backend has taken it, since until then the client may leave, and the backend refuse it.
    private func count(_ inquiry: Inquiry, in decision: inout Decision, evidence: Evidence, now: WallTime) {
        guard inquiry.mayBeProven, !decision.memory.counted else { return }
        let counts = counted(inquiry.needs.identities, evidence: evidence, now: now)
        if inquiry.attempt.isConversation {
            decision.memory.count(for: counts.map(\.identity))
        } else {
            decision.changes.identities = counts
            decision.memory.counted = true
        }
    }

    /// One more message for each of these identities. What is proven is only renewed, when that is due.
    public func counted(_ identities: [Identity], evidence: Evidence, now: WallTime) -> [Changes.IdentityCount] {
        guard let enough = settings.knownAfter else { return [] }
        let lifetime = settings.greylist.lifetime
        return zip(identities, evidence.identities).compactMap { identity, row in
            if let row, row.passes(within: lifetime, now: now) >= enough, !isDue(row.lastSeen, now) { return nil }
            return .init(identity: identity, row: IdentityRow(adding: 1, to: row, lifetime: lifetime, now: now))
        }
    }
}

extension Engine.Inquiry {
    /// Where the rows of each recipient stand, one for each identity.
    fileprivate var placesByRecipient: some Sequence<Range<Int>> {
        (0..<recipientCount).lazy.map { [count = needs.identities.count] in $0 * count..<($0 + 1) * count }
    }
}

extension UInt32 {
    fileprivate var incrementedWithoutOverflow: UInt32 { self == .max ? self : self + 1 }
}

extension TripletRow {
    func isLive(_ settings: GreylistSettings, now: WallTime) -> Bool {
        passedAt == nil ? now - firstSeen < settings.window : now - lastSeen < settings.lifetime
    }
}

import PosternCore

// Mail that was deferred, and whose retry passes for another reason than that it waited: released, allowed, opted out, proven or
// vouched for meanwhile. Its triplets wait no longer, for whoever looks at what does; that they came back in time is not learnt
// of it, so that greylisting goes on as if they had not been asked about.

extension Engine {
    /// The triplets that a verdict lets pass without a look at their rows; none where it could not have been deferred before.
    func overtaken(_ attempt: Attempt, by verdict: Verdict, recipients: [String]) -> [TripletKey] {
        guard verdict.action == .accept, attempt.account == nil, let address = attempt.client.address else { return [] }
        if case .alwaysReachable? = verdict.causes.first { return [] }
        let name = attempt.client.confirmedName
        let identities = Client.identities(
            address, Client.hasGenericName(name, address) ? nil : name, spfDomain: nil, widths: settings.greylist.widths, domains: domains)
        return attempt.triplets(identities, recipients)
    }

    /// What follows where triplets pass whatever their rows say: the rows that wait no longer, and since when the oldest of them did;
    /// `nil` where none waited.
    func endOfWait(of keys: [TripletKey], _ rows: [TripletRow?], now: WallTime) -> (changes: [Changes.Triplet], waited: WallTime.Span)? {
        guard rows.contains(where: { $0?.isWaiting == true }) else { return nil }
        var changes: [Changes.Triplet] = []
        var first: WallTime?
        var start = 0
        while start < keys.count, start < rows.count {
            // One triplet under several identities: what has passed under one of them does not wait.
            var end = start + 1
            while end < keys.count, end < rows.count, keys[end].recipient == keys[start].recipient { end += 1 }
            defer { start = end }
            guard !rows[start..<end].contains(where: { $0.map { !$0.isWaiting && $0.isLive(settings.greylist, now: now) } ?? false })
            else { continue }
            for place in start..<end {
                guard var row = rows[place], row.isWaiting, row.isLive(settings.greylist, now: now) else { continue }
                first = min(first ?? row.firstSeen, row.firstSeen)
                row.lastSeen = max(row.lastSeen, now)
                row.passes = 1
                changes.append(Changes.Triplet(key: keys[place], row: row))
            }
        }
        return first.map { (changes, max(now - $0, .zero)) }
    }

    /// A decision with what it changes for the triplets that it let pass, and with that they waited among its causes; `nil` where none
    /// of them did.
    ///
    /// - Parameter evidence: the rows of `decision.overtaken`, in its order.
    public func endOfWait(of decision: Decision, evidence: Evidence, now: WallTime) -> Decision? {
        guard let (changes, waited) = endOfWait(of: decision.overtaken, evidence.triplets, now: now) else { return nil }
        var decision = decision
        decision.changes.triplets += changes
        decision.verdict.causes.append(.waited(waited))
        return decision
    }

    /// The decision on a recipient that is not greylisted.
    func spare(_ inquiry: Inquiry, because cause: Cause, evidence: Evidence, now: WallTime) -> Decision {
        let decision = Decision(verdict: Verdict(.accept, [cause]), memory: inquiry.memory, overtaken: inquiry.needs.triplets)
        var spared = endOfWait(of: decision, evidence: evidence, now: now) ?? decision
        spared.overtaken = []
        return spared
    }
}

extension Attempt {
    /// Its triplets: of each recipient one under every identity, side by side.
    func triplets(_ identities: [Identity], _ recipients: some Collection<String>) -> [TripletKey] {
        let sender = sender.normalised
        return [TripletKey](unsafeUninitializedCapacity: recipients.count * identities.count) { keys, count in
            for recipient in recipients {
                for identity in identities {
                    keys.initializeElement(at: count, to: TripletKey(identity: identity, sender: sender, recipient: recipient))
                    count += 1
                }
            }
        }
    }
}

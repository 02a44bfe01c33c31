import Counting
import PosternCore

// What a stranger's counts mean for what it asks for.

extension LimitCounts {
    /// What a stranger's counts mean for it at connect: whether it is refused.
    public mutating func refusal(of subject: LimitSubject, at now: WallTime) -> Throttled? {
        guard let address = subject.address, let until = refused[CountKey(address)], now < until, let limit = attempts else { return nil }
        return Throttled(.refuse, limit, count: Double(limit.amount) * throttle.refuseAt, allowance: Double(limit.amount), until: until)
    }

    /// What a stranger's counts mean for the recipient that it asks for. Nobody is refused for the question: `refuse` does so once it
    /// is known that the client is not trusted.
    public mutating func assess(_ subject: LimitSubject, _ request: LimitRequest, at now: WallTime) -> Throttled? {
        if let refusal = refusal(of: subject, at: now) { return refusal }
        var worst: (rank: Int, ratio: Double, throttled: Throttled)?
        var passes = now
        for look in looks {
            guard let key = key(look.table, subject, request.recipientDomain) else { continue }
            var used = CountValues()
            kinds[Self.index(look.table)].table.counts(key, at: now, blocks: look.blocks, into: &used)
            for position in look.first..<look.end {
                let bearing = bearings[position]
                let asked = Self.asked(bearing.limit, request)
                let count = used[bearing.column] + asked
                // Whose neighbours are loud may do less.
                var allowance = bearing.kept
                if let block = bearing.block, used.block(bearing.column) > block {
                    allowance = self.allowance(bearing.kept, beside: block, bearing.column, key, at: now)
                }
                let ratio = count / allowance
                guard ratio > 1 else { continue }
                var throttled = graded(bearing.limit, count: count, allowance: allowance, at: now)
                // One message that alone is more would never pass: it does where its client is within the limit.
                let isAlone = Self.isWhole(bearing.limit, request) && asked > throttle.deferAt * allowance
                if isAlone, throttled.grade == .defer, used[bearing.column] <= allowance {
                    throttled.grade = .hold(throttle.hold)
                    throttled.until = now + throttle.hold
                }
                let rank =
                    switch throttled.grade {
                    case .hold: 0
                    case .defer: 1
                    case .refuse, .refuseAccount, .suspended: 2
                    }
                if throttled.grade == .defer {
                    let passing =
                        isAlone
                        ? self.passes(bearing.limit, key, bearing.column, asked: 0, allowance: allowance, at: now)
                        : self.passes(bearing.limit, key, bearing.column, asked: asked, allowance: throttle.deferAt * allowance, at: now)
                    passes = max(passes, passing)
                }
                if let worst, (rank, ratio) <= (worst.rank, worst.ratio) { continue }
                worst = (rank, ratio, throttled)
            }
        }
        // Only once it is past no limit any more.
        if worst?.throttled.grade == .defer { worst?.throttled.until = passes }
        return worst?.throttled
    }

    /// When a limit lets somebody pass again who asks for so much of it, if nothing more is done.
    mutating func passes(
        _ limit: Limit, _ key: CountKey, _ column: Int, asked: Double, allowance: Double, at now: WallTime
    ) -> WallTime {
        // What alone is more than that never would.
        guard asked <= allowance else { return now + limit.window }
        let falls = kinds[Self.index(Table(limit.key))].table.falls(key, column: column, to: allowance - asked, at: now)
        return max(falls ?? now, now + .seconds(1))
    }

    /// From now on a client is refused at connect.
    public mutating func refuse(_ address: IPAddress, until: WallTime, at now: WallTime) {
        let key = CountKey(address)
        if let known = refused.peek(key), now < known { return }
        refuse(key, until: until)
        if freshRefusals.count < Self.maximumRefused {
            freshRefusals.append((Prefix(address, length: address.family == .v4 ? 32 : 64), until))
        }
    }

    mutating func refuse(_ key: CountKey, until: WallTime?) {
        refused[key] = until
        // Beyond as many as are refused at most it is not known any more who comes first.
        if changedRefusals.count < Self.maximumRefused { changedRefusals.insert(key) }
    }

    /// Somebody is refused no more. False where it was not.
    mutating func admit(_ key: CountKey) -> Bool {
        guard refused.peek(key) != nil else { return false }
        refuse(key, until: nil)
        hasForgottenRefusal = true
        return true
    }

    /// What being past a limit means.
    func graded(_ limit: Limit, count: Double, allowance: Double, at now: WallTime) -> Throttled {
        let ratio = count / allowance
        // By its own doing alone, however loud its neighbours are.
        if limit.key == .address, limit.unit == .attempts, count > Double(limit.kept) * throttle.refuseAt {
            return Throttled(.refuse, limit, count: count, allowance: allowance, until: now + throttle.refuseFor)
        }
        // Attempts are charged whatever comes of them: a queue that was deferred for them would keep itself out by trying again.
        // So they make slow, and are refused at connect, where none are counted, but are never a reason to defer.
        if ratio <= throttle.deferAt || limit.unit == .attempts {
            let share = throttle.deferAt > 1 ? min((ratio - 1) / (throttle.deferAt - 1), 1) : 1
            let span = WallTime.Span(milliseconds: Int64((Double(throttle.hold.milliseconds) * share).rounded()))
            return Throttled(.hold(span), limit, count: count, allowance: allowance, until: now + span)
        }
        // `passes` knows better.
        return Throttled(.defer, limit, count: count, allowance: allowance, until: now + limit.window)
    }

    /// Whether a message asks for all that it will: its sender cannot leave some of it for another.
    static func isWhole(_ limit: Limit, _ request: LimitRequest) -> Bool { limit.unit == .bytes || request.isWhole }

    static func asked(_ limit: Limit, _ request: LimitRequest) -> Double {
        switch limit.unit {
        case .attempts, .messages: 1
        case .recipients: Double(limit.key == .recipientDomain ? request.recipientsOfDomain : request.recipients)
        case .bytes: Double(max(request.size, 0)) / 1024
        case .newRecipients: Double(request.newRecipients)
        case .refusals, .failures, .places, .countries: 0
        }
    }

    /// An address's own limit, made tighter where many of its neighbours are busy.
    mutating func allowance(_ limit: Limit, _ column: Int, _ key: CountKey, at now: WallTime) -> Double {
        let own = Double(limit.kept)
        let index = Self.index(.addresses)
        guard let block = block(of: limit),
            kinds[index].table.total(of: key.block, column: column, at: now) > block
        else { return own }
        return allowance(own, beside: block, column, key, at: now)
    }

    /// What a block may do beside an address's limit, where there is such a limit.
    func block(of limit: Limit) -> Double? { bearings.first { $0.limit == limit }?.block }

    mutating func allowance(_ own: Double, beside block: Double, _ column: Int, _ key: CountKey, at now: WallTime) -> Double {
        let breadth = kinds[Self.index(.addresses)].table.breadth(of: key.block, column: column, cap: own, except: key.member, at: now)
        guard breadth > block else { return own }
        return max(own * block / breadth, own * throttle.neighbourFloor, 1)
    }
}

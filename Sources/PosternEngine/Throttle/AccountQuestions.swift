import Counting
import PosternCore

// What an account's counts mean for what it asks for, and when it is stopped.

extension LimitCounts {
    /// What an account's counts mean for the recipient that it asks for.
    ///
    /// - Parameter isReachableByAll: whether that is one to whom those may write who are stopped: later, where there is a limit, never
    ///   not at all.
    public mutating func assessAccount(
        _ subject: LimitSubject, _ request: LimitRequest, isReachableByAll: Bool = false, at now: WallTime
    ) -> Throttled? {
        guard let account = subject.account else { return nil }
        if !isReachableByAll, let suspension = suspended[account] ?? shadowed[account] { return Throttled(suspension, at: now) }
        var worst: (ratio: Double, throttled: Throttled)?
        var passes = now
        for (limit, used, allowance, _) in standings(subject, nil, ofAccounts: true, at: now) {
            // Failed log-ins are asked about before anybody is logged in; what suspends does so once it is done.
            guard limit.unit != .failures, !accounts.suspend.contains(limit) else { continue }
            let asked = Self.asked(limit, request)
            let count = used + asked
            let ratio = count / allowance
            guard ratio > 1 else { continue }
            if let key = key(Table(limit.key), subject, nil),
                let column = kinds[Self.index(Table(limit.key))].limits.first(where: { $0.limit == limit })?.column
            {
                passes = max(passes, self.passes(limit, key, column, asked: asked, allowance: allowance, at: now))
            }
            guard ratio > worst?.ratio ?? 1 else { continue }
            var throttled = Throttled(
                isReachableByAll ? .defer : .refuseAccount, limit, count: count, allowance: allowance, until: now)
            throttled.isAlone = asked > allowance
            worst = (ratio, throttled)
        }
        worst?.throttled.until = passes
        return worst?.throttled
    }

    /// Whether so many log-ins have failed, of this address or for this account, that no further one is tried.
    public mutating func assessLogIn(_ subject: LimitSubject, at now: WallTime) -> Throttled? {
        for (limit, used, allowance, _) in standings(subject, nil, ofAccounts: true, at: now)
        where limit.unit == .failures && used + 1 > allowance && !(limit.key != .address && isAtHome(subject, at: now)) {
            return Throttled(.refuseAccount, limit, count: used + 1, allowance: allowance, until: now + limit.window)
        }
        return nil
    }

    /// Whether an account has sent mail from this network lately: whoever guesses at its password from elsewhere does not shut out
    /// its owner.
    func isAtHome(_ subject: LimitSubject, at now: WallTime) -> Bool {
        guard let account = subject.account, let address = subject.address else { return false }
        return places.peek(hashed(account))?.knows(hashed(address), since: now - Self.recipientSpan) ?? false
    }

    /// A day's usual, a few times over; what is done now does not make itself usual.
    func usualAllowance(_ long: Double, _ now: Double) -> Double {
        max(long - now, 0) / Double(Self.usualSpan.milliseconds / 86_400_000) * accounts.usualFactor
    }

    /// How many networks or countries an account comes from at once.
    func spread(_ limit: Limit, _ account: String, at now: WallTime) -> Int {
        guard let places = places.peek(hashed(account)) else { return 0 }
        return limit.unit == .places ? places.networks(since: now - limit.window) : places.countries(since: now - limit.window)
    }

    /// `pending`: new recipients of a message that is not accepted yet.
    mutating func suspend(_ account: String, pending: Int = 0, at now: WallTime) -> Suspension? {
        guard suspended[account] == nil, shadowed[account] == nil else { return nil }
        let index = Self.index(.accounts)
        var used = CountValues()
        kinds[index].table.counts(CountKey(account, hash: hash), at: now, into: &used)
        for (limit, column) in suspensionLimits where limit.key == .account {
            var allowance = Double(limit.kept)
            let count: Double
            if let column, let unit = limit.unit.counted {
                count = used[column] + (unit == .newRecipients ? Double(pending) : 0)
                if let usual = usualColumns[unit] { allowance = max(allowance, usualAllowance(used[usual], used[column])) }
            } else {
                count = Double(spread(limit, account, at: now))
            }
            guard count > allowance else { continue }
            var suspension = Suspension(
                account: account, since: now, reason: "\(limit): \(Int(count.rounded(.up))) where \(Int(allowance)) are allowed")
            suspension.isShadow = accounts.mode == .shadow
            if suspension.isShadow {
                guard shadowed.count < Self.maximumAccounts else { return nil }
                shadowed[account] = suspension
            } else {
                suspended[account] = suspension
            }
            return suspension
        }
        return nil
    }

    public mutating func suspend(_ suspension: Suspension) {
        suspended[suspension.account] = suspension
        names[hashed(suspension.account)] = suspension.account
    }

    /// Lets an account go on, with nothing to its name: or it would be stopped again at once.
    ///
    /// - Returns: whether it was suspended.
    public mutating func release(_ account: String, at now: WallTime) -> Bool {
        let account = account.foldedMailbox
        shadowed[account] = nil
        guard let suspension = suspended.removeValue(forKey: account) else { return false }
        // What it usually does stays, without what it was stopped for.
        let (index, key) = (Self.index(.accounts), CountKey(account, hash: hash))
        var used = CountValues()
        kinds[index].table.counts(key, at: now, into: &used)
        var spared: [Int: UInt32] = [:]
        for (limit, column) in suspensionLimits {
            guard let column, let unit = limit.unit.counted, let usual = usualColumns[unit] else { continue }
            // The window may have passed since; nothing was let through after it was stopped.
            let then = suspension.limit == limit ? suspension.count ?? 0 : 0
            spared[usual] = max(spared[usual] ?? 0, then, UInt32(clamping: Int(used[column].rounded(.up))))
        }
        kinds[index].table.forget(key, sparing: spared)
        places[hashed(account)] = AccountPlaces()
        changedPlaces.insert(hashed(account))
        return true
    }
}

import Counting
import PosternCore

// Every limit that bears on somebody, with what is left of it.

extension LimitCounts {
    /// Every limit that bears on somebody, with what is used of it, in the units that are kept.
    mutating func standings(
        _ subject: LimitSubject, _ recipientDomain: String?, ofAccounts: Bool, at now: WallTime
    ) -> [(limit: Limit, used: Double, allowance: Double, subject: String)] {
        var found: [(limit: Limit, used: Double, allowance: Double, subject: String)] = []
        let mine = ofAccounts ? accounts.limits + accounts.suspend : throttle.limits
        for table in Table.allCases {
            let index = Self.index(table)
            let limits = kinds[index].limits
            guard !limits.isEmpty, let key = key(table, subject, recipientDomain) else { continue }
            let name = name(table, subject, recipientDomain)
            var used = CountValues()
            kinds[index].table.counts(key, at: now, blocks: looks.first { $0.table == table }?.blocks ?? 0, into: &used)
            for (limit, column) in limits where limit.key != .block && mine.contains(limit) {
                var allowance = Double(limit.kept)
                if let block = block(of: limit), used.block(column) > block {
                    allowance = self.allowance(allowance, beside: block, column, key, at: now)
                }
                if accounts.suspend.contains(limit), let unit = limit.unit.counted, let usual = usualColumns[unit] {
                    allowance = max(allowance, usualAllowance(used[usual], used[column]))
                }
                found.append((limit, used[column], allowance, name))
            }
        }
        return found
    }

    /// For people: every limit that bears on somebody, with what is left of it.
    public mutating func standings(of subject: LimitSubject, recipientDomain: String?, at now: WallTime) -> [LimitStanding] {
        let rows =
            standings(subject, recipientDomain, ofAccounts: false, at: now)
            + (subject.account == nil ? [] : standings(subject, nil, ofAccounts: true, at: now))
        var standings: [LimitStanding] = []
        for (limit, used, allowance, name) in rows {
            let factor = limit.unit == .bytes ? 1024.0 : 1
            let standing = LimitStanding(limit: limit, subject: name, used: used * factor, allowance: allowance * factor)
            if !standings.contains(where: { $0.limit == limit && $0.subject == name }) { standings.append(standing) }
        }
        // What a block has used bears on no address by itself, but on what the address may do.
        if let address = subject.address, subject.account == nil {
            let key = CountKey(address)
            let kind = Self.index(.addresses)
            for (limit, column) in kinds[kind].limits where limit.key == .block {
                let factor = limit.unit == .bytes ? 1024.0 : 1
                let used = kinds[kind].table.total(of: key.block, column: column, at: now)
                standings.append(
                    LimitStanding(
                        limit: limit, subject: Prefix(address, length: address.family == .v4 ? 24 : 48).description,
                        used: used * factor, allowance: Double(limit.kept) * factor))
            }
        }
        if let account = subject.account {
            for (limit, column) in suspensionLimits where column == nil {
                standings.append(
                    LimitStanding(
                        limit: limit, subject: account, used: Double(spread(limit, account, at: now)), allowance: Double(limit.amount)))
            }
        }
        return standings
    }
}

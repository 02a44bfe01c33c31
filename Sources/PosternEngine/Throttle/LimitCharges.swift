import Counting
import PosternCore

// What is charged, and when.

extension LimitCounts {
    /// A recipient was asked for.
    public mutating func attempted(_ subject: LimitSubject, recipientDomain: String?, at now: WallTime) -> Suspension? {
        charge(subject, recipientDomain, .attempts, 1, at: now)
        guard let account = subject.account else { return nil }
        if let address = subject.address {
            let (account, network) = (hashed(account), hashed(address))
            places[account, default: AccountPlaces()].note(network, subject.country, most: mostPlaces, at: now)
            if changedPlaces.count < Self.maximumAccounts { changedPlaces.insert(account) }
        }
        return suspend(account, at: now)
    }

    /// A recipient was accepted, of a message that is not yet: what it will cost is noted, and charged with `accepted`. An account
    /// that writes to too many who are new is stopped all the same, before its message is through.
    public mutating func acceptedRecipient(
        _ recipient: Mailbox, of subject: LimitSubject, _ pending: inout PendingRecipients, at now: WallTime
    ) -> Suspension? {
        pending.confirm()
        pending.identity = subject.identity ?? pending.identity
        if let domain = recipient.domainName?.text, kind(.recipientDomains) != nil {
            let key = hashed(domain)
            if names.peek(key) == nil { names[key] = domain }
            pending.add(domain: key)
        }
        guard let owner = sketchOwner(subject) else { return nil }
        let recipient = hashed(recipient.folded)
        guard sketches.isNew(recipient, of: owner) else { return nil }
        pending.add(new: recipient)
        return subject.account.flatMap { suspend($0, pending: pending.newRecipients, at: now) }
    }

    /// What a further recipient of a message asks for: how many new ones there are with it, and how many of its domain.
    public func asked(_ recipient: Mailbox, of subject: LimitSubject, _ pending: PendingRecipients) -> (new: Int, ofDomain: Int) {
        let ofDomain = recipient.domainName.map { pending.recipients(of: hashed($0.text)) + 1 } ?? 1
        guard let owner = sketchOwner(subject) else { return (0, ofDomain) }
        let recipient = hashed(recipient.folded)
        let isNew = sketches.isNew(recipient, of: owner) && !pending.contains(new: recipient)
        return (pending.newRecipients + (isNew ? 1 : 0), ofDomain)
    }

    /// The message was accepted for so many recipients: what they cost is charged.
    public mutating func accepted(
        _ pending: PendingRecipients, of subject: LimitSubject, recipients: Int, at now: WallTime
    ) -> Suspension? {
        if let kind = kind(.recipientDomains) {
            for domain in pending.domains {
                let key = CountKey(block: domain.key, member: 0)
                kinds[kind].table.charge(key, .recipients, min(domain.recipients, UInt32(clamping: recipients)), at: now)
                kinds[kind].table.charge(key, .messages, at: now)
            }
        }
        guard let owner = sketchOwner(subject) else { return nil }
        var new = Int(pending.beyond)
        for recipient in pending.new where sketches.insert(recipient, of: owner, at: now) { new += 1 }
        charge(subject, nil, .newRecipients, UInt32(clamping: min(new, recipients)), at: now)
        return subject.account.flatMap { suspend($0, at: now) }
    }

    /// A message was accepted: for the backend, or by the mail server that asked.
    ///
    /// - Parameter size: octets.
    public mutating func accepted(_ subject: LimitSubject, recipients: Int, size: Int, at now: WallTime) -> Suspension? {
        charge(subject, nil, .messages, 1, at: now)
        charge(subject, nil, .recipients, UInt32(clamping: recipients), at: now)
        if charged[Int(CountUnit.kibibytes.rawValue)] != 0,
            let sender = key(subject.account == nil ? .addresses : .accounts, subject, nil)
        {
            charge(subject, nil, .kibibytes, UInt32(clamping: remainders.kibibytes(size, from: sender)), at: now)
        }
        return subject.account.flatMap { suspend($0, at: now) }
    }

    /// A recipient of an account's was refused for good.
    public mutating func refusedRecipient(_ subject: LimitSubject, _ count: Int = 1, at now: WallTime) -> Suspension? {
        charge(subject, nil, .refusals, UInt32(clamping: count), at: now)
        return subject.account.flatMap { suspend($0, at: now) }
    }

    /// A log-in failed.
    public mutating func failedLogIn(_ subject: LimitSubject, at now: WallTime) {
        charge(subject, nil, .failures, 1, at: now)
    }

    mutating func charge(
        _ subject: LimitSubject, _ recipientDomain: String?, _ unit: CountUnit, _ amount: UInt32, at now: WallTime
    ) {
        for table in Table.allCases {
            // What a customer sends is not its provider's neighbour's: its address is charged for failed log-ins alone.
            if subject.account != nil, unit != .failures, table == .addresses || table == .identities { continue }
            let index = Self.index(table)
            guard !kinds[index].table.columns.isEmpty, let key = key(table, subject, recipientDomain) else { continue }
            if table != .addresses, names.peek(key.block) == nil { names[key.block] = name(table, subject, recipientDomain) }
            guard charged[Int(unit.rawValue)] & 1 << UInt8(index) != 0 else { continue }
            kinds[index].table.charge(key, unit, amount, at: now)
        }
    }

    func sketchOwner(_ subject: LimitSubject) -> UInt64? {
        guard !counted.isEmpty else { return nil }
        if let account = subject.account { return counted.contains(.account) ? hashed("account \(account)") : nil }
        if let identity = subject.identity, counted.contains(.identity) { return hashed("identity \(identity)") }
        guard let address = subject.address, counted.contains(.address) else { return nil }
        let key = CountKey(address)
        return hashed("address \(key.block) \(key.member)")
    }
}

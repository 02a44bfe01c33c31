import Counting
import PosternCore

/// All counts of a host, and what they say of somebody. Pure: the time and the secret are arguments.
///
/// Attempts are charged when they are made, all else when it is accepted; so who is deferred or held is charged once.
public struct LimitCounts: Sendable {
    /// Clients that are refused at connect, at most; beyond it the longest known give way.
    static let maximumRefused = 65_536
    /// Accounts whose recipients and places are remembered.
    public static let maximumAccounts = 8192
    static let recipientSpan = WallTime.Span.days(30)
    /// What is usual is counted over this.
    static let usualSpan = WallTime.Span.days(28)

    /// The tables, by the keys that they serve; a block's counts are in its addresses' table.
    enum Table: UInt8, CaseIterable, Sendable {
        case addresses = 1
        case identities = 2
        case accounts = 3
        case accountDomains = 4
        case recipientDomains = 5

        init(_ key: Limit.Key) {
            switch key {
            case .address, .block: self = .addresses
            case .identity: self = .identities
            case .account: self = .accounts
            case .accountDomain: self = .accountDomains
            case .recipientDomain: self = .recipientDomains
            }
        }

        static let sketches: UInt8 = 6
        /// Clients that are refused at connect, by their addresses and by their /64s: a row expires when that is over.
        static let refusedV4: UInt8 = 7
        static let refusedV6: UInt8 = 8
        /// Where accounts come from.
        static let places: UInt8 = 9
    }

    /// A limit of strangers as it is looked at for every recipient.
    struct Bearing: Sendable {
        var limit: Limit
        var column: Int
        var kept: Double
        /// Of a block's limit beside it, where there is one.
        var block: Double?
    }

    struct Kind: Sendable {
        var table: CountTable
        /// With the column of each.
        var limits: [(limit: Limit, column: Int)]
    }

    /// A table that limits of strangers are looked up in, and which of `bearings` those are. Beside the tables, so that nothing of
    /// them is copied to look at this.
    struct Look: Sendable {
        var table: Table
        /// Columns whose blocks bear on somebody, a bit each.
        var blocks: UInt32 = 0
        var first: Int
        var end: Int
    }

    let throttle: ThrottleSettings
    let accounts: AccountSettings
    let hash: SipHash
    var kinds: [Kind]
    private let bearings: [Bearing]
    private let looks: [Look]
    /// Of each unit the tables that count it, a bit each.
    private let charged: [UInt8]
    private var suspensionLimits: [(limit: Limit, column: Int?)] = []
    private(set) var usualColumns: [CountUnit: Int] = [:]
    /// Whose recipients are remembered.
    private let counted: Set<Limit.Key>
    /// Past which an address is refused at connect.
    private let attempts: Limit?
    /// Networks of one account that are remembered.
    private let mostPlaces: Int
    private(set) var refused = Fading<CountKey, WallTime>(maximum: LimitCounts.maximumRefused)
    /// Whose refusal is to be written down.
    private var changedRefusals: Set<CountKey> = []
    /// Somebody is refused no more before its time: whoever was told of refusals is to be told again.
    var hasForgottenRefusal = false
    /// Names that were charged lately, by their hashes, so that people can be told of them.
    var names = Fading<UInt64, String>(maximum: LimitCounts.maximumAccounts)
    private var sketches = RecipientSketches(maximum: LimitCounts.maximumAccounts, span: LimitCounts.recipientSpan)
    private var places = Fading<UInt64, AccountPlaces>(maximum: LimitCounts.maximumAccounts)
    /// Accounts whose places are to be written down.
    private var changedPlaces: Set<UInt64> = []
    public private(set) var suspended: [String: Suspension] = [:]
    /// In shadow: accounts that would be. Forgotten where the mode is another.
    private var shadowed: [String: Suspension] = [:]
    /// Clients newly refused at connect, for a firewall: address or network, and until when. Taken by `takeRefusals`.
    private var freshRefusals: [(Prefix, WallTime)] = []

    public init(throttle: ThrottleSettings, accounts: AccountSettings, seed: (UInt64, UInt64)) {
        self.throttle = throttle
        self.accounts = accounts
        hash = SipHash(k0: seed.0, k1: seed.1)
        let all = throttle.limits + accounts.limits + accounts.suspend
        var usual: [CountUnit: Int] = [:]
        var bearings: [Bearing] = []
        var looks: [Look] = []
        var charged = [UInt8](repeating: 0, count: CountUnit.allCases.count + 1)
        kinds = Table.allCases.map { table in
            let plan = CountPlan(table, throttle, accounts)
            let (columns, limits) = (plan.columns, plan.limits)
            if table == .accounts { usual = plan.usual }
            var settings = CountTable.Settings(seed: seed.0 ^ UInt64(table.rawValue) << 32 ^ seed.1)
            settings.maximumBytes = table == .addresses ? throttle.memory : throttle.memory / 4
            var look = Look(table: table, first: bearings.count, end: bearings.count)
            for (limit, column) in limits where limit.key != .block && throttle.limits.contains(limit) {
                let block = throttle.limits.first { $0.key == .block && $0.unit == limit.unit && $0.window == limit.window }
                let beside = table == .addresses ? block.map { Double($0.kept) } : nil
                bearings.append(Bearing(limit: limit, column: column, kept: Double(limit.kept), block: beside))
                if beside != nil { look.blocks |= 1 << UInt32(column) }
            }
            look.end = bearings.count
            if look.first < look.end { looks.append(look) }
            for column in columns { charged[Int(column.unit.rawValue)] |= 1 << UInt8(Self.index(table)) }
            return Kind(table: CountTable(columns: columns, settings: settings), limits: limits)
        }
        self.bearings = bearings
        self.looks = looks
        self.charged = charged
        counted = Set(all.filter { $0.unit == .newRecipients }.map(\.key))
        attempts = throttle.limits.first { $0.key == .address && $0.unit == .attempts }
        usualColumns = usual
        mostPlaces = AccountPlaces.most(for: accounts.suspend)
        let accountLimits = kinds[Self.index(.accounts)].limits
        suspensionLimits = accounts.suspend.compactMap { limit in
            guard limit.unit.counted != nil else { return (limit, nil) }
            return accountLimits.first { $0.limit == limit }.map { (limit, $0.column) }
        }
    }

    static func index(_ table: Table) -> Int { Int(table.rawValue) - 1 }

    // MARK: - Questions

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

    private mutating func refuse(_ key: CountKey, until: WallTime?) {
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
    private func isAtHome(_ subject: LimitSubject, at now: WallTime) -> Bool {
        guard let account = subject.account, let address = subject.address else { return false }
        return places.peek(hashed(account))?.knows(hashed(address), since: now - Self.recipientSpan) ?? false
    }

    /// Rounded up. Octets are whatever a client claims: there may be no more than that of them.
    static func kibibytes(_ octets: Int) -> Int {
        let octets = max(octets, 0)
        return octets / 1024 + (octets % 1024 == 0 ? 0 : 1)
    }

    /// Whether a message asks for all that it will: its sender cannot leave some of it for another.
    static func isWhole(_ limit: Limit, _ request: LimitRequest) -> Bool { limit.unit == .bytes || request.isWhole }

    static func asked(_ limit: Limit, _ request: LimitRequest) -> Double {
        switch limit.unit {
        case .attempts, .messages: 1
        case .recipients: Double(limit.key == .recipientDomain ? request.recipientsOfDomain : request.recipients)
        case .bytes: Double(kibibytes(request.size))
        case .newRecipients: Double(request.newRecipients)
        case .refusals, .failures, .places, .countries: 0
        }
    }

    /// Every limit that bears on somebody, with what is used of it, in the units that are kept.
    private mutating func standings(
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

    /// A day's usual, a few times over; what is done now does not make itself usual.
    func usualAllowance(_ long: Double, _ now: Double) -> Double {
        max(long - now, 0) / Double(Self.usualSpan.milliseconds / 86_400_000) * accounts.usualFactor
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

    private mutating func allowance(_ own: Double, beside block: Double, _ column: Int, _ key: CountKey, at now: WallTime) -> Double {
        let breadth = kinds[Self.index(.addresses)].table.breadth(of: key.block, column: column, cap: own, except: key.member, at: now)
        guard breadth > block else { return own }
        return max(own * block / breadth, own * throttle.neighbourFloor, 1)
    }

    private func key(_ table: Table, _ subject: LimitSubject, _ recipientDomain: String?) -> CountKey? {
        switch table {
        case .addresses: subject.address.map { CountKey($0) }
        case .identities: subject.identity.map { CountKey($0, hash: hash) }
        case .accounts: subject.account.map { CountKey($0, hash: hash) }
        case .accountDomains: subject.accountDomain.map { CountKey($0, hash: hash) }
        case .recipientDomains: recipientDomain.map { CountKey($0, hash: hash) }
        }
    }

    /// For people.
    private func name(_ table: Table, _ subject: LimitSubject, _ recipientDomain: String?) -> String {
        let name: String? =
            switch table {
            case .addresses: subject.address?.description
            case .identities: subject.identity
            case .accounts: subject.account
            case .accountDomains: subject.accountDomain
            case .recipientDomains: recipientDomain
            }
        return name ?? ""
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

    // MARK: - Charges

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
        charge(subject, nil, .kibibytes, UInt32(clamping: Self.kibibytes(size)), at: now)
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

    private mutating func charge(
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

    private func kind(_ table: Table) -> Int? {
        let index = Self.index(table)
        return kinds[index].table.columns.isEmpty ? nil : index
    }

    func hashed(_ text: String) -> UInt64 { CountKey(text, hash: hash).block }

    /// By which a recipient is known again within its message; never 0.
    public func mark(of recipient: Mailbox) -> UInt64 { hashed(recipient.folded) | 1 }

    /// The network of an address, of an account's.
    private func hashed(_ address: IPAddress) -> UInt64 {
        withUnsafeBytes(of: CountKey(address).block.littleEndian) { hash.hash($0) }
    }

    private func sketchOwner(_ subject: LimitSubject) -> UInt64? {
        guard !counted.isEmpty else { return nil }
        if let account = subject.account { return counted.contains(.account) ? hashed("account \(account)") : nil }
        if let identity = subject.identity, counted.contains(.identity) { return hashed("identity \(identity)") }
        guard let address = subject.address, counted.contains(.address) else { return nil }
        let key = CountKey(address)
        return hashed("address \(key.block) \(key.member)")
    }

    // MARK: - Accounts

    /// How many networks or countries an account comes from at once.
    private func spread(_ limit: Limit, _ account: String, at now: WallTime) -> Int {
        guard let places = places.peek(hashed(account)) else { return 0 }
        return limit.unit == .places ? places.networks(since: now - limit.window) : places.countries(since: now - limit.window)
    }

    /// `pending`: new recipients of a message that is not accepted yet.
    private mutating func suspend(_ account: String, pending: Int = 0, at now: WallTime) -> Suspension? {
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

    // MARK: - Other settings

    public func differs(from throttle: ThrottleSettings, _ accounts: AccountSettings) -> Bool {
        self.throttle != throttle || self.accounts != accounts
    }

    /// Goes on with what another has counted, which had the same secret. Where the same units are counted over the same windows
    /// nothing is built anew, and who is followed stays so; the other is of no use any more.
    public mutating func adopt(_ other: inout LimitCounts, at now: WallTime) {
        for index in kinds.indices {
            let fresh = kinds[index].table
            swap(&kinds[index].table, &other.kinds[index].table)
            guard !kinds[index].table.retune(fresh) else { continue }
            swap(&kinds[index].table, &other.kinds[index].table)
            for (block, data) in other.kinds[index].table.all() { kinds[index].table.restore(block: block, data: data, at: now) }
        }
        swap(&refused, &other.refused)
        swap(&changedRefusals, &other.changedRefusals)
        swap(&hasForgottenRefusal, &other.hasForgottenRefusal)
        swap(&sketches, &other.sketches)
        swap(&places, &other.places)
        swap(&changedPlaces, &other.changedPlaces)
        swap(&suspended, &other.suspended)
        // Whoever would have been stopped was told of, but neither kept nor stopped.
        if accounts.mode == .shadow { swap(&shadowed, &other.shadowed) }
        swap(&freshRefusals, &other.freshRefusals)
        swap(&names, &other.names)
    }

    // MARK: - Upkeep

    /// Clients refused since the last call.
    public mutating func takeRefusals() -> [(network: Prefix, until: WallTime)] {
        defer { freshRefusals = [] }
        return freshRefusals.map { ($0.0, $0.1) }
    }

    /// All who are refused now.
    public func refusals(at now: WallTime) -> [(network: Prefix, until: WallTime)] {
        refused.all.compactMap { key, until in now < until ? key.network.map { ($0, until) } : nil }
    }

    public mutating func sweep(_ looks: Int, at now: WallTime) {
        for index in kinds.indices { kinds[index].table.sweep(looks, at: now) }
    }

    /// What has changed since it was last taken, at most about so many rows.
    public mutating func takeChanges(_ limit: Int, at now: WallTime) -> [CountRow] {
        var rows: [CountRow] = []
        for table in Table.allCases {
            let index = Self.index(table)
            guard !kinds[index].table.columns.isEmpty, rows.count < limit else { continue }
            let expires = now + kinds[index].table.lifetime
            rows += kinds[index].table.takeChanges(limit - rows.count).map {
                CountRow(table: table.rawValue, key: $0.block, data: $0.data, expires: expires)
            }
        }
        if rows.count < limit {
            rows += sketches.takeChanges(limit - rows.count).map {
                CountRow(table: Table.sketches, key: $0.key, data: $0.data, expires: now + Self.recipientSpan + Self.recipientSpan)
            }
        }
        while rows.count < limit, let key = changedRefusals.popFirst() {
            guard let network = key.network else { continue }
            let isV4 = network.address.family == .v4
            rows.append(
                CountRow(
                    table: isV4 ? Table.refusedV4 : Table.refusedV6, key: isV4 ? network.address.low : network.address.high,
                    data: [Self.refusalVersion], expires: refused.peek(key) ?? now))
        }
        while rows.count < limit, let account = changedPlaces.popFirst() {
            guard let places = places.peek(account) else { continue }
            rows.append(CountRow(table: Table.places, key: account, data: places.encoded, expires: now + Self.recipientSpan))
        }
        return rows
    }

    private static let refusalVersion: UInt8 = 1

    /// Takes up a row that an earlier process has written; one that cannot be read is left out.
    public mutating func restore(_ row: CountRow, at now: WallTime) {
        switch row.table {
        case Table.sketches: return sketches.restore(row.key, row.data)
        case Table.refusedV4, Table.refusedV6:
            guard row.data == [Self.refusalVersion], now < row.expires, refused.count < Self.maximumRefused else { return }
            let address =
                row.table == Table.refusedV4 ? IPAddress(v4: UInt32(truncatingIfNeeded: row.key)) : IPAddress(v6High: row.key, low: 0)
            refused[CountKey(address)] = row.expires
            return
        case Table.places:
            guard places.count < Self.maximumAccounts, let found = AccountPlaces(row.data) else { return }
            places[row.key] = found
            return
        default: break
        }
        if let table = Table(rawValue: row.table) {
            kinds[Self.index(table)].table.restore(block: row.key, data: row.data, at: now)
        }
    }

    /// Rows in memory, rows and members that gave way, octets.
    public var statistics: (rows: Int, evicted: UInt64, bytes: Int) {
        kinds.reduce(into: (0, 0, 0)) { sum, kind in
            sum.0 += kind.table.rows
            sum.1 += kind.table.evictedRows + kind.table.evictedMembers
            sum.2 += kind.table.bytes
        }
    }
}

extension CountKey {
    /// The address, or the /64, that it stands for; `nil` for a name.
    var network: Prefix? {
        switch block >> 56 {
        case 4: Prefix(IPAddress(v4: UInt32(truncatingIfNeeded: block << 8) | UInt32(member)), length: 32)
        case 6: Prefix(IPAddress(v6High: block << 16 | UInt64(member), low: 0), length: 64)
        default: nil
        }
    }
}

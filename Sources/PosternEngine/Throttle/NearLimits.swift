import Counting
import PosternCore

/// Whose counts they are, as those who look on name it: the table, and the key in it. It tells nobody a name.
public struct LimitPlace: Hashable, Sendable, CustomStringConvertible {
    let table: UInt8
    let key: CountKey

    init(table: LimitCounts.Table, key: CountKey) {
        self.table = table.rawValue
        self.key = key
    }

    /// Whom an address' counts are of.
    public var network: Prefix? { table == LimitCounts.Table.addresses.rawValue ? key.network : nil }

    /// An account's own counts, whose subject is a name that `log.redact` hides.
    public var isAccount: Bool { table == LimitCounts.Table.accounts.rawValue }

    /// Reads `1-4c0000200-7`: table, block and member, the latter two in hexadecimal.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 3, let table = UInt8(parts[0]), LimitCounts.Table(rawValue: table) != nil,
            let block = UInt64(parts[1], radix: 16), let member = UInt16(parts[2], radix: 16)
        else { return nil }
        self.table = table
        key = CountKey(block: block, member: member)
    }

    public var description: String { "\(table)-\(String(key.block, radix: 16))-\(String(key.member, radix: 16))" }
}

/// Somebody who is near a limit, or past it.
public struct NearLimit: Equatable, Sendable {
    /// What the next message would meet.
    public enum State: String, CaseIterable, Sendable {
        /// Nothing as yet.
        case near
        /// A client's replies wait; an account's messages are kept by the mail server.
        case held
        case deferred
        /// A client at connect, an account its messages.
        case refused
    }

    public var place: LimitPlace
    public var key: Limit.Key
    /// An address, the network that is counted as one, a domain, an account.
    public var subject: String
    public var state: State
    /// The limit that is nearest, or that decides.
    public var limit: Limit
    /// In the limit's unit.
    public var used: Double
    public var allowance: Double
    /// How long a reply waits now.
    public var hold: WallTime.Span?
    /// When it will do again if nothing more is done; `nil` for `near`, and where replies wait.
    public var until: WallTime?
    /// False for a name that is known by its hash alone, since it was not met since the start.
    public var isNamed = true

    public var left: Double { max(allowance - used, 0) }
}

extension LimitCounts {
    /// What those are called whose names are not known any more: counts are kept by keyed hashes of them.
    static let unnamed = "(not met since the start)"

    /// Those who are counted step by step, and all who are refused at connect; to be looked at with `near`, in turns.
    public func watched(at now: WallTime) -> [LimitPlace] {
        var found: [LimitPlace] = []
        for table in Table.allCases {
            let kind = kinds[Self.index(table)]
            guard !kind.limits.isEmpty else { continue }
            var keys = kind.table.followedKeys
            if table == .addresses { for (key, until) in refused.all where now < until { keys.insert(key) } }
            found += keys.map { LimitPlace(table: table, key: $0) }
        }
        return found
    }

    /// A walk over all counts, table by table.
    public struct Walk: Sendable {
        fileprivate var table = 0
        fileprivate var walk: CountTable.Walk?
        fileprivate let thresholds: [[CountTable.Threshold]]
    }

    /// Begins a walk over everybody, for those who have used `share` of a limit by the two windows.
    public func walk(share: Double) -> Walk {
        Walk(
            thresholds: kinds.map { kind in
                var thresholds = [CountTable.Threshold](repeating: .init(), count: kind.table.columns.count)
                for (limit, column) in kind.limits where limit.key != .block {
                    // The next one may be past it without that share, where the limit is small.
                    func least(_ allowance: Double) -> Double { min(share * allowance, allowance - 1) }
                    thresholds[column].least = min(thresholds[column].least, least(Double(limit.kept)))
                    guard let block = block(of: limit) else { continue }
                    let tightest = max(Double(limit.kept) * throttle.neighbourFloor, 1)
                    thresholds[column].beside = min(thresholds[column].beside, least(tightest))
                    thresholds[column].block = min(thresholds[column].block, block)
                }
                return thresholds
            })
    }

    /// Goes on with a walk, by about so many places and members.
    ///
    /// - Returns: who may be near a limit, to be looked at with `near`, some perhaps twice; `nil` once it is over.
    public mutating func next(_ walk: inout Walk, looks: Int, at now: WallTime) -> [LimitPlace]? {
        guard walk.table < kinds.count, walk.table < walk.thresholds.count else { return nil }
        let table = Table.allCases[walk.table]
        // Other limits may have come meanwhile.
        guard !kinds[walk.table].limits.isEmpty, walk.thresholds[walk.table].count == kinds[walk.table].table.columns.count else {
            walk.table += 1
            walk.walk = nil
            return []
        }
        var position = walk.walk ?? kinds[walk.table].table.walk()
        var found: [LimitPlace] = []
        let goesOn = kinds[walk.table].table.next(&position, looks: looks, thresholds: walk.thresholds[walk.table], at: now) {
            found.append(LimitPlace(table: table, key: $0))
        }
        walk.walk = goesOn ? position : nil
        if !goesOn { walk.table += 1 }
        return found
    }

    /// How somebody stands; `nil` for one that is further from all limits than `share` of them. Changes nothing that counts.
    ///
    /// - Parameter refuses: whether anybody is refused at connect, as nobody is where the throttle is off or in shadow.
    public mutating func near(_ place: LimitPlace, share: Double, refuses: Bool = true, at now: WallTime) -> NearLimit? {
        guard let table = Table(rawValue: place.table) else { return nil }
        let index = Self.index(table)
        let name: String
        var isNamed = true
        if table == .addresses {
            guard let network = place.key.network else { return nil }
            name = network.length == 32 ? network.address.description : network.description
        } else {
            let known = names.peek(place.key.block)
            isNamed = known != nil
            name = known ?? Self.unnamed
        }
        let isAccount = table == .accounts || table == .accountDomains
        if isAccount, suspended[name] != nil { return nil }
        var used = [Double](repeating: 0, count: kinds[index].table.columns.count)
        kinds[index].table.counts(place.key, at: now) { used[$0] = $1 }
        let refusedUntil = table == .addresses && refuses ? refused.peek(place.key).flatMap { now < $0 ? $0 : nil } : nil
        var worst: NearLimit?
        var worstRank = (-1, 0.0)
        // Only once it is past no limit any more.
        var passes = now
        for (limit, column) in kinds[index].limits where limit.key != .block {
            var allowance = Double(limit.kept)
            if table == .addresses { allowance = self.allowance(limit, column, place.key, at: now) }
            let suspends = accounts.suspend.contains(limit)
            if suspends, let unit = limit.unit.counted, let usual = usualColumns[unit] {
                allowance = max(allowance, usualAllowance(used[usual], used[column]))
            }
            let next = used[column] + Self.asked(limit, LimitRequest())
            var near = NearLimit(
                place: place, key: limit.key, subject: name, state: .near, limit: limit, used: used[column], allowance: allowance,
                isNamed: isNamed)
            if let refusedUntil, limit.unit == .attempts {
                (near.state, near.until) = (.refused, refusedUntil)
                // None are counted any more: what it is refused for, as in what it is told.
                near.used = max(near.used, Double(limit.kept) * throttle.refuseAt)
            } else if isAccount || limit.unit == .failures {
                let isPast = limit.unit == .failures ? used[column] + 1 > allowance : next > allowance
                if isPast, !suspends {
                    near.state = limit.unit != .failures && accounts.action == .hold ? .held : .refused
                    // Log-ins are another matter than mail.
                    let asked = limit.unit == .failures ? 1 : next - used[column]
                    near.until = self.passes(limit, place.key, column, asked: asked, allowance: allowance, at: now)
                    if let until = near.until, limit.unit != .failures { passes = max(passes, until) }
                }
            } else if next > allowance {
                let throttled = graded(limit, count: next, allowance: allowance, at: now)
                switch throttled.grade {
                case .hold(let span): (near.state, near.hold) = (.held, span)
                case .defer:
                    near.state = .deferred
                    passes = max(
                        passes,
                        self.passes(
                            limit, place.key, column, asked: next - used[column], allowance: throttle.deferAt * allowance, at: now))
                // It is refused from its next attempt on, not yet.
                case .refuse, .refuseAccount, .suspended: (near.state, near.hold) = (.held, throttle.hold)
                }
            }
            let ratio = near.used / allowance
            guard near.state != .near || ratio >= share else { continue }
            let rank = (NearLimit.State.allCases.firstIndex(of: near.state) ?? 0, ratio)
            guard rank > worstRank else { continue }
            (worst, worstRank) = (near, rank)
        }
        guard var worst else { return nil }
        if worst.state == .deferred || worst.state != .near && isAccount && worst.limit.unit != .failures { worst.until = passes }
        if worst.limit.unit == .bytes { (worst.used, worst.allowance) = (worst.used * 1024, worst.allowance * 1024) }
        return worst
    }

    /// Lets somebody have nothing to its name: what it had, for `giveBack`, or `nil` where it had nothing. Whoever is refused at
    /// connect comes in again.
    public mutating func forget(_ place: LimitPlace) -> (subject: String, had: [UInt8])? {
        guard let table = Table(rawValue: place.table) else { return nil }
        let subject = table == .addresses ? place.key.network?.description : names.peek(place.key.block)
        if table == .addresses { _ = admit(place.key) }
        guard let had = kinds[Self.index(table)].table.forget(place.key) else { return nil }
        return (subject ?? Self.unnamed, had)
    }

    /// False where the octets are none of ours.
    public mutating func giveBack(_ place: LimitPlace, _ had: [UInt8], at now: WallTime) -> Bool {
        guard let table = Table(rawValue: place.table) else { return false }
        return kinds[Self.index(table)].table.giveBack(place.key, had, at: now)
    }

    /// Whether refusals have changed but by new ones, since the last call.
    public mutating func takeForgottenRefusal() -> Bool {
        defer { hasForgottenRefusal = false }
        return hasForgottenRefusal
    }
}

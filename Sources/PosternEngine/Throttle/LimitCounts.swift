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
    let bearings: [Bearing]
    let looks: [Look]
    /// Of each unit the tables that count it, a bit each.
    let charged: [UInt8]
    var suspensionLimits: [(limit: Limit, column: Int?)] = []
    private(set) var usualColumns: [CountUnit: Int] = [:]
    /// Whose recipients are remembered.
    let counted: Set<Limit.Key>
    /// Past which an address is refused at connect.
    let attempts: Limit?
    /// Networks of one account that are remembered.
    let mostPlaces: Int
    var remainders: OctetRemainders
    var refused = Fading<CountKey, WallTime>(maximum: LimitCounts.maximumRefused)
    /// Whose refusal is to be written down.
    var changedRefusals: Set<CountKey> = []
    /// Somebody is refused no more before its time: whoever was told of refusals is to be told again.
    var hasForgottenRefusal = false
    /// Names that were charged lately, by their hashes, so that people can be told of them.
    var names = Fading<UInt64, String>(maximum: LimitCounts.maximumAccounts)
    var sketches = RecipientSketches(maximum: LimitCounts.maximumAccounts, span: LimitCounts.recipientSpan)
    var places = Fading<UInt64, AccountPlaces>(maximum: LimitCounts.maximumAccounts)
    /// Accounts whose places are to be written down.
    var changedPlaces: Set<UInt64> = []
    public internal(set) var suspended: [String: Suspension] = [:]
    /// In shadow: accounts that would be. Forgotten where the mode is another.
    var shadowed: [String: Suspension] = [:]
    /// Clients newly refused at connect, for a firewall: address or network, and until when. Taken by `takeRefusals`.
    var freshRefusals: [(Prefix, WallTime)] = []

    public init(throttle: ThrottleSettings, accounts: AccountSettings, seed: (UInt64, UInt64)) {
        self.throttle = throttle
        self.accounts = accounts
        hash = SipHash(k0: seed.0, k1: seed.1)
        remainders = OctetRemainders(seed: seed.0 ^ seed.1)
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
}

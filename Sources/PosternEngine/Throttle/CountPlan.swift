import Counting
import PosternCore

/// Which counts a table keeps of each of its keys, and which of them a limit looks at.
struct CountPlan: Sendable {
    /// What is usual is counted of these: volume, and new recipients. Nobody is usually refused.
    static let usualUnits: Set<Limit.Unit> = [.attempts, .messages, .recipients, .bytes, .newRecipients]

    /// At most `CountTable.maximumColumns`.
    private(set) var columns: [CountColumn] = []
    /// With the column of each.
    private(set) var limits: [(limit: Limit, column: Int)] = []
    /// Where what is usual is counted, by unit.
    private(set) var usual: [CountUnit: Int] = [:]
    /// What is wanted, which may be more than there is room for: limits beyond it are not kept. The configuration allows none.
    private(set) var wanted = 0
    private var beyond: Set<CountColumn> = []

    init(_ table: LimitCounts.Table, _ throttle: ThrottleSettings, _ accounts: AccountSettings) {
        for limit in throttle.limits + accounts.limits + accounts.suspend where LimitCounts.Table(limit.key) == table {
            guard let unit = limit.unit.counted else { continue }
            // A block's limit is no address's: nobody is followed for it.
            guard let column = column(unit, limit.window, limit.key == .block ? .max : limit.kept) else { continue }
            limits.append((limit, column))
        }
        guard table == .accounts else { return }
        for limit in accounts.suspend where Self.usualUnits.contains(limit.unit) {
            if let unit = limit.unit.counted { usual[unit] = column(unit, LimitCounts.usualSpan, .max) }
        }
    }

    private mutating func column(_ unit: CountUnit, _ window: WallTime.Span, _ limit: UInt32) -> Int? {
        if let index = columns.firstIndex(where: { $0.unit == unit && $0.window == window }) {
            columns[index].limit = min(columns[index].limit, limit)
            return index
        }
        guard columns.count < CountTable.maximumColumns else {
            beyond.insert(CountColumn(unit, per: window, limit: .max))
            wanted = columns.count + beyond.count
            return nil
        }
        columns.append(CountColumn(unit, per: window, limit: limit))
        wanted = columns.count
        return columns.count - 1
    }
}

extension LimitCounts {
    /// Units and times that are counted side by side for one key, at most.
    public static let maximumCounts = CountTable.maximumColumns

    /// Whose limits are of more units and times than are counted side by side, and of how many. What is usual of an account is
    /// counted beside its limits.
    public static func crowded(_ throttle: ThrottleSettings, _ accounts: AccountSettings) -> [(keys: [Limit.Key], counts: Int)] {
        Table.allCases.compactMap { table in
            let wanted = CountPlan(table, throttle, accounts).wanted
            return wanted > maximumCounts ? (Limit.Key.allCases.filter { Table($0) == table }, wanted) : nil
        }
    }
}

import Counting
import PosternCore

// Other settings, upkeep, and what is written down and taken up again.

extension LimitCounts {
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
        swap(&remainders, &other.remainders)
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

    static let refusalVersion: UInt8 = 1

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

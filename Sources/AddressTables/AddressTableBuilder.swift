import PosternCore

/// Gathers entries for a table. Of entries with the same prefix the last counts.
public struct AddressTableBuilder: Sendable {
    private var hosts: [RowV4] = []
    private var networks: [UInt8: [RowV4]] = [:]
    private var wide: [UInt8: [RowV6]] = [:]

    public init() {}

    /// How many were added.
    public private(set) var count = 0

    public mutating func reserve(_ addresses: Int) { hosts.reserveCapacity(addresses) }

    /// - Parameters:
    ///   - expires: the second from which on it no longer counts; 0 for never.
    public mutating func add(_ prefix: Prefix, mark: UInt16, expires: UInt32 = 0) {
        let length = UInt8(prefix.length)
        switch prefix.address.family {
        case .v4:
            let key = UInt32(truncatingIfNeeded: prefix.address.low)
            guard length < 32 else { return add(v4: key, mark: mark, expires: expires) }
            networks[length, default: []].append(RowV4(key: key, end: expires, mark: mark))
        case .v6:
            wide[length, default: []].append(RowV6(high: prefix.address.high, low: prefix.address.low, end: expires, mark: mark))
        }
        count += 1
    }

    /// A single IPv4 address, the first octet uppermost.
    public mutating func add(v4 address: UInt32, mark: UInt16, expires: UInt32 = 0) {
        hosts.append(RowV4(key: address, end: expires, mark: mark))
        count += 1
    }

    public consuming func table() -> AddressTable {
        let hosts = ColumnV4(consuming: self.hosts)
        let networks = networks.sorted { $0.key > $1.key }.map { (length: $0.key, column: ColumnV4(consuming: $0.value)) }
        let wide = wide.sorted { $0.key > $1.key }.map { (length: $0.key, column: ColumnV6(rows: $0.value, length: $0.key)) }
        return AddressTable(hosts: hosts, networks: networks, wide: wide)
    }
}

/// A table that changes: a large one that is made anew seldom, and over it a small one with what has changed since.
public struct ChangingAddressTable: Sendable {
    public struct Row: Equatable, Sendable {
        public var mark: UInt16
        public var expires: UInt32

        public init(mark: UInt16, expires: UInt32) {
            self.mark = mark
            self.expires = expires
        }
    }

    private var base: AddressTable
    /// `nil` for what was removed.
    private var changes: [Prefix: Row?] = [:]

    /// Changes that are kept apart, whatever the size of the table.
    public static let fewestChanges = 1024

    public init(_ base: AddressTable = .empty) {
        self.base = base
    }

    /// With `nil` for a row the entry is removed.
    public mutating func set(_ prefix: Prefix, _ row: Row?) {
        changes.updateValue(row, forKey: prefix)
        if changes.count >= max(Self.fewestChanges, base.count / 16) { merge() }
    }

    /// What there is now, the newer layer first: of two with the same prefix the first counts, and `AddressTable.noMark`
    /// says that the prefix was removed.
    public var layers: [AddressTable] {
        guard !changes.isEmpty else { return [base] }
        var builder = AddressTableBuilder()
        for (prefix, row) in changes {
            builder.add(prefix, mark: row?.mark ?? AddressTable.noMark, expires: row?.expires ?? 0)
        }
        return [builder.table(), base]
    }

    private mutating func merge() {
        var builder = AddressTableBuilder()
        builder.reserve(base.count + changes.count)
        base.forEach { prefix, listing in
            if changes[prefix] == nil { builder.add(prefix, mark: listing.mark, expires: listing.expires) }
        }
        for case (let prefix, let row?) in changes { builder.add(prefix, mark: row.mark, expires: row.expires) }
        base = builder.table()
        changes = [:]
    }

    /// Throws away what has expired by `now`.
    public mutating func removeExpired(at now: UInt32) {
        merge()
        var builder = AddressTableBuilder()
        base.forEach { prefix, listing in
            if listing.isLive(at: now) { builder.add(prefix, mark: listing.mark, expires: listing.expires) }
        }
        if builder.count < base.count { base = builder.table() }
    }
}

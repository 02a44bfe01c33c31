import PosternCore

/// What a table says of an address.
public struct AddressListing: Equatable, Sendable {
    /// What the table's owner was given with the entry.
    public var mark: UInt16
    /// The entry's length in bits; of an IPv6 entry 0...128.
    public var length: UInt8
    /// The second from which on it no longer counts, of the clock that the owner goes by; 0 for never.
    public var expires: UInt32

    public init(mark: UInt16, length: UInt8, expires: UInt32) {
        self.mark = mark
        self.length = length
        self.expires = expires
    }

    @inline(__always)
    public func isLive(at now: UInt32) -> Bool { expires == 0 || now < expires }
}

/// Addresses and networks, each with a mark and an end: sorted columns of numbers, made once and never changed.
///
/// A million IPv4 addresses take 6 octets each, 10 where any of them expires. Of entries that contain an address the
/// longest that is live counts.
public final class AddressTable: Sendable {
    /// Single IPv4 addresses.
    let hosts: ColumnV4
    /// IPv4 networks by length, the longest first.
    let networks: [(length: UInt8, column: ColumnV4)]
    /// IPv6 addresses and networks by length, the longest first.
    let wide: [(length: UInt8, column: ColumnV6)]
    /// How many entries there are.
    public let count: Int

    /// For the owner that uses layers of tables: an entry that says that the address is not listed.
    public static let noMark = UInt16.max

    public static let empty = AddressTable(hosts: ColumnV4(), networks: [], wide: [])

    init(hosts: ColumnV4, networks: [(length: UInt8, column: ColumnV4)], wide: [(length: UInt8, column: ColumnV6)]) {
        self.hosts = hosts
        self.networks = networks
        self.wide = wide
        count =
            hosts.keys.count + networks.reduce(0) { $0 + $1.column.keys.count } + wide.reduce(0) { $0 + $1.column.highs.count }
    }

    // MARK: - Look-ups

    /// The 32 bits of an IPv4 address, the first octet uppermost. `below`: only entries that are shorter.
    public func listing(v4 address: UInt32, at now: UInt32, below limit: UInt8 = .max) -> AddressListing? {
        if limit > 32, let found = hosts.find(address, length: 32), found.isLive(at: now) { return found }
        for index in networks.indices {
            let length = networks[index].length
            guard length < limit else { continue }
            let mask = length == 0 ? 0 : UInt32.max << (32 - UInt32(length))
            if let found = networks[index].column.find(address & mask, length: length), found.isLive(at: now) { return found }
        }
        return nil
    }

    /// The two halves of an IPv6 address that is not IPv4-mapped. `below`: only entries that are shorter.
    public func listing(v6High high: UInt64, low: UInt64, at now: UInt32, below limit: UInt8 = .max) -> AddressListing? {
        for index in wide.indices {
            let length = wide[index].length
            guard length < limit else { continue }
            let (highMask, lowMask) = ColumnV6.masks(length)
            if let found = wide[index].column.find(high & highMask, low & lowMask, length: length), found.isLive(at: now) { return found }
        }
        return nil
    }

    public func listing(of address: IPAddress, at now: UInt32) -> AddressListing? {
        switch address.family {
        case .v4: listing(v4: UInt32(truncatingIfNeeded: address.low), at: now)
        case .v6: listing(v6High: address.high, low: address.low, at: now)
        }
    }

    /// The entry that is exactly this prefix, live or not.
    public func entry(_ prefix: Prefix) -> AddressListing? {
        let length = UInt8(prefix.length)
        switch prefix.address.family {
        case .v4:
            let key = UInt32(truncatingIfNeeded: prefix.address.low)
            if length == 32 { return hosts.find(key, length: 32) }
            return networks.first { $0.length == length }?.column.find(key, length: length)
        case .v6:
            return wide.first { $0.length == length }?.column.find(prefix.address.high, prefix.address.low, length: length)
        }
    }

    /// Whether any IPv4 entry is shorter than a whole address.
    public var hasNetworksV4: Bool { !networks.isEmpty }

    /// Whether any entry lies within these first bits of IPv4 addresses, or contains them all.
    public func touches(v4 address: UInt32, length: UInt8) -> Bool {
        guard length < 32 else { return listing(v4: address, at: 0) != nil }
        let last = address | UInt32.max >> UInt32(length)
        if hosts.hasKey(in: address...last) { return true }
        for network in networks {
            let mask = network.length == 0 ? 0 : UInt32.max << (32 - UInt32(network.length))
            if network.length > length
                ? network.column.hasKey(in: address...last) : network.column.hasKey(in: (address & mask)...(address & mask))
            {
                return true
            }
        }
        return false
    }

    /// The same for IPv6 addresses.
    public func touches(v6High high: UInt64, low: UInt64, length: UInt8) -> Bool {
        let (highMask, lowMask) = ColumnV6.masks(length)
        for network in wide {
            if network.length > length {
                if network.column.hasKey(from: (high & highMask, low & lowMask), through: (high | ~highMask, low | ~lowMask)) {
                    return true
                }
            } else {
                let (ownHigh, ownLow) = ColumnV6.masks(network.length)
                if network.column.find(high & ownHigh, low & ownLow, length: network.length) != nil { return true }
            }
        }
        return false
    }

    // MARK: - All of it

    /// Every entry: IPv4 addresses, IPv4 networks, then IPv6, each kind from the longest to the shortest and then in order.
    public func forEach<Failure: Error>(_ body: (Prefix, AddressListing) throws(Failure) -> Void) throws(Failure) {
        try hosts.forEach(length: 32, body)
        for network in networks { try network.column.forEach(length: network.length, body) }
        for network in wide { try network.column.forEach(length: network.length, body) }
    }
}

import AddressTables
import DNSProtocol
import PosternCore
import PosternEngine

/// Entries of one origin: the admin's own, what was harvested, or one subscription. Never changes: a newer one takes its place.
public final class PublishedSource: Sendable {
    /// As the configuration and explanations call it.
    public let name: String
    /// The layer that decides first: of the same prefix the first that is live counts.
    public let layers: [AddressTable]
    /// By mark.
    public let statements: [PublishedStatement]
    private let colours: [ListColour]
    /// Domains with all below them, and the second from which on each no longer counts, in layers as addresses are.
    public let domains: [[DNSName: AddressListing]]
    /// Every domain above one of `domains`.
    private let domainAncestors: Set<DNSName>

    public init(
        name: String, layers: [AddressTable], statements: [PublishedStatement], domains: [[DNSName: AddressListing]] = []
    ) {
        self.name = name
        self.layers = layers
        self.statements = statements
        colours = statements.map(\.colour)
        self.domains = domains
        var ancestors: Set<DNSName> = []
        for name in domains.lazy.flatMap(\.keys) {
            var above = name.parent
            while let current = above, !current.isRoot, ancestors.insert(current).inserted { above = current.parent }
        }
        domainAncestors = ancestors
    }

    func colour(of listing: AddressListing) -> ListColour { colours[Int(listing.mark)] }

    public func statement(of listing: AddressListing) -> PublishedStatement { statements[Int(listing.mark)] }

    /// The longest live entry that contains the address.
    public func listing(v4 address: UInt32, at now: UInt32) -> AddressListing? {
        if layers.count == 1 { return layers[0].listing(v4: address, at: now) }
        return best { table, limit in table.listing(v4: address, at: now, below: limit) }
    }

    public func listing(v6High high: UInt64, low: UInt64, at now: UInt32) -> AddressListing? {
        if layers.count == 1 { return layers[0].listing(v6High: high, low: low, at: now) }
        return best { table, limit in table.listing(v6High: high, low: low, at: now, below: limit) }
    }

    public func listing(of address: IPAddress, at now: UInt32) -> AddressListing? {
        switch address.family {
        case .v4: listing(v4: UInt32(truncatingIfNeeded: address.low), at: now)
        case .v6: listing(v6High: address.high, low: address.low, at: now)
        }
    }

    /// The longest live entry that contains all of a prefix and is shorter than `limit` bits.
    func listing(covering prefix: Prefix, shorterThan limit: Int, at now: UInt32) -> AddressListing? {
        let (high, low) = (prefix.address.high, prefix.address.low)
        return best(below: UInt8(clamping: limit)) { table, limit in
            switch prefix.address.family {
            case .v4: table.listing(v4: UInt32(truncatingIfNeeded: low), at: now, below: limit)
            case .v6: table.listing(v6High: high, low: low, at: now, below: limit)
            }
        }
    }

    private func best(below limit: UInt8 = .max, _ find: (AddressTable, UInt8) -> AddressListing?) -> AddressListing? {
        var limit = limit
        while true {
            var best: AddressListing?
            for table in layers {
                if let found = find(table, limit), best.map({ found.length > $0.length }) ?? true { best = found }
            }
            guard let best, best.mark == AddressTable.noMark else { return best }
            // Removed: what is left are shorter ones.
            limit = best.length
        }
    }

    func touches(v4 address: UInt32, length: UInt8) -> Bool { layers.contains { $0.touches(v4: address, length: length) } }

    func touches(v6High high: UInt64, low: UInt64, length: UInt8) -> Bool {
        layers.contains { $0.touches(v6High: high, low: low, length: length) }
    }

    /// The longest live domain that the name is or lies below.
    func listing(of name: DNSName, at now: UInt32) -> AddressListing? {
        guard !domains.isEmpty else { return nil }
        var candidate: DNSName? = name
        while let current = candidate, !current.isRoot {
            for layer in domains {
                if let found = layer[current], found.isLive(at: now) { return found }
            }
            candidate = current.parent
        }
        return nil
    }

    func hasDomain(below name: DNSName) -> Bool { domainAncestors.contains(name) }

    /// Every entry that counts at `now`, removed ones left out.
    public func forEach(at now: UInt32, _ body: (Prefix, AddressListing) -> Void) {
        for (index, table) in layers.enumerated() {
            table.forEach { prefix, listing in
                guard listing.mark != AddressTable.noMark, listing.isLive(at: now), !isDecided(prefix, before: index, at: now)
                else { return }
                body(prefix, listing)
            }
        }
    }

    /// Whether a layer before this one has the last word about a prefix.
    func isDecided(_ prefix: Prefix, before index: Int, at now: UInt32) -> Bool {
        layers[..<index].contains { $0.entry(prefix)?.isLive(at: now) ?? false }
    }

    /// Every domain that counts at `now`.
    func forEachDomain(at now: UInt32, _ body: (DNSName, AddressListing) -> Void) {
        for (index, layer) in domains.enumerated() {
            for (name, listing) in layer where listing.isLive(at: now) {
                guard !domains[..<index].contains(where: { $0[name]?.isLive(at: now) ?? false }) else { continue }
                body(name, listing)
            }
        }
    }
}

extension PublishedSource {
    /// A subscription; its table is shared.
    public convenience init(_ list: SubscribedList) {
        self.init(
            name: list.name, layers: [list.table], statements: list.statements,
            domains: [Dictionary(uniqueKeysWithValues: list.domains.map { (DNSName($0.key), $0.value) })])
    }
}

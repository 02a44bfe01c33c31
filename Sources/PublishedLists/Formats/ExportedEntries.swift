import AddressTables
import DNSProtocol
import PosternCore
import PosternEngine

// What decides about an address or a domain, of all that the sources of an export say.

extension ListExport {
    struct Entry {
        var prefix: Prefix
        var statement: PublishedStatement
        /// 0 for never.
        var expires: UInt32
        var source: PublishedSource
    }

    /// Addresses and networks of any colour, those of a source after those of the one before it. Of those that contain an address
    /// the narrowest decides, whichever source it is of: what an earlier source covers is left out.
    func forEach<Failure: Error>(_ body: (Entry) throws(Failure) -> Void) throws(Failure) {
        try forEachWithPlace { (entry, _) throws(Failure) in try body(entry) }
    }

    private func forEachWithPlace<Failure: Error>(_ body: (Entry, Int) throws(Failure) -> Void) throws(Failure) {
        for (index, source) in sources.enumerated() {
            for (place, table) in source.layers.enumerated() {
                try table.forEach { (prefix, listing) throws(Failure) in
                    guard listing.mark != AddressTable.noMark, listing.isLive(at: time.now),
                        !source.isDecided(prefix, before: place, at: time.now)
                    else { return }
                    for earlier in sources[..<index]
                    where earlier.listing(covering: prefix, shorterThan: prefix.length + 1, at: time.now) != nil { return }
                    try body(
                        Entry(prefix: prefix, statement: source.statement(of: listing), expires: listing.expires, source: source), index)
                }
            }
        }
    }

    /// Prefixes of which a wider entry says that they are shown, and a narrower one that decides about them says that they are not: in
    /// the order of their first address, of two with the same the wider first.
    func holes(in shown: Set<ListColour>) -> [Prefix] {
        var holes: [Prefix] = []
        forEachWithPlace { entry, index in
            guard !shown.contains(entry.statement.colour) else { return }
            for source in sources[index...] {
                guard let wider = source.listing(covering: entry.prefix, shorterThan: entry.prefix.length, at: time.now) else { continue }
                if shown.contains(source.colour(of: wider)) { holes.append(entry.prefix) }
                return
            }
        }
        return holes.sorted { $0.precedes($1) }
    }

    struct DomainEntry {
        var name: DNSName
        var statement: PublishedStatement
        var expires: UInt32
        var source: PublishedSource
    }

    /// Domains with all below them, and those below them that are not shown after all; both in order.
    var domains: (shown: [DomainEntry], holes: [DNSName]) {
        var shown: [DomainEntry] = []
        var holes: [DNSName] = []
        for (index, source) in sources.enumerated() {
            source.forEachDomain(at: time.now) { name, listing in
                guard !sources[..<index].contains(where: { $0.listing(of: name, at: time.now) != nil }) else { return }
                let statement = source.statement(of: listing)
                if colours.contains(statement.colour) {
                    shown.append(DomainEntry(name: name, statement: statement, expires: listing.expires, source: source))
                } else if let above = name.parent,
                    let wider = sources[index...].lazy.compactMap({ source in
                        source.listing(of: above, at: time.now).map { source.colour(of: $0) }
                    }).first,
                    colours.contains(wider)
                {
                    holes.append(name)
                }
            }
        }
        return (
            shown.sorted { $0.name.description < $1.name.description }, holes.sorted { $0.description < $1.description }
        )
    }
}

/// Prefixes that are taken out of wider ones.
struct NetworkHoles {
    private let holes: [Prefix]

    /// - Parameter holes: in the order of `Prefix.precedes`.
    init(_ holes: [Prefix]) {
        self.holes = holes
    }

    /// What is left of a prefix, in as few prefixes as say it, in their order.
    func forEachPart<Failure: Error>(of prefix: Prefix, _ body: (Prefix) throws(Failure) -> Void) throws(Failure) {
        guard !holes.isEmpty else { return try body(prefix) }
        let begin = holes.firstPlace { !$0.precedes(prefix) }
        let end = holes[begin...].firstPlace { !prefix.contains($0.address) }
        try Self.forEachPart(of: prefix, without: holes[begin..<end], body)
    }

    /// `holes`: all within `prefix`.
    static func forEachPart<Failure: Error>(
        of prefix: Prefix, without holes: ArraySlice<Prefix>, _ body: (Prefix) throws(Failure) -> Void
    ) throws(Failure) {
        guard let first = holes.first else { return try body(prefix) }
        // Of those that begin with it the widest comes first.
        guard first.length > prefix.length, let (lower, upper) = prefix.halves else { return }
        let middle = holes.firstPlace { upper.contains($0.address) }
        try forEachPart(of: lower, without: holes[..<middle], body)
        try forEachPart(of: upper, without: holes[middle...], body)
    }
}

extension Prefix {
    /// By their first address, IPv4 before IPv6; of two with the same the wider one comes first, so that what lies within one follows it.
    func precedes(_ other: Prefix) -> Bool {
        (address.family.rawValue, address.high, address.low, length)
            < (other.address.family.rawValue, other.address.high, other.address.low, other.length)
    }
}

extension RandomAccessCollection {
    /// Where the first element is that `isBehind` says of, as it does of all after that.
    func firstPlace(where isBehind: (Element) -> Bool) -> Index {
        var (low, count) = (startIndex, count)
        while count > 0 {
            let half = count / 2
            let middle = index(low, offsetBy: half)
            if isBehind(self[middle]) {
                count = half
            } else {
                low = index(after: middle)
                count -= half + 1
            }
        }
        return low
    }
}

import AddressTables
import DNSProtocol
import PosternCore
import PosternEngine

/// What is exported: entries of chosen colours and sources, as they are at a moment.
public struct ListExport: Sendable {
    public enum Format: String, CaseIterable, Sendable, Codable {
        case rbldnsd
        case nftables
        case text
        case csv
    }

    public var format: Format
    public var colours: Set<ListColour>
    public var sources: [PublishedSource]
    public var time: ZoneTime
    /// For rbldnsd: the zone's name servers, texts and times to live.
    public var zone: ZoneSettings

    public init(_ format: Format, colours: Set<ListColour>, sources: [PublishedSource], time: ZoneTime, zone: ZoneSettings) {
        self.format = format
        self.colours = colours
        self.sources = sources
        self.time = time
        self.zone = zone
    }

    /// Hands over the export in pieces of some tens of kilobytes; returns how many entries are in it. Of several sources that
    /// list the same prefix the first counts.
    @discardableResult
    public func write<Failure: Error>(_ body: (ArraySlice<UInt8>) throws(Failure) -> Void) throws(Failure) -> Int {
        switch format {
        case .text, .csv: try writeLines(body)
        case .rbldnsd: try writeZone(body)
        case .nftables: try writeSets(body)
        }
    }

    // MARK: - What is in it

    struct Entry {
        var prefix: Prefix
        var statement: PublishedStatement
        var expires: UInt32
        var source: PublishedSource
    }

    /// Addresses and networks, those of a source after those of the one before it.
    func forEach<Failure: Error>(_ body: (Entry) throws(Failure) -> Void) throws(Failure) {
        for (index, source) in sources.enumerated() {
            for (place, table) in source.layers.enumerated() {
                try table.forEach { (prefix, listing) throws(Failure) in
                    guard listing.mark != AddressTable.noMark, listing.isLive(at: time.now) else { return }
                    let statement = source.statement(of: listing)
                    guard colours.contains(statement.colour) else { return }
                    // Somebody before has the last word about it.
                    for layer in source.layers[..<place] where layer.entry(prefix) != nil { return }
                    if index > 0, isCovered(prefix, by: sources[..<index]) { return }
                    try body(Entry(prefix: prefix, statement: statement, expires: listing.expires, source: source))
                }
            }
        }
    }

    /// Whether all of a prefix is listed by an earlier source, which then decides about it.
    private func isCovered(_ prefix: Prefix, by earlier: ArraySlice<PublishedSource>) -> Bool {
        earlier.contains { source in
            guard let found = source.listing(of: prefix.address, at: time.now) else { return false }
            return Int(found.length) <= prefix.length
        }
    }

    /// Domains with all below them, in order.
    var domains: [(name: DNSName, statement: PublishedStatement, expires: UInt32, source: PublishedSource)] {
        var seen: Set<DNSName> = []
        var found: [(name: DNSName, statement: PublishedStatement, expires: UInt32, source: PublishedSource)] = []
        for source in sources {
            for (name, listing) in source.domains where listing.isLive(at: time.now) && seen.insert(name).inserted {
                let statement = source.statement(of: listing)
                if colours.contains(statement.colour) { found.append((name, statement, listing.expires, source)) }
            }
        }
        return found.sorted { $0.name.description < $1.name.description }
    }

    // MARK: - Text and CSV

    private func writeLines<Failure: Error>(_ body: (ArraySlice<UInt8>) throws(Failure) -> Void) throws(Failure) -> Int {
        var out = OutputPieces()
        var count = 0
        if format == .csv { out.add("entry,list,expires,reason,source\n") }
        func line(_ entry: String, _ statement: PublishedStatement, _ expires: UInt32, _ source: PublishedSource) {
            count += 1
            guard format == .csv else { return out.add(entry + "\n") }
            let end = expires == 0 ? "" : time.wall(expires).description
            out.add("\(entry),\(statement.colour.rawValue),\(end),\(Self.quoted(statement.reason)),\(source.name)\n")
        }
        try forEach { (entry) throws(Failure) in
            line(entry.prefix.description, entry.statement, entry.expires, entry.source)
            try out.hand(over: body)
        }
        for (name, statement, expires, source) in domains { line(name.description, statement, expires, source) }
        try out.finish(body)
        return count
    }

    /// RFC 4180 §2. A text that a spreadsheet would take for a formula is kept from being one.
    static func quoted(_ text: String) -> String {
        let text = text.first.map { "=+-@".contains($0) } == true ? "'" + text : text
        guard text.contains(where: { ",\"".contains($0) }) else { return text }
        return "\"" + text.replacing("\"", with: "\"\"") + "\""
    }

    // MARK: - rbldnsd

    /// One file of type `combined`: `rbldnsd bl.example.net:combined:FILE`.
    private func writeZone<Failure: Error>(_ body: (ArraySlice<UInt8>) throws(Failure) -> Void) throws(Failure) -> Int {
        var out = OutputPieces()
        var count = 0
        // rbldnsd takes the serial number from its file's time where it is 0.
        let server = zone.nameServers.first.map { "\($0)" } ?? "localhost"
        out.add("# Written by Postern. rbldnsd: -b ADDRESS/PORT \(zone.name):combined:FILE\n")
        out.add("$SOA \(zone.timeToLive) \(server) \(zone.mailbox) 0 3600 600 604800 \(zone.negativeTimeToLive)\n")
        out.add("$NS \(zone.timeToLive)" + zone.nameServers.map { " \($0)" }.joined() + "\n$TTL \(zone.timeToLive)\n")
        let maker = PublishedZone(zone, sources: [], serial: 0)
        func text(_ statement: PublishedStatement, _ expires: UInt32, _ subject: String) -> String {
            ":127.0.0.\(statement.colour.returnCode):"
                + maker.text(of: .init(statement: statement, expires: expires), for: subject, time).replacing("$", with: "$$")
        }
        let test = PublishedStatement(maker.testColour, reason: PublishedZone.testReason)
        if zone.kind == .domain {
            out.add("$DATASET dnset:domains @\n")
            out.add("test \(text(test, 0, "test"))\n")
            for (name, statement, expires, _) in domains {
                // With all below it.
                out.add(".\(name) \(text(statement, expires, name.description))\n")
                count += 1
                try out.hand(over: body)
            }
            try out.finish(body)
            return count
        }
        // A set of single addresses takes a quarter of the memory; only the trie knows which network is the narrowest.
        let hasNetworks = sources.contains { source in source.layers.contains(where: \.hasNetworksV4) }
        out.add("$DATASET \(hasNetworks ? "ip4trie" : "ip4set"):addresses @\n")
        out.add("127.0.0.2 \(text(test, 0, "127.0.0.2"))\n!127.0.0.1\n")
        var last = ""
        func entries(of family: IPAddress.Family) throws(Failure) {
            try forEach { (entry) throws(Failure) in
                guard entry.prefix.address.family == family, entry.prefix != Self.test, entry.prefix != Self.unlisted else { return }
                count += 1
                // A text for all addresses with the same one: `$` stands for the address.
                let subject = entry.prefix.length == family.bits ? entry.prefix.address.description : entry.prefix.description
                let whole = maker.text(
                    of: .init(statement: entry.statement, expires: entry.expires), for: "\u{1}", time
                ).replacing("$", with: "$$").replacing("\u{1}", with: "$")
                let value = ":127.0.0.\(entry.statement.colour.returnCode):\(whole)"
                if value != last {
                    out.add(value + "\n")
                    last = value
                }
                out.add(subject + "\n")
                try out.hand(over: body)
            }
        }
        try entries(of: .v4)
        out.add("$DATASET ip6trie:addresses6 @\n")
        last = ""
        out.add("::ffff:7f00:2 \(text(test, 0, "127.0.0.2"))\n")
        try entries(of: .v6)
        try out.finish(body)
        return count
    }

    private static let test = Prefix(IPAddress(v4: PublishedZone.listedTest), length: 32)
    private static let unlisted = Prefix(IPAddress(v4: PublishedZone.unlistedTest), length: 32)

    // MARK: - nftables

    /// Sets with timeouts in a table `inet postern`, for `nft -f FILE`: loading it again replaces what was there, in one step.
    private func writeSets<Failure: Error>(_ body: (ArraySlice<UInt8>) throws(Failure) -> Void) throws(Failure) -> Int {
        var out = NetworkSetWriter()
        out.begin()
        var sets: [String: [(Prefix, UInt32)]] = [:]
        forEach { entry in
            let name = "\(entry.statement.colour.rawValue)\(entry.prefix.address.family == .v4 ? "4" : "6")"
            sets[name, default: []].append((entry.prefix, entry.expires == 0 ? 0 : entry.expires - time.now))
        }
        var count = 0
        for colour in ListColour.allCases where colours.contains(colour) {
            for family in [IPAddress.Family.v4, .v6] {
                let name = "\(colour.rawValue)\(family == .v4 ? "4" : "6")"
                count += try out.set(name, family, sets[name] ?? [], hasTimeouts: true, body)
            }
        }
        try out.finish(body)
        return count
    }
}

/// Text that is handed over whenever enough of it has gathered.
struct OutputPieces {
    private var octets: [UInt8] = []
    static let size = 65_536

    mutating func add(_ text: String) { octets += text.utf8 }

    mutating func hand<Failure: Error>(over body: (ArraySlice<UInt8>) throws(Failure) -> Void) throws(Failure) {
        guard octets.count >= Self.size else { return }
        try body(octets[...])
        octets.removeAll(keepingCapacity: true)
    }

    mutating func finish<Failure: Error>(_ body: (ArraySlice<UInt8>) throws(Failure) -> Void) throws(Failure) {
        if !octets.isEmpty { try body(octets[...]) }
        octets = []
    }
}

/// Sets of addresses as nft(8) reads them, all in the table `inet postern`.
public struct NetworkSetWriter {
    private var out = OutputPieces()

    public init() {}

    public mutating func begin() { out.add("#!/usr/sbin/nft -f\n# Written by Postern.\nadd table inet postern\n") }

    /// Adds one set, emptied first; returns how many elements it has. A prefix within another of the set is left out, since
    /// intervals must not overlap: the wider one matches it.
    public mutating func set<Failure: Error>(
        _ name: String, _ family: IPAddress.Family, _ elements: [(prefix: Prefix, seconds: UInt32)], hasTimeouts: Bool,
        _ body: (ArraySlice<UInt8>) throws(Failure) -> Void
    ) throws(Failure) -> Int {
        let flags = hasTimeouts ? "interval, timeout" : "interval"
        out.add("add set inet postern \(name) { type \(family == .v4 ? "ipv4_addr" : "ipv6_addr"); flags \(flags); }\n")
        out.add("flush set inet postern \(name)\n")
        // In the order of their first address, of two the wider one first: what lies within one follows it.
        let sorted = elements.sorted {
            ($0.prefix.address.high, $0.prefix.address.low, $0.prefix.length) < (
                $1.prefix.address.high, $1.prefix.address.low, $1.prefix.length
            )
        }
        var last: Prefix?
        var count = 0
        for (prefix, seconds) in sorted {
            if let last, last.length <= prefix.length, last.contains(prefix.address) { continue }
            last = prefix
            // Not all in one line: nft reads it into memory at once.
            out.add(count % 512 == 0 ? (count > 0 ? " }\n" : "") + "add element inet postern \(name) { " : ", ")
            out.add(prefix.description)
            if seconds > 0 { out.add(" timeout \(seconds)s") }
            count += 1
            try out.hand(over: body)
        }
        if count > 0 { out.add(" }\n") }
        return count
    }

    public mutating func finish<Failure: Error>(_ body: (ArraySlice<UInt8>) throws(Failure) -> Void) throws(Failure) {
        try out.finish(body)
    }
}

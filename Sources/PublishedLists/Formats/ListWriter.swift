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
    /// For CSV: the admin's entries as they are, in place of what is published of them: mailboxes and whole notes, too.
    public var entries: [ListEntry]?
    /// For rbldnsd: the zone's name servers, texts and times to live.
    public var zone: ZoneSettings
    /// Only what a zone of this kind shows; `nil` for addresses and domains. A file for rbldnsd is always of the zone's kind.
    public var only: ZoneSettings.Kind?

    public init(_ format: Format, colours: Set<ListColour>, sources: [PublishedSource], time: ZoneTime, zone: ZoneSettings) {
        self.format = format
        self.colours = colours
        self.sources = sources
        self.time = time
        self.zone = zone
    }

    /// Hands over the export in pieces of some tens of kilobytes; returns how many entries are in it. It says of an address what a
    /// zone with these sources and colours says: the first source that lists it decides, by its narrowest entry. So where a
    /// narrower entry is not shown, the wider one is written without it.
    @discardableResult
    public func write<Failure: Error>(_ body: (ArraySlice<UInt8>) throws(Failure) -> Void) throws(Failure) -> Int {
        switch format {
        case .csv where entries != nil: try writeEntries(entries ?? [], body)
        case .text, .csv: try writeLines(body)
        case .rbldnsd: try writeZone(body)
        case .nftables: try writeSets(body)
        }
    }

    // MARK: - Text and CSV

    private func writeLines<Failure: Error>(_ body: (ArraySlice<UInt8>) throws(Failure) -> Void) throws(Failure) -> Int {
        var out = OutputPieces()
        var count = 0
        if format == .csv { out.add(EntryCSV.line(EntryCSV.columns.dropLast())) }
        func line(_ entry: String, _ statement: PublishedStatement, _ expires: UInt32, _ source: PublishedSource) {
            count += 1
            guard format == .csv else { return out.add(entry + "\n") }
            let end = expires == 0 ? "" : time.wall(expires).description
            out.add(EntryCSV.line([entry, statement.colour.rawValue, end, statement.reason, source.name]))
        }
        if only != .domain {
            let holes = NetworkHoles(holes(in: colours))
            try forEach { (entry) throws(Failure) in
                guard colours.contains(entry.statement.colour) else { return }
                try holes.forEachPart(of: entry.prefix) { (part) throws(Failure) in
                    line(part.description, entry.statement, entry.expires, entry.source)
                    try out.hand(over: body)
                }
            }
        }
        if only != .address {
            for entry in domains.shown { line(entry.name.description, entry.statement, entry.expires, entry.source) }
        }
        try out.finish(body)
        return count
    }

    /// With what an entry is of (`as`), so that it means the same to who reads it back.
    private func writeEntries<Failure: Error>(
        _ entries: [ListEntry], _ body: (ArraySlice<UInt8>) throws(Failure) -> Void
    ) throws(Failure) -> Int {
        var out = OutputPieces()
        var count = 0
        out.add(EntryCSV.line(EntryCSV.columns))
        let wanted = entries.filter { entry in
            switch entry.list {
            case .allow: colours.contains(.white)
            case .block: colours.contains(.black)
            case .trap: false
            }
        }
        for entry in wanted.sorted(by: { ($0.kind.rawValue, $0.pattern.description) < ($1.kind.rawValue, $1.pattern.description) }) {
            let second = entry.expires.map { UInt32(clamping: max(1, ($0.milliseconds + 999) / 1000)) } ?? 0
            guard second == 0 || time.now < second else { continue }
            // To the millisecond, so that it ends at the same time where it is read back.
            let end = entry.expires.map { ($0 + time.offset).description } ?? ""
            out.add(
                EntryCSV.line([entry.pattern.description, entry.list.rawValue, end, entry.note, "own", entry.kind.rawValue]))
            count += 1
            try out.hand(over: body)
        }
        try out.finish(body)
        return count
    }

    // MARK: - rbldnsd

    /// Octets of a text that rbldnsd serves once `$` has become the address: one less than a string may have (rbldnsd 1.0).
    private static let longestText = PublishedZone.longestText - 1

    /// One file of type `combined`: `rbldnsd bl.example.net:combined:FILE`.
    private func writeZone<Failure: Error>(_ body: (ArraySlice<UInt8>) throws(Failure) -> Void) throws(Failure) -> Int {
        var out = OutputPieces()
        var count = 0
        // rbldnsd takes the serial number from its file's time where it is 0.
        let server = zone.nameServers.first.map { "\($0)" } ?? "localhost"
        out.add("# Written by Postern. rbldnsd: -b ADDRESS/PORT \(zone.name):combined:FILE\n")
        out.add("$SOA \(zone.timeToLive) \(server) \(zone.mailbox) 0 3600 600 604800 \(zone.negativeTimeToLive)\n")
        // rbldnsd takes 0 for its own default, which is longer than anything.
        let timeToLive = max(zone.timeToLive, 1)
        out.add("$NS \(timeToLive)" + zone.nameServers.map { " \($0)" }.joined() + "\n$TTL \(timeToLive)\n")
        let maker = PublishedZone(zone, sources: [], serial: 0)
        func text(_ statement: PublishedStatement, _ expires: UInt32, _ subject: String) -> String {
            ":127.0.0.\(statement.colour.returnCode):"
                + maker.text(of: .init(statement: statement, expires: expires), for: subject, time, longest: Self.longestText).replacing(
                    "$", with: "$$")
        }
        let test = PublishedStatement(maker.testColour, reason: PublishedZone.testReason)
        if zone.kind == .domain {
            out.add("$DATASET dnset:domains @\n")
            out.add("test \(text(test, 0, "test"))\n")
            let domains = domains
            for entry in domains.shown {
                // With all below it.
                out.add(".\(entry.name) \(text(entry.statement, entry.expires, entry.name.description))\n")
                count += 1
                try out.hand(over: body)
            }
            for name in domains.holes {
                out.add("!.\(name)\n")
                try out.hand(over: body)
            }
            try out.finish(body)
            return count
        }
        // A set of single addresses takes a quarter of the memory; only the trie knows which network is the narrowest.
        let hasNetworks = sources.contains { source in source.layers.contains(where: \.hasNetworksV4) }
        out.add("$DATASET \(hasNetworks ? "ip4trie" : "ip4set"):addresses @\n")
        out.add("127.0.0.2 \(text(test, 0, "127.0.0.2"))\n!127.0.0.1\n")
        let holes = holes(in: colours).filter { $0 != Self.test && $0 != Self.unlisted }
        var last = ""
        func entries(of family: IPAddress.Family) throws(Failure) {
            for hole in holes where hole.address.family == family {
                out.add("!\(hole)\n")
                try out.hand(over: body)
            }
            // Of `$`, which stands for the address, there is room for the longest that it can become.
            let placeholder = String(repeating: "\u{1}", count: family == .v4 ? 15 : 39)
            try forEach { (entry) throws(Failure) in
                guard colours.contains(entry.statement.colour), entry.prefix.address.family == family, entry.prefix != Self.test,
                    entry.prefix != Self.unlisted
                else { return }
                count += 1
                // One text for all addresses that have the same.
                let subject = entry.prefix.length == family.bits ? entry.prefix.address.description : entry.prefix.description
                let whole = maker.text(
                    of: .init(statement: entry.statement, expires: entry.expires), for: placeholder, time, longest: Self.longestText
                )
                .replacing("$", with: "$$").replacing(placeholder, with: "$").replacing("\u{1}", with: "")
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
        var sets: [ListColour: [NetworkSetWriter.Element]] = [:]
        forEach { entry in
            guard colours.contains(entry.statement.colour) else { return }
            sets[entry.statement.colour, default: []].append(
                .init(prefix: entry.prefix, seconds: entry.expires == 0 ? 0 : entry.expires - time.now))
        }
        var count = 0
        for colour in ListColour.allCases where colours.contains(colour) {
            // What another set is for is not in this one, either.
            let holes = holes(in: [colour])
            for family in [IPAddress.Family.v4, .v6] {
                count += try out.set(
                    "\(colour.rawValue)\(family == .v4 ? "4" : "6")", family,
                    (sets[colour] ?? []).filter { $0.prefix.address.family == family },
                    without: holes.filter { $0.address.family == family }, hasTimeouts: true, body)
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

import AddressTables
import PosternCore

/// What a published or subscribed entry says, for all entries that say the same.
public struct PublishedStatement: Hashable, Sendable {
    public var colour: ListColour
    /// One line of UTF-8, at most `PublishedEntry.maximumReason` octets.
    public var reason: String

    /// The reason is cut to its length, and what is no character to print becomes `?`.
    public init(_ colour: ListColour, reason: String) {
        self.colour = colour
        let octets = reason.utf8
        if octets.count <= PublishedEntry.maximumReason, octets.allSatisfy({ (0x20...0x7e).contains($0) }) {
            self.reason = reason
        } else {
            var line = ""
            for scalar in reason.unicodeScalars {
                let scalar = scalar.isOfLine ? scalar : "?"
                guard line.utf8.count + UTF8.width(scalar) <= PublishedEntry.maximumReason else { break }
                line.unicodeScalars.append(scalar)
            }
            self.reason = line
        }
    }
}

extension Unicode.Scalar {
    /// Neither a control character nor the end of a line.
    fileprivate var isOfLine: Bool {
        switch properties.generalCategory {
        case .control, .lineSeparator, .paragraphSeparator: false
        default: true
        }
    }
}

/// Gives each distinct statement a mark.
public struct StatementTable: Sendable {
    public private(set) var statements: [PublishedStatement] = []
    private var marks: [PublishedStatement: UInt16] = [:]

    /// Beyond so many a statement is kept without its reason.
    public static let mostStatements = 60_000

    public init() {}

    public mutating func mark(_ statement: PublishedStatement) -> UInt16 {
        if let mark = marks[statement] { return mark }
        var kept = statement
        if statements.count >= Self.mostStatements {
            kept.reason = ""
            if let mark = marks[kept] { return mark }
        }
        let mark = UInt16(statements.count)
        statements.append(kept)
        marks[kept] = mark
        return mark
    }
}

/// What a list says of an address that it neither refuses nor admits.
public struct Suspicion: Equatable, Sendable {
    /// Yellow or brown.
    public var colour: ListColour
    /// The subscription's name.
    public var source: String
}

/// A list that somebody else keeps and that we have subscribed to. Never changes: a newer one takes its place.
///
/// To the engine what is black is as good as blocked, and what is white as good as allowed, where the admin has said nothing
/// about it; an address that is yellow or brown is scored as one that our own traps have listed so.
public final class SubscribedList: Sendable {
    public let name: String
    /// The entries, by seconds of steady time.
    public let table: AddressTable
    /// Domains with all below them.
    public let domains: [DomainName: AddressListing]
    /// By mark.
    public let statements: [PublishedStatement]
    /// When it was last found to be as it is.
    public let checked: WallTime

    public init(
        name: String, table: AddressTable, domains: [DomainName: AddressListing], statements: [PublishedStatement], checked: WallTime
    ) {
        self.name = name
        self.table = table
        self.domains = domains
        self.statements = statements
        self.checked = checked
    }

    public var count: Int { table.count + domains.count }

    func client(_ address: IPAddress, at now: WallTime) -> ListEntry? {
        guard let listing = table.listing(of: address, at: now.wholeSecond) else { return nil }
        return entry(.client, .prefix(Prefix(address, length: Int(listing.length))), listing)
    }

    /// What is said of an address that is yellow or brown.
    func suspicion(of address: IPAddress, at now: WallTime) -> Suspicion? {
        guard let listing = table.listing(of: address, at: now.wholeSecond) else { return nil }
        let colour = statements[Int(listing.mark)].colour
        return colour == .yellow || colour == .brown ? Suspicion(colour: colour, source: name) : nil
    }

    func domain(_ kind: ListEntry.Kind, _ name: DomainName, at now: WallTime, blocksOnly: Bool) -> ListEntry? {
        guard !domains.isEmpty else { return nil }
        var candidate: DomainName? = name
        while let current = candidate {
            if let listing = domains[current], listing.isLive(at: now.wholeSecond),
                !blocksOnly || statements[Int(listing.mark)].colour != .white
            {
                return entry(kind, .domain(current), listing)
            }
            candidate = current.parent
        }
        return nil
    }

    /// `nil` for a colour that only adds to a score.
    private func entry(_ kind: ListEntry.Kind, _ pattern: Pattern, _ listing: AddressListing) -> ListEntry? {
        let (entry, colour) = shown(kind, pattern, listing)
        return colour == .black || colour == .white ? entry : nil
    }

    /// As it is shown: what is white stands among allow entries, all else among blocks.
    private func shown(_ kind: ListEntry.Kind, _ pattern: Pattern, _ listing: AddressListing) -> (entry: ListEntry, colour: ListColour) {
        let statement = statements[Int(listing.mark)]
        let list: ListEntry.List = statement.colour == .white ? .allow : .block
        let expires = listing.expires == 0 ? nil : WallTime(seconds: Int64(listing.expires))
        var entry = ListEntry(
            list, kind, pattern, expires: expires, note: statement.reason.isEmpty ? "from \(name)" : "from \(name): \(statement.reason)",
            added: checked)
        entry.source = name
        return (entry, statement.colour)
    }

    /// The entries as those of the admin, and their colours; at most `limit` of those that are wanted.
    public func entries(
        of list: ListEntry.List, at now: WallTime, limit: Int, where isWanted: (ListEntry.Kind, Pattern) -> Bool = { _, _ in true }
    ) -> [(entry: ListEntry, colour: ListColour)] {
        var entries: [(entry: ListEntry, colour: ListColour)] = []
        func add(_ kind: ListEntry.Kind, _ pattern: Pattern, _ listing: AddressListing) {
            guard listing.isLive(at: now.wholeSecond), isWanted(kind, pattern) else { return }
            let shown = shown(kind, pattern, listing)
            if shown.entry.list == list { entries.append(shown) }
        }
        struct Enough: Error {}
        try? table.forEach { (prefix, listing) throws(Enough) in
            guard entries.count < limit else { throw Enough() }
            add(.client, .prefix(prefix), listing)
        }
        for (name, listing) in domains where entries.count < limit { add(.sender, .domain(name), listing) }
        return entries
    }
}

extension WallTime {
    fileprivate var wholeSecond: UInt32 { UInt32(clamping: max(1, milliseconds / 1000)) }
}

import AddressTables
import DNSProtocol
import PosternCore
import PosternEngine

/// A zone that is served: what it is called, and what of the sources it tells.
public struct ZoneSettings: Equatable, Sendable {
    public enum Kind: String, CaseIterable, Sendable {
        /// Asked for reversed addresses (RFC 5782 §2).
        case address
        /// Asked for domains (RFC 5782 §3).
        case domain
    }

    public var name: DNSName
    public var kind = Kind.address
    /// Entries of other colours are as good as not listed.
    public var colours = Set(ListColour.allCases)
    /// Who serves the zone; at least one, none of them within it.
    public var nameServers: [DNSName]
    /// Whom to write to about the zone: the mailbox as a name (RFC 1035 §3.3.13).
    public var mailbox: DNSName
    /// Seconds that a listing may be kept.
    public var timeToLive: UInt32 = 300
    /// Seconds that "not listed" may be kept (RFC 2308 §5).
    public var negativeTimeToLive: UInt32 = 60
    /// Where the listed can look themselves up: in TXT records, `$` being the address; empty for none.
    public var lookup = ""
    /// Whom the listed can turn to: in TXT records; empty for none.
    public var contact = ""

    public init(name: DNSName, nameServers: [DNSName], mailbox: DNSName) {
        self.name = name
        self.nameServers = nameServers
        self.mailbox = mailbox
    }
}

/// The time as listings have it, and as people read it.
public struct ZoneTime: Equatable, Sendable {
    /// Seconds of the clock that ends of entries are measured by.
    public var now: UInt32
    /// What to add to such a second for one of the wall clock.
    public var toWall: Int64
    /// The same to the millisecond.
    public var offset: WallTime.Span

    public init(now: UInt32, toWall: Int64 = 0) {
        self.init(now: now, offset: .seconds(toWall))
    }

    public init(now: UInt32, offset: WallTime.Span) {
        self.now = now
        self.offset = offset
        toWall = offset.milliseconds / 1000
    }

    public func wall(_ second: UInt32) -> WallTime { WallTime(seconds: Int64(second) + toWall) }
}

/// A zone with its entries. Never changes: a newer one takes its place.
public final class PublishedZone: Sendable {
    public let settings: ZoneSettings
    /// The first that lists an address decides.
    public let sources: [PublishedSource]
    /// Grows whenever the entries change (RFC 1035 §3.3.13).
    public let serial: UInt32
    let wire: [UInt8]
    private let colours: UInt8
    /// The data of the SOA record, and of each NS record.
    let startOfAuthority: [UInt8]
    let nameServers: [[UInt8]]
    let testColour: ListColour

    /// RFC 5782 §5: 127.0.0.2 is always listed, 127.0.0.1 never is.
    static let listedTest: UInt32 = 0x7f00_0002
    static let unlistedTest: UInt32 = 0x7f00_0001
    /// RFC 5782 §5: TEST is listed in a list of domains, and INVALID is not.
    static let testDomain = DNSName(trustedLabel: "test")
    static let invalidDomain = DNSName(trustedLabel: "invalid")
    public static let testReason = "test entry (RFC 5782)"

    public init(_ settings: ZoneSettings, sources: [PublishedSource], serial: UInt32) {
        self.settings = settings
        self.sources = sources
        self.serial = serial
        wire = settings.name.wire
        colours = settings.colours.reduce(0) { $0 | 1 << $1.returnCode }
        testColour = settings.colours.contains(.black) ? .black : settings.colours.min { $0.returnCode < $1.returnCode } ?? .black
        var data = settings.nameServers.first?.wire ?? DNSName.root.wire
        data += settings.mailbox.wire
        // Secondary servers are not served: what they would go by is only for show.
        for value in [serial, 3600, 600, 604_800, settings.negativeTimeToLive] { data.append(bigEndian: value) }
        startOfAuthority = data
        nameServers = settings.nameServers.map(\.wire)
    }

    /// What the zone says of an address or a domain.
    public struct Answer: Equatable, Sendable {
        public var statement: PublishedStatement
        /// 0 for never.
        public var expires: UInt32
    }

    @inline(__always)
    func shows(_ colour: ListColour) -> Bool { colours & 1 << colour.returnCode != 0 }

    /// The colour of an IPv4 address and the second that it ends in; `nil` where it is not listed.
    @inline(__always)
    func colour(v4 address: UInt32, at now: UInt32) -> (ListColour, UInt32)? {
        if address == Self.listedTest { return (testColour, 0) }
        if address == Self.unlistedTest { return nil }
        for source in sources {
            guard let listing = source.listing(v4: address, at: now) else { continue }
            let colour = source.colour(of: listing)
            return shows(colour) ? (colour, listing.expires) : nil
        }
        return nil
    }

    func colour(v6High high: UInt64, low: UInt64, at now: UInt32) -> (ListColour, UInt32)? {
        for source in sources {
            guard let listing = source.listing(v6High: high, low: low, at: now) else { continue }
            let colour = source.colour(of: listing)
            return shows(colour) ? (colour, listing.expires) : nil
        }
        return nil
    }

    func colour(of domain: DNSName, at now: UInt32) -> (ListColour, UInt32)? {
        if domain == Self.testDomain { return (testColour, 0) }
        if domain == Self.invalidDomain { return nil }
        for source in sources {
            guard let listing = source.listing(of: domain, at: now) else { continue }
            let colour = source.colour(of: listing)
            return shows(colour) ? (colour, listing.expires) : nil
        }
        return nil
    }

    /// With its reason; `nil` where it is not listed, or in a colour that the zone does not tell.
    public func answer(for address: IPAddress, at now: UInt32) -> Answer? {
        if address == IPAddress(v4: Self.listedTest) { return testAnswer }
        if address == IPAddress(v4: Self.unlistedTest) { return nil }
        return answer { $0.listing(of: address, at: now) }
    }

    public func answer(for domain: DNSName, at now: UInt32) -> Answer? {
        if domain == Self.testDomain { return testAnswer }
        if domain == Self.invalidDomain { return nil }
        return answer { $0.listing(of: domain, at: now) }
    }

    private var testAnswer: Answer { Answer(statement: PublishedStatement(testColour, reason: Self.testReason), expires: 0) }

    private func answer(_ find: (PublishedSource) -> AddressListing?) -> Answer? {
        for source in sources {
            guard let listing = find(source) else { continue }
            let statement = source.statement(of: listing)
            return shows(statement.colour) ? Answer(statement: statement, expires: listing.expires) : nil
        }
        return nil
    }

    // MARK: - Names that have names below them

    /// RFC 8020: such a name exists.
    func hasNames(v4 address: UInt32, length: UInt8) -> Bool {
        let mask = length == 0 ? 0 : UInt32.max << (32 - UInt32(length))
        return Self.listedTest & mask == address || sources.contains { $0.touches(v4: address, length: length) }
    }

    func hasNames(v6High high: UInt64, low: UInt64, length: UInt8) -> Bool {
        let lowMask: UInt64 = length <= 64 ? 0 : .max << UInt64(128 - length)
        // ::FFFF:7F00:2, the test entry, is of IPv6 too, and so is every IPv4 entry.
        let mapped: UInt64 = 0xffff << 32 | UInt64(Self.listedTest)
        if high == 0, low == mapped & lowMask { return true }
        if high == 0, length > 96, low >> 32 == 0xffff { return hasNames(v4: UInt32(truncatingIfNeeded: low), length: length - 96) }
        return sources.contains { $0.touches(v6High: high, low: low, length: length) }
    }

    func hasNames(below domain: DNSName) -> Bool { sources.contains { $0.hasDomain(below: domain) } }

    // MARK: - Text

    /// The text of a TXT record (RFC 5782 §2.1): one string of at most 255 octets of ASCII.
    ///
    /// - Parameter longest: Octets at most, where it has to be less.
    public func text(of answer: Answer, for subject: String, _ time: ZoneTime, longest: Int = PublishedZone.longestText) -> String {
        var text = "\(subject) is listed \(answer.statement.colour.rawValue)"
        if !answer.statement.reason.isEmpty { text += ": \(answer.statement.reason.printableASCII)" }
        var rest = ""
        // To the minute.
        if answer.expires != 0 { rest += "; until \(time.wall(answer.expires).description.prefix(16))Z" }
        if !settings.lookup.isEmpty { rest += "; see \(settings.lookup.replacing("$", with: subject))" }
        if !settings.contact.isEmpty { rest += "; contact \(settings.contact)" }
        // The reason gives way to what the reader can act on.
        let room = max(longest - rest.utf8.count, 0)
        if text.utf8.count > room { text = String(text.prefix(room)) }
        return String((text + rest).prefix(longest))
    }

    /// One string of a TXT record (RFC 1035 §3.3).
    public static let longestText = 255
}

extension String {
    /// With `?` for every other character.
    fileprivate var printableASCII: String {
        String(UnicodeScalarView(unicodeScalars.lazy.map { (0x20...0x7e).contains($0.value) ? $0 : "?" }))
    }
}

extension [UInt8] {
    mutating func append(bigEndian value: UInt32) {
        for shift in [24, 16, 8, 0] as [UInt32] { append(UInt8(truncatingIfNeeded: value >> shift)) }
    }
}

extension DNSName {
    /// A single label that is known to be good.
    init(trustedLabel label: StaticString) {
        self = DNSName("\(label)") ?? .root
    }
}

import PosternCore

/// What a published entry says of an address. Lists of several colours in one zone go back to Hostkarma (hostkarma.junkemailfilter.com).
public enum ListColour: String, CaseIterable, Sendable, Codable {
    /// Sends mail that is wanted, again and again.
    case white
    /// Touched only what no mail server would: refuse it.
    case black
    /// Sends so much of both kinds that lists of addresses should say nothing of it: look at its mail instead.
    case yellow
    /// Suspected, not proven: a reason to look closer, never to refuse.
    case brown

    /// The last octet of `127.0.0.x`, as Hostkarma has them.
    public var returnCode: UInt8 {
        switch self {
        case .white: 1
        case .black: 2
        case .yellow: 3
        case .brown: 4
        }
    }
}

/// One address, or network, as lists tell others of it: over DNS, in exports, to the fronts of this very Postern.
public struct PublishedEntry: Equatable, Sendable {
    /// A whole IPv4 address or an IPv6 /64, where Postern found it out by itself. Of one prefix there is one entry at most.
    public var prefix: Prefix
    public var colour: ListColour
    /// Why, in a sentence for the admin of that address. One line of printable ASCII, at most `maximumReason` octets; names nobody.
    public var reason: String
    /// When it was first listed; steady time, as all rows have.
    public var added: WallTime
    /// From here on it no longer counts, whether or not its removal has been told yet; steady time.
    public var expires: WallTime

    /// In octets: fits into one string of a TXT record (RFC 1035 §3.3) beside an address of look-up.
    public static let maximumReason = 160

    public init(prefix: Prefix, colour: ListColour, reason: String, added: WallTime, expires: WallTime) {
        self.prefix = prefix
        self.colour = colour
        self.reason = reason
        self.added = added
        self.expires = expires
    }
}

/// One step from what was published to what is.
public enum PublishedChange: Equatable, Sendable {
    /// New, or in place of what was there for its prefix.
    case put(PublishedEntry)
    /// Expired, or removed by somebody.
    case remove(Prefix)
}

/// Whoever publishes entries. Any number of readers may follow it.
public protocol PublishedEntries: Sendable {
    /// Tells `reader` of everything that is published now, then of each change from then on, in order and without a gap.
    /// `reader` is held until `unfollow`.
    func follow(_ reader: any PublishedEntriesReader)
    /// It is told nothing from here on. Nothing happens where it did not follow.
    func unfollow(_ reader: any PublishedEntriesReader)
}

/// Somebody who keeps a copy of the published entries, such as a DNS zone. Called by one thread at a time, whichever;
/// must not block, and must not call `follow` or `unfollow` from within.
public protocol PublishedEntriesReader: AnyObject, Sendable {
    /// All there are. Called once, within `follow`.
    func published(_ entries: [PublishedEntry])
    /// What has changed since.
    func changed(_ changes: [PublishedChange])
}

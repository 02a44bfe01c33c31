import PosternCore

/// Why a pass says nothing about who the client is: a domain whose record lets everybody pass must not lend its name,
/// and with it whatever trust that name earns, to everybody.
public enum SPFWeakness: String, Hashable, Sendable {
    /// `all` matched.
    case all
    /// `ptr` matched: the client's own reverse zone decided (RFC 7208 §5.5 says not to use it).
    case ptr
    /// `exists` matched: a server can say yes to whatever it is asked.
    case exists
    /// The network around the address that matched is wider than `SPFSettings.identityPrefixes`.
    case wideNetwork = "wide-network"
    /// The name that a term leads to is made of the client's address, reverse name or HELO, or of the local part, so that
    /// the client chooses what it is compared with, or a server can say yes to each; this is `exists` in other clothes.
    case namedByClient = "named-by-client"

    public var text: String {
        switch self {
        case .all: "the record lets everybody pass"
        case .ptr: "the client's own reverse name decided"
        case .exists: "any name that exists would do"
        case .wideNetwork: "the network is too wide for one sender"
        case .namedByClient: "the client has a say in the name that is asked for"
        }
    }
}

/// What the admin may set about a check.
public struct SPFSettings: Hashable, Sendable {
    /// RFC 7208 §4.6.4: 2 is recommended. 0...10.
    public var voidLookups = SPFLimits.voidLookups
    /// Whether the text of `exp` is fetched where the result is fail: one question more.
    public var explains = true
    /// A network with fewer bits than this gives no identity.
    ///
    /// /16 for IPv4: 65,536 addresses, about what one large sender has in one piece. /32 for IPv6: the least that a
    /// registry hands to a provider (RIPE's "IPv6 Address Allocation and Assignment Policy", §4.3), so anything wider may span
    /// several owners; what large senders publish is /36 and smaller.
    public var identityPrefixes = PrefixLengths(v4: 16, v6: 32)

    public init() {}
}

extension SPFSettings {
    func weakness(ofLength length: Int, family: IPAddress.Family) -> SPFWeakness? {
        length < identityPrefixes.length(for: family) ? .wideNetwork : nil
    }
}

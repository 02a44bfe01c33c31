import PosternCore

/// What look-ups found out about a client and about what it says of itself. What was not asked, or did not come in time,
/// is unknown and weighs nothing.
public struct Findings: Equatable, Sendable {
    /// What the reverse tree says of the client's address.
    public enum ReverseName: Equatable, Sendable {
        case unknown
        case none
        /// There is a name, but it does not lead back to the address.
        case unconfirmed(DomainName)
        case confirmed(DomainName)
    }

    /// What addresses a name has.
    public enum Resolution: String, Sendable {
        case unknown
        /// No such name, or no address.
        case none
        /// It leads to the client.
        case client
        /// It leads elsewhere.
        case elsewhere
    }

    /// Whether the sender's domain can take an answer.
    public enum MailDomain: String, Sendable {
        case unknown
        /// It has an MX, or an address.
        case reachable
        /// It says that it takes no mail (RFC 7505).
        case nullMX = "null-mx"
        /// Neither MX nor address (RFC 5321 §5.1).
        case none
    }

    public var reverseName = ReverseName.unknown
    public var helo = Resolution.unknown
    public var senderDomain = MailDomain.unknown
    public var spf: SPFFinding?
    /// A header field that tells of that, where the configuration wants one: one line without CRLF.
    public var spfField: String?
    /// The lists that name the client, or a domain of its.
    public var listings: [Listing] = []
    /// DNS lists that answered, and that did not.
    public var listsAnswered = 0
    public var listsSilent = 0
    /// Where the address is registered: ISO 3166-1, two capitals.
    public var country: String?
    /// Whose network it belongs to.
    public var network: NetworkOwner?
    /// How old the oldest of this is.
    public var age = WallTime.Span.zero

    public init() {}
}

/// The outcome of RFC 7208's check_host().
public struct SPFFinding: Equatable, Sendable {
    /// RFC 7208 §2.6.
    public enum Result: String, CaseIterable, Sendable {
        case none, neutral, pass, fail, softfail, temperror, permerror
    }

    public var result: Result
    /// Whose record was asked: the sender's domain, or the HELO name for the null sender.
    public var domain: DomainName?
    /// Whether the pass tells who sends: not where it rests on `all`, `ptr`, `exists` or a very wide network.
    public var identifies: Bool

    public init(_ result: Result, domain: DomainName? = nil, identifies: Bool = false) {
        self.result = result
        self.domain = domain
        self.identifies = identifies
    }

    /// The domain that a pass vouches for.
    public var vouchedDomain: DomainName? { result == .pass && identifies ? domain : nil }
}

/// One DNS list's word.
public struct Listing: Equatable, Sendable {
    /// As the admin calls it: never a key that is part of the zone's name.
    public var list: String
    /// Negative for lists of the good.
    public var score: Double
    /// The reply, such as `127.0.0.2`.
    public var reply: String

    public init(list: String, score: Double, reply: String) {
        self.list = list
        self.score = score
        self.reply = reply
    }
}

/// The autonomous system that announces an address.
public struct NetworkOwner: Equatable, Sendable {
    public var number: UInt32
    public var name: String

    public init(number: UInt32, name: String) {
        self.number = number
        self.name = name
    }
}

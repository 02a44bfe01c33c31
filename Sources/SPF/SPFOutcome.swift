import PosternCore

/// What a check came to, why, and what it rests on.
public struct SPFOutcome: Hashable, Sendable {
    public enum Identity: String, Hashable, Sendable {
        /// RFC 7208 §2.4.
        case mailFrom = "mailfrom"
        /// RFC 7208 §2.3.
        case helo
    }

    /// A term that led to the result.
    public struct Term: Hashable, Sendable {
        /// The domain whose record the term is in.
        public var domain: String
        /// As published, such as `ip4:192.0.2.0/24`, cut to `SPFLimits.quotedOctets`.
        public var text: String

        public init(domain: String, text: String) {
            self.domain = domain
            self.text = text
        }
    }

    public var result: SPFResult
    public var identity: Identity
    /// The domain that was checked, and on a pass the one that is authorised: of the sender, or of HELO for the HELO
    /// identity and the null sender. In A-labels. `nil` where there was no name to check.
    public var domain: DomainName?
    public var address: IPAddress
    /// As it came.
    public var helo: String
    public var sender: ReversePath
    /// Who checked; empty where that is nobody's business.
    public var receiver: String
    /// The terms that led to the result, the outermost first: an `include`, what matched in there. Empty where none did.
    public var terms: [Term] = []
    /// On a pass: why it says nothing about who the client is.
    public var weakness: SPFWeakness?
    /// On a fail: what the domain has to say (RFC 7208 §6.2), where it says something. Printable ASCII, one line, at most
    /// `SPFLimits.explanationOctets`; written by a stranger, and to be shown as the domain's words (RFC 7208 §6.2).
    public var explanation: String?
    /// On `temperror` and `permerror`.
    public var problem: SPFProblem?
    /// Terms that asked the DNS, over all records.
    public var lookups = 0
    /// Of those, the ones that were answered with nothing.
    public var voidLookups = 0
    /// Whether the local part, the HELO name or the time had a part in this. Where not, the same domain and client come to
    /// the same whoever writes, as long as the DNS says the same.
    public var isOfThisMessageOnly = false

    /// An outcome that nothing has led to yet.
    public init(
        result: SPFResult, identity: Identity = .mailFrom, domain: DomainName?, address: IPAddress, helo: String, sender: ReversePath,
        receiver: String
    ) {
        self.result = result
        self.identity = identity
        self.domain = domain
        self.address = address
        self.helo = helo
        self.sender = sender
        self.receiver = receiver
    }

    /// Whether the domain vouches for this very client: a pass, and not one that anybody would get.
    public var givesIdentity: Bool { result == .pass && weakness == nil }

    /// RFC 7208 §9.1: the mechanism that matched, else `default`.
    public var mechanism: String { terms.first?.text ?? "default" }
}

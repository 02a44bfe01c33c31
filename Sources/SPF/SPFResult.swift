/// What a check came to (RFC 7208 §2.6). The raw value is the word that header fields and RFC 8601 §2.7.2 use.
public enum SPFResult: String, Hashable, Sendable, CaseIterable {
    /// There is no name to check, or its domain publishes no record.
    case none
    /// The domain says explicitly that it says nothing, or nothing matched.
    case neutral
    /// The client is authorised.
    case pass
    /// The client is explicitly not authorised.
    case fail
    /// The client is probably not authorised.
    case softfail
    /// The DNS did not answer; a later try may come to something else.
    case temperror
    /// The published records cannot be understood or ask for too much.
    case permerror
}

/// Why a check ended in `temperror` or `permerror`. Its description is for the admin's eyes: one line of printable ASCII.
public enum SPFProblem: Error, Hashable, Sendable {
    /// RFC 7208 §4.6: an error anywhere in a record spoils all of it.
    case syntax(SPFSyntaxError, domain: String)
    /// RFC 7208 §4.5.
    case severalRecords(domain: String)
    /// More than `SPFLimits.recordOctets`.
    case recordTooLong(domain: String)
    /// RFC 7208 §5.2, §6.1: `include` or `redirect` names a domain without a record, or what is no name.
    case noRecord(target: String, term: String, domain: String)
    /// RFC 7208 §4.6.4: more than `SPFLimits.lookups` terms that ask the DNS.
    case tooManyLookups
    /// RFC 7208 §4.6.4: more of those than allowed were answered with nothing.
    case tooManyVoidLookups
    /// RFC 7208 §4.6.4: a name with more than `SPFLimits.mailExchangers`.
    case tooManyMailExchangers(domain: String)
    /// RFC 7208 §4.4, §5: SERVFAIL, a time-out, or the check was called off.
    case temporaryFailure(name: String, type: String)

    public var result: SPFResult {
        if case .temporaryFailure = self { .temperror } else { .permerror }
    }
}

extension SPFProblem: CustomStringConvertible {
    public var description: String {
        switch self {
        case .syntax(let error, let domain): "\(domain): \(error)"
        case .severalRecords(let domain): "\(domain) publishes more than one SPF record"
        case .recordTooLong(let domain): "the SPF record of \(domain) is longer than \(SPFLimits.recordOctets) octets"
        case .noRecord(let target, let term, let domain): "\(domain): \(term) leads to \(target), which has no SPF record"
        case .tooManyLookups: "more than \(SPFLimits.lookups) terms ask the DNS"
        case .tooManyVoidLookups: "too many terms ask the DNS for what does not exist"
        case .tooManyMailExchangers(let domain): "mx: \(domain) has more than \(SPFLimits.mailExchangers) mail exchangers"
        case .temporaryFailure(let name, let type): "the DNS gave no answer to \(name) \(type)"
        }
    }
}

/// Bounds on what a check takes in and does. Where the RFC sets them, they are its own.
public enum SPFLimits {
    /// RFC 7208 §4.6.4: terms that ask the DNS, over all records of a check.
    public static let lookups = 10
    /// RFC 7208 §4.6.4: the default for terms that the DNS answers with nothing.
    public static let voidLookups = 2
    /// RFC 7208 §4.6.4: mail exchangers of one name.
    public static let mailExchangers = 10
    /// RFC 7208 §4.6.4: reverse names of the client that are looked at; further ones are ignored.
    public static let reverseNames = 10
    /// RFC 1035 §2.3.4: a name in text form, without the final dot.
    public static let nameOctets = 253
    /// RFC 1035 §2.3.4.
    public static let labelOctets = 63

    /// One record, its strings joined. Records found in the wild stay below 4 KB; DNS itself would allow 64 KB.
    public static let recordOctets = 16_384
    /// Terms of one record.
    public static let terms = 1_024
    /// A local part or HELO name; a term that would expand a longer one matches nothing.
    public static let inputOctets = 1_024
    /// An explanation after expansion; the rest is cut off. Enough for two long reply lines.
    public static let explanationOctets = 1_000
    /// Octets of a term, a name or a text where one is quoted in an error or a header field.
    public static let quotedOctets = 120

    /// What all of these come to: the most questions that one check asks the DNS. The record, per term either a record
    /// or one name's exchangers with their addresses, the client's names with theirs, and the explanation.
    public static let queries = 1 + lookups * (1 + mailExchangers) + (1 + reverseNames) + 1
}

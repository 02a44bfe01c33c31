import PosternCore

/// A parsed SPF record (RFC 7208 §4.6, §12).
public struct SPFRecord: Hashable, Sendable {
    /// In the order of the record, which is the order of evaluation.
    public var directives: [SPFDirective] = []
    /// RFC 7208 §6.1.
    public var redirect: MacroString?
    /// RFC 7208 §6.2.
    public var explanation: MacroString?
}

/// `[ qualifier ] mechanism`
public struct SPFDirective: Hashable, Sendable {
    public var qualifier: SPFQualifier
    public var mechanism: SPFMechanism
    /// As published; visible ASCII characters only.
    let octets: ArraySlice<UInt8>

    /// As published, cut to `SPFLimits.quotedOctets`; visible ASCII characters only.
    public var text: String { octets.quoted }
}

/// RFC 7208 §4.6.2: what a match means.
public enum SPFQualifier: Hashable, Sendable {
    case pass
    case fail
    case softfail
    case neutral

    public var result: SPFResult {
        switch self {
        case .pass: .pass
        case .fail: .fail
        case .softfail: .softfail
        case .neutral: .neutral
        }
    }

    init?(octet: UInt8) {
        switch octet {
        case UInt8(ascii: "+"): self = .pass
        case UInt8(ascii: "-"): self = .fail
        case UInt8(ascii: "~"): self = .softfail
        case UInt8(ascii: "?"): self = .neutral
        default: return nil
        }
    }
}

/// RFC 7208 §5. A target that is left out is the domain whose record this is.
public enum SPFMechanism: Hashable, Sendable {
    case all
    case include(MacroString)
    case a(MacroString?, PrefixLengths)
    case mx(MacroString?, PrefixLengths)
    case ptr(MacroString?)
    case ip4(Prefix)
    /// `nil` for a network of IPv4-mapped addresses only: such a client counts as IPv4 (RFC 7208 §5), so nobody is in it.
    case ip6(Prefix?)
    case exists(MacroString)
}

/// `[ ip4-cidr-length ] [ "/" ip6-cidr-length ]`: how many bits of an address that the DNS names have to agree.
public struct PrefixLengths: Hashable, Sendable {
    /// 0...32.
    public var v4 = 32
    /// 0...128.
    public var v6 = 128

    public init(v4: Int = 32, v6: Int = 128) {
        self.v4 = v4
        self.v6 = v6
    }

    func length(for family: IPAddress.Family) -> Int { family == .v4 ? v4 : v6 }
}

/// An error in a record: the term, and what is wrong with it.
public struct SPFSyntaxError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Flaw: String, Hashable, Sendable, Error {
        case octet = "only spaces and visible ASCII characters may stand in a record"
        case unknownMechanism = "there is no such mechanism"
        case modifierName = "a modifier's name is made of letters, digits, hyphens, underscores and dots, and starts with a letter"
        case argument = "takes no argument"
        case domainMissing = "a domain has to follow"
        case domainEnd = "a domain has to end in a dot and a top-level name, or in a macro with nothing behind it"
        case addressForName = "an address stands where a name is due; ip4: or ip6: takes addresses"
        case macro = "malformed macro; a percent sign is written %%"
        case macroLetter = "there is no such macro here"
        case address = "malformed address"
        case prefixLength = "malformed prefix length"
        case twice = "may stand only once"
        case tooManyTerms = "the record has too many terms"
    }

    /// Visible ASCII characters, at most `SPFLimits.quotedOctets`.
    public var term: String
    public var flaw: Flaw

    public var description: String { "\(term): \(flaw.rawValue)" }
}

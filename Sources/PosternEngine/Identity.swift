import PosternCore

/// Who a client is to the greylist: not its address, which a sender pool changes from retry to retry, but what stays
/// the same. A client has several; the first attempt records each, a retry matches on any.
public enum Identity: Hashable, Sendable {
    /// The organisational domain that SPF passes for.
    case spfDomain(DomainName)
    /// The organisational domain of the forward-confirmed reverse name.
    case nameDomain(DomainName)
    /// The /24 or /64 around the address.
    case network(Prefix)
    /// One address, or the /64 around it, by which the harvest lists senders. It has a count of messages and no triplets, and proves
    /// nothing.
    case address(Prefix)
}

extension Identity: CustomStringConvertible {
    /// `spf:example.org`, `name:example.org`, `net:192.0.2.0/24`, `addr:192.0.2.1`: also the text that keys are hashed from.
    public var description: String {
        switch self {
        case .spfDomain(let domain): "spf:\(domain)"
        case .nameDomain(let domain): "name:\(domain)"
        case .network(let prefix): "net:\(prefix)"
        case .address(let prefix): "addr:\(prefix)"
        }
    }
}

/// Finds the organisational domain of a name: the public suffix and one label (publicsuffix.org); `nil` for a name
/// that is itself a public suffix.
public protocol OrganisationalDomains: Sendable {
    func organisationalDomain(of name: DomainName) -> DomainName?
}

/// How wide the networks are that count as one sender.
public struct IdentityWidths: Equatable, Sendable {
    /// 8...32.
    public var v4: Int = 24
    /// 32...128.
    public var v6: Int = 64

    public init(v4: Int = 24, v6: Int = 64) {
        self.v4 = v4
        self.v6 = v6
    }
}

extension Client {
    /// Whether the confirmed name is a provider's for an address: it is no identity then, and mail from there is
    /// greylisted triplet by triplet, since a consumer's line says nothing for its neighbours.
    var hasGenericName: Bool { Self.hasGenericName(confirmedName, address) }

    /// The same of a confirmed name and its address, for who knows a name that the front does not.
    static func hasGenericName(_ confirmedName: DomainName?, _ address: IPAddress?) -> Bool {
        guard let address, let confirmedName else { return false }
        return GenericName.matches(confirmedName, address: address)
    }

    /// Every identity that is known of this client, the most telling first; empty when not even an address is known.
    func identities(widths: IdentityWidths, domains: any OrganisationalDomains, spfDomain: DomainName? = nil) -> [Identity] {
        Self.identities(address, hasGenericName ? nil : confirmedName, spfDomain: spfDomain, widths: widths, domains: domains)
    }

    /// The same of an address and the name that says who it is, if any.
    static func identities(
        _ address: IPAddress?, _ name: DomainName?, spfDomain: DomainName?, widths: IdentityWidths, domains: any OrganisationalDomains
    ) -> [Identity] {
        guard let address else { return [] }
        let network = Identity.network(Prefix(address, length: address.family == .v4 ? widths.v4 : widths.v6))
        guard name != nil || spfDomain != nil else { return [network] }
        var identities: [Identity] = []
        if let spfDomain, let organisation = domains.organisationalDomain(of: spfDomain) {
            identities.append(.spfDomain(organisation))
        }
        if let name, let organisation = domains.organisationalDomain(of: name) {
            identities.append(.nameDomain(organisation))
        }
        identities.append(network)
        return identities
    }
}

import PosternCore

/// Networks in which no public mail server can be (the IANA special-purpose registries, RFC 6890).
public enum SpecialNetworks {
    public struct Kind: Equatable, Sendable {
        /// What addresses there are for, as it stands in a sentence: "a private address".
        public var name: String
        public var source: String
    }

    private static let table: [(prefix: Prefix, kind: Kind)] = [
        ("0.0.0.0/8", "an address of \"this network\"", "RFC 791 §3.2"), ("10.0.0.0/8", "a private address", "RFC 1918"),
        ("100.64.0.0/10", "an address behind a provider's NAT", "RFC 6598"), ("127.0.0.0/8", "a loopback address", "RFC 1122 §3.2.1.3"),
        ("169.254.0.0/16", "a link-local address", "RFC 3927"), ("172.16.0.0/12", "a private address", "RFC 1918"),
        ("192.0.0.0/24", "an address of a protocol's own", "RFC 6890 §2.1"), ("192.0.2.0/24", "an address of TEST-NET-1", "RFC 5737"),
        ("192.88.99.0/24", "an address of the 6to4 relays that were given up", "RFC 7526"),
        ("192.168.0.0/16", "a private address", "RFC 1918"), ("198.18.0.0/15", "an address for benchmarks", "RFC 2544"),
        ("198.51.100.0/24", "an address of TEST-NET-2", "RFC 5737"), ("203.0.113.0/24", "an address of TEST-NET-3", "RFC 5737"),
        ("224.0.0.0/4", "a multicast address", "RFC 5771"), ("240.0.0.0/4", "an address in unused space", "RFC 1112 §4"),
        ("::/128", "the unspecified address", "RFC 4291 §2.5.2"), ("::1/128", "a loopback address", "RFC 4291 §2.5.3"),
        ("64:ff9b:1::/48", "an address of a local translator", "RFC 8215"), ("100::/64", "an address that discards", "RFC 6666"),
        ("2001:db8::/32", "an address for documentation", "RFC 3849"), ("3fff::/20", "an address for documentation", "RFC 9637"),
        ("2001::/23", "an address of a protocol's own", "RFC 2928"), ("2002::/16", "a 6to4 address, which few can reach", "RFC 7526"),
        ("fc00::/7", "a private address", "RFC 4193"), ("fe80::/10", "a link-local address", "RFC 4291 §2.5.6"),
        ("ff00::/8", "a multicast address", "RFC 4291 §2.7"),
    ].compactMap { text, name, source in Prefix(text).map { ($0, Kind(name: name, source: source)) } }

    private static let globalUnicast = Prefix("2000::/3")

    /// Why nobody out there can reach the address; `nil` for a public one.
    public static func kind(of address: IPAddress) -> Kind? {
        if let entry = table.first(where: { $0.prefix.contains(address) }) { return entry.kind }
        // RFC 4291 §2.4: what has been given out of IPv6.
        if address.family == .v6, globalUnicast?.contains(address) == false {
            return Kind(name: "an address in unused space", source: "RFC 4291 §2.4")
        }
        return nil
    }
}

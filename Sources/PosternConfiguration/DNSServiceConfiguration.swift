import PosternCore
import PosternEngine
import Yams

extension Configuration {
    /// What a listener with role `dnsbl` tells, and whom.
    public struct DNSService: Equatable, Sendable {
        public struct Zone: Equatable, Sendable {
            public enum Kind: String, CaseIterable, Sendable {
                case address
                case domain
            }

            public var name: DomainName
            public var kind = Kind.address
            /// In the order of their return codes; never empty.
            public var colours = ListColour.allCases
            /// `own`, `harvest`, `trusted` and names of subscriptions; `nil` for all but `trusted`.
            public var sources: [String]?

            public init(name: DomainName) {
                self.name = name
            }
        }

        /// At least one; none twice.
        public var zones: [Zone]
        /// Who serves the zones; empty for `hostname`.
        public var nameServers: [DomainName] = []
        /// A mailbox; `nil` for postmaster at `hostname` in the SOA record, and none in texts.
        public var contact: String?
        /// With `$` for the address; empty for none.
        public var lookup = ""
        public var timeToLive = WallTime.Span.minutes(5)
        public var negativeTimeToLive = WallTime.Span.minutes(1)
        /// `nil` for everybody.
        public var allow: PrefixSet?
        /// Responses a second to one network, 0 for no limit; `nil` for the default, which spares loopback addresses.
        public var rateLimit: Int?
        public var slip = 2

        public static let ownSource = "own"
        public static let harvestSource = "harvest"
        /// Whom `trusted` and `trusted_files` name; shown only where it is named.
        public static let trustedSource = "trusted"
        public static let mostZones = 64
        public static let timeRange = WallTime.Span.zero ... .days(7)
        public static let rateRange = 0...1_000_000
        public static let slipRange = 0...100
        /// A busy mail server's resolver asks less, and a forged source gets less than it would elsewhere.
        public static let defaultRateLimit = 200

        public init(zones: [Zone]) {
            self.zones = zones
        }
    }
}

// MARK: - Reading

extension ConfigurationLoader {
    /// Keys of a listener that only a DNS service has.
    static let dnsServiceKeys = [
        "zone", "zones", "nameservers", "contact", "lookup", "ttl", "negative_ttl", "allow", "rate_limit", "slip",
    ]

    /// Reads a DNS service's keys from its listener; `nil` where they are wrong, which is reported, or the role is another.
    func dnsService(_ mapping: Mapping, role: Configuration.Role) -> Configuration.DNSService? {
        var values: [String: Value] = [:]
        for key in Self.dnsServiceKeys { values[key] = mapping.take(key) }
        guard role == .dnsbl else {
            for key in Self.dnsServiceKeys { values[key]?.conflict("'\(key)' belongs to a listener with role dnsbl") }
            return nil
        }
        var zones: [Configuration.DNSService.Zone] = []
        if let name = values["zone"]?.zoneName() { zones.append(.init(name: name)) }
        if let elements = values["zones"]?.list(of: "zones") {
            for element in elements {
                guard let zone = dnsZone(element) else { continue }
                if zones.contains(where: { $0.name == zone.name }) {
                    element.error("the zone '\(zone.name)' is given twice")
                } else {
                    zones.append(zone)
                }
            }
        }
        guard values["zone"] != nil || values["zones"] != nil else {
            report.error(mapping.mark, "a DNS service has no zone; write zone: bl.example.net")
            return nil
        }
        guard !zones.isEmpty else { return nil }
        if zones.count > Configuration.DNSService.mostZones {
            values["zones"]?.error("\(zones.count) zones are more than \(Configuration.DNSService.mostZones)")
        }
        var service = Configuration.DNSService(zones: zones)
        for element in values["nameservers"]?.list(of: "names") ?? [] {
            guard let name = element.domainName() else { continue }
            if let zone = zones.first(where: { name.isWithin($0.name) }) {
                element.error("'\(name)' lies in the zone '\(zone.name)', which holds no addresses of servers; use a name outside of it")
            }
            service.nameServers.append(name)
        }
        if let value = values["contact"], let text = value.text("a mailbox") {
            if case .mailbox(let mailbox)? = Pattern(text), mailbox.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) {
                service.contact = mailbox
            } else {
                value.error("'\(text.shortened)' is not a mailbox such as dnsbl@example.net")
            }
        }
        if let value = values["lookup"], let text = value.text("an address of the web, with $ for the address") {
            if text.utf8.count > 120 || !text.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) {
                value.error("is longer than 120 octets, or not printable ASCII")
            } else if value.webAddress(text) != nil {
                service.lookup = text
            }
        }
        if let span = values["ttl"]?.duration(Configuration.DNSService.timeRange) { service.timeToLive = span }
        if let span = values["negative_ttl"]?.duration(Configuration.DNSService.timeRange) { service.negativeTimeToLive = span }
        if let prefixes = values["allow"]?.prefixes() { service.allow = prefixes }
        if let rate = values["rate_limit"]?.integer(Configuration.DNSService.rateRange) { service.rateLimit = rate }
        if let slip = values["slip"]?.integer(Configuration.DNSService.slipRange) { service.slip = slip }
        return service
    }

    private func dnsZone(_ element: Value) -> Configuration.DNSService.Zone? {
        guard case .mapping(let node) = element.node else { return element.zoneName().map { .init(name: $0) } }
        let mapping = Mapping(node, path: "listeners[].zones[]", mark: element.mark, report: report)
        let name = mapping.takePart("zone")
        let kind = mapping.takePart("kind")?.choice(Configuration.DNSService.Zone.Kind.self)
        let colours = mapping.takePart("colours")?.list(of: "colours")
        let sources = mapping.takePart("sources")?.list(of: "sources")
        mapping.finish()
        guard let name else {
            element.error("a zone needs a name, such as { zone: black.bl.example.net, colours: [black] }")
            return nil
        }
        guard let domain = name.zoneName() else { return nil }
        var zone = Configuration.DNSService.Zone(name: domain)
        if let kind { zone.kind = kind }
        if let colours {
            let named = colours.compactMap { $0.choice(ListColour.self) }
            zone.colours = ListColour.allCases.filter(named.contains)
            if zone.colours.isEmpty {
                element.error("a zone needs at least one of \(ListColour.allCases.map(\.rawValue).joined(separator: ", "))")
                return nil
            }
        }
        if let sources { zone.sources = sourceNames(sources) }
        return zone
    }

    /// Answering everybody as often as they like is how a server becomes a weapon.
    func warnOfOpenDNSService(_ listener: Configuration.Listener, _ value: Value) {
        guard let service = listener.dnsService, case .tcp(let host, _) = listener.address, !host.isLoopback, service.allow == nil,
            service.rateLimit == 0
        else { return }
        value.warning(
            "anybody may ask, and as often as they like: whoever forges an address makes this server flood it; set rate_limit or allow")
    }
}

extension Value {
    /// A name with at least two labels, and room for a reversed IPv6 address in front of it.
    fileprivate func zoneName() -> DomainName? {
        guard let name = domainName() else { return nil }
        guard name.labels.count >= 2, name.text.utf8.count <= 189 else {
            error("'\(name.text.shortened)' is not the name of a zone: it needs a dot, and at most 189 octets")
            return nil
        }
        return name
    }
}

// MARK: - Printing

extension Configuration.DNSService {
    /// The listener's further lines in `config show`: key and value.
    var yaml: [(String, String)] {
        var lines: [(String, String)] = []
        var others = zones[...]
        if let first = zones.first, first == Zone(name: first.name) {
            lines.append(("zone", YAMLText.quoted(first.name.text)))
            others = others.dropFirst()
        }
        if !others.isEmpty { lines.append(("zones", "[" + others.map(\.yaml).joined(separator: ", ") + "]")) }
        if !nameServers.isEmpty { lines.append(("nameservers", YAMLText.list(nameServers))) }
        if let contact { lines.append(("contact", YAMLText.quoted(contact))) }
        if !lookup.isEmpty { lines.append(("lookup", YAMLText.quoted(lookup))) }
        lines += [("ttl", timeToLive.description), ("negative_ttl", negativeTimeToLive.description)]
        if let allow { lines.append(("allow", YAMLText.list(allow.prefixes))) }
        if let rateLimit { lines.append(("rate_limit", String(rateLimit))) }
        lines.append(("slip", String(slip)))
        return lines
    }
}

extension Configuration.DNSService.Zone {
    fileprivate var yaml: String {
        var keys = ["zone: \(YAMLText.quoted(name.text))", "kind: \(kind.rawValue)"]
        keys.append("colours: [\(colours.map(\.rawValue).joined(separator: ", "))]")
        if let sources { keys.append("sources: \(YAMLText.list(sources))") }
        return "{ \(keys.joined(separator: ", ")) }"
    }
}

import DNSProtocol
import PosternCore

extension Configuration {
    /// One DNS list: a zone, and what its replies are worth.
    public struct DNSList: Equatable, Sendable {
        public enum Kind: String, CaseIterable, Sendable {
            /// Asked about addresses (RFC 5782 §2).
            case address
            /// Asked about domains, a right-hand-side list (RFC 5782 §3).
            case domain
        }

        /// Whose domain a list of domains is asked about.
        public enum DomainSource: String, CaseIterable, Sendable {
            case sender
            case helo
            /// The client's confirmed reverse name.
            case client
        }

        public var zone: DomainName
        public var kind: Kind
        /// Of a list of domains; empty for a list of addresses.
        public var about: Set<DomainSource>
        public var filters: ListFilters
        /// How replies, the log and the status call it: a zone may have a key in its name, and this has none.
        public var name: String
        /// Whether its test entries are asked for; without that a zone counts as alive whatever it says.
        public var tests: Bool

        /// What a listing is worth where nothing else is said, as in postscreen.
        public static let defaultScore = 1.0

        public init(
            zone: DomainName, kind: Kind = .address, about: Set<DomainSource> = [.sender],
            filters: ListFilters = ListFilters([.init(filter: nil, weight: defaultScore)]),
            name: String? = nil, tests: Bool = true
        ) {
            self.zone = zone
            self.kind = kind
            self.about = kind == .domain ? about : []
            self.filters = filters
            self.name = name ?? Self.displayName(of: zone)
            self.tests = tests
        }

        /// The zone without what looks like a key of the subscriber: whatever stands before `dq.spamhaus.net` but the list's own
        /// name, and of any zone a first label of 8 octets or more with a digit, or of 16 or more without a hyphen.
        public static func displayName(of zone: DomainName) -> String {
            var labels = zone.labels
            // Spamhaus's Data Query Service: KEY.LIST.dq.spamhaus.net.
            if labels.count > 4, labels.suffix(3).elementsEqual(["dq", "spamhaus", "net"]) { labels.removeFirst(labels.count - 4) }
            if let first = labels.first, labels.count > 2, looksLikeKey(first) { labels.removeFirst() }
            return labels.joined(separator: ".")
        }

        private static func looksLikeKey(_ label: Substring) -> Bool {
            let octets = label.utf8
            if octets.count >= 8, octets.contains(where: { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) { return true }
            return octets.count >= 16 && !octets.contains(UInt8(ascii: "-"))
        }
    }

    /// Where addresses are, and whose.
    public struct Geography: Equatable, Sendable {
        /// Files in MaxMind's format; of several the first that knows something of an address counts.
        public var databases: [String] = []
        /// Scores by ISO 3166-1 code, two capitals.
        public var countries: [String: Double] = [:]
        /// Scores by number of the autonomous system.
        public var networks: [UInt32: Double] = [:]

        public init() {}
    }
}

extension Configuration.DNSList {
    /// As it is written in a list of `dns_lists`.
    var yaml: String {
        var parts = ["zone: \(YAMLText.quoted(zone.text))", "kind: \(kind.rawValue)"]
        if kind == .domain {
            parts.append("about: \(YAMLText.list(DomainSource.allCases.filter(about.contains).map(\.rawValue)))")
        }
        if filters.entries.count == 1, let only = filters.entries.first {
            if let filter = only.filter { parts.append("replies: \(YAMLText.quoted(filter.description))") }
            parts.append("score: \(only.weight.plain)")
        } else {
            let replies = filters.entries.map { "\($0.filter?.description ?? "any")*\($0.weight.plain)" }
            parts.append("replies: \(YAMLText.list(replies))")
        }
        parts.append("name: \(YAMLText.quoted(name))")
        parts.append("test: \(tests)")
        return "{ \(parts.joined(separator: ", ")) }"
    }
}

extension Configuration.Geography {
    var countriesYAML: String { Self.yaml(countries.map { ($0.key, $0.value) }.sorted { $0.0 < $1.0 }) }

    var networksYAML: String { Self.yaml(networks.sorted { $0.key < $1.key }.map { ("AS\($0.key)", $0.value) }) }

    /// In quotes: `NO` is a truth to YAML.
    private static func yaml(_ scores: [(String, Double)]) -> String {
        scores.isEmpty ? "{}" : "{ " + scores.map { "\"\($0.0)\": \($0.1.plain)" }.joined(separator: ", ") + " }"
    }
}

/// Resolvers that anyone may use. Most DNS lists refuse them: to a list all of their users are one, and one that asks too much.
public enum PublicResolvers {
    private static let addresses = Set(
        [
            "8.8.8.8", "8.8.4.4", "2001:4860:4860::8888", "2001:4860:4860::8844", "1.1.1.1", "1.0.0.1", "1.1.1.2", "1.0.0.2", "1.1.1.3",
            "1.0.0.3", "2606:4700:4700::1111", "2606:4700:4700::1001", "9.9.9.9", "149.112.112.112", "9.9.9.10", "149.112.112.10",
            "9.9.9.11",
            "2620:fe::fe", "2620:fe::9", "208.67.222.222", "208.67.220.220", "2620:119:35::35", "2620:119:53::53", "64.6.64.6", "64.6.65.6",
            "4.2.2.1", "4.2.2.2", "4.2.2.3", "4.2.2.4", "94.140.14.14", "94.140.15.15", "76.76.2.0", "76.76.10.0", "185.228.168.9",
            "185.228.169.9", "77.88.8.8", "77.88.8.1", "114.114.114.114", "223.5.5.5", "223.6.6.6",
        ].compactMap { IPAddress($0) })

    public static func contains(_ address: IPAddress) -> Bool { addresses.contains(address) }

    /// What an admin is told who has one, and DNS lists.
    public static let advice =
        "is a public resolver, and most DNS lists refuse to answer those; run a resolver of your own (unbound) and name it in dns.resolvers"
}

import DNSProtocol
import PosternCore
import PosternEngine

extension Configuration {
    /// What a listener with role `socketmap` needs: which network's throttle may be skipped, and whether it trusts us.
    public struct Socketmap: Equatable, Sendable {
        /// What is answered where the DNS gives no answer.
        public enum Unresolved: String, CaseIterable, Sendable {
            /// The mail goes the usual way.
            case notFound = "notfound"
            /// The mail waits.
            case temporary = "temp"
        }

        /// A mail exchanger with one of these names, or below one, is a node of the throttle. Never empty.
        public var throttleNames: [DomainName] = []
        /// Those of `throttleNames`, or names below them, that trust us by agreement.
        public var trustedBy: [DomainName] = []
        /// The network's list of trusted senders, as in `dns_lists`; in it all of `sourceAddresses` must be.
        public var trustZone: ListSpecification?
        /// The addresses that our mail leaves from.
        public var sourceAddresses: [IPAddress] = []
        public var unresolved = Unresolved.notFound

        /// More is a slip.
        public static let mostNames = 64
        public static let mostAddresses = 64

        public init() {}
    }
}

// MARK: - Reading

extension ConfigurationLoader {
    /// Keys of a listener that only a socketmap has.
    static let socketmapKeys = ["throttle_names", "trusted_by", "trust_zone", "source_addresses", "unresolved"]

    /// Reads a socketmap's keys from its listener; `nil` where they are wrong, which is reported, or the role is another.
    func socketmap(_ mapping: Mapping, role: Configuration.Role) -> Configuration.Socketmap? {
        var values: [String: Value] = [:]
        for key in Self.socketmapKeys { values[key] = mapping.take(key) }
        guard role == .socketmap else {
            for key in Self.socketmapKeys { values[key]?.conflict("'\(key)' belongs to a listener with role socketmap") }
            return nil
        }
        guard let namesValue = values["throttle_names"] else {
            report.error(
                mapping.mark, "a socketmap has no throttle_names; write throttle_names: [mx.throttle.example], by which its nodes are known"
            )
            return nil
        }
        var socketmap = Configuration.Socketmap()
        socketmap.throttleNames = namesValue.domainNames(most: Configuration.Socketmap.mostNames) ?? []
        if let value = values["trusted_by"] {
            socketmap.trustedBy = value.domainNames(most: Configuration.Socketmap.mostNames) ?? []
            for name in socketmap.trustedBy
            where !socketmap.throttleNames.isEmpty && !socketmap.throttleNames.contains(where: { name.isWithin($0) }) {
                value.error("'\(name)' is not within throttle_names")
            }
        }
        if let value = values["trust_zone"] { socketmap.trustZone = value.trustZone() }
        if let value = values["source_addresses"] {
            socketmap.sourceAddresses = value.addresses(most: Configuration.Socketmap.mostAddresses) ?? []
        }
        if let choice = values["unresolved"]?.choice(Configuration.Socketmap.Unresolved.self) { socketmap.unresolved = choice }
        if values["trusted_by"] == nil, values["trust_zone"] == nil {
            report.error(mapping.mark, "a socketmap needs trusted_by or trust_zone: without one of them nobody is known to trust us")
        }
        if let value = values["trust_zone"], values["source_addresses"] == nil {
            value.conflict("trust_zone needs source_addresses: the addresses that our mail leaves from")
        }
        if let value = values["source_addresses"], values["trust_zone"] == nil {
            value.conflict("source_addresses are looked up in trust_zone, which is missing")
        }
        return socketmap
    }
}

extension Value {
    fileprivate func domainNames(most: Int) -> [DomainName]? {
        guard let elements = list(of: "domain names") else { return nil }
        guard !elements.isEmpty, elements.count <= most else {
            error(elements.isEmpty ? "must not be empty" : "\(elements.count) names are more than \(most)")
            return nil
        }
        return elements.compactMap { $0.domainName() }
    }

    fileprivate func addresses(most: Int) -> [IPAddress]? {
        guard let elements = list(of: "addresses") else { return nil }
        guard !elements.isEmpty, elements.count <= most else {
            error(elements.isEmpty ? "must not be empty" : "\(elements.count) addresses are more than \(most)")
            return nil
        }
        return elements.compactMap { element in
            guard let text = element.text("an address such as 192.0.2.1") else { return nil }
            guard let address = IPAddress(text) else {
                element.error("'\(text.shortened)' is not an address")
                return nil
            }
            return address
        }
    }

    fileprivate func trustZone() -> ListSpecification? {
        guard let text = text("a zone such as trusted.throttle.example=127.0.0.1") else { return nil }
        do throws(ListSyntaxError) {
            let specification = try ListSpecification(text)
            guard specification.weight == nil else {
                error("a zone of trusted senders has no weight")
                return nil
            }
            return specification
        } catch {
            self.error(error.description)
            return nil
        }
    }
}

// MARK: - Printing

extension Configuration.Socketmap {
    /// The listener's further lines in `config show`: key and value.
    var yaml: [(String, String)] {
        var lines = [("throttle_names", YAMLText.list(throttleNames))]
        if !trustedBy.isEmpty { lines.append(("trusted_by", YAMLText.list(trustedBy))) }
        if let trustZone {
            lines += [("trust_zone", YAMLText.quoted("\(trustZone)")), ("source_addresses", YAMLText.list(sourceAddresses))]
        }
        lines.append(("unresolved", unresolved.rawValue))
        return lines
    }
}

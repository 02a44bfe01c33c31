import PosternCore

extension Configuration {
    /// What a listener with role `admin` needs beside its address.
    public struct Admin: Equatable, Sendable {
        /// In PEM, with the chain behind it; `nil` for plain HTTP.
        public var certificate: String?
        public var key: String?
        /// A file whose first line is what whoever comes must know; `nil` where everybody who can connect may.
        public var tokenFile: String?
        /// Names by which browsers may call this listener, beside its address, `localhost` and our hostname.
        public var hosts: [String] = []

        public init() {}
    }
}

extension Configuration.Address {
    /// Whether only this machine's own processes can connect.
    public var isOfThisMachine: Bool {
        switch self {
        case .tcp(let host, _): host.isLoopback
        case .unix: true
        }
    }
}

// MARK: - Reading

extension ConfigurationLoader {
    /// Names that one listener may be called by.
    static let maximumHosts = 16
    /// Keys of a listener that only an admin listener has.
    private static let adminKeys = ["token_file", "hosts"]
    /// Keys that it shares with a gateway.
    private static let sharedKeys = ["tls_certificate", "tls_key"]

    /// Reads an admin listener's keys; `nil` where the role is another.
    func admin(_ mapping: Mapping, role: Configuration.Role) -> Configuration.Admin? {
        var values: [String: Value] = [:]
        for key in Self.adminKeys { values[key] = mapping.take(key) }
        guard role == .admin else {
            for key in Self.adminKeys { values[key]?.conflict("'\(key)' belongs to a listener with role admin") }
            return nil
        }
        for key in Self.sharedKeys { values[key] = mapping.take(key) }
        var admin = Configuration.Admin()
        admin.certificate = values["tls_certificate"]?.text("a path")
        admin.key = values["tls_key"]?.text("a path")
        admin.tokenFile = values["token_file"]?.text("a path")
        if let value = values["hosts"], let elements = value.list(of: "host names") {
            if elements.count > Self.maximumHosts { value.error("\(elements.count) names are more than \(Self.maximumHosts)") }
            for element in elements.prefix(Self.maximumHosts) {
                guard let text = element.text("a host name") else { continue }
                if DomainName(text) == nil, IPAddress(text) == nil { element.error("'\(text.shortened)' is not a host name") }
                admin.hosts.append(text.lowercased().withALabels)
            }
        }
        if (admin.certificate == nil) != (admin.key == nil) {
            report.error(mapping.mark, "tls_certificate and tls_key belong together; one of them is missing")
        }
        return admin
    }

    /// What is open to the network asks for more than what only this machine reaches.
    func check(_ admin: Configuration.Admin, at address: Configuration.Address, _ value: Value) {
        guard !address.isOfThisMachine else { return }
        var missing: [String] = []
        if admin.certificate == nil { missing.append("tls_certificate and tls_key") }
        if admin.tokenFile == nil { missing.append("token_file") }
        guard !missing.isEmpty else { return }
        value.error(
            "\(address) can be reached from other machines, so an admin listener there needs \(missing.joined(separator: ", and "));"
                + " or listen on 127.0.0.1 or a UNIX socket")
    }
}

// MARK: - Printing

extension Configuration.Admin {
    /// The listener's further lines in `config show`: key and value.
    var yaml: [(String, String)] {
        var lines: [(String, String)] = []
        if let certificate { lines.append(("tls_certificate", YAMLText.quoted(certificate))) }
        if let key { lines.append(("tls_key", YAMLText.quoted(key))) }
        if let tokenFile { lines.append(("token_file", YAMLText.quoted(tokenFile))) }
        if !hosts.isEmpty { lines.append(("hosts", YAMLText.list(hosts))) }
        return lines
    }
}

import PosternCore

extension Configuration {
    /// What a listener with role `gateway` needs beside its address.
    public struct Gateway: Equatable, Sendable {
        /// By which way the mail server behind learns who the client is.
        public enum ClientInformation: String, CaseIterable, Sendable {
            case xclient
            case proxyV2 = "proxy-v2"
            case none
        }

        /// TLS towards the mail server behind.
        public enum BackendTLS: String, CaseIterable, Sendable {
            case never
            case opportunistic
            case required
        }

        public enum TLSVersion: String, CaseIterable, Sendable {
            case tls12 = "1.2"
            case tls13 = "1.3"
        }

        /// The mail servers behind, all equal; at least one.
        public var backends: [Address]
        /// Of a throttle: the mail servers of each domain; `backends` is empty then.
        public var routes: [DomainName: [Address]] = [:]
        public var clientInformation = ClientInformation.xclient
        public var backendTLS = BackendTLS.never
        /// Authorities in PEM that must have signed the backend's certificate.
        public var backendAuthorities: String?
        /// For STARTTLS, in PEM, with the chain behind it; `nil` for a gateway that does not offer it.
        public var certificate: String?
        public var key: String?
        public var minimumTLS = TLSVersion.tls12
        /// What follows our name in the greeting.
        public var banner = "ESMTP"
        public var teaser = false
        public var limits = Limits()
        public var timeouts = Timeouts()
        public var health = Health()
        public var probe = Probe()
        /// Whether listed clients are held in the tarpit instead of being greeted, and how many at once.
        public var tarpit = false
        public var tarpitCapacity = 1000
        /// For a listener with role `inner`.
        public var inner: Inner?
        /// For a listener with role `submission`.
        public var submission: Submission?

        public init(backends: [Address]) {
            self.backends = backends
        }
    }
}

// MARK: - Reading

extension ConfigurationLoader {
    /// Keys of a listener that only a gateway has.
    static let gatewayKeys =
        [
            "backend", "routes", "backend_client_info", "backend_tls", "backend_ca", "tls_certificate", "tls_key", "tls_minimum", "banner",
            "teaser", "probe", "tarpit", "tarpit_capacity",
        ] + Configuration.Gateway.numbers.map(\.key) + Configuration.Gateway.durations.map(\.key)

    /// Reads a gateway's keys from its listener; `nil` where they are wrong, which is reported, or the role is another.
    func gateway(_ mapping: Mapping, role: Configuration.Role) -> Configuration.Gateway? {
        var values: [String: Value] = [:]
        for key in Self.gatewayKeys { values[key] = mapping.take(key) }
        guard role == .gateway || role == .inner || role == .throttle || role == .submission else {
            for key in Self.gatewayKeys { values[key]?.conflict("'\(key)' belongs to a listener with role gateway") }
            return nil
        }
        if role == .submission { refuseWhatIsForStrangers(values) }
        if let value = values[role == .throttle ? "backend" : "routes"] {
            value.conflict(
                role == .throttle ? "a throttle has routes, not one backend" : "'routes' belongs to a listener with role throttle")
            return nil
        }
        if role == .throttle, values["routes"] == nil {
            report.error(mapping.mark, "a throttle has no routes; write routes: { example.net: \"192.0.2.25:25\" }")
            return nil
        }
        guard let backendValue = values["backend"] ?? values["routes"] else {
            report.error(mapping.mark, "a gateway has no backend; write backend: \"127.0.0.1:10025\", the mail server behind it")
            return nil
        }
        var gateway = Configuration.Gateway(backends: role == .throttle ? [] : backends(backendValue))
        if role == .throttle { gateway.routes = routes(backendValue) }
        if let choice = values["backend_client_info"]?.choice(Configuration.Gateway.ClientInformation.self) {
            gateway.clientInformation = choice
        }
        if let choice = values["backend_tls"]?.choice(Configuration.Gateway.BackendTLS.self) { gateway.backendTLS = choice }
        gateway.backendAuthorities = values["backend_ca"]?.text("a path")
        gateway.certificate = values["tls_certificate"]?.text("a path")
        gateway.key = values["tls_key"]?.text("a path")
        if let version = values["tls_minimum"]?.choice(Configuration.Gateway.TLSVersion.self) { gateway.minimumTLS = version }
        if let banner = values["banner"]?.replyText("a text such as ESMTP") { gateway.banner = banner }
        if let on = values["teaser"]?.boolean() { gateway.teaser = on }
        if let on = values["probe"]?.boolean() { gateway.probe.isOn = on }
        if let on = values["tarpit"]?.boolean() { gateway.tarpit = on }
        if let capacity = values["tarpit_capacity"]?.integer(1...1_000_000) { gateway.tarpitCapacity = capacity }
        for setting in Configuration.Gateway.numbers {
            if let value = values[setting.key], let number = setting.read(value) { gateway[keyPath: setting.path] = number }
        }
        for setting in Configuration.Gateway.durations {
            if let span = values[setting.key]?.duration(setting.range) { gateway[keyPath: setting.path] = span }
        }
        warnOfShortPatience(gateway, values)
        if gateway.backendTLS == .never {
            values["backend_ca"]?.warning("is not looked at: without backend_tls nothing is encrypted; write backend_tls: required")
        }
        if let descriptors, gateway.limits.sessions * 2 > descriptors {
            let mark = values["max_sessions"]?.mark ?? mapping.mark
            report.warning(
                mark,
                "max_sessions: \(gateway.limits.sessions) sessions need up to \(gateway.limits.sessions * 2) descriptors, one on each side, and a process may have \(descriptors) here; raise that (ulimit -Hn, LimitNOFILE= of a service) or lower max_sessions"
            )
        }
        if (gateway.certificate == nil) != (gateway.key == nil) {
            report.error(mapping.mark, "tls_certificate and tls_key belong together; one of them is missing")
        }
        if gateway.clientInformation == .none, role != .throttle, role != .submission, configuration.domains == .listed([]) {
            (values["backend_client_info"] ?? backendValue).error(
                "none needs domains: list what you receive for, or strangers could relay through the mail server behind")
        }
        return gateway
    }

    private func backends(_ value: Value) -> [Configuration.Address] {
        let elements = value.node.sequence == nil ? [value] : value.list(of: "backends") ?? []
        if elements.isEmpty { value.error("a gateway needs at least one backend") }
        return elements.compactMap(backend)
    }

    /// The address of a mail server.
    func backend(_ value: Value) -> Configuration.Address? {
        let address = address(value, mode: nil, group: nil)
        if case .tcp(_, port: 0)? = address { value.error("nobody listens on port 0; name the mail server's own, such as 127.0.0.1:10025") }
        return address
    }
}

// MARK: - Printing

extension Configuration.Gateway {
    /// The listener's further lines in `config show`: key and value.
    var yaml: [(String, String)] {
        var lines = routes.isEmpty ? [] : [("routes", routesYAML)]
        if routes.isEmpty { lines.append(("backend", backends.count == 1 ? YAMLText.quoted("\(backends[0])") : YAMLText.list(backends))) }
        lines.append(("backend_client_info", "\"\(clientInformation.rawValue)\""))
        lines.append(("backend_tls", backendTLS.rawValue))
        if let backendAuthorities { lines.append(("backend_ca", YAMLText.quoted(backendAuthorities))) }
        if let certificate { lines.append(("tls_certificate", YAMLText.quoted(certificate))) }
        if let key { lines.append(("tls_key", YAMLText.quoted(key))) }
        lines.append(("tls_minimum", "\"\(minimumTLS.rawValue)\""))
        lines.append(("banner", YAMLText.quoted(banner)))
        if submission == nil {
            lines.append(("teaser", String(teaser)))
            lines.append(("probe", String(probe.isOn)))
            lines.append(("tarpit", String(tarpit)))
            lines.append(("tarpit_capacity", String(tarpitCapacity)))
        }
        for setting in Self.numbers { lines.append((setting.key, String(self[keyPath: setting.path]))) }
        for setting in Self.durations { lines.append((setting.key, self[keyPath: setting.path].description)) }
        return lines + (inner?.yaml ?? []) + (submission?.yaml ?? [])
    }
}

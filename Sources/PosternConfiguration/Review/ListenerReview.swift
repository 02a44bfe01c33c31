import PosternCore
import PosternEngine

// What listeners and networks open to whom.

extension ConfigurationReview {
    mutating func reviewListeners() {
        for (index, listener) in configuration.listeners.enumerated() {
            switch listener.role {
            case .policy, .socketmap: reviewPolicy(listener, index)
            case .gateway, .inner: reviewGateway(listener, index)
            case .submission: reviewSubmission(listener, index)
            case .trap: reviewTrap(listener, index)
            // Of an admin listener whatever is risky is an error already.
            default: break
            }
        }
    }

    private mutating func reviewPolicy(_ listener: Configuration.Listener, _ index: Int) {
        guard case .unix(_, let mode?, _) = listener.address, mode & 0o002 != 0 else { return }
        find(listener: index, "mode", "every program on this machine may ask; write \"0660\", with group: postfix")
    }

    private mutating func reviewTrap(_ listener: Configuration.Listener, _ index: Int) {
        guard case .tcp(let host, _) = listener.address else { return }
        if host == host.masked(to: 0) {
            find(
                listener: index, "address",
                "\(listener.address) is every address of this machine, that of your own MX among them, and honest senders would be held; name the one spare address that the trap is to have"
            )
            return
        }
        for other in configuration.listeners where other.role == .gateway {
            guard case .tcp(host, _) = other.address else { continue }
            find(
                listener: index, "address",
                "\(host) is the address of the gateway '\(other.name)' too; give the trap an address that no MX of yours has")
        }
        if configuration.networks.backupMX.contains(host) {
            find(
                listener: index, "address", "\(host) is in networks.backup_mx, which says that mail comes from there; give the trap another"
            )
        }
    }

    mutating func reviewGateway(_ listener: Configuration.Listener, _ index: Int) {
        guard let gateway = listener.gateway else { return }
        if gateway.clientInformation == .none, gateway.submission == nil, configuration.domains == .any {
            find(
                listener: index, "backend_client_info",
                "the mail server behind takes Postern for the client, and domains is \"*\": if it lets this machine relay, so may everybody; list your domains, or use xclient"
            )
        }
        for backend in gateway.backends {
            for other in configuration.listeners where other.role == .gateway && other.address.takesWhatIsSent(to: backend) {
                find(
                    listener: index, "backend",
                    "\(backend) is the listener '\(other.name)' itself, and mail would go round in a circle; name the mail server behind"
                )
            }
            guard case .tcp(let host, _) = backend, !host.isOfAPrivateNetwork else { continue }
            switch gateway.backendTLS {
            case .required where gateway.backendAuthorities == nil:
                find(
                    listener: index, "backend_tls",
                    "any certificate will do, so whoever stands between here and \(host) can read along; name the authority in backend_ca")
            case .required: break
            case .never, .opportunistic:
                find(
                    listener: index, "backend",
                    "mail crosses a public network to \(host) and nothing makes sure that it is encrypted; write backend_tls: required and backend_ca"
                )
            }
        }
        if gateway.certificate == nil, case .tcp(let host, 25) = listener.address, !host.isOfAPrivateNetwork {
            find(
                listener: index, "address",
                "without tls_certificate and tls_key no STARTTLS is offered, and mail that could come encrypted comes in clear; name those of your mail server"
            )
        }
    }

    // MARK: - Networks

    mutating func reviewNetworks() {
        let networks = configuration.networks
        let trusted: [(key: String, set: PrefixSet, power: String)] = [
            ("proxies", networks.proxies, "may say who the client is (PROXY protocol)"),
            ("xclient", networks.xclient, "may claim to be any client, one of ours too"),
        ]
        for (key, set, power) in trusted {
            for (index, prefix) in set.prefixes.enumerated() where prefix.isMoreThanAFewHosts {
                find(
                    [.key("networks"), .key(key), .element(index)],
                    "networks.\(key): whoever is in \(prefix) \(power); name the single hosts that are meant")
            }
        }
        for (key, set) in [("local", networks.local), ("forwarders", networks.forwarders)] {
            for (index, prefix) in set.prefixes.enumerated() where prefix.isWiderThanASite {
                find(
                    [.key("networks"), .key(key), .element(index)],
                    "networks.\(key): nothing is asked of the strangers in \(prefix) either; name only networks of your own")
            }
        }
    }
}

extension IPAddress {
    /// RFC 1918, RFC 4193, loopback and link-local: nobody else's traffic passes there. The wildcard is none.
    var isOfAPrivateNetwork: Bool {
        isLoopback || Self.privateNetworks.contains { $0.contains(self) }
    }

    fileprivate static let privateNetworks = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10"]
        .compactMap { Prefix($0) }
}

extension Prefix {
    /// Every address there is has a warning of its own.
    fileprivate var isMoreThanAFewHosts: Bool { length > 0 && length < (address.family == .v4 ? 24 : 56) }

    /// Wider than what a registry gives to one site.
    fileprivate var isWiderThanASite: Bool {
        length > 0 && length < (address.family == .v4 ? 16 : 32) && !IPAddress.privateNetworks.contains { $0.contains(self) }
    }
}

extension Configuration.Address {
    /// Whether a connection to `backend` would reach a listener with this address.
    fileprivate func takesWhatIsSent(to backend: Configuration.Address) -> Bool {
        switch (self, backend) {
        case (.unix(let path, _, _), .unix(let other, _, _)): SocketPath.leadToOne(path, other)
        case (.tcp(let host, let port), .tcp(let other, let otherPort)):
            port == otherPort && port != 0
                && (host == other || host == host.masked(to: 0) && other.family == host.family && other.isLoopback)
        default: false
        }
    }
}

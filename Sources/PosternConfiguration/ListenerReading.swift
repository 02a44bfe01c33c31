import PosternCore
import Yams

// Reads `listeners:`.

extension ConfigurationLoader {
    /// Bounds what a slip with a generated file can open.
    static let maximumListeners = 256

    /// Roles that later versions may have.
    private static let reservedRoles = ["milter"]

    func readListeners(_ root: Mapping) {
        guard let value = root.takePart("listeners") else { return }
        guard let elements = value.list(of: "listeners") else { return }
        guard !elements.isEmpty else {
            value.error("no listener is named, so there is nothing to serve; leave the key out for the default")
            return
        }
        guard elements.count <= Self.maximumListeners else {
            value.error("\(elements.count) listeners are more than \(Self.maximumListeners)")
            return
        }
        var names: [String: Position] = [:]
        var taken: [(address: Configuration.Address, mark: Position)] = []
        configuration.listeners = elements.compactMap { element in
            guard case .mapping(let node) = element.node else {
                element.wants("a listener, such as { role: policy, address: \"127.0.0.1:10023\" },")
                return nil
            }
            return listener(Mapping(node, path: "listeners[]", mark: element.mark, report: report), names: &names, taken: &taken)
        }
    }

    private func listener(
        _ mapping: Mapping, names: inout [String: Position], taken: inout [(address: Configuration.Address, mark: Position)]
    ) -> Configuration.Listener? {
        let nameValue = mapping.take("name")
        let name = nameValue?.listenerName()
        let roleValue = mapping.take("role")
        guard let roleValue else {
            report.error(mapping.mark, "a listener has no role; write role: policy")
            return nil
        }
        guard let role = role(roleValue) else { return nil }

        let addressValue = mapping.take("address")
        let modeValue = mapping.take("mode")
        let groupValue = mapping.take("group")
        let admin = admin(mapping, role: role)
        let inner = inner(mapping, role: role)
        let submission = submission(mapping, role: role, address: addressValue)
        var gateway = gateway(mapping, role: role)
        gateway?.inner = inner
        gateway?.submission = submission
        if let inner, gateway?.certificate == nil, !inner.nodeCertificates.isEmpty || !inner.nodeNames.isEmpty {
            report.error(mapping.mark, "nodes show certificates after STARTTLS only, which needs tls_certificate and tls_key")
        }
        let trap = trap(mapping, role: role, mode: modeValue)
        let socketmap = socketmap(mapping, role: role)
        let dnsService = dnsService(mapping, role: role)
        mapping.finish()
        if nameValue == nil || name != nil {
            let name = name ?? role.rawValue
            let mark = nameValue?.mark ?? mapping.mark
            if let first = names[name] {
                let advice = nameValue == nil ? "; write name: and another name" : ""
                report.error(mark, "listeners[].name: '\(name)' is the name of the listener in line \(first.line) too\(advice)")
            } else {
                names[name] = mark
            }
        }
        guard let addressValue else {
            report.error(mapping.mark, "the listener has no address; write address: \"127.0.0.1:10023\" or address: unix:/path")
            return nil
        }
        guard let address = address(addressValue, mode: role == .trap ? nil : modeValue, group: groupValue) else { return nil }
        if let admin { check(admin, at: address, addressValue) }
        if role == .trap, case .unix = address {
            addressValue.error("a trap listens on an address of the network, such as \"192.0.2.9:25\"")
        }
        if role == .dnsbl, case .unix = address {
            addressValue.error("a DNS service listens on an address of the network, such as \"192.0.2.9:53\"")
        }
        if gateway != nil, case .unix = address {
            addressValue.error(
                "a listener with role \(role.rawValue) needs an address of the network, such as \"0.0.0.0:25\": behind a UNIX socket it cannot know who its clients are"
            )
        }
        for other in taken {
            guard let conflict = address.conflict(with: other.address) else { continue }
            addressValue.error("\(address) \(conflict) of the listener in line \(other.mark.line)")
        }
        taken.append((address, addressValue.mark))
        listenerPositions[name ?? role.rawValue] = addressValue.mark
        if let gateway { check(gateway.submission, of: gateway, at: address, addressValue) }
        if role == .policy || role == .socketmap, case .tcp(let host, _) = address, !host.isLoopback {
            addressValue.warning("\(address) is not a loopback address: whoever reaches it may ask, so keep it behind a firewall")
        }
        let listener = Configuration.Listener(
            name: name ?? role.rawValue, role: role, address: address, gateway: gateway, trap: trap, admin: admin, socketmap: socketmap,
            dnsService: dnsService)
        warnOfOpenDNSService(listener, addressValue)
        return listener
    }

    private func role(_ value: Value) -> Configuration.Role? {
        guard let text = value.text("a role such as policy") else { return nil }
        if let role = Configuration.Role(rawValue: text) { return role }
        if Self.reservedRoles.contains(text) {
            value.error("the role '\(text)' is reserved for a later version; this one has \(Self.available)")
        } else {
            let suggestion = Suggestion.words(for: text, among: Configuration.Role.allCases.map(\.rawValue))
            value.error("'\(text.shortened)' is not a role; this version has \(Self.available)\(suggestion)")
        }
        return nil
    }

    private static var available: String { Configuration.Role.allCases.map(\.rawValue).joined(separator: ", ") }

    func address(_ value: Value, mode: Value?, group: Value?) -> Configuration.Address? {
        guard let text = value.text("an address such as \"127.0.0.1:10023\"") else { return nil }
        if text.hasPrefix("unix:") {
            let permissions = mode?.permissions()
            let groupName = group?.accountName()
            let path = String(text.dropFirst(5))
            guard path.hasPrefix("/"), !path.hasSuffix("/") else {
                value.error("'\(text.shortened)' needs the whole path of a socket, such as unix:/run/postern/policy.sock")
                return nil
            }
            // sockaddr_un has room for 108 octets with the final NUL (unix(7)).
            guard path.utf8.count <= Configuration.maximumSocketPath else {
                value.error("the path is \(path.utf8.count) octets long; a socket's may have \(Configuration.maximumSocketPath)")
                return nil
            }
            return .unix(path: path, mode: permissions, group: groupName)
        }
        for extra in [mode, group] { extra?.error("is only for a UNIX socket, and the address is '\(text.shortened)'") }
        guard let (host, port) = Value.hostAndPort(text) else {
            value.error("'\(text.shortened)' is not an address; write 127.0.0.1:10023, [::1]:10023 or unix:/path")
            return nil
        }
        return .tcp(host, port: port)
    }
}

extension Configuration {
    /// Octets of a UNIX socket's path.
    public static let maximumSocketPath = 107
}

extension Configuration.Address {
    /// Why both cannot be listened on, in words; `nil` when they can. Port 0 is another port each time, and an IPv6
    /// listener takes no IPv4.
    fileprivate func conflict(with other: Configuration.Address) -> String? {
        switch (self, other) {
        case (.unix(let path, _, _), .unix(let otherPath, _, _)):
            guard SocketPath.leadToOne(path, otherPath) else { return nil }
            return path == otherPath ? "is the address" : "leads to the socket"
        case (.tcp(let host, let port), .tcp(let otherHost, let otherPort)):
            guard port == otherPort, port != 0, host.family == otherHost.family else { return nil }
            if host == otherHost { return "is the address" }
            let any = host.masked(to: 0)
            return host == any || otherHost == any ? "overlaps with the address" : nil
        default:
            return nil
        }
    }
}

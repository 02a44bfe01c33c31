import PosternConfiguration
import PosternControl

/// What somebody who starts the daemon wants to see: addresses, and lines to paste. Its fields are those of `postern serve --json`.
public struct Welcome: Encodable, Equatable, Sendable {
    public let listeners: [StatusReport.Listener]
    public let dataDirectory: String
    /// For main.cf, to ask the first policy service; `nil` without one.
    public let postfix: String?
    /// For Exim's ACLs.
    public let exim: String?

    init(_ listeners: [any RunningListener], _ configuration: Configuration) {
        self.listeners = listeners.map { .init(name: $0.name, role: $0.role.rawValue, address: $0.address.description) }
        dataDirectory = configuration.dataDirectory
        let (counts, accounts) = (configuration.throttle.mode != .off, configuration.accounts.mode != .off)
        let policy = listeners.first { $0.role == .policy }?.address
        postfix = policy.map { Snippets.postfix($0, counts: counts, accounts: accounts) }
        exim = policy.map { Snippets.exim($0, counts: counts, accounts: accounts) }
    }

    /// For a person.
    public var text: String {
        var lines = listeners.map { listener in
            let what = Configuration.Role(rawValue: listener.role)?.words ?? listener.role
            return "Postern is ready: \(what) on \(listener.address) (\(listener.name))"
        }
        lines.append("Its memory is in \(dataDirectory). Stop it with Ctrl-C.")
        for snippet in [postfix, exim] { if let snippet { lines += ["", snippet] } }
        return lines.joined(separator: "\n")
    }
}

extension Configuration.Role {
    fileprivate var words: String {
        switch self {
        case .policy: "policy service"
        case .gateway: "gateway"
        case .trap: "trap"
        case .admin: "dashboard"
        case .socketmap: "socketmap"
        case .dnsbl: "DNS service"
        case .inner: "inner door"
        case .throttle: "throttle"
        case .submission: "submission"
        }
    }
}

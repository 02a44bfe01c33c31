import PosternCore

/// A key whose value is another than it was.
public struct ConfigurationChange: Equatable, Sendable {
    /// As the table of parameters has it; of a listener `listeners.NAME`, with the key where only that changed.
    public var key: String
    /// As `config show` writes them; `nil` where there was, or is, none. What is secret is never told.
    public var old: String?
    public var new: String?
    /// Whether it holds only from the next start.
    public var needsRestart: Bool

    /// Characters of a value that are worth telling.
    static let longestValue = 100
}

extension ConfigurationChange: CustomStringConvertible {
    public var description: String { "\(key): \(old ?? "nothing") → \(new ?? "nothing")" }
}

extension Configuration {
    /// All that differs from `old`, in the order of the table of parameters, listeners last.
    public func changes(since old: Configuration) -> [ConfigurationChange] {
        let restarting = Set(keysNeedingRestart(since: old))
        var changes: [ConfigurationChange] = []
        for parameter in Parameter.all where parameter.section != "listeners[]" {
            var (before, after) = (old.yaml(of: parameter.path), yaml(of: parameter.path))
            guard before != after else { continue }
            // Addresses and zones may hold the keys of a subscriber.
            switch parameter.path {
            case "subscriptions": (before, after) = Self.names(old.subscriptions.map { ($0.name, $0) }, subscriptions.map { ($0.name, $0) })
            case "dns_lists": (before, after) = Self.names(old.dnsLists.map { ($0.name, $0) }, dnsLists.map { ($0.name, $0) })
            default: break
            }
            let top = parameter.path.prefix { $0 != "." }
            changes.append(.init(parameter.path, before, after, needsRestart: restarting.contains(String(top))))
        }
        return changes + listenerChanges(since: old)
    }

    /// Named elements by their names alone; a new one that differs from the old one of its name says that it does.
    private static func names<Element: Equatable>(_ old: [(String, Element)], _ new: [(String, Element)]) -> (String, String) {
        let before = Dictionary(old, uniquingKeysWith: { $1 })
        let told = new.map { name, element in before[name].map { $0 != element } ?? false ? "\(name) (changed)" : name }
        return ("[\(old.map(\.0).joined(separator: ", "))]", "[\(told.joined(separator: ", "))]")
    }

    private func listenerChanges(since old: Configuration) -> [ConfigurationChange] {
        var changes: [ConfigurationChange] = []
        for before in old.listeners where !listeners.contains(where: { $0.name == before.name }) {
            changes.append(.init("listeners.\(before.name)", "\(before.role) on \(before.address)", nil, needsRestart: true))
        }
        for after in listeners {
            guard let before = old.listeners.first(where: { $0.name == after.name }) else {
                changes.append(.init("listeners.\(after.name)", nil, "\(after.role) on \(after.address)", needsRestart: true))
                continue
            }
            let (past, present) = (before.lines, after.lines)
            for key in past.map(\.key) + present.map(\.key).filter({ key in !past.contains { $0.key == key } }) {
                let (value, other) = (past.first { $0.key == key }?.value, present.first { $0.key == key }?.value)
                guard value != other else { continue }
                let isTheSocket = ["role", "address", "mode", "group"].contains(key) || !after.isUpdatedWhileOpen
                changes.append(.init("listeners.\(after.name).\(key)", value, other, needsRestart: isTheSocket))
            }
        }
        return changes
    }
}

extension Configuration.Listener {
    /// Whether both are the same socket for the same purpose: what is left can be changed while it is open.
    func isTheSameSocket(as other: Configuration.Listener) -> Bool {
        guard isUpdatedWhileOpen else { return self == other }
        return name == other.name && role == other.role && address == other.address && trap?.mode == other.trap?.mode
    }

    /// Whether a reload reaches its own settings (`Reloader`).
    var isUpdatedWhileOpen: Bool { role == .gateway || role == .throttle || role == .submission || role == .trap || role == .dnsbl }
}

extension ConfigurationChange {
    /// Parts of a key's name that tell that its value is nobody's business.
    private static let secrets = ["password", "secret", "token", "redis", "webhook", "trust_zone"]

    fileprivate init(_ key: String, _ old: String?, _ new: String?, needsRestart: Bool) {
        let isSecret = Self.secrets.contains { key.contains($0) }
        func told(_ value: String?) -> String? {
            guard let value else { return nil }
            if isSecret { return "(secret)" }
            return value.count <= Self.longestValue ? value : value.prefix(Self.longestValue - 3) + "..."
        }
        self.init(key: key, old: told(old), new: told(new), needsRestart: needsRestart)
    }
}

import PosternConfiguration
import PolicyProtocol
import PosternCore
import PosternEngine
import PosternStorage

extension Configuration {
    /// The listener of a name, where there is one.
    func listener(_ name: String) -> Listener? { listeners.first { $0.name == name } }

    /// With what the files of trusted senders say.
    func engineSettings(with files: TrustedFiles) -> EngineSettings {
        var settings = engineSettings
        settings.trusted = trusted(with: files)
        return settings
    }

    /// The same of trusted senders alone.
    func trusted(with files: TrustedFiles) -> Trusted {
        var all = trusted
        all.formUnion(files.trusted)
        return all
    }

    /// The store that the configuration names, for the daemon, or for a command that runs without one.
    public func openStore(for user: StoreUser) throws(StoreFailure) -> any PosternEngine.Store {
        var settings = SQLiteSettings()
        settings.lock = user == .daemon ? .exclusive : .shared
        // A command asks the daemon that has it, as soon as that one answers.
        if user == .command { settings.lockPatience = .zero }
        settings.sync = store.sync == .full ? .full : .normal
        settings.keepsDecisions = decisions.keep > .zero
        return try SQLiteStore(path: databasePath, keyPath: keyPath, settings: settings)
    }
}

public enum StoreUser: Sendable {
    case daemon
    case command
}

extension EvidenceGatherer.Settings {
    init(_ configuration: Configuration) {
        self.init(timeout: configuration.dns.timeout, hostname: configuration.hostname)
    }
}

extension PolicyServiceLimits {
    init(_ policy: Configuration.Policy) {
        self.init()
        requests = PolicyLimits(line: policy.maxLineLength, attributes: policy.maxAttributes, request: policy.maxRequestSize)
        idle = policy.idleTimeout
        connections = policy.maxConnections
    }
}

import PosternCore
import PosternEngine

/// All that an admin can say to Postern, checked: what cannot work is not a `Configuration`.
///
/// `Configuration()` holds the built-in defaults: the policy service on a loopback port, data in `./postern-data`.
/// What each key means stands in `Parameter.all`.
public struct Configuration: Equatable, Sendable {
    /// Our name, in headers and texts; a domain name.
    public var hostname = "localhost"
    public var dataDirectory = "./postern-data"
    public var listeners = [Listener(name: "policy", role: .policy, address: .tcp(IPAddress(v4: 0x7f00_0001), port: 10_023))]
    public var store = Store()
    public var domains = Domains.listed([])
    public var networks = Networks()
    public var dns = DNS()
    public var dnsLists: [DNSList] = []
    public var geography = Geography()
    public var subscriptions: [Subscription] = []
    public var exports: [Export] = []
    public var profile = Profile.selective
    public var spfHeader = SPFHeader.none
    public var greylist = GreylistSettings()
    public var policy = Policy()
    public var decisions = Decisions()
    public var history = History()
    /// For the gateway; a policy service never waits.
    public var delays = DelaySettings()
    /// Checks whose mode or score is not `Check.defaultSetting`.
    public var checks: [Check: CheckSetting] = [:]
    public var bands = Bands()
    public var harvest = HarvestSettings()
    public var throttle = ThrottleSettings()
    public var firewall = Firewall()
    public var accounts = AccountSettings()
    public var trusted = Trusted()
    /// Files with more that is trusted.
    public var trustedFiles: [String] = []
    public var framing = Framing.normalize
    public var log = Log()
    /// The account to become once the sockets are open, when started as root; `nil` to stay who we are.
    public var user: String?

    public init() {}
}

extension Configuration {
    /// A socket that Postern listens on.
    public struct Listener: Equatable, Sendable {
        /// Unique among the listeners; letters, digits, `-`, `_` and `.`, at most 64.
        public var name: String
        public var role: Role
        public var address: Address
        /// What a gateway needs; `nil` for every other role.
        public var gateway: Gateway?
        /// What a trap needs; `nil` for every other role.
        public var trap: Trap?
        /// What an admin listener needs; `nil` for every other role.
        public var admin: Admin?
        /// What a socketmap needs; `nil` for every other role.
        public var socketmap: Socketmap?
        /// What a DNS service needs; `nil` for every other role.
        public var dnsService: DNSService?

        public init(
            name: String, role: Role, address: Address, gateway: Gateway? = nil, trap: Trap? = nil, admin: Admin? = nil,
            socketmap: Socketmap? = nil, dnsService: DNSService? = nil
        ) {
            self.name = name
            self.role = role
            self.address = address
            self.gateway = gateway
            self.trap = trap
            self.admin = admin
            self.socketmap = socketmap
            self.dnsService = dnsService
        }
    }

    /// What a listener does. Only roles that this version has; the loader knows the names of the others.
    public enum Role: String, CaseIterable, Sendable {
        case policy
        case gateway
        case trap
        case admin
        case socketmap
        case dnsbl
        case inner
        case throttle
        case submission
    }

    /// Where a listener listens.
    public enum Address: Hashable, Sendable {
        /// Port 0 leaves the choice to the kernel.
        case tcp(IPAddress, port: UInt16)
        /// An absolute path of at most 107 octets; `nil` for what the umask leaves, and for the process's own group.
        case unix(path: String, mode: UInt16?, group: String?)
    }

    public struct Store: Equatable, Sendable {
        public enum Sync: String, CaseIterable, Sendable {
            /// A decision survives the end of the process; a power cut may take the last second.
            case normal
            /// A decision is on the disk before its answer leaves.
            case full
        }

        /// The database file; a relative path starts at `dataDirectory`.
        public var sqlite = "postern.db"
        public var sync = Sync.normal

        public init() {}
    }

    /// The domains that we receive for.
    public enum Domains: Equatable, Sendable {
        /// `"*"`, written out.
        case any
        case listed([DomainName])
    }

    public struct DNS: Equatable, Sendable {
        public enum Resolvers: Equatable, Sendable {
            /// Those of /etc/resolv.conf.
            case system
            /// None of them switches look-ups off.
            case listed([Resolver])
        }

        public struct Resolver: Hashable, Sendable {
            public var address: IPAddress
            public var port: UInt16

            public init(address: IPAddress, port: UInt16 = 53) {
                self.address = address
                self.port = port
            }
        }

        public var resolvers = Resolvers.system
        /// For all look-ups of one decision together.
        public var timeout = WallTime.Span.seconds(2)

        public init() {}
    }

    /// Bounds of the policy service.
    public struct Policy: Equatable, Sendable {
        /// A connection that is silent this long is closed. Postfix closes its own after 300 s.
        public var idleTimeout = WallTime.Span.minutes(10)
        /// Open connections over all policy listeners.
        public var maxConnections = 2000
        /// Octets.
        public var maxRequestSize = 65_536
        /// Octets, without the line feed.
        public var maxLineLength = 8192
        /// Lines of a request.
        public var maxAttributes = 128
        /// The longest that an answer is held back where the verdict is to hold; once a message, and never under stress.
        public var hold = WallTime.Span.zero

        public init() {}
    }

    public struct Decisions: Equatable, Sendable {
        /// How long a decision can be read back, with its addresses.
        public var keep = WallTime.Span.days(7)

        public init() {}
    }

    public struct History: Equatable, Sendable {
        /// How long the figures of each minute, and what admins changed, can be read back.
        public var keep = WallTime.Span.days(90)

        public init() {}
    }

    /// What the gateway does with bare CR and LF in content.
    public enum Framing: String, CaseIterable, Sendable {
        case normalize
        case reject
    }

    public struct Log: Equatable, Sendable {
        public enum Format: String, CaseIterable, Sendable {
            case logfmt
            case json
        }

        public enum Level: String, CaseIterable, Sendable {
            case trace
            case debug
            case info
            case notice
            case warning
            case error
            case critical
        }

        public var format = Format.logfmt
        public var level = Level.info
        /// Whether mailboxes are left out of the log.
        public var redact = false

        public init() {}
    }
}

extension Configuration.Address: CustomStringConvertible {
    /// As the `address` key has it: `127.0.0.1:10023`, `[::1]:10023`, `unix:/path`.
    public var description: String {
        switch self {
        case .tcp(let address, let port): address.family == .v4 ? "\(address):\(port)" : "[\(address)]:\(port)"
        case .unix(let path, _, _): "unix:\(path)"
        }
    }
}

extension Configuration.DNS.Resolver: CustomStringConvertible {
    /// The address, with its port where that is not 53.
    public var description: String {
        port == 53 ? "\(address)" : Configuration.Address.tcp(address, port: port).description
    }
}

// MARK: - What follows from it

extension Configuration.Listener {
    /// The address by which the world knows us, where the listener is bound to one.
    fileprivate var publicAddress: IPAddress? {
        guard role != .policy, role != .admin, case .tcp(let address, _) = address, address != IPAddress(v4: 0), !address.isLoopback else {
            return nil
        }
        return address == IPAddress(v6High: 0, low: 0) ? nil : address
    }
}

extension Configuration {
    public var engineSettings: EngineSettings {
        var settings = EngineSettings()
        settings.hostname = hostname
        settings.networks = networks
        if case .listed(let names) = domains { settings.ourDomains = Set(names) }
        settings.ourAddresses = Set(listeners.compactMap(\.publicAddress))
        settings.profile = profile
        settings.looksUp = dns.resolvers != .listed([])
        settings.greylist = greylist
        settings.spfHeader = spfHeader
        settings.checks = checks
        settings.bands = bands
        settings.delays = delays
        settings.harvest = harvest
        settings.throttle = throttle
        settings.accounts = accounts
        settings.trusted = trusted
        settings.hasAllowlists = dnsLists.contains { list in list.filters.entries.contains { $0.weight < 0 } }
        settings.countries = geography.countries
        settings.networkOwners = geography.networks
        return settings
    }

    public var databasePath: String { store.sqlite.hasPrefix("/") ? store.sqlite : inData(store.sqlite) }

    /// The key that triplets are hashed with.
    public var keyPath: String { inData("postern.key") }

    /// Where the daemon answers the other verbs.
    public var controlSocketPath: String { inData("control.sock") }

    private func inData(_ name: String) -> String { dataDirectory.hasSuffix("/") ? dataDirectory + name : "\(dataDirectory)/\(name)" }

    /// The keys whose values differ from `old`'s and that a running daemon takes up only when it is started again.
    public func keysNeedingRestart(since old: Configuration) -> [String] {
        var keys: [String] = []
        if dataDirectory != old.dataDirectory { keys.append("data_directory") }
        if listeners.count != old.listeners.count || !zip(listeners, old.listeners).allSatisfy({ $0.isTheSameSocket(as: $1) }) {
            keys.append("listeners")
        }
        if store != old.store { keys.append("store") }
        if policy != old.policy { keys.append("policy") }
        if decisions != old.decisions { keys.append("decisions") }
        if history != old.history { keys.append("history") }
        if log != old.log { keys.append("log") }
        if user != old.user { keys.append("user") }
        return keys
    }
}

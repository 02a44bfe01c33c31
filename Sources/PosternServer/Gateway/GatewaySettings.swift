import PosternConfiguration
import PosternCore
import PosternEngine
import SMTPProtocol

/// How one gateway listener behaves. Everything has a default but where the mail goes.
public struct GatewaySettings: Sendable, Equatable {
    /// Our own name, in the greeting and towards the backend.
    public var hostname: String
    /// What follows the name in the greeting.
    public var banner = "ESMTP"
    /// The mail servers behind the gateway, all equal: new sessions go round those that are well.
    public var backends: [ListenAddress]
    /// Of a throttle: the mail servers of each domain. Where not empty, nothing else is taken, and each message goes to the
    /// servers of its first accepted recipient's domain.
    public var routes: [DomainName: [ListenAddress]] = [:]
    /// Whether strangers are kept to what a person sends, whatever `throttle.mode` says.
    public var throttles = false
    /// By which way a backend learns who the client is.
    public var clientInformation = BackendSettings.ClientInformation.xclient
    /// What we receive for. Enforced, and required, where the backend does not learn who the client is.
    public var domains = Configuration.Domains.listed([])
    public var backendTLS = BackendTLS()
    /// Clients from here open with a PROXY header, and must.
    public var proxies = PrefixSet()
    /// Clients from here may use XCLIENT.
    public var xclient = PrefixSet()
    public var framing = Framing.normalize
    public var synchronization = ServerSettings.Synchronization.enforce
    public var leniency = SyntaxLeniency()
    public var limits = ServerLimits()
    public var timeouts = ServerTimeouts()
    public var backendTimeouts = BackendTimeouts()
    /// For the connection to a backend to be made; RFC 5321 §4.5.3.2 sets nothing. After it the next backend is tried.
    public var connectTimeout = WallTime.Span.seconds(10)
    /// For the PROXY header to come: proxy-protocol.txt wants at least 3 seconds.
    public var proxyTimeout = WallTime.Span.seconds(5)
    /// For the client's name to be looked up; after it the client has none.
    public var nameTimeout = WallTime.Span.seconds(2)
    /// What STARTTLS needs; `nil` for a gateway that does not offer it.
    public var certificate: Certificate?
    /// Whether a client that waits for its greeting is sent a `220-` line first (RFC 5321 §4.2.1), which many bots take
    /// for the greeting.
    public var teaser = false
    public var probe = ProbeSettings()
    /// Where strangers are sent another way; `nil` for a gateway that everybody may come to.
    var inner: InnerDoor.Settings?
    /// Where accounts log in and send to everybody; `nil` for a gateway to our own mailboxes.
    var submission: Submission?
    public var health = HealthSettings()
    public var kept = KeptSettings()
    /// Open sessions. At the limit the one that was held longest is let go with 421 for a new one; where none is held, the
    /// new one is.
    public var maxSessions = 20_000
    /// Where delays begin to shrink, in sessions of a hundred possible; at `nearlyFull` they are gone.
    public var busyPercent = 50
    public var nearlyFullPercent = 90
    public var memory = MemorySettings()

    public init(hostname: String, backends: [ListenAddress]) {
        self.hostname = hostname
        self.backends = backends
    }

    /// A certificate for STARTTLS, in PEM, with the chain behind it. Both files are read again when they change.
    public struct Certificate: Sendable, Equatable {
        public enum Version: String, CaseIterable, Sendable {
            /// RFC 8996 forbids what is older.
            case tls12 = "1.2"
            case tls13 = "1.3"
        }

        public var chainPath: String
        public var keyPath: String
        public var minimumVersion = Version.tls12

        public init(chainPath: String, keyPath: String) {
            self.chainPath = chainPath
            self.keyPath = keyPath
        }
    }

    /// TLS towards the backend.
    public struct BackendTLS: Sendable, Equatable {
        public var mode = BackendSettings.TLS.never
        /// Authorities in PEM that must have signed the backend's certificate; `nil` to encrypt without knowing to whom.
        /// Names are not compared: backends are given by address.
        public var authoritiesPath: String?

        public init() {}
    }

    /// Asking the backend beforehand whether it knows a mailbox, so that unknown ones are refused and never greylisted.
    public struct ProbeSettings: Sendable, Equatable {
        public var isOn = true
        /// Mailboxes remembered. The oldest are forgotten first.
        public var capacity = 10_000
        /// How long a mailbox is known to exist.
        public var knownFor = WallTime.Span.hours(1)
        /// How long one is known not to exist: a new mailbox gets its mail that much later.
        public var unknownFor = WallTime.Span.minutes(5)
        /// How long nothing is asked about one of which nothing was learnt.
        public var silentFor = WallTime.Span.minutes(1)
        /// How long a client waits for the answer; then it goes on as if the mailbox existed.
        public var patience = WallTime.Span.seconds(3)
        /// Connections for it on each event loop.
        public var connections = 2
        /// Questions on one connection: Exim takes 10 commands that are no mail, Postfix slows down after 10 refusals.
        public var perConnection = 8
        /// Mailboxes that may wait to be asked about; past it they count as existing.
        public var waiting = 256
        /// Clients whose share of unknown mailboxes is remembered.
        public var clients = 16_384

        public init() {}
    }

    /// When a backend is taken for ill.
    public struct HealthSettings: Sendable, Equatable {
        /// Failures in a row that take it out.
        public var failures = 3
        /// How long it stays out; then it is tried, and is back once it answers.
        public var out = WallTime.Span.seconds(10)
        /// How often the extensions of a backend that is well are learnt anew.
        public var refresh = WallTime.Span.minutes(5)
        /// For each answer when a backend is asked how it is, and for its greeting to a client where another one can be tried after it.
        /// Longer than look-ups of a client's name that come to nothing usually take.
        public var patience = WallTime.Span.seconds(15)

        public init() {}
    }

    /// Backend connections that wait for another client once theirs has gone.
    public struct KeptSettings: Sendable, Equatable {
        /// On each event loop; 0 for none. Each takes one of the backend's processes.
        public var connections = 16
        /// How long one waits.
        public var idle = WallTime.Span.seconds(5)
        /// Messages on one connection: OpenSMTPD takes 100.
        public var messages = 50

        public init() {}
    }

    /// What one session may hold, in octets.
    public struct MemorySettings: Sendable, Equatable {
        /// One read from a client.
        public var read = 16_384
        /// Output that is not taken by the other side: past it nothing more is read.
        public var highWater = 16_384
        public var lowWater = 4096
        /// What a client may have sent that was not asked for: it has closed its side then, and what it had sent before comes at
        /// once. Past this it may have more only while all sessions of an event loop together stay below `unreadTogether`.
        public var unread = 65_536
        public var unreadTogether = 33_554_432

        public init() {}
    }
}

/// Why settings cannot work.
public enum GatewaySettingsError: Error, Equatable, Sendable, CustomStringConvertible {
    case noBackend
    /// The backend would take everyone's mail for ours.
    case domainsRequired
    /// Passwords would come in clear.
    case certificateRequired
    case certificate(path: String, reason: String)
    case key(path: String, reason: String)
    case authorities(path: String, reason: String)

    public var description: String {
        switch self {
        case .noBackend: "backend: a gateway needs at least one"
        case .domainsRequired:
            "backend_client_info: none needs domains: list what you receive for, or the backend would relay for strangers"
        case .certificateRequired: "a submission listener needs tls_certificate and tls_key, or passwords would come in clear"
        case .certificate(let path, let reason): "cannot use the certificate \(path): \(reason)"
        case .key(let path, let reason): "cannot use the key \(path): \(reason)"
        case .authorities(let path, let reason): "cannot use the authorities \(path): \(reason)"
        }
    }
}

extension GatewaySettings {
    /// What can be said without opening a file.
    public func validate() throws(GatewaySettingsError) {
        guard !backends.isEmpty || !routes.isEmpty, routes.values.allSatisfy({ !$0.isEmpty }) else { throw .noBackend }
        if submission != nil, certificate == nil { throw .certificateRequired }
        // Who has logged in may send to everybody, and nobody else anything.
        if clientInformation == .none, routes.isEmpty, submission == nil, domains == .listed([]) { throw .domainsRequired }
    }
}

extension GatewaySettings {
    /// Every backend, of all routes.
    var allBackends: [ListenAddress] {
        guard !routes.isEmpty else { return backends }
        var all: [ListenAddress] = []
        for (_, addresses) in routes.sorted(by: { $0.key.text < $1.key.text }) {
            for address in addresses where !all.contains(address) { all.append(address) }
        }
        return all
    }

    /// The backends that take a recipient; `nil` for one that none does.
    func route(to recipient: Mailbox) -> [ListenAddress]? {
        guard !routes.isEmpty else { return backends }
        // RFC 5321 §4.5.1: postmaster needs no domain; the first of ours has it.
        if recipient.domain.isEmpty {
            return recipient.localPart.lowercasedASCII == "postmaster" ? routes.min { $0.key.text < $1.key.text }?.value : nil
        }
        return recipient.domainName.flatMap { routes[$0] }
    }
}

import NIOSSL

/// What an admin listener is told.
public struct AdminSettings: Sendable {
    /// Names that a browser may call us by, in lower case, without a port (`[::1]` with brackets). Whatever else a Host header
    /// says is turned away: a page elsewhere whose name is made to lead here (DNS rebinding) bears its own name.
    public var hosts: Set<String>
    /// Whether any address does for a name: of a listener on all addresses of the machine, which bear no name of a page elsewhere.
    public var takesAnyAddress = false
    /// What whoever comes must know; `nil` where everybody who can connect may.
    public var token: String?
    public var tls: TLSConfiguration?

    public init(hosts: Set<String>, token: String? = nil, tls: TLSConfiguration? = nil) {
        self.hosts = hosts
        self.token = token
        self.tls = tls
    }

    /// Connections at once: viewers, scrapes, scripts.
    static let maximumConnections = 256
    /// Octets of a request's body.
    static let maximumBody = 65_536
    /// Octets of a log-in's body.
    static let maximumLogin = 4096
    /// Octets of a request's header fields, and of its target.
    static let maximumHeader = 16_384
    /// Seconds after which a connection without a request is closed.
    static let idle: Int64 = 60
}

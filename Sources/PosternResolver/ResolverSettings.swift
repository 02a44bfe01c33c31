import PosternCore

/// Whom to ask, and every bound of a `Resolver`.
public struct ResolverSettings: Equatable, Sendable {
    /// A recursive resolver.
    public struct Server: Hashable, Sendable, CustomStringConvertible {
        public var address: IPAddress
        public var port: UInt16

        public init(_ address: IPAddress, port: UInt16 = 53) {
            self.address = address
            self.port = port
        }

        public var description: String { address.family == .v4 ? "\(address):\(port)" : "[\(address)]:\(port)" }
    }

    /// In the order in which they are preferred, at most `mostServers` of them; none switches look-ups off.
    public var servers: [Server]
    /// How long one server has for an answer before the question is asked again, or of the next one. 50 ms...30 s.
    public var attemptTimeout = WallTime.Span.milliseconds(800)
    /// Entries of the cache.
    public var cacheEntries = 100_000
    /// Octets of the cache, by estimate.
    public var cacheBytes = 64 << 20
    /// A positive answer is kept at least and at most this long, whatever it says itself.
    public var timesToLive: ClosedRange<UInt32> = 1...86_400
    /// RFC 2308 §5: one to three hours is the most that makes sense.
    public var longestNegative: UInt32 = 3600
    /// Seconds that a failure is kept (RFC 9520 §3.2: at least 1, at most 300).
    public var failureTimeToLive: UInt32 = 5
    /// Questions that may wait for their answer, those in flight among them; more are refused at once.
    public var mostWaiting = 65_536

    /// More than anyone has.
    public static let mostServers = 8
    /// Questions under way at a time. It begins with the smaller, since a burst that a resolver's socket cannot hold is
    /// lost and costs a time-out each, and grows to the larger while answers come.
    static let inFlight = 256...1024
    /// Times that one question is sent, whatever the number of servers.
    static let mostAttempts = 9

    public init(servers: [Server]) {
        self.servers = servers
    }
}

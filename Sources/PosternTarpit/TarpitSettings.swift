import PosternCore

/// How a tarpit treats its clients.
public struct TarpitSettings: Equatable, Sendable {
    /// Our name, in the greeting.
    public var hostname: String
    /// Between two octets of the reply to HELO; 1 ms to 5 min. A client waits five minutes for each reply
    /// (RFC 5321 §4.5.3.2), and many bots far less for each octet.
    public var pace = WallTime.Span.seconds(5)
    /// Between two octets of the greeting; 1 ms to 5 min. It should be over before a client loses patience, so that the
    /// reply that never ends can begin.
    public var greetingPace = WallTime.Span.seconds(1)
    /// How long a client is held that is not listed; then it is told 421.
    public var hold = WallTime.Span.minutes(10)
    /// How many are held at once; beyond that the oldest is let go.
    public var capacity = 10_000

    public init(hostname: String) {
        self.hostname = hostname
    }
}

/// What the owner of a tarpit thinks of a client.
public enum TarpitStanding: Equatable, Sendable {
    /// It is let go at once: our own machines, our backup, our monitoring, whoever is allowed.
    case exempt
    /// Held for `TarpitSettings.hold`.
    case unlisted
    /// Held for as long as it stays.
    case listed
}

/// A client that has been held. Nothing more is ever known of it.
public struct TarpitVisit: Equatable, Sendable {
    /// The name of the listener that it came to.
    public var listener: String
    public var address: IPAddress
    public var connected: WallTime
    public var disconnected: WallTime
}

/// What a tarpit has done since it started.
public struct TarpitTotals: Equatable, Sendable {
    public var heldNow = 0
    public var heldEver: UInt64 = 0
    /// Milliseconds for which clients were held, those that are held now included.
    public var millisecondsHeld: UInt64 = 0
    /// Octets of text sent to them, without the headers of the network.
    public var octetsSent: UInt64 = 0
    /// Let go since there were too many.
    public var shed: UInt64 = 0
    /// Told 421 since they were not listed, or exempt.
    public var letGo: UInt64 = 0
    /// Times that the system had no descriptor for another.
    public var outOfDescriptors: UInt64 = 0

    public init() {}

    /// Seconds that a client lost for each octet that we spent; zero before the first octet.
    public var secondsPerOctet: Double { octetsSent == 0 ? 0 : Double(millisecondsHeld) / 1000 / Double(octetsSent) }

    public static func + (a: TarpitTotals, b: TarpitTotals) -> TarpitTotals {
        var sum = a
        sum.heldNow += b.heldNow
        sum.heldEver += b.heldEver
        sum.millisecondsHeld += b.millisecondsHeld
        sum.octetsSent += b.octetsSent
        sum.shed += b.shed
        sum.letGo += b.letGo
        sum.outOfDescriptors += b.outOfDescriptors
        return sum
    }
}

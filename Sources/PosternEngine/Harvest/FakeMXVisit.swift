import PosternCore

/// One client's stay at a fake MX, when it is over: all that is kept of it. No sender, no mailbox, no content, no HELO name.
public struct FakeMXVisit: Equatable, Sendable {
    public enum End: Equatable, Sendable {
        /// It said QUIT.
        case quit
        /// It closed the connection without QUIT.
        case hungUp
        /// We ended it: time was up, there were too many, or we shut down; or the network did.
        case notByClient
    }

    public var listener: String
    public var address: IPAddress
    /// Domains that it wanted to write to, in lower case; at most `maximumDomains`, empty where it named none.
    public var domains: [String]
    /// RCPT and DATA commands that were answered 451, and whose answers had left before it went.
    public var deferrals: Int
    /// Messages that a sink took and threw away, bounces not counted.
    public var discarded: Int
    public var end: End
    /// When it was over; steady time.
    public var at: WallTime

    public static let maximumDomains = 8

    public init(
        listener: String, address: IPAddress, domains: [String] = [], deferrals: Int = 0, discarded: Int = 0, end: End, at: WallTime
    ) {
        self.listener = listener
        self.address = address
        self.domains = Array(domains.prefix(Self.maximumDomains))
        self.deferrals = deferrals
        self.discarded = discarded
        self.end = end
        self.at = at
    }
}

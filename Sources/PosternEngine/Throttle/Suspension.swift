import PosternCore

/// An account that was stopped, until it is released.
public struct Suspension: Equatable, Sendable {
    public var account: String
    /// By the steady clock.
    public var since: WallTime
    /// For people; begins with the limit.
    public var reason: String
    /// It would have been stopped, and was not.
    public var isShadow = false

    public init(account: String, since: WallTime, reason: String) {
        self.account = account
        self.since = since
        self.reason = reason
    }
}

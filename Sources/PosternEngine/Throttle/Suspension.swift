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

    /// What it was stopped for, and how much of that it had done, in the units that are kept; `nil` where the reason is in other words.
    var limit: Limit? { reason.split(separator: ":").first.flatMap { try? Limit($0) } }
    var count: UInt32? {
        reason.firstRange(of: ": ").flatMap { reason[$0.upperBound...].split(separator: " ").first }.flatMap { UInt32($0) }
    }

    public init(account: String, since: WallTime, reason: String) {
        self.account = account
        self.since = since
        self.reason = reason
    }
}

import PosternCore

/// How clients are harvested at traps. What the rules are for stands in docs/harvest.md.
public struct HarvestSettings: Equatable, Sendable {
    /// `shadow` finds and shows entries, but neither publishes nor scores them.
    public var mode = Mode.on
    /// How long an entry stays after the last evidence for it. Hostkarma's stay four days.
    public var lifetime = WallTime.Span.days(4)
    /// Nothing is harvested at a fake MX for so long after a start, or after the primary was out.
    public var quiet = WallTime.Span.minutes(15)
    /// How long a client that came to a fake MX still has to try the primary; and how far from its visit, before and behind,
    /// a sign of the primary's life may be.
    public var settle = WallTime.Span.minutes(15)
    /// How far apart two visits must be to count as two: on different days.
    public var apart = WallTime.Span.hours(20)
    /// For how long at least it is remembered who tried the primary, and who came to a fake MX.
    public var memory = WallTime.Span.days(8)
    /// For how long an address that was removed by the admin does not come back.
    public var keepOff = WallTime.Span.days(30)
    /// Domains of others that a client must have hung up on before it is suspected.
    public var foreignDomains = 3
    /// Messages that must have passed before an address is published as white; 0 for never.
    public var whiteAfter = 50
    /// Entries at most; beyond that nobody is listed until others have expired.
    public var capacity = 250_000
    /// Self-removals an hour, of all together.
    public var selfRemovalsPerHour = 60

    /// Clients at a fake MX that are remembered; the oldest are forgotten first.
    public static let maximumSightings = 100_000
    /// Visits that wait to be judged; beyond that they are forgotten.
    public static let maximumPending = 20_000
    /// Addresses whose messages wait to be counted; beyond that those of others are not.
    public static let maximumCounted = 100_000
    /// Removals that are remembered; beyond that nobody can remove itself.
    public static let maximumRemovals = 100_000
    /// How long it is remembered that an address has removed itself once.
    public static let selfRemovalMemory = WallTime.Span.days(365)
    /// Listeners that are remembered of one client, in the order in which it came to them.
    public static let maximumListeners = 8

    public init() {}
}

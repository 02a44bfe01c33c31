import Synchronization

/// What a resolver has done since it was made.
public struct ResolverCounts: Equatable, Sendable {
    /// Questions put to it.
    public var queries: UInt64 = 0
    /// Of them those answered from the cache, and those not.
    public var hits: UInt64 = 0
    public var misses: UInt64 = 0
    /// Those that joined an equal question under way.
    public var coalesced: UInt64 = 0
    /// Messages sent to servers.
    public var sent: UInt64 = 0
    /// Questions given up at their deadline.
    public var timeouts: UInt64 = 0
    /// Questions answered with any other failure.
    public var failures: UInt64 = 0
    /// Questions refused since too many waited.
    public var overloaded: UInt64 = 0
    /// Times that one server did not answer one message in time.
    public var serverTimeouts: UInt64 = 0
    /// Connections made to servers over TCP.
    public var tcp: UInt64 = 0
    /// Entries and octets of the cache now, and entries that made room for others.
    public var cacheEntries = 0
    public var cacheBytes = 0
    public var cacheEvictions: UInt64 = 0
}

final class ResolverCounters: Sendable {
    let queries = Atomic<UInt64>(0)
    let coalesced = Atomic<UInt64>(0)
    let sent = Atomic<UInt64>(0)
    let timeouts = Atomic<UInt64>(0)
    let failures = Atomic<UInt64>(0)
    let overloaded = Atomic<UInt64>(0)
    let serverTimeouts = Atomic<UInt64>(0)
    let tcp = Atomic<UInt64>(0)
    /// Questions that wait now.
    let waiting = Atomic<Int>(0)
}

extension Atomic where Value == UInt64 {
    func increase() { wrappingAdd(1, ordering: .relaxed) }

    var value: UInt64 { load(ordering: .relaxed) }
}

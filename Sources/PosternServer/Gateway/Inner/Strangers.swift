import PosternCore

/// How often strangers have come to an inner door, and what that earns them. Bounded: at the limit the one who came first is
/// forgotten.
struct Strangers {
    /// What a stranger gets in this session. Never a 5xx: whoever is no bot shall keep its mail and go another way.
    enum Reception: Equatable, Sendable {
        /// Each recipient is put off with advice.
        case deferred
        /// 421 at once.
        case busy
        /// The connection ends without a word.
        case unanswered
        /// It has written for a domain that is trusted: each recipient of other senders is put off with advice.
        case vouched
    }

    struct Limits: Equatable, Sendable {
        /// Sessions of each kind, one after the other.
        var deferrals: Int
        var refusals: Int
        /// Milliseconds. After it, and after as long without a session, a stranger begins anew.
        var silence: Int64
        /// Strangers remembered.
        var capacity: Int
    }

    private struct Visits {
        var count = 0
        var lastAt: Int64
        /// When the silence towards it is over.
        var silentUntil: Int64 = .min
    }

    private var visits: [IPAddress: Visits] = [:]
    /// In the order in which they first came; those before `oldest` are gone.
    private var order: [IPAddress] = []
    private var oldest = 0

    var count: Int { visits.count }

    /// IPv6 is counted per /64.
    private static func key(_ address: IPAddress) -> IPAddress { address.family == .v4 ? address : address.masked(to: 64) }

    /// A session begins. `now` is monotonic, in milliseconds.
    mutating func came(_ address: IPAddress, now: Int64, _ limits: Limits) -> Reception {
        let key = Self.key(address)
        var visit = visits[key] ?? Visits(lastAt: now)
        if visits[key] == nil {
            makeRoom(limits.capacity)
            order.append(key)
        }
        defer { visits[key] = visit }
        // Who knocks on during the silence does not lengthen it.
        if now < visit.silentUntil { return .unanswered }
        if now - visit.lastAt > limits.silence { visit.count = 0 }
        visit.lastAt = now
        visit.count += 1
        if visit.count <= limits.deferrals { return .deferred }
        if visit.count <= limits.deferrals + limits.refusals { return .busy }
        visit.count = 0
        visit.silentUntil = now + limits.silence
        return .unanswered
    }

    /// It was no stranger.
    mutating func forget(_ address: IPAddress) {
        visits[Self.key(address)]?.count = 0
        visits[Self.key(address)]?.silentUntil = .min
    }

    private mutating func makeRoom(_ capacity: Int) {
        while visits.count >= capacity, oldest < order.count {
            visits[order[oldest]] = nil
            oldest += 1
        }
        if oldest > capacity {
            order.removeFirst(oldest)
            oldest = 0
        }
    }
}

import PosternCore
import PosternEngine

/// The rows that the engine remembers during a replay: a store without a disk, a lock or a record of decisions. It holds what
/// has not expired, and at most as much again.
struct ReplayMemory {
    struct Triplet {
        var row: TripletRow
        /// Messages that passed under this key.
        var mails: UInt32 = 0
        /// How many of them had been deferred.
        var delayedMails: UInt32 = 0
    }

    private var triplets: [UInt64: Triplet] = [:]
    private var identities: [UInt64: IdentityRow] = [:]
    private var sweepAt = 16_384

    var rows: Int { triplets.count + identities.count }

    func evidence(_ needs: Needs) -> Evidence {
        Evidence(
            triplets: needs.triplets.map { triplets[Self.key($0)]?.row }, identities: needs.identities.map { identities[Self.key($0)] })
    }

    mutating func apply(_ changes: Changes, now: WallTime) {
        guard !changes.isEmpty else { return }
        for change in changes.triplets {
            let key = Self.key(change.key)
            // A first attempt begins anew what had expired.
            if change.row.passedAt == nil { triplets[key] = nil }
            triplets[key, default: Triplet(row: change.row)].row = change.row
        }
        for change in changes.identities { identities[Self.key(change.identity)] = change.row }
        if rows > sweepAt { expire(now: now) }
    }

    /// Counts a message that passed under a key; the counts with it.
    mutating func passed(_ key: TripletKey, wasDelayed: Bool) -> (mails: UInt32, delayedMails: UInt32)? {
        let key = Self.key(key)
        guard var triplet = triplets[key] else { return nil }
        triplet.mails += 1
        if wasDelayed { triplet.delayedMails += 1 }
        triplets[key] = triplet
        return (triplet.mails, triplet.delayedMails)
    }

    /// Throws away what has expired. Called when the rows have doubled since it was last called, so it costs each row little.
    mutating func expire(now: WallTime) {
        triplets = triplets.filter { now < $0.value.row.expires }
        identities = identities.filter { now < $0.value.expires }
        sweepAt = max(16_384, rows * 2)
    }

    private static func key(_ key: TripletKey) -> UInt64 {
        var hash = KeyHash()
        add(key.identity, to: &hash)
        hash.add(key.sender)
        hash.add(key.recipient)
        return hash.value
    }

    private static func key(_ identity: Identity) -> UInt64 {
        var hash = KeyHash()
        add(identity, to: &hash)
        return hash.value
    }

    private static func add(_ identity: Identity, to hash: inout KeyHash) {
        switch identity {
        case .spfDomain(let domain):
            hash.add(1)
            hash.add(domain.text)
        case .nameDomain(let domain):
            hash.add(2)
            hash.add(domain.text)
        case .network(let prefix):
            // The length tells the families apart as well: what is 32 bits long or shorter and IPv6 is nobody's network.
            hash.add(UInt64(3 + prefix.length))
            hash.add(prefix.address.high)
            hash.add(prefix.address.low)
        case .address(let prefix):
            hash.add(0)
            hash.add(prefix.address.high)
            hash.add(prefix.address.low)
        }
    }
}

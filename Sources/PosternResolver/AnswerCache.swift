import DNSProtocol
import NIOConcurrencyHelpers

/// What has been answered, in parts so that threads seldom meet.
final class AnswerCache: Sendable {
    private static let shardBits = 4

    private let shards: [NIOLockedValueBox<CacheShard>]

    init(entries: Int, bytes: Int) {
        let count = 1 << Self.shardBits
        shards = (0..<count).map { _ in
            NIOLockedValueBox(CacheShard(mostEntries: (entries + count - 1) / count, mostBytes: bytes / count))
        }
    }

    func find(_ question: Question, at now: Int64) -> Answer? {
        shard(for: question).withLockedValue { $0.find(question, at: now) }
    }

    func keep(_ outcome: Answer.Outcome, for question: Question, until expires: Int64) {
        shard(for: question).withLockedValue { $0.keep(outcome, for: question, until: expires) }
    }

    func removeAll() {
        for shard in shards { shard.withLockedValue { $0.removeAll() } }
    }

    private func shard(for question: Question) -> NIOLockedValueBox<CacheShard> {
        // The table inside hashes with a key of its own; here a few octets are enough to spread the load.
        var mixed = UInt32(question.type.rawValue)
        for octet in question.name.wire.prefix(24) { mixed = (mixed ^ UInt32(octet)) &* 0x0100_0193 }
        return shards[Int((mixed ^ mixed >> 16) & UInt32(shards.count - 1))]
    }

    struct Totals {
        var entries = 0
        var bytes = 0
        var hits: UInt64 = 0
        var misses: UInt64 = 0
        var evictions: UInt64 = 0
    }

    var totals: Totals {
        var totals = Totals()
        for shard in shards {
            shard.withLockedValue {
                totals.entries += $0.count
                totals.bytes += $0.bytes
                totals.hits += $0.hits
                totals.misses += $0.misses
                totals.evictions += $0.evictions
            }
        }
        return totals
    }
}

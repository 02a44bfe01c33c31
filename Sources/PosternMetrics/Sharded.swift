import Glibc
import Synchronization

/// Counters that many threads add to without waiting for one another: each thread adds to a part of its own, as far as there
/// are parts, and whoever reads adds the parts up.
///
/// Sendable: the memory is atomics only, made in `init` and freed in `deinit`.
public final class ShardedCounts: @unchecked Sendable {
    /// A power of two. More threads than this share parts, which is slower and still right.
    static let shards = 8
    /// Parts begin on cache lines of their own (64 octets).
    private static let line = 8

    public let width: Int
    private let stride: Int
    private let cells: UnsafeMutablePointer<Atomic<UInt64>>

    /// `width` counts, all 0.
    public init(width: Int) {
        self.width = width
        stride = (width + Self.line - 1) / Self.line * Self.line
        let count = stride * Self.shards
        cells = UnsafeMutablePointer<Atomic<UInt64>>.allocate(capacity: count)
        for index in 0..<count { (cells + index).initialize(to: Atomic(0)) }
    }

    deinit {
        cells.deinitialize(count: stride * Self.shards)
        cells.deallocate()
    }

    /// Where the calling thread adds.
    static var shard: Int { Int(truncatingIfNeeded: pthread_self() >> 12) & (shards - 1) }

    public func add(_ amount: UInt64, to index: Int) { add(amount, to: index, shard: Self.shard) }

    func add(_ amount: UInt64, to index: Int, shard: Int) {
        cells[shard * stride + index].wrappingAdd(amount, ordering: .relaxed)
    }

    /// The sum over all parts: what was added before this call is in it, what is added meanwhile may be.
    public func sum(_ index: Int) -> UInt64 {
        var sum: UInt64 = 0
        for shard in 0..<Self.shards { sum &+= cells[shard * stride + index].load(ordering: .relaxed) }
        return sum
    }

    func reset() {
        for index in 0..<stride * Self.shards { cells[index].store(0, ordering: .relaxed) }
    }
}

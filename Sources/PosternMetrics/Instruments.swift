import Metrics
import Synchronization

/// Something that is printed under one name with one set of labels.
protocol Instrument: AnyObject, Sendable {
    var kind: Exposition.Kind { get }
    func write(_ name: String, _ labels: [(String, String)], to exposition: inout Exposition)
}

final class CountingInstrument: CounterHandler, Instrument {
    let kind = Exposition.Kind.counter
    private let counts = ShardedCounts(width: 1)

    func increment(by amount: Int64) {
        // A counter never goes down.
        guard amount > 0 else { return }
        counts.add(UInt64(amount), to: 0)
    }

    func reset() { counts.reset() }

    func write(_ name: String, _ labels: [(String, String)], to exposition: inout Exposition) {
        exposition.sample(name, labels, Double(counts.sum(0)))
    }
}

/// A value that goes up and down.
final class GaugeInstrument: MeterHandler, RecorderHandler, Instrument {
    let kind = Exposition.Kind.gauge
    private let bits = Atomic<UInt64>(0)

    func set(_ value: Int64) { set(Double(value)) }
    func set(_ value: Double) { bits.store(value.bitPattern, ordering: .relaxed) }
    func record(_ value: Int64) { set(Double(value)) }
    func record(_ value: Double) { set(value) }

    func increment(by amount: Double) {
        var expected = bits.load(ordering: .relaxed)
        while true {
            let wanted = (Double(bitPattern: expected) + amount).bitPattern
            let (exchanged, original) = bits.compareExchange(expected: expected, desired: wanted, ordering: .relaxed)
            if exchanged { return }
            expected = original
        }
    }

    func decrement(by amount: Double) { increment(by: -amount) }

    func write(_ name: String, _ labels: [(String, String)], to exposition: inout Exposition) {
        exposition.sample(name, labels, Double(bitPattern: bits.load(ordering: .relaxed)))
    }
}

/// Counts values in fixed buckets. Adding one takes a short search and two atomic additions to memory of the thread's own.
public final class HistogramInstrument: TimerHandler, RecorderHandler, Instrument {
    let kind = Exposition.Kind.histogram
    /// The upper bounds, rising, in recorded units.
    private let bounds: [UInt64]
    /// Recorded units in one printed unit: 1,000,000,000 for nanoseconds that are printed as seconds.
    private let scale: Double
    /// A count for each bucket, one for what is above all, and the sum.
    private let counts: ShardedCounts

    /// `bounds` are in printed units.
    init(bounds: [Double], scale: Double) {
        self.bounds = bounds.map { UInt64(max($0 * scale, 0)) }
        self.scale = scale
        counts = ShardedCounts(width: bounds.count + 2)
    }

    public func recordNanoseconds(_ duration: Int64) { add(UInt64(max(duration, 0))) }
    public func record(_ value: Int64) { add(UInt64(max(value, 0))) }
    public func record(_ value: Double) { add(value.isFinite ? UInt64(min(max(value * scale, 0), 9e18)) : 0) }

    private func add(_ value: UInt64) {
        var low = 0
        var high = bounds.count
        while low < high {
            let middle = (low + high) / 2
            if bounds[middle] < value { low = middle + 1 } else { high = middle }
        }
        let shard = ShardedCounts.shard
        counts.add(1, to: low, shard: shard)
        counts.add(value, to: bounds.count + 1, shard: shard)
    }

    func write(_ name: String, _ labels: [(String, String)], to exposition: inout Exposition) {
        var total: UInt64 = 0
        for (index, bound) in bounds.enumerated() {
            total += counts.sum(index)
            exposition.sample("\(name)_bucket", labels + [("le", Exposition.number(Double(bound) / scale))], Double(total))
        }
        total += counts.sum(bounds.count)
        exposition.sample("\(name)_bucket", labels + [("le", "+Inf")], Double(total))
        exposition.sample("\(name)_sum", labels, Double(counts.sum(bounds.count + 1)) / scale)
        exposition.sample("\(name)_count", labels, Double(total))
    }
}

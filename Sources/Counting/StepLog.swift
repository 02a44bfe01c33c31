import PosternCore

/// The last steps of one count, so that whoever comes near a limit is counted by the moment and not by the window.
///
/// Exact up to `maximumSteps` charges within the window; beyond, neighbours are one step where together they are no more than
/// a 256th of the whole.
struct StepLog: Sendable {
    static let maximumSteps = 1024
    private static let fineness: UInt64 = 256

    private struct Step: Sendable {
        /// Milliseconds since `base`.
        var time: UInt32
        var amount: UInt32
    }

    private var base: Int64
    private var steps: [Step] = []
    /// Steps before this one have left the window.
    private var first = 0
    private(set) var sum: UInt64 = 0

    /// Begins with what two windows tell: `last`, as far as it still counts, spread over what is left of that window, and
    /// `this` over what has gone by of the present one. What came last came at `latest`.
    init(this: UInt32, last: UInt32, elapsed: Double, window: WallTime.Span, latest: WallTime, at now: WallTime) {
        base = now.milliseconds - window.milliseconds
        let width = Double(window.milliseconds)
        let age = Double(now.milliseconds - latest.milliseconds)
        var (this, last) = (this, last)
        var hasLatest = false
        if this > 0, age <= elapsed * width {
            this -= 1
            hasLatest = true
        } else if this == 0, last > 0 {
            last -= 1
            hasLatest = age < width
        }
        spread(UInt32((Double(last) * (1 - elapsed)).rounded()), from: 0, over: (1 - elapsed) * width)
        spread(this, from: (1 - elapsed) * width, over: elapsed * width)
        if hasLatest {
            let time = UInt32(clamping: max(latest.milliseconds - base, 0))
            // In order, so that what leaves first stands first.
            for index in steps.indices.reversed() {
                guard steps[index].time > time else { break }
                steps[index].time = time
            }
            steps.append(Step(time: time, amount: 1))
            sum += 1
        }
    }

    private mutating func spread(_ amount: UInt32, from start: Double, over width: Double) {
        let pieces = min(amount, 32)
        for piece in 0..<pieces {
            let share = amount / pieces + (piece < amount % pieces ? 1 : 0)
            steps.append(Step(time: UInt32(start + width * (Double(piece) + 0.5) / Double(pieces)), amount: share))
            sum += UInt64(share)
        }
    }

    /// Lets go of what is older than the window.
    mutating func expire(window: WallTime.Span, at now: WallTime) {
        let edge = now.milliseconds - window.milliseconds - base
        while first < steps.count, Int64(steps[first].time) <= edge {
            sum -= UInt64(steps[first].amount)
            first += 1
        }
        if first == steps.count {
            steps.removeAll(keepingCapacity: true)
            first = 0
        }
    }

    /// When no more than `target` of it is left if nothing is added.
    func falls(to target: Double, window: WallTime.Span) -> WallTime? {
        var left = sum
        for step in steps[first...] where Double(left) > target {
            left -= UInt64(step.amount)
            if Double(left) <= target { return WallTime(milliseconds: base + Int64(step.time) + window.milliseconds) }
        }
        return nil
    }

    mutating func add(_ amount: UInt32, window: WallTime.Span, at now: WallTime) {
        expire(window: window, at: now)
        if steps.count - first >= Self.maximumSteps { coarsen() }
        // The window is at most a month, and 32 bits of milliseconds are seven weeks.
        if steps.count >= 2 * Self.maximumSteps || now.milliseconds - base > 3_600_000 * 24 * 40 {
            move(to: now.milliseconds - window.milliseconds)
        }
        let time = UInt32(clamping: max(now.milliseconds - base, 0))
        steps.append(Step(time: max(time, steps.last?.time ?? 0), amount: amount))
        sum += UInt64(amount)
    }

    private mutating func move(to start: Int64) {
        let shift = start - base
        steps = steps[first...].map { Step(time: UInt32(clamping: max(Int64($0.time) - shift, 0)), amount: $0.amount) }
        first = 0
        base = start
    }

    /// Makes one step of neighbours that are small, at the moment that they had on average.
    private mutating func coarsen() {
        // Large charges make a large sum; a step holds no more than 32 bits of it.
        let most = min(max(sum / Self.fineness, 2), UInt64(UInt32.max))
        var merged: [Step] = []
        merged.reserveCapacity(Self.maximumSteps)
        for step in steps[first...] {
            if let last = merged.last, UInt64(last.amount) + UInt64(step.amount) <= most {
                let sum = last.amount + step.amount
                let later = Double(step.time - last.time) * Double(step.amount) / Double(sum)
                merged[merged.count - 1] = Step(time: last.time + UInt32(later), amount: sum)
            } else {
                merged.append(step)
            }
        }
        steps = merged
        first = 0
    }
}

extension UInt32 {
    func plus(_ other: UInt32) -> UInt32? {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? nil : sum
    }

    @inline(__always)
    func plusSaturating(_ other: UInt32) -> UInt32 {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? .max : sum
    }
}

/// The logs of a table. Bounded: those that have not been touched for the longest give way, in halves.
struct StepLogs: Sendable {
    struct Key: Hashable, Sendable {
        let key: CountKey
        let column: UInt8

        func hash(into hasher: inout Hasher) {
            hasher.combine(key.block &+ (UInt64(key.member) << 8 | UInt64(column)) &* 0x9e37_79b9_7f4a_7c15)
        }
    }

    private let maximum: Int
    private var young: [Key: StepLog] = [:]
    private var old: [Key: StepLog] = [:]

    init(maximum: Int) {
        self.maximum = max(maximum, 2)
    }

    var count: Int { young.count + old.count }
    /// No room but for those who are close to their limits.
    var isCrowded: Bool { young.count >= maximum / 2 }

    /// Whose counts there are logs of.
    var keys: Set<CountKey> {
        var keys: Set<CountKey> = []
        for key in young.keys { keys.insert(key.key) }
        for key in old.keys { keys.insert(key.key) }
        return keys
    }

    /// Calls `body` on the log of a key, where there is one.
    mutating func with<Result>(_ key: Key, _ body: (inout StepLog) -> Result) -> Result? {
        if let index = young.index(forKey: key) { return body(&young.values[index]) }
        guard let log = old.removeValue(forKey: key) else { return nil }
        insert(log, key)
        guard let index = young.index(forKey: key) else { return nil }
        return body(&young.values[index])
    }

    mutating func insert(_ log: StepLog, _ key: Key) {
        if young.count >= maximum / 2 {
            old = young
            young = [:]
        }
        young[key] = log
    }
}

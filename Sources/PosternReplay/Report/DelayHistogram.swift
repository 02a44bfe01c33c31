import PosternCore

/// Counts lengths of time in buckets whose width grows with the length: a percentile is off by less than one part in 64.
struct DelayHistogram {
    /// Buckets within each doubling.
    private static let steps: Int64 = 64
    private static let shift = 6

    /// By seconds. At most 64 × 59 buckets, and in truth some hundreds.
    private var buckets: [Int] = []
    private(set) var count = 0
    private var sum: Int64 = 0
    private(set) var longest = WallTime.Span.zero

    mutating func add(_ span: WallTime.Span) {
        let seconds = max(span.secondsRoundedUp, 0)
        let bucket = Self.bucket(seconds)
        if bucket >= buckets.count { buckets += Array(repeating: 0, count: bucket + 1 - buckets.count) }
        buckets[bucket] += 1
        count += 1
        sum += seconds
        longest = max(longest, span)
    }

    /// The length that a share, 0 to 1, of all does not exceed; `nil` where there is none.
    func percentile(_ share: Double) -> WallTime.Span? {
        guard count > 0 else { return nil }
        let wanted = max(Int((Double(count) * share).rounded(.up)), 1)
        var seen = 0
        for (bucket, number) in buckets.enumerated() {
            seen += number
            if seen >= wanted { return min(.seconds(Self.ceiling(bucket)), max(longest, .seconds(1))) }
        }
        return longest
    }

    var mean: WallTime.Span? { count > 0 ? .seconds(sum / Int64(count)) : nil }

    private static func bucket(_ seconds: Int64) -> Int {
        guard seconds >= steps else { return Int(seconds) }
        let power = 63 - seconds.leadingZeroBitCount - shift
        return Int(steps) * (power + 1) + Int(seconds >> Int64(power)) - Int(steps)
    }

    /// The longest length that falls into a bucket, in seconds.
    private static func ceiling(_ bucket: Int) -> Int64 {
        let bucket = Int64(bucket)
        guard bucket >= steps else { return bucket }
        let power = bucket / steps - 1
        let part = bucket % steps + steps
        return ((part + 1) << power) - 1
    }
}

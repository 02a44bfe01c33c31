import Glibc
import PosternCore

/// A moment of the machine's monotonic clock, in milliseconds.
public struct Deadline: Hashable, Comparable, Sendable {
    public var milliseconds: Int64

    public init(milliseconds: Int64) {
        self.milliseconds = milliseconds
    }

    public static func now() -> Deadline { Deadline(milliseconds: read(CLOCK_MONOTONIC)) }

    public static func after(_ span: WallTime.Span) -> Deadline {
        Deadline(milliseconds: (WallTime(milliseconds: now().milliseconds) + span).milliseconds)
    }

    public static func < (a: Deadline, b: Deadline) -> Bool { a.milliseconds < b.milliseconds }

    /// Some milliseconds behind, and far cheaper: for how long something is kept.
    static func coarse() -> Int64 { read(CLOCK_MONOTONIC_COARSE) }

    private static func read(_ clock: clockid_t) -> Int64 {
        var time = timespec()
        clock_gettime(clock, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }
}

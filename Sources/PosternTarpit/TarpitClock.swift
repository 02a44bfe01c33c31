import Glibc
import PosternCore

/// Ticks of 20 ms since the tarpit started, by a clock that nobody sets.
struct TarpitClock {
    static let tickMilliseconds: Int64 = 20

    private let origin: Int64

    init() {
        origin = Self.monotonic()
    }

    /// Ticks that have passed, and milliseconds until the next.
    func now() -> (tick: UInt64, untilNext: Int32) {
        let passed = Self.monotonic() - origin
        return (UInt64(passed / Self.tickMilliseconds), Int32(Self.tickMilliseconds - passed % Self.tickMilliseconds))
    }

    static func wall() -> WallTime {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return WallTime(milliseconds: Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000)
    }

    /// At least one, and at most what a wound tick can tell apart.
    static func ticks(_ span: WallTime.Span) -> UInt32 {
        UInt32(min(max((span.milliseconds + tickMilliseconds - 1) / tickMilliseconds, 1), Int64(Int32.max / 2)))
    }

    private static func monotonic() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }
}

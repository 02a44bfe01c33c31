import Glibc
import NIOConcurrencyHelpers
import PosternCore
import PosternEngine

/// The machine's clocks.
public enum SystemClocks {
    public static func wall() -> WallTime { WallTime(milliseconds: read(CLOCK_REALTIME)) }

    /// Since the machine started, sleep included.
    public static func monotonic() -> WallTime.Span { WallTime.Span(milliseconds: read(CLOCK_BOOTTIME)) }

    /// Differs from boot to boot; empty where the system does not tell.
    public static func bootID() -> String {
        guard let file = fopen("/proc/sys/kernel/random/boot_id", "re") else { return "" }
        defer { fclose(file) }
        var buffer = [CChar](repeating: 0, count: 64)
        guard fgets(&buffer, 64, file) != nil else { return "" }
        return String(decoding: buffer.prefix { $0 > 0x20 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// For systemd, which compares it with its own CLOCK_MONOTONIC.
    static func monotonicMicroseconds() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000
    }

    private static func read(_ clock: clockid_t) -> Int64 {
        var time = timespec()
        clock_gettime(clock, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }
}

/// The daemon's time: steady, whatever is done to the wall clock (see `SteadyClock`).
public final class ServiceClock: Sendable {
    private let clock: NIOLockedValueBox<SteadyClock>
    private let boot: String

    public init(after anchor: SteadyClock.Anchor?) {
        boot = SystemClocks.bootID()
        clock = NIOLockedValueBox(
            SteadyClock(wall: SystemClocks.wall(), monotonic: SystemClocks.monotonic(), boot: boot, after: anchor))
    }

    /// The steady time, and the wall time at the same moment.
    public func now() -> (steady: WallTime, wall: WallTime) {
        let wall = SystemClocks.wall()
        let monotonic = SystemClocks.monotonic()
        return (clock.withLockedValue { $0.now(wall: wall, monotonic: monotonic) }, wall)
    }

    /// Whether the wall clock was set since: an anchor from before would then mislead the next process.
    func hasStepped(since anchor: SteadyClock.Anchor) -> Bool {
        let now = self.anchor()
        let change = (now.steady - now.wall) - (anchor.steady - anchor.wall)
        return change > SteadyClock.stepThreshold || change < -SteadyClock.stepThreshold
    }

    public func anchor() -> SteadyClock.Anchor {
        clock.withLockedValue { $0.anchor(boot: boot) }
    }
}

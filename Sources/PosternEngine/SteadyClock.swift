import PosternCore

/// Turns the wall clock into one that never jumps: a step of the wall clock, forward or back, is taken out at once and
/// given back at 5 % of the time that passes, so that a delay, a window or a lifetime is never off by more.
///
/// Wall time and a monotonic time (CLOCK_BOOTTIME where there is one: it counts through sleep) are arguments.
public struct SteadyClock: Equatable, Sendable {
    /// Wall and monotonic time drifting apart by more than this between two readings is a step.
    public static let stepThreshold = WallTime.Span.seconds(1)
    /// One part in this many of the time that passes goes into giving a step back.
    static let slewDivisor: Int64 = 20

    private var lastWall: WallTime
    private var lastMonotonic: WallTime.Span
    private var lastSteady: WallTime
    /// Time that has passed and has not yet been used for giving a step back.
    private var slewCredit: Int64 = 0

    /// What a store keeps so that the next process goes on with the same time.
    public struct Anchor: Equatable, Sendable {
        public var wall: WallTime
        public var monotonic: WallTime.Span
        public var steady: WallTime
        /// Monotonic times compare only within one boot of the machine.
        public var boot: String

        public init(wall: WallTime, monotonic: WallTime.Span, steady: WallTime, boot: String) {
            self.wall = wall
            self.monotonic = monotonic
            self.steady = steady
            self.boot = boot
        }
    }

    /// Starts anew, or goes on from an anchor: within the same boot time goes on by the monotonic clock; after another
    /// boot by the wall clock, as far ahead or behind as it was. It never runs backwards.
    public init(wall: WallTime, monotonic: WallTime.Span, boot: String, after anchor: Anchor? = nil) {
        lastWall = wall
        lastMonotonic = monotonic
        lastSteady = wall
        guard let anchor else { return }
        if anchor.boot == boot, monotonic >= anchor.monotonic {
            lastWall = anchor.wall
            lastMonotonic = anchor.monotonic
            lastSteady = anchor.steady
            _ = now(wall: wall, monotonic: monotonic)
        } else {
            lastSteady = max(wall + (anchor.steady - anchor.wall), anchor.steady)
        }
    }

    /// The steady time; never earlier than the last one returned.
    public mutating func now(wall: WallTime, monotonic: WallTime.Span) -> WallTime {
        let passed = max(monotonic - lastMonotonic, .zero)
        let wallPassed = wall - lastWall
        let difference = wallPassed - passed
        let isStep = difference > Self.stepThreshold || difference < -Self.stepThreshold
        // Where there was no step, small drift is followed as it is: that is the clock being disciplined.
        var steady = lastSteady + (isStep ? passed : max(wallPassed, .zero))
        let ahead = steady - wall
        slewCredit = ahead == .zero ? 0 : slewCredit + passed.milliseconds
        let slew = WallTime.Span(milliseconds: slewCredit / Self.slewDivisor)
        slewCredit -= slew.milliseconds * Self.slewDivisor
        steady = ahead > .zero ? steady - min(ahead, slew) : steady + min(-ahead, slew)
        lastSteady = max(lastSteady, steady)
        lastWall = wall
        lastMonotonic = monotonic
        return lastSteady
    }

    /// How far steady time is ahead of the wall clock; shown times are corrected by it.
    public var lead: WallTime.Span { lastSteady - lastWall }

    public func anchor(boot: String) -> Anchor {
        Anchor(wall: lastWall, monotonic: lastMonotonic, steady: lastSteady, boot: boot)
    }
}

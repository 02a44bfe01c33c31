import EngineTestSupport
import PosternCore
import PosternEngine
import Testing

@Suite("Steady clock")
struct SteadyClockTests {
    typealias Span = WallTime.Span

    /// A machine whose true time goes on, and whose wall clock somebody sets.
    private struct Machine {
        var wall = WallTime(seconds: 1_800_000_000)
        var monotonic = Span.hours(5)
        var boot = "one"
        var elapsed = Span.zero

        mutating func pass(_ span: Span) {
            wall = wall + span
            monotonic = monotonic + span
            elapsed = elapsed + span
        }

        func clock(after anchor: SteadyClock.Anchor? = nil) -> SteadyClock {
            SteadyClock(wall: wall, monotonic: monotonic, boot: boot, after: anchor)
        }
    }

    @Test("follows the wall clock as long as nobody sets it")
    func undisturbed() {
        var machine = Machine()
        var clock = machine.clock()
        for span in [Span.milliseconds(1), .seconds(1), .hours(7), .days(40), .milliseconds(999), .zero] {
            machine.pass(span)
            #expect(clock.now(wall: machine.wall, monotonic: machine.monotonic) == machine.wall)
            #expect(clock.lead == .zero)
        }
    }

    @Test(
        "a step of the wall clock neither jumps nor stands still: time goes on within 5 %",
        arguments: [3_600_000, -3_600_000, 2000, -2000, 86_400_000, -86_400_000, 315_360_000_000, -1_500_000_000_000, 1001, -1001]
            as [Int64],
        [1, 10, 250, 999, 60_000, 3_600_000] as [Int64])
    func step(by step: Int64, readEvery interval: Int64) {
        var machine = Machine()
        var clock = machine.clock()
        let start = clock.now(wall: machine.wall, monotonic: machine.monotonic)
        machine.wall = machine.wall + .milliseconds(step)
        var last = clock.now(wall: machine.wall, monotonic: machine.monotonic)
        #expect(last == start)
        for _ in 0..<500 {
            machine.pass(.milliseconds(interval))
            let now = clock.now(wall: machine.wall, monotonic: machine.monotonic)
            let passed = now - last
            // A twentieth of many short times is carried on from one to the next: at most one millisecond here or there.
            #expect((passed.milliseconds - interval).magnitude <= UInt64(interval / 20 + 1))
            last = now
        }
        let error = (last - start) - machine.elapsed
        #expect(error.milliseconds.magnitude <= UInt64(machine.elapsed.milliseconds / 20 + 1))
        // It goes where the wall clock is, and no further.
        #expect(step > 0 ? error >= .zero : error <= .zero)
        #expect(clock.lead.milliseconds.magnitude <= step.magnitude)
    }

    @Test("a step is given back in full, after twenty times its length", arguments: [60_000, -60_000] as [Int64])
    func givenBack(step: Int64) {
        var machine = Machine()
        var clock = machine.clock()
        machine.wall = machine.wall + .milliseconds(step)
        _ = clock.now(wall: machine.wall, monotonic: machine.monotonic)
        #expect(clock.lead == .milliseconds(-step))
        for _ in 0..<1199 {
            machine.pass(.seconds(1))
            _ = clock.now(wall: machine.wall, monotonic: machine.monotonic)
        }
        #expect(clock.lead != .zero)
        machine.pass(.seconds(1))
        #expect(clock.now(wall: machine.wall, monotonic: machine.monotonic) == machine.wall)
        // From then on it follows again.
        machine.pass(.hours(1))
        #expect(clock.now(wall: machine.wall, monotonic: machine.monotonic) == machine.wall)
    }

    @Test("readings many times a millisecond lose and win nothing, also while a step is given back")
    func highFrequency() {
        for step in [Int64(3_600_000), -3_600_000, 0] {
            var machine = Machine()
            var clock = machine.clock()
            let start = clock.now(wall: machine.wall, monotonic: machine.monotonic)
            machine.wall = machine.wall + .milliseconds(step)
            for _ in 0..<10_000 {
                for _ in 0..<5 { _ = clock.now(wall: machine.wall, monotonic: machine.monotonic) }
                machine.pass(.milliseconds(1))
            }
            let now = clock.now(wall: machine.wall, monotonic: machine.monotonic)
            #expect((now - start) - machine.elapsed == .milliseconds(step == 0 ? 0 : step > 0 ? 500 : -500))
        }
    }

    @Test("the two clocks' milliseconds turning over at different moments are no step, and no drift")
    func outOfPhase() {
        var clock = SteadyClock(wall: WallTime(milliseconds: 1_000_000), monotonic: .milliseconds(50), boot: "one")
        var last = clock.now(wall: WallTime(milliseconds: 1_000_000), monotonic: .milliseconds(50))
        for tick in Int64(1)...50_000 {
            // Read ten times a millisecond, the monotonic clock 0.4 ms out of phase.
            let now = clock.now(wall: WallTime(milliseconds: 1_000_000 + tick / 10), monotonic: .milliseconds(50 + (tick + 4) / 10))
            #expect(now >= last && now - WallTime(milliseconds: 1_000_000 + tick / 10) <= .milliseconds(1))
            last = now
        }
        #expect(last == WallTime(milliseconds: 1_005_000))
    }

    @Test("never runs backwards, whatever the two clocks do")
    func neverBackwards() {
        var random = Seeded(seed: 11)
        for _ in 0..<200 {
            var wall = WallTime(seconds: 1_800_000_000)
            var monotonic = Span.hours(1)
            var boot = 0
            var clock = SteadyClock(wall: wall, monotonic: monotonic, boot: "\(boot)")
            var last = clock.now(wall: wall, monotonic: monotonic)
            for _ in 0..<100 {
                wall = wall + .milliseconds(Int64(random.below(20_000_000)) - 10_000_000)
                if random.chance(50) { monotonic = monotonic + .milliseconds(Int64(random.below(100_000))) }
                if random.chance(5) { monotonic = .seconds(1) }
                if random.chance(10) {
                    if random.chance(50) { boot += 1 }
                    let anchor = clock.anchor(boot: "\(boot - (random.chance(50) ? 0 : 1))")
                    clock = SteadyClock(wall: wall, monotonic: monotonic, boot: "\(boot)", after: anchor)
                }
                let now = clock.now(wall: wall, monotonic: monotonic)
                #expect(now >= last)
                last = now
            }
        }
    }

    @Test("clocks at the ends of their range are answered, not tripped over")
    func extremes() {
        for wall in [Int64.min, 0, .max] {
            for monotonic in [Int64.min, 0, .max] {
                var clock = SteadyClock(wall: WallTime(seconds: 1_800_000_000), monotonic: .hours(1), boot: "one")
                let now = clock.now(wall: WallTime(milliseconds: wall), monotonic: .milliseconds(monotonic))
                #expect(now >= WallTime(seconds: 1_800_000_000))
                _ = SteadyClock(
                    wall: WallTime(milliseconds: wall), monotonic: .milliseconds(monotonic), boot: "one", after: clock.anchor(boot: "two"))
            }
        }
    }

    // MARK: Restarts

    @Test(
        "after a restart within one boot time goes on by the monotonic clock, whatever was done to the wall clock meanwhile",
        arguments: [0, 3_600_000, -3_600_000, 86_400_000 * 400] as [Int64])
    func restart(step: Int64) {
        var machine = Machine()
        var clock = machine.clock()
        machine.pass(.minutes(5))
        let before = clock.now(wall: machine.wall, monotonic: machine.monotonic)
        let anchor = clock.anchor(boot: machine.boot)
        machine.wall = machine.wall + .milliseconds(step)
        machine.pass(.minutes(20))
        var next = machine.clock(after: anchor)
        let after = next.now(wall: machine.wall, monotonic: machine.monotonic)
        #expect(((after - before).milliseconds - 1_200_000).magnitude <= 60_000)
        if step == 0 { #expect(after == machine.wall) }
    }

    @Test("an anchor that is older than the last reading changes nothing: a crash keeps time")
    func oldAnchor() {
        var machine = Machine()
        machine.wall = machine.wall + .hours(1)
        var clock = machine.clock()
        let anchor = clock.anchor(boot: machine.boot)
        machine.wall = machine.wall - .hours(1)
        for _ in 0..<600 {
            machine.pass(.seconds(1))
            _ = clock.now(wall: machine.wall, monotonic: machine.monotonic)
        }
        let before = clock.now(wall: machine.wall, monotonic: machine.monotonic)
        var next = machine.clock(after: anchor)
        #expect((next.now(wall: machine.wall, monotonic: machine.monotonic) - before).milliseconds.magnitude <= 1)
    }

    @Test("after a reboot the wall clock says how long it took, and a step not yet given back is remembered")
    func reboot() {
        for step in [Int64(0), 3_600_000, -3_600_000] {
            var machine = Machine()
            var clock = machine.clock()
            machine.wall = machine.wall + .milliseconds(step)
            let before = clock.now(wall: machine.wall, monotonic: machine.monotonic)
            let anchor = clock.anchor(boot: machine.boot)
            machine.pass(.minutes(10))
            (machine.boot, machine.monotonic) = ("two", .seconds(20))
            var next = machine.clock(after: anchor)
            #expect(next.now(wall: machine.wall, monotonic: machine.monotonic) - before == .minutes(10))
            #expect(next.lead == .milliseconds(-step))
        }
    }

    @Test("a machine that wakes in 1970 stands still at most: nobody is trapped, and time goes on at once")
    func lostClock() {
        var machine = Machine()
        var clock = machine.clock()
        let before = clock.now(wall: machine.wall, monotonic: machine.monotonic)
        let anchor = clock.anchor(boot: machine.boot)
        (machine.boot, machine.monotonic, machine.wall) = ("two", .seconds(20), WallTime(seconds: 100))
        var next = machine.clock(after: anchor)
        #expect(next.now(wall: machine.wall, monotonic: machine.monotonic) == before)
        for _ in 0..<180 {
            machine.pass(.seconds(1))
            _ = next.now(wall: machine.wall, monotonic: machine.monotonic)
        }
        #expect(next.now(wall: machine.wall, monotonic: machine.monotonic) - before == .seconds(171))
        // The network sets it right: no jump.
        let last = next.now(wall: machine.wall, monotonic: machine.monotonic)
        machine.wall = WallTime(seconds: 1_800_001_000)
        machine.pass(.seconds(10))
        #expect((next.now(wall: machine.wall, monotonic: machine.monotonic) - last).milliseconds <= 10_510)
    }

    @Test("a boot that seems the same but whose monotonic clock has gone back is another boot")
    func monotonicWentBack() {
        var machine = Machine()
        let clock = machine.clock()
        let anchor = clock.anchor(boot: machine.boot)
        machine.pass(.minutes(10))
        machine.monotonic = .seconds(1)
        var next = machine.clock(after: anchor)
        #expect(next.now(wall: machine.wall, monotonic: machine.monotonic) == machine.wall)
    }

    // MARK: What it is for

    @Test("a clock set forward releases nobody, one set back traps nobody", arguments: [86_400_000 * 30, -86_400_000 * 30] as [Int64])
    func greylist(step: Int64) {
        var machine = Machine()
        var clock = machine.clock()
        var site = Site()
        func ask() -> String {
            site.now = clock.now(wall: machine.wall, monotonic: machine.monotonic)
            return site.rcpt().word
        }
        #expect(ask() == "new")
        machine.wall = machine.wall + .milliseconds(step)
        machine.pass(.seconds(1))
        #expect(ask() == "early")
        machine.pass(.seconds(169))
        #expect(ask() == "early")
        machine.pass(.seconds(20))
        #expect(ask() == "passed")
    }
}

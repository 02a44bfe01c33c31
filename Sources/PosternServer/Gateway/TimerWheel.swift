import Glibc
import NIOCore

/// What waits for a moment.
protocol Timed: AnyObject {
    /// The moment has come. Nothing is waited for from here on until it is set anew.
    func timeCame(_ now: NIODeadline)
}

/// The waiting of all connections of one event loop.
///
/// A connection sets its next moment many times for each time that one comes. So setting a later one costs a store: the
/// connection is looked at when the earlier moment comes, and moved on. Nothing is ever cancelled in the loop's own heap,
/// where that is a search; one task a loop serves all, and none runs while nothing waits.
final class TimerWheel {
    /// Moments are late by at most this.
    static let resolution = TimeAmount.milliseconds(20)
    /// Later moments are looked at this many ticks ahead, and moved on.
    private static let slots = 256
    private static let nowhere = Int64.max

    /// A place in the wheel.
    struct Ticket: Equatable {
        fileprivate let index: Int
    }

    private struct Place {
        var timed: (any Timed)?
        var due = NIODeadline.distantFuture
        /// The tick at which it is looked at, and when that is.
        var tick = nowhere
        var looked = NIODeadline.distantFuture
    }

    private let loop: any EventLoop
    private let origin = NIODeadline.now()
    private var places: [Place] = []
    private var free: [Int] = []
    private var wheel = [[Int]](repeating: [], count: slots)
    private var spare: [Int] = []
    private var cursor: Int64 = 0
    /// Places that are looked at at some tick.
    private var placed = 0
    private var isTicking = false

    init(loop: any EventLoop) {
        self.loop = loop
    }

    /// How many have a place.
    var count: Int { places.count - free.count }

    func add(_ timed: any Timed) -> Ticket {
        if let index = free.popLast() {
            places[index].timed = timed
            return Ticket(index: index)
        }
        places.append(Place(timed: timed))
        return Ticket(index: places.count - 1)
    }

    func remove(_ ticket: Ticket) {
        if places[ticket.index].tick != Self.nowhere { placed -= 1 }
        places[ticket.index] = Place()
        free.append(ticket.index)
    }

    /// From here on `due` is waited for, in place of what was.
    func set(_ ticket: Ticket, _ due: NIODeadline) {
        places[ticket.index].due = due
        guard due < places[ticket.index].looked else { return }
        if !isTicking {
            isTicking = true
            cursor = tick(at: .now())
            scheduleTick()
        }
        place(ticket.index)
    }

    private func place(_ index: Int) {
        let tick = min(max(tick(at: places[index].due) + 1, cursor + 1), cursor + Int64(Self.slots) - 1)
        let before = places[index].tick
        guard tick < before else { return }
        if before == Self.nowhere { placed += 1 }
        places[index].tick = tick
        places[index].looked = origin + .nanoseconds(Self.resolution.nanoseconds * tick)
        wheel[Int(tick % Int64(Self.slots))].append(index)
    }

    private func tick(at time: NIODeadline) -> Int64 {
        max((time - origin).nanoseconds, 0) / Self.resolution.nanoseconds
    }

    private func scheduleTick() {
        loop.assumeIsolated().scheduleTask(in: Self.resolution) { self.advance() }
    }

    private func advance() {
        let now = NIODeadline.now()
        let target = tick(at: now)
        while cursor < target {
            cursor += 1
            let slot = Int(cursor % Int64(Self.slots))
            guard !wheel[slot].isEmpty else { continue }
            swap(&spare, &wheel[slot])
            for index in spare where places[index].tick == cursor {
                places[index].tick = Self.nowhere
                places[index].looked = .distantFuture
                placed -= 1
                look(at: index, now)
            }
            spare.removeAll(keepingCapacity: true)
        }
        guard placed > 0 else {
            isTicking = false
            return
        }
        scheduleTick()
    }

    private func look(at index: Int, _ now: NIODeadline) {
        guard places[index].due <= now else { return places[index].due == .distantFuture ? () : place(index) }
        places[index].due = .distantFuture
        places[index].timed?.timeCame(now)
    }
}

extension NIODeadline {
    /// Now, late by a tick of the kernel's clock, 1 to 10 ms: for what need not be more exact, since it costs a fraction of `now`.
    static func roughlyNow() -> NIODeadline {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC_COARSE, &time)
        return .uptimeNanoseconds(UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec))
    }
}

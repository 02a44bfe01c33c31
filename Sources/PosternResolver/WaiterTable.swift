/// Those who wait for an answer, each with a deadline, on a wheel of time: adding, removing and running out all take the
/// same short time however many wait.
struct WaiterTable {
    struct Waiter {
        var flight: Flight?
        var completion: (@Sendable (Answer) -> Void)?
        var deadline: Int64 = 0
        fileprivate var next: Int32 = -1
        fileprivate var previous: Int32 = -1
        fileprivate var spoke: Int32 = -1
    }

    /// Milliseconds a spoke.
    static let grain: Int64 = 4
    /// A power of two: beyond its 16 s a waiter goes round.
    private static let spokes = 4096

    private var waiters: [Waiter] = []
    private var free: [Int32] = []
    private var heads = [Int32](repeating: -1, count: spokes)
    /// All spokes before this one have run out.
    private var position: Int64
    private(set) var count = 0

    init(now: Int64) {
        position = now / Self.grain
    }

    /// The number to remove it by.
    mutating func add(_ completion: @escaping @Sendable (Answer) -> Void, flight: Flight, deadline: Int64) -> Int32 {
        let place: Int32
        if let reused = free.popLast() {
            place = reused
        } else {
            place = Int32(waiters.count)
            waiters.append(Waiter())
        }
        waiters[Int(place)] = Waiter(flight: flight, completion: completion, deadline: deadline)
        link(place)
        count += 1
        return place
    }

    private mutating func link(_ place: Int32) {
        // Rounded up, so that nothing runs out early.
        let due = max((waiters[Int(place)].deadline + Self.grain - 1) / Self.grain, position)
        let spoke = Int32(min(due, position + Int64(Self.spokes) - 1) & Int64(Self.spokes - 1))
        let head = heads[Int(spoke)]
        waiters[Int(place)].spoke = spoke
        waiters[Int(place)].previous = -1
        waiters[Int(place)].next = head
        if head >= 0 { waiters[Int(head)].previous = place }
        heads[Int(spoke)] = place
    }

    private mutating func unlink(_ place: Int32) {
        let waiter = waiters[Int(place)]
        if waiter.previous >= 0 { waiters[Int(waiter.previous)].next = waiter.next } else { heads[Int(waiter.spoke)] = waiter.next }
        if waiter.next >= 0 { waiters[Int(waiter.next)].previous = waiter.previous }
    }

    /// Takes one off; `nil` where the place is free, or taken by one who waits for another flight.
    mutating func remove(_ place: Int32, of flight: Flight) -> (@Sendable (Answer) -> Void)? {
        guard waiters[Int(place)].flight === flight else { return nil }
        return remove(place)
    }

    private mutating func remove(_ place: Int32) -> (@Sendable (Answer) -> Void)? {
        unlink(place)
        let completion = waiters[Int(place)].completion
        waiters[Int(place)] = Waiter()
        free.append(place)
        count -= 1
        return completion
    }

    /// Takes off all whose deadline has come.
    mutating func expired(at now: Int64) -> [(flight: Flight, completion: @Sendable (Answer) -> Void)] {
        let end = now / Self.grain
        guard count > 0 else {
            position = max(position, end)
            return []
        }
        var expired: [(flight: Flight, completion: @Sendable (Answer) -> Void)] = []
        while position <= end {
            var place = heads[Int(position & Int64(Self.spokes - 1))]
            // What is linked anew goes to a later spoke.
            position += 1
            while place >= 0 {
                let next = waiters[Int(place)].next
                if waiters[Int(place)].deadline > now {
                    unlink(place)
                    link(place)
                } else if let flight = waiters[Int(place)].flight, let completion = remove(place) {
                    expired.append((flight, completion))
                }
                place = next
            }
        }
        return expired
    }

    /// Takes off everyone.
    mutating func removeAll() -> [@Sendable (Answer) -> Void] {
        let completions = waiters.compactMap(\.completion)
        self = WaiterTable(now: position * Self.grain)
        return completions
    }

    /// Milliseconds until the next spoke with anyone on it; `nil` where nobody waits.
    func untilNext(at now: Int64) -> Int64? {
        guard count > 0 else { return nil }
        for offset in 0..<Int64(Self.spokes) where heads[Int((position + offset) & Int64(Self.spokes - 1))] >= 0 {
            return max((position + offset) * Self.grain - now, 0)
        }
        return nil
    }
}

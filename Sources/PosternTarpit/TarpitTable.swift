import PosternCore

/// The clients that are held, and when each is due: a compact table, and a wheel of ticks threaded through it.
///
/// Every operation takes the same time however many there are. Pages of the table that were never needed cost nothing.
struct TarpitTable {
    static let none: Int32 = -1
    /// Ticks that the wheel looks ahead. What is due later is looked at then, and moved on.
    static let slots = 2048

    private(set) var entries: ContiguousArray<TarpitEntry> = []
    private var free = none
    private var slots = ContiguousArray<Int32>(repeating: none, count: TarpitTable.slots)
    /// The last tick that has been looked at.
    private(set) var cursor: UInt32
    /// How many are held.
    private(set) var count = 0

    init(at tick: UInt32) {
        cursor = tick
    }

    /// Address space for so many; memory is taken up as they come.
    mutating func reserve(_ capacity: Int) { entries.reserveCapacity(capacity) }

    subscript(index: Int32) -> TarpitEntry {
        _read { yield entries[Int(index)] }
        _modify { yield &entries[Int(index)] }
    }

    /// Gives a client the lowest place that is known to be free. It is not due before it is scheduled.
    mutating func insert(_ address: IPAddress, descriptor: Int32, source: UInt16, heldUntil: UInt32, now: UInt32) -> Int32 {
        count += 1
        guard free != Self.none else {
            entries.append(
                TarpitEntry(address, descriptor: descriptor, source: source, generation: 0, connected: now, heldUntil: heldUntil))
            return Int32(entries.count - 1)
        }
        let index = free
        free = self[index].next
        let generation = self[index].generation &+ 1
        self[index] = TarpitEntry(
            address, descriptor: descriptor, source: source, generation: generation, connected: now, heldUntil: heldUntil)
        return index
    }

    mutating func remove(_ index: Int32) {
        unschedule(index)
        self[index].vacate()
        self[index].next = free
        free = index
        count -= 1
    }

    // MARK: - The wheel

    /// From here on it is due at `tick` and at no other; a tick that has passed counts as the next one.
    mutating func schedule(_ index: Int32, at tick: UInt32) {
        unschedule(index)
        self[index].due = tick
        place(index)
    }

    mutating func unschedule(_ index: Int32) {
        let (next, previous) = (self[index].next, self[index].previous)
        // The first of its slot points back to the slot, below all places.
        guard previous != Self.none else { return }
        if previous < Self.none { slots[Self.slot(behind: previous)] = next } else { self[previous].next = next }
        if next != Self.none { self[next].previous = previous }
        self[index].next = Self.none
        self[index].previous = Self.none
    }

    func isScheduled(_ index: Int32) -> Bool { self[index].previous != Self.none }

    private mutating func place(_ index: Int32) {
        let ahead = min(max(self[index].due.ticks(since: cursor), 1), Int32(Self.slots) - 1)
        let slot = Int(cursor &+ UInt32(ahead)) & (Self.slots - 1)
        let head = slots[slot]
        self[index].next = head
        self[index].previous = Self.mark(of: slot)
        if head != Self.none { self[head].previous = index }
        slots[slot] = index
    }

    private static func mark(of slot: Int) -> Int32 { -2 - Int32(slot) }
    private static func slot(behind mark: Int32) -> Int { Int(-2 - mark) }

    /// The next that is due by `tick`, in the order of ticks, and no longer scheduled; `nil` when all were given.
    mutating func nextDue(by tick: UInt32) -> Int32? {
        // After a long sleep one turn of the wheel looks at everybody.
        if tick.ticks(since: cursor) > Int32(Self.slots) { cursor = tick &- UInt32(Self.slots) }
        while true {
            let slot = Int(cursor) & (Self.slots - 1)
            while slots[slot] != Self.none {
                let index = slots[slot]
                unschedule(index)
                if self[index].due.ticks(since: cursor) <= 0 { return index }
                place(index)
            }
            guard tick.ticks(since: cursor) > 0 else { return nil }
            cursor &+= 1
        }
    }
}

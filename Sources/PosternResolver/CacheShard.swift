import DNSProtocol

/// A part of the cache: a table, and in it a list of the entries from the one used last to the one used longest ago, so
/// that finding, keeping and throwing out take the same time however many there are.
struct CacheShard {
    private struct Slot {
        var question: Question
        var outcome: Answer.Outcome
        /// Milliseconds of the monotonic clock.
        var expires: Int64
        var cost: Int
        var newer: Int32
        var older: Int32
    }

    private static let none: Int32 = -1

    private var places: [Question: Int32] = [:]
    private var slots: [Slot] = []
    private var free: [Int32] = []
    private var newest = CacheShard.none
    private var oldest = CacheShard.none
    private let mostEntries: Int
    private let mostBytes: Int
    private(set) var bytes = 0
    private(set) var hits: UInt64 = 0
    private(set) var misses: UInt64 = 0
    /// Entries that made room for others.
    private(set) var evictions: UInt64 = 0

    init(mostEntries: Int, mostBytes: Int) {
        self.mostEntries = max(mostEntries, 1)
        self.mostBytes = mostBytes
    }

    var count: Int { places.count }

    mutating func find(_ question: Question, at now: Int64) -> Answer? {
        guard let place = places[question] else {
            misses += 1
            return nil
        }
        let left = slots[Int(place)].expires - now
        guard left > 0 else {
            remove(place)
            misses += 1
            return nil
        }
        hits += 1
        moveToFront(place)
        return Answer(slots[Int(place)].outcome, timeToLive: UInt32(max(left / 1000, 1)), isCached: true)
    }

    mutating func keep(_ outcome: Answer.Outcome, for question: Question, until expires: Int64) {
        if let place = places[question] { remove(place) }
        let cost = Self.cost(of: question, outcome)
        // One answer may not push all others out.
        guard cost <= mostBytes / 4 else { return }
        while oldest != Self.none, places.count >= mostEntries || bytes + cost > mostBytes {
            remove(oldest)
            evictions += 1
        }
        let slot = Slot(question: question, outcome: outcome, expires: expires, cost: cost, newer: Self.none, older: Self.none)
        let place: Int32
        if let reused = free.popLast() {
            place = reused
            slots[Int(place)] = slot
        } else {
            place = Int32(slots.count)
            slots.append(slot)
        }
        places[question] = place
        bytes += cost
        link(place)
    }

    mutating func removeAll() {
        places = [:]
        slots = []
        free = []
        newest = Self.none
        oldest = Self.none
        bytes = 0
    }

    private mutating func link(_ place: Int32) {
        slots[Int(place)].newer = Self.none
        slots[Int(place)].older = newest
        if newest != Self.none { slots[Int(newest)].newer = place } else { oldest = place }
        newest = place
    }

    private mutating func unlink(_ place: Int32) {
        let (newer, older) = (slots[Int(place)].newer, slots[Int(place)].older)
        if newer != Self.none { slots[Int(newer)].older = older } else { newest = older }
        if older != Self.none { slots[Int(older)].newer = newer } else { oldest = newer }
    }

    private mutating func moveToFront(_ place: Int32) {
        guard newest != place else { return }
        unlink(place)
        link(place)
    }

    private mutating func remove(_ place: Int32) {
        unlink(place)
        places[slots[Int(place)].question] = nil
        bytes -= slots[Int(place)].cost
        // Its memory goes at once, though the slot waits for its next use.
        slots[Int(place)].outcome = .noData
        slots[Int(place)].question = Question(.root, .a)
        free.append(place)
    }

    /// Octets that an entry takes, roughly: slot, table and allocations.
    static func cost(of question: Question, _ outcome: Answer.Outcome) -> Int {
        var cost = 240 + question.name.wire.count
        guard case .records(let records, let owner) = outcome else { return cost }
        cost += 32 + owner.wire.count + records.count * 64
        for record in records {
            switch record {
            case .txt(let strings): cost += strings.reduce(32) { $0 + $1.count + 48 }
            case .ns(let name), .cname(let name), .ptr(let name), .mx(_, let name): cost += 32 + name.wire.count
            case .soa(let soa): cost += 128 + soa.primary.wire.count + soa.contact.wire.count
            case .other(let octets): cost += 32 + octets.count
            case .a, .aaaa: break
            }
        }
        return cost
    }
}

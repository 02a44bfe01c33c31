import PosternCore
import Testing

@testable import PosternTarpit

@Suite("The table of held clients")
struct TarpitTableTests {
    private func insert(_ table: inout TarpitTable, _ last: UInt32, now: UInt32 = 0) -> Int32 {
        table.insert(IPAddress(v4: 0xc000_0200 + last), descriptor: Int32(last), source: 0, heldUntil: now &+ 30_000, now: now)
    }

    @Test func anEntryTakesAtMost64Octets() {
        #expect(MemoryLayout<TarpitEntry>.stride <= 64)
    }

    @Test func addressesOfBothFamiliesAreKeptWhole() throws {
        var table = TarpitTable(at: 0)
        for text in ["192.0.2.1", "2001:db8::1:2", "::", "255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"] {
            let address = try #require(IPAddress(text))
            let index = table.insert(address, descriptor: 3, source: 0, heldUntil: 9, now: 0)
            #expect(table[index].address == address)
        }
    }

    @Test func aPlaceIsUsedAgainByAnotherTenant() {
        var table = TarpitTable(at: 0)
        let first = insert(&table, 1)
        let generation = table[first].generation
        table.schedule(first, at: 5)
        table.remove(first)
        #expect(!table[first].isTaken && table.count == 0)
        #expect(table[first].address == IPAddress(v6High: 0, low: 0), "nothing of the address stays")
        let second = insert(&table, 2)
        #expect(second == first)
        #expect(table[second].generation != generation)
        #expect(table.nextDue(by: 100) == nil, "what the first was due for is gone with it")
    }

    @Test func eachIsGivenOnceAndInTheOrderOfTicks() {
        var table = TarpitTable(at: 100)
        let ticks: [UInt32] = [103, 101, 5000, 103, 2147, 2148, 2149, 101, 100, 40]
        var due: [Int32: UInt32] = [:]
        for (number, tick) in ticks.enumerated() {
            let index = insert(&table, UInt32(number), now: 100)
            table.schedule(index, at: tick)
            due[index] = tick
        }
        var seen: [(Int32, UInt32)] = []
        for now in stride(from: UInt32(100), through: 5100, by: 7) {
            while let index = table.nextDue(by: now) {
                #expect(!table.isScheduled(index))
                seen.append((index, now))
            }
        }
        #expect(seen.count == ticks.count)
        for (index, now) in seen {
            let wanted = max(due[index] ?? 0, 101)
            #expect(now >= wanted && now < wanted + 7, "due at \(wanted), given at \(now)")
        }
    }

    @Test func schedulingAnewReplacesAndRemovingFromTheMiddleOfASlotIsSafe() {
        var table = TarpitTable(at: 0)
        let indices = (0..<9).map { insert(&table, UInt32($0)) }
        for index in indices { table.schedule(index, at: 10) }
        table.schedule(indices[4], at: 20)
        table.remove(indices[0])
        table.remove(indices[8])
        table.unschedule(indices[3])
        var atTen: Set<Int32> = []
        while let index = table.nextDue(by: 15) { atTen.insert(index) }
        #expect(atTen == [indices[1], indices[2], indices[5], indices[6], indices[7]])
        #expect(table.nextDue(by: 20) == indices[4])
        #expect(table.nextDue(by: 5000) == nil)
    }

    @Test func ticksMayWindAround() {
        let start = UInt32.max - 5
        var table = TarpitTable(at: start)
        let a = insert(&table, 1, now: start)
        let b = insert(&table, 2, now: start)
        table.schedule(a, at: start &+ 3)
        table.schedule(b, at: start &+ 10)
        #expect(table.nextDue(by: start &+ 5) == a)
        #expect(table.nextDue(by: start &+ 9) == nil)
        #expect(table.nextDue(by: start &+ 10) == b)
    }

    @Test func aLongSleepIsOneTurnOfTheWheel() {
        var table = TarpitTable(at: 0)
        let indices = (0..<100).map { number in
            let index = insert(&table, UInt32(number))
            table.schedule(index, at: UInt32(number) * 50)
            return index
        }
        var seen: Set<Int32> = []
        while let index = table.nextDue(by: 1_000_000_000) { seen.insert(index) }
        #expect(seen == Set(indices))
        #expect(table.cursor == 1_000_000_000)
    }

    /// Against a dictionary that does the same slowly.
    @Test(arguments: [1, 2, 3] as [UInt64])
    func randomSchedules(seed: UInt64) {
        var random = Seeded(state: seed)
        var table = TarpitTable(at: 0)
        var model: [Int32: UInt32] = [:]
        var now: UInt32 = 0
        for _ in 0..<20_000 {
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<4:
                let index = insert(&table, 7, now: now)
                #expect(model[index] == nil)
                let tick = now + UInt32.random(in: 1...6000, using: &random)
                table.schedule(index, at: tick)
                model[index] = tick
            case 4..<6:
                guard let index = model.keys.sorted().randomElement(using: &random) else { break }
                table.remove(index)
                model[index] = nil
            case 6..<8:
                guard let index = model.keys.sorted().randomElement(using: &random) else { break }
                let tick = now + UInt32.random(in: 1...6000, using: &random)
                table.schedule(index, at: tick)
                model[index] = tick
            default:
                now += UInt32.random(in: 1...400, using: &random)
                var given: Set<Int32> = []
                while let index = table.nextDue(by: now) { given.insert(index) }
                #expect(given == Set(model.filter { $0.value <= now }.keys))
                for index in given {
                    table.remove(index)
                    model[index] = nil
                }
            }
            #expect(table.count == model.count)
        }
    }
}

/// splitmix64.
struct Seeded: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }
}

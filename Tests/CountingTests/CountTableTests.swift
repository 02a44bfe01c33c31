import EngineTestSupport
import PosternCore
import Testing

@testable import Counting

/// 2026-11-20T00:00:00Z: a window of any length that divides a day begins here.
let midnight = WallTime(seconds: 1_795_132_800)

/// A table by reference, since expectations take no mutation.
final class Counted {
    private var table: CountTable

    init(_ table: CountTable) {
        self.table = table
    }

    var rows: Int { table.rows }
    var bytes: Int { table.bytes }
    var evictedRows: UInt64 { table.evictedRows }
    var evictedMembers: UInt64 { table.evictedMembers }

    func charge(_ key: CountKey, _ unit: CountUnit, _ amount: UInt32 = 1, at now: WallTime) { table.charge(key, unit, amount, at: now) }
    func counts(_ key: CountKey, at now: WallTime, _ body: (Int, Double) -> Void) { table.counts(key, at: now, body) }
    func count(_ key: CountKey, column: Int, at now: WallTime) -> Double { table.count(key, column: column, at: now) }
    func total(of block: UInt64, column: Int, at now: WallTime) -> Double { table.total(of: block, column: column, at: now) }
    func breadth(of block: UInt64, column: Int, cap: Double, except: UInt16?, at now: WallTime) -> Double {
        table.breadth(of: block, column: column, cap: cap, except: except, at: now)
    }
    func sweep(_ looks: Int, at now: WallTime) -> Int { table.sweep(looks, at: now) }
    func takeChanges(_ limit: Int) -> [(block: UInt64, data: [UInt8])] { table.takeChanges(limit) }
    @discardableResult
    func restore(block: UInt64, data: [UInt8], at now: WallTime) -> Bool { table.restore(block: block, data: data, at: now) }
}

func table(_ columns: [CountColumn], bytes: Int = 64 << 20, logs: Int = 8192) -> Counted {
    var settings = CountTable.Settings(seed: 0x1234_5678_9abc_def1)
    settings.maximumBytes = bytes
    settings.maximumLogs = logs
    return Counted(CountTable(columns: columns, settings: settings))
}

func address(_ text: String) -> CountKey {
    guard let address = IPAddress(text) else { preconditionFailure(text) }
    return CountKey(address)
}

/// A sketch by reference.
private final class Sketched {
    private var sketch = RecipientSketch(at: midnight)

    var size: Int { sketch.size }
    func contains(_ recipient: UInt64) -> Bool { sketch.contains(recipient) }
    func insert(_ recipient: UInt64, span: WallTime.Span, at now: WallTime) -> Bool { sketch.insert(recipient, span: span, at: now) }
}

struct CountTableTests {
    private let hourly = CountColumn(.messages, per: .hours(1), limit: 1000)

    @Test func `A count is this window's and what is left of the last one's`() {
        let table = table([hourly])
        let key = address("192.0.2.7")
        table.charge(key, .messages, 8, at: midnight + .minutes(10))
        #expect(table.count(key, column: 0, at: midnight + .minutes(59)) == 8)
        #expect(table.count(key, column: 0, at: midnight + .minutes(75)) == 6)
        table.charge(key, .messages, 3, at: midnight + .minutes(75))
        #expect(table.count(key, column: 0, at: midnight + .minutes(90)) == 7)
        #expect(table.count(key, column: 0, at: midnight + .minutes(150)) == 1.5)
        #expect(table.count(key, column: 0, at: midnight + .minutes(180)) == 0)
        // Another unit, another address, another block.
        table.charge(key, .recipients, 5, at: midnight + .minutes(75))
        #expect(table.count(key, column: 0, at: midnight + .minutes(75)) == 9)
        #expect(table.count(address("192.0.2.8"), column: 0, at: midnight + .minutes(75)) == 0)
        #expect(table.count(address("192.0.3.7"), column: 0, at: midnight + .minutes(75)) == 0)
    }

    @Test func `Every column of a unit is charged, each by its own window`() {
        let table = table([
            CountColumn(.attempts, per: .minutes(1), limit: 1000), CountColumn(.attempts, per: .hours(1), limit: 1000),
            CountColumn(.kibibytes, per: .days(1), limit: 100_000),
        ])
        let key = address("2001:db8::1")
        table.charge(key, .attempts, 4, at: midnight)
        table.charge(key, .kibibytes, 9000, at: midnight)
        table.charge(key, .attempts, 0, at: midnight)
        var found: [Int: Double] = [:]
        table.counts(key, at: midnight + .seconds(90)) { found[$0] = $1 }
        #expect(found == [0: 2, 1: 4, 2: 9000])
    }

    @Test func `A block's total comes with it, and its breadth counts nobody above the cap`() {
        let table = table([hourly])
        table.charge(address("192.0.2.1"), .messages, 500, at: midnight)
        for host in 2...11 { table.charge(address("192.0.2.\(host)"), .messages, 3, at: midnight) }
        let block = address("192.0.2.200").block
        #expect(table.total(of: block, column: 0, at: midnight) == 530)
        #expect(table.breadth(of: block, column: 0, cap: 20, except: nil, at: midnight) == 50)
        #expect(table.breadth(of: block, column: 0, cap: 20, except: 1, at: midnight) == 30)
        #expect(table.breadth(of: block, column: 0, cap: 20, except: nil, at: midnight + .minutes(90)) == 35)
        #expect(table.rows == 1)
    }

    @Test func `Addresses of one IPv6 /64 are one, and its /48 is the block`() {
        let table = table([hourly])
        table.charge(address("2001:db8:1:2::1"), .messages, at: midnight)
        table.charge(address("2001:db8:1:2:ffff::9"), .messages, at: midnight)
        table.charge(address("2001:db8:1:3::1"), .messages, at: midnight)
        table.charge(address("2001:db8:2:2::1"), .messages, at: midnight)
        #expect(table.count(address("2001:db8:1:2::5"), column: 0, at: midnight) == 2)
        #expect(table.total(of: address("2001:db8:1::").block, column: 0, at: midnight) == 3)
        #expect(CountKey(IPAddress(v4: 0x0a00_0001)).block != CountKey(IPAddress(v6High: 0x0a00_0001 << 8, low: 1)).block)
    }

    @Test func `Thousands of keys keep what is theirs, while rows grow and move`() {
        let table = table([hourly, CountColumn(.attempts, per: .minutes(1), limit: 1000)])
        var random = Seeded(seed: 7)
        var model: [CountKey: UInt32] = [:]
        for _ in 0..<60_000 {
            let key = CountKey(IPAddress(v4: UInt32(random.below(400)) << 8 | UInt32(random.below(256))))
            let amount = UInt32(random.below(3) + 1)
            model[key, default: 0] += amount
            table.charge(key, .messages, amount, at: midnight)
        }
        #expect(table.rows == 400)
        #expect(table.evictedRows == 0 && table.evictedMembers == 0)
        for (key, amount) in model where table.count(key, column: 0, at: midnight) != Double(amount) { Issue.record("\(key)") }
        let total = model.filter { $0.key.block == address("0.0.9.0").block }.values.reduce(0, +)
        #expect(table.total(of: address("0.0.9.0").block, column: 0, at: midnight) == Double(total))
        // Two windows later all are gone, and what was held is free again.
        while table.rows > 0, table.sweep(1000, at: midnight + .hours(2)) > 0 {}
        #expect(table.rows == 0)
        #expect(table.count(address("0.0.9.1"), column: 0, at: midnight + .hours(2)) == 0)
    }

    /// Whoever was looked at last is charged without being looked for again: where its row still stands, and where it has moved, grown,
    /// lost members, given way or gone meanwhile.
    @Test func `Whoever was looked at last is charged in its own place, whatever happened in between`() {
        let table = table([hourly])
        var random = Seeded(seed: 11)
        var model: [CountKey: UInt32] = [:]
        var now = midnight
        func key() -> CountKey { CountKey(IPAddress(v4: UInt32(random.below(40)) << 8 | UInt32(random.below(200)))) }
        for round in 0..<30_000 {
            let looked = key()
            let expected = Double(model[looked] ?? 0)
            if table.count(looked, column: 0, at: now) != expected { Issue.record("\(looked) in round \(round)") }
            switch random.below(8) {
            case 0...3: break
            case 4...5:
                let other = key()
                model[other, default: 0] += 1
                table.charge(other, .messages, at: now)
            case 6:
                // A neighbour that makes the row grow.
                let other = CountKey(block: looked.block, member: UInt16(random.below(256)))
                model[other, default: 0] += 1
                table.charge(other, .messages, at: now)
            default:
                guard random.below(100) == 0 else { break }
                // All windows pass; rows go, and others take their room.
                now = now + .hours(2)
                model = [:]
                while table.sweep(1000, at: now) > 0 {}
                #expect(table.rows == 0)
            }
            model[looked, default: 0] += 2
            table.charge(looked, .messages, 2, at: now)
        }
        for (key, amount) in model where table.count(key, column: 0, at: now) != Double(amount) { Issue.record("\(key)") }
    }

    @Test func `Members whose windows have gone by leave their places`() {
        let table = table([hourly])
        for host in 0..<12 { table.charge(address("192.0.2.\(host)"), .messages, at: midnight) }
        let full = table.bytes
        for host in 100..<112 { table.charge(address("192.0.2.\(host)"), .messages, at: midnight + .hours(2)) }
        #expect(table.bytes == full)
        #expect(table.count(address("192.0.2.111"), column: 0, at: midnight + .hours(2)) == 1)
    }

    @Test func `A block of too many members lets the smallest go, which is counted`() {
        let table = table([hourly])
        for member in 0..<300 {
            let key = CountKey(block: 6 << 56 | 1, member: UInt16(member))
            table.charge(key, .messages, member == 17 ? 50 : 2, at: midnight)
        }
        #expect(table.evictedMembers == 44)
        #expect(table.count(CountKey(block: 6 << 56 | 1, member: 17), column: 0, at: midnight) == 50)
        #expect(table.count(CountKey(block: 6 << 56 | 1, member: 299), column: 0, at: midnight) == 2)
        #expect(table.total(of: 6 << 56 | 1, column: 0, at: midnight) == 648)
    }

    @Test func `At the bound of memory the coldest rows go first, which is counted`() {
        let table = table([hourly], bytes: 400_000)
        let hot = (0..<50).map { address("198.51.\($0).7") }
        var now = midnight
        for index in 0..<40_000 {
            now = now + .milliseconds(50)
            table.charge(CountKey(IPAddress(v4: 0x0a00_0000 + UInt32(index) << 8)), .messages, at: now)
            if index % 10 == 0 { table.charge(hot[index / 10 % 50], .messages, at: now) }
        }
        #expect(table.bytes <= 400_000 + 256 * 12)
        #expect(table.evictedRows > 30_000)
        #expect(table.rows > 5000)
        // Touched every 25 seconds, where the oldest of the others were touched minutes ago.
        let kept = hot.count { table.count($0, column: 0, at: now) > 0 }
        #expect(kept >= 49)
    }

    @Test func `A clock that is set back neither loses nor frees`() {
        let table = table([hourly])
        let key = address("192.0.2.7")
        table.charge(key, .messages, 5, at: midnight + .hours(3))
        table.charge(key, .messages, 1, at: midnight)
        #expect(table.count(key, column: 0, at: midnight) == 6)
        #expect(table.count(key, column: 0, at: midnight + .hours(3)) == 6)
        #expect(table.count(key, column: 0, at: WallTime(milliseconds: .min)) >= 0)
    }

    @Test func `Counts stop at their width`() {
        let table = table([hourly])
        let key = address("192.0.2.7")
        for _ in 0..<3 { table.charge(key, .messages, .max, at: midnight) }
        #expect(table.count(key, column: 0, at: midnight) >= Double(Int32.max))
        #expect(table.total(of: key.block, column: 0, at: midnight) == Double(Int32.max))
    }

    // MARK: - Keeping

    @Test func `What is taken to be kept comes back, in a table with other columns too`() {
        let table = table([hourly, CountColumn(.attempts, per: .minutes(1), limit: 1000)])
        var random = Seeded(seed: 3)
        var keys: Set<CountKey> = []
        for _ in 0..<3000 {
            let key = CountKey(IPAddress(v4: UInt32(random.below(60)) << 8 | UInt32(random.below(256))))
            keys.insert(key)
            table.charge(key, .messages, UInt32(random.below(400)), at: midnight + .minutes(Int64(random.below(100))))
            table.charge(key, .attempts, at: midnight + .minutes(100))
        }
        var kept: [(block: UInt64, data: [UInt8])] = []
        while case let some = table.takeChanges(7), !some.isEmpty { kept += some }
        #expect(kept.count == 60)
        #expect(table.takeChanges(1).isEmpty)

        let now = midnight + .minutes(101)
        let other = CountingTests.table([CountColumn(.recipients, per: .hours(1), limit: 5), hourly], logs: 2)
        for (block, data) in kept { #expect(other.restore(block: block, data: data, at: now)) }
        let plain = CountingTests.table([hourly], logs: 2)
        for (block, data) in kept { plain.restore(block: block, data: data, at: now) }
        for key in keys {
            #expect(other.count(key, column: 1, at: now) == plain.count(key, column: 0, at: now))
            #expect(other.count(key, column: 0, at: now) == 0)
        }
        for block in Set(keys.map(\.block)) {
            #expect(abs(other.total(of: block, column: 1, at: now) - table.total(of: block, column: 0, at: now)) < 0.001)
        }
        // Long after, it is of no use.
        let late = CountingTests.table([hourly])
        #expect(kept.allSatisfy { !late.restore(block: $0.block, data: $0.data, at: midnight + .days(1)) })
        #expect(late.rows == 0)
    }

    @Test func `Damaged rows are refused`() throws {
        let table = table([hourly])
        table.charge(address("192.0.2.7"), .messages, 300, at: midnight)
        let data = try #require(table.takeChanges(1).first).data
        for length in 0..<data.count { #expect(!table.restore(block: 1, data: Array(data[..<length]), at: midnight)) }
        #expect(!table.restore(block: 1, data: data + [0], at: midnight))
        var random = Seeded(seed: 1)
        for _ in 0..<5000 {
            var damaged = data
            damaged[random.below(data.count)] = UInt8(random.below(256))
            _ = table.restore(block: 2, data: damaged, at: midnight)
        }
        #expect(table.count(address("192.0.2.7"), column: 0, at: midnight) == 300)
    }

    // MARK: - Sketches

    @Test func `A sketch never takes a known recipient for a new one, and seldom the other way round`() {
        let sketch = Sketched()
        let hash = SipHash(k0: 1, k1: 2)
        func recipient(_ number: Int) -> UInt64 { CountKey("user\(number)@example.org", hash: hash).block }
        var mistaken = 0
        for number in 0..<2000 where !sketch.insert(recipient(number), span: .days(30), at: midnight) { mistaken += 1 }
        #expect(mistaken < 60)
        for number in 0..<2000 { #expect(sketch.contains(recipient(number))) }
        #expect((10_000..<20_000).count { sketch.contains(recipient($0)) } < 400)
        #expect(sketch.size < 24_000)
        // The next span still knows the last one; the one after it no more.
        #expect(!sketch.insert(recipient(1), span: .days(30), at: midnight + .days(31)))
        #expect(sketch.contains(recipient(2)))
        #expect(!sketch.insert(recipient(1), span: .days(30), at: midnight + .days(62)))
        #expect(sketch.insert(recipient(2), span: .days(30), at: midnight + .days(62)))
    }

    @Test func `Whoever writes to thousands is seen to go on, on bounded memory`() {
        let sketch = Sketched()
        let hash = SipHash(k0: 1, k1: 2)
        var new = 0
        for number in 0..<40_000 where sketch.insert(CountKey("u\(number)@example.org", hash: hash).block, span: .days(30), at: midnight) {
            new += 1
        }
        #expect(new > 38_000)
        #expect(sketch.size < 25_000)
    }

    @Test func `Sketches come back as they were kept, damaged ones do not`() throws {
        var sketches = RecipientSketches(maximum: 100, span: .days(30))
        for number in 0..<1500 { _ = sketches.insert(UInt64(number) &* 0x9e37_79b9_7f4a_7c15, of: 9, at: midnight) }
        let kept = sketches.takeChanges(10)
        #expect(kept.map(\.key) == [9])
        #expect(sketches.takeChanges(10).isEmpty)
        var other = RecipientSketches(maximum: 100, span: .days(30))
        other.restore(9, kept[0].data)
        #expect((0..<1500).allSatisfy { !other.isNew(UInt64($0) &* 0x9e37_79b9_7f4a_7c15, of: 9) })
        for length in stride(from: 0, to: kept[0].data.count, by: 37) { #expect(RecipientSketch(Array(kept[0].data[..<length])) == nil) }
        #expect(RecipientSketch(kept[0].data + [0]) == nil)
    }

    @Test func `What is forgotten is no more, and counts on`() {
        var settings = CountTable.Settings(seed: 1)
        settings.maximumLogs = 10
        var table = CountTable(columns: [CountColumn(.messages, per: .hours(1), limit: 20)], settings: settings)
        for _ in 0..<15 { table.charge(address("192.0.2.1"), .messages, at: midnight) }
        table.forget(address("192.0.2.1"))
        let none = table.count(address("192.0.2.1"), column: 0, at: midnight)
        table.charge(address("192.0.2.1"), .messages, at: midnight)
        let one = table.count(address("192.0.2.1"), column: 0, at: midnight)
        #expect(none == 0 && one == 1)
        #expect(table.takeChanges(5).count == 1)
    }

    @Test func `The largest charges there are can be followed step by step`() {
        let table = table([CountColumn(.kibibytes, per: .hours(1), limit: 1)])
        let key = CountKey(block: 1, member: 1)
        for step in 0..<3000 { table.charge(key, .kibibytes, .max, at: midnight + .milliseconds(Int64(step))) }
        #expect(table.count(key, column: 0, at: midnight + .seconds(4)) > Double(UInt32.max))
    }

    @Test func `Sketches are of a bounded number, the ones in use stay`() {
        var sketches = RecipientSketches(maximum: 100, span: .days(30))
        for number in 0..<1000 {
            _ = sketches.insert(5, of: 1, at: midnight)
            _ = sketches.insert(7, of: UInt64(number + 10), at: midnight)
        }
        #expect(sketches.count <= 101)
        #expect(sketches.forgotten > 800)
        #expect(!sketches.isNew(5, of: 1))
        #expect(sketches.isNew(6, of: 1))
    }
}

import EngineTestSupport
import PosternCore
import Testing

@testable import Counting

/// Where rows lie, and how they are found.
struct RowMemoryTests {
    private let hourly = CountColumn(.messages, per: .hours(1), limit: 1_000_000)

    @Test func `Chunks are zero, begin with a line of the cache, and come in regions once there are many`() {
        var arena = ChunkArena()
        defer { arena.release() }
        var chunks: [UnsafeMutablePointer<UInt32>] = []
        for index in 0..<300 {
            let chunk = arena.take(words: 4104)
            #expect(Int(bitPattern: chunk) % ChunkArena.alignment == 0)
            #expect(chunk[0] == 0 && chunk[2000] == 0 && chunk[4103] == 0)
            chunk.update(repeating: UInt32(index), count: 4104)
            chunks.append(chunk)
            if index == 63 { #expect(arena.regions.isEmpty, "a mebibyte and less takes no region") }
        }
        // 16,448 octets each: 64 of them singly, then 127 in each region of 2 MiB.
        #expect(arena.regions.count == 2)
        for (index, chunk) in chunks.enumerated() where chunk[0] != index || chunk[4103] != index { Issue.record("chunk \(index)") }
        for region in arena.regions { #expect(Int(bitPattern: region) % ChunkArena.regionBytes == 0) }
        // More than a region holds.
        let large = arena.take(words: ChunkArena.regionBytes)
        #expect(large[ChunkArena.regionBytes - 1] == 0 && arena.regions.count == 2)
    }

    @Test(arguments: [1, 3, 24]) func `Members stand in order, wherever in a row they came`(columnCount: Int) {
        let windows = (1...columnCount).map { CountColumn(.messages, per: .hours(Int64($0)), limit: 1_000_000) }
        let table = table(windows)
        var random = Seeded(seed: UInt64(columnCount))
        var model: [CountKey: UInt32] = [:]
        // Of a /24, spread over a /48, and crowded at one end of it; some of each are looked for in vain.
        for _ in 0..<12_000 {
            let keys = [
                CountKey(block: 1, member: UInt16(random.below(256))), CountKey(block: 2, member: UInt16(random.below(200) * 317)),
                CountKey(block: 3, member: UInt16(65_535 - random.below(240))), CountKey(block: 4, member: UInt16(random.below(17))),
            ]
            for key in keys {
                if random.below(3) == 0 {
                    model[key, default: 0] += 1
                    table.charge(key, .messages, at: midnight)
                } else if table.count(key, column: columnCount - 1, at: midnight) != Double(model[key] ?? 0) {
                    Issue.record("\(key)")
                }
            }
        }
        for (key, count) in model where table.count(key, column: 0, at: midnight) != Double(count) { Issue.record("\(key)") }
        for (block, data) in table.takeChanges(10) {
            let members = KeptRow(data)?.members.map(\.member)
            #expect(members == model.keys.filter { $0.block == block }.map(\.member).sorted())
        }
        #expect(table.evictedMembers == 0)
    }

    @Test func `Where a member stands is guessed to a few places`() {
        for (count, bound, spread) in [(60, 256, UInt16(4)), (256, 256, 1), (176, 65_536, 372), (24, 65_536, 2600)] {
            for place in 0..<count where place * Int(spread) < bound {
                let member = UInt16(place) * spread
                // Low numbers of a /48 are looked for as those of a /24.
                if bound == 256 || member >= 256 { #expect(abs(RowLayout.guess(member, of: count) - place) <= 8) }
                #expect((0..<count).contains(RowLayout.guess(member, of: count)))
            }
        }
        #expect(RowLayout.guess(.max, of: 256) == 255 && RowLayout.guess(255, of: 256) == 255)
    }

    /// Large enough for regions of large pages.
    @Test func `A copy of a large table has a memory of its own`() {
        var settings = CountTable.Settings(seed: 3)
        settings.maximumLogs = 2
        var table = CountTable(columns: [hourly], settings: settings)
        func key(_ index: Int) -> CountKey { CountKey(IPAddress(v4: UInt32(index / 50) << 8 | UInt32(index % 50 * 5))) }
        for index in 0..<200_000 { table.charge(key(index), .messages, UInt32(index % 7 + 1), at: midnight) }
        var copy = table
        for index in stride(from: 0, to: 200_000, by: 3) { copy.charge(key(index), .messages, at: midnight) }
        for index in 0..<200_000 {
            let (own, other) = (table.count(key(index), column: 0, at: midnight), copy.count(key(index), column: 0, at: midnight))
            let expected = Double(index % 7 + 1)
            if own != expected || other != expected + (index % 3 == 0 ? 1 : 0) { Issue.record("\(index): \(own) and \(other)") }
        }
    }

    /// Windows are numbered in 32 bits: those of 100 ms begin anew at 2038-01-19T03:14:08Z.
    @Test func `Numbers of windows go round, and counts go on`() throws {
        let turn = WallTime(seconds: 2_147_483_648)
        let column = CountColumn(.messages, per: .milliseconds(100), limit: 1_000_000)
        #expect(column.epoch(at: turn) == 0 && column.epoch(at: turn - .milliseconds(1)) == .max)
        let (key, other) = (CountKey(block: 1, member: 1), CountKey(block: 2, member: 1))
        let table = table([column])
        table.charge(key, .messages, 8, at: turn - .milliseconds(50))
        let kept = try #require(table.takeChanges(1).first)
        #expect(table.count(key, column: 0, at: turn) == 8)
        #expect(table.count(key, column: 0, at: turn + .milliseconds(50)) == 4)
        table.charge(key, .messages, 3, at: turn + .milliseconds(50))
        #expect(table.count(key, column: 0, at: turn + .milliseconds(50)) == 7)
        #expect(table.total(of: 1, column: 0, at: turn + .milliseconds(150)) == 1.5)
        table.charge(other, .messages, 2, at: turn + .milliseconds(150))
        #expect(table.count(other, column: 0, at: turn + .milliseconds(150)) == 2)
        #expect(table.count(other, column: 0, at: turn + .milliseconds(300)) == 0)
        // What was written down before is taken in after, while it counts.
        let after = CountingTests.table([column])
        #expect(after.restore(block: kept.block, data: kept.data, at: turn + .milliseconds(50)))
        #expect(after.count(key, column: 0, at: turn + .milliseconds(50)) == 4)
        #expect(!after.restore(block: 9, data: kept.data, at: turn + .milliseconds(150)))
        // And nothing stays for ever.
        #expect(table.rows == 2)
        #expect(table.sweep(1000, at: turn + .milliseconds(350)) == 2)
    }

    /// In half of all its turns a number of a window is above the middle of 32 bits.
    @Test(arguments: [0, 1, 2, 3, 4, 5, 6, 7]) func `A window of any number begins with nothing`(eighth: Int64) {
        let column = CountColumn(.messages, per: .milliseconds(100), limit: 1_000_000)
        let now = WallTime(milliseconds: (5 << 32 + eighth << 29 + 7) * 100)
        let table = table([column, CountColumn(.attempts, per: .milliseconds(100), limit: 10)])
        let key = CountKey(block: 1, member: 1)
        table.charge(key, .messages, 5, at: now)
        #expect(table.count(key, column: 0, at: now) == 5 && table.count(key, column: 1, at: now) == 0)
        #expect(table.count(key, column: 0, at: now + .milliseconds(150)) == 2.5)
        // Of a column that nobody was charged in nothing is waited for.
        #expect(table.sweep(1000, at: now + .milliseconds(250)) == 1)
    }
}

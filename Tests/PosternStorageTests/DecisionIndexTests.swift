import PosternCore
import PosternEngine
import Testing

@testable import PosternStorage

/// A search with the index finds what a search without it finds, whatever came when.
@Suite(.timeLimit(.minutes(10)))
struct DecisionIndexTests {
    /// Random numbers that are the same in each run.
    private struct Dice: RandomNumberGenerator {
        var state: UInt64

        mutating func next() -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return state ^ state >> 29
        }
    }

    private func random(_ reference: Int64, _ dice: inout Dice) -> DecisionRecord {
        let actions: [Verdict.Action] = [.accept, .defer, .reject]
        return record(
            reference, at: noon + .milliseconds(reference),
            address: "192.0.\(Int.random(in: 0..<6, using: &dice)).\(Int.random(in: 0..<256, using: &dice))",
            sender: "User\(Int.random(in: 0..<3000, using: &dice))@org\(Int.random(in: 0..<40, using: &dice)).example",
            recipient: "box\(Int.random(in: 0..<50, using: &dice))@Example.net", action: actions.randomElement(using: &dice) ?? .accept)
    }

    private static let filters: [DecisionFilter] = [
        DecisionFilter(limit: 10_000), DecisionFilter(address: "192.0.3.77", limit: 10_000), DecisionFilter(address: "0.5.", limit: 10_000),
        DecisionFilter(sender: "USER1234@", limit: 10_000), DecisionFilter(sender: "nobody@nowhere", limit: 10_000),
        DecisionFilter(sender: "r12", limit: 10_000), DecisionFilter(sender: "@org7.ex", recipient: "box3@example", limit: 10_000),
        DecisionFilter(recipient: "BOX49@", limit: 50), DecisionFilter(sender: "user77", since: noon + .milliseconds(2500), limit: 10_000),
        DecisionFilter(sender: "org1", before: Reference(value: 2000), limit: 10_000), DecisionFilter(address: "", limit: 7),
        DecisionFilter(reference: Reference(value: 1501), limit: 10),
        DecisionFilter(reference: Reference(value: 1501), before: Reference(value: 9)),
    ]

    private func compare(_ store: SQLiteStore, _ all: [Int64: DecisionRecord], _ comment: Comment) async throws {
        let stored = all.values.map { StoredDecision($0) }.sorted { $0.reference > $1.reference }
        for filter in Self.filters {
            let match = DecisionMatch(filter)
            let expected = stored.filter(match.matches).prefix(filter.limit).map(\.reference.value)
            let found = try await store.decisions(filter).map(\.reference.value)
            #expect(found == expected, "\(comment) \(filter)")
        }
    }

    @Test func `With blocks a search finds what it finds without`() async throws {
        let folder = try Folder()
        var store = try SQLiteStore(path: folder.database)
        var dice = Dice(state: 42)
        var all: [Int64: DecisionRecord] = [:]
        // Even references first, so that odd ones can come late.
        var batch: [DecisionRecord] = []
        for number in Int64(500)..<2000 { batch.append(random(number * 2, &dice)) }
        func note(_ records: [DecisionRecord]) { for record in records { all[record.reference.value] = record } }
        await keep(batch, in: store)
        note(batch)
        try await compare(store, all, "blocks of what was written")
        // Where the last come first, the others belong into their block.
        #expect((1...2).contains(store.index.progress.blocks) && store.index.progress.isComplete)
        await store.close()
        store = try SQLiteStore(path: folder.database)
        try await compare(store, all, "no blocks")
        #expect(store.index.progress.blocks == 0 && !store.index.progress.isComplete)
        try await store.indexStep()
        #expect(store.index.progress.blocks == 3 && store.index.progress.isComplete)
        try await compare(store, all, "blocks of what was read")

        // Late ones, into blocks, below them all, and replacing others; and new ones above.
        let late = (0..<400).map { _ in random(Int64.random(in: 1...3900, using: &dice), &dice) }
        var once: [Int64: DecisionRecord] = [:]
        for record in late { once[record.reference.value] = record }
        await keep(Array(once.values), in: store)
        note(Array(once.values))
        try await compare(store, all, "late ones")
        let above = (Int64(2000)..<2700).map { random($0 * 2, &dice) }
        await keep(above, in: store)
        note(above)
        #expect(store.index.progress.blocks == 4)
        try await compare(store, all, "new ones above")
        // Into the block that is being filled, out of order.
        let odd = (Int64(2400)..<2650).map { random($0 * 2 + 1, &dice) }
        await keep(odd, in: store)
        note(odd)
        try await compare(store, all, "late ones among the newest")

        // The oldest go, and with them their blocks.
        for _ in 0..<20 { _ = try await store.expire(now: noon, decisionsBefore: noon + .milliseconds(3000)) }
        all = all.filter { $0.value.time >= noon + .milliseconds(3000) }
        #expect(store.index.progress.blocks < 4)
        try await compare(store, all, "after expiry")
        // Below all that is left.
        let oldest = random(3, &dice)
        await keep([oldest], in: store)
        note([oldest])
        try await compare(store, all, "one below all")
        await store.close()
    }

    @Test func `Decisions that come while blocks are made are found`() async throws {
        let folder = try Folder()
        var store = try SQLiteStore(path: folder.database)
        var dice = Dice(state: 7)
        var all: [Int64: DecisionRecord] = [:]
        for round in Int64(0)..<12 {
            let records = (0..<400).map { random((round * 400 + $0) * 3 + Int64.random(in: 0...2, using: &dice), &dice) }
            let late = round < 2 ? [] : (0..<60).map { _ in random(Int64.random(in: 0..<(round * 1200 - 600), using: &dice), &dice) }
            var once: [Int64: DecisionRecord] = [:]
            for record in records + late { once[record.reference.value] = record }
            let batch = Array(once.values)
            if round % 3 == 2 {
                await store.close()
                store = try SQLiteStore(path: folder.database)
            }
            let store = store
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { await keep(batch, in: store) }
                for _ in 0..<3 { group.addTask { try await store.indexStep() } }
                try await group.waitForAll()
            }
            for record in batch { all[record.reference.value] = record }
            try await compare(store, all, "round \(round)")
        }
        #expect(store.index.progress.blocks > 4)
        await store.close()
    }

    @Test func `A text without a match reads hardly anything`() async throws {
        let index = DecisionIndex()
        #expect(index.start(highest: 5_119) == 5_120)
        let work = try #require(index.begin())
        #expect(index.begin() == nil, "one at a time")
        var blocks: [DecisionIndex.Block] = []
        for number in Int64(0)..<10 {
            var block = DecisionIndex.Block(low: number * 512, high: number * 512 + 511)
            TextMatch("sender\(number)@example.org").places(.sender) { block.bits.insert($0) }
            block.newest = number
            blocks.append(block)
        }
        blocks[0].low = .min
        index.finish(work, blocks.reversed(), isComplete: true)
        #expect(!index.isWanting && index.begin() == nil)
        func ranges(_ filter: DecisionFilter) -> [ClosedRange<Int64>] { index.ranges(DecisionMatch(filter), action: nil) }
        #expect(ranges(DecisionFilter(sender: "nobody@elsewhere.test")) == [5_120...Int64.max])
        #expect(ranges(DecisionFilter(sender: "SENDER7@EX")) == [5_120...Int64.max, 3_584...4_095])
        #expect(ranges(DecisionFilter(sender: "sender")) == [Int64.min...Int64.max])
        #expect(ranges(DecisionFilter(recipient: "sender7@example.org")) == [5_120...Int64.max])
        #expect(ranges(DecisionFilter(since: WallTime(milliseconds: 8))) == [4_096...Int64.max])
        #expect(ranges(DecisionFilter(sender: "sender7", before: Reference(value: 3_600))) == [3_584...3_599])
        index.pruned(through: 3_583)
        #expect(ranges(DecisionFilter(sender: "sender7")) == [5_120...Int64.max, Int64.min...4_095])
        #expect(index.start(highest: .max) == .max)
        #expect(ranges(DecisionFilter(sender: "nobody@elsewhere.test")) == [Int64.min...Int64.max])
        let outdated = try #require(index.begin())
        #expect(index.start(highest: .min) == .min)
        index.finish(outdated, blocks, isComplete: true)
        #expect(index.progress.blocks == 0)
        #expect(ranges(DecisionFilter(sender: "nobody@elsewhere.test")) == [Int64.min...Int64.max])
    }
}

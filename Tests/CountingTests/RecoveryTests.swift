import PosternCore
import Testing

@testable import Counting

/// When a count will have fallen, and what was forgotten and given back.
struct RecoveryTests {
    private let start = WallTime(seconds: 1_800_000_000)
    private let key = CountKey(block: 7, member: 3)

    private func table(limit: UInt32) -> CountTable {
        CountTable(columns: [CountColumn(.messages, per: .hours(1), limit: limit)], settings: .init(seed: 5))
    }

    @Test func whoIsFollowedIsToldToTheMoment() {
        var table = table(limit: 10)
        for minute in 0..<12 { table.charge(key, .messages, at: start + .minutes(Int64(minute))) }
        let now = start + .minutes(20)
        // Twelve are there; two minutes' worth have to leave for ten.
        #expect(table.falls(key, column: 0, to: 10, at: now) == start + .minutes(61))
        #expect(table.falls(key, column: 0, to: 12, at: now) == nil)
        #expect(table.falls(key, column: 0, to: -1, at: now) == start + .minutes(71))
        #expect(table.falls(CountKey(block: 8, member: 0), column: 0, to: 1, at: now) == nil)
    }

    /// Whatever it says, then the count has fallen, and not long before it had not.
    @Test(arguments: [0, 7, 29, 59, 61, 90])
    func whoIsCountedByTwoWindowsIsToldByThose(minutes: Int64) throws {
        var table = table(limit: 1_000_000)
        for minute in 0..<50 { table.charge(key, .messages, 3, at: start + .minutes(Int64(minute))) }
        let now = start + .minutes(49 + minutes)
        let before = table.count(key, column: 0, at: now)
        guard before > 40 else { return }
        let then = try #require(table.falls(key, column: 0, to: 40, at: now))
        #expect(then > now && then <= now + .hours(2))
        #expect(table.count(key, column: 0, at: then + .seconds(1)) <= 40.1)
        #expect(table.count(key, column: 0, at: then - .seconds(30)) > 39)
    }

    @Test func whatIsForgottenLeavesTheOthersOfItsBlockAndComesBack() throws {
        var table = table(limit: 10)
        let other = CountKey(block: 7, member: 4)
        table.charge(key, .messages, 6, at: start)
        table.charge(other, .messages, 2, at: start)
        let forgotten = table.forget(key)
        let had = try #require(forgotten)
        #expect(table.count(key, column: 0, at: start) == 0 && table.count(other, column: 0, at: start) == 2)
        #expect(table.forget(key) == nil)
        table.charge(key, .messages, 1, at: start)
        #expect(table.giveBack(key, had, at: start))
        #expect(table.count(key, column: 0, at: start) == 7)
        #expect(!table.giveBack(key, Array(had.dropLast()), at: start))
    }
}

import PosternCore
import Testing

@testable import Counting

/// When a count will have fallen, and what was forgotten and given back.
struct RecoveryTests {
    private let start = WallTime(seconds: 1_800_000_000)
    private let key = CountKey(block: 7, member: 3)
    private var followed: CountTable
    private var windowed: CountTable

    init() {
        func table(limit: UInt32) -> CountTable {
            CountTable(columns: [CountColumn(.messages, per: .hours(1), limit: limit)], settings: .init(seed: 5))
        }
        followed = table(limit: 10)
        windowed = table(limit: 1_000_000)
    }

    @Test mutating func whoIsFollowedIsToldToTheMoment() {
        for minute in 0..<12 { followed.charge(key, .messages, at: start + .minutes(Int64(minute))) }
        let now = start + .minutes(20)
        // Twelve are there; two minutes' worth have to leave for ten.
        let ten = followed.falls(key, column: 0, to: 10, at: now)
        let twelve = followed.falls(key, column: 0, to: 12, at: now)
        let none = followed.falls(key, column: 0, to: -1, at: now)
        let stranger = followed.falls(CountKey(block: 8, member: 0), column: 0, to: 1, at: now)
        #expect(ten == start + .minutes(61) && none == start + .minutes(71))
        #expect(twelve == nil && stranger == nil)
    }

    /// Whatever it says, then the count has fallen, and not long before it had not.
    @Test(arguments: [0, 7, 29, 59, 61, 90])
    mutating func whoIsCountedByTwoWindowsIsToldByThose(minutes: Int64) throws {
        for minute in 0..<50 { windowed.charge(key, .messages, 3, at: start + .minutes(Int64(minute))) }
        let now = start + .minutes(49 + minutes)
        guard windowed.count(key, column: 0, at: now) > 40 else { return }
        let falls = windowed.falls(key, column: 0, to: 40, at: now)
        let then = try #require(falls)
        #expect(then > now && then <= now + .hours(2))
        let (after, before) = (
            windowed.count(key, column: 0, at: then + .seconds(1)), windowed.count(key, column: 0, at: then - .seconds(30))
        )
        #expect(after <= 40.1 && before > 39)
    }

    @Test mutating func whatIsForgottenLeavesTheOthersOfItsBlockAndComesBack() throws {
        let other = CountKey(block: 7, member: 4)
        followed.charge(key, .messages, 6, at: start)
        followed.charge(other, .messages, 2, at: start)
        let forgotten = followed.forget(key)
        let had = try #require(forgotten)
        let counts = [followed.count(key, column: 0, at: start), followed.count(other, column: 0, at: start)]
        #expect(counts == [0, 2])
        let again = followed.forget(key)
        #expect(again == nil)
        followed.charge(key, .messages, 1, at: start)
        let isGiven = followed.giveBack(key, had, at: start)
        let back = followed.count(key, column: 0, at: start)
        #expect(isGiven && back == 7)
        let isNonsense = followed.giveBack(key, Array(had.dropLast()), at: start)
        #expect(!isNonsense)
    }

    /// Whoever is above a threshold is found, in steps of any size, while the index grows and rows go.
    @Test(arguments: [1, 50, 100_000]) func aWalkFindsAllThatAreAboveAThreshold(looks: Int) {
        let columns = [CountColumn(.messages, per: .hours(1), limit: 100), CountColumn(.attempts, per: .minutes(1), limit: 10)]
        var table = CountTable(columns: columns, settings: .init(seed: 7))
        var expected: Set<CountKey> = []
        for block in UInt64(0)..<400 {
            for member in UInt16(0)..<3 {
                let key = CountKey(block: block, member: member)
                let count = UInt32(block + UInt64(member)) % 80
                table.charge(key, .messages, count, at: start)
                if count >= 50 { expected.insert(key) }
            }
        }
        // A block that is busy as a whole: a tenth of the limit is enough.
        for member in UInt16(0)..<40 {
            let key = CountKey(block: 9000, member: member)
            table.charge(key, .messages, UInt32(member), at: start)
            if member >= 10 { expected.insert(key) }
        }
        let thresholds = [CountTable.Threshold(least: 50, beside: 10, block: 500), .init()]
        var found: Set<CountKey> = []
        var (walk, turns) = (table.walk(), 0)
        while table.next(&walk, looks: looks, thresholds: thresholds, at: start, { found.insert($0) }) {
            turns += 1
            // Twice as many slots after a while.
            if turns == 20 {
                for block in UInt64(20_000)..<20_400 { table.charge(CountKey(block: block, member: 0), .messages, at: start) }
            }
        }
        #expect(found == expected && (looks > 1000) == (turns == 0))
        // Two windows later nobody has anything.
        walk = table.walk()
        found = []
        while table.next(&walk, looks: looks, thresholds: thresholds, at: start + .hours(2), { found.insert($0) }) {}
        #expect(found.isEmpty)
    }

    @Test mutating func otherLimitsAreTakenUpInPlace() {
        for minute in 0..<6 { windowed.charge(key, .messages, 2, at: start + .minutes(Int64(minute))) }
        let columns = [CountColumn(.messages, per: .hours(1), limit: 10)]
        let isTaken = windowed.retune(CountTable(columns: columns, settings: .init(seed: 5)))
        #expect(isTaken && windowed.columns == columns)
        let now = start + .minutes(6)
        let before = windowed.followed
        windowed.charge(key, .messages, at: now)
        let count = windowed.count(key, column: 0, at: now)
        #expect(before == 0 && windowed.followed == 1 && count == 13, "near the limit that holds now")
        let another = windowed.retune(
            CountTable(columns: [CountColumn(.messages, per: .hours(2), limit: 10)], settings: .init(seed: 5)))
        let elsewhere = windowed.retune(CountTable(columns: columns, settings: .init(seed: 6)))
        #expect(!another && !elsewhere && windowed.columns == columns)
    }
}

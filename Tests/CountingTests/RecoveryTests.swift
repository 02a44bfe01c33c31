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
}

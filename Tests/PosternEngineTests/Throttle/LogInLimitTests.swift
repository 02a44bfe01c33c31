import PosternCore
import PosternEngine
import Testing

/// Failed log-ins.
@Suite struct LogInLimitTests {
    private let start = WallTime(milliseconds: 1_800_000_000_000)

    /// So that questions, which look at windows as they are asked, can be put within an expectation.
    private final class Counts {
        var counts: LimitCounts
        init(_ counts: LimitCounts) { self.counts = counts }
        func assessLogIn(_ subject: LimitSubject, at now: WallTime) -> Throttled? { counts.assessLogIn(subject, at: now) }
        func failedLogIn(_ subject: LimitSubject, at now: WallTime) { counts.failedLogIn(subject, at: now) }
    }

    private func counts() -> Counts {
        var accounts = AccountSettings()
        accounts.mode = .on
        accounts.limits = [
            Limit(.account, .messages, 1000, per: .hours(1)), Limit(.account, .failures, 3, per: .hours(1)),
            Limit(.address, .failures, 5, per: .hours(1)),
        ]
        return Counts(LimitCounts(throttle: ThrottleSettings(), accounts: accounts, seed: (1, 2)))
    }

    private func subject(_ address: String, _ account: String?) -> LimitSubject {
        LimitSubject(address: IPAddress(address), account: account)
    }

    @Test func anAccountIsShutFromWhereverItIsTriedUntilTheWindowHasPassed() throws {
        let counts = counts()
        for number in 0..<3 {
            #expect(counts.assessLogIn(subject("192.0.2.\(number * 7)", "ann"), at: start) == nil)
            counts.failedLogIn(subject("192.0.2.\(number * 7)", "ann"), at: start)
        }
        let refused = try #require(counts.assessLogIn(subject("203.0.113.9", "ANN"), at: start))
        #expect(refused.limit.key == .account && refused.until == start + .hours(1))
        #expect(counts.assessLogIn(subject("203.0.113.9", "bob"), at: start) == nil)
        #expect(counts.assessLogIn(subject("203.0.113.9", "ann"), at: start + .hours(2)) == nil)
    }

    @Test func anAddressIsShutWhicheverAccountItTries() throws {
        let counts = counts()
        for number in 0..<5 { counts.failedLogIn(subject("192.0.2.7", "user\(number)"), at: start) }
        #expect(counts.assessLogIn(subject("192.0.2.7", "other"), at: start)?.limit.key == .address)
        #expect(counts.assessLogIn(subject("192.0.2.8", "other"), at: start) == nil)
        // Where the address stands for many it is not asked about.
        #expect(counts.assessLogIn(LimitSubject(address: nil, account: "other"), at: start) == nil)
    }

    @Test func whoeverGuessesFromElsewhereDoesNotShutOutTheOwner() {
        let counts = counts()
        _ = counts.counts.attempted(subject("198.51.100.20", "ann"), recipientDomain: "example.org", at: start)
        let later = start + .days(3)
        for number in 0..<4 { counts.failedLogIn(subject("192.0.2.\(number)", "ann"), at: later) }
        #expect(counts.assessLogIn(subject("192.0.2.77", "ann"), at: later) != nil)
        #expect(counts.assessLogIn(subject("198.51.100.99", "ann"), at: later) == nil)
        // From there too the address's own limit holds.
        for _ in 0..<5 { counts.failedLogIn(subject("198.51.100.99", "ann"), at: later) }
        #expect(counts.assessLogIn(subject("198.51.100.99", "ann"), at: later)?.limit.key == .address)
        // A network that was not seen for a month is one like any other.
        let muchLater = start + .days(31)
        for number in 0..<4 { counts.failedLogIn(subject("192.0.2.\(number)", "ann"), at: muchLater) }
        #expect(counts.assessLogIn(subject("198.51.100.20", "ann"), at: muchLater)?.limit.key == .account)
    }
}

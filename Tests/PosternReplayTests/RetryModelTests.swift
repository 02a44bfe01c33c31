import PosternCore
import PosternEngine
import Testing

@testable import PosternReplay

struct RetryModelTests {
    private func ages(_ schedule: RetrySchedule?, _ count: Int = 100) -> [Int64] {
        var ages: [Int64] = []
        var age = WallTime.Span.zero
        while ages.count < count, let next = schedule?.next(after: age) {
            ages.append(next.milliseconds / 1000)
            age = next
        }
        return ages
    }

    @Test func schedules() {
        #expect(ages(.postfix, 8) == [300, 600, 1200, 2400, 4800, 8800, 12_800, 16_800])
        #expect(ages(.postfix, 10_000).last.map { $0 <= 432_000 && $0 > 428_000 } == true)
        #expect(ages(.exim, 10) == [900, 1800, 2700, 3600, 4500, 5400, 6300, 7200, 10_800, 16_200])
        #expect(ages(.pool, 8) == [60, 120, 300, 360, 960, 1740, 3540, 5340])
        #expect(ages(RetrySchedule.measured(of: "aol.com")) == [332, 692, 1292, 1892], "it gives up")
        #expect(ages(RetrySchedule.measured(of: "google.com"), 2) == [362, 1742])
        #expect(RetrySchedule.measured(of: "example.org") == nil)
        #expect(ages(RetrySchedule(name: "own", ages: [.minutes(5), .zero, .minutes(1)])) == [60, 300])
        // From any age on it goes on with the next, as when the log showed the first ones.
        #expect(RetrySchedule.postfix.next(after: .seconds(301)) == .seconds(600))
        #expect(RetrySchedule.postfix.next(after: .seconds(5000)) == .seconds(8800))
    }

    private func attempt(_ label: Label?, second: Int64 = 0) -> LoggedAttempt {
        LoggedAttempt(
            time: WallTime(seconds: second), client: Client(address: IPAddress("192.0.2.1")), sender: ReversePath("a@b"),
            recipient: Mailbox(localPart: "a", domain: "b"), label: label)
    }

    @Test func whoComesBack() {
        var model = RetryModel()
        #expect(model.schedule(for: attempt(.ham), domain: nil, key: 1) == .postfix)
        #expect(model.schedule(for: attempt(nil), domain: "google.com", key: 1)?.name == "gmail")
        #expect((0..<1000).allSatisfy { model.schedule(for: attempt(.spam), domain: nil, key: $0) == nil })
        model.spamShare = 0.1
        model.unlabelledShare = 0.5
        func share(_ label: Label?) -> Int { (0..<10_000).count { model.schedule(for: attempt(label), domain: nil, key: $0) != nil } }
        #expect((900...1100).contains(share(.spam)) && (4800...5200).contains(share(nil)) && share(.ham) == 10_000)
        model.mailers = .none
        #expect(share(.ham) == 0)
        model.mailers = .fixed(.exim)
        #expect(model.schedule(for: attempt(.ham), domain: "google.com", key: 1) == .exim)
    }

    /// The distribution that it claims.
    @Test func archives() {
        var model = RetryModel()
        model.mailers = .archives
        var first: [Int64] = []
        for key in 0..<20_000 as Range<UInt64> {
            let schedule = model.schedule(for: attempt(.ham, second: Int64(key)), domain: nil, key: key)
            first.append(schedule?.next(after: .zero)?.milliseconds ?? 0)
        }
        func within(_ minutes: Int64) -> Double { Double(first.count { $0 <= minutes * 60_000 }) / Double(first.count) }
        #expect(
            abs(within(10) - 0.57) < 0.02 && abs(within(30) - 0.79) < 0.02 && abs(within(240) - 0.93) < 0.02
                && abs(within(1440) - 0.987) < 0.01)
        #expect(first.min() ?? 0 >= 59_999 && first.max() ?? 0 <= 432_000_000)
        #expect(ages(RetryModel.drawn(0.57)).prefix(3) == [600, 1200, 2400])
        #expect(ages(RetryModel.drawn(0)).first == 60 && ages(RetryModel.drawn(0.999_999)).count == 1)
    }

    @Test func poolsSendFromTheirOtherAddresses() {
        var pools = PoolAddresses()
        func client(_ last: Int) -> Client { Client(address: IPAddress("192.0.\(last).1")) }
        #expect(pools.other("x", than: client(1), turn: 1) == client(1))
        for last in 0..<20 { pools.note("x", client(last)) }
        let seen = Set((1...50).compactMap { pools.other("x", than: client(19), turn: $0).address })
        #expect(seen.count == 6 && !seen.contains(client(19).address ?? IPAddress(v4: 0)), "the last seven, but for itself")
    }
}

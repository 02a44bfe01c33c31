import PosternCore
import Testing

@testable import PosternEngine

/// Who is shown as near a limit, and what an admin may forget.
struct NearLimitsTests {
    private let start = WallTime(seconds: 1_800_000_000)
    private var counts: LimitCounts

    init() {
        var throttle = ThrottleSettings()
        throttle.mode = .on
        throttle.limits = [
            Limit(.address, .messages, 10, per: .hours(1)), Limit(.address, .attempts, 20, per: .hours(1)),
            Limit(.address, .bytes, 1 << 20, per: .hours(1)),
        ]
        throttle.refuseAt = 2
        var accounts = AccountSettings()
        accounts.mode = .on
        accounts.limits = [Limit(.account, .messages, 10, per: .hours(1))]
        accounts.suspend = [Limit(.account, .recipients, 50, per: .hours(1))]
        counts = LimitCounts(throttle: throttle, accounts: accounts, seed: (1, 2))
    }

    private func client(_ text: String) -> LimitSubject { LimitSubject(address: IPAddress(text)) }

    private mutating func near() -> [String: NearLimit] {
        var found: [String: NearLimit] = [:]
        for place in counts.watched(at: start) {
            guard let near = counts.near(place, share: 0.5, at: start) else { continue }
            found[near.subject] = near
        }
        return found
    }

    @Test mutating func everybodyIsShownAsTheNextMessageWouldBeMet() {
        for (address, messages) in [("192.0.2.1", 4), ("192.0.2.2", 6), ("192.0.2.3", 12), ("192.0.2.4", 25)] {
            for _ in 0..<messages { _ = counts.accepted(client(address), recipients: 1, size: 0, at: start) }
        }
        for _ in 0..<45 { _ = counts.attempted(client("2001:db8::1"), recipientDomain: nil, at: start) }
        var found = near()
        #expect(found["192.0.2.1"] == nil, "two fifths are not half")
        #expect(found["192.0.2.2"]?.state == .near && found["192.0.2.2"]?.left == 4)
        #expect(found["192.0.2.3"]?.state == .held && found["192.0.2.3"]?.hold.map { $0 > .zero } == true)
        #expect(found["192.0.2.4"]?.state == .deferred && found["192.0.2.4"]?.until.map { $0 > start } == true)
        // Being looked at refuses nobody.
        #expect(found["2001:db8::/64"]?.state == .held && counts.refusals(at: start).isEmpty)
        let asked = counts.assess(client("2001:db8::1"), LimitRequest(), at: start, isQuestion: true)?.grade
        #expect(asked == .refuse && counts.refusals(at: start).isEmpty, "nor does being explained")
        let grade = counts.assess(client("2001:db8::1"), LimitRequest(), at: start)?.grade
        #expect(grade == .refuse)
        found = near()
        #expect(found["2001:db8::/64"]?.state == .refused && counts.refusals(at: start).count == 1)
    }

    @Test mutating func sizesAreInOctets() throws {
        _ = counts.accepted(client("192.0.2.9"), recipients: 1, size: 700_000, at: start)
        let found = self.near()
        let near = try #require(found["192.0.2.9"])
        #expect(near.limit.unit == .bytes && near.used > 699_000 && near.allowance == 1_048_576)
    }

    @Test mutating func whatIsForgottenIsGivenBackOnTopOfWhatCameSince() throws {
        for _ in 0..<8 { _ = counts.accepted(client("192.0.2.3"), recipients: 1, size: 0, at: start) }
        var found = near()
        let place = try #require(found["192.0.2.3"]).place
        #expect(LimitPlace(place.description) == place)
        let forgotten = counts.forget(place)
        let (subject, had) = try #require(forgotten)
        #expect(subject == "192.0.2.3/32" || subject == "192.0.2.3")
        found = near()
        #expect(found.isEmpty)
        let again = counts.forget(place)
        #expect(again == nil)
        for _ in 0..<3 { _ = counts.accepted(client("192.0.2.3"), recipients: 1, size: 0, at: start) }
        let isGiven = counts.giveBack(place, had, at: start)
        #expect(isGiven)
        let used = counts.standings(of: client("192.0.2.3"), recipientDomain: nil, at: start).first { $0.limit.unit == .messages }?.used
        #expect(used == 11)
        // Two windows later nothing of it counts.
        let later = start + .hours(2)
        _ = counts.forget(place)
        let isOurs = counts.giveBack(place, had, at: later)
        let standings = counts.standings(of: client("192.0.2.3"), recipientDomain: nil, at: later)
        #expect(isOurs && standings.allSatisfy { $0.used == 0 })
        let isNonsense = !counts.giveBack(place, [9, 9, 9], at: later)
        #expect(isNonsense)
    }

    @Test mutating func whoIsRefusedComesInAgainOnceThatIsForgotten() throws {
        for _ in 0..<45 { _ = counts.attempted(client("192.0.2.8"), recipientDomain: nil, at: start) }
        _ = counts.assess(client("192.0.2.8"), LimitRequest(), at: start)
        _ = counts.takeRefusals()
        let before = counts.refusal(of: client("192.0.2.8"), at: start)
        #expect(before != nil)
        let found = near()
        let place = try #require(found["192.0.2.8"]).place
        let forgotten = counts.forget(place)
        let after = counts.refusal(of: client("192.0.2.8"), at: start)
        #expect(forgotten != nil && after == nil)
        let told = [counts.takeForgottenRefusal(), counts.takeForgottenRefusal()]
        #expect(told == [true, false], "the firewall is told once")
    }

    @Test mutating func accountsAreShownByNameAndSuspendedOnesElsewhere() throws {
        let ann = LimitSubject(address: IPAddress("192.0.2.1"), account: "Ann@example.net")
        for _ in 0..<7 { _ = counts.accepted(ann, recipients: 1, size: 0, at: start) }
        var found = self.near()
        #expect(found["ann@example.net"]?.state == .near)
        for _ in 0..<5 { _ = counts.accepted(ann, recipients: 1, size: 0, at: start) }
        found = self.near()
        let near = try #require(found["ann@example.net"])
        #expect(near.state == .refused && near.place.isAccount && near.until.map { $0 > start } == true)
        _ = counts.accepted(ann, recipients: 60, size: 0, at: start)
        #expect(counts.suspended["ann@example.net"] != nil)
        found = self.near()
        #expect(found["ann@example.net"] == nil)
    }

    @Test(arguments: ["", "1-2", "9-1-1", "1-x-1", "1-1-10000", "1-1-1-1"])
    func nonsenseNamesNobody(_ text: String) { #expect(LimitPlace(text) == nil) }
}

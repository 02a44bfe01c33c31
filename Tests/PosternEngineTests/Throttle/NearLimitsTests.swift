import PosternCore
import Testing

@testable import PosternEngine

/// Who is shown as near a limit, and what an admin may forget.
struct NearLimitsTests {
    private let start = WallTime(seconds: 1_800_000_000)
    private var counts: LimitCounts
    /// As a store has them.
    private var kept: [CountPosition: CountRow] = [:]

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

    /// Asks for a recipient, of one that is known not to be trusted.
    private mutating func assessAndRefuse(_ address: String, at now: WallTime) {
        let throttled = counts.assess(client(address), LimitRequest(), at: now)
        #expect(throttled?.grade == .refuse)
        if let address = IPAddress(address), let throttled { counts.refuse(address, until: throttled.until, at: now) }
    }

    private mutating func near(refuses: Bool = true) -> [String: NearLimit] {
        var found: [String: NearLimit] = [:]
        for place in counts.watched(at: start) {
            guard let near = counts.near(place, share: 0.5, refuses: refuses, at: start) else { continue }
            found[near.subject] = near
        }
        return found
    }

    /// By a walk over all counts.
    private mutating func walked(at now: WallTime) -> [NearLimit] {
        var found: [LimitPlace: NearLimit] = [:]
        var walk = counts.walk(share: 0.5)
        while let places = counts.next(&walk, looks: 10, at: now) {
            for place in places { found[place] = counts.near(place, share: 0.5, at: now) }
        }
        return Array(found.values)
    }

    private mutating func restart(at now: WallTime) {
        while case let rows = counts.takeChanges(100, at: now), !rows.isEmpty {
            for row in rows { kept[row.position] = row }
        }
        counts = LimitCounts(throttle: counts.throttle, accounts: counts.accounts, seed: (1, 2))
        for row in kept.values where now < row.expires { counts.restore(row, at: now) }
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
        let asked = counts.assess(client("2001:db8::1"), LimitRequest(), at: start)?.grade
        #expect(asked == .refuse && counts.refusals(at: start).isEmpty, "nor does being explained")
        assessAndRefuse("2001:db8::1", at: start)
        found = near()
        #expect(found["2001:db8::/64"]?.state == .refused && counts.refusals(at: start).count == 1)
        // Nor is it where nobody is any more.
        found = near(refuses: false)
        #expect(found["2001:db8::/64"]?.state == .held && found["2001:db8::/64"]?.until == nil)
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
        assessAndRefuse("192.0.2.8", at: start)
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
        var accounts = counts.accounts
        accounts.action = .hold
        var holding = LimitCounts(throttle: counts.throttle, accounts: accounts, seed: (1, 2))
        holding.adopt(&counts, at: start)
        let held = holding.near(near.place, share: 0.5, at: start)
        #expect(held?.state == .held && held?.until == near.until && held?.hold == nil)
        counts.adopt(&holding, at: start)
        _ = counts.accepted(ann, recipients: 60, size: 0, at: start)
        #expect(counts.suspended["ann@example.net"] != nil)
        found = self.near()
        #expect(found["ann@example.net"] == nil)
    }

    @Test(arguments: ["", "1-2", "9-1-1", "1-x-1", "1-1-10000", "1-1-1-1"])
    func nonsenseNamesNobody(_ text: String) { #expect(LimitPlace(text) == nil) }

    @Test mutating func whoIsPastALimitIsShownAfterARestartToo() throws {
        for (address, messages) in [("192.0.2.1", 4), ("192.0.2.2", 6), ("192.0.2.3", 12), ("198.51.100.4", 25)] {
            for _ in 0..<messages { _ = counts.accepted(client(address), recipients: 1, size: 0, at: start) }
        }
        let ann = LimitSubject(address: IPAddress("192.0.2.1"), account: "ann@example.net")
        for _ in 0..<12 { _ = counts.accepted(ann, recipients: 1, size: 0, at: start) }
        for host in 1...200 { _ = counts.accepted(client("203.0.113.\(host)"), recipients: 1, size: 0, at: start) }
        restart(at: start + .seconds(5))
        let followed = near()
        #expect(followed.isEmpty, "nobody is followed as yet")
        var found = walked(at: start + .seconds(5))
        let states = Dictionary(found.map { ($0.subject, $0.state) }) { a, _ in a }
        #expect(
            states == ["192.0.2.2": .near, "192.0.2.3": .held, "198.51.100.4": .deferred, LimitCounts.unnamed: .refused])
        let account = try #require(found.first { !$0.isNamed })
        #expect(account.place.isAccount && account.used == 12)
        _ = counts.attempted(ann, recipientDomain: nil, at: start + .seconds(6))
        found = walked(at: start + .seconds(6))
        #expect(found.contains { $0.subject == "ann@example.net" && $0.isNamed })
        let forgotten = counts.forget(account.place)
        #expect(forgotten?.subject == "ann@example.net")
    }

    @Test mutating func otherAnswersToTheSameLimitsLeaveWhoIsFollowed() {
        for _ in 0..<25 { _ = counts.accepted(client("192.0.2.4"), recipients: 1, size: 0, at: start) }
        var throttle = counts.throttle
        throttle.hold = .seconds(7)
        throttle.limits[0].amount = 20
        var fresh = LimitCounts(throttle: throttle, accounts: counts.accounts, seed: (1, 2))
        fresh.adopt(&counts, at: start)
        counts = fresh
        var found = near()
        #expect(found["192.0.2.4"]?.state == .held && found["192.0.2.4"]?.allowance == 20)
        // Other columns are built anew, and shown all the same.
        throttle.limits[0] = Limit(.address, .recipients, 10, per: .hours(1))
        fresh = LimitCounts(throttle: throttle, accounts: counts.accounts, seed: (1, 2))
        fresh.adopt(&counts, at: start)
        counts = fresh
        found = near()
        var all = walked(at: start)
        #expect(found.isEmpty && all.isEmpty)
        throttle.limits.append(Limit(.address, .messages, 20, per: .hours(1)))
        fresh = LimitCounts(throttle: throttle, accounts: counts.accounts, seed: (1, 2))
        for _ in 0..<12 { _ = counts.attempted(client("192.0.2.5"), recipientDomain: nil, at: start) }
        fresh.adopt(&counts, at: start)
        counts = fresh
        all = walked(at: start)
        #expect(all.map(\.subject) == ["192.0.2.5"])
    }

    /// What a list foretells is what a client is told, of those who are followed and of those who are not.
    @Test(arguments: [false, true]) mutating func listAndAnswerForetellTheSame(_ restarts: Bool) throws {
        var (now, deferred) = (start, 0)
        for step in 0..<80 {
            now = start + .minutes(Int64(step))
            let subject = client("192.0.2.\(step % 4)")
            _ = counts.accepted(subject, recipients: 1, size: 30_000 * (step % 3), at: now)
            if step % 4 == 0 { _ = counts.accepted(subject, recipients: 1, size: 0, at: now) }
            if restarts, step % 20 == 19 { restart(at: now) }
        }
        for address in 0..<4 {
            for _ in 0..<(6 * address) { _ = counts.accepted(client("192.0.2.\(address)"), recipients: 1, size: 0, at: now) }
        }
        if restarts { restart(at: now) }
        for near in walked(at: now) where near.key == .address {
            let told = counts.assess(client(near.subject), LimitRequest(), at: now)
            switch near.state {
            case .near: #expect(told == nil)
            case .held:
                guard case .hold? = told?.grade else {
                    Issue.record("\(near)")
                    continue
                }
            case .deferred:
                deferred += 1
                #expect(told?.grade == .defer && told?.until == near.until, "\(near)")
                // And so it comes to be.
                let until = try #require(near.until)
                let before = counts.assess(client(near.subject), LimitRequest(), at: until - .seconds(60))?.grade
                let after = counts.assess(client(near.subject), LimitRequest(), at: until + .seconds(1))?.grade
                #expect(after != .defer && (before == .defer || until - .seconds(60) <= now))
            case .refused: Issue.record("nobody hammers")
            }
        }
        #expect(deferred >= 2)
    }

    @Test mutating func whoIsRefusedIsSoAfterARestartAndIsShownWithWhatItIsRefusedFor() throws {
        for address in ["192.0.2.8", "192.0.2.9", "2001:db8::1"] {
            for _ in 0..<45 { _ = counts.attempted(client(address), recipientDomain: nil, at: start) }
            assessAndRefuse(address, at: start)
        }
        restart(at: start + .minutes(1))
        var refused = Set(counts.refusals(at: start + .minutes(1)).compactMap(\.network.address.description))
        #expect(refused == ["192.0.2.8", "192.0.2.9", "2001:db8::"])
        let until = counts.refusal(of: client("192.0.2.8"), at: start + .minutes(1))?.until
        #expect(until == start + counts.throttle.refuseFor)
        // One comes in again; that is remembered, too.
        let found = counts.watched(at: start + .minutes(1))
        let nine = found.first { counts.near($0, share: 0.5, at: start + .minutes(1))?.subject == "192.0.2.9" }
        _ = counts.forget(try #require(nine))
        restart(at: start + .minutes(2))
        refused = Set(counts.refusals(at: start + .minutes(2)).compactMap(\.network.address.description))
        #expect(refused == ["192.0.2.8", "2001:db8::"])
        // Long after its attempts have left the window.
        counts = LimitCounts(throttle: counts.throttle, accounts: counts.accounts, seed: (1, 2))
        for _ in 0..<45 { _ = counts.attempted(client("192.0.2.8"), recipientDomain: nil, at: start - .hours(3)) }
        assessAndRefuse("192.0.2.8", at: start - .hours(3))
        let rows = counts.takeChanges(100, at: start - .hours(3)).filter { $0.table >= 7 }
        counts = LimitCounts(throttle: counts.throttle, accounts: counts.accounts, seed: (1, 2))
        for var row in rows {
            row.expires = start + .minutes(5)
            counts.restore(row, at: start)
        }
        let shown = near()["192.0.2.8"]
        #expect(shown?.state == .refused && shown?.used == 40 && shown?.allowance == 20)
        let none = counts.refusals(at: start + .minutes(6))
        #expect(none.isEmpty)
    }

    @Test mutating func whereAnAccountComesFromIsRemembered() {
        var accounts = counts.accounts
        accounts.suspend = [Limit(.account, .places, 3, per: .hours(1)), Limit(.account, .countries, 2, per: .hours(1))]
        counts = LimitCounts(throttle: counts.throttle, accounts: accounts, seed: (1, 2))
        func ann(_ net: Int, _ country: String) -> LimitSubject {
            LimitSubject(address: IPAddress("198.51.\(net).1"), account: "ann", country: country)
        }
        for net in 1...3 {
            let suspension = counts.attempted(ann(net, "DE"), recipientDomain: nil, at: start)
            #expect(suspension == nil)
        }
        restart(at: start + .minutes(1))
        let used = counts.standings(of: ann(1, "DE"), recipientDomain: nil, at: start + .minutes(1)).filter { $0.limit.unit == .places }
        #expect(used.map(\.used) == [3])
        let known = counts.attempted(ann(2, "DE"), recipientDomain: nil, at: start + .minutes(1))
        #expect(known == nil, "a network that it is known from")
        let suspension = counts.attempted(ann(4, "FR"), recipientDomain: nil, at: start + .minutes(1))
        #expect(suspension?.reason.hasPrefix("account places 3/1h") == true)
        #expect(AccountPlaces([]) == nil && AccountPlaces([1, 1]) == nil && AccountPlaces([1, 0, 0]) == nil)
        #expect(AccountPlaces([1, 33]) == nil && AccountPlaces([1, 0]) != nil)
    }

    @Test mutating func recipientsOfAMessageArePendingUntilItIsAccepted() throws {
        let ann = LimitSubject(address: IPAddress("192.0.2.1"), account: "ann@example.net")
        var accounts = counts.accounts
        accounts.suspend = [Limit(.account, .newRecipients, 1500, per: .hours(1))]
        var throttle = counts.throttle
        throttle.limits = [Limit(.recipientDomain, .recipients, 100, per: .hours(1))]
        counts = LimitCounts(throttle: throttle, accounts: accounts, seed: (1, 2))
        var pending = PendingRecipients()
        for number in 0..<1200 {
            // Each twice, and every tenth of them is not taken.
            for time in 0..<2 {
                let mailbox = try #require(Mailbox("u\(number)@d\(number % 3).example.org"))
                _ = counts.acceptedRecipient(mailbox, of: ann, &pending, at: start)
                if number % 10 == 9, time == 0 { pending.withdraw() } else { pending.confirm() }
                if number % 10 == 9 { break }
            }
        }
        // Beyond those that are told apart each counts as often as it is named; no more is charged than were accepted.
        #expect(pending.newRecipients == 1000 + 2 * 80 && pending.new.count == PendingRecipients.maximumNew)
        var standings = counts.standings(of: ann, recipientDomain: "d1.example.org", at: start)
        #expect(standings.allSatisfy { $0.used == 0 })
        let expected = pending.domains.map { Double($0.recipients) }
        #expect(expected.count == 3)
        for domain in 0..<(PendingRecipients.maximumDomains + 5) { pending.add(domain: UInt64(domain)) }
        #expect(pending.domains.count == PendingRecipients.maximumDomains)
        _ = counts.accepted(pending, of: ann, recipients: 1080, at: start)
        standings = counts.standings(of: ann, recipientDomain: "d1.example.org", at: start)
        #expect(standings.first { $0.limit.unit == .newRecipients }?.used == 1080)
        #expect(expected.contains(standings.first { $0.limit.key == .recipientDomain }?.used ?? 0))
        let again = counts.asked(try #require(Mailbox("u1@d1.example.org")), of: ann, PendingRecipients())
        #expect(again.new == 0 && again.ofDomain == 1)
        // A message to many is stopped before it is through.
        var suspension: Suspension?
        pending = PendingRecipients()
        for number in 0..<500 where suspension == nil {
            suspension = counts.acceptedRecipient(try #require(Mailbox("v\(number)@example.org")), of: ann, &pending, at: start)
        }
        #expect(pending.newRecipients == 421 && suspension != nil)
    }
}

import PosternCore
import Testing

@testable import PosternEngine

private let midnight = WallTime(seconds: 1_795_132_800)

/// Counts by reference, since expectations take no mutation.
final class CountsUnderTest {
    private var counts: LimitCounts

    init(_ limits: [Limit] = [], accounts: [Limit] = [], suspend: [Limit] = [], _ change: (inout ThrottleSettings) -> Void = { _ in }) {
        var throttle = ThrottleSettings()
        throttle.limits = limits
        change(&throttle)
        var settings = AccountSettings()
        settings.limits = accounts
        settings.suspend = suspend
        counts = LimitCounts(throttle: throttle, accounts: settings, seed: (1, 2))
    }

    func assess(_ subject: LimitSubject, recipients: Int = 1, size: Int = 0, to domain: String? = nil, at now: WallTime) -> Throttled? {
        var request = LimitRequest()
        request.recipients = recipients
        request.size = size
        request.recipientDomain = domain
        guard subject.account == nil else { return counts.assessAccount(subject, request, at: now) }
        let throttled = counts.assess(subject, request, at: now)
        if throttled?.grade == .refuse, let throttled, let address = subject.address {
            counts.refuse(address, until: throttled.until, at: now)
        }
        return throttled
    }
    /// What a whole message asks for.
    func assessWhole(_ subject: LimitSubject, recipients: Int, at now: WallTime) -> Throttled? {
        var request = LimitRequest()
        request.recipients = recipients
        request.isWhole = true
        return counts.assess(subject, request, at: now)
    }
    /// As a postmaster of ours is asked for.
    func assessReachable(_ subject: LimitSubject, at now: WallTime) -> Throttled? {
        counts.assessAccount(subject, LimitRequest(), isReachableByAll: true, at: now)
    }
    func change(_ mode: Mode, at now: WallTime) {
        var accounts = counts.accounts
        accounts.mode = mode
        var fresh = LimitCounts(throttle: counts.throttle, accounts: accounts, seed: (1, 2))
        fresh.adopt(&counts, at: now)
        counts = fresh
    }
    func suspend(_ suspension: Suspension) { counts.suspend(suspension) }
    func attempt(_ subject: LimitSubject, to domain: String? = nil, at now: WallTime) -> Suspension? {
        counts.attempted(subject, recipientDomain: domain, at: now)
    }
    @discardableResult
    func accept(_ subject: LimitSubject, recipients: Int = 1, size: Int = 0, at now: WallTime) -> Suspension? {
        counts.accepted(subject, recipients: recipients, size: size, at: now)
    }
    @discardableResult
    func acceptRecipient(_ subject: LimitSubject, _ recipient: String, at now: WallTime) -> (isNew: Bool, suspension: Suspension?) {
        guard let mailbox = Mailbox(recipient) else { return (false, nil) }
        var pending = PendingRecipients()
        let isNew = counts.asked(mailbox, of: subject, pending).new > 0
        let early = counts.acceptedRecipient(mailbox, of: subject, &pending, at: now)
        let late = counts.accepted(pending, of: subject, recipients: 1, at: now)
        return (isNew, early ?? late)
    }
    func refuseRecipient(_ subject: LimitSubject, at now: WallTime) -> Suspension? { counts.refusedRecipient(subject, at: now) }
    func failLogIn(_ subject: LimitSubject, at now: WallTime) { counts.failedLogIn(subject, at: now) }
    func assessLogIn(_ subject: LimitSubject, at now: WallTime) -> Throttled? { counts.assessLogIn(subject, at: now) }
    func refusal(_ subject: LimitSubject, at now: WallTime) -> Throttled? { counts.refusal(of: subject, at: now) }
    func takeRefusals() -> [String] { counts.takeRefusals().map { "\($0.network)" } }
    func release(_ account: String, at now: WallTime = midnight) -> Bool { counts.release(account, at: now) }
    func standings(_ subject: LimitSubject, at now: WallTime) -> [LimitStanding] {
        counts.standings(of: subject, recipientDomain: nil, at: now)
    }
    func takeChanges(at now: WallTime) -> [CountRow] { counts.takeChanges(10_000, at: now) }
    func restore(_ rows: [CountRow], at now: WallTime) { for row in rows { counts.restore(row, at: now) } }
    var suspended: [String] { counts.suspended.keys.sorted() }
}

func client(_ text: String, account: String? = nil, country: String? = nil) -> LimitSubject {
    LimitSubject(address: IPAddress(text), account: account, country: country)
}

@Suite("Limits on strangers")
struct LimitCountsTests {
    private let messages = Limit(.address, .messages, 10, per: .hours(1))

    @Test func `Below: passes; above: held longer and longer; then deferred`() {
        let counts = CountsUnderTest([messages])
        let stranger = client("192.0.2.7")
        var holds: [Int64] = []
        for count in 1...20 {
            switch counts.assess(stranger, at: midnight)?.grade {
            case nil: #expect(count <= 10)
            case .hold(let span)?: holds.append(span.milliseconds)
            case let grade?: Issue.record("\(count): \(grade)")
            }
            counts.accept(stranger, at: midnight)
        }
        #expect(holds == (1...10).map { $0 * 3000 })
        let deferred = counts.assess(stranger, at: midnight)
        #expect(deferred?.grade == .defer)
        #expect(deferred?.limit == messages)
        #expect((deferred?.until ?? midnight) > midnight)
        // Another is not concerned, and later it goes again.
        #expect(counts.assess(client("192.0.2.8"), at: midnight) == nil)
        #expect(counts.assess(stranger, at: midnight + .hours(2)) == nil)
    }

    @Test func `Whoever goes on is refused at connect for a while, and told to the firewall once`() {
        let counts = CountsUnderTest([Limit(.address, .attempts, 10, per: .hours(1))])
        let bot = client("2001:db8::7")
        var refusedAt: Int?
        for count in 1...60 where refusedAt == nil {
            if counts.assess(bot, at: midnight)?.grade == .refuse { refusedAt = count } else { _ = counts.attempt(bot, at: midnight) }
        }
        #expect(refusedAt == 41)
        #expect(counts.refusal(bot, at: midnight + .minutes(14))?.grade == .refuse)
        #expect(counts.refusal(client("2001:db8:0:0:1::1"), at: midnight + .minutes(14)) != nil)
        #expect(counts.refusal(client("2001:db8:0:1::1"), at: midnight + .minutes(14)) == nil)
        #expect(counts.refusal(bot, at: midnight + .minutes(15)) == nil)
        #expect(counts.takeRefusals() == ["2001:db8::/64"])
        #expect(counts.takeRefusals().isEmpty)
    }

    @Test func `The recipients of one message count as they come`() {
        let counts = CountsUnderTest([Limit(.address, .recipients, 10, per: .hours(1)), Limit(.address, .bytes, 1 << 20, per: .hours(1))])
        let stranger = client("192.0.2.7")
        #expect(counts.assess(stranger, recipients: 10, at: midnight) == nil)
        #expect(counts.assess(stranger, recipients: 21, at: midnight)?.grade == .defer)
        if case .hold? = counts.assess(stranger, size: 3 << 20, at: midnight)?.grade {} else { Issue.record("never passes") }
        counts.accept(stranger, recipients: 9, size: 1000 << 10, at: midnight)
        #expect(counts.assess(stranger, recipients: 1, size: 24 << 10, at: midnight) == nil)
        if case .hold? = counts.assess(stranger, recipients: 2, at: midnight)?.grade {} else { Issue.record("not held") }
    }

    @Test func `No size that a client claims is too large to be counted`() {
        let stranger = client("192.0.2.7")
        let counts = CountsUnderTest(
            [Limit(.address, .bytes, 1 << 20, per: .hours(1))], accounts: [Limit(.account, .bytes, 1 << 20, per: .hours(1))])
        let ann = client("192.0.2.8", account: "ann")
        for size in [Int.max, Int.max - 1023, .min, -1] {
            #expect((counts.assess(stranger, size: size, at: midnight) != nil) == (size > 0))
            #expect((counts.assess(ann, size: size, at: midnight) != nil) == (size > 0))
        }
        for _ in 0..<3 { counts.accept(stranger, size: .max, at: midnight) }
        #expect(counts.assess(stranger, at: midnight)?.grade == .defer)
    }

    @Test func `Small messages are charged by their octets, not by their number`() throws {
        let counts = CountsUnderTest(
            [Limit(.address, .bytes, 10 << 10, per: .hours(1)), Limit(.identity, .bytes, 1 << 40, per: .hours(1))],
            accounts: [Limit(.account, .bytes, 10 << 10, per: .hours(1))])
        for subject in [client("192.0.2.7"), client("192.0.2.8"), client("192.0.2.9", account: "ann")] {
            for number in 0..<45 {
                #expect(counts.assess(subject, size: 200, at: midnight) == nil, "\(200 * number) octets")
                counts.accept(subject, size: 200, at: midnight)
            }
            for _ in 0..<12 { counts.accept(subject, size: 200, at: midnight) }
            #expect(counts.assess(subject, size: 200, at: midnight) != nil)
        }
        // Of many who send one each all is counted, too.
        var shared = client("192.0.2.1")
        shared.identity = "example.org"
        for number in 0..<2000 {
            shared.address = IPAddress("198.51.\(100 + number / 200).\(number % 200)")
            counts.accept(shared, size: 300, at: midnight)
        }
        let used = try #require(counts.standings(shared, at: midnight).first { $0.limit.key == .identity }?.used)
        #expect((550_000...650_000).contains(used), "of 600,000")
    }

    @Test func `More limits than are counted side by side are left out, and told of`() {
        let stranger = client("192.0.2.7")
        let windows = (1...30).map { WallTime.Span.minutes($0) }
        let many = windows.map { Limit(.address, .attempts, 5, per: $0) }
        #expect(LimitCounts.crowded(ThrottleSettings(), AccountSettings()).isEmpty)
        var throttle = ThrottleSettings()
        throttle.limits = Array(many.prefix(24))
        #expect(LimitCounts.crowded(throttle, AccountSettings()).map(\.counts) == [25], "failed log-ins are an address's, too")
        throttle.limits = many
        var settings = AccountSettings()
        settings.limits = windows.prefix(20).map { Limit(.account, .messages, 5, per: $0) }
        settings.suspend =
            windows.suffix(4).map { Limit(.account, .refusals, 5, per: $0) } + [Limit(.account, .recipients, 5, per: .days(1))]
        // 20, 4, 1, and the usual of recipients.
        let crowded = LimitCounts.crowded(throttle, settings)
        #expect(crowded.map(\.counts) == [30, 26] && crowded.map(\.keys) == [[.address, .block], [.account]])
        // It goes on with those that there is room for.
        let counts = CountsUnderTest(many, accounts: settings.limits, suspend: settings.suspend)
        let ann = client("192.0.2.8", account: "ann")
        for _ in 0..<6 {
            _ = counts.attempt(stranger, at: midnight)
            counts.accept(ann, recipients: 2, at: midnight)
        }
        #expect(counts.assess(stranger, at: midnight) != nil && counts.assess(ann, at: midnight) != nil)
        #expect(counts.standings(stranger, at: midnight).count == 24)
    }

    @Test func `A message that alone is more than a limit is held and passes, once its client is within the limit`() throws {
        let counts = CountsUnderTest([Limit(.address, .bytes, 1 << 20, per: .hours(1)), Limit(.address, .recipients, 2, per: .hours(1))])
        let stranger = client("192.0.2.7")
        let held = counts.assess(stranger, size: 3 << 20, at: midnight)
        #expect(held?.grade == .hold(.seconds(30)) && held?.until == midnight + .seconds(30))
        // At DATA nothing can be left for another message; at RCPT it can.
        #expect(counts.assessWhole(stranger, recipients: 5, at: midnight)?.grade == .hold(.seconds(30)))
        #expect(counts.assess(stranger, recipients: 5, at: midnight)?.grade == .defer)
        counts.accept(stranger, size: 3 << 20, at: midnight)
        let deferred = try #require(counts.assess(stranger, size: 3 << 20, at: midnight + .minutes(1)))
        #expect(deferred.grade == .defer && deferred.until > midnight + .minutes(1))
        if case .hold? = counts.assess(stranger, size: 3 << 20, at: deferred.until)?.grade {} else { Issue.record("told to come then") }
        // What can be done in two is deferred as ever.
        counts.accept(stranger, size: 900 << 10, at: deferred.until)
        #expect(counts.assess(stranger, size: 1800 << 10, at: deferred.until)?.grade == .defer)
    }

    @Test func `Limits of blocks are told of beside those of addresses`() {
        let counts = CountsUnderTest([messages, Limit(.block, .messages, 50, per: .hours(1))])
        for host in 1...9 { counts.accept(client("192.0.2.\(host)"), at: midnight) }
        counts.accept(client("2001:db8::1"), at: midnight)
        let standings = counts.standings(client("192.0.2.7"), at: midnight)
        #expect(standings.map(\.subject) == ["192.0.2.7", "192.0.2.0/24"] && standings.map(\.used) == [1, 9] && standings[1].left == 41)
        #expect(counts.standings(client("2001:db8::2"), at: midnight).map(\.subject) == ["2001:db8::2", "2001:db8::/48"])
    }

    @Test func `Windows may be shorter than a second`() throws {
        let counts = CountsUnderTest([try Limit("address messages 5/500ms")])
        let stranger = client("192.0.2.7")
        for _ in 0..<12 { counts.accept(stranger, at: midnight + .milliseconds(1)) }
        #expect(counts.assess(stranger, at: midnight + .milliseconds(2))?.grade == .defer)
        #expect(counts.assess(stranger, at: midnight + .milliseconds(1100)) == nil)
    }

    @Test func `One loud neighbour tightens nothing, many do, and a first message always passes`() {
        let counts = CountsUnderTest([messages, Limit(.block, .messages, 40, per: .hours(1))])
        for _ in 0..<500 { counts.accept(client("198.51.100.1"), at: midnight) }
        for _ in 0..<9 { counts.accept(client("198.51.100.200"), at: midnight) }
        #expect(counts.assess(client("198.51.100.200"), at: midnight) == nil)
        // Twenty of them, each at eight: 160 and the loud one's ten.
        for host in 2...21 { for _ in 0..<8 { counts.accept(client("198.51.100.\(host)"), at: midnight) } }
        #expect(counts.assess(client("198.51.100.200"), at: midnight)?.grade == .defer)
        #expect(counts.assess(client("198.51.100.201"), at: midnight) == nil)
        counts.accept(client("198.51.100.201"), at: midnight)
        #expect(counts.assess(client("198.51.100.201"), at: midnight)?.grade != .defer)
        // However many: one an hour.
        for host in 30...250 { for _ in 0..<10 { counts.accept(client("198.51.100.\(host)"), at: midnight) } }
        #expect(counts.assess(client("198.51.100.22"), at: midnight) == nil)
    }

    @Test func `A domain that is flooded is protected, whoever writes`() {
        let counts = CountsUnderTest([Limit(.recipientDomain, .recipients, 5, per: .minutes(1))])
        for host in 1...10 { counts.acceptRecipient(client("192.0.2.\(host)"), "u@Victim.example", at: midnight) }
        #expect(counts.assess(client("203.0.113.9"), to: "victim.example", at: midnight)?.grade == .defer)
        #expect(counts.assess(client("203.0.113.9"), to: "other.example", at: midnight) == nil)
    }

    @Test func `Counts and recipients come back after a restart`() {
        let limits = [messages, Limit(.address, .newRecipients, 3, per: .days(1))]
        let counts = CountsUnderTest(limits)
        let stranger = client("192.0.2.7")
        for number in 0..<12 { counts.accept(stranger, at: midnight + .minutes(Int64(number))) }
        #expect(counts.acceptRecipient(stranger, "a@example.org", at: midnight).isNew)
        let rows = counts.takeChanges(at: midnight)
        #expect(rows.count == 2)
        #expect(rows.allSatisfy { $0.expires > midnight + .days(1) })
        let after = CountsUnderTest(limits)
        after.restore(rows, at: midnight + .minutes(20))
        #expect(after.standings(stranger, at: midnight + .minutes(20)).first?.used == 12)
        #expect(!after.acceptRecipient(stranger, "A@example.org", at: midnight).isNew)
        #expect(after.acceptRecipient(stranger, "b@example.org", at: midnight).isNew)
    }

    @Test func `What is left is told`() {
        let counts = CountsUnderTest([messages, Limit(.address, .bytes, 1 << 20, per: .days(1))])
        counts.accept(client("192.0.2.7"), recipients: 2, size: 5120, at: midnight)
        let standings = counts.standings(client("192.0.2.7"), at: midnight)
        #expect(standings.map(\.used) == [1, 5120])
        #expect(standings.map(\.left) == [9, Double(1 << 20) - 5120])
        #expect(standings.map(\.subject) == ["192.0.2.7", "192.0.2.7"])
    }
}

@Suite("Limits on accounts")
struct AccountLimitTests {
    @Test func `Past its limit an account is refused for good, not for now`() {
        let counts = CountsUnderTest(accounts: [
            Limit(.account, .messages, 3, per: .hours(1)), Limit(.accountDomain, .messages, 5, per: .hours(1)),
        ])
        let ann = client("192.0.2.1", account: "Ann@example.net")
        for _ in 0..<3 {
            #expect(counts.assess(ann, at: midnight) == nil)
            counts.accept(ann, at: midnight)
        }
        #expect(counts.assess(client("203.0.113.1", account: "ann@example.net"), at: midnight)?.grade == .refuseAccount)
        let bob = client("192.0.2.1", account: "bob@example.net")
        for _ in 0..<2 { counts.accept(bob, at: midnight) }
        #expect(counts.assess(bob, at: midnight)?.limit.key == .accountDomain)
        #expect(counts.assess(client("192.0.2.1", account: "eve@example.org"), at: midnight) == nil)
        #expect(counts.suspended.isEmpty)
    }

    @Test func `Sudden volume suspends, once, until it is released`() throws {
        let counts = CountsUnderTest(suspend: [Limit(.account, .recipients, 50, per: .hours(1))])
        let ann = client("192.0.2.1", account: "ann")
        #expect(counts.accept(ann, recipients: 50, at: midnight) == nil)
        let suspension = try #require(counts.accept(ann, recipients: 1, at: midnight))
        #expect(suspension.account == "ann")
        #expect(suspension.reason.contains("account recipients 50/1h"))
        #expect(counts.accept(ann, recipients: 1, at: midnight) == nil)
        #expect(counts.assess(ann, at: midnight + .days(3))?.grade == .suspended)
        #expect(counts.release("ANN"))
        #expect(!counts.release("ann"))
        #expect(counts.assess(ann, at: midnight) == nil)
        #expect(counts.accept(ann, recipients: 40, at: midnight) == nil)
    }

    @Test func `A suspended account is told of with what it was suspended for, whatever the limits are now`() {
        let limits = [Limit(.account, .attempts, 900, per: .hours(1)), Limit(.account, .refusals, 2, per: .hours(1))]
        let counts = CountsUnderTest(suspend: limits)
        let bob = client("192.0.2.1", account: "bob")
        for _ in 0..<3 { _ = counts.refuseRecipient(bob, at: midnight) }
        let told = counts.assess(bob, at: midnight)
        #expect(told?.limit == limits[1])
        #expect(told?.description == "the account is suspended: past account refusals 2/1h: 3 where 2 are allowed")
        // Restored from a store where no limits are configured any more.
        let bare = CountsUnderTest()
        bare.suspend(Suspension(account: "bob", since: midnight, reason: "account refusals 2/1h: 3 where 2 are allowed"))
        bare.suspend(Suspension(account: "eve", since: midnight, reason: "by hand"))
        #expect(bare.assess(bob, at: midnight)?.limit == limits[1])
        #expect(bare.assess(client("192.0.2.1", account: "eve"), at: midnight)?.grade == .suspended)
    }

    @Test func `In shadow nobody is suspended, and nobody is for it once that is over`() {
        let counts = CountsUnderTest(suspend: [Limit(.account, .recipients, 5, per: .hours(1))])
        counts.change(.shadow, at: midnight)
        let ann = client("192.0.2.1", account: "ann")
        let told = [6, 1].map { counts.accept(ann, recipients: $0, at: midnight)?.isShadow }
        #expect(told == [true, nil], "once")
        #expect(counts.suspended.isEmpty && counts.assess(ann, at: midnight)?.grade == .suspended)
        #expect(counts.assess(ann, at: midnight)?.description.hasPrefix("the account is suspended") == true)
        counts.change(.on, at: midnight)
        #expect(counts.suspended.isEmpty && counts.assess(ann, at: midnight) == nil)
        #expect(counts.accept(ann, at: midnight)?.isShadow == false)
        #expect(counts.suspended == ["ann"])
        counts.change(.shadow, at: midnight)
        #expect(counts.suspended == ["ann"], "it goes on once that is over")
    }

    @Test func `A suspended account may write to postmaster, within its limits`() {
        let counts = CountsUnderTest(
            accounts: [Limit(.account, .messages, 5, per: .hours(1))], suspend: [Limit(.account, .recipients, 3, per: .hours(1))])
        let ann = client("192.0.2.1", account: "ann")
        counts.accept(ann, recipients: 4, at: midnight)
        #expect(counts.assess(ann, at: midnight)?.grade == .suspended && counts.assessReachable(ann, at: midnight) == nil)
        for _ in 0..<4 { counts.accept(ann, at: midnight) }
        #expect(counts.assessReachable(ann, at: midnight)?.grade == .defer)
    }

    @Test func `A release leaves an account what it usually does, without what it was stopped for`() {
        let counts = CountsUnderTest(suspend: [Limit(.account, .recipients, 100, per: .hours(1))])
        let shop = client("192.0.2.1", account: "shop")
        for day in 0..<27 {
            for hour in 0..<10 { counts.accept(shop, recipients: 40, at: midnight + .days(Int64(day)) + .hours(Int64(hour))) }
        }
        func allowance(_ now: WallTime) -> Double { counts.standings(shop, at: now).first?.allowance ?? 0 }
        let later = midnight + .days(27)
        let before = allowance(later)
        #expect(before > 1000)
        #expect(counts.accept(shop, recipients: 5000, at: later) != nil)
        #expect(counts.release("shop", at: later))
        #expect(abs(allowance(later) - before) <= 1 && counts.standings(shop, at: later).first?.used == 0)
        // Also where somebody comes to it the next day.
        #expect(counts.accept(shop, recipients: 5000, at: later) != nil)
        let tomorrow = later + .days(1)
        #expect(counts.release("shop", at: tomorrow))
        #expect(allowance(tomorrow) <= before)
    }

    @Test func `Nobody is usually refused`() {
        let counts = CountsUnderTest(suspend: [Limit(.account, .refusals, 10, per: .hours(1))])
        let list = client("192.0.2.1", account: "list")
        for day in 0..<27 {
            for _ in 0..<9 { #expect(counts.refuseRecipient(list, at: midnight + .days(Int64(day))) == nil) }
        }
        #expect(counts.standings(list, at: midnight + .days(27)).map(\.allowance) == [10])
    }

    @Test func `An account may come from as many networks as a limit says`() throws {
        let counts = CountsUnderTest(suspend: [try Limit("account places 40/1h")])
        for network in 0..<40 { #expect(counts.attempt(client("198.51.\(network).7", account: "office"), at: midnight) == nil) }
        #expect(counts.attempt(client("198.51.99.7", account: "office"), at: midnight) != nil)
        let most = CountsUnderTest(suspend: [Limit(.account, .places, Limit.amountsOfPlaces.upperBound, per: .hours(1))])
        let networks = (0...254).map { client("198.51.\($0).7", account: "many") }
        #expect(networks.firstIndex { most.attempt($0, at: midnight) != nil } == 254)
    }

    @Test func `A message that alone is more than an account may send is told so`() {
        let counts = CountsUnderTest(accounts: [Limit(.account, .bytes, 1 << 20, per: .hours(1))])
        let ann = client("192.0.2.1", account: "ann")
        #expect(counts.assess(ann, size: 2 << 20, at: midnight)?.isAlone == true)
        counts.accept(ann, size: 900 << 10, at: midnight)
        #expect(counts.assess(ann, size: 900 << 10, at: midnight)?.isAlone == false)
    }

    @Test func `Whoever usually sends much may send some times as much`() {
        let counts = CountsUnderTest(suspend: [Limit(.account, .recipients, 100, per: .hours(1))])
        let shop = client("192.0.2.1", account: "shop")
        // 90 an hour, ten hours a day, for four weeks.
        for day in 0..<28 {
            for hour in 0..<10 {
                #expect(counts.accept(shop, recipients: 90, at: midnight + .days(Int64(day)) + .hours(Int64(hour))) == nil)
            }
        }
        let later = midnight + .days(28)
        #expect(counts.accept(shop, recipients: 2000, at: later) == nil)
        #expect(counts.accept(shop, recipients: 3000, at: later) != nil)
        #expect(counts.accept(client("192.0.2.1", account: "new"), recipients: 101, at: later) != nil)
    }

    @Test func `Many new recipients, many refused ones, many attempts suspend`() {
        let suspend = [
            Limit(.account, .newRecipients, 5, per: .hours(1)), Limit(.account, .refusals, 5, per: .hours(1)),
            Limit(.account, .attempts, 20, per: .hours(1)),
        ]
        let counts = CountsUnderTest(suspend: suspend)
        let known = client("192.0.2.1", account: "known")
        for number in 0..<5 { counts.acceptRecipient(known, "u\(number)@example.org", at: midnight) }
        let later = midnight + .days(2)
        for number in 0..<5 { #expect(counts.acceptRecipient(known, "u\(number)@example.org", at: later).suspension == nil) }
        for number in 5..<10 { #expect(counts.acceptRecipient(known, "u\(number)@example.org", at: later).suspension == nil) }
        #expect(counts.acceptRecipient(known, "u10@example.org", at: later).suspension?.account == "known")
        let guesser = client("192.0.2.1", account: "guesser")
        for _ in 0..<5 { #expect(counts.refuseRecipient(guesser, at: midnight) == nil) }
        #expect(counts.refuseRecipient(guesser, at: midnight) != nil)
        let eager = client("192.0.2.1", account: "eager")
        for _ in 0..<20 { #expect(counts.attempt(eager, at: midnight) == nil) }
        #expect(counts.attempt(eager, at: midnight) != nil)
        #expect(counts.suspended == ["eager", "guesser", "known"])
    }

    @Test func `Coming from everywhere at once suspends, moving about does not`() {
        let counts = CountsUnderTest(suspend: [Limit(.account, .places, 4, per: .hours(1)), Limit(.account, .countries, 2, per: .hours(1))])
        for hour in 0..<12 {
            #expect(counts.attempt(client("198.51.\(hour).7", account: "traveller"), at: midnight + .hours(Int64(hour))) == nil)
        }
        // The same network is one place.
        for host in 0..<9 { #expect(counts.attempt(client("203.0.113.\(host)", account: "office"), at: midnight) == nil) }
        for network in 0..<4 { #expect(counts.attempt(client("198.51.\(network).7", account: "cracked"), at: midnight) == nil) }
        #expect(counts.attempt(client("198.51.9.7", account: "cracked"), at: midnight) != nil)
        for (network, country) in ["DE", "FR"].enumerated() {
            #expect(counts.attempt(client("198.51.\(network).7", account: "other", country: country), at: midnight) == nil)
        }
        #expect(counts.attempt(client("198.51.3.7", account: "other", country: "BR"), at: midnight) != nil)
    }

    @Test func `Failed log-ins are counted by account and by address`() {
        let counts = CountsUnderTest(accounts: [
            Limit(.account, .failures, 3, per: .hours(1)), Limit(.address, .failures, 5, per: .hours(1)),
        ])
        for _ in 0..<3 { counts.failLogIn(client("192.0.2.1", account: "ann"), at: midnight) }
        #expect(counts.assessLogIn(client("203.0.113.5", account: "ann"), at: midnight)?.limit.key == .account)
        #expect(counts.assessLogIn(client("192.0.2.1", account: "bob"), at: midnight) == nil)
        for _ in 0..<2 { counts.failLogIn(client("192.0.2.1", account: "bob"), at: midnight) }
        #expect(counts.assessLogIn(client("192.0.2.1", account: "eve"), at: midnight)?.limit.key == .address)
        #expect(counts.assessLogIn(client("203.0.113.5", account: "ann"), at: midnight + .hours(2)) == nil)
        // They cost the account nothing else.
        #expect(counts.assess(client("203.0.113.5", account: "ann"), at: midnight) == nil)
    }
}

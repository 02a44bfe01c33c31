import EngineTestSupport
import Foundation
import PosternCore
import Testing

@testable import PosternEngine

private let monday = WallTime(seconds: 1_795_392_000)

/// A site behind a throttle, in virtual time: the engine as the daemon has it, counts, and senders who come again.
private final class Site {
    private var engine: Engine
    private var counts: LimitCounts
    private(set) var now = monday
    let settings: ThrottleSettings

    init(_ change: (inout EngineSettings) -> Void = { _ in }) {
        var settings = EngineSettings()
        settings.greylist.mode = .off
        settings.throttle.mode = .on
        settings.accounts.mode = .on
        change(&settings)
        engine = Engine(settings: settings, domains: LastTwoLabels())
        counts = LimitCounts(throttle: settings.throttle, accounts: settings.accounts, seed: (7, 8))
        self.settings = settings.throttle
    }

    enum Answer: Equatable {
        case accepted(after: WallTime.Span)
        case deferred
        case refusedAtConnect
        case rejected
    }

    /// One message of one recipient, from connect to its end, as the gateway asks and charges.
    func send(from address: IPAddress, account: String? = nil, to recipient: String, bytes: Int = 20_000, at time: WallTime) -> Answer {
        now = max(now, time)
        let subject = LimitSubject(address: address, account: account)
        var attempt = Attempt(
            stage: .connect, client: Client(address: address), sender: .mailbox(Self.mailbox("sender@example.org")), account: account)
        attempt.isConversation = true
        if account == nil {
            attempt.throttled = counts.refusal(of: subject, at: now)
            if case .decided(let decision) = engine.begin(attempt, now: now), decision.verdict.action == .defer { return .refusedAtConnect }
        }
        attempt.stage = .rcpt
        attempt.recipient = Self.mailbox(recipient)
        attempt.size = bytes
        var request = LimitRequest()
        request.size = bytes
        request.recipientDomain = attempt.recipient?.domainName?.text
        if let mailbox = attempt.recipient { request.newRecipients = counts.asked(mailbox, of: subject, PendingRecipients()).new }
        attempt.throttled =
            account == nil ? counts.assess(subject, request, at: now) : counts.assessAccount(subject, request, at: now)
        let decision: Decision
        switch engine.begin(attempt, now: now) {
        case .decided(let decided): decision = decided
        case .needs(let inquiry): decision = engine.conclude(inquiry, evidence: Evidence(), now: now)
        }
        if let throttled = attempt.throttled, throttled.grade == .refuse, decision.verdict.countsTowardsLimits {
            counts.refuse(address, until: throttled.until, at: now)
        }
        _ = counts.attempted(subject, recipientDomain: request.recipientDomain, at: now)
        let wait: WallTime.Span
        switch decision.verdict.action {
        case .accept: wait = .zero
        case .hold(let span): wait = span
        case .defer: return .deferred
        case .reject, .tarpit, .drop: return .rejected
        }
        var pending = PendingRecipients()
        if let mailbox = attempt.recipient { _ = counts.acceptedRecipient(mailbox, of: subject, &pending, at: now) }
        _ = counts.accepted(pending, of: subject, recipients: 1, at: now + wait)
        _ = counts.accepted(subject, recipients: 1, size: bytes, at: now + wait)
        return .accepted(after: wait)
    }

    private static func mailbox(_ text: String) -> Mailbox {
        guard let mailbox = Mailbox(text) else { preconditionFailure(text) }
        return mailbox
    }

    var suspended: [String: Suspension] { counts.suspended }
    func sweep() { counts.sweep(5000, at: now) }
}

/// A message that somebody wants delivered, and has until now tried so often.
private struct Mail {
    var group: String
    var address: IPAddress
    var account: String?
    var recipient: String
    var bytes = 20_000
    var created: WallTime
    var tries = 0
    /// Whether it comes again after a 4xx, as RFC 5321 §4.5.4.1 has it: for five days.
    var retries: Bool
}

private struct Fate {
    var sent = 0
    var passed = 0
    var held = 0
    var deferred = 0
    var refusals = 0
    var rejected = 0
    var givenUp = 0
    /// Milliseconds from the first attempt to acceptance.
    var delays: [Int64] = []

    func delay(_ percent: Int) -> WallTime.Span {
        let sorted = delays.sorted()
        return sorted.isEmpty ? .zero : .milliseconds(sorted[min(sorted.count * percent / 100, sorted.count - 1)])
    }
}

/// Sends mail in the order of time, and again as mail servers do: after 15 minutes, then each half hour, for five days.
private func run(_ site: Site, _ mails: [Mail]) -> [String: Fate] {
    var heap = Queue(mails.map { ($0.created, $0) })
    var fates: [String: Fate] = [:]
    var steps = 0
    while let (time, mail) = heap.next() {
        steps += 1
        if steps % 1000 == 0 { site.sweep() }
        var fate = fates[mail.group] ?? Fate()
        if mail.tries == 0 { fate.sent += 1 }
        let answer = site.send(from: mail.address, account: mail.account, to: mail.recipient, bytes: mail.bytes, at: time)
        switch answer {
        case .accepted(let wait):
            fate.passed += 1
            if wait > .zero { fate.held += 1 }
            fate.delays.append((time - mail.created + wait).milliseconds)
        case .rejected: fate.rejected += 1
        case .deferred, .refusedAtConnect:
            if answer == .deferred { fate.deferred += 1 } else { fate.refusals += 1 }
            if mail.retries, time - mail.created < .days(5) {
                var again = mail
                again.tries += 1
                heap.add(time + (mail.tries == 0 ? .minutes(15) : .minutes(30)), again)
            } else {
                fate.givenUp += 1
            }
        }
        fates[mail.group] = fate
    }
    return fates
}

/// A queue by time, of those that came in order and those that come again.
private struct Queue {
    private var sorted: [(WallTime, Mail)]
    private var first = 0
    /// A binary heap.
    private var later: [(WallTime, Mail)] = []

    init(_ mails: [(WallTime, Mail)]) { sorted = mails.sorted { $0.0 < $1.0 } }

    mutating func add(_ time: WallTime, _ mail: Mail) {
        later.append((time, mail))
        var index = later.count - 1
        while index > 0, later[index].0 < later[(index - 1) / 2].0 {
            later.swapAt(index, (index - 1) / 2)
            index = (index - 1) / 2
        }
    }

    mutating func next() -> (WallTime, Mail)? {
        if first < sorted.count, later.isEmpty || sorted[first].0 <= later[0].0 {
            first += 1
            return sorted[first - 1]
        }
        guard let top = later.first, let last = later.popLast() else { return nil }
        if !later.isEmpty {
            later[0] = last
            var index = 0
            while true {
                let children = [2 * index + 1, 2 * index + 2].filter { $0 < later.count }
                guard let child = children.min(by: { later[$0].0 < later[$1].0 }), later[child].0 < later[index].0 else { break }
                later.swapAt(index, child)
                index = child
            }
        }
        return top
    }
}

@Suite("A week at the throttle")
struct WeekTests {
    private static let days: Int64 = 7

    /// Moments within working hours of each day.
    private func moments(_ perDay: Int, _ random: inout Seeded) -> [WallTime] {
        (0..<Self.days).flatMap { day in
            (0..<perDay).map { _ in monday + .days(day) + .hours(8) + .milliseconds(Int64(random.below(10 * 3_600_000))) }
        }
    }

    private func persons(_ random: inout Seeded) -> [Mail] {
        // Two hundred persons with a mail server of their own each; up to ten mails a day to us, some days three at once.
        (0..<200).flatMap { person -> [Mail] in
            moments(1 + person % 10, &random).map {
                Mail(
                    group: "persons", address: IPAddress(v4: 0xc633_0000 + UInt32(person) << 8 | 25),
                    recipient: "user\(random.below(80))@example.net",
                    bytes: 5000 + random.below(2_000_000), created: $0, retries: true)
            }
        }
    }

    private func office(_ random: inout Seeded) -> [Mail] {
        // Fifty persons behind one address, two mails a day each to us.
        (0..<50).flatMap { _ in
            moments(2, &random).map {
                Mail(
                    group: "NAT of fifty", address: IPAddress(v4: 0xcb00_7105), recipient: "user\(random.below(80))@example.net",
                    created: $0,
                    retries: true)
            }
        }
    }

    private func newsletters(_ random: inout Seeded) -> [Mail] {
        // A stranger's list of 600 subscribers here, on Tuesday at nine; a trusted one of 3000.
        let start = monday + .days(1) + .hours(9)
        let stranger = (0..<600).map {
            Mail(
                group: "newsletter, stranger", address: IPAddress(v4: 0xc000_0211), recipient: "reader\($0)@example.net",
                created: start + .milliseconds(Int64($0) * 100), retries: true)
        }
        let trusted = (0..<3000).map {
            Mail(
                group: "newsletter, trusted", address: IPAddress(v4: 0xc000_02c8), recipient: "reader\($0)@example.net",
                created: start + .milliseconds(Int64($0) * 100), retries: true)
        }
        return stranger + trusted
    }

    private func botnet(_ random: inout Seeded) -> [Mail] {
        // Two hundred hosts of one /24, on Wednesday for ten hours, thirty mails an hour each, never again after a 4xx.
        let start = monday + .days(2) + .hours(6)
        return (0..<200).flatMap { host in
            (0..<300).map { _ in
                Mail(
                    group: "botnet in a /24", address: IPAddress(v4: 0xc0a8_4d00 + UInt32(host)),
                    recipient: "user\(random.below(5000))@example.net",
                    created: start + .milliseconds(Int64(random.below(36_000_000))), retries: false)
            }
        }
    }

    private func neighbours(_ random: inout Seeded) -> [Mail] {
        // Five honest hosts in that same /24, eight mails a day each.
        (0..<5).flatMap { host in
            moments(8, &random).map {
                Mail(
                    group: "honest in that /24", address: IPAddress(v4: 0xc0a8_4d00 + 240 + UInt32(host)),
                    recipient: "user\(random.below(80))@example.net", created: $0, retries: true)
            }
        }
    }

    private func loneBot(_ random: inout Seeded) -> [Mail] {
        // One host, all of Thursday, thirty a minute.
        (0..<43_200).map {
            Mail(
                group: "one spraying host", address: IPAddress(v4: 0xc633_6409), recipient: "user\(random.below(5000))@example.net",
                created: monday + .days(3) + .milliseconds(Int64($0) * 2000), retries: false)
        }
    }

    private func accounts(_ random: inout Seeded) -> [Mail] {
        // A hundred customers, twenty mails a day each to whom they know and to a few new ones; one is cracked on Friday at night.
        let honest = (0..<100).flatMap { customer in
            moments(20, &random).map {
                Mail(
                    group: "customers", address: IPAddress(v4: 0x0a00_0000 + UInt32(customer)), account: "customer\(customer)",
                    recipient: "friend\(random.below(40))of\(customer)@example.org", created: $0, retries: false)
            }
        }
        let cracked = (0..<5000).map {
            Mail(
                group: "cracked account", address: IPAddress(v4: 0x2000_0000 + UInt32(random.below(40)) << 12), account: "customer17",
                recipient: "victim\($0)@example.com", created: monday + .days(4) + .hours(2) + .milliseconds(Int64($0) * 1500),
                retries: false)
        }
        return honest.filter { $0.account != "customer17" || $0.created < monday + .days(4) } + cracked
    }

    @Test func `Each gets what is promised`() throws {
        let site = Site { settings in
            settings.trusted.addresses = PrefixSet([Prefix(IPAddress(v4: 0xc000_02c8), length: 32)])
        }
        var random = Seeded(seed: 2026)
        let mails =
            persons(&random) + office(&random) + newsletters(&random) + botnet(&random) + neighbours(&random) + loneBot(&random)
            + accounts(&random)
        let fates = run(site, mails)
        print("| sender | mails | passed | of them held | deferrals | refused at connect | rejected | delay p50 | p99 |")
        for (group, fate) in fates.sorted(by: { $0.key < $1.key }) {
            print(
                "| \(group) | \(fate.sent) | \(fate.passed) | \(fate.held) | \(fate.deferred) | \(fate.refusals) | \(fate.rejected) | \(fate.delay(50).spoken) | \(fate.delay(99).spoken) |"
            )
        }
        func fate(_ group: String) throws -> Fate { try #require(fates[group]) }

        for group in ["persons", "NAT of fifty", "newsletter, trusted"] {
            let fate = try fate(group)
            #expect(fate.passed == fate.sent, "\(group)")
            #expect(fate.deferred + fate.refusals + fate.rejected == 0, "\(group)")
        }
        #expect(try fate("persons").held == 0)
        #expect(try fate("newsletter, trusted").held == 0)
        #expect(try fate("NAT of fifty").delay(99) <= .seconds(30))
        // In the end all of it, over some days.
        let list = try fate("newsletter, stranger")
        #expect(list.passed == list.sent && list.rejected == 0 && list.givenUp == 0)
        #expect(list.deferred > 1000)
        #expect(list.delay(99) > .hours(12) && list.delay(99) < .days(5))
        // Hosts that are honest pass, if a little later, on the day that their neighbours spray.
        let honest = try fate("honest in that /24")
        #expect(honest.passed == honest.sent && honest.rejected == 0)
        #expect(honest.delay(99) < .hours(4))
        let botnet = try fate("botnet in a /24")
        #expect(botnet.passed * 3 < botnet.sent)
        let bot = try fate("one spraying host")
        #expect(bot.passed <= 300)
        #expect(bot.refusals * 3 > bot.sent)
        #expect(try fate("customers").passed == fate("customers").sent)
        let cracked = try fate("cracked account")
        #expect(cracked.passed <= 220)
        #expect(cracked.deferred == 0 && cracked.refusals == 0)
        #expect(cracked.passed + cracked.rejected == cracked.sent)
        #expect(Array(site.suspended.keys) == ["customer17"])
    }

    /// Whatever the limits, whoever comes again as RFC 5321 §4.5.4.1 has it gets a first message through.
    @Test func `Nobody who comes again is refused for ever`() {
        var random = Seeded(seed: 4)
        for round in 0..<150 {
            let site = Site { settings in
                var throttle = ThrottleSettings()
                throttle.mode = .on
                throttle.limits = [Limit.Unit.attempts, .messages, .recipients].flatMap { unit -> [Limit] in
                    let windows: [WallTime.Span] = [.minutes(1), .hours(1), .days(1)]
                    return windows.filter { _ in random.chance(60) }.map {
                        Limit(.address, unit, UInt64(random.below(40) + 1), per: $0)
                    } + (random.chance(50) ? [Limit(.block, unit, UInt64(random.below(20) + 1), per: .hours(1))] : [])
                }
                if random.chance(50) {
                    throttle.limits.append(Limit(.recipientDomain, .recipients, UInt64(random.below(200) + 50), per: .hours(1)))
                }
                throttle.deferAt = [1, 1.5, 2][random.below(3)]
                throttle.refuseAt = throttle.deferAt + Double(random.below(3))
                throttle.refuseFor = [.minutes(1), .minutes(15), .hours(6)][random.below(3)]
                throttle.neighbourFloor = [0.01, 0.1, 1][random.below(3)]
                settings.throttle = throttle
            }
            // One honest server with up to twelve mails at once, among loud neighbours who never come again.
            let honest = (0..<1 + random.below(12)).map {
                Mail(
                    group: "honest", address: IPAddress(v4: 0xc000_0201), recipient: "user\($0)@example.net",
                    created: monday + .hours(5) + .milliseconds(Int64(random.below(600_000))), retries: true)
            }
            let loud = (0..<400).map { _ in
                Mail(
                    group: "loud", address: IPAddress(v4: 0xc000_0202 + UInt32(random.below(200))),
                    recipient: "user\(random.below(9))@example.net",
                    created: monday + .milliseconds(Int64(random.below(12 * 3_600_000))), retries: false)
            }
            let fates = run(site, honest + loud)
            guard let fate = fates["honest"] else { continue }
            #expect(fate.rejected == 0, "round \(round)")
            #expect(fate.passed > 0, "round \(round): \(fate), limits \(site.settings.limits)")
            if fate.givenUp > 0, !site.settings.limits.contains(where: { $0.window >= .hours(1) && $0.amount < 12 }) {
                Issue.record("round \(round): \(fate.givenUp) of \(fate.sent) given up, limits \(site.settings.limits)")
            }
        }
    }
}

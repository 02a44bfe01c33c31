import EngineTestSupport
import PosternCore
import Testing

@testable import PosternEngine

/// Greylisting, look-ups, profiles and limits together, in virtual time.
struct CombinationTests {
    /// What a round is made of.
    private struct Round {
        var site: Site
        var counts: LimitCounts
        var summary: String
    }

    private static let noon = WallTime(seconds: 1_800_000_000)

    private func round(_ random: inout Seeded) -> Round {
        var throttle = ThrottleSettings()
        throttle.mode = .on
        throttle.limits = [Limit.Unit.attempts, .messages, .recipients].flatMap { unit -> [Limit] in
            let windows: [WallTime.Span] = [.minutes(1), .hours(1), .days(1)]
            var limits: [Limit] = []
            for window in windows where random.chance(60) {
                limits.append(Limit(.address, unit, UInt64(random.below(60) + 12), per: window))
            }
            if random.chance(50) { limits.append(Limit(.block, unit, UInt64(random.below(20) + 1), per: .hours(1))) }
            return limits
        }
        throttle.deferAt = [1, 1.5, 2][random.below(3)]
        throttle.refuseAt = throttle.deferAt + Double(random.below(3))
        throttle.refuseFor = [.minutes(1), .minutes(15), .hours(6)][random.below(3)]
        throttle.neighbourFloor = [0.1, 0.5, 1][random.below(3)]
        let profile: Profile = random.chance(50) ? .selective : .classic
        let looksUp = random.chance(70)
        let delay: WallTime.Span = [.seconds(1), .minutes(3), .hours(1)][random.below(3)]
        let window: WallTime.Span = [.hours(6), .hours(24)][random.below(2)]
        let mode: Mode = random.chance(80) ? .on : .off
        var site = Site { settings in
            settings.profile = profile
            settings.looksUp = looksUp
            settings.greylist.mode = mode
            settings.greylist.delay = delay
            settings.greylist.window = window
            settings.throttle = throttle
        }
        site.now = Self.noon
        // Of an honest server all is in order, as far as the DNS answers.
        if random.chance(70) {
            site.findings.spf = SPFFinding(.pass, domain: DomainName("example.org"), identifies: random.chance(70))
            site.findings.reverseName = random.chance(50) ? .unknown : .confirmed(DomainName("mail.example.org")!)
            site.findings.listsAnswered = random.below(2)
        }
        let counts = LimitCounts(throttle: throttle, accounts: AccountSettings(), seed: (3, 4))
        return Round(
            site: site, counts: counts,
            summary:
                "\(profile) greylist \(mode) \(delay) \(window), look-ups \(looksUp), limits \(throttle.limits) \(throttle.deferAt) \(throttle.refuseAt)"
        )
    }

    /// One message from connect to its end; false where it is to come again, `nil` where it is refused for good.
    private func send(_ round: inout Round, _ address: IPAddress, from sender: String, to recipient: String, at now: WallTime) -> Bool? {
        round.site.now = now
        let subject = LimitSubject(address: address)
        var attempt = Attempt(stage: .connect, client: Client(address: address, helo: "mail.example.org"), sender: ReversePath(sender))
        attempt.throttled = round.counts.refusal(of: subject, at: now)
        if attempt.throttled != nil, round.site.ask(attempt).action == .defer { return false }
        attempt.stage = .rcpt
        attempt.recipient = Mailbox(recipient)
        var request = LimitRequest()
        request.recipientDomain = attempt.recipient?.domainName?.text
        attempt.throttled = round.counts.assess(subject, request, at: now)
        let verdict = round.site.ask(attempt)
        if let throttled = attempt.throttled, throttled.grade == .refuse { round.counts.refuse(address, until: throttled.until, at: now) }
        _ = round.counts.attempted(subject, recipientDomain: request.recipientDomain, at: now)
        switch verdict.action {
        case .accept, .hold:
            _ = round.counts.accepted(subject, recipients: 1, size: 1000, at: now)
            return true
        case .defer: return false
        case .reject, .tarpit, .drop: return nil
        }
    }

    /// Whoever comes again as RFC 5321 §4.5.4.1 has it, after a while and for days, gets all of a day's mail of a person through.
    @Test func `No combination of checks refuses an honest server for ever`() {
        var random = Seeded(seed: 11)
        for number in 0..<120 {
            var round = self.round(&random)
            // Loud neighbours in its /24, who never come again.
            var loud: [(time: WallTime, host: UInt32)] = []
            for _ in 0..<200 {
                loud.append((Self.noon + .milliseconds(Int64(random.below(12 * 3_600_000))), UInt32(random.below(100)) + 10))
            }
            loud.sort { $0.time < $1.time }
            let start = Self.noon + .hours(5)
            var waiting: [(time: WallTime, mail: Int, tries: Int)] = (0..<1 + random.below(10)).map {
                (start + .milliseconds(Int64(random.below(600_000))), $0, 0)
            }
            let sent = waiting.count
            var (passed, next) = (0, 0)
            while let index = waiting.indices.min(by: { waiting[$0].time < waiting[$1].time }) {
                let (time, mail, tries) = waiting.remove(at: index)
                while next < loud.count, loud[next].time <= time {
                    let bot = loud[next]
                    next += 1
                    _ = send(
                        &round, IPAddress(v4: 0xc000_0200 + bot.host), from: "bot\(bot.host)@spam.example", to: "user1@example.net",
                        at: bot.time)
                }
                switch send(&round, IPAddress(v4: 0xc000_0201), from: "alice@example.org", to: "user\(mail)@example.net", at: time) {
                case true?: passed += 1
                case false? where time - start < .days(5):
                    waiting.append((time + (tries == 0 ? .minutes(15) : .minutes(30)), mail, tries + 1))
                case false?: Issue.record("round \(number): given up after five days: \(round.summary)")
                case nil: Issue.record("round \(number): refused for good: \(round.summary)")
                }
            }
            #expect(passed == sent, "round \(number): \(round.summary)")
        }
    }
}

import EngineTestSupport
import PosternCore
import PosternEngine
import Testing

@Suite("Greylisting")
struct GreylistTests {
    // MARK: Blackout

    @Test("a first attempt is deferred at RCPT, the clock starts there, and early retries neither reset nor lengthen it")
    func blackout() {
        var site = Site()
        let start = site.now
        let first = site.rcpt()
        #expect(first.action == .defer && first.word == "new" && first.passesAt == start + .minutes(3))
        for seconds in [1, 30, 30, 60, 58] as [Int64] {
            site.wait(.seconds(seconds))
            let early = site.rcpt()
            #expect(early.action == .defer && early.word == "early")
            #expect(early.passesAt == start + .minutes(3))
        }
        site.wait(.seconds(1))
        #expect(site.now == start + .minutes(3))
        #expect(site.rcpt().action == .accept)
    }

    @Test(
        "the delay ends at its last millisecond, not before and not after",
        arguments: [(-1000, "early"), (-1, "early"), (0, "passed"), (1, "passed"), (1000, "passed")] as [(Int64, String)])
    func exactDelay(offset: Int64, word: String) {
        var site = Site()
        _ = site.rcpt()
        site.wait(.minutes(3) + .milliseconds(offset))
        #expect(site.rcpt().word == word)
    }

    @Test(
        "the window closes at its last millisecond",
        arguments: [(-1, "passed"), (0, "new"), (1, "new")] as [(Int64, String)])
    func exactWindow(offset: Int64, word: String) {
        var site = Site()
        _ = site.rcpt()
        site.wait(.hours(24) + .milliseconds(offset))
        #expect(site.rcpt().word == word)
        if word == "new" {
            // It starts over: the whole delay, and a window of its own.
            site.wait(.minutes(3) - .milliseconds(1))
            #expect(site.rcpt().word == "early")
            site.wait(.milliseconds(1))
            #expect(site.rcpt().word == "passed")
        }
    }

    @Test("an early retry does not lengthen the window either")
    func windowFromFirst() {
        var site = Site()
        _ = site.rcpt()
        site.wait(.minutes(2))
        _ = site.rcpt()
        site.wait(.hours(24) - .minutes(2))
        #expect(site.rcpt().word == "new")
    }

    @Test("a sender that comes every minute of the day passes after the delay and for good")
    func impatient() {
        var site = Site()
        var words: [String] = []
        for _ in 0..<1440 {
            words.append(site.rcpt().word)
            site.wait(.minutes(1))
        }
        #expect(words.prefix(4) == ["new", "early", "early", "passed"])
        #expect(words.dropFirst(4).allSatisfy { $0 == "known" || $0 == "proven" })
    }

    // MARK: Lifetime

    @Test(
        "what has passed is known for a lifetime after it was last seen",
        arguments: [(35, "known"), (36, "new"), (37, "new")] as [(Int64, String)])
    func lifetime(days: Int64, word: String) {
        var site = Site()
        _ = site.rcpt()
        site.wait(.minutes(3))
        #expect(site.rcpt().word == "passed")
        site.wait(.days(days))
        #expect(site.rcpt().word == word)
    }

    @Test("each sighting renews the lifetime, but for a hundredth of it")
    func renewal() {
        var site = Site { $0.greylist.provenAfter = 0 }
        _ = site.rcpt()
        site.wait(.minutes(3))
        _ = site.rcpt()
        for _ in 0..<12 {
            site.wait(.days(30))
            #expect(site.rcpt().word == "known")
        }
        // Sightings every hour are not all written down; the lifetime is kept to a hundredth nevertheless.
        for _ in 0..<100 {
            site.wait(.hours(1))
            #expect(site.rcpt().word == "known")
        }
        site.wait(.milliseconds(WallTime.Span.days(36).milliseconds / 100 * 99 - 1))
        #expect(site.rcpt().word == "known")
        site.wait(.days(36))
        #expect(site.rcpt().word == "new")
    }

    @Test("a known triplet costs no write each time it is seen")
    func fewWrites() {
        var site = Site { $0.greylist.provenAfter = 0 }
        _ = site.rcpt()
        site.wait(.minutes(3))
        for _ in 0..<3 { _ = site.rcpt() }
        let before = site.rows.triplets
        for _ in 0..<100 {
            site.wait(.minutes(1))
            #expect(site.rcpt().word == "known")
        }
        #expect(site.rows.triplets == before)
    }

    @Test("expiry never throws away what still counts, whenever it runs")
    func expiry() {
        for (wait, word) in [(WallTime.Span.minutes(2), "early"), (.minutes(3), "passed"), (.hours(23), "passed"), (.hours(24), "new")] {
            var site = Site()
            _ = site.rcpt()
            site.wait(wait)
            site.rows.expire(now: site.now)
            #expect(site.rcpt().word == word)
        }
        var site = Site()
        _ = site.rcpt()
        site.wait(.minutes(3))
        _ = site.rcpt()
        site.wait(.days(35))
        site.rows.expire(now: site.now)
        #expect(site.rcpt().word == "known")
        site.wait(.days(36))
        site.rows.expire(now: site.now)
        #expect(site.rows.triplets.isEmpty && site.rows.identities.isEmpty)
    }

    // MARK: Identities

    @Test("a retry from the same /24 passes, from another network it does not")
    func sameNetwork() {
        var site = Site()
        _ = site.rcpt(address: "192.0.2.1")
        site.wait(.minutes(3))
        #expect(site.rcpt(address: "192.0.3.1").word == "new")
        #expect(site.rcpt(address: "192.0.2.254").word == "passed")
        _ = site.rcpt(from: "carol@example.org", address: "2001:db8:1:2::1")
        site.wait(.minutes(3))
        #expect(site.rcpt(from: "carol@example.org", address: "2001:db8:1:3::1").word == "new")
        #expect(site.rcpt(from: "carol@example.org", address: "2001:db8:1:2:ffff::1").word == "passed")
        // The widths are settings.
        site.engine.settings.greylist.widths = IdentityWidths(v4: 32, v6: 48)
        _ = site.rcpt(from: "dave@example.org", address: "192.0.2.1")
        _ = site.rcpt(from: "dave@example.org", address: "2001:db8:1:2::1")
        site.wait(.minutes(3))
        #expect(site.rcpt(from: "dave@example.org", address: "192.0.2.2").word == "new")
        #expect(site.rcpt(from: "dave@example.org", address: "2001:db8:1:3::1").word == "passed")
    }

    @Test("a pool of addresses is one sender by its confirmed name, IPv4 and IPv6 alike")
    func pool() {
        var site = Site()
        _ = site.rcpt(address: "192.0.2.1", name: "mx1.pool.example")
        site.wait(.minutes(3))
        #expect(site.rcpt(address: "198.51.100.9", name: "mx7.pool.example").word == "passed")
        #expect(site.rcpt(address: "2001:db8::1", name: "mx6.pool.example").word == "known")
        // A network of the pool needs no second wait, also when the name cannot be looked up.
        #expect(site.rcpt(address: "192.0.2.77").word == "passed")
        #expect(site.rcpt(address: "198.51.100.1").word == "known")
        #expect(site.rcpt(address: "203.0.113.1").word == "new")
    }

    @Test("a name look-up that fails for one of the attempts changes nothing")
    func nameTimesOut() {
        for (first, second) in [("mx1.pool.example", nil), (nil, "mx1.pool.example")] as [(String?, String?)] {
            var site = Site()
            _ = site.rcpt(name: first)
            site.wait(.minutes(3))
            #expect(site.rcpt(name: second).word == "passed")
        }
    }

    @Test("an early retry hands the clock on to the identities it brings, back to the first attempt of all")
    func clockHandedOn() {
        var site = Site()
        let start = site.now
        _ = site.rcpt(address: "192.0.2.1")
        site.wait(.minutes(1))
        #expect(site.rcpt(address: "192.0.2.1", name: "mx.pool.example").passesAt == start + .minutes(3))
        site.wait(.minutes(1))
        #expect(site.rcpt(address: "198.51.100.1", name: "mx.pool.example").passesAt == start + .minutes(3))
        site.wait(.minutes(1))
        #expect(site.rcpt(address: "198.51.100.2").word == "passed")
    }

    @Test("generic names are no identity: neighbours of one provider stay strangers")
    func genericStrangers() {
        var site = Site()
        _ = site.rcpt(address: "203.0.113.9", name: "dsl-203-0-113-9.example.com")
        site.wait(.minutes(3))
        #expect(site.rcpt(address: "198.51.100.9", name: "dsl-198-51-100-9.example.com").word == "new")
        #expect(site.rcpt(address: "203.0.113.9", name: "dsl-203-0-113-9.example.com").word == "passed")
    }

    @Test("sender and recipient are part of the key")
    func otherTriplets() {
        var site = Site()
        _ = site.rcpt()
        site.wait(.minutes(3))
        #expect(site.rcpt("carol@example.net").word == "new")
        #expect(site.rcpt(from: "mallory@example.org").word == "new")
        #expect(site.rcpt("BOB@Example.NET", from: "Alice@EXAMPLE.org").word == "passed")
    }

    @Test("marks that software puts into the sender make no new keys")
    func normalisedSender() {
        var site = Site()
        _ = site.rcpt(from: "prvs=0164d8a3e1=alice@example.org")
        site.wait(.minutes(3))
        #expect(site.rcpt(from: "prvs=0175ffe210=alice@example.org").word == "passed")
        _ = site.rcpt(from: "l-return-17-bob=example.net@lists.example")
        site.wait(.minutes(3))
        #expect(site.rcpt(from: "l-return-18-bob=example.net@lists.example").word == "passed")
        #expect(site.rcpt(from: "SRS0=Hash=T1=example.org=alice@fwd.example").word == "new")
        site.wait(.minutes(3))
        #expect(site.rcpt(from: "SRS0=hsah=T2=example.org=alice@fwd.example").word == "passed")
    }

    // MARK: Damaged time

    @Test("rows from the future count as of now, and trap nobody")
    func future() {
        var site = Site()
        site.wait(.days(4000))
        _ = site.rcpt()
        site.wait(.minutes(3))
        _ = site.rcpt(from: "known@example.org")
        _ = site.rcpt()
        site.now = site.now - .days(4000)
        #expect(site.rcpt().word == "known")
        #expect(site.rcpt(from: "known@example.org").word == "early")
        site.wait(.minutes(3))
        #expect(site.rcpt(from: "known@example.org").word == "passed")
    }

    @Test("rows with times at the ends of the range are answered, not tripped over")
    func extremeRows() {
        for time in [Int64.min, .min + 1, -1, 0, .max - 1, .max] {
            for passed in [nil, WallTime(milliseconds: time)] {
                var site = Site()
                _ = site.rcpt()
                for key in site.rows.triplets.keys {
                    site.rows.triplets[key] = TripletRow(
                        firstSeen: WallTime(milliseconds: time), lastSeen: WallTime(milliseconds: time), passedAt: passed, deferrals: .max,
                        passes: .max, expires: WallTime(milliseconds: time))
                }
                for key in [Identity.network(Prefix(IPAddress(v4: 0xc000_0200), length: 24))] {
                    site.rows.identities[key] = IdentityRow(
                        passes: 1, lastSeen: WallTime(milliseconds: time), expires: WallTime(milliseconds: time))
                }
                _ = site.rcpt()
                site.wait(.minutes(3))
                #expect(site.rcpt().action == .accept)
            }
        }
    }

    @Test("counters stop at their end")
    func counters() {
        var site = Site()
        _ = site.rcpt()
        for key in site.rows.triplets.keys { site.rows.triplets[key]?.deferrals = .max }
        _ = site.rcpt()
        #expect(site.rows.triplets.values.allSatisfy { $0.deferrals == .max })
    }

    // MARK: Modes

    @Test("shadow counts and says what it would have done, and never acts")
    func shadow() {
        var site = Site { $0.greylist.mode = .shadow }
        let first = site.rcpt()
        #expect(first.action == .accept && first.word == "shadow-defer" && first.causes.map(\.word) == ["shadow-defer", "new"])
        #expect(first.passesAt == nil && first.header == nil)
        site.wait(.minutes(3))
        let second = site.rcpt()
        #expect(second.action == .accept && second.word == "passed" && second.header == nil)
        // What shadow has seen counts when it is switched on, and was not delayed by it.
        _ = site.rcpt(from: "carol@example.org")
        site.wait(.minutes(2))
        _ = site.rcpt(from: "dave@example.org")
        #expect(site.rows.triplets.values.allSatisfy { $0.deferrals == 0 })
        site.engine.settings.greylist.mode = .on
        site.wait(.minutes(1))
        #expect(site.rcpt().word == "known")
        let watched = site.rcpt(from: "carol@example.org")
        #expect(watched.word == "known" && watched.header == nil)
        #expect(site.rcpt(from: "dave@example.org").word == "early")
        site.wait(.minutes(2))
        let delayed = site.rcpt(from: "dave@example.org")
        #expect(delayed.word == "passed" && delayed.header != nil)
    }

    @Test("off asks for no evidence and remembers nothing")
    func off() {
        var site = Site { $0.greylist.mode = .off }
        #expect(site.rcpt().word == "greylist-off")
        #expect(site.rows.triplets.isEmpty)
        site.engine.settings.greylist.mode = .on
        site.wait(.minutes(3))
        #expect(site.rcpt().word == "new")
    }

    @Test("when the store fails the mail passes")
    func failOpen() {
        let site = Site()
        let attempt = Attempt(
            stage: .rcpt, client: Client(address: IPAddress("192.0.2.1")), sender: ReversePath("a@b.example"),
            recipient: Mailbox("c@d.example"))
        guard case .needs(let inquiry) = site.engine.begin(attempt, now: site.now) else {
            Issue.record("an unknown sender needs evidence")
            return
        }
        let decision = site.engine.failOpen(inquiry)
        #expect(decision.verdict.action == .accept && decision.verdict.word == "store-unavailable" && decision.changes.isEmpty)
    }

    @Test("a delay of nothing still asks for one retry")
    func noDelay() {
        var site = Site { $0.greylist.delay = .zero }
        let first = site.rcpt()
        #expect(first.action == .defer && first.passesAt == site.now)
        #expect(site.rcpt().word == "passed")
    }
}

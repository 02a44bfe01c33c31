import EngineTestSupport
import PosternCore
import PosternEngine
import Testing

@Suite("Messages: headers, null senders, proven identities")
struct MessageTests {
    // MARK: The header

    @Test("tells the true delay, once a message, only when it passes for the first time, and names no recipient")
    func header() {
        var site = Site()
        _ = site.rcpt("one@example.net", instance: "a")
        #expect(site.rcpt("two@example.net", instance: "a").header == nil)
        site.wait(.milliseconds(200_001))
        let first = site.rcpt("one@example.net", instance: "b")
        #expect(first.header == "X-Greylist: delayed 201 seconds by postern at mx.example.net")
        #expect(site.rcpt("two@example.net", instance: "b").word == "passed")
        #expect(site.rcpt("two@example.net", instance: "b").header == nil)
        #expect(site.rcpt("one@example.net", instance: "c").header == nil)
    }

    @Test("is given on the first recipient that passes, whatever came before it in the message")
    func headerAfterDeferral() {
        var site = Site()
        _ = site.rcpt("one@example.net", instance: "a")
        site.wait(.minutes(3))
        #expect(site.rcpt("new@example.net", instance: "b").header == nil)
        #expect(site.rcpt("one@example.net", instance: "b").header != nil)
    }

    @Test("can be switched off")
    func headerOff() {
        var site = Site { $0.greylist.header = false }
        _ = site.rcpt(instance: "a")
        site.wait(.minutes(3))
        let verdict = site.rcpt(instance: "b")
        #expect(verdict.word == "passed" && verdict.header == nil)
    }

    // MARK: Several recipients

    @Test("each recipient has a key of its own, and one that passes passes no other")
    func severalRecipients() {
        var site = Site()
        #expect(site.rcpt("one@example.net", instance: "a").word == "new")
        site.wait(.minutes(3))
        #expect(site.rcpt("one@example.net", instance: "b").word == "passed")
        #expect(site.rcpt("two@example.net", instance: "b").word == "new")
        #expect(site.rcpt("postmaster@example.net", instance: "b").word == "always-reachable")
        #expect(site.rcpt("three@example.net", instance: "b").word == "new")
    }

    // MARK: The null sender

    @Test("callouts never meet a deferral: the null sender is judged at DATA")
    func callout() {
        var site = Site()
        let rcpt = site.rcpt(from: "", instance: "a")
        #expect(rcpt.action == .accept && rcpt.word == "null-sender")
        #expect(site.rows.triplets.isEmpty)
        #expect(site.data("bob@example.net", instance: "a").word == "new")
        site.wait(.minutes(3))
        _ = site.rcpt(from: "", instance: "b")
        let data = site.data("bob@example.net", instance: "b")
        #expect(data.word == "passed" && data.header == "X-Greylist: delayed 180 seconds by postern at mx.example.net")
    }

    @Test("at DATA one recipient who must wait makes all wait")
    func allOrNothing() {
        var site = Site()
        func bounce(_ recipients: [String], _ instance: String) -> Verdict {
            for recipient in recipients { #expect(site.rcpt(recipient, from: "", instance: instance).action == .accept) }
            return site.data(recipients.count == 1 ? recipients[0] : nil, count: recipients.count, instance: instance)
        }
        let start = site.now
        #expect(bounce(["one@example.net"], "a").word == "new")
        site.wait(.minutes(2))
        let second = bounce(["one@example.net", "two@example.net"], "b")
        #expect(second.action == .defer && second.passesAt == start + .minutes(5))
        site.wait(.minutes(1))
        // The first has waited long enough by now, the second has not.
        let third = bounce(["two@example.net", "one@example.net"], "c")
        #expect(third.action == .defer && third.word == "early" && third.passesAt == start + .minutes(5))
        site.wait(.minutes(2))
        let last = bounce(["one@example.net", "two@example.net"], "d")
        #expect(last.action == .accept && last.header == "X-Greylist: delayed 300 seconds by postern at mx.example.net")
        #expect(bounce(["one@example.net"], "e").word == "known")
        #expect(bounce(["two@example.net"], "f").word == "known")
    }

    @Test("recipients who are exempt make no message wait, and let none through for others")
    func exemptAtData() {
        var site = Site { $0.greylist.optOut = [.mailbox("free@example.net"), .mailbox("free2@example.net")] }
        for recipients in [["postmaster@example.net", "abuse@example.net"], ["free@example.net", "free2@example.net"]] {
            for recipient in recipients { _ = site.rcpt(recipient, from: "", instance: recipients[0]) }
            let data = site.data(count: 2, instance: recipients[0])
            #expect(data.action == .accept)
        }
        #expect(site.rows.triplets.isEmpty)
        for recipient in ["free@example.net", "bob@example.net", "postmaster@example.net"] {
            _ = site.rcpt(recipient, from: "", instance: "m")
        }
        #expect(site.data(count: 3, instance: "m").word == "new")
        #expect(Set(site.rows.triplets.keys.map(\.recipient)) == ["bob@example.net"])
    }

    @Test("a single exempt recipient is exempt at DATA too, and a release that ends in between is kept")
    func exemptAlone() {
        var site = Site()
        _ = site.rcpt("Abuse@example.net", from: "", instance: "a")
        #expect(site.data("Abuse@example.net", instance: "a").word == "always-reachable")
        // Also where RCPT was not asked about.
        #expect(site.data("postmaster@example.net").word == "always-reachable")
        site.engine.lists.insert(Release(recipient: "bob@example.net", expires: site.now + .seconds(10)))
        #expect(site.rcpt(from: "", instance: "b").word == "released")
        site.wait(.seconds(10))
        #expect(site.data("bob@example.net", instance: "b").word == "released")
    }

    @Test("where the memory of a message is lost, one recipient is known by the request, several stand as one")
    func lostMemory() {
        var site = Site()
        _ = site.rcpt(from: "", instance: "a")
        site.messages = [:]
        #expect(site.data("bob@example.net", instance: "a").word == "new")
        site.wait(.minutes(3))
        _ = site.rcpt(from: "", instance: "b")
        #expect(site.data("bob@example.net", instance: "b").word == "passed")

        #expect(site.data(count: 2, instance: "c").word == "new")
        #expect(site.data(count: 2, instance: "d").word == "early")
        site.wait(.minutes(3))
        #expect(site.data(count: 2, instance: "e").word == "passed")
    }

    @Test("a message remembers a bounded number of recipients, each once")
    func bounded() throws {
        var site = Site()
        for _ in 0..<3 { _ = site.rcpt(from: "", instance: "a") }
        #expect(site.messages["a"]?.awaitingData.count == 1)
        for number in 0..<1000 { _ = site.rcpt("user\(number)@example.net", from: "", instance: "b") }
        #expect(site.messages["b"]?.awaitingData.count == MessageMemory.maximumRecipients)
        #expect(site.data(count: 1000, instance: "b").word == "new")
        #expect(site.rows.triplets.count == MessageMemory.maximumRecipients)
    }

    @Test("other senders are judged at RCPT alone")
    func dataOfOthers() {
        var site = Site()
        #expect(site.data("bob@example.net", from: "alice@example.org").word == "stage")
    }

    // MARK: Proven identities

    /// One delayed message, then `more` that pass.
    private func prove(_ site: inout Site, more: Int, address: String = "192.0.2.1", name: String? = nil) {
        _ = site.rcpt(address: address, name: name, instance: "first")
        site.wait(.minutes(3))
        for number in 0...more { _ = site.rcpt(address: address, name: name, instance: "\(number)") }
    }

    @Test("an identity is proven after five messages that passed, and not after four")
    func proven() {
        var four = Site()
        prove(&four, more: 3)
        #expect(four.rcpt("other@example.net").word == "new")
        var five = Site()
        prove(&five, more: 4)
        #expect(five.rcpt("other@example.net").word == "proven")
        // For the whole identity, whoever the sender is; not for another.
        #expect(five.rcpt(from: "stranger@example.com", address: "192.0.2.200").word == "proven")
        #expect(five.rcpt(address: "192.0.3.1").word == "new")
    }

    @Test("recipients of one message count once, deferrals never")
    func countedOnce() {
        var site = Site()
        for number in 0..<20 { _ = site.rcpt("user\(number)@example.net", instance: "a") }
        site.wait(.minutes(3))
        for number in 0..<20 { #expect(site.rcpt("user\(number)@example.net", instance: "b").word == "passed") }
        #expect(site.rcpt("other@example.net", instance: "b").word == "new")
        for number in 0..<20 { _ = site.rcpt("new\(number)@example.net", instance: "\(number)") }
        #expect(site.rows.identities.values.map(\.passes) == [1])
    }

    @Test("every identity of a message is counted: a pool by its name, from whichever network")
    func provenByName() {
        var site = Site()
        prove(&site, more: 4, name: "mx1.pool.example")
        #expect(site.rcpt("other@example.net", address: "203.0.113.1", name: "mx9.pool.example").word == "proven")
        #expect(site.rcpt("other@example.net", address: "203.0.113.1").word == "new")
        #expect(site.rcpt("other@example.net", address: "192.0.2.9").word == "proven")
    }

    @Test("lines of consumers are never proven, and prove nothing for their neighbours")
    func consumers() {
        var site = Site()
        prove(&site, more: 20, address: "192.0.2.7", name: "dsl-192-0-2-7.example.com")
        #expect(site.rcpt("other@example.net", address: "192.0.2.7", name: "dsl-192-0-2-7.example.com").word == "new")
        #expect(site.rcpt("other2@example.net", address: "192.0.2.9").word == "new")
        // Nor does a proven network count for the line in it.
        var other = Site()
        prove(&other, more: 4, address: "192.0.2.1", name: "mx.example.org")
        #expect(other.rcpt("other@example.net", address: "192.0.2.7", name: "dsl-192-0-2-7.example.com").word == "new")
        #expect(other.rcpt("third@example.net", address: "192.0.2.7").word == "proven")
    }

    @Test("what is proven is proven for a lifetime after it was last seen")
    func provenLifetime() {
        var site = Site()
        prove(&site, more: 4)
        for _ in 0..<5 {
            site.wait(.days(35))
            #expect(site.rcpt("other@example.net", instance: "x\(site.now)").word == "proven")
        }
        site.wait(.days(36))
        #expect(site.rcpt("third@example.net").word == "new")
    }

    @Test("whichever identity lets a message pass, it counts for all, so that a failing name look-up changes nothing")
    func provenByAll() {
        var site = Site()
        prove(&site, more: 4, name: "mx.pool.example")
        for month in 0..<4 {
            site.wait(.days(30))
            #expect(site.rcpt("other@example.net", name: "mx.pool.example", instance: "month \(month)").word == "proven")
        }
        #expect(site.rcpt("third@example.net").word == "proven")
        // A network that is new to the pool is proven in its turn.
        for number in 1...5 {
            #expect(site.rcpt("any@example.net", address: "203.0.113.1").word == "new")
            site.rows.triplets = [:]
            _ = site.rcpt("any@example.net", address: "203.0.113.1", name: "mx2.pool.example", instance: "new network \(number)")
        }
        #expect(site.rcpt("any@example.net", address: "203.0.113.1").word == "proven")
    }

    @Test("a proven identity costs no write each time it is seen")
    func provenWrites() {
        var site = Site()
        prove(&site, more: 4)
        let before = site.rows.identities
        for number in 0..<50 {
            site.wait(.minutes(1))
            #expect(site.rcpt(instance: "later \(number)").word == "proven")
        }
        #expect(site.rows.identities == before)
    }

    @Test("counting starts over where a lifetime went by without a message")
    func countingStartsOver() {
        var site = Site()
        prove(&site, more: 3)
        site.wait(.days(36))
        site.messages = [:]
        prove(&site, more: 0)
        #expect(site.rcpt("other@example.net").word == "new")
        #expect(site.rows.identities.values.map(\.passes) == [1])
    }

    @Test("never, where it is set to never", arguments: [Mode.off, .on])
    func neverProven(harvest: Mode) {
        var site = Site { ($0.greylist.provenAfter, $0.harvest.mode) = (0, harvest) }
        prove(&site, more: 20)
        #expect(site.rcpt("other@example.net").word == "new")
        #expect(site.rows.identities.isEmpty == (harvest == .off), "counted for traps alone")
    }
}

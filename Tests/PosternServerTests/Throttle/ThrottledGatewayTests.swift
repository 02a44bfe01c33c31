import Foundation
import NIOConcurrencyHelpers
import PosternConfiguration
import PosternCore
import PosternEngine
import PosternStorage
import Testing

@testable import PosternServer

/// A gateway with limits, asked by scripted clients from addresses of their own.
@Suite(.timeLimit(.minutes(10)))
struct ThrottledGatewayTests {
    private func throttle(_ limits: [Limit], hold: WallTime.Span = .milliseconds(200)) -> ThrottleSettings {
        var throttle = ThrottleSettings()
        throttle.mode = .on
        throttle.limits = limits
        throttle.hold = hold
        return throttle
    }

    /// Sends one message, and says what became of it: the reply to RCPT where that is not 250, else the last one.
    private func send(_ gateway: TestGateway, from source: String, to recipients: [String] = ["user@example.org"]) async throws -> String? {
        let client = try await gateway.client(source: source)
        defer { client.channel.close(promise: nil) }
        guard let greeting = try await client.reply(), greeting.hasPrefix("220") else { return try await client.reply() ?? "421" }
        _ = try await client.ask("EHLO client.example")
        _ = try await client.ask("MAIL FROM:<sender@example.com>")
        for recipient in recipients {
            guard let reply = try await client.ask("RCPT TO:<\(recipient)>") else { return nil }
            guard reply.hasPrefix("250") else { return reply }
        }
        _ = try await client.ask("DATA")
        return try await client.ask("Subject: x\r\n\r\nx\r\n.")
    }

    @Test func `Below its limit a stranger passes, above it waits, then it is deferred with advice`() async throws {
        let backend = try ScriptedBackend()
        let gateway = try await TestGateway(
            [backend.address],
            engine: { settings in
                settings.throttle = throttle([Limit(.address, .messages, 2, per: .hours(1))])
                settings.throttle.advice = "see https://example.org/trust"
            })
        let clock = ContinuousClock()
        for count in 1...4 {
            let start = clock.now
            #expect(try await send(gateway, from: "127.0.1.1") == "250 2.0.0 Ok: queued as 4711")
            let took = clock.now - start
            if count == 3 { #expect(took > .milliseconds(95)) }
            if count == 4 { #expect(took > .milliseconds(190)) }
        }
        let deferred = try #require(try await send(gateway, from: "127.0.1.1"))
        #expect(deferred.hasPrefix("451 4.7.1 More mail than a person sends: please come back in "))
        #expect(deferred.contains("see https://example.org/trust"))
        #expect(backend.record.messages.count == 4)
        #expect(try await send(gateway, from: "127.0.2.1") == "250 2.0.0 Ok: queued as 4711")
        let report = try #require(gateway.decisions.limits).report(now: gateway.decisions.steadyTime)
        #expect(report.numbers == LimitService.Numbers(held: 2, deferred: 1))
        #expect(report.heldNow == 0)
        await gateway.stop()
    }

    @Test(arguments: [Mode.on, .shadow])
    func `No size that a client claims is too large`(_ mode: Mode) async throws {
        let backend = try ScriptedBackend()
        let gateway = try await TestGateway([backend.address], engine: { $0.throttle.mode = mode })
        for size in ["18446744073709551615", "9223372036854775807", "99999999999999999999"] {
            let client = try await gateway.greeted(source: "127.0.1.1")
            _ = try await client.ask("MAIL FROM:<sender@example.com> SIZE=\(size)")
            _ = try await client.ask("RCPT TO:<user@example.org>")
            #expect(try #require(try await client.ask("NOOP")).hasPrefix("250"))
            await client.close()
        }
        await gateway.stop()
    }

    @Test func `A message that was held and one that the backend put off are charged once and not at all`() async throws {
        let backend = try ScriptedBackend()
        let gateway = try await TestGateway(
            [backend.address], engine: { $0.throttle = throttle([Limit(.address, .messages, 3, per: .hours(1))]) })
        backend.change { $0.final = "451 4.3.0 later" }
        for _ in 0..<5 { #expect(try await send(gateway, from: "127.0.1.1") == "451 4.3.0 later") }
        backend.change { $0.final = "250 2.0.0 Ok" }
        for _ in 0..<3 { #expect(try await send(gateway, from: "127.0.1.1") == "250 2.0.0 Ok") }
        let report = try #require(gateway.decisions.limits).report(now: gateway.decisions.steadyTime)
        #expect(report.numbers.held == 0)
        await gateway.stop()
    }

    @Test func `Whoever hammers is refused at connect for a while, and then comes in again`() async throws {
        let backend = try ScriptedBackend()
        let gateway = try await TestGateway(
            [backend.address],
            engine: { settings in
                settings.throttle = throttle([Limit(.address, .attempts, 2, per: .hours(1))], hold: .milliseconds(1))
                settings.throttle.refuseFor = .seconds(3)
            })
        let client = try await gateway.greeted(source: "127.0.1.1")
        for _ in 0..<8 {
            _ = try await client.ask("MAIL FROM:<sender@example.com>")
            #expect(try #require(try await client.ask("RCPT TO:<user@example.org>")).hasPrefix("250"))
            _ = try await client.ask("RSET")
        }
        _ = try await client.ask("MAIL FROM:<sender@example.com>")
        #expect(try #require(try await client.ask("RCPT TO:<user@example.org>")).hasPrefix("451"))
        let refused = try await gateway.client(source: "127.0.1.1")
        #expect(try #require(try await refused.reply()).hasPrefix("421 4.7.0 "))
        try await refused.waitUntilClosed()
        _ = try await gateway.greeted(source: "127.0.1.2").ask("QUIT")
        try await Task.sleep(for: .milliseconds(3100))
        let again = try await gateway.client(source: "127.0.1.1")
        #expect(try #require(try await again.reply()).hasPrefix("220"))
        await gateway.stop()
    }

    /// From addresses of which look-ups find out the same.
    private func hammer(_ findings: Findings, allowlists: Bool = false, lists: Lists = Lists()) async throws -> (
        replies: [String], rows: Int
    ) {
        let backend = try ScriptedBackend()
        let gateway = try await TestGateway(
            [backend.address], lists: lists, evidence: FixedEvidence(findings: findings),
            engine: { settings in
                settings.throttle = throttle([Limit(.address, .attempts, 2, per: .hours(1))], hold: .milliseconds(1))
                settings.looksUp = true
                settings.hasAllowlists = allowlists
                settings.profile = .classic
                settings.greylist.mode = .on
                settings.greylist.delay = .milliseconds(1)
                settings.greylist.provenAfter = 1
                settings.trusted.domains = lists.count == 0 && !allowlists ? [DomainName("example.com")!] : []
            })
        var replies: [String] = []
        for number in 0..<12 {
            let client = try await gateway.client(source: "127.0.1.1")
            let greeting = try #require(try await client.reply())
            if greeting.hasPrefix("220") {
                _ = try await client.ask("EHLO mail.example.com")
                _ = try await client.ask("MAIL FROM:<sender@example.com>")
                replies.append(String(try #require(try await client.ask("RCPT TO:<user\(number)@example.org>")).prefix(3)))
            } else {
                replies.append(String(greeting.prefix(3)))
            }
            await client.close()
        }
        let rows = try #require(gateway.decisions.limits).report(now: gateway.decisions.steadyTime).rows
        await gateway.stop()
        return (replies, rows)
    }

    @Test func `Whoever is trusted is charged nothing and never refused, who only says so is`() async throws {
        var findings = Findings()
        findings.spf = SPFFinding(.pass, domain: DomainName("example.com"), identifies: true)
        var (replies, rows) = try await hammer(findings)
        #expect(replies == Array(repeating: "250", count: 12) && rows == 0)
        let allowed = ListEntry(.allow, .sender, Pattern("example.com")!, added: WallTime(seconds: 0))
        (replies, rows) = try await hammer(findings, lists: Lists(entries: [allowed]))
        #expect(replies == Array(repeating: "250", count: 12) && rows == 0)
        // By a list of good senders.
        var listed = Findings()
        listed.listings = [Listing(list: "good", score: -5, reply: "127.0.0.2")]
        listed.listsAnswered = 1
        (replies, rows) = try await hammer(listed, allowlists: true)
        #expect(replies == Array(repeating: "250", count: 12))
        // Its record names others: past four times the limit it is refused at connect.
        findings.spf = SPFFinding(.fail, domain: DomainName("example.com"))
        (replies, _) = try await hammer(findings)
        #expect(replies.prefix(8).allSatisfy { $0 != "421" } && replies.last == "421")
        // The record could not be had: that is told at RCPT, not at connect.
        findings.spf = SPFFinding(.temperror, domain: DomainName("example.com"))
        (replies, _) = try await hammer(findings)
        #expect(!replies.contains("421") && replies.last == "451")
    }

    @Test func `A client for whom a release waits is let in`() async throws {
        let backend = try ScriptedBackend()
        let release = Release(
            recipient: "user@example.org", client: Prefix("127.0.1.1"), expires: ServiceClock(after: nil).now().steady + .hours(1))
        let gateway = try await TestGateway(
            [backend.address], lists: Lists(entries: [], releases: [release]),
            engine: { settings in
                settings.throttle = throttle([Limit(.address, .attempts, 2, per: .hours(1))], hold: .milliseconds(1))
            })
        let limits = try #require(gateway.decisions.limits)
        limits.refuseForTests("127.0.1.1", now: gateway.decisions.steadyTime)
        limits.refuseForTests("127.0.1.2", now: gateway.decisions.steadyTime)
        let other = try await gateway.client(source: "127.0.1.2")
        #expect(try #require(try await other.reply()).hasPrefix("421"))
        #expect(try await send(gateway, from: "127.0.1.1") == "250 2.0.0 Ok: queued as 4711")
        #expect(try #require(try await send(gateway, from: "127.0.1.1", to: ["another@example.org"])).hasPrefix("451 4.7.1"))
        await gateway.stop()
    }

    @Test func `Recipients that the backend does not take are none of the message's`() async throws {
        let backend = try ScriptedBackend()
        backend.change { $0.replies = [("RCPT TO:<later", "450 4.2.1 later"), ("RCPT TO:<no", "550 5.1.1 nobody")] }
        let gateway = try await TestGateway(
            [backend.address], engine: { $0.throttle = throttle([Limit(.address, .recipients, 2, per: .hours(1))]) })
        let client = try await gateway.greeted(source: "127.0.1.1")
        _ = try await client.ask("MAIL FROM:<sender@example.com>")
        for number in 0..<6 { #expect(try #require(try await client.ask("RCPT TO:<later\(number)@example.org>")).hasPrefix("450")) }
        for number in 0..<6 { #expect(try #require(try await client.ask("RCPT TO:<no\(number)@example.org>")).hasPrefix("550")) }
        for name in ["a", "b"] { #expect(try #require(try await client.ask("RCPT TO:<\(name)@example.org>")).hasPrefix("250")) }
        let limits = try #require(gateway.decisions.limits)
        #expect(limits.report(now: gateway.decisions.steadyTime).numbers == LimitService.Numbers())
        await client.close()
        await gateway.stop()
    }

    @Test func `Unknown recipients are attempts: whoever guesses waits, and is refused at connect`() async throws {
        let backend = try ScriptedBackend()
        backend.change { $0.replies = [("RCPT TO:<no", "550 5.1.1 nobody")] }
        let gateway = try await TestGateway(
            [backend.address],
            engine: { settings in
                settings.throttle = throttle([Limit(.address, .attempts, 4, per: .hours(1))], hold: .milliseconds(300))
            }, configure: { $0.probe.isOn = true })
        let client = try await gateway.greeted(source: "127.0.1.1")
        _ = try await client.ask("MAIL FROM:<sender@example.com>")
        let clock = ContinuousClock()
        let start = clock.now
        // Some are new, some are known to be nobody by now.
        for number in 0..<17 { #expect(try await client.ask("RCPT TO:<no\(number % 5)@example.org>") == "550 5.1.1 nobody") }
        #expect(clock.now - start > .seconds(2))
        await client.close()
        let refused = try await gateway.client(source: "127.0.1.1")
        #expect(try #require(try await refused.reply()).hasPrefix("421 4.7.0 "))
        let limits = try #require(gateway.decisions.limits)
        let attempt = Attempt(stage: .rcpt, client: Client(address: IPAddress("127.0.1.1")))
        #expect(limits.standings(attempt, gateway.decisions.engine, now: gateway.decisions.steadyTime).map(\.used) == [17])
        #expect(limits.report(now: gateway.decisions.steadyTime).heldNow == 0)
        await gateway.stop()
    }

    @Test func `A message of which one recipient could not wait is charged for the others`() async throws {
        let backend = try ScriptedBackend()
        let gateway = try await TestGateway(
            [backend.address],
            engine: { settings in
                settings.throttle = throttle([Limit(.address, .messages, 2, per: .hours(1))], hold: .seconds(30))
                settings.throttle.deferAt = 50
                settings.throttle.refuseAt = 60
                settings.throttle.heldSessions = 1
            })
        let limits = try #require(gateway.decisions.limits)
        func charge(_ address: String, _ times: Int) {
            for _ in 0..<times {
                limits.accepted(LimitSubject(address: IPAddress(address)), recipients: 1, size: 1, now: gateway.decisions.steadyTime)
            }
        }
        // One waits for moments, the other for long.
        charge("127.0.1.1", 2)
        charge("127.0.1.2", 40)
        let client = try await gateway.greeted(source: "127.0.1.1")
        _ = try await client.ask("MAIL FROM:<sender@example.com>")
        #expect(try #require(try await client.ask("RCPT TO:<a@example.org>")).hasPrefix("250"))
        let other = try await gateway.greeted(source: "127.0.1.2")
        _ = try await other.ask("MAIL FROM:<sender@example.com>")
        other.send("RCPT TO:<user@example.org>\r\n")
        try await eventually("one waits") { limits.report(now: gateway.decisions.steadyTime).heldNow == 1 }
        #expect(try #require(try await client.ask("RCPT TO:<b@example.org>")).hasPrefix("451"))
        _ = try await client.ask("DATA")
        #expect(try await client.ask("Subject: x\r\n\r\nx\r\n.") == "250 2.0.0 Ok: queued as 4711")
        let attempt = Attempt(stage: .rcpt, client: Client(address: IPAddress("127.0.1.1")))
        try await eventually("charged") {
            limits.standings(attempt, gateway.decisions.engine, now: gateway.decisions.steadyTime).map(\.used) == [3]
        }
        await other.close()
        await client.close()
        await gateway.stop()
    }

    @Test func `Where as many wait as may, strangers are deferred at once, and never let in`() async throws {
        let backend = try ScriptedBackend()
        let gateway = try await TestGateway(
            [backend.address],
            engine: { settings in
                settings.throttle = throttle([Limit(.recipientDomain, .recipients, 1, per: .hours(1))], hold: .seconds(20))
                settings.throttle.deferAt = 1000
                settings.throttle.hold = .seconds(20)
                settings.throttle.heldSessions = 2
            })
        #expect(try await send(gateway, from: "127.0.1.1") == "250 2.0.0 Ok: queued as 4711")
        // Far past: each would wait for some time.
        let limits = try #require(gateway.decisions.limits)
        let mailbox = try #require(Mailbox("user@example.org"))
        limits.chargeForTests(mailbox, times: 500, now: gateway.decisions.steadyTime)
        var waiting: [SMTPTestClient] = []
        for host in 2...3 {
            let client = try await gateway.greeted(source: "127.0.1.\(host)")
            _ = try await client.ask("MAIL FROM:<sender@example.com>")
            client.send("RCPT TO:<user@example.org>\r\n")
            waiting.append(client)
        }
        try await eventually("two wait") { limits.report(now: gateway.decisions.steadyTime).heldNow == 2 }
        #expect(try #require(try await send(gateway, from: "127.0.1.4")).hasPrefix("451 4.7.1 "))
        #expect(waiting.allSatisfy { $0.pending.text.isEmpty })
        for client in waiting { await client.close() }
        try await eventually("they have left") { limits.report(now: gateway.decisions.steadyTime).heldNow == 0 }
        #expect(limits.report(now: gateway.decisions.steadyTime).numbers.holdsDenied == 1)
        await gateway.stop()
    }

    @Test func `Trusted, local and allowed clients are not counted`() async throws {
        let backend = try ScriptedBackend()
        let allowed = ListEntry(.allow, .client, Pattern("127.0.3.0/24")!, added: WallTime(seconds: 0))
        let gateway = try await TestGateway(
            [backend.address], lists: Lists(entries: [allowed]),
            engine: { settings in
                settings.throttle = throttle([Limit(.address, .messages, 1, per: .hours(1))])
                settings.trusted.addresses = PrefixSet([Prefix("127.0.1.0/24")!])
                settings.networks.forwarders = PrefixSet([Prefix("127.0.2.0/24")!])
            })
        for source in ["127.0.1.1", "127.0.2.1", "127.0.3.1"] {
            for _ in 0..<5 { #expect(try await send(gateway, from: source) == "250 2.0.0 Ok: queued as 4711") }
        }
        #expect(try #require(gateway.decisions.limits).report(now: gateway.decisions.steadyTime).rows == 0)
        await gateway.stop()
    }

    @Test func `Servers that are down keep no other domain's mail back`() async throws {
        let live = try ScriptedBackend()
        let (descriptor, dead) = try ListeningSocket.open(.tcp(IPAddress("127.0.0.1")!, port: 0))
        close(descriptor)
        let gateway = try await TestGateway([], engine: { $0.throttle.limits = [Limit(.address, .messages, 100, per: .hours(1))] }) {
            settings in
            settings.routes = [
                DomainName("live.example")!: [live.address], DomainName("dead.example")!: [dead],
            ]
            settings.throttles = true
        }
        let client = try await gateway.greeted(source: "127.0.1.1")
        _ = try await client.ask("MAIL FROM:<sender@example.com>")
        for recipient in ["a@dead.example", "b@dead.example"] {
            #expect(try #require(try await client.ask("RCPT TO:<\(recipient)>")).hasPrefix("451 4.4.1"))
        }
        #expect(try #require(try await client.ask("RCPT TO:<user@elsewhere.example>")).hasPrefix("550 5.7.1"))
        #expect(try #require(try await client.ask("RCPT TO:<c@live.example>")).hasPrefix("250"))
        #expect(try #require(try await client.ask("RCPT TO:<d@dead.example>")).hasPrefix("452 4.5.3"))
        _ = try await client.ask("DATA")
        #expect(try await client.ask("Subject: x\r\n\r\nx\r\n.") == "250 2.0.0 Ok: queued as 4711")
        // In the next transaction it is tried anew.
        _ = try await client.ask("MAIL FROM:<sender@example.com>")
        #expect(try #require(try await client.ask("RCPT TO:<a@dead.example>")).hasPrefix("451 4.4.1"))
        #expect(try #require(try await client.ask("DATA")).hasPrefix("554"))
        await gateway.stop()
    }

    @Test func `A throttle takes each message to the servers of its first recipient's domain`() async throws {
        let one = try ScriptedBackend()
        let two = try ScriptedBackend()
        let gateway = try await TestGateway([], engine: { $0.throttle.limits = [Limit(.address, .messages, 100, per: .hours(1))] }) {
            settings in
            settings.routes = [DomainName("one.example")!: [one.address], DomainName("two.example")!: [two.address]]
            settings.throttles = true
        }
        let client = try await gateway.greeted(source: "127.0.1.1")
        for (first, other, backend) in [("one", "two", one), ("two", "one", two), ("one", "two", one)] {
            let before = backend.record.messages.count
            _ = try await client.ask("MAIL FROM:<sender@example.com>")
            #expect(try #require(try await client.ask("RCPT TO:<user@elsewhere.example>")).hasPrefix("550 5.7.1"))
            #expect(try #require(try await client.ask("RCPT TO:<a@\(first).example>")).hasPrefix("250"))
            #expect(try #require(try await client.ask("RCPT TO:<b@\(other).example>")).hasPrefix("452 4.5.3"))
            #expect(try #require(try await client.ask("RCPT TO:<c@\(first.uppercased()).example>")).hasPrefix("250"))
            _ = try await client.ask("DATA")
            #expect(try await client.ask("Subject: x\r\n\r\nx\r\n.") == "250 2.0.0 Ok: queued as 4711")
            #expect(backend.record.messages.count == before + 1)
            #expect(backend.record.messages.last?.commands.count == 3)
        }
        // Counted, though the mode is off.
        let report = try #require(gateway.decisions.limits).standings(
            Attempt(stage: .rcpt, client: Client(address: IPAddress("127.0.1.1"))), gateway.decisions.engine,
            now: gateway.decisions.steadyTime)
        #expect(report.first?.used == 3)
        await gateway.stop()
    }

    @Test func `Counts survive the daemon`() async throws {
        let store = MemoryStore()
        let now = WallTime(seconds: 1_795_132_800)
        let settings = throttle([Limit(.address, .messages, 5, per: .hours(1))])
        var accounts = AccountSettings()
        accounts.mode = .on
        let subject = LimitSubject(address: IPAddress("192.0.2.7"))
        let seed = try await LimitService.seed(in: store, fresh: (5, 6))
        let first = LimitService(throttle: settings, accounts: accounts, seed: seed)
        for _ in 0..<4 { first.accepted(subject, recipients: 1, size: 10, now: now) }
        for _ in 0..<700 { first.accepted(LimitSubject(address: nil, account: "ann"), recipients: 1, size: 10, now: now) }
        try await store.insert(Suspension(account: "ann", since: now, reason: "x"))
        try await first.flush(to: store, now: now)

        #expect(try await LimitService.seed(in: store, fresh: (9, 9)) == seed)
        let second = LimitService(throttle: settings, accounts: accounts, seed: seed)
        try await second.restore(from: store, now: now + .seconds(5))
        var attempt = Attempt(stage: .rcpt, client: Client(address: IPAddress("192.0.2.7")))
        let engine = Engine(settings: EngineSettings(), domains: LastLabelDomains())
        #expect(second.standings(attempt, engine, now: now + .seconds(5)).first?.used == 4)
        attempt.account = "ann"
        let used = second.standings(attempt, engine, now: now + .seconds(5)).first { $0.limit.unit == .recipients }
        #expect(used?.used == 700)
        #expect(second.suspensionsInForce.map(\.account) == ["ann"])
        // Other limits: what is still counted goes on.
        var other = settings
        other.limits = [Limit(.address, .messages, 50, per: .hours(1)), Limit(.address, .recipients, 3, per: .days(1))]
        second.update(throttle: other, accounts: accounts, now: now + .seconds(6))
        attempt.account = nil
        #expect(second.standings(attempt, engine, now: now + .seconds(6)).map(\.used) == [4, 0])
    }

    @Test func `Whoever is past a limit is shown after a restart and a reload, the furthest first, and so many at most`() async throws {
        let store = MemoryStore()
        let now = WallTime(seconds: 1_795_132_800)
        var settings = throttle([Limit(.address, .messages, 5, per: .hours(1))])
        let first = LimitService(throttle: settings, accounts: AccountSettings(), seed: (5, 6))
        // More than are followed, and more than are shown.
        let many = LimitService.maximumNear * 2 + 900
        for number in 0..<many {
            let address = IPAddress("10.\(number >> 12).\(number >> 4 & 255).\(number & 15)")
            first.accepted(LimitSubject(address: address), recipients: 1, size: 0, now: now)
            for _ in 0..<(number == 7 ? 40 : 2) { first.accepted(LimitSubject(address: address), recipients: 1, size: 0, now: now) }
        }
        try await first.flush(to: store, now: now)
        let second = LimitService(throttle: settings, accounts: AccountSettings(), seed: (5, 6))
        try await second.restore(from: store, now: now + .seconds(5))
        for limits in [first, second] {
            let near = limits.nearLimits(now: now + .seconds(6))
            #expect(near.count == LimitService.maximumNear && near.first?.subject == "10.0.0.7" && near.first?.state == .deferred)
            #expect(Set(near.map(\.place)).count == near.count)
        }
        settings.deferAt = 20
        settings.advice = "other"
        second.update(throttle: settings, accounts: AccountSettings(), now: now + .seconds(7))
        #expect(second.nearLimits(now: now + .seconds(7)).first?.state == .held)
        settings.limits[0].amount = 10
        second.update(throttle: settings, accounts: AccountSettings(), now: now + .seconds(8))
        #expect(second.nearLimits(now: now + .seconds(8)).map(\.subject) == ["10.0.0.7"])
    }

    @Test func `Who is refused stays so over a restart, and the firewall is told at the start`() async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "postern-nft-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let file = folder.appending(path: "refused.nft").path
        let store = MemoryStore()
        let clock = ServiceClock(after: nil)
        let settings = throttle([Limit(.address, .attempts, 2, per: .hours(1))])
        var engineSettings = EngineSettings()
        engineSettings.throttle = settings
        let engine = Engine(settings: engineSettings, domains: LastLabelDomains())
        func hammer(_ limits: LimitService, _ address: String, _ engine: Engine) {
            for _ in 0..<12 {
                var attempt = Attempt(
                    stage: .rcpt, client: Client(address: IPAddress(address)), recipient: Mailbox("user@example.org"))
                var decision = Decision(verdict: Verdict(.accept, [.greylistOff]))
                attempt.throttled = limits.assess(attempt, decision.memory, engine, nil, now: clock.now().steady)
                limits.settle(attempt, decision.verdict, &decision.memory, engine, nil, country: nil, now: clock.now().steady)
            }
        }
        let first = LimitService(throttle: settings, accounts: AccountSettings(), seed: (5, 6))
        hammer(first, "192.0.2.7", engine)
        hammer(first, "2001:db8::7", engine)
        try await first.flush(to: store, now: clock.now().steady)

        let second = LimitService(throttle: settings, accounts: AccountSettings(), seed: (5, 6))
        try await second.restore(from: store, now: clock.now().steady)
        #expect(second.refusals(now: clock.now().steady).count == 2)
        // What people are shown is what is met: nobody is refused in shadow, and whoever is spared meets nothing.
        #expect(second.nearLimits(now: clock.now().steady).map(\.state) == [.refused, .refused])
        #expect(second.nearLimits(refuses: false, now: clock.now().steady).allSatisfy { $0.state == .held })
        #expect(
            second.nearLimits(now: clock.now().steady) { $0.contains(IPAddress("192.0.2.7")!) }.map(\.subject) == ["2001:db8::/64"])
        let connect = Attempt(stage: .connect, client: Client(address: IPAddress("192.0.2.7")))
        #expect(second.assess(connect, MessageMemory(), engine, nil, now: clock.now().steady)?.grade == .refuse)
        var firewall = Configuration.Firewall()
        firewall.nftablesFile = file
        let configured = NIOLockedValueBox(firewall)
        let (null, counters) = (LogWriter(descriptor: STDERR_FILENO, format: .logfmt), Counters())
        let decisions = DecisionService(
            engine: engine, store: store, clock: clock, log: DecisionLog(writer: null, isEnabled: false), counters: counters)
        let upkeep = LimitUpkeep(
            limits: second, store: store, clock: clock,
            settings: { (AccountSettings(), configured.withLockedValue { $0 }, "mx.example.org") },
            refusable: { decisions.refusable($0, isThrottle: false) }, revision: { decisions.revision }, logger: LogCapture().logger)
        let running = Task { await upkeep.run() }
        try await eventually("the file is written") {
            let text = (try? String(contentsOfFile: file, encoding: .utf8)) ?? ""
            return text.contains("192.0.2.7 timeout") && text.contains("2001:db8::/64 timeout")
        }
        // And where it is another's, that one has all of it.
        configured.withLockedValue { $0.nftablesFile = file + ".new" }
        try await eventually("the other file is written") {
            (try? String(contentsOfFile: file + ".new", encoding: .utf8))?.contains("192.0.2.7 timeout") == true
        }
        // Whoever is trusted meanwhile may connect at once, and everybody where nobody is refused any more.
        let trusted = try #require(Prefix("192.0.2.7"))
        decisions.update { $0.settings.networks.local = PrefixSet([trusted]) }
        try await eventually("the trusted one is out of the file") {
            let text = (try? String(contentsOfFile: file + ".new", encoding: .utf8)) ?? ""
            return !text.contains("192.0.2.7") && text.contains("2001:db8::/64 timeout")
        }
        // And whoever a release waits for, if only one address of a network.
        let released = try #require(Prefix("2001:db8::9"))
        decisions.update {
            $0.lists.insert(Release(recipient: "a@example.org", client: released, expires: clock.now().steady + .hours(1)))
        }
        try await eventually("the released one is out of the file") {
            (try? String(contentsOfFile: file + ".new", encoding: .utf8))?.contains("2001:db8::") == false
        }
        decisions.update { $0.lists = Lists() }
        try await eventually("it is in the file again") {
            (try? String(contentsOfFile: file + ".new", encoding: .utf8))?.contains("2001:db8::/64 timeout") == true
        }
        decisions.update { $0.settings.throttle.mode = .shadow }
        try await eventually("the file names nobody") {
            (try? String(contentsOfFile: file + ".new", encoding: .utf8))?.contains("timeout 9") == false
                && (try? String(contentsOfFile: file + ".new", encoding: .utf8))?.contains("2001:db8::") == false
        }
        running.cancel()
        await running.value

        // What is only counted and told shuts nobody out.
        engineSettings.throttle.mode = .shadow
        let shadow = LimitService(throttle: engineSettings.throttle, accounts: AccountSettings(), seed: (5, 6))
        hammer(shadow, "192.0.2.7", Engine(settings: engineSettings, domains: LastLabelDomains()))
        #expect(shadow.refusals(now: clock.now().steady).isEmpty && shadow.report(now: clock.now().steady).rows == 1)
    }

    @Test func `New recipients and those of a domain are charged once the backend has taken the message`() async throws {
        let backend = try ScriptedBackend()
        let gateway = try await TestGateway(
            [backend.address],
            engine: { settings in
                settings.throttle = throttle(
                    [Limit(.address, .newRecipients, 100, per: .hours(1)), Limit(.recipientDomain, .recipients, 100, per: .hours(1))])
            })
        let limits = try #require(gateway.decisions.limits)
        func used() -> [Double] {
            let attempt = Attempt(
                stage: .rcpt, client: Client(address: IPAddress("127.0.1.1")), recipient: Mailbox("user@example.org"))
            return limits.standings(attempt, gateway.decisions.engine, now: gateway.decisions.steadyTime).map(\.used)
        }
        backend.change { $0.replies = [("RCPT TO:<c@", "550 5.1.1 nobody")] }
        // Dropped before its content came.
        let client = try await gateway.greeted(source: "127.0.1.1")
        _ = try await client.ask("MAIL FROM:<sender@example.com>")
        for name in ["a", "b"] { #expect(try #require(try await client.ask("RCPT TO:<\(name)@example.org>")).hasPrefix("250")) }
        _ = try await client.ask("RSET")
        #expect(used() == [0, 0])
        // One of them is nobody.
        _ = try await client.ask("MAIL FROM:<sender@example.com>")
        for name in ["a", "b", "c", "a"] { _ = try await client.ask("RCPT TO:<\(name)@example.org>") }
        #expect(used() == [0, 0])
        _ = try await client.ask("DATA")
        #expect(try #require(try await client.ask("Subject: x\r\n\r\nx\r\n.")).hasPrefix("250"))
        try await eventually("charged") { used() == [2, 3] }
        // The next message's are its own.
        #expect(try await send(gateway, from: "127.0.1.1", to: ["b@example.org", "d@example.org"]) == "250 2.0.0 Ok: queued as 4711")
        try await eventually("charged") { used() == [3, 5] }
        await client.close()
        await gateway.stop()
    }
}

extension LimitService {
    /// As if it had hammered.
    func refuseForTests(_ address: String, now: WallTime) {
        var attempt = Attempt(stage: .rcpt, client: Client(address: IPAddress(address)), recipient: Mailbox("user@example.org"))
        attempt.throttles = true
        let limit = Limit(.address, .attempts, 2, per: .hours(1))
        attempt.throttled = Throttled(.refuse, limit, count: 9, allowance: 2, until: now + .minutes(15))
        var memory = MessageMemory()
        let engine = Engine(settings: EngineSettings(), domains: LastLabelDomains())
        settle(attempt, Verdict(.defer, [.greylistOff]), &memory, engine, nil, country: nil, now: now)
    }

    /// As if so many had written to a mailbox.
    func chargeForTests(_ mailbox: Mailbox, times: Int, now: WallTime) {
        let engine = Engine(
            settings: {
                var s = EngineSettings(); s.throttle.mode = .on; return s
            }(), domains: LastLabelDomains())
        for _ in 0..<times {
            var attempt = Attempt(stage: .rcpt, client: Client(address: IPAddress("203.0.113.1")), recipient: mailbox)
            attempt.throttles = true
            var decision = Decision(verdict: Verdict(.accept, [.greylistOff]))
            settle(attempt, decision.verdict, &decision.memory, engine, nil, country: nil, now: now)
            accepted(LimitSubject(address: nil), recipients: 1, size: 0, pending: decision.memory.pending, now: now)
        }
    }
}

import NIOCore
import NIOPosix
import PosternCore
import PosternEngine
import SMTPProtocol
import Testing

@testable import PosternServer

/// Several backends, their health, and asking them about mailboxes.
@Suite(.serialized) struct GatewayBackendTests {
    private func send(_ test: TestGateway, to recipient: String = "b@example.org") async throws -> Substring? {
        let client = try await test.greeted()
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<\(recipient)>\r\nDATA\r\n")
        let replies = try await client.replies(3)
        guard replies[2]?.hasPrefix("354") == true else { return replies[1]?.prefix(3) }
        let reply = try await client.ask("x\r\n.")
        _ = try await client.ask("QUIT")
        return reply?.prefix(3)
    }

    @Test func messagesGoRound() async throws {
        let one = try ScriptedBackend()
        let two = try ScriptedBackend()
        let test = try await TestGateway([one.address, two.address])
        for _ in 0..<6 { #expect(try await send(test) == "250") }
        #expect(one.record.messages.count == 3 && two.record.messages.count == 3)
        await test.stop()
    }

    @Test func aBackendThatFailsBeforeMailIsPassedOver() async throws {
        let one = try ScriptedBackend()
        let two = try ScriptedBackend()
        let test = try await TestGateway([one.address, two.address]) { $0.health.out = .milliseconds(1500) }
        one.change { $0.diesAt = "greeting" }
        for _ in 0..<8 { #expect(try await send(test) == "250") }
        #expect(two.record.messages.count == 8)
        #expect(test.log.lines.contains { $0.hasPrefix("backend is out") })
        // Out: it is not tried any more, until it has been seen to be well.
        let before = one.record.connections
        for _ in 0..<4 { #expect(try await send(test) == "250") }
        #expect(one.record.connections - before <= 1)
        one.change { $0.diesAt = nil }
        try await eventually("it is back") { test.log.lines.contains { $0.hasPrefix("backend is back") } }
        for _ in 0..<4 { #expect(try await send(test) == "250") }
        #expect(one.record.messages.count >= 1)
        await test.stop()
    }

    @Test func aBackendThatFailsOnceMailWasAcceptedIsNotReplaced() async throws {
        let one = try ScriptedBackend()
        let two = try ScriptedBackend()
        let test = try await TestGateway([one.address, two.address])
        one.change { $0.diesAt = "DATA" }
        two.change { $0.diesAt = "DATA" }
        let client = try await test.greeted()
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
        #expect(try await client.replies(3).map { $0?.prefix(3) } == ["250", "250", "451"])
        #expect(one.record.messages.isEmpty && two.record.messages.isEmpty)
        await test.stop()
    }

    @Test func aConnectionThatGrewOldIsReplaced() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address])
        let client = try await test.greeted()
        for _ in 0..<2 {
            client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
            #expect(try await client.replies(3).map { $0?.prefix(3) } == ["250", "250", "354"])
            #expect(try await client.ask("x\r\n.")?.prefix(3) == "250")
            // The backend closes at the next command, whatever it is, and is well for new connections.
            backend.change { $0.diesAt = "MAIL" }
            async let change: Void = { try? await Task.sleep(for: .milliseconds(1)) }()
            await change
            client.send("MAIL FROM:<a@example.com>\r\n")
            _ = try await client.reply()
            let connections = backend.record.connections
            async let answer = client.ask("RCPT TO:<b@example.org>")
            try await eventually("the old one was used") { backend.record.connections > connections }
            backend.change { $0.diesAt = nil }
            let code = try await answer?.prefix(3)
            #expect(code == "250" || code == "451")
            _ = try await client.ask("RSET")
        }
        await test.stop()
    }

    // MARK: - What is known of them

    /// RFC 6531 §3.5: who misses SMTPUTF8 returns the mail. A client's HELO must not bring that about for all others.
    @Test(arguments: [BackendSettings.ClientInformation.none, .proxyV2])
    func aClientOfHeloChangesNothingForOthers(information: BackendSettings.ClientInformation) async throws {
        var script = ScriptedBackend.Script()
        script.readsProxy = information == .proxyV2
        let backend = try ScriptedBackend(script)
        let test = try await TestGateway([backend.address]) {
            $0.clientInformation = information
            $0.health.refresh = .hours(1)
        }
        let old = try await test.client()
        _ = try await old.reply()
        #expect(try await old.ask("HELO bot.example") == "250 mx.example.org")
        old.send("MAIL FROM:<a@example.com>\r\n")
        _ = try await old.reply()
        #expect(try await old.ask("RCPT TO:<b@example.org>")?.prefix(3) == "250")
        #expect(backend.record.lines.joined().contains(information == .proxyV2 ? "HELO bot.example" : "EHLO bot.example"))
        let next = try await test.client()
        _ = try await next.reply()
        let hello = try #require(try await next.ask("EHLO client.example"))
        for keyword in ["SIZE 100000000", "8BITMIME", "SMTPUTF8", "DSN"] { #expect(hello.contains(keyword)) }
        #expect(try await next.ask("MAIL FROM:<a@example.com> BODY=8BITMIME SMTPUTF8") == "250 2.1.0 Ok")
        #expect(try await next.ask("RCPT TO:<b@example.org>")?.prefix(3) == "250")
        await test.stop()
    }

    @Test func aBackendThatDoesNotGreetIsAskedOnOneConnection() async throws {
        var script = ScriptedBackend.Script()
        script.greeting = ""
        let backend = try ScriptedBackend(script)
        let test = try await TestGateway([backend.address])
        try await Task.sleep(for: .milliseconds(3500))
        #expect(backend.record.connections == 1)
        await test.stop()
        // Each failure to answer counts, and then it is out.
        let hasty = try await TestGateway([backend.address]) { $0.health.patience = .milliseconds(300) }
        try await eventually("it is out") { hasty.log.lines.contains { $0.hasPrefix("backend is out") } }
        #expect(hasty.log.lines.contains { $0.contains("it does not answer in time") })
        #expect(backend.record.connections == 4)
        backend.change { $0.greeting = "220 backend.example ESMTP\r\n" }
        await hasty.stop()
    }

    @Test func aBackendThatDoesNotGreetIsPassedOver() async throws {
        let one = try ScriptedBackend()
        let two = try ScriptedBackend()
        let test = try await TestGateway([one.address, two.address]) {
            $0.health.patience = .milliseconds(1500)
            $0.health.refresh = .hours(1)
            $0.health.out = .hours(1)
        }
        one.change { $0.greeting = "" }
        for _ in 0..<8 { #expect(try await send(test) == "250") }
        #expect(two.record.messages.count == 8)
        #expect(test.log.lines.contains { $0.hasPrefix("backend is out") })
        await test.stop()
    }

    /// Behind a PROXY header it may be slow for the client's sake: what counts is whether it is slow for us.
    @Test func aBackendThatKeepsAClientWaitingIsAsked() async throws {
        var script = ScriptedBackend.Script()
        script.readsProxy = true
        let one = try ScriptedBackend(script)
        let two = try ScriptedBackend(script)
        let test = try await TestGateway([one.address, two.address]) {
            $0.clientInformation = .proxyV2
            $0.health.patience = .milliseconds(1500)
            $0.health.refresh = .hours(1)
            $0.health.out = .hours(1)
            $0.health.failures = 2
        }
        let before = one.record.connections
        one.change { $0.greeting = "" }
        for _ in 0..<2 { #expect(try await send(test) == "250") }
        #expect(two.record.messages.count == 2)
        try await eventually("it is out") { test.log.lines.contains { $0.hasPrefix("backend is out") } }
        #expect(one.record.connections - before >= 3, "the client's, and two of ours")
        #expect(one.record.proxied.filter { $0 == "local" }.count >= 3)
        await test.stop()
    }

    // MARK: - Probes

    @Test func anUnknownMailboxIsRefusedBeforeGreylisting() async throws {
        var script = ScriptedBackend.Script()
        script.replies = [("RCPT TO:<no", "550 5.1.1 no such user here")]
        let backend = try ScriptedBackend(script)
        let test = try await TestGateway([backend.address], engine: { $0.greylist.mode = .on }) { $0.probe.isOn = true }
        for round in 0..<3 {
            let client = try await test.greeted()
            _ = try await client.ask("MAIL FROM:<a@example.com>")
            #expect(try await client.ask("RCPT TO:<no@example.org>") == "550 5.1.1 no such user here")
            #expect(try await client.ask("RCPT TO:<yes@example.org>")?.hasPrefix("451 4.7.1 Greylisted") == true)
            #expect(test.counters.probes == 2, "round \(round)")
        }
        let probes = backend.record.lines.joined().filter { !$0.hasPrefix("EHLO") && $0 != "QUIT" }
        #expect(
            probes == [
                "MAIL FROM:<>", "RCPT TO:<no@example.org>", "RSET", "MAIL FROM:<>", "RCPT TO:<yes@example.org>", "RSET",
            ])
        #expect(test.counters.unknownRecipients == 3)
        await test.stop()
    }

    @Test func aProbeThatTeachesNothingFailsOpen() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address]) {
            $0.probe.isOn = true
            $0.probe.patience = .milliseconds(200)
        }
        // Refused for another reason than the mailbox; a refused null sender; no answer in time.
        backend.change { $0.replies = [("RCPT TO:<odd", "554 5.7.1 policy")] }
        #expect(try await send(test, to: "odd@example.org") == "554")
        #expect(test.counters.unknownRecipients == 0)
        backend.change { $0.replies = [("MAIL FROM:<>", "550 5.7.1 no bounces here")] }
        #expect(try await send(test, to: "bounce@example.org") == "250")
        backend.change {
            $0.replies = []
            $0.slowAt = ("MAIL FROM:<>", 1000)
        }
        #expect(try await send(test, to: "slow@example.org") == "250")
        #expect(test.counters.probesInconclusive >= 3)
        await test.stop()
    }

    /// Whoever is refused, or whose sender is, has not written to unknown mailboxes, though the backend says so with a bare 550.
    @Test(arguments: ["MAIL FROM", "EHLO c"])
    func aRefusalOfTheMessageIsNoneOfItsMailboxes(command: String) async throws {
        var script = ScriptedBackend.Script()
        script.replies = [(command, "550 Administrative prohibition")]
        let backend = try ScriptedBackend(script)
        let test = try await TestGateway([backend.address]) { $0.probe.isOn = false }
        let client = try await test.greeted()
        _ = try await client.ask("MAIL FROM:<a@example.com>")
        for name in ["a", "b", "c"] {
            #expect(try await client.ask("RCPT TO:<\(name)@example.org>") == "550 Administrative prohibition")
        }
        #expect(test.counters.unknownRecipients == 0)
        await test.stop()
    }

    /// A backend that takes no bounces for a mailbox, and says so without a code (Exim), has not said that there is none.
    @Test func aRefusalOfTheNullSenderIsNotTheClients() async throws {
        let backend = try NullSenderBackend(noBounces: "news", unknown: "no")
        let test = try await TestGateway([backend.address], engine: { $0.greylist.mode = .on }) { $0.probe.isOn = true }
        for round in 0..<2 {
            let client = try await test.greeted(source: "127.0.0.\(round + 2)")
            _ = try await client.ask("MAIL FROM:<a@example.com>")
            // Its own word, to this client and at once; the next mailbox is asked about in the same connection.
            #expect(try await client.ask("RCPT TO:<no@example.org>") == "550 unknown user")
            #expect(try await client.ask("RCPT TO:<news@example.org>")?.hasPrefix("451 4.7.1 Greylisted") == true, "round \(round)")
            #expect(try await client.ask("RCPT TO:<no2@example.org>") == "550 unknown user")
            _ = try await client.ask("QUIT")
        }
        #expect(test.counters.unknownRecipients == 4)
        // A bounce gets what the backend says of bounces.
        let bounce = try await test.greeted()
        _ = try await bounce.ask("MAIL FROM:<>")
        #expect(try await bounce.ask("RCPT TO:<no@example.org>") == "550 unknown user")
        await test.stop()
    }

    @Test func afterSuchARefusalTheMailGoesItsWay() async throws {
        let backend = try NullSenderBackend(noBounces: "news", unknown: "no")
        let test = try await TestGateway([backend.address]) { $0.probe.isOn = true }
        let client = try await test.greeted()
        client.send(
            "MAIL FROM:<a@example.com>\r\nRCPT TO:<no@example.org>\r\nRCPT TO:<news@example.org>\r\nRCPT TO:<news2@example.org>\r\n")
        #expect(try await client.replies(4) == ["250 2.1.0 Ok", "550 unknown user", "250 accepted", "250 accepted"])
        #expect(try await client.ask("DATA")?.prefix(3) == "354")
        #expect(try await client.ask("x\r\n.")?.prefix(3) == "250")
        #expect(backend.recipients == ["RCPT TO:<news@example.org>", "RCPT TO:<news2@example.org>"])
        await test.stop()
    }

    /// Who does not answer in time, or goes in the midst of it, is not waited for, and nothing is lost by it.
    @Test(arguments: ["slow", "dies"])
    func anInquiryThatFindsNothingOutFailsOpen(how: String) async throws {
        let backend = try NullSenderBackend(noBounces: "news", unknown: "no", how)
        let test = try await TestGateway([backend.address]) {
            $0.probe.isOn = true
            $0.probe.patience = .milliseconds(400)
        }
        let client = try await test.greeted()
        _ = try await client.ask("MAIL FROM:<a@example.com>")
        #expect(try await client.ask("RCPT TO:<news@example.org>") == "250 accepted")
        await test.stop()
    }

    @Test func postmasterIsNeverProbed() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address]) { $0.probe.isOn = true }
        #expect(try await send(test, to: "postmaster@example.org") == "250")
        #expect(test.counters.probes == 0)
        await test.stop()
    }

    @Test func probesShareAFewConnectionsAndRenewThem() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address]) {
            $0.probe.isOn = true
            $0.probe.perConnection = 3
            $0.probe.connections = 1
        }
        let client = try await test.greeted()
        _ = try await client.ask("MAIL FROM:<a@example.com>")
        for number in 0..<12 { #expect(try await client.ask("RCPT TO:<user\(number)@example.org>") == "250 2.1.5 Ok") }
        let probing = backend.record.lines.map { $0.filter { $0 == "MAIL FROM:<>" }.count }.filter { $0 > 0 }
        #expect(probing == [3, 3, 3, 3])
        await test.stop()
    }

    @Test func aReloadAsksAboutMailboxesAnewAndTheRightServer() async throws {
        var script = ScriptedBackend.Script()
        script.replies = [("RCPT TO:<new", "550 5.1.1 no such user here")]
        let old = try ScriptedBackend(script)
        let new = try ScriptedBackend()
        let test = try await TestGateway([old.address]) { $0.probe.isOn = true }
        #expect(try await send(test, to: "new1@example.org") == "550")
        try await test.listener.update(TestGateway.settings([new.address]) { $0.probe.isOn = true })
        // One that was known as unknown, and one that was never asked about.
        #expect(try await send(test, to: "new1@example.org") == "250")
        #expect(try await send(test, to: "new2@example.org") == "250")
        await test.stop()
    }

    @Test func aQuestionGoesOnToABackendThatAnswers() async throws {
        var script = ScriptedBackend.Script()
        script.slowAt = ("RCPT TO:<no", 60_000)
        let slow = try ScriptedBackend(script)
        script = .init()
        script.replies = [("RCPT TO:<no", "550 5.1.1 no such user here")]
        let well = try ScriptedBackend(script)
        let test = try await TestGateway([slow.address, well.address]) {
            $0.probe.isOn = true
            $0.probe.connections = 1
            $0.health.patience = .milliseconds(300)
        }
        for number in 0..<4 { #expect(try await send(test, to: "no\(number)@example.org") == "550") }
        await test.stop()
    }

    @Test func aDictionaryAttackAddsToTheScore() async throws {
        var script = ScriptedBackend.Script()
        script.replies = [("RCPT TO:<no", "550 5.1.1 no such user here")]
        let backend = try ScriptedBackend(script)
        let test = try await TestGateway(
            [backend.address],
            engine: {
                $0.checks[.unknownRecipients] = CheckSetting(score: 10)
                $0.greylist.mode = .on
                $0.delays.stutter = .zero
            }
        ) { $0.probe.isOn = true }
        let client = try await test.greeted()
        _ = try await client.ask("MAIL FROM:<a@example.com>")
        for number in 0..<3 { #expect(try await client.ask("RCPT TO:<no\(number)@example.org>")?.prefix(3) == "550") }
        // Nothing is written of them; from here on the client hears the same of mailboxes that exist and that do not.
        #expect(try await test.store.decisions(DecisionFilter()).isEmpty)
        #expect(test.lines.lines.allSatisfy { !$0.contains("stage=RCPT") })
        #expect(try await client.ask("RCPT TO:<no3@example.org>")?.hasPrefix("554 5.7.1 Refused by local policy") == true)
        #expect(try await client.ask("RCPT TO:<yes@example.org>")?.hasPrefix("554 5.7.1 Refused by local policy") == true)
        #expect(test.counters.unknownRecipients == 4)
        try await eventually("both refusals are kept") { test.lines.lines.filter { $0.contains("verdict=reject") }.count == 2 }
        #expect(try await test.store.decisions(DecisionFilter()).map(\.action) == ["reject", "reject"])
        // It is the client's, whatever the session; another client's is its own.
        #expect(try await send(test, to: "yes@example.org") == "554")
        let other = try await test.greeted(source: "127.0.0.55")
        other.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<yes@example.org>\r\n")
        #expect(try await other.replies(2).last??.hasPrefix("451 4.7.1 Greylisted") == true)
        await test.stop()
    }

    /// With `probe: false` the backend says it of the client's own mail, which has been decided on before.
    @Test(arguments: [true, false])
    func whoGuessesAtNamesIsSlowedAndSentAway(probes: Bool) async throws {
        var script = ScriptedBackend.Script()
        script.replies = [("RCPT TO:<no", "550 5.1.1 no such user here")]
        let backend = try ScriptedBackend(script)
        let entry = ListEntry(.allow, .client, Pattern("127.0.0.9")!, added: WallTime(seconds: 0))
        let test = try await TestGateway(
            [backend.address], lists: Lists(entries: [entry]),
            engine: {
                $0.checks[.unknownRecipients] = CheckSetting(score: 5)
                // A stranger would be deferred; but with that answer, and that pause, only where there is the mailbox.
                $0.greylist.mode = probes ? .on : .off
                $0.delays.deferral = .seconds(20)
                $0.delays.stage = .milliseconds(400)
                $0.delays.stutter = .milliseconds(40)
            }
        ) {
            $0.probe.isOn = probes
            $0.limits.errors = 5
        }
        let client = try await test.greeted()
        _ = try await client.ask("MAIL FROM:<a@example.com>")
        let reply = "550 5.1.1 no such user here"
        for number in 0..<5 {
            let start = NIODeadline.now()
            client.send("RCPT TO:<no\(number)@example.org>\r\n")
            try await eventually("all of it") { client.pending.text == reply + "\r\n" }
            let times = client.pending.times
            #expect(times[0] - start >= .milliseconds(400) && times[0] - start < .seconds(10), "\(number)")
            // From the fourth on it is known as one that guesses: 28 pauses.
            #expect((try #require(times.last) - times[0] >= .milliseconds(28 * 35)) == (number >= 3), "\(number)")
            #expect(try await client.reply() == reply)
        }
        #expect(try await client.ask("RCPT TO:<yes@example.org>") == "421 4.7.0 Too many recipients refused, closing connection")
        try await client.waitUntilClosed()
        if probes { #expect(try await test.store.decisions(DecisionFilter()).isEmpty) }
        // Whom the admin has named hears it at once, however often.
        let ours = try await test.greeted(source: "127.0.0.9")
        _ = try await ours.ask("MAIL FROM:<a@example.com>")
        let start = ContinuousClock.now
        for number in 0..<4 { #expect(try await ours.ask("RCPT TO:<no\(number)@example.org>") == reply) }
        #expect(ContinuousClock.now - start < .milliseconds(1600))
        await test.stop()
    }

    /// What look-ups find out decides as it does for a mailbox that exists.
    @Test func theListedHearNothingOfMailboxes() async throws {
        var script = ScriptedBackend.Script()
        script.replies = [("RCPT TO:<no", "550 5.1.1 no such user here")]
        let backend = try ScriptedBackend(script)
        var findings = Findings()
        findings.listings = [Listing(list: "bl.example", score: 12, reply: "127.0.0.2")]
        let test = try await TestGateway(
            [backend.address], evidence: FixedEvidence(findings: findings),
            engine: {
                $0.greylist.mode = .on
                $0.looksUp = true
            }
        ) { $0.probe.isOn = true }
        let client = try await test.greeted()
        _ = try await client.ask("MAIL FROM:<a@example.com>")
        for name in ["no", "yes"] {
            let reply = try await client.ask("RCPT TO:<\(name)@example.org>")
            #expect(reply?.hasPrefix("554 5.7.1 Refused by local policy") == true, "\(name)")
        }
        #expect(test.counters.unknownRecipients == 1)
        await test.stop()
    }

    @Test func cachesHaveTheirBound() {
        var settings = GatewaySettings.ProbeSettings()
        settings.capacity = 10
        settings.knownFor = .seconds(10)
        let cache = MailboxCache()
        let now = NIODeadline.now()
        for number in 0..<1000 {
            cache.remember(Mailbox(localPart: "u\(number)", domain: "example.org"), .exists, of: cache.epoch, settings, now: now)
        }
        #expect(cache.count == 10)
        let last = Mailbox(localPart: "u999", domain: "example.org")
        #expect(cache.knowledge(of: last, now: now) == .exists)
        #expect(cache.knowledge(of: last, now: now + .seconds(10)) == nil)
        #expect(cache.knowledge(of: Mailbox(localPart: "u989", domain: "example.org"), now: now) == nil)

        let clients = ClientRecipients()
        for number in 0..<1000 { clients.count(IPAddress(v4: UInt32(number)), unknown: true, capacity: 10, now: now) }
        #expect(clients.count == 10)
        #expect(clients.unknown(IPAddress(v4: 999), now: now) == 1)
        #expect(clients.unknown(IPAddress(v4: 999), now: now + ClientRecipients.lifetime) == 0)
        // An old list with many good addresses is no dictionary.
        for _ in 0..<9 { clients.count(IPAddress(v4: 999), unknown: false, capacity: 10, now: now) }
        #expect(clients.unknown(IPAddress(v4: 999), now: now) == 0)
    }

    @Test func theTimerWheelKeepsItsMoments() async throws {
        final class Waiter: Timed {
            var came: [NIODeadline] = []
            func timeCame(_ now: NIODeadline) { came.append(now) }
        }
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let start = NIODeadline.now()
        let box = try await loop.submit {
            let wheel = TimerWheel(loop: loop)
            let waiters = (0..<5).map { _ in Waiter() }
            let tickets = waiters.map { wheel.add($0) }
            // Now, soon, later than a turn of the wheel, moved to an earlier moment, removed.
            wheel.set(tickets[0], start)
            wheel.set(tickets[1], start + .milliseconds(200))
            wheel.set(tickets[2], start + .milliseconds(5500))
            wheel.set(tickets[3], start + .seconds(60))
            wheel.set(tickets[3], start + .milliseconds(100))
            wheel.set(tickets[4], start + .milliseconds(50))
            wheel.remove(tickets[4])
            return NIOLoopBound((wheel, waiters), eventLoop: loop)
        }.get()
        try await Task.sleep(for: .milliseconds(6200))
        let times = try await loop.submit { box.value.1.map { $0.came.map { ($0 - start).nanoseconds / 1_000_000 } } }.get()
        #expect(times[0].count == 1 && times[1].count == 1 && times[2].count == 1 && times[3].count == 1 && times[4].isEmpty)
        #expect(times[1].first.map { (200...600).contains($0) } == true)
        #expect(times[2].first.map { (5500...6100).contains($0) } == true)
        #expect(times[3].first.map { (100...500).contains($0) } == true)
    }
}

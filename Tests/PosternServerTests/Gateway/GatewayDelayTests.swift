import NIOCore
import PosternCore
import PosternEngine
import enum SMTPProtocol.XClientValue
import Testing

@testable import PosternServer

/// Delays, early talkers, slow replies, and what gives way under load.
@Suite(.serialized) struct GatewayDelayTests {
    @Test func theGreetingWaits() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address], engine: { $0.delays.greeting = .fixed(.milliseconds(300)) })
        let start = ContinuousClock.now
        let client = try await test.client()
        #expect(try await client.reply() == "220 mx.example.org ESMTP")
        #expect(ContinuousClock.now - start >= .milliseconds(300))
        await test.stop()
    }

    @Test(arguments: ["EHLO bot.example\r\n", "GET / HTTP/1.1\r\n", "x", "\u{16}\u{3}\u{1}"])
    func whoTalksBeforeTheGreetingIsDropped(text: String) async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address], engine: { $0.delays.greeting = .fixed(.seconds(25)) })
        let start = ContinuousClock.now
        let client = try await test.client()
        client.send(text)
        let answer = try #require(try await client.reply())
        #expect(answer.hasPrefix("554 5.5.0 Your side talked before the greeting") && answer.contains("(mx.example.org "), "\(answer)")
        try await client.waitUntilClosed()
        #expect(ContinuousClock.now - start < .seconds(20))
        #expect(test.counters.earlyTalkers == 1)
        await test.stop()
    }

    @Test func anEarlyTalkerThatIsOnlyWatchedWaitsLikeAnyOther() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway(
            [backend.address],
            engine: {
                $0.delays.greeting = .fixed(.milliseconds(300))
                $0.checks[.earlyTalk] = CheckSetting(mode: .shadow, score: 5)
            })
        let start = ContinuousClock.now
        let client = try await test.client()
        client.send("EHLO bot.example\r\n")
        #expect(try await client.reply() == "220 mx.example.org ESMTP")
        #expect(ContinuousClock.now - start >= .milliseconds(300))
        #expect(try await client.reply()?.hasPrefix("250-mx.example.org") == true)
        await test.stop()
    }

    @Test func allowedClientsAreGreetedAtOnce() async throws {
        let backend = try ScriptedBackend()
        let entry = ListEntry(.allow, .client, Pattern("127.0.0.0/8")!, added: WallTime(seconds: 0))
        let test = try await TestGateway(
            [backend.address], lists: Lists(entries: [entry]), engine: { $0.delays.greeting = .fixed(.seconds(20)) })
        let client = try await test.client()
        #expect(try await client.reply(within: .seconds(15)) == "220 mx.example.org ESMTP")
        await test.stop()
    }

    @Test func theTeaserComesFirst() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address], engine: { $0.delays.greeting = .fixed(.milliseconds(300)) }) {
            $0.teaser = true
        }
        let client = try await test.client()
        try await eventually("the teaser") { client.pending.text == "220-mx.example.org ESMTP\r\n" }
        #expect(try await client.reply() == "220-mx.example.org ESMTP\r\n220 mx.example.org ESMTP")
        // A bot that takes it for the greeting.
        let bot = try await test.client()
        try await eventually("the teaser") { bot.pending.text.hasPrefix("220-") }
        bot.send("EHLO bot.example\r\n")
        #expect(try await bot.reply()?.contains("554 5.5.0 ") == true)
        await test.stop()
    }

    @Test func stagesAndDeferralsWait() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway(
            [backend.address],
            engine: {
                $0.delays.stage = .milliseconds(100)
                $0.delays.deferral = .milliseconds(200)
                $0.greylist.mode = .on
            })
        let client = try await test.client()
        _ = try await client.reply()
        func time(_ command: String, _ code: String) async throws -> Duration {
            let start = ContinuousClock.now
            #expect(try await client.ask(command)?.prefix(3) == code[...])
            return ContinuousClock.now - start
        }
        #expect(try await time("EHLO client.example", "250") >= .milliseconds(100))
        #expect(try await time("MAIL FROM:<a@example.com>", "250") >= .milliseconds(100))
        #expect(try await time("RCPT TO:<b@example.org>", "451") >= .milliseconds(300))
        await test.stop()
    }

    @Test func whoPipelinesWithoutBeingAllowedToIsCaughtInTheWait() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address], engine: { $0.delays.stage = .seconds(3) })
        let client = try await test.client()
        _ = try await client.reply()
        client.send("HELO client.example\r\n")
        try await Task.sleep(for: .milliseconds(50))
        client.send("MAIL FROM:<a@example.com>\r\n")
        #expect(try await client.reply() == "554 5.5.0 SMTP protocol synchronization error")
        await test.stop()
    }

    @Test func aSuspectHearsTheAnswerByteByByte() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway(
            [backend.address],
            engine: {
                $0.bands.slow = 1
                $0.delays.stutter = .milliseconds(40)
            })
        let client = try await test.client()
        _ = try await client.reply()
        #expect(try await client.ask("MAIL FROM:<a@example.com>")?.hasPrefix("503 ") == true)
        client.send("HELO client.example\r\n")
        let expected = "250 mx.example.org\r\n"
        try await eventually("all of it") { client.pending.text == expected }
        let times = client.pending.times
        // Nineteen pauses, each at least 40 ms but for the wheel's rounding, and no two octets together.
        #expect(try #require(times.last) - times[0] >= .milliseconds(19 * 35))
        #expect(Set(times.map(\.uptimeNanoseconds)).count == times.count)
        _ = try await client.reply()
        // Nothing is lost on the way, and a message has its answer at once.
        client.send("MAIL FROM:<a@example.com>\r\n")
        #expect(try await client.reply() == "250 2.1.0 Ok")
        await test.stop()
    }

    @Test func aSlowReplyHasItsBound() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway(
            [backend.address],
            engine: {
                $0.bands.slow = 1
                $0.delays.stutter = .seconds(10)
            })
        let client = try await test.client()
        _ = try await client.reply()
        _ = try await client.ask("MAIL FROM:<a@example.com>")
        let start = ContinuousClock.now
        client.send("HELO client.example\r\n")
        #expect(try await client.reply(within: .seconds(40)) == "250 mx.example.org")
        #expect(ContinuousClock.now - start < .nanoseconds(SessionOutput.longestReply.nanoseconds) + .seconds(5))
        await test.stop()
    }

    @Test func delaysShrinkUnderLoad() throws {
        var settings = GatewaySettings(hostname: "mx", backends: [])
        settings.maxSessions = 1000
        func factor(_ open: Int, _ automatic: Bool = false) -> Double { Gateway.delayFactor(open: open, automatic: automatic, settings) }
        #expect(factor(0) == 1)
        #expect(factor(500) == 1)
        #expect(factor(700) == 0.5)
        #expect(factor(900) == 0)
        #expect(factor(5000) == 0)
        #expect(factor(0, true) == 1)
        #expect(factor(450, true) == 0.5)
        #expect(factor(900, true) == 0)
    }

    @Test func atTheLimitTheLongestHeldMakesRoomAndIsCounted() async throws {
        let backend = try ScriptedBackend()
        let entry = ListEntry(.allow, .client, Pattern("127.0.0.2")!, added: WallTime(seconds: 0))
        let test = try await TestGateway(
            [backend.address], lists: Lists(entries: [entry]), engine: { $0.delays.greeting = .fixed(.seconds(25)) }
        ) {
            $0.maxSessions = 3
            // Delays as long as ever, so that there is someone to let go.
            $0.busyPercent = 100
            $0.nearlyFullPercent = 1000
        }
        let first = try await test.client()
        try await eventually("held") { test.counters.sessions == 1 }
        let second = try await test.client()
        let third = try await test.greeted(source: "127.0.0.2")
        #expect(test.counters.sessions == 3)
        let fourth = try await test.greeted(source: "127.0.0.2")
        #expect(try await first.reply() == "421 4.3.2 Too busy, closing connection")
        let fifth = try await test.greeted(source: "127.0.0.2")
        #expect(try await second.reply() == "421 4.3.2 Too busy, closing connection")
        // Nobody is held now: the new one is turned away, and nobody who is served.
        let sixth = try await test.client(source: "127.0.0.2")
        #expect(try await sixth.reply() == "421 4.3.2 Too busy, please come back later")
        for client in [third, fourth, fifth] { #expect(try await client.ask("NOOP") == "250 2.0.0 Ok") }
        #expect(test.counters.sessionsShed == 2)
        #expect(test.counters.sessionsRefused == 1)
        // It tried; and whoever goes on to another exchanger has reason to.
        #expect(!test.listener.isWell)
        await test.stop()
    }

    @Test func delaysAreLeftOutWhenItIsNearlyFull() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway([backend.address], engine: { $0.delays.greeting = .fixed(.seconds(20)) }) { $0.maxSessions = 1 }
        let client = try await test.client()
        #expect(try await client.reply(within: .seconds(15)) == "220 mx.example.org ESMTP")
        #expect(test.counters.delaysShortened == 1)
        await test.stop()
    }

    @Test func aNameThatIsLookedUpCounts() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway(
            [backend.address],
            clientName: { address in
                try? await Task.sleep(for: .milliseconds(50))
                return .known(DomainName("mail.example.net")!)
            },
            engine: {
                $0.greylist.mode = .on
                $0.greylist.delay = .milliseconds(100)
            })
        // Two hosts of one pool, known by its confirmed name.
        var codes: [Substring?] = []
        for source in ["127.0.1.1", "127.0.2.1"] {
            let client = try await test.greeted(source: source)
            _ = try await client.ask("MAIL FROM:<a@example.com>")
            codes.append(try await client.ask("RCPT TO:<b@example.org>")?.prefix(3))
            try await Task.sleep(for: .milliseconds(150))
        }
        #expect(codes == ["451", "250"])
        await test.stop()
    }

    @Test func aNameThatDoesNotComeIsDoneWithout() async throws {
        let backend = try ScriptedBackend()
        let test = try await TestGateway(
            [backend.address],
            clientName: { _ in
                try? await Task.sleep(for: .seconds(20))
                return .unavailable
            }, engine: { _ in }
        ) { $0.nameTimeout = .milliseconds(200) }
        let client = try await test.client()
        #expect(try await client.reply(within: .seconds(15)) == "220 mx.example.org ESMTP")
        await test.stop()
    }

    /// Some servers refuse a client without a name for good: only the DNS itself may say that there is none (XCLIENT_README).
    @Test(arguments: [
        (XClientValue<DomainName>.unavailable, 0, "[UNAVAILABLE]"), (.temporarilyUnavailable, 0, "[TEMPUNAVAIL]"),
        (.unavailable, 20, "[TEMPUNAVAIL]"),
    ])
    func whyThereIsNoNameIsTold(found: XClientValue<DomainName>, seconds: Int, told: String) async throws {
        var script = ScriptedBackend.Script()
        script.extensions.append("XCLIENT NAME REVERSE_NAME ADDR")
        let backend = try ScriptedBackend(script)
        let test = try await TestGateway(
            [backend.address],
            clientName: { _ in
                try? await Task.sleep(for: .seconds(seconds))
                return found
            }, engine: { _ in }
        ) {
            $0.clientInformation = .xclient
            $0.nameTimeout = .milliseconds(seconds == 0 ? 10_000 : 200)
        }
        let client = try await test.greeted()
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n")
        #expect(try await client.replies(2).last == "250 2.1.5 Ok")
        let line = try #require(backend.record.lines.joined().first { $0.hasPrefix("XCLIENT") })
        #expect(line.contains(" NAME=\(told) REVERSE_NAME=\(told) "), "\(line)")
        await test.stop()
    }
}

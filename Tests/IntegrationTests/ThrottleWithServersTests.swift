import Foundation
import IntegrationSupport
import Testing

/// `postern serve` as a throttle in front of real mail servers.
@Suite("throttle with real servers", .serialized, .servers("postfix", "exim4", "opensmtpd", "swaks"))
struct ThrottleWithServersTests {
    /// A throttle with a free port; its own limits and routes.
    private static func throttle(_ routes: String, _ lines: String, information: String = "proxy-v2") async throws -> (
        PosternProcess, port: UInt16
    ) {
        let port = try FreePort.next()
        let postern = try PosternProcess(
            "greylist: { mode: off }\ndelays: { greeting: 0s, clean: 0s }\n\(lines)",
            further: [
                "{ name: throttle, role: throttle, address: \"127.0.0.1:\(port)\", routes: { \(routes) }, backend_client_info: \(information) }"
            ])
        try await postern.start()
        return (postern, port)
    }

    @Test("one message to three domains arrives once at each of their servers", arguments: HonestSender.allCases)
    func severalDomains(kind: HonestSender) async throws {
        let postfix = try await PostfixServer.start(.init(domains: ["one.test"], clientInformation: .proxy))
        let exim = try await EximServer.start(.init(domains: ["two.test"], expectsProxyHeader: true))
        let openSMTPD = try await OpenSMTPDServer.start(.init(domains: ["three.test"], expectsProxyHeader: true))
        let (postern, port) = try await Self.throttle(
            "one.test: \"127.0.0.1:\(postfix.port)\", two.test: \"127.0.0.1:\(exim.port)\", three.test: \"127.0.0.1:\(openSMTPD.port)\"",
            "throttle: { hold: 100ms }")
        let sender = try await kind.start(towards: port)
        try await sender.submit(
            ["a@one.test", "b@two.test", "c@three.test", "d@one.test", "e@two.test"],
            "From: alice@sender.test\nSubject: to all\n\nhello\n.\nthere\n")
        try await sender.waitUntilSent()
        for (mailbox, recipients) in [
            (postfix.mailbox, ["a@one.test", "d@one.test"]), (exim.mailbox, ["b@two.test", "e@two.test"]),
            (openSMTPD.mailbox, ["c@three.test"]),
        ] {
            let messages = try await mailbox.waitForMessages(1)
            // A server may write one file for several recipients, or one for each: none may be there twice.
            try await waitUntil("all of \(recipients)") { try Set(mailbox.messages().flatMap(\.recipients)) == Set(recipients) }
            #expect(try mailbox.messages().flatMap(\.recipients).sorted() == recipients, "\(sender.log())")
            #expect(messages.allSatisfy { $0.text.contains("hello\n.\nthere\n") && $0["Subject"] == "to all" })
        }
        #expect(sender.log().contains("452 4.5.3"), "\(sender.log())")
        // What the throttle has counted is what has arrived: as many messages as transactions, each recipient once.
        let explained = try await postern.limits("127.0.0.1", to: "a@one.test")
        #expect(explained["address recipients 60/1h"] == 5, "\(explained)")
        #expect(explained["address messages 30/1h"] == 3, "\(explained)")
        try await postern.stop()
    }

    @Test("who has more than a person is held, deferred and refused, and all of it arrives once", arguments: HonestSender.allCases)
    func volume(kind: HonestSender) async throws {
        let postfix = try await PostfixServer.start(.init(domains: ["one.test"], clientInformation: .proxy))
        let (postern, port) = try await Self.throttle(
            "one.test: \"127.0.0.1:\(postfix.port)\"",
            "throttle: { limits: [address messages 2/3s, address attempts 3/1s], hold: 200ms, refuse_at: 2, refuse_for: 1s }")
        let sender = try await kind.start(towards: port)
        for number in 0..<10 { try await sender.submit(["a@one.test"], "From: alice@sender.test\nSubject: \(number)\n\nx\n") }
        try await sender.waitUntilSent(within: .seconds(120))
        let messages = try await postfix.mailbox.waitForMessages(10)
        #expect(messages.compactMap { $0["Subject"] }.sorted() == (0..<10).map(String.init), "\(sender.log())")
        let numbers = try await postern.limitState()
        #expect(try #require(numbers["held"] as? Int) > 0 && (try #require(numbers["deferred"] as? Int)) > 0, "\(numbers)")
        #expect(sender.log().contains("More mail than a person sends"), "\(sender.log())")
        try await postern.stop()
    }

    @Test("strangers from many addresses are held as far as there is room, put off, refused at connect; who is trusted passes")
    func strangers() async throws {
        let postfix = try await PostfixServer.start(.init(domains: ["one.test"], clientInformation: .xclient))
        let (postern, port) = try await Self.throttle(
            "one.test: \"127.0.0.1:\(postfix.port)\"",
            """
            throttle: { limits: [address messages 2/1h, address attempts 6/1h], hold: 2s, held_sessions: 20, advice: "see https://throttle.test" }
            trusted: [127.0.0.30]
            """, information: "xclient")
        let bots = (0..<160).map { "127.1.\($0 / 40).\($0 % 40 + 1)" }
        async let swarm = BotSwarm.run(from: bots, port: port, messages: 30, to: "a@one.test")
        // Once they wait, the trusted do not.
        try await waitUntil("strangers wait", within: .seconds(30)) { try await postern.limitState()["held_now"] as? Int ?? 0 > 0 }
        var waits: [Duration] = []
        for _ in 0..<5 {
            let dialogue = try await Dialogue.open(port: port, source: "127.0.0.30")
            let start = ContinuousClock.now
            #expect(await dialogue.ask("MAIL FROM:<friend@friend.test>").hasPrefix("250"))
            #expect(await dialogue.ask("RCPT TO:<b@one.test>").hasPrefix("250"))
            #expect(await dialogue.ask("DATA").hasPrefix("354"))
            await dialogue.send("Subject: trusted\r\n\r\nx\r\n.\r\n")
            try #require(await dialogue.codes(1) == [250])
            waits.append(.now - start)
        }
        // The hold is two seconds; the machine may be busy with the servers of a hundred others.
        #expect(waits.sorted()[2] < .seconds(2), "\(waits)")
        let outcomes = try await swarm
        let accepted = outcomes.map(\.accepted).reduce(0, +)
        #expect(outcomes.allSatisfy { (2...4).contains($0.accepted) }, "\(outcomes.map(\.accepted))")
        #expect(outcomes.contains { $0.accepted > 2 && $0.longestWait > .milliseconds(900) }, "some were held, and then let in")
        #expect(outcomes.allSatisfy { $0.accepted + $0.count("451") == 30 }, "\(outcomes.map { ($0.accepted, $0.count("451")) })")
        #expect(outcomes.allSatisfy { $0.recipients.last?.contains("see https://throttle.test") == true }, "\(outcomes[0].recipients)")
        let numbers = try await postern.limitState()
        // There was room for twenty: others were deferred at once, none was let in for want of it.
        #expect(try #require(numbers["holds_denied"] as? Int) > 0 && numbers["held_at_most"] as? Int == 20, "\(numbers)")
        #expect(numbers["held_now"] as? Int == 0 && numbers["refused_now"] as? Int == 160, "\(numbers)")

        // Who hammered on is not greeted any more. Another is, and smtp-source fares as the bots did.
        #expect(try await BotSwarm.run(from: bots, port: port, messages: 1, to: "a@one.test").allSatisfy { $0.greeting == 421 })
        await #expect(throws: TestFailure.self) { try await SMTPSource(port: port).send(messages: 100, to: "a@one.test") }
        let source = try await postern.limits("127.0.0.1", to: "a@one.test")
        #expect(source["address messages 2/1h"] == 4, "\(source)")

        // What was answered with 250 has arrived once, and the server behind saw who it was from.
        let all = try await postfix.mailbox.waitForMessages(accepted + 5 + 4, within: .seconds(60))
        #expect(all.count == accepted + 5 + 4)
        for outcome in outcomes.prefix(20) {
            let own = all.filter { $0["Subject"] == outcome.source }
            #expect(own.count == outcome.accepted && own.allSatisfy { $0.all("Received").first?.contains("[\(outcome.source)]") == true })
        }

        // The counts outlive the daemon.
        #expect(try await postern.stop() == .status(0))
        try await postern.start()
        try await waitUntil("the throttle listens") { FreePort.isListening(port) }
        let again = try await BotSwarm.run(from: Array(bots.prefix(20)), port: port, messages: 1, to: "a@one.test")
        // Who was refused is refused still, and what the others had is counted on.
        #expect(again.allSatisfy { $0.accepted == 0 && $0.greeting == 421 }, "\(again.map(\.recipients))")
        #expect(try await postern.limitState()["refused_now"] as? Int == 160)
        #expect(try await postern.limits("127.0.0.1", to: "a@one.test")["address messages 2/1h"] == 4)
        let fresh = try await BotSwarm.run(from: ["127.2.0.1"], port: port, messages: 1, to: "a@one.test")
        #expect(fresh.allSatisfy { $0.accepted == 1 })
        try await postern.stop()
    }
}

extension PosternProcess {
    /// What an address has used of each limit.
    func limits(_ address: String, to recipient: String, account: String? = nil) async throws -> [String: Double] {
        let words = ["--ip", address, "--from", "x@sender.test", "--to", recipient, "--json"]
        let outcome =
            if let account {
                try await verb("explain", words[0], words[1], words[2], words[3], words[4], words[5], words[6], "--account", account)
            } else { try await verb("explain", words[0], words[1], words[2], words[3], words[4], words[5], words[6]) }
        let object = try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any]
        guard let limits = object?["limits"] as? [[String: Any]] else { throw TestFailure(outcome.output) }
        return limits.reduce(into: [:]) { $0[$1["limit"] as? String ?? ""] = $1["used"] as? Double }
    }

    /// The status of the limits.
    func limitState() async throws -> [String: Any] {
        let outcome = try await verb("status", "--json")
        let object = try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any]
        guard let limits = object?["limits"] as? [String: Any] else { throw TestFailure(outcome.output) }
        return limits
    }
}

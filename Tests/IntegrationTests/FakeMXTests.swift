import Foundation
import IntegrationSupport
import Testing

/// Real mail servers send to a domain whose MXs are a closed port, the primary, and a fake MX, as a real unbound tells them.
@Suite("fake MX", .serialized, .servers("postfix", "exim4", "opensmtpd", "swaks", "unbound"))
struct FakeMXTests {
    /// Addresses of one test's own, so that all can listen on port 25: OpenSMTPD sends to no other.
    private struct Site {
        let closed, primary, spare, resolver: String
        let unbound: UnboundServer

        init() async throws {
            let net = "127.\(Int.random(in: 64...254)).\(Int.random(in: 1...254))"
            closed = "\(net).1"
            primary = "\(net).2"
            spare = "\(net).3"
            resolver = "\(net).53"
            unbound = try await UnboundServer.start(
                records: [
                    "example.test. 60 IN MX 10 mx1.example.test.", "example.test. 60 IN MX 20 mx2.example.test.",
                    "example.test. 60 IN MX 90 mx9.example.test.", "mx1.example.test. 60 IN A \(closed)",
                    "mx2.example.test. 60 IN A \(primary)", "mx9.example.test. 60 IN A \(spare)",
                ], zones: ["example.test"], address: resolver, port: 53)
        }
    }

    /// The three senders, each with an address of its own.
    private struct Senders {
        static let addresses = ["127.0.1.11", "127.0.1.12", "127.0.1.13"]
        let postfix: PostfixServer
        let exim: EximServer
        let openSMTPD: OpenSMTPDServer

        init(_ site: Site) async throws {
            var first = PostfixConfiguration(
                hostname: "a.sender.test", domains: ["a.sender.test"], extraMain: ["smtp_bind_address = \(Self.addresses[0])"])
            first.resolver = site.resolver
            postfix = try await PostfixServer.start(first)
            var second = EximConfiguration(
                hostname: "b.sender.test", domains: ["b.sender.test"], extraTransport: ["interface = \(Self.addresses[1])"])
            second.resolver = site.resolver
            exim = try await EximServer.start(second)
            var third = OpenSMTPDConfiguration(hostname: "c.sender.test", domains: ["c.sender.test"])
            third.resolver = site.resolver
            third.sourceAddress = Self.addresses[2]
            openSMTPD = try await OpenSMTPDServer.start(third)
        }

        func send(_ count: Int, _ tag: String) async throws {
            let swaks = try Swaks(port: openSMTPD.port)
            for number in 0..<count {
                let message = "Subject: \(tag) \(number)\r\n\r\nhello\r\n"
                try await postfix.submit(from: "p\(number)@a.sender.test", to: ["bob@example.test"], message: message)
                try await exim.submit(from: "e\(number)@b.sender.test", to: ["bob@example.test"], message: message)
                let outcome = try await swaks.send(from: "o\(number)@c.sender.test", headers: ["Subject: \(tag) \(number)"])
                #expect(outcome.accepted, "\(outcome.transcript)")
            }
        }

        /// All of them arrive, whatever they have to try for that.
        func deliver(_ total: Int, to mailbox: Mailbox, _ postern: PosternProcess) async throws {
            try await waitUntil(
                "\(total) messages; \((try? mailbox.count()) ?? -1) came\n\(postern.log.suffix(4000))\n\(openSMTPD.log.suffix(2000))",
                within: PostfixServer.retryPatience, every: .seconds(1)
            ) {
                try await openSMTPD.flush()
                return try mailbox.count() >= total
            }
            #expect(try mailbox.count() == total)
        }

        func stop() async throws {
            try await postfix.stop()
            try await exim.stop()
            try await openSMTPD.stop()
        }
    }

    private static let seconds = """
        domains: [example.test]
        greylist: { delay: 1s }
        delays: { greeting: 0s, clean: 0s }
        harvest: { quiet: 1s, settle: 2s, apart: 3s }
        """

    private static func reaches(_ address: String) -> Bool {
        guard let descriptor = LoopbackConnection.connected(to: address, port: 25, from: "127.0.0.80") else { return false }
        close(descriptor)
        return true
    }

    /// A bot: names a recipient, hears 451, and is gone.
    private func hangUp(on address: String, from source: String) async throws {
        let text = try #require(LoopbackConnection.hangUp(on: address, port: 25, from: source))
        #expect(text.hasPrefix("451 4.7.1 "), "\(text)")
    }

    private func listed(_ postern: PosternProcess) async throws -> [String: String] {
        let outcome = try await postern.verb("block", "list", "--json")
        #expect(outcome.status == 0)
        let entries = try #require(try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [[String: Any]])
        return Dictionary(
            uniqueKeysWithValues: entries.compactMap { entry in
                (entry["entry"] as? String).map { ($0, "\(entry["colour"] ?? "") \(entry["note"] ?? "")") }
            })
    }

    @Test("behind a gateway all mail arrives, also while the mail server is down; a bot that hangs up on the fake MX twice is black")
    func gateway() async throws {
        let site = try await Site()
        let backend = try await PostfixServer.start(.init(clientInformation: .xclient))
        let postern = try PosternProcess(
            Self.seconds,
            listener:
                "address: \"127.0.0.1:0\" }, { name: mx, role: gateway, address: \"\(site.primary):25\", backend: \"127.0.0.1:\(backend.port)\" }, { name: spare, role: trap, mode: defer-rcpt, address: \"\(site.spare):25\""
        )
        try await postern.start()
        let senders = try await Senders(site)
        try await senders.send(3, "well")
        try await senders.deliver(9, to: backend.mailbox, postern)
        try backend.kill()
        try await senders.send(3, "down")
        try await Task.sleep(for: .seconds(6))
        try await backend.start()
        try await senders.deliver(18, to: backend.mailbox, postern)

        // The outage, as the gateway saw it, is over for long enough.
        try await Task.sleep(for: .seconds(4))
        let bots = try Swaks(server: "\(site.spare):25")
        for _ in 0..<2 {
            try await hangUp(on: site.spare, from: "127.0.0.66")
            // This one is polite.
            let quit = try await bots.send(source: "127.0.0.67")
            #expect(quit.reply(to: "QUIT")?.code == 221)
            try await Task.sleep(for: .milliseconds(3500))
        }
        try await waitUntil("the bot is listed\n\(postern.log.suffix(3000))") { try await listed(postern)["127.0.0.66"] != nil }
        let entries = try await listed(postern)
        #expect(entries["127.0.0.66"]?.hasPrefix("black came only to a stand-in") == true, "\(entries)")
        #expect(entries["127.0.0.67"]?.hasPrefix("brown ") == true, "\(entries)")
        // Nobody honest: all three were deferred here and there, and came to the fake MX too.
        #expect(Set(entries.keys) == ["127.0.0.66", "127.0.0.67"], "\(entries)")
        #expect(postern.log.contains("msg=fake-mx") && Senders.addresses.contains { postern.log.contains("client=\($0) deferred=") })

        // Removed for good, also when it goes on.
        #expect(try await postern.verb("block", "remove", "127.0.0.66").status == 0)
        for _ in 0..<2 {
            try await hangUp(on: site.spare, from: "127.0.0.66")
            try await Task.sleep(for: .milliseconds(3500))
        }
        #expect(try await listed(postern)["127.0.0.66"] == nil)
        try await senders.stop()
        #expect(try await postern.stop().code == 0)
        try await backend.stop()
        try await site.unbound.stop()
    }

    @Test(
        "beside a Postfix that asks the policy service: while it is down its mail goes to the fake MX, arrives later, and nobody is listed")
    func policy() async throws {
        let site = try await Site()
        let policyPort = try FreePort.next()
        let postern = try PosternProcess(
            Self.seconds,
            listener: "address: \"127.0.0.1:\(policyPort)\" }, { name: spare, role: trap, mode: defer-data, address: \"\(site.spare):25\"")
        try await postern.start()
        let primary = try await PostfixServer.start(
            .init(
                address: site.primary, port: 25, policy: .init("inet:127.0.0.1:\(policyPort)"),
                // It refuses to name an address that no interface bears; master.cf does.
                extraMain: ["inet_interfaces = 127.0.0.1"]))
        try await waitUntil("the primary listens") { Self.reaches(site.primary) }
        let senders = try await Senders(site)
        try await senders.send(2, "well")
        try await senders.deliver(6, to: primary.mailbox, postern)
        for round in 0..<2 {
            try await primary.stop()
            try await senders.send(2, "down \(round)")
            try await waitUntil(
                "all come to the fake MX\n\(postern.log.suffix(3000))", within: PostfixServer.retryPatience, every: .milliseconds(500)
            ) {
                try await senders.openSMTPD.flush()
                return Senders.addresses.allSatisfy { postern.log.contains("client=\($0) deferred=1") }
            }
            try await Task.sleep(for: .seconds(4))
            try await primary.start()
            try await waitUntil("the primary listens again") { Self.reaches(site.primary) }
            try await senders.deliver(12 + round * 6, to: primary.mailbox, postern)
        }
        try await Task.sleep(for: .seconds(3))
        #expect(try await listed(postern).isEmpty)
        try await senders.stop()
        try await primary.stop()
        #expect(try await postern.stop().code == 0)
        try await site.unbound.stop()
    }

    @Test("who writes to a trap mailbox is listed at once, scored, and held in the tarpit; the reply gives nothing away")
    func trapMailbox() async throws {
        let backend = try await PostfixServer.start(.init(recipients: ["bob@example.test"], clientInformation: .xclient))
        let port = try FreePort.next()
        let postern = try PosternProcess(
            "domains: [example.test]\ngreylist: { delay: 1h }\ndelays: { greeting: 0s }\nnetworks: { proxies: [127.0.0.99] }",
            listener:
                "address: \"127.0.0.1:0\" }, { name: mx, role: gateway, address: \"127.0.0.1:\(port)\", backend: \"127.0.0.1:\(backend.port)\", tarpit: true"
        )
        try await postern.start()
        #expect(try await postern.verb("trap", "add", "old@example.test", "--note", "on the web since 2019").status == 0)
        #expect(try await postern.verb("trap", "add", "192.0.2.1").status == 65)
        #expect(try await postern.verb("trap", "list", "--json").output.contains("\"kind\" : \"recipient\""))
        let swaks = try Swaks(port: port)
        // A bounce and a callout prove nothing.
        _ = try await swaks.send(from: "", to: ["old@example.test"], source: "127.0.0.70")
        let unknown = try await swaks.send(to: ["nobody@example.test"], source: "127.0.0.71")
        let trapped = try await swaks.send(to: ["old@example.test"], source: "127.0.0.72")
        let words = { (outcome: Swaks.Outcome) in
            outcome.reply(to: "RCPT")?.reply.joined().replacing("nobody@", with: "").replacing("old@", with: "")
        }
        #expect(words(trapped) == words(unknown) && unknown.reply(to: "RCPT")?.code == 550, "\(trapped.transcript)")
        try await waitUntil("listed") { try await listed(postern)["127.0.0.72"] != nil }
        let entries = try await listed(postern)
        #expect(Array(entries.keys) == ["127.0.0.72"] && entries["127.0.0.72"]?.hasPrefix("black wrote to an address") == true)
        let explained = try await postern.verb(
            "explain", "--ip", "127.0.0.72", "--helo", "mail.sender.test", "--from", "a@sender.test", "--to", "bob@example.test")
        #expect(explained.output.contains("harvested-black"), "\(explained.output)")

        // From here on it meets the tarpit; others do not.
        let held = try await swaks.send(source: "127.0.0.72", extra: ["--timeout", "3"])
        #expect(!held.accepted && held.reply(to: "EHLO") == nil, "\(held.transcript)")
        #expect(try await swaks.send(source: "127.0.0.71").reply(to: "RCPT")?.code == 451)
        // Behind a proxy, too.
        func proxied(_ address: String) async throws -> Swaks.Outcome {
            try await swaks.send(
                source: "127.0.0.99",
                extra: [
                    "--proxy-version", "1", "--proxy-family", "TCP4", "--proxy-source", address, "--proxy-source-port", "4711",
                    "--proxy-dest",
                    "127.0.0.1", "--proxy-dest-port", "25", "--timeout", "3",
                ])
        }
        let behind = try await proxied("127.0.0.72")
        #expect(!behind.accepted && behind.reply(to: "EHLO") == nil, "\(behind.transcript)")
        #expect(try await proxied("127.0.0.74").reply(to: "RCPT")?.code == 451)
        let status = try await postern.verb("status", "--json")
        #expect(status.output.contains("\"held_ever\" : 2") && status.output.contains("\"trap_mail\" : 1"), "\(status.output)")
        // It takes itself off, once.
        #expect(try await postern.verb("block", "remove-self", "127.0.0.72", "--requester", "127.0.0.73").status == 77)
        #expect(try await postern.verb("block", "remove-self", "127.0.0.72", "--requester", "127.0.0.72").status == 0)
        #expect(try await swaks.send(to: ["old@example.test"], source: "127.0.0.72").reply(to: "RCPT")?.code == 550)
        try await waitUntil("listed again") { try await listed(postern)["127.0.0.72"] != nil }
        #expect(try await postern.verb("block", "remove-self", "127.0.0.72", "--requester", "127.0.0.72").status == 77)
        // The entry is there after a restart.
        #expect(try await postern.stop().code == 0)
        #expect(try await listed(postern)["127.0.0.72"] != nil)
        try await backend.stop()
    }
}

import DNSProtocol
import Foundation
import IntegrationSupport
import PosternCore
import Synchronization
import Testing

/// `postern serve` with a resolver to ask, as a mail server's policy client sees it.
@Suite("evidence from DNS", .serialized)
struct EvidenceTests {
    /// A big provider: seven hosts in three networks, one SPF record for all of them.
    private static let hosts = ["192.0.2.10", "192.0.2.11", "198.51.100.3", "198.51.100.4", "198.51.100.5", "203.0.113.8", "203.0.113.9"]

    private func zone() -> ScriptedZone {
        let zone = ScriptedZone()
        zone.add("pool.example", text: "v=spf1 include:_nets.pool.example -all")
        zone.add("_nets.pool.example", text: "v=spf1 ip4:192.0.2.0/25 ip4:198.51.100.0/25 ip4:203.0.113.0/25 ~all")
        zone.add("pool.example", exchange: "mx.pool.example")
        zone.add("open.example", text: "v=spf1 +all")
        zone.add("open.example", exchange: "mx.open.example")
        return zone
    }

    private func start(_ server: ScriptedDNSServer, _ lines: String = "", timeout: String = "2s") async throws -> PosternProcess {
        try await PosternProcess.start(
            "dns: { resolvers: [\"127.0.0.1:\(server.port)\"], timeout: \(timeout) }\ngreylist: { delay: 2s }\n" + lines)
    }

    private func ask(
        _ postern: PosternProcess, _ address: String, from sender: String, to recipient: String = "bob@example.test", name: String = "",
        account: String = ""
    ) throws -> String {
        let client = try postern.client()
        client.send(
            """
            request=smtpd_access_policy
            protocol_state=RCPT
            client_address=\(address)
            client_name=\(name)
            helo_name=mail.pool.example
            sender=\(sender)
            recipient=\(recipient)
            sasl_username=\(account)

            """ + "\n")
        return try client.reply() ?? ""
    }

    @Test("a pool that comes back from any of its networks passes on its first retry", arguments: hosts.indices.dropFirst())
    func poolPasses(_ retry: Int) async throws {
        let zone = zone()
        let server = try ScriptedDNSServer(zone.script)
        defer { server.stop() }
        let postern = try await start(server)
        #expect(try ask(postern, Self.hosts[0], from: "news@pool.example").contains("DEFER_IF_PERMIT"))
        try await Task.sleep(for: .milliseconds(2100))
        let answer = try ask(postern, Self.hosts[retry], from: "news@pool.example")
        #expect(!answer.contains("DEFER"), "\(answer) \(postern.log)")
        try await postern.stop()
    }

    @Test("whoever lets everybody pass has no pool: another network waits anew")
    func everybody() async throws {
        let zone = zone()
        let server = try ScriptedDNSServer(zone.script)
        defer { server.stop() }
        let postern = try await start(server)
        #expect(try ask(postern, "192.0.2.10", from: "a@open.example").contains("DEFER_IF_PERMIT"))
        try await Task.sleep(for: .milliseconds(2100))
        #expect(try ask(postern, "203.0.113.9", from: "a@open.example").contains("DEFER_IF_PERMIT"))
        try await postern.stop()
    }

    @Test("the answer to a user's mail is not greylisted")
    func correspondent() async throws {
        let zone = zone()
        let server = try ScriptedDNSServer(zone.script)
        defer { server.stop() }
        let postern = try await start(server)
        _ = try ask(postern, "10.0.0.9", from: "joe@example.test", to: "ann@pool.example", account: "joe")
        #expect(!(try ask(postern, Self.hosts[3], from: "ann@pool.example", to: "joe@example.test").contains("DEFER")))
        #expect(try ask(postern, Self.hosts[3], from: "ann@pool.example", to: "eve@example.test").contains("DEFER"))
        try await postern.stop()
    }

    @Test("a resolver that falls silent costs the deadline, then nothing; when it answers again look-ups go on")
    func silence() async throws {
        let zone = zone()
        let isSilent = Mutex(false)
        let server = try ScriptedDNSServer { query, transport in
            isSilent.withLock { $0 } ? .silence : zone.script(query, transport)
        }
        defer { server.stop() }
        let postern = try await start(server, timeout: "500ms")
        try await waitUntil("look-ups are on") { postern.log.contains("the resolver answers") }
        isSilent.withLock { $0 = true }
        var times: [Duration] = []
        for number in 0..<20 {
            let start = ContinuousClock.now
            #expect(try ask(postern, "192.0.2.10", from: "a\(number)@nobody\(number).example").contains("DEFER"))
            times.append(ContinuousClock.now - start)
        }
        // The machine may be busy for a moment, but not at each of them.
        #expect(times[0] > .milliseconds(400) && times.allSatisfy { $0 < .seconds(5) }, "\(times)")
        #expect(
            times.suffix(10).min().map { $0 < .milliseconds(250) } == true && times.min().map { $0 < .milliseconds(900) } == true,
            "\(times)")
        #expect(postern.log.contains("no resolver answers"))
        isSilent.withLock { $0 = false }
        try await waitUntil("look-ups are on again") { postern.log.components(separatedBy: "the resolver answers").count == 3 }
        #expect(try ask(postern, Self.hosts[0], from: "news@pool.example").contains("DEFER_IF_PERMIT"))
        try await Task.sleep(for: .milliseconds(2100))
        #expect(!(try ask(postern, Self.hosts[5], from: "news@pool.example").contains("DEFER")))
        try await postern.stop()
    }

    @Test("with a list to ask, a clean stranger passes at once, a listed one waits or is refused, in selective only")
    func lists() async throws {
        let zone = zone()
        // RFC 5782 §5: the entry that every list has. Some of the pool is listed a little, one much.
        zone.add("10.2.0.192.in-addr.arpa", pointer: "mail.pool.example")
        zone.add("mail.pool.example", .a(0xc000_020a))
        zone.add("2.0.0.127.bl.example", .a(0x7f00_0002))
        zone.add("3.100.51.198.bl.example", .a(0x7f00_0003))
        zone.add("8.113.0.203.bl.example", .a(0x7f00_0004))
        let server = try ScriptedDNSServer(zone.script)
        defer { server.stop() }
        for profile in ["selective", "classic"] {
            let postern = try await start(
                server, "profile: \(profile)\ndns_lists: [\"bl.example=127.0.0.[2..3]*4\", \"bl.example=127.0.0.4*12\"]\n")
            try await waitUntil("look-ups are on") { postern.log.contains("the resolver answers") }
            // A list is asked once it has shown that it lists its test entry.
            try await waitUntil("the lists were tested") {
                let json = try await postern.verb("status", "--json").output
                let report = try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any]
                return (report?["dns_lists"] as? [[String: Any]])?.allSatisfy { $0["is_live"] as? Bool == true } == true
            }
            let clean = try ask(postern, Self.hosts[0], from: "a@pool.example")
            #expect(clean.contains("DEFER") == (profile == "classic"), "\(profile) \(clean) \(postern.log)")
            #expect(try ask(postern, Self.hosts[2], from: "b@pool.example").contains("DEFER"))
            let refused = try ask(postern, Self.hosts[5], from: "c@pool.example")
            #expect(refused.hasPrefix("action=554 5.7.1"), "\(refused)")
            let outcome = try await postern.verb("explain", "--ip", Self.hosts[5], "--from", "d@pool.example", "--to", "bob@example.test")
            #expect(outcome.output.contains("dns-lists (bl.example 127.0.0.4) adds 12.0"), "\(outcome.output)")
            try await postern.stop()
        }
    }

    @Test("explain names every check and what was looked up")
    func explain() async throws {
        let zone = zone()
        zone.add("3.100.51.198.in-addr.arpa", pointer: "out3.pool.example")
        zone.add("out3.pool.example", .a(0xc633_6403))
        let server = try ScriptedDNSServer(zone.script)
        defer { server.stop() }
        let postern = try await start(server)
        let outcome = try await postern.verb(
            "explain", "--ip", "198.51.100.3", "--helo", "out3.pool.example", "--from", "news@pool.example", "--to", "bob@example.test")
        #expect(outcome.status == 0)
        for text in [
            "spf: pass for pool.example", "reverse-name: out3.pool.example, confirmed", "helo: leads to the client",
            "sender-domain: takes mail", "helo-is-address: did not fire", "spf:pool.example",
        ] {
            #expect(outcome.output.contains(text), "\(outcome.output)")
        }
        try await postern.stop()
    }

    /// A provider whose networks are wider than /16: its SPF record tells too little, its hosts' names tell enough.
    @Test("a pool in a /15 is known by its hosts' names")
    func widePool() async throws {
        let zone = ScriptedZone()
        zone.add("customer.example", text: "v=spf1 include:spf.outbound.example -all")
        zone.add("spf.outbound.example", text: "v=spf1 ip4:40.92.0.0/15 ip4:52.100.0.0/14 -all")
        zone.add("customer.example", exchange: "mx.customer.example")
        for (address, name) in [("1.7.92.40", "mail-a1"), ("9.200.93.40", "mail-b2")] {
            zone.add("\(address).in-addr.arpa", pointer: "\(name).protection.outbound.example")
        }
        zone.add("mail-a1.protection.outbound.example", .a(0x285c_0701))
        zone.add("mail-b2.protection.outbound.example", .a(0x285d_c809))
        let server = try ScriptedDNSServer(zone.script)
        defer { server.stop() }
        let postern = try await start(server)
        #expect(try ask(postern, "40.92.7.1", from: "ann@customer.example").contains("DEFER_IF_PERMIT"))
        // Without a name the network alone is too wide to be anybody.
        #expect(try ask(postern, "52.101.3.3", from: "bea@customer.example").contains("DEFER_IF_PERMIT"))
        try await Task.sleep(for: .milliseconds(2100))
        let answer = try ask(postern, "40.93.200.9", from: "ann@customer.example")
        #expect(!answer.contains("DEFER"), "\(answer) \(postern.log)")
        #expect(try ask(postern, "52.103.8.8", from: "bea@customer.example").contains("DEFER_IF_PERMIT"))
        try await postern.stop()
    }

    @Test("status tells what resolvers and lists were worth, and never a key")
    func status() async throws {
        let zone = zone()
        zone.add("2.0.0.127.bl.example", .a(0x7f00_0002))
        zone.add("2.0.0.127.other.example", .a(0x7f00_0002))
        zone.add("3.100.51.198.bl.example", .a(0x7f00_0003))
        zone.add("3.100.51.198.other.example", .a(0x7f00_0003))
        let server = try ScriptedDNSServer(zone.script)
        defer { server.stop() }
        let key = "k3y0f0urs0123456789abcdef0"
        let postern = try await start(server, "dns_lists: [bl.example*3, other.example*1, \(key).dead.example]\n")
        // Within a second its first test has failed: it lists nothing.
        try await waitUntil("the lists were tested") { postern.log.contains("DNS list is not asked") }
        _ = try ask(postern, Self.hosts[2], from: "a@pool.example")
        _ = try ask(postern, Self.hosts[2], from: "a@pool.example", to: "eve@example.test")
        let text = try await postern.verb("status").output
        for words in [
            "127.0.0.1:\(server.port)", "looked up for 1 decisions, 0 of them without", "1 more knew it",
            "bl.example: 1 listed (1 also elsewhere), 0 not",
            "dead.example: 0 listed", "NOT ASKED: it does not list its own test entry",
        ] { #expect(text.contains(words), "\(words)\n\(text)") }
        let json = try await postern.verb("status", "--json").output
        let report = try #require(try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any])
        let resolver = try #require(report["resolver"] as? [String: Any])
        #expect(resolver["answers"] as? Bool == true && (resolver["sent"] as? Int ?? 0) > 5)
        #expect((report["evidence"] as? [String: Any])?["gathered"] as? Int == 1)
        let lists = try #require(report["dns_lists"] as? [[String: Any]])
        #expect(lists.map { $0["is_live"] as? Bool } == [true, true, false])
        #expect(lists[0]["overlapping"] as? Int == 1 && lists[2]["ailment"] != nil)
        #expect(!text.contains(key) && !json.contains(key))
        try await postern.stop()
    }

    @Test(
        "a message bears what SPF said, once, also a known sender's", .servers("postfix", "swaks"),
        arguments: ["received-spf", "authentication-results"])
    func field(_ kind: String) async throws {
        let zone = ScriptedZone()
        zone.add("far.example", text: "v=spf1 ip4:127.0.0.0/8 -all")
        zone.add("far.example", exchange: "mx.far.example")
        let server = try ScriptedDNSServer(zone.script)
        defer { server.stop() }
        let postern = try await start(server, "spf: { header: \(kind) }\n")
        let postfix = try await PostfixServer.start(
            .init(recipients: ["bob@example.test", "eve@example.test"], policy: .init("inet:127.0.0.1:\(postern.port)", atData: true)))
        let swaks = try Swaks(port: postfix.port)
        let people = ["bob@example.test", "eve@example.test"]
        let first = try await swaks.send(from: "ann@far.example", to: people, source: "127.0.0.9")
        #expect(!first.accepted, "\(first.transcript)")
        try await Task.sleep(for: .milliseconds(2100))
        for _ in 0..<2 {
            let retry = try await swaks.send(from: "ann@far.example", to: people, source: "127.0.0.9")
            #expect(retry.accepted, "\(retry.transcript)\n\(postern.log)")
        }
        let messages = try await postfix.mailbox.waitForMessages(4)
        for message in messages {
            if kind == "received-spf" {
                #expect(message.all("Received-SPF").count == 1 && message["Received-SPF"]?.hasPrefix("pass (mx.example.test: ") == true)
                #expect(message["Received-SPF"]?.contains("client-ip=127.0.0.9") == true)
            } else {
                #expect(
                    message.all("Authentication-Results") == ["mx.example.test; spf=pass smtp.mailfrom=ann@far.example"],
                    "\(message.headers)")
            }
        }
        #expect(messages.count { $0["X-Greylist"] != nil } == 2, "\(messages.map(\.headers))")
        try await postern.stop()
    }
}

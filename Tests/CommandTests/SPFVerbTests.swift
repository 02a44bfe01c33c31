import DNSProtocol
import Foundation
import IntegrationSupport
import Testing

/// `postern spf`, with a DNS server on loopback.
struct SPFVerbTests {
    private let place: Workplace
    private let server: ScriptedDNSServer
    private let file: String

    init() throws {
        place = try Workplace()
        let zone = ScriptedZone()
        zone.add("example.org", text: "v=spf1 include:_spf.example.org -all exp=why.example.org")
        zone.add("_spf.example.org", text: "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 ?all")
        zone.add("why.example.org", text: "%{i} is not ours; see http://example.org/%{S}")
        zone.add("mail.example.org", text: "v=spf1 a -all")
        zone.add("mail.example.org", .a(0xc000_0207))
        zone.add("everybody.org", text: "v=spf1 +all")
        zone.add("broken.org", text: "v=spf1 ip4:192.0.2 -all")
        zone.add("late.org") { query, _ in .message(query.answer(code: .serverFailure)) }
        server = try ScriptedDNSServer(zone.script)
        file = try place.write("hostname: mx.example.net\ndns: { resolvers: [\"127.0.0.1:\(server.port)\"] }\n", to: "c.yaml")
    }

    private func spf(_ arguments: String...) async throws -> Workplace.Outcome {
        try await place.run(["spf", "--config", file] + arguments)
    }

    @Test func aPass() async throws {
        let outcome = try await spf("--ip", "192.0.2.7", "--from", "jo@example.org", "--helo", "mail.example.org", "--json")
        #expect(outcome.code == 0 && outcome.errors.isEmpty)
        let object = outcome.object
        #expect(object["result"] as? String == "pass" && object["domain"] as? String == "example.org")
        #expect(object["mechanism"] as? String == "include:_spf.example.org" && object["gives_identity"] as? Bool == true)
        #expect((object["terms"] as? [[String: String]])?.last == ["domain": "_spf.example.org", "term": "ip4:192.0.2.0/24"])
        #expect(object["lookups"] as? Int == 1 && object["void_lookups"] as? Int == 0 && object["identity"] as? String == "mailfrom")
        #expect((object["header"] as? String)?.hasPrefix("Received-SPF: pass (mx.example.net: domain of example.org designates") == true)
        #expect(object["authentication_results"] as? String == "spf=pass smtp.mailfrom=jo@example.org")
        #expect(object["explanation"] == nil && object["problem"] == nil && object["weakness"] == nil)
    }

    @Test func aFailWithItsExplanation() async throws {
        let json = try await spf("--ip", "203.0.113.9", "--from", "<jo@example.org>", "--helo", "h", "--json")
        #expect(json.code == 0 && json.object["result"] as? String == "fail")
        #expect(json.object["explanation"] as? String == "203.0.113.9 is not ours; see http://example.org/jo%40example.org")
        let text = try await spf("--ip", "203.0.113.9", "--from", "jo@example.org", "--helo", "h")
        #expect(
            text.output.hasPrefix(
                "result       fail\nbecause      domain of example.org does not designate 203.0.113.9 as permitted sender\n"))
        #expect(text.output.contains("\nmatched      -all (example.org)\n"))
        #expect(text.output.contains("\nexplanation  the domain example.org explains: 203.0.113.9 is not ours; see"))
    }

    @Test(arguments: [
        (["--from", "a@none.org"], "none"), (["--from", ""], "pass"), (["--from", "<>"], "pass"), ([], "pass"),
        (["--from", "a@broken.org"], "permerror"), (["--from", "a@late.org"], "temperror"), (["--from", "a@_spf.example.org"], "pass"),
        (["--from", "nobody"], "none"),
    ])
    func results(arguments: [String], expected: String) async throws {
        let outcome = try await place.run(
            ["spf", "--config", file, "--ip", "192.0.2.7", "--helo", "mail.example.org", "--json"] + arguments)
        #expect(outcome.code == 0 && outcome.object["result"] as? String == expected, "\(outcome)")
    }

    @Test func whatAPassIsWorth() async throws {
        let json = try await spf("--ip", "192.0.2.7", "--from", "a@everybody.org", "--json")
        #expect(json.object["gives_identity"] as? Bool == false && json.object["weakness"] as? String == "all")
        let text = try await spf("--ip", "192.0.2.7", "--from", "a@everybody.org")
        #expect(text.output.contains("\nidentity  none: the record lets everybody pass\n"))
        let problem = try await spf("--ip", "192.0.2.7", "--from", "a@broken.org")
        #expect(problem.output.contains("\nproblem   broken.org: ip4:192.0.2: malformed address\n"))
    }

    @Test func nobodyToAsk() async throws {
        let none = try place.write("dns: { resolvers: [] }\n", to: "none.yaml")
        let outcome = try await place.run("spf", "--config", none, "--ip", "192.0.2.7", "--from", "a@example.org")
        #expect(outcome.code == 69 && outcome.errors == "postern: dns.resolvers is empty, so nobody can be asked\n")
    }

    @Test func aServerThatIsNotThere() async throws {
        let port = server.port
        server.stop()
        let outcome = try await spf("--ip", "192.0.2.7", "--from", "a@example.org", "--json")
        #expect(outcome.code == 0 && outcome.object["result"] as? String == "temperror", "port \(port): \(outcome)")
    }
}

import Foundation
import IntegrationSupport
import Testing

/// `postern replay --look-up`: what resolvers, lists and databases of the configuration say.
struct ReplayLookUpTests {
    private let place: Workplace
    private let server: ScriptedDNSServer

    init() throws {
        place = try Workplace()
        let zone = ScriptedZone()
        zone.add("2.0.0.127.bl.example", .a(0x7f00_0002))
        zone.add("7.113.0.203.bl.example", .a(0x7f00_0004))
        zone.add("2.0.0.127.k3y7w9q2.keyed.example", .a(0x7f00_0002))
        zone.add("7.113.0.203.k3y7w9q2.keyed.example", .a(0x7f00_0002))
        zone.add("7.113.0.203.k3y7w9q2.keyed.example", .a(0x7f00_0009))
        zone.add("good.example", text: "v=spf1 ip4:192.0.2.0/24 -all")
        zone.add("good.example", exchange: "mx.good.example")
        zone.add("mail.good.example", .a(0xc000_0209))
        server = try ScriptedDNSServer(zone.script)
    }

    @Test func listsOfTheConfigurationAreAsked() async throws {
        let config = try place.write(
            """
            dns: { resolvers: ["127.0.0.1:\(server.port)"] }
            dns_lists: ["bl.example*12", "dead.example*5"]

            """, to: "c.yaml")
        let table = try place.write(
            """
            time,client_address,client_name,helo,sender,recipient,label
            1700000000,192.0.2.9,mail.good.example,mail.good.example,a@good.example,b@example.net,ham
            1700000060,203.0.113.7,unknown,x,c@bad.example,b@example.net,spam

            """, to: "t.csv")
        let outcome = try await place.run(
            "replay", "--config", config, "--look-up", "--keep-evidence", place.path("e.csv"), "--json", table)
        #expect(outcome.code == 0, "\(outcome.errors)")
        #expect(outcome.errors.contains("the DNS list dead.example is not asked: it does not list its own test entry"), "\(outcome.errors)")
        let policy = (outcome.object["policies"] as? [[String: Any]])?.first
        #expect((policy?["ham"] as? [String: Any])?["at_once"] as? Int == 1, "\(outcome.output)")
        #expect((policy?["spam"] as? [String: Any])?["refused"] as? Int == 1)
        let checks = policy?["checks"] as? [[String: Any]]
        #expect(checks?.first { $0["check"] as? String == "dns-lists" }?["fired_spam"] as? Int == 1)
        #expect(place.read("e.csv").contains("bl.example"))
        server.stop()
    }

    /// Lists that are called by a name of their own or without their key, with more than one reply, of two policies.
    @Test func whatIsKeptIsReadAgainAsItWas() async throws {
        func config(_ name: String, _ lists: String) throws -> String {
            try place.write("dns: { resolvers: [\"127.0.0.1:\(server.port)\"] }\ndns_lists: \(lists)\n", to: name)
        }
        let one = try config("one.yaml", "[{ zone: bl.example, name: My/List, score: 12 }]")
        let two = try config("two.yaml", "[\"k3y7w9q2.keyed.example=127.0.0.2*5\", \"k3y7w9q2.keyed.example=127.0.0.9*6\"]")
        let table = try place.write(
            "time,client_address,helo,sender,recipient,label\n1700000060,203.0.113.7,x.example,c@bad.example,b@example.net,spam\n",
            to: "t.csv")
        let kept = place.path("e.csv")
        let live = try await place.run(
            "replay", "--config", one, "--against", two, "--look-up", "--keep-evidence", kept, "--json", table)
        let read = try await place.run("replay", "--config", one, "--against", two, "--evidence", kept, "--json", table)
        for outcome in [live, read] {
            let policies = outcome.object["policies"] as? [[String: Any]] ?? []
            #expect(policies.map { ($0["spam"] as? [String: Any])?["refused"] as? Int } == [1, 1], "\(outcome)")
        }
        #expect(
            place.read("e.csv").contains("\tmy/list=127.0.0.4;keyed.example=127.0.0.2;keyed.example=127.0.0.9\t"), "\(place.read("e.csv"))")
        server.stop()
    }

    /// As the daemon would decide, though none runs.
    @Test func explainLooksUpByItself() async throws {
        let config = try place.write(
            """
            data_directory: \(place.folder)/data
            dns: { resolvers: ["127.0.0.1:\(server.port)"] }
            dns_lists: ["bl.example*12"]

            """, to: "c.yaml")
        let outcome = try await place.run(
            "explain", "--config", config, "--ip", "203.0.113.7", "--from", "a@good.example", "--to", "b@example.net", "--json")
        #expect(outcome.code == 0 && outcome.object["verdict"] as? String == "reject", "\(outcome)")
        #expect(outcome.output.contains("bl.example 127.0.0.4"), "\(outcome.output)")
        server.stop()
    }

    @Test func withoutAnybodyToAskItSaysSo() async throws {
        server.stop()
        let config = try place.write("dns: { resolvers: [\"127.0.0.1:\(server.port)\"] }\n", to: "c.yaml")
        let outcome = try await place.run("replay", "--config", config, "--look-up", "/dev/null")
        #expect(outcome.code == 69 && outcome.errors.contains("no resolver answers"), "\(outcome.errors)")
    }
}

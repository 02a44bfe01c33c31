import Foundation
import Testing

/// What the verbs print with --json is what docs/json.schema.json says, field by field.
struct JSONTests {
    private let place: Workplace
    private let schema: JSONSchema

    init() throws {
        place = try Workplace()
        let folder = URL(filePath: #filePath).deletingLastPathComponent().path
        schema = try JSONSchema(contentsOf: "\(folder)/../../docs/json.schema.json")
    }

    /// Runs a verb, and says what of its answer the schema does not.
    private func problems(_ verb: String, _ arguments: String...) async throws -> [String] {
        let outcome = try await place.run(verb.split(separator: " ").map(String.init) + arguments + ["--json"])
        guard let value = outcome.json else { return ["\(verb) printed no JSON: \(outcome.output) \(outcome.errors)"] }
        return schema.problems(of: verb, value)
    }

    @Test func everyVerbThatPrintsHasASchema() async throws {
        let dump = try await place.run("--experimental-dump-help").object
        var verbs: Set<String> = []
        func walk(_ command: [String: Any], _ words: [String]) {
            let subcommands = (command["subcommands"] as? [[String: Any]] ?? []).filter { $0["commandName"] as? String != "help" }
            for sub in subcommands { walk(sub, words + [sub["commandName"] as? String ?? ""]) }
            let names = (command["arguments"] as? [[String: Any]] ?? []).flatMap { $0["names"] as? [[String: Any]] ?? [] }
            if subcommands.isEmpty, names.contains(where: { $0["name"] as? String == "json" }) {
                verbs.insert(words.joined(separator: " "))
            }
        }
        walk(try #require(dump["command"] as? [String: Any]), [])
        #expect(verbs.subtracting(schema.verbs.keys).sorted() == [], "add them to docs/json.schema.json")
        #expect(Set(schema.verbs.keys).subtracting(verbs).sorted() == [], "no such verb")
    }

    @Test func withoutADaemon() async throws {
        let now = Int(Date().timeIntervalSince1970)
        let dump = try place.write("192.0.2.0/a@example.org/b@example.net\t\(now - 900),\(now)\nbroken\n", to: "postgrey.txt")
        let rows = try place.write("domain_awl\texample.com\t192.0.2\t\(now)\t\(now)\noptin_email\ta@example.net\n", to: "sqlgrey.txt")
        let risky = try place.write("greylist: { delay: 1s }\n", to: "risky.yaml")
        let bad = try place.write("hostname: \"\"\n", to: "bad.yaml")
        #expect(try await problems("import postgrey", "--database", dump) == [])
        #expect(try await problems("import sqlgrey", rows) == [])
        #expect(try await problems("config check", risky) == [])
        #expect(try await problems("config check", bad) == [])
        #expect(try await problems("config show") == [])
        let resolver = try place.write("dns: { resolvers: [\"127.0.0.1:9\"], timeout: 100ms }\n", to: "resolver.yaml")
        // Where a client names nobody there is no domain to ask about.
        for helo in ["[192.0.2.7]", "example.org"] {
            #expect(try await problems("spf", "--ip", "192.0.2.7", "--from", "", "--helo", helo, "--config", resolver) == [], "\(helo)")
        }
        for format in ["csv", "text", "nftables", "rbldnsd"] {
            #expect(try await problems("export", format) == [])
            #expect(try await problems("export", format, "--output", place.path("exported")) == [])
        }
        let mails = try place.write(
            """
            time,client_address,client_name,helo,sender,recipient,label
            1700000000,192.0.2.7,mail.example.org,mail.example.org,a@example.org,b@example.net,ham
            1700000400,192.0.2.7,mail.example.org,mail.example.org,a@example.org,b@example.net,ham
            1700000000,198.51.100.7,unknown,x,c@example.com,b@example.net,spam
            nonsense

            """, to: "mails.csv")
        #expect(try await problems("replay", mails, "--against", risky) == [])
        #expect(try await problems("import maillog", mails) == [])
    }

    @Test func withADaemon() async throws {
        let file = try place.write(
            """
            hostname: mx.example.net
            data_directory: ./postern-data
            dns: { resolvers: [] }
            listeners:
              - { name: policy, role: policy, address: "127.0.0.1:0" }
              - { name: trap, role: trap, address: "127.0.0.1:0", mode: tarpit }
            greylist: { delay: 1h }
            throttle: { mode: on, limits: [address attempts 2/1h] }
            accounts: { mode: on, suspend: [account attempts 2/1h] }

            """, to: "c.yaml")
        let settings = ["--config", file]
        func problems(_ verb: String, _ arguments: String...) async throws -> [String] {
            let outcome = try await place.run(verb.split(separator: " ").map(String.init) + arguments + settings + ["--json"])
            guard let value = outcome.json else { return ["\(verb) printed no JSON: \(outcome.output) \(outcome.errors)"] }
            if let list = value as? [Any], list.isEmpty { return ["\(verb) printed nothing to compare"] }
            return schema.problems(of: verb, value)
        }
        try await place.withDaemon(settings + ["--json"]) { daemon in
            let welcome = try JSONSerialization.jsonObject(with: Data(place.read("serve.out").utf8))
            #expect(schema.problems(of: "serve", welcome) == [])
            _ = try await place.policy(daemon.port, sender: "a@example.org", recipient: "b@example.net")
            for _ in 0..<4 {
                _ = try await place.policy(daemon.port, sender: "a@example.org", recipient: "b@example.net", account: "ann@example.org")
            }
            #expect(try await problems("throttle list") == [])
            let near = try await place.run(["throttle", "list", "--json"] + settings).json as? [[String: Any]]
            #expect(try await problems("throttle forget", try #require(near?.first?["id"] as? String)) == [])
            #expect(try await problems("account list") == [])
            #expect(try await problems("account release", "ann@example.org") == [])
            #expect(try await problems("greylist list") == [])
            #expect(try await problems("decisions") == [])
            #expect(try await problems("explain", "--ip", "192.0.2.7", "--from", "a@example.org", "--to", "b@example.net") == [])
            #expect(
                try await problems("explain", "--ip", "192.0.2.8", "--from", "", "--to", "b@example.net", "--helo", "[192.0.2.8]") == [])
            #expect(try await problems("report") == [])
            for verb in ["allow", "block"] {
                #expect(try await problems("\(verb) add", "192.0.2.9", "--note", "n", "--for", "4d") == [])
                #expect(try await problems("\(verb) list") == [])
                #expect(try await problems("\(verb) remove", "192.0.2.9") == [])
            }
            #expect(try await problems("release", "--to", "b@example.net", "--from", "a@example.org", "--ip", "192.0.2.7") == [])
            #expect(try await problems("greylist forget", "--from", "a@example.org") == [])
            #expect(try await problems("backup", place.path("copy.db")) == [])
            let text = place.read("c.yaml")
            try place.write(text.replacing("delay: 1h", with: "delay: 2h, opt_out: [x@example.net]"), to: "c.yaml")
            #expect(try await problems("reload") == [])
            #expect(try await problems("status") == [])
            #expect(try await problems("top", "--count", "1") == [])
            // One that fails is told of, too.
            try place.write(text, to: "good.yaml")
            try place.write("hostname: \"\"\n", to: "c.yaml")
            #expect(try await place.run("reload", "--config", place.path("good.yaml")).code == 78)
            let status = try await place.run("status", "--config", place.path("good.yaml"), "--json")
            #expect(schema.problems(of: "status", try #require(status.json)) == [])
            #expect((status.object["configuration"] as? [String: Any])?["failure"] != nil)
        }
    }

    /// The comparison itself can fail.
    @Test func aFieldThatIsNotDocumentedIsFound() throws {
        func parse(_ text: String) throws -> Any { try JSONSerialization.jsonObject(with: Data(text.utf8)) }
        let released = "\"recipient\": \"a\", \"expires\": \"2026-11-20T08:15:30Z\""
        #expect(schema.problems(of: "release", try parse("{\(released)}")) == [])
        #expect(schema.problems(of: "release", try parse("{\(released), \"x\": 1}")) == ["release.x is not documented"])
        #expect(schema.problems(of: "release", try parse("{\"recipient\": \"a\"}")) == ["release: there is no expires"])
        #expect(schema.problems(of: "release", try parse("{\"recipient\": true, \"expires\": \"now\"}")).count == 2)
        #expect(schema.problems(of: "greylist forget", try parse("{\"forgotten\": 1.5}")).count == 1)
        #expect(schema.problems(of: "greylist forget", try parse("{\"forgotten\": true}")).count == 1)
    }
}

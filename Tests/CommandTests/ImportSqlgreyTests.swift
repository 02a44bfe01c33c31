import Foundation
import IntegrationSupport
import Testing

struct ImportSqlgreyTests {
    private let place: Workplace

    init() throws {
        place = try Workplace()
    }

    private func why(_ address: String, _ sender: String, to recipient: String = "b@example.net") async throws -> String? {
        let outcome = try await place.run("explain", "--ip", address, "--from", sender, "--to", recipient, "--json")
        return (outcome.object["causes"] as? [[String: Any]])?.first?["word"] as? String
    }

    @Test func aTextFromAnotherDatabase() async throws {
        let now = Int(Date().timeIntervalSince1970)
        let file = try place.write(
            """
            from_awl\ta\texample.org\t192.0.2\t\(now - 900)\t\(now).5
            domain_awl\texample.com\t198.51.100.9\t\(now - 900)\t\(now)
            connect\tw\texample.org\t203.0.113.7\tb@example.net\t\(now - 60)
            optout_email\tboss@example.net
            optin_email\tintern@example.net
            connect\tx\texample.org\tmail\tb@example.net\t1

            """, to: "sqlgrey.txt")
        let tried = try await place.run("import", "sqlgrey", "--dry-run", file)
        #expect(tried.output == "would take: 1 triplets and 2 clients and 1 entries; 1 left out\n" && !place.exists("postern-data"))
        let taken = try await place.run("import", "sqlgrey", file)
        #expect(taken.code == 0 && taken.output == "taken: 1 triplets and 2 clients and 1 entries; 1 left out\n")
        #expect(taken.errors.contains("\(file):6: left out: 'mail' is not a source"))
        #expect(taken.errors.contains("greylist.opt_in of the configuration: intern@example.net"))
        #expect(try await why("198.51.100.44", "anybody@example.com") == "proven")
        #expect(try await why("192.0.2.9", "a@example.org") == "new", "one message does not prove a source")
        #expect(try await why("203.0.113.7", "w@example.org") == "early")
        #expect(try await why("203.0.113.7", "w@example.org", to: "boss@example.net") == "allowed")
        // Whoever asks for less.
        #expect(try await place.run("import", "sqlgrey", "--senders", "1", file).code == 0)
        #expect(try await why("192.0.2.9", "a@example.org") == "proven")
        let json = try await place.run("import", "sqlgrey", "--json", "--dry-run", file)
        #expect(json.object["opt_in"] as? [String] == ["intern@example.net"])
        #expect(json.object["clients"] as? Int == 0 && json.object["triplets"] as? Int == 0 && json.object["known"] as? Int == 4)
        #expect(json.object["entries"] as? Int == 0)
    }

    @Test func whatIsNoDatabaseOfSqlgreys() async throws {
        let missing = try await place.run("import", "sqlgrey", "nowhere")
        #expect(missing.code == 66 && missing.errors.contains("nowhere"))
        let broken = try place.write("SQLite format 3\0nothing of the kind", to: "broken.db")
        #expect(try await place.run("import", "sqlgrey", broken).code == 65)
        // A database, and not sqlgrey's: our own.
        #expect(try await place.run("allow", "add", "192.0.2.1").code == 0)
        let other = try await place.run("import", "sqlgrey", "--dry-run", place.path("postern-data/postern.db"))
        #expect(other.code == 65 && other.errors.contains("none of sqlgrey's tables"))
    }

    @Test(.enabled(if: requireServer("sqlgrey")))
    func whatTheRealProgramHadLearnt() async throws {
        let server = try await SqlgreyServer.start()
        func ask(_ address: String, _ name: String, _ sender: String) async throws -> String {
            try await place.policy(server.port, sender: sender, recipient: "b@example.net", address: address, name: name)
        }
        // Two senders of one domain come back, and one of another.
        let retrying = [
            ("198.51.100.9", "mail.example.com", "a@example.com"), ("198.51.100.9", "mail.example.com", "b@example.com"),
            ("192.0.2.7", "unknown", "c@example.org"),
        ]
        for (address, name, sender) in retrying {
            #expect(try await ask(address, name, sender).hasPrefix("action=defer_if_permit"), "\(server.log)")
            // Its times are in seconds, and a retry has to be in a later one.
            try await Task.sleep(for: .milliseconds(1100))
            #expect(try await ask(address, name, sender) == "action=dunno", "\(server.log)")
        }
        #expect(try await ask("203.0.113.5", "unknown", "w@example.org").hasPrefix("action=defer_if_permit"))
        try server.root.makeReadable("var/lib/sqlgrey")
        let taken = try await place.run("import", "sqlgrey", server.database)
        #expect(taken.code == 0 && taken.output == "taken: 1 triplets and 2 clients\n", "\(taken.errors)")
        try await server.stop()
        #expect(try await why("198.51.100.200", "anybody@example.net") == "proven", "sqlgrey knows the whole of 198.51.100")
        #expect(try await why("203.0.113.5", "w@example.org") == "early")
        #expect(try await why("192.0.2.7", "c@example.org") == "new")
        let lists = try await place.run(["import", "sqlgrey", "--lists", "--json"] + server.lists)
        #expect(lists.code == 0 && lists.object["entries"] as? Int ?? 0 > 80, "\(lists.output)")
        #expect(lists.object["skipped_count"] as? Int ?? 99 < 10, "\(lists.output)")
    }
}

import Foundation
import Testing

/// The verbs where no daemon runs: they open the store themselves.
struct OfflineVerbTests {
    private let place: Workplace

    init() throws {
        place = try Workplace()
    }

    @Test func theVersion() async throws {
        let outcome = try await place.run("--version")
        #expect(outcome.code == 0 && outcome.output.wholeMatch(of: /[0-9]+\.[0-9]+\.[0-9]+\n/) != nil)
    }

    /// Groups too, and each verb of theirs; which there are is asked of the program itself.
    @Test func everyVerbHasAHelpWithExamples() async throws {
        struct Dump: Decodable {
            struct Command: Decodable {
                var commandName: String
                var discussion: String?
                var subcommands: [Command]?
            }
            var command: Command
        }
        let dump = try await place.run("--experimental-dump-help")
        let root = try JSONDecoder().decode(Dump.self, from: Data(dump.output.utf8)).command
        var verbs = 0
        func look(_ command: Dump.Command, _ path: String) {
            for verb in command.subcommands ?? [] where verb.commandName != "help" {
                let words = "\(path) \(verb.commandName)"
                verbs += 1
                let examples = verb.discussion?.split(separator: "EXAMPLES\n", omittingEmptySubsequences: false).dropFirst().last
                #expect(examples?.contains(words) == true, "\(words)")
                look(verb, words)
            }
        }
        look(root, "postern")
        #expect(verbs >= 40, "\(verbs)")
        for verb in [["explain"], ["allow", "add"], ["block", "add"], ["trap", "remove"]] {
            let outcome = try await place.run(verb + ["--help"])
            #expect(outcome.code == 0 && outcome.output.contains("EXAMPLES\n  postern \(verb.joined(separator: " "))"), "\(outcome.output)")
            #expect(outcome.output.contains("--config") && outcome.output.contains("--json"))
        }
    }

    @Test(arguments: [
        ["dance"], ["dance", "--help"], ["block", "dance", "--help"], ["explain"], ["block", "add"],
        ["block", "add", "192.0.2.1", "--for", "4x"],
        ["allow", "add", "192.0.2.1", "--as", "friend"],
        ["release"], ["backup"], ["import", "postgrey", "--recipients", "--database", "x"], ["greylist", "list", "--limit", "many"],
        ["greylist", "forget"], ["greylist", "forget", "--json"], ["spf"],
        ["spf", "--ip", "192.0.2.1"], ["spf", "--ip", "mail.example.org", "--from", "a@example.org"], ["spf", "--from", "a@example.org"],
        ["explain", "--ip", "mail.example.org", "--from", "", "--to", "b@example.net"],
        ["explain", "--ip", "192.0.2.1", "--name", "a b", "--from", "", "--to", "b@example.net"],
        ["block", "add", "192.0.2.1", "--for", "0s"], ["release", "--to", "b@example.net", "--for", "0s"],
        ["release", "--to", "b@example.net", "--ip", "x"], ["greylist", "list", "--limit", "0"], ["decisions", "--limit", "10001"],
        ["decisions", "--since", "0s"], ["greylist", "forget", "--since", "0s"], ["throttle", "list", "--limit", "0"],
        ["report", "--since", "0s"], ["import", "text", "--for", "0s", "x"], ["mx", "check", "[127.0.0.1]"], ["mx", "check", "a b"],
        ["mx", "check", "-x.example"], ["block", "remove-self", "x", "--requester", "192.0.2.1"],
    ])
    func misuseIs64(arguments: [String]) async throws {
        #expect(try await place.run(arguments).code == 64)
        #expect(!place.exists("postern-data"))
    }

    @Test func aFileInPlaceOfTheDataFolderIs73() async throws {
        let data = try place.write("", to: "data")
        let file = try place.write("data_directory: \(data)\n", to: "c.yaml")
        for verb in [["serve"], ["block", "add", "192.0.2.7"], ["block", "list"]] {
            let outcome = try await place.run(verb + ["--config", file])
            #expect(outcome.code == 73 && outcome.errors.contains("cannot make the data folder \(data): something else"), "\(outcome)")
        }
    }

    @Test func readingMakesNothing() async throws {
        let explained = try await place.run(
            "explain", "--ip", "192.0.2.7", "--helo", "h", "--from", "a@example.org", "--to", "b@example.net", "--json")
        #expect(explained.code == 0 && explained.object["verdict"] as? String == "defer")
        #expect(explained.object["passes_in_seconds"] as? Int == 180)
        #expect(try await place.run("allow", "list").output == "no allow entries\n")
        #expect(try await place.run("greylist", "list").output == "nothing waits\n")
        #expect(try await place.run("decisions", "--json").output == "[\n\n]\n")
        #expect(!place.exists("postern-data"))
    }

    @Test func anExportKnowsAllSources() async throws {
        for source in ["own", "harvest"] {
            let outcome = try await place.run("export", "csv", "--source", source)
            #expect(outcome.code == 0, "\(outcome)")
        }
        let other = try await place.run("export", "csv", "--source", "other")
        #expect(other.code == 65 && other.errors.contains("there is no source 'other'; there are own, harvest"), "\(other)")
    }

    @Test func explainWantsMailboxes() async throws {
        func explain(_ sender: String) async throws -> Int32 {
            try await place.run("explain", "--ip", "192.0.2.7", "--from", sender, "--to", "b@example.net").code
        }
        for sender in ["example.org", "@example.org", "a@"] { #expect(try await explain(sender) == 65, "\(sender)") }
        for sender in ["<>", "", "root", "a@example.org", "<a@example.org>"] { #expect(try await explain(sender) == 0, "\(sender)") }
    }

    @Test func aDaemonIsNeededForItsState() async throws {
        for verb in ["status", "reload"] {
            let outcome = try await place.run(verb)
            #expect(outcome.code == 69 && outcome.errors.hasPrefix("postern: no daemon answers on ./postern-data/control.sock"))
            #expect(outcome.errors.contains("Where data_directory is another now, SIGHUP reloads the rest") == (verb == "reload"))
        }
    }

    @Test func entriesStay() async throws {
        let added = try await place.run(
            "block", "add", "192.0.2.0/24", "Spammer@example.com", "--for", "4d", "--note", "spam run", "--json")
        #expect(added.code == 0 && added.array.map { $0["kind"] as? String } == ["client", "sender"])
        let listed = try await place.run("block", "list", "--json")
        #expect(listed.array.map { $0["entry"] as? String } == ["192.0.2.0/24", "spammer@example.com"])
        #expect(listed.array.allSatisfy { $0["note"] as? String == "spam run" && $0["expires"] != nil })
        let held = try await place.run("block", "list", "192.0.2.7", "--json")
        #expect(held.array.map { $0["entry"] as? String } == ["192.0.2.0/24"])
        let senders = try await place.run("block", "list", "--as", "sender", "--json")
        #expect(senders.array.map { $0["entry"] as? String } == ["spammer@example.com"])
        #expect(try await place.run("block", "list", "192.0.3.7").output == "no block entries for 192.0.3.7\n")
        let table = try await place.run("block", "list")
        #expect(table.output.split(separator: "\n").map { $0.prefix(6) } == ["KIND  ", "client", "sender"])

        let explained = try await place.run("explain", "--ip", "192.0.2.7", "--from", "<>", "--to", "<b@example.net>")
        #expect(explained.output.contains("verdict  reject") && explained.output.contains("blocked: client 192.0.2.0/24"))

        #expect(try await place.run("block", "remove", "192.0.2.0/24").output == "removed: block client 192.0.2.0/24\n")
        let again = try await place.run("block", "remove", "192.0.2.0/24")
        #expect(again.code == 65 && again.errors == "postern: there is no block entry for the client 192.0.2.0/24\n")
    }

    @Test func allowingASenderIs65WhereNobodyCanCheckSPF() async throws {
        let file = try place.write("dns: { resolvers: [] }\n", to: "c.yaml")
        for entry in ["example.org", "a@example.org"] {
            let outcome = try await place.run("allow", "add", entry, "--config", file)
            #expect(outcome.code == 65 && outcome.errors.contains("SPF") && outcome.output.isEmpty)
        }
        #expect(try await place.run("allow", "add", "example.com").output.contains("allow sender example.com"))
        #expect(try await place.run("allow", "remove", "example.com").code == 0)
        #expect(try await place.run("allow", "add", "example.org", "--as", "client").code == 0)
        #expect(try await place.run("allow", "add", "noc@example.net", "--as", "recipient").code == 0)
        #expect(try await place.run("allow", "list", "--json").array.count == 2)
    }

    @Test func aReleaseHolds() async throws {
        let released = try await place.run("release", "--to", "B@example.net", "--json")
        #expect(released.code == 0 && released.object["recipient"] as? String == "b@example.net")
        let explained = try await place.run("explain", "--ip", "192.0.2.7", "--from", "a@example.org", "--to", "b@example.net")
        #expect(explained.output.contains("verdict  accept") && explained.output.contains("released until"))
    }

    @Test func aCopyIsWrittenOnce() async throws {
        #expect(try await place.run("block", "add", "192.0.2.1").code == 0)
        let copied = try await place.run("backup", "copy.db", "--json")
        #expect(copied.code == 0 && copied.object["path"] as? String == place.path("copy.db"))
        #expect(place.exists("copy.db") && place.exists("copy.db.key"))
        #expect(try await place.run("backup", "copy.db").code == 73)
        #expect(try await place.run("backup", "no/folder/copy.db").code == 73)
        // Put back, it is the store that it was.
        try FileManager.default.createDirectory(atPath: place.path("other/postern-data"), withIntermediateDirectories: true)
        try FileManager.default.moveItem(atPath: place.path("copy.db"), toPath: place.path("other/postern-data/postern.db"))
        try FileManager.default.moveItem(atPath: place.path("copy.db.key"), toPath: place.path("other/postern-data/postern.key"))
        let file = try place.write("data_directory: \(place.path("other/postern-data"))\n", to: "c.yaml")
        #expect(try await place.run("block", "list", "--config", file, "--json").array.map { $0["entry"] as? String } == ["192.0.2.1"])
    }

    @Test func aFolderThatCannotBeMade() async throws {
        let file = try place.write("data_directory: /proc/nowhere/postern\n", to: "c.yaml")
        let outcome = try await place.run("block", "add", "192.0.2.1", "--config", file)
        #expect(outcome.code == 73 && outcome.errors.contains("see data_directory"))
    }

    @Test func aStoreThatIsNone() async throws {
        try FileManager.default.createDirectory(atPath: place.path("postern-data"), withIntermediateDirectories: true)
        try place.write(String(repeating: "this is no database\n", count: 500), to: "postern-data/postern.db")
        let outcome = try await place.run("block", "list")
        #expect(outcome.code == 69 && outcome.errors.hasPrefix("postern: no daemon runs, and the store cannot be opened: "))
    }

    // MARK: - As root

    /// What root made the daemon could not write, so the command becomes the account first.
    @Test(.enabled(if: geteuid() == 0)) func rootBecomesTheDaemonsAccount() async throws {
        chmod(place.folder, 0o777)
        let file = try place.write("data_directory: \(place.path("data"))\nuser: nobody\n", to: "c.yaml")
        let nobody = try #require(getpwnam("nobody")).pointee.pw_uid
        #expect(try await place.run("block", "add", "192.0.2.1", "--config", file).code == 0)
        for path in ["data", "data/postern.db", "data/postern.key"] {
            var status = stat()
            #expect(stat(place.path(path), &status) == 0 && status.st_uid == nobody, "\(path)")
        }
        let missing = try place.write("data_directory: \(place.path("other"))\nuser: no-such-account\n", to: "d.yaml")
        let outcome = try await place.run("block", "add", "192.0.2.1", "--config", missing)
        #expect(outcome.code == 78 && outcome.errors.hasPrefix("postern: user: there is no account no-such-account; make it with "))
    }

    @Test(.enabled(if: geteuid() == 0 && FileManager.default.isExecutableFile(atPath: "/usr/bin/setpriv")))
    func strangersHaveNoPermission() async throws {
        chmod(place.folder, 0o755)
        #expect(try await place.run("block", "add", "192.0.2.1").code == 0)
        for verb in [["status"], ["block", "list"], ["block", "add", "192.0.2.2"]] {
            let outcome = try await place.run(verb, through: ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
            #expect(outcome.code == 77 && !outcome.errors.isEmpty, "\(verb): \(outcome.code) \(outcome.errors)")
        }
    }
}

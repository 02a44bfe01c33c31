import Foundation
import IntegrationSupport
import Testing

/// The verbs beside a running daemon.
struct DaemonVerbTests {
    private let place: Workplace
    private let file: String

    init() throws {
        place = try Workplace()
        file = try place.write(
            """
            hostname: mx.example.net
            data_directory: ./data
            dns: { resolvers: [] }
            listeners: [{ name: policy, role: policy, address: "127.0.0.1:0" }]
            greylist: { delay: 1h }

            """, to: "c.yaml")
    }

    private func run(_ arguments: String...) async throws -> Workplace.Outcome {
        try await place.run(arguments + ["--config", file])
    }

    /// Not even for a moment, and neither in the database nor in its log.
    @Test func whereNoDecisionIsKeptNobodyIsNamedOnDisk() async throws {
        let silent = try place.write(
            "\(place.read("c.yaml").replacing("./data", with: "./silent"))decisions: { keep: 0s }\n", to: "silent.yaml")
        try await place.withDaemon(["--config", silent]) { daemon in
            let deferred = try await place.policy(daemon.port, sender: "secret-a@example.org", recipient: "secret-b@example.net")
            #expect(deferred.hasPrefix("action=DEFER_IF_PERMIT "))
            #expect(try await place.run("decisions", "--config", silent, "--json").array.isEmpty)
            #expect(try await place.run("greylist", "list", "--config", silent).output == "nothing waits\n")
            // The triplet is known all the same.
            let explained = try await place.run(
                "explain", "--ip", "192.0.2.7", "--from", "secret-a@example.org", "--to", "secret-b@example.net", "--json", "--config",
                silent
            ).object
            #expect((explained["triplets"] as? [[String: Any]])?.first?["is_known"] as? Bool == true)
            for file in try FileManager.default.contentsOfDirectory(atPath: place.path("silent")) {
                let octets = try? Data(contentsOf: URL(filePath: "\(place.path("silent"))/\(file)"))
                #expect(octets?.range(of: Data("secret-".utf8)) == nil, "\(file)")
            }
        }
    }

    @Test func aDayInTheLifeOfAnAdmin() async throws {
        let code = try await place.withDaemon(["--config", file]) { daemon in
            let status = try await run("status", "--json").object
            #expect(status["process_id"] as? Int == Int(daemon.pid) && status["hostname"] as? String == "mx.example.net")
            #expect((status["listeners"] as? [[String: Any]])?.first?["address"] as? String == "127.0.0.1:\(daemon.port)")
            #expect(try await run("status").output.hasPrefix("Postern "))

            // A message is deferred; the admin finds out why, and lets it pass.
            let deferred = try await place.policy(daemon.port, sender: "a@example.org", recipient: "b@example.net")
            #expect(deferred.hasPrefix("action=DEFER_IF_PERMIT "))
            let waiting = try await run("greylist", "list", "--json").array
            #expect(waiting.count == 1 && waiting.first?["deferrals"] as? Int == 1)
            #expect((waiting.first?["decision"] as? [String: Any])?["sender"] as? String == "a@example.org")
            let explained = try await run("explain", "--ip", "192.0.2.7", "--from", "a@example.org", "--to", "b@example.net", "--json")
                .object
            #expect((explained["triplets"] as? [[String: Any]])?.first?["is_known"] as? Bool == true)
            #expect((explained["limits"] as? [Any])?.isEmpty == true, "a throttle that is off has nothing to say")
            let reference = try #require((waiting.first?["decision"] as? [String: Any])?["reference"] as? String)
            #expect(deferred.contains(reference), "the reply names it too")
            let found = try await run("decisions", "--reference", reference, "--json").array
            #expect(found.map { $0["verdict"] as? String } == ["defer"])

            #expect(try await run("release", "--to", "b@example.net").code == 0)
            #expect(try await place.policy(daemon.port, sender: "a@example.org", recipient: "b@example.net") == "action=DUNNO")

            // A block counts at once, and so does its end.
            #expect(try await run("block", "add", "192.0.2.7").code == 0)
            #expect(try await place.policy(daemon.port, sender: "a@example.org", recipient: "c@example.net").hasPrefix("action=5"))
            #expect(try await run("block", "remove", "192.0.2.7").code == 0)
            #expect(try await place.policy(daemon.port, sender: "a@example.org", recipient: "c@example.net").hasPrefix("action=DEFER"))

            #expect(try await run("greylist", "forget").code == 64)
            #expect(try await run("greylist", "forget", "--from", "a@example.org", "--json").object["forgotten"] as? Int ?? 0 >= 1)
            #expect(try await run("greylist", "list").output == "nothing waits\n")

            #expect(try await run("backup", "copy.db").code == 0)
            #expect(place.exists("copy.db"))
            let counts = try await run("status", "--json").object["counts"] as? [String: Any]
            #expect(counts?["deferred"] as? Int == 2 && counts?["rejected"] as? Int == 1)
        }
        #expect(code == 0)
        #expect(!place.exists("data/control.sock"))
        // It ends without a complaint.
        #expect(place.read("serve.err").contains("msg=stopped") && !place.read("serve.err").contains("failed"))
        #expect(try await run("status").code == 69)
    }

    /// Whatever a message that was deferred passes by, neither the list of what waits nor the report goes on to say that it has not
    /// come back.
    @Test func whatWasDeferredAndThenLetThroughWaitsNoLonger() async throws {
        let settings = place.read("c.yaml")
        try await place.withDaemon(["--config", file]) { daemon in
            func ask(_ recipient: String, from address: String = "192.0.2.7") async throws -> String {
                try await place.policy(daemon.port, sender: "a@example.org", recipient: recipient, address: address)
            }
            func waiting() async throws -> Set<String?> {
                let list = try await run("greylist", "list", "--json").array
                return Set(list.map { ($0["decision"] as? [String: Any])?["recipient"] as? String })
            }
            let all = ["released@example.net", "allowed@example.net", "out@example.net", "stays@example.net"]
            for recipient in all { #expect(try await ask(recipient).hasPrefix("action=DEFER")) }
            #expect(try await ask("client@example.net", from: "198.51.100.7").hasPrefix("action=DEFER"))
            #expect(try await waiting() == Set(all + ["client@example.net"]))

            #expect(try await run("release", "--to", "released@example.net").code == 0)
            #expect(try await run("allow", "add", "allowed@example.net", "--as", "recipient").code == 0)
            #expect(try await run("allow", "add", "198.51.100.7").code == 0)
            _ = try place.write(settings.replacing("delay: 1h", with: "delay: 1h, opt_out: [out@example.net]"), to: "c.yaml")
            #expect(try await run("reload").code == 0)
            // That somebody may come is not that somebody came.
            #expect(try await waiting().count == 5)
            for recipient in all.dropLast() { #expect(try await ask(recipient) == "action=DUNNO", "\(recipient)") }
            #expect(try await ask("client@example.net", from: "198.51.100.7") == "action=DUNNO")

            var left = try await waiting()
            for _ in 0..<200 where left.count > 1 {
                try await Task.sleep(for: .milliseconds(10))
                left = try await waiting()
            }
            #expect(left == ["stays@example.net"])
            let report = try await run("report", "--json").object
            let policies = report["policies"] as? [[String: Any]]
            let counts = policies?.first?["all"] as? [String: Any]
            #expect(counts?["delayed"] as? Int == 4 && counts?["open"] as? Int == 1 && counts?["deliveries"] as? Int == 5, "\(report)")
            let reasons = try await run("decisions", "--to", "released@example.net", "--json").array.compactMap { $0["reason"] as? String }
            #expect(
                reasons.count == 2 && reasons[0].contains("; deferred before, ") && reasons[0].hasPrefix("released until "), "\(reasons)")
        }
    }

    /// What is behind each door, and whether it is there.
    @Test func statusOfDoors() async throws {
        let closed = try FreePort.next()
        try place.write(
            """
            hostname: mx.example.net
            data_directory: ./data
            dns: { resolvers: [] }
            listeners:
              - { name: mx, role: gateway, address: "127.0.0.1:0", backend: "127.0.0.1:\(closed)" }
              - { name: many, role: throttle, address: "127.0.0.1:0", routes: { example.net: "127.0.0.1:\(closed)" } }

            """, to: "c.yaml")
        try await place.withDaemon(["--config", file]) { _ in
            var status = ""
            // A door looks for its mail server by itself.
            for _ in 0..<100 where !status.contains("IS OUT after") {
                status = try await run("status").output
                try await Task.sleep(for: .milliseconds(50))
            }
            #expect(status.contains(/gateway mx +0 sessions, 0 made to wait; messages: 0 accepted, 0 refused, 0 deferred\n/), "\(status)")
            #expect(status.contains("behind: 127.0.0.1:\(closed) IS OUT after "), "\(status)")
            #expect(status.contains("throttle on at many, else off, accounts off"), "\(status)")
        }
    }

    /// To the system a thread is an account's, not a process.
    @Test(.enabled(if: geteuid() == 0 && getpwnam("nobody") != nil)) func noThreadStaysRoot() async throws {
        chmod(place.folder, 0o755)
        try place.write(place.read("c.yaml") + "user: nobody\n", to: "c.yaml")
        try await place.withDaemon(["--config", file]) { daemon in
            let tasks = "/proc/\(daemon.pid)/task"
            let threads = try FileManager.default.contentsOfDirectory(atPath: tasks)
            #expect(threads.count > 2 && threads.contains("\(daemon.pid)"))
            let nobody = "\(try #require(getpwnam("nobody")).pointee.pw_uid)"
            for thread in threads {
                guard let status = try? String(contentsOfFile: "\(tasks)/\(thread)/status", encoding: .utf8) else { continue }
                let ids = try #require(status.firstMatch(of: /\nUid:\s+(.*)\n/)).1.split(separator: "\t")
                #expect(ids.allSatisfy { $0 == nobody }, "thread \(thread): \(ids)")
                #expect(status.contains(/\nCapEff:\s+0+\n/), "thread \(thread)")
            }
        }
    }

    /// The daemon writes it, so a folder of the caller's alone will not do.
    @Test(.enabled(if: geteuid() == 0 && getpwnam("nobody") != nil)) func aBackupWhereTheDaemonMayNotWrite() async throws {
        chmod(place.folder, 0o755)
        try place.write(place.read("c.yaml") + "user: nobody\n", to: "c.yaml")
        try await place.withDaemon(["--config", file]) { _ in
            let refused = try await run("backup", "copy.db")
            #expect(refused.code == 73 && refused.errors.contains("name a file where that may, such as ./data/copy.db"))
            #expect(try await run("backup", "data/copy.db").code == 0)
            let again = try await run("backup", "data/copy.db")
            #expect(again.code == 73 && again.errors.contains("exists already") && !again.errors.contains("such as"))
        }
    }

    @Test func reloading() async throws {
        try await place.withDaemon(["--config", file]) { daemon in
            let text = place.read("c.yaml")
            try place.write(text.replacing("delay: 1h", with: "delay: 0s"), to: "c.yaml")
            #expect(try await run("reload").output == "reloaded\n  greylist.delay: 1h → 0s\n")
            let state = try await run("status", "--json").object["configuration"] as? [String: Any]
            #expect((state?["changed"] as? [[String: Any]])?.first?["key"] as? String == "greylist.delay")
            #expect(try await run("status").output.contains("then changed: greylist.delay: 1h → 0s"))
            #expect(place.read("serve.err").contains("key=greylist.delay"))
            _ = try await place.policy(daemon.port, sender: "a@example.org", recipient: "b@example.net")
            let second = try await place.policy(daemon.port, sender: "a@example.org", recipient: "b@example.net")
            #expect(!second.hasPrefix("action=DEFER"), "the new delay holds")

            try place.write(text + "policy: { max_connections: 7 }\n", to: "c.yaml")
            #expect(try await run("reload", "--json").object["needs_restart"] as? [String] == ["policy"])
            // It goes on waiting for the restart, whatever is read in between.
            #expect(try await run("reload", "--json").object["needs_restart"] as? [String] == ["policy"])
            #expect(try await run("reload").output == "reloaded; nothing has changed\nneeds a restart: policy\n")
            #expect(try await run("status").output.contains("waits for a restart: policy"))

            // The command reads the same file, so another one finds the daemon while that is wrong.
            try place.write(text, to: "good.yaml")
            try place.write("hostname: \"\"\n", to: "c.yaml")
            let bad = try await place.run("reload", "--config", place.path("good.yaml"))
            #expect(bad.code == 78 && bad.errors.contains("1:11: hostname: must not be empty"))
            // Whoever mends it can see what happens, and act, as long as it says where.
            try place.write("hostname: \"\"\ndata_directory: ./data\n", to: "c.yaml")
            let added = try await run("block", "add", "192.0.2.1")
            #expect(added.code == 0 && added.errors.contains("1:11: hostname: must not be empty"))
            #expect(try await run("status", "--json").code == 0)
            try place.write("hostname: a..b\ndata_directory: ./data\n", to: "c.yaml")
            let refused = try await run("reload")
            #expect(refused.code == 78 && refused.errors.contains("1:11: hostname: ") && !refused.errors.contains("hostname: must"))
            let status = try await place.run("status", "--config", place.path("good.yaml"))
            #expect(status.code == 0 && status.output.contains("could NOT be read again"), "the old one stays in force")
            #expect(status.output.contains("c.yaml:1:11: hostname: ") && !status.output.contains("must not be empty"))
            #expect(place.read("serve.err").components(separatedBy: "the configuration was not reloaded").count == 3, "each is logged")
        }
    }

    @Test func statusNamesASubscriptionThatCannotBeRead() async throws {
        let missing = place.path("missing.txt")
        try place.write(place.read("c.yaml") + "subscriptions: [{ name: drop, source: \(missing), list: black }]\n", to: "c.yaml")
        try await place.withDaemon(["--config", file]) { _ in
            var told = false
            for _ in 0..<500 where !told {
                told = try await run("status").output.contains("drop could NOT be read: ")
                if !told { try await Task.sleep(for: .milliseconds(20)) }
            }
            #expect(told)
        }
    }

    @Test func whatIsInTheWayOfTheControlSocketIsLeftAlone() async throws {
        try FileManager.default.createDirectory(atPath: place.path("data"), withIntermediateDirectories: true)
        try place.write("mine", to: "data/control.sock")
        let served = try await run("serve")
        #expect(served.code == 73 && served.errors.contains("control.sock is in the way of the control socket"), "\(served)")
        #expect(place.read("data/control.sock") == "mine")
    }

    @Test func twoDaemonsOnOneStore() async throws {
        try await place.withDaemon(["--config", file]) { _ in
            let second = try await run("serve")
            #expect(second.code == 75 && second.errors.contains("the store is held by another Postern"))
            #expect(try await run("status").code == 0)
            // What a command wrote past a daemon that it does not find would count only after a restart.
            try FileManager.default.moveItem(atPath: place.path("data/control.sock"), toPath: place.path("data/elsewhere"))
            let added = try await run("block", "add", "192.0.2.1")
            #expect(added.code == 75 && added.errors.contains("no daemon answers on ") && added.errors.contains("held by another Postern"))
            #expect(try await run("serve").code == 75)
            try FileManager.default.moveItem(atPath: place.path("data/elsewhere"), toPath: place.path("data/control.sock"))
            #expect(try await run("block", "list", "--json").array.isEmpty)
        }
    }

    @Test func whatAStrangerSentDoesNotSteerTheTerminal() async throws {
        try await place.withDaemon(["--config", file]) { daemon in
            _ = try await place.policy(daemon.port, sender: "a\u{1b}[2J@example.org", recipient: "b@example.net", helo: "\u{1b}]0;x\u{7}")
            for verb in ["decisions", "greylist list"] {
                let outcome = try await place.run(verb.split(separator: " ").map(String.init) + ["--config", file])
                #expect(outcome.output.contains("example.org") && !outcome.output.unicodeScalars.contains("\u{1b}"), "\(verb)")
            }
        }
    }

    @Test func anImportReachesTheRunningDaemon() async throws {
        try await place.withDaemon(["--config", file]) { daemon in
            #expect(try await place.run(["import", "postgrey", "-", "--config", file], input: "192.0.2\n").code == 0)
            #expect(try await place.policy(daemon.port, sender: "a@example.org", recipient: "b@example.net") == "action=DUNNO")
            let now = Int(Date().timeIntervalSince1970)
            let line = "198.51.100.0/a@example.org/b@example.net\t\(now - 900),\(now)\n"
            #expect(try await place.run(["import", "postgrey", "--database", "-", "--config", file], input: line).code == 0)
            let known = try await place.policy(daemon.port, sender: "a@example.org", recipient: "b@example.net", address: "198.51.100.8")
            #expect(known == "action=DUNNO")
        }
    }

    /// docs/json.schema.json promises the fields of `--json`: none is printed that it does not name.
    @Test func theFieldsOfJSONAreDocumented() async throws {
        let path = URL(filePath: #filePath).deletingLastPathComponent().path + "/../../docs/json.schema.json"
        let documentation = try String(contentsOfFile: path, encoding: .utf8)
        var fields: Set<String> = []
        func collect(_ value: Any?) {
            switch value {
            case let object as [String: Any]:
                fields.formUnion(object.keys)
                for member in object.values { collect(member) }
            case let array as [Any]: for element in array { collect(element) }
            default: break
            }
        }
        let replayed = try place.write(
            "time,client_address,client_name,sender,recipient,label\n0,192.0.2.1,mx.example.org,a@example.org,b@example.net,ham\n"
                + "9,192.0.2.1,,a@example.org,b@example.net,spam\nx,,,,,\n99,192.0.2.1,,a@example.org,c@example.net,\n", to: "replayed.csv")
        let clients = try place.write("192.0.2\n/^mail\\d+\\.example\\.com$/\n", to: "clients")
        try await place.withDaemon(["--config", file]) { daemon in
            _ = try await place.policy(daemon.port, sender: "a@example.org", recipient: "b@example.net")
            let explain = ["explain", "--ip", "192.0.2.7", "--from", "a@example.org", "--to", "b@example.net"]
            for verb in [
                ["status"], explain, ["block", "add", "192.0.2.99", "--for", "1h"], ["block", "list"], ["block", "remove", "192.0.2.99"],
                ["greylist", "list"], ["decisions"], ["release", "--to", "b@example.net", "--from", "a@example.org", "--ip", "192.0.2.7"],
                ["reload"], ["backup", "copy.db"], ["greylist", "forget", "--from", "a@"], ["config", "check"],
                ["import", "postgrey", "--dry-run", clients], ["report"], ["replay", replayed, "--against", file, "--rows", "3"],
                ["import", "maillog", "--dry-run", replayed],
            ] {
                let outcome = try await place.run(verb + ["--json", "--config", file])
                #expect(outcome.code == 0 && outcome.json != nil, "\(verb): \(outcome.output) \(outcome.errors)")
                collect(outcome.json)
            }
        }
        #expect(fields.count > 60)
        for field in fields { #expect(documentation.contains("\"\(field)\""), "\(field)") }
    }
}

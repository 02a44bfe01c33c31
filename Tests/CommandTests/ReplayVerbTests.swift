import Foundation
import Testing

struct ReplayVerbTests {
    private let place: Workplace

    init() throws {
        place = try Workplace()
    }

    /// Two days of one server: a stranger who came back to its greylist, a bot that did not, and a friend who was let in at once.
    private func log() -> String {
        func line(_ day: Int, _ clock: String, _ text: String) -> String { "Nov \(day) \(clock) mx postfix/\(text)\n" }
        func reject(_ day: Int, _ clock: String, _ client: String, _ sender: String) -> String {
            line(
                day, clock,
                "smtpd[1]: NOQUEUE: reject: RCPT from \(client): 450 4.2.0 <b@example.net>: Recipient address rejected: Greylisted; from=<\(sender)> to=<b@example.net> proto=ESMTP helo=<h.example>"
            )
        }
        func accept(_ day: Int, _ clock: String, _ client: String, _ sender: String, _ queue: String) -> String {
            line(day, clock, "smtpd[1]: \(queue): client=\(client)") + line(day, clock, "cleanup[2]: \(queue): message-id=<x>")
                + line(day, clock, "qmgr[3]: \(queue): from=<\(sender)>, size=2000, nrcpt=1 (queue active)")
                + line(
                    day, clock, "lmtp[4]: \(queue): to=<b@example.net>, relay=x, delay=1, delays=0/0/0/0, dsn=2.0.0, status=sent (250 Ok)")
                + line(day, clock, "qmgr[3]: \(queue): removed")
        }
        var text = reject(10, "08:00:00", "mx.example.org[192.0.2.1]", "a@example.org")
        text += reject(10, "08:00:10", "unknown[203.0.113.7]", "x1@example.com")
        text += accept(10, "08:05:10", "mx.example.org[192.0.2.1]", "a@example.org", "4A0001")
        for index in 0..<6 {
            text += accept(11 + index / 3, "09:0\(index):00", "mail.example.info[198.51.100.3]", "f@example.info", "4B000\(index)")
        }
        text += line(12, "10:00:00", "submission/smtpd[5]: 4C0001: client=pc[10.0.0.1], sasl_method=PLAIN, sasl_username=bob@example.net")
        text += line(12, "10:00:01", "qmgr[3]: 4C0001: from=<bob@example.net>, size=700, nrcpt=1 (queue active)")
        text += line(
            12, "10:00:02",
            "smtp[6]: 4C0001: to=<friend@example.edu>, relay=mx.example.edu[192.0.2.99]:25, delay=1, delays=0/0/0/0, dsn=2.0.0, status=sent (250 Ok)"
        )
        return text + "this is no line of a log\n"
    }

    @Test func aLogIsReplayed() async throws {
        let file = try place.write(log(), to: "mail.log")
        let outcome = try await place.run("replay", file, "--year", "2025", "--json")
        #expect(outcome.code == 0 && outcome.errors.isEmpty, "\(outcome.errors)")
        let input = outcome.object["input"] as? [String: Any]
        let counts = input?["counts"] as? [String: Any]
        #expect(counts?["lines"] as? Int == 41 && counts?["attempts"] as? Int == 9 && counts?["own"] as? Int == 1)
        #expect((input?["problems"] as? [String: Any])?["count"] as? Int == 1)
        #expect(input?["from"] as? String == "2025-11-10T08:00:00.000Z")
        let policy = (outcome.object["policies"] as? [[String: Any]])?.first
        let all = policy?["all"] as? [String: Any]
        // The friend's first three messages are delayed by the model, the stranger by its own retry; the bot is blocked.
        #expect(
            all?["deliveries"] as? Int == 8 && all?["delayed"] as? Int == 4 && all?["blocked"] as? Int == 1 && all?["at_once"] as? Int == 3)
        #expect((all?["delay"] as? [String: Any])?["longest"] as? Int == 310)
        #expect(policy?["policy"] as? String == "built-in defaults")
        #expect(!place.exists("postern-data"), "nothing is made")

        let text = try await place.run("replay", file, "--year", "2025").output
        for heading in [
            "RESULT", "CHECKS", "SENDER DOMAINS", "HONEST SENDERS THAT WOULD SUFFER", "THE WHITEPAPER'S TABLES", "BANDWIDTH",
            "not understood",
        ] {
            #expect(text.contains(heading), "\(heading): \(text)")
        }
        #expect(text.contains("passed after a delay              4 (50.0 %)"), "\(text)")
    }

    @Test func compressedFromStandardInputAndSeveral() async throws {
        let file = try place.write(log(), to: "mail.log")
        let plain = try await place.run("replay", file, "--year", "2025", "--json").object["policies"] as? NSArray
        let piped = try await place.run(["replay", "-", "--year", "2025", "--json"], input: log())
        #expect(piped.object["policies"] as? NSArray == plain)
        for (program, name) in [("gzip", "mail.log.gz"), ("zstd", "mail.log.zst")]
        where FileManager.default.isExecutableFile(atPath: "/usr/bin/\(program)") {
            let process = Process()
            process.executableURL = URL(filePath: "/usr/bin/\(program)")
            process.arguments = ["-k", "-q", file]
            try process.run()
            process.waitUntilExit()
            #expect(
                try await place.run("replay", place.path(name), "--year", "2025", "--json").object["policies"] as? NSArray == plain,
                "\(name)")
        }
        // In two pieces, the newer first.
        let lines = log().split(separator: "\n").map { "\($0)\n" }
        try place.write(lines[..<9].joined(), to: "mail.log.1")
        try place.write(lines[9...].joined(), to: "mail.log.0")
        let pieces = try await place.run("replay", place.path("mail.log.0"), place.path("mail.log.1"), "--year", "2025", "--json")
        #expect(pieces.object["policies"] as? NSArray == plain)
    }

    @Test func twoPoliciesAreCompared() async throws {
        let file = try place.write(log(), to: "mail.log")
        let off = try place.write("greylist: { mode: off }\n", to: "off.yaml")
        let hour = try place.write("greylist: { delay: 1h, window: 6h }\n", to: "hour.yaml")
        let outcome = try await place.run("replay", file, "--year", "2025", "--config", off, "--against", hour, "--json")
        let policies = outcome.object["policies"] as? [[String: Any]] ?? []
        #expect(policies.map { $0["policy"] as? String } == [off, hour])
        let changes = (outcome.object["changes"] as? [String: Any])?["changes"] as? [[String: Any]] ?? []
        #expect(changes.contains { $0["from"] as? String == "at_once" && $0["to"] as? String == "blocked" })
        let text = try await place.run("replay", file, "--year", "2025", "--config", off, "--against", hour).output
        #expect(text.contains("WHAT CHANGES") && text.contains("SENDER DOMAINS, \(hour)"), "\(text)")
    }

    @Test func tablesEvidenceAndLists() async throws {
        let table = try place.write(
            """
            time,client_address,client_name,helo,sender,recipient,label,spf,bytes
            1763000000,192.0.2.1,mx.example.org,mx.example.org,a@example.org,b@example.net,ham,pass,1200
            1763000060,203.0.113.7,,x,c@example.com,b@example.net,spam,none,900
            oops,203.0.113.7,,x,c@example.com,b@example.net,spam,none,900

            """, to: "traffic.csv")
        let evidence = try place.write("client_address,dnsbl\n192.0.2.1,none\n203.0.113.7,zen.example=127.0.0.3\n", to: "evidence.csv")
        let outcome = try await place.run("replay", table, "--evidence", evidence, "--list", "zen.example=127.0.0.[2..11]*11", "--json")
        let policy = (outcome.object["policies"] as? [[String: Any]])?.first
        #expect(outcome.code == 0 && (policy?["ham"] as? [String: Any])?["at_once"] as? Int == 1, "\(outcome.output) \(outcome.errors)")
        #expect((policy?["spam"] as? [String: Any])?["refused"] as? Int == 1)
        #expect((policy?["bandwidth"] as? [String: Any])?["saved_known"] as? Int == 900)
        #expect((outcome.object["input"] as? [String: Any])?["attempts_with_evidence"] as? Int == 2)
        let text = try await place.run("replay", table).output
        #expect(text.contains("BY LABEL") && text.contains("traffic.csv:4: oops,203.0.113.7"))
    }

    /// What is recorded counts where nobody could be asked now, with the weights of each policy's own lists.
    @Test func eachPolicyWeighsWhatIsRecordedByItsOwnLists() async throws {
        let table = try place.write(
            """
            time,client_address,client_name,helo,sender,recipient,label,spf,dnsbl
            1763000000,192.0.2.1,mx.example.org,mx.example.org,a@example.org,b@example.net,ham,pass,none
            1763000060,203.0.113.7,,x,c@example.com,b@example.net,spam,none,zen.example=127.0.0.3

            """, to: "traffic.csv")
        let heavy = try place.write("dns: { resolvers: [] }\ndns_lists: [\"zen.example=127.0.0.[2..11]*11\"]\n", to: "heavy.yaml")
        let light = try place.write("dns: { resolvers: [] }\ndns_lists: [\"zen.example*1\"]\n", to: "light.yaml")
        func figures(_ more: String...) async throws -> [[Int?]] {
            let outcome = try await place.run(["replay", table, "--config", heavy, "--against", light, "--json"] + more)
            return (outcome.object["policies"] as? [[String: Any]] ?? []).map { policy in
                [(policy["ham"] as? [String: Any])?["at_once"] as? Int, (policy["spam"] as? [String: Any])?["refused"] as? Int]
            }
        }
        #expect(try await figures() == [[1, 1], [1, 0]])
        #expect(try await figures("--list", "zen.example*11") == [[1, 1], [1, 1]])
        #expect(try await figures("--list", "zen.example*1") == [[1, 0], [1, 0]])
    }

    @Test func entriesOfTheStoreAreHeeded() async throws {
        let file = try place.write(log(), to: "mail.log")
        #expect(try await place.run("block", "add", "198.51.100.0/24").code == 0)
        let outcome = try await place.run("replay", file, "--year", "2025", "--entries", "--json")
        let all = ((outcome.object["policies"] as? [[String: Any]])?.first)?["all"] as? [String: Any]
        #expect(all?["refused"] as? Int == 6)
    }

    @Test func whatCannotBeReplayed() async throws {
        let missing = try await place.run("replay", "nowhere.log")
        #expect(missing.code == 66 && missing.errors == "postern: cannot read nowhere.log: No such file or directory\n")
        let heading = try place.write("time,client_address,sender\n", to: "a.csv")
        #expect(try await place.run("replay", heading).code == 65)
        let nothing = try place.write("hello\nworld\n", to: "b.log")
        let outcome = try await place.run("replay", nothing)
        #expect(outcome.code == 65 && outcome.output.contains("not understood  2 lines") && outcome.errors.contains("nothing was found"))
        let file = try place.write(log(), to: "mail.log")
        let wrong = try place.write("greylist: { dely: 1h }\n", to: "wrong.yaml")
        #expect(try await place.run("replay", file, "--against", wrong).code == 78)
        for arguments in [
            ["--retries", "never"], ["--spam-retries", "2"], ["--list", "zone"], ["--rows", "0"], ["--year", "12"], ["--format", "exim"],
        ] {
            #expect(try await place.run(["replay", file] + arguments).code == 64, "\(arguments)")
        }
    }

    // MARK: - Importing

    @Test func whoIsKnownFromALogIsNotDelayed() async throws {
        // Stamps of the last days, so that nothing is too old.
        let formatter = DateFormatter()
        formatter.locale = Locale(identifier: "en_US_POSIX")
        formatter.timeZone = TimeZone(identifier: "UTC")
        formatter.dateFormat = "MMM d"
        var text = log()
        for (day, back) in [(10, 4), (11, 3), (12, 2)] {
            text = text.replacing("Nov \(day) ", with: formatter.string(from: Date() - Double(back) * 86_400) + " ")
        }
        let file = try place.write(text, to: "mail.log")
        let tried = try await place.run("import", "maillog", "--dry-run", file)
        #expect(
            tried.code == 0 && tried.output == "would take: 2 triplets, 1 proven clients, 1 correspondents\n",
            "\(tried.output) \(tried.errors)")
        #expect(!place.exists("postern-data"))
        let piped = try await place.run(["import", "maillog", "--dry-run", "-"], input: text)
        #expect(piped.output == tried.output, "\(piped)")
        let taken = try await place.run("import", "maillog", "--json", file)
        #expect(
            taken.code == 0 && taken.object["triplets"] as? Int == 2 && taken.object["clients"] as? Int == 1
                && taken.object["correspondents"] as? Int == 1)

        let again = try await place.run("import", "maillog", "--dry-run", file)
        #expect(
            again.code == 0 && again.output == "would take: 0 triplets, 0 proven clients, 0 correspondents; 4 known already\n",
            "\(again.output) \(again.errors)")

        func word(_ address: String, _ name: String, _ sender: String) async throws -> String? {
            let outcome = try await place.run(
                "explain", "--ip", address, "--name", name, "--from", sender, "--to", "b@example.net", "--json")
            return (outcome.object["causes"] as? [[String: Any]])?.first?["word"] as? String
        }
        #expect(try await word("192.0.2.200", "", "a@example.org") == "known")
        #expect(try await word("192.0.2.200", "", "other@example.org") == "new")
        #expect(try await word("100.64.0.1", "out.example.info", "somebody@example.info") == "proven")
        #expect(try await place.run("import", "maillog", place.write("x\n", to: "empty.log")).code == 65)
    }

    // MARK: - The daemon's own

    @Test func theDaemonsReport() async throws {
        let file = try place.write(
            """
            data_directory: ./data
            listeners: [{ name: policy, role: policy, address: "127.0.0.1:0" }]
            greylist: { delay: 0s }
            dns: { resolvers: [] }

            """, to: "c.yaml")
        try await place.withDaemon(["--config", file]) { daemon in
            _ = try await place.policy(daemon.port, sender: "a@example.org", recipient: "b@example.net")
            _ = try await place.policy(daemon.port, sender: "a@example.org", recipient: "b@example.net")
            _ = try await place.policy(daemon.port, sender: "bot@example.com", recipient: "b@example.net", address: "203.0.113.7")
            let outcome = try await place.run("report", "--config", file, "--json")
            let policy = (outcome.object["policies"] as? [[String: Any]])?.first
            let all = policy?["all"] as? [String: Any]
            #expect(
                outcome.code == 0 && all?["delayed"] as? Int == 1 && all?["open"] as? Int == 1 && all?["deliveries"] as? Int == 2,
                "\(outcome.output)")
            let text = try await place.run("report", "--since", "1h", "--config", file).output
            #expect(text.contains("THE WHITEPAPER'S TABLES") && text.contains("unique triplets seen                2"), "\(text)")
        }
        // The record outlives the daemon.
        #expect(try await place.run("report", "--config", file, "--json").code == 0)
        #expect(try await place.run("report", "--rows", "0").code == 64)
    }
}

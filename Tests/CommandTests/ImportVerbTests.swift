import Foundation
import Testing

struct ImportVerbTests {
    private let place: Workplace

    init() throws {
        place = try Workplace()
    }

    @Test func lists() async throws {
        let file = try place.write("# ours\n192.0.2\nexample.org\n/^mail\\d+\\.example\\.com$/\n10.1 # wide\n", to: "whitelist_clients")
        let tried = try await place.run("import", "postgrey", "--dry-run", file)
        #expect(tried.code == 0 && tried.output == "would take: 3 entries; 1 left out\n" && !place.exists("postern-data"))
        let taken = try await place.run("import", "postgrey", file)
        #expect(taken.code == 0 && taken.output == "taken: 3 entries; 1 left out\n")
        #expect(taken.errors.hasPrefix("\(file):4: left out: '/^mail\\d+\\.example\\.com$/': it is a regular expression"))
        let recipients = try await place.run(
            ["import", "postgrey", "--recipients", "--json", "--note", "moved", "-"], input: "postmaster@\nuser@example.net\r\n")
        #expect(recipients.code == 0 && recipients.object["entries"] as? Int == 2)

        let entries = try await place.run("allow", "list", "--json").array
        #expect(
            entries.map { $0["entry"] as? String } == ["10.1.0.0/16", "192.0.2.0/24", "example.org", "postmaster@", "user@example.net"])
        #expect(entries.map { $0["kind"] as? String } == ["client", "client", "client", "recipient", "recipient"])
        #expect(entries.map { $0["note"] as? String } == ["from postgrey", "from postgrey", "from postgrey", "moved", "moved"])
    }

    /// A file of another kind is not a success; nothing at all is one.
    @Test func aFileOfWhichNothingIsTakenIs65() async throws {
        let bad = try place.write("192.0.2.0.1,nolist\nfoo bar,maybe\n", to: "bad.csv")
        let good = try place.write("192.0.2.7,block\nfoo bar,maybe\n", to: "good.csv")
        let empty = try place.write("# nothing\n", to: "empty")
        let noDump = try place.write("foo|bar\n", to: "noDump")
        for verb in [["csv", bad], ["csv", "--dry-run", bad], ["csv", "--json", bad], ["text", bad], ["spamd", noDump]] {
            let outcome = try await place.run(["import"] + verb)
            #expect(outcome.code == 65 && outcome.errors.contains("postern: nothing was taken; lines left out: "), "\(outcome)")
        }
        let json = try await place.run("import", "csv", "--json", bad)
        #expect(json.code == 65 && json.object["skipped_count"] as? Int == 2, "\(json)")
        for verb in [["csv", good], ["csv", empty], ["text", empty], ["spamd", empty]] {
            #expect(try await place.run(["import"] + verb).code == 0, "\(verb)")
        }
    }

    @Test func moreThanOneRequestHolds() async throws {
        let file = try place.write((0..<2500).map { "10.\($0 / 250).\($0 % 250).1\n" }.joined(), to: "many")
        #expect(try await place.run("import", "postgrey", file).output == "taken: 2500 entries\n")
        #expect(try await place.run("allow", "list", "--json").array.count == 2500)
    }

    @Test func whatPostgreyHadLearntIsKnown() async throws {
        let now = Int(Date().timeIntervalSince1970)
        let file = try place.write(
            """
            192.0.2.0/a@example.org/b@example.net\t\(now - 9000),\(now - 60)
            192.0.2.0/w@example.org/b@example.net\t\(now - 30),\(now - 30)
            192.0.2.0/old@example.org/b@example.net\t1000,9000
            198.51.100.9\t5,\(now - 3600)
            broken

            """, to: "postgrey.txt")
        let outcome = try await place.run("import", "postgrey", "--database", file)
        #expect(outcome.code == 0 && outcome.output == "taken: 2 triplets and 1 clients; 1 too old; 1 left out\n")
        #expect(outcome.errors == "\(file):5: left out: there is no tab between key and value\n")

        func explain(_ address: String, _ sender: String) async throws -> String? {
            let outcome = try await place.run("explain", "--ip", address, "--from", sender, "--to", "b@example.net", "--json")
            return (outcome.object["causes"] as? [[String: Any]])?.first?["word"] as? String
        }
        #expect(try await explain("192.0.2.99", "a@example.org") == "known")
        #expect(try await explain("192.0.2.99", "w@example.org") == "early")
        #expect(try await explain("192.0.2.99", "old@example.org") == "new")
        #expect(try await explain("198.51.100.200", "anybody@example.com") == "proven")
    }

    /// A trial looks at what is there, leaves out what an import would, and says what is said twice once.
    @Test func aTrialCountsWhatAnImportWould() async throws {
        let now = Int(Date().timeIntervalSince1970)
        var rows = [
            "192.0.2.0/a@example.org/b@example.net\t\(now - 9000),\(now - 60)",
            "192.0.2.0/A@Example.org/b@example.NET\t\(now - 9500),\(now - 90)",
            "192.0.2.0/w@example.org/b@example.net\t\(now - 30),\(now - 30)",
            "192.0.2.0/old@example.org/b@example.net\t1000,9000",
            "198.51.100.9\t5,\(now - 3600)", "198.51.100.9\t4,\(now - 3700)",
        ]
        let file = try place.write(rows.joined(separator: "\n"), to: "postgrey.txt")
        let tried = try await place.run("import", "postgrey", "--database", "--dry-run", file)
        #expect(tried.code == 0 && tried.output == "would take: 2 triplets and 1 clients; 1 too old\n", "\(tried)")
        #expect(!place.exists("postern-data"))
        #expect(try await place.run("import", "postgrey", "--database", file).output == "taken: 2 triplets and 1 clients; 1 too old\n")

        // What is there already is not new, whether somebody tries or means it; what has changed is, and so is what comes late in a
        // file that takes several requests.
        let known = "; 3 known already; 1 too old\n"
        #expect(
            try await place.run("import", "postgrey", "--database", "--dry-run", file).output
                == "would take: 0 triplets and 0 clients\(known)")
        #expect(try await place.run("import", "postgrey", "--database", file).output == "taken: 0 triplets and 0 clients\(known)")
        let client = rows[5]
        rows = Array(rows.dropFirst(2)) + (0..<1500).map { "192.0.2.0/a@d\($0).example/b@example.net\t\(now - 9000),\(now - 60)" }
        rows += ["192.0.2.0/w@example.org/b@example.net\t\(now - 9000),\(now - 20)", client]
        _ = try place.write(rows.joined(separator: "\n"), to: "postgrey.txt")
        for words in [["--dry-run"], []] {
            let outcome = try await place.run(["import", "postgrey", "--database"] + words + [file])
            #expect(outcome.output.hasSuffix(": 1501 triplets and 0 clients; 1 known already; 1 too old\n"), "\(outcome)")
        }
    }

    @Test func hashesAndMissingFiles() async throws {
        let file = try place.write("da39a3ee5e6b4b0d3255bfef95601890afd80709\t1,2\n", to: "hashed.txt")
        let hashed = try await place.run("import", "postgrey", "--database", file)
        #expect(hashed.code == 65 && hashed.errors.contains("--privacy"))
        let missing = try await place.run("import", "postgrey", "nowhere")
        #expect(missing.code == 66 && missing.errors == "postern: cannot read nowhere: No such file or directory\n")
        #expect(!place.exists("postern-data"))
    }

    /// The program that --help prints, on a database that Berkeley DB itself made.
    @Test(.enabled { await BerkeleyDB.libraries() != nil }) func theOneLinerReadsARealDatabase() async throws {
        let libraries = try #require(await BerkeleyDB.libraries())
        let now = Int(Date().timeIntervalSince1970)
        try FileManager.default.createDirectory(atPath: place.path("postgrey"), withIntermediateDirectories: true)
        // As postgrey 1.37 opens and fills it.
        try await BerkeleyDB.perl(
            """
            use BerkeleyDB; my $e = BerkeleyDB::Env->new(-Home => $ARGV[0],
              -Flags => DB_CREATE|DB_RECOVER|DB_INIT_TXN|DB_INIT_MPOOL|DB_INIT_LOG, -SetFlags => BerkeleyDB::DB_AUTO_COMMIT) or die $!;
            tie my %t, "BerkeleyDB::Btree", -Filename => "postgrey.db", -Flags => DB_CREATE, -Env => $e or die $!;
            tie my %c, "BerkeleyDB::Btree", -Filename => "postgrey_clients.db", -Flags => DB_CREATE, -Env => $e or die $!;
            $t{"192.0.2.0/a\\@example.org/b\\@example.net"} = "\(now - 900),\(now)";
            $c{"198.51.100.9"} = "5,\(now)";
            """, [place.path("postgrey")], libraries)
        let help = try await place.run("import", "postgrey", "--help").output
        let match = try #require(help.firstMatch(of: /perl -MBerkeleyDB -e '((?s:.)*?)' \/var\/lib\/postgrey/))
        let text = try await BerkeleyDB.perl("use BerkeleyDB;" + match.1, [place.path("postgrey")], libraries)
        let outcome = try await place.run(["import", "postgrey", "--database", "-"], input: text)
        #expect(outcome.output == "taken: 1 triplets and 1 clients\n", "\(text)")
    }
}

/// Perl's BerkeleyDB, which postgrey needs: the machine's own, or the one unpacked for the integration tests.
enum BerkeleyDB {
    /// What PERL5LIB and LD_LIBRARY_PATH must name; `nil` where there is none.
    static func libraries() async -> (perl: String, system: String)? {
        let root = URL(filePath: #filePath).deletingLastPathComponent().path + "/../../.build/servers/postgrey/usr"
        let folder = ProcessInfo.processInfo.environment["POSTERN_POSTGREY_ROOT"].map { $0 + "/usr" } ?? root
        let libraries = (
            perl: "\(folder)/lib/x86_64-linux-gnu/perl5/5.36:\(folder)/share/perl5", system: "\(folder)/lib/x86_64-linux-gnu"
        )
        return (try? await perl("use BerkeleyDB; print 1", [], libraries)) == "1" ? libraries : nil
    }

    struct Failure: Error {
        var code: Int32
    }

    @discardableResult
    static func perl(_ program: String, _ arguments: [String], _ libraries: (perl: String, system: String)) async throws -> String {
        try await withCheckedThrowingContinuation { continuation in
            DispatchQueue.global().async { continuation.resume(with: Result { try blockingPerl(program, arguments, libraries) }) }
        }
    }

    private static func blockingPerl(_ program: String, _ arguments: [String], _ libraries: (perl: String, system: String)) throws -> String
    {
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/perl")
        process.arguments = ["-e", program] + arguments
        process.environment = ["PERL5LIB": libraries.perl, "LD_LIBRARY_PATH": libraries.system]
        let output = Pipe()
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw Failure(code: process.terminationStatus) }
        return text
    }
}

import Foundation
import Testing

/// `import csv`, `import text` and `import spamd`: what people have is not always as it should be.
struct ImportListsTests {
    private let place: Workplace

    init() throws {
        place = try Workplace()
    }

    private func entries(_ list: String) async throws -> [String] {
        try await place.run(list, "list", "--json").array.compactMap { $0["entry"] as? String }
    }

    /// One line that cannot be taken takes no others with it, and a trial says the same.
    @Test func aTimeTooFarAheadIsThatLinesOwnMatter() async throws {
        let config = try place.write("dns: { resolvers: [] }\n", to: "c.yaml")
        let file = try place.write(
            "192.0.2.1,block\n192.0.2.2,block,2050-01-01T00:00:00Z,x\n192.0.2.3,block,0s\na@example.org,allow\n192.0.2.4,block,3652d\n",
            to: "far.csv")
        for arguments in [["--dry-run"], []] {
            let outcome = try await place.run(["import", "csv", file, "--config", config] + arguments)
            #expect(outcome.code == 0, "\(outcome)")
            #expect(outcome.output == "\(arguments.isEmpty ? "taken" : "would take"): 2 entries; 3 left out\n")
            #expect(outcome.errors.contains("\(file):2: left out: a time must be longer than nothing and at most 3653d\n"))
            #expect(outcome.errors.contains("\(file):3: left out: a time must be longer"))
            #expect(outcome.errors.contains("\(file):4: left out: allowing the sender a@example.org counts only with an SPF pass"))
        }
        #expect(try await entries("block") == ["192.0.2.1", "192.0.2.4"])
    }

    /// spamd's own times are cut: nobody has written them.
    @Test func spamdsTimesAreCut() async throws {
        let file = try place.write("\u{feff}TRAPPED|192.0.2.1|4102444800\nTRAPPED|192.0.2.2|9999999999999\n", to: "spamdb")
        let outcome = try await place.run("import", "spamd", file)
        #expect(
            outcome.code == 0 && outcome.output == "taken: 2 entries, 0 triplets, 0 clients\n" || outcome.output == "taken: 2 entries\n",
            "\(outcome)")
        let reports = try await place.run("block", "list", "--json").array
        #expect(reports.compactMap { $0["entry"] as? String } == ["192.0.2.1", "192.0.2.2"])
        let years = [3652, 3653].map { days in
            Calendar(identifier: .iso8601).component(.year, from: Date(timeIntervalSinceNow: Double(days) * 86_400))
        }
        for report in reports {
            let expires = report["expires"] as? String ?? ""
            #expect(years.contains { expires.hasPrefix("\($0)-") }, "\(report)")
        }
    }

    /// An entry of the admin's own is neither shortened nor renamed, and what is imported twice is taken once.
    @Test func whatIsKnownStays() async throws {
        #expect(try await place.run("block", "add", "192.0.2.1", "--note", "court order").code == 0)
        #expect(try await place.run("block", "add", "192.0.2.2", "--note", "mine", "--for", "1d").code == 0)
        let file = try place.write("192.0.2.1\n192.0.2.2\n192.0.2.3 bot\n192.0.2.3 again\n", to: "bots.txt")
        func take(_ arguments: String...) async throws -> String {
            try await place.run(["import", "text", "--list", "block"] + arguments + [file]).output
        }
        #expect(try await take("--for", "4d", "--dry-run") == "would take: 2 entries; 2 known already\n")
        #expect(try await take("--for", "4d") == "taken: 2 entries; 2 known already\n")
        let reports = try await place.run("block", "list", "--json").array
        #expect(reports.map { $0["note"] as? String } == ["court order", "mine", "bot"])
        #expect(reports.map { $0["expires"] != nil } == [false, true, true])
        #expect(try await take("--for", "3d") == "taken: 0 entries; 4 known already\n")
        #expect(try await take() == "taken: 2 entries; 2 known already\n")
        #expect(try await take() == "taken: 0 entries; 4 known already\n")
        #expect(try await place.run("block", "list", "--json").array.allSatisfy { $0["expires"] == nil })
    }

    @Test func aByteOrderMarkIsPassedOver() async throws {
        let csv = try place.write("\u{feff}entry,list\r\n192.0.2.1,block\r\n", to: "bom.csv")
        let text = try place.write("\u{feff}192.0.2.2\n", to: "bom.txt")
        for verb in [["csv", csv], ["text", text]] {
            let outcome = try await place.run(["import"] + verb)
            #expect(outcome.code == 0 && outcome.output == "taken: 1 entries\n", "\(outcome)")
        }
        #expect(try await entries("block") == ["192.0.2.1", "192.0.2.2"])
    }

    @Test func aTabOrASemicolonStandsForTheComma() async throws {
        for (name, separator) in [("semicolon", ";"), ("tab", "\t")] {
            let number = separator == ";" ? 1 : 3
            let lines = [
                ["entry", "list", "reason"], ["192.0.2.\(number)", "block", "bulk, \(name)"], ["192.0.2.\(number + 1)", "allow", ""],
            ]
            let file = try place.write(lines.map { $0.joined(separator: separator) + "\n" }.joined(), to: "\(name).csv")
            let outcome = try await place.run("import", "csv", file)
            #expect(outcome.code == 0 && outcome.output == "taken: 2 entries\n", "\(outcome)")
            #expect(try await place.run("block", "list").output.contains("bulk, \(name)"))
        }
    }

    @Test func aCarriageReturnEndsALine() async throws {
        let lines = (0..<9000).map { "10.0.\($0 / 256).\($0 % 256),block" }
        for (number, end) in ["\r", "\r\n", "\n"].enumerated() {
            let file = try place.write(lines.joined(separator: end) + (number == 1 ? "" : end), to: "ends.csv")
            let outcome = try await place.run("import", "csv", "--dry-run", file)
            #expect(outcome.code == 0 && outcome.output == "would take: 9000 entries\n", "\(number): \(outcome)")
        }
        let mixed = try place.write("192.0.2.1,block\r192.0.2.2,allow\r\nx x,block\r192.0.2.3,block", to: "mixed.csv")
        let outcome = try await place.run("import", "csv", mixed)
        #expect(outcome.output == "taken: 3 entries; 1 left out\n" && outcome.errors.hasPrefix("\(mixed):3: left out"), "\(outcome)")
    }

    /// What one site writes is the same where another reads it: both lists, times to the millisecond, and no words of ours.
    @Test func ownEntriesAreTheSameElsewhere() async throws {
        let expires = Date(timeIntervalSinceNow: 100 * 86_400).formatted(.iso8601.year().month().day()) + "T00:00:00.000Z"
        let file = try place.write(
            "entry,list,expires,reason\n192.0.2.1,block,\(expires),\n192.0.2.2,allow,,friend\nb.example,block,\(expires),x\n", to: "own.csv"
        )
        #expect(try await place.run("import", "csv", file).output == "taken: 3 entries\n")
        let exported = try await place.run("export", "csv", "--source", "own").output
        #expect(
            exported.split(separator: "\n").dropFirst().sorted() == [
                "192.0.2.1,block,\(expires),,own,client", "192.0.2.2,allow,,friend,own,client", "b.example,block,\(expires),x,own,sender",
            ], "\(exported)")
        let listed = try await place.run("block", "list", "--json").array
        #expect(listed.map { $0["expires"] as? String } == [expires, expires] && listed.first?["note"] as? String == "", "\(listed)")
        #expect(try await place.run("export", "csv", "--source", "own", "--colour", "black").output.contains("192.0.2.2") == false)
        // A running daemon takes it as exactly.
        let config = try place.write(
            "data_directory: ./other\nlisteners: [{ name: policy, role: policy, address: \"127.0.0.1:0\" }]\ndns: { resolvers: [] }\n",
            to: "c.yaml")
        try place.write(exported, to: "out.csv")
        try await place.withDaemon(["--config", config]) { _ in
            let taken = try await place.run("import", "csv", place.path("out.csv"), "--config", config)
            #expect(taken.output == "taken: 3 entries\n")
            let again = try await place.run("export", "csv", "--source", "own", "--config", config)
            #expect(again.output == exported)
        }
        let bare = try place.write("192.0.2.9,block\n", to: "bare.csv")
        #expect(try await place.run("import", "csv", bare).code == 0)
        #expect(try await place.run("block", "list").output.contains("imported"))
    }

    @Test func trapsAreTaken() async throws {
        let config = try place.write("dns: { resolvers: [] }\ndomains: [example.org]\n", to: "c.yaml")
        let file = try place.write("old@example.org,trap\nspare.example,Trap\n192.0.2.1,trap\nexample.org,trap\n", to: "traps.csv")
        let outcome = try await place.run("import", "csv", file, "--config", config)
        #expect(outcome.code == 0 && outcome.output == "taken: 2 entries; 2 left out\n", "\(outcome)")
        #expect(outcome.errors.contains("\(file):3: left out: 192.0.2.1 is an address; a trap is"))
        #expect(outcome.errors.contains("\(file):4: left out: example.org covers a domain that we receive for"))
        #expect(try await entries("trap").sorted() == ["old@example.org", "spare.example"])
    }

    @Test func pipesAndDevicesAreRead() async throws {
        let shell = ["/bin/bash", "-c", #"shift 0; exec "$0" "$1" "$2" --list block <(echo 192.0.2.9)"#]
        let pipe = try await place.run(["import", "text"], through: shell)
        #expect(pipe.code == 0 && pipe.output == "taken: 1 entries\n", "\(pipe)")
        let numbered = ["/bin/bash", "-c", #"exec "$0" "$1" "$2" /dev/fd/3 3< <(echo 192.0.2.8,block)"#]
        let descriptor = try await place.run(["import", "csv"], through: numbered)
        #expect(descriptor.code == 0 && descriptor.output == "taken: 1 entries\n", "\(descriptor)")
        let nothing = try await place.run("import", "text", "/dev/null")
        #expect(nothing.code == 0 && nothing.output == "taken: 0 entries\n", "\(nothing)")
        #expect(try await entries("block") == ["192.0.2.8", "192.0.2.9"])
    }

    @Test func aFolderIsToldAsOne() async throws {
        for verb in [["csv"], ["text"], ["spamd"], ["postgrey"], ["sqlgrey"]] {
            let outcome = try await place.run(["import"] + verb + [place.folder])
            #expect(outcome.code == 66 && outcome.errors == "postern: cannot read \(place.folder): it is a folder\n", "\(outcome)")
        }
    }

    @Test func whatIsNotUTF8OrFarTooLongIsReported() async throws {
        var octets = Array("192.0.2.1,block\n2.".utf8) + [0xff, 0xfe] + Array(",block\n".utf8)
        octets += [UInt8](repeating: UInt8(ascii: "x"), count: 300_000) + Array("\n192.0.2.2,block".utf8)
        let path = place.path("octets.csv")
        try Data(octets).write(to: URL(filePath: path))
        let outcome = try await place.run("import", "csv", path)
        #expect(outcome.code == 0 && outcome.output == "taken: 2 entries; 2 left out\n", "\(outcome)")
        #expect(
            outcome.errors == "\(path):2: left out: the line is not UTF-8\n\(path):3: left out: the line is longer than 65536 octets\n")
        #expect(try await entries("block") == ["192.0.2.1", "192.0.2.2"])
    }

    @Test func quotedMailboxesAreEntriesAndWildcardsAreNone() async throws {
        #expect(try await place.run("block", "add", #""a b"@x.example"#, #""jo"@x.example"#).code == 0)
        #expect(try await place.run("trap", "add", #""x y"@x.example"#).code == 0)
        #expect(try await entries("block") == [#""a b"@x.example"#, "jo@x.example"])
        let released = try await place.run("release", "--to", #""a b"@x.example"#)
        #expect(released.code == 0 && released.output.hasPrefix(#"released: mail to <"a b"@x.example> passes"#), "\(released)")
        #expect(try await place.run("block", "remove", #""a\ b"@x.example"#).code == 0)
        let wild = try await place.run("block", "add", "*@x.example")
        #expect(wild.code == 65 && wild.errors.hasSuffix("; write x.example for the whole domain, with all below it\n"), "\(wild)")
        for entry in ["a@b@c.example", "-x.example", "2.\u{fffd}"] {
            #expect(try await place.run("block", "add", "--", entry).code == 65, "\(entry)")
        }
        #expect(try await entries("block") == ["jo@x.example"])
    }

    /// Twenty parts, into a store and into a running daemon: with each part read against all before it, this took minutes.
    @Test func aLongListIsTakenInAReasonableTime() async throws {
        let config = try place.write(
            "listeners: [{ name: policy, role: policy, address: \"127.0.0.1:0\" }]\ndns: { resolvers: [] }\n", to: "c.yaml")
        let file = try place.write(
            (0..<20_000).map { "10.\($0 / 65_536).\($0 / 256 % 256).\($0 % 256),block,,bulk\n" }.joined(), to: "long.csv")
        #expect(try await place.run("import", "csv", file, "--config", config).output == "taken: 20000 entries\n")
        try await place.withDaemon(["--config", config]) { _ in
            let other = try place.write((0..<20_000).map { "11.0.\($0 / 256).\($0 % 256),block,,bulk\n" }.joined(), to: "other.csv")
            #expect(try await place.run("import", "csv", other, "--config", config).output == "taken: 20000 entries\n")
            let explained = try await place.run(
                "explain", "--ip", "11.0.78.31", "--from", "a@example.org", "--to", "b@example.net", "--json", "--config", config)
            #expect(explained.object["verdict"] as? String == "reject", "\(explained)")
            let status = try await place.run("status", "--json", "--config", config).object["store"] as? [String: Any]
            #expect(status?["entries"] as? Int == 40_000)
        }
    }
}

import Foundation
import PosternControl
import PosternCore
import PosternEngine
import Testing

struct PostgreyTests {
    private func pattern(_ line: String, _ kind: PostgreyLists.Kind = .clients) -> String? {
        if case .entry(let draft) = PostgreyLists.read(line, kind) { draft.pattern } else { nil }
    }

    @Test(arguments: [
        ("192.0.2.1", "192.0.2.1"), ("192.0.2.0/24", "192.0.2.0/24"), ("192.0.2.77/24", "192.0.2.0/24"), ("192.0.2", "192.0.2.0/24"),
        ("10.1", "10.1.0.0/16"), ("2001:db8::/32", "2001:db8::/32"), ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("2001:db8::1/64", "2001:db8::/64"), ("example.org", "example.org"), ("  Example.ORG  # comment", "example.org"),
        ("mail-1.example.co.uk", "mail-1.example.co.uk"), ("/\\.example\\.com$/", "example.com"),
        ("/(^|\\.)example\\.com$/", "example.com"),
        ("/(?:^|\\.)example\\.com$/", "example.com"), ("/^.*\\.example\\.com$/", "example.com"),
        ("/^mail\\.example\\.com$/", "mail.example.com"),
        ("/^odk.fdv.uni-lj.si$/", "odk.fdv.uni-lj.si"), ("/^.*?.server.arvato-systems.de$/", "server.arvato-systems.de"),
        ("/example\\.com$/", "example.com"),
    ])
    func aClientThatCanBeSaid(line: String, wanted: String) {
        #expect(pattern(line) == wanted)
    }

    @Test(arguments: ["", "   ", "# 192.0.2.1", "\t# x"])
    func nothingIsSaid(line: String) {
        #expect(PostgreyLists.read(line, .clients) == .nothing)
    }

    @Test(arguments: [
        "/^mail\\d+\\.example\\.com$/", "/^ms-smtp.*\\.rr\\.com$/", "/^mta[12].siol.net$/", "/example/", "/^mail\\./", "/$/", "10",
        "1.2.3.4.5",
        "192.0.2.300", "192.0.2.0/33", "192.0.2/24", "2001:db8::/129", "localhost", "two words", "/(a|b)\\.example\\.com$/",
        "/\\w\\.example\\.com$/",
        "*.example.com", "//", "user@example.org",
    ])
    func aClientThatCannotBeSaid(line: String) {
        guard case .skipped(let reason) = PostgreyLists.read(line, .clients) else {
            Issue.record("\(line) gave \(PostgreyLists.read(line, .clients))")
            return
        }
        #expect(!reason.isEmpty)
    }

    @Test(arguments: [
        ("postmaster@", "postmaster@"), ("User@Example.org", "user@example.org"), ("example.org", "example.org"),
        ("@example.org", "example.org"),
        ("/@example\\.com$/", "example.com"), ("/(?:\\@|\\.)example\\.com$/", "example.com"), ("/^noc@example\\.com$/", "noc@example.com"),
        ("/^noc@/", "noc@"),
    ])
    func aRecipientThatCanBeSaid(line: String, wanted: String) {
        #expect(pattern(line, .recipients) == wanted)
    }

    @Test(arguments: ["/^noc-.*@example\\.com$/", "192.0.2.1", "localhost", "/noc/", "/^@/", "/example\\.com$/"])
    func aRecipientThatCannotBeSaid(line: String) {
        guard case .skipped = PostgreyLists.read(line, .recipients) else {
            Issue.record("\(line) gave \(PostgreyLists.read(line, .recipients))")
            return
        }
    }

    @Test func whatIsReadIsAnAllowEntryOfItsKind() {
        #expect(
            PostgreyLists.read("192.0.2.1", .clients, note: "postgrey")
                == .entry(EntryDraft(list: .allow, kind: .client, pattern: "192.0.2.1", note: "postgrey")))
        #expect(PostgreyLists.read("a@", .recipients) == .entry(EntryDraft(list: .allow, kind: .recipient, pattern: "a@")))
    }

    /// Every entry that is read is one that the handler takes.
    @Test(.enabled(if: Testdata.folder != nil)) func theListsThatComeWithPostgrey() throws {
        let folder = try #require(Testdata.folder) + "/lists/farms/"
        var entries = 0
        var skipped = 0
        for (file, kind) in [("postgrey_whitelist_clients", PostgreyLists.Kind.clients), ("postgrey_whitelist_recipients", .recipients)] {
            for line in try String(contentsOfFile: folder + file, encoding: .utf8).split(separator: "\n") {
                switch PostgreyLists.read(line, kind) {
                case .entry(let draft):
                    entries += 1
                    #expect(Pattern(draft.pattern)?.description == draft.pattern)
                case .skipped(let reason):
                    skipped += 1
                    #expect(line.hasPrefix("/"), "\(line): \(reason)")
                case .nothing: #expect(line.hasPrefix("#"))
                }
            }
        }
        #expect(entries > 100 && skipped < 40)
    }

    // MARK: - Database

    private func read(_ text: String, delay: WallTime.Span = .minutes(5)) -> [PostgreyDump.Record] {
        var dump = PostgreyDump(delay: delay)
        return text.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false).compactMap { dump.read(String($0)) }
    }

    private let expected: [PostgreyDump.Record] = [
        .triplet(
            .init(address: "192.0.2.0", sender: "a@example.org", recipient: "b@example.net", firstSeen: 1000, lastSeen: 1300, passed: true)),
        .triplet(
            .init(address: "192.0.2.0", sender: "w@example.org", recipient: "b@example.net", firstSeen: 1000, lastSeen: 1299, passed: false)
        ),
        .client(.init(address: "198.51.100.9", passes: 7, lastSeen: 1500)),
    ]

    @Test func tabbedLines() {
        let text =
            "192.0.2.0/a@example.org/b@example.net\t1000,1300\n192.0.2.0/w@example.org/b@example.net\t1000,1299\n198.51.100.9\t7,1500\n"
        #expect(read(text) == expected)
        #expect(read(text.replacing("\n", with: "\r\n")) == expected)
    }

    /// As Berkeley DB's db_dump -p writes it.
    @Test func printableDumps() {
        let text = """
            VERSION=3
            format=print
            type=btree
            db_pagesize=4096
            HEADER=END
             192.0.2.0/a@example.org/b@example.net
             1000,1300
             192.0.2.0/w@example.org/b@example.net
             1000,1299
            DATA=END
            VERSION=3
            format=print
            type=btree
            HEADER=END
             198.51.100.9
             7,1500
            DATA=END

            """
        #expect(read(text) == expected)
    }

    @Test func hexadecimalDumps() {
        func hex(_ text: String) -> String { " " + text.utf8.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined() }
        let text = """
            VERSION=3
            format=bytevalue
            type=btree
            HEADER=END
            \(hex("192.0.2.0/a@example.org/b@example.net"))
            \(hex("1000,1300"))
            \(hex("192.0.2.0/w@example.org/b@example.net"))
            \(hex("1000,1299"))
            \(hex("198.51.100.9"))
            \(hex("7,1500"))
            DATA=END
            """
        #expect(read(text) == expected)
    }

    @Test func escapesInADump() {
        let text = "VERSION=3\nformat=print\nHEADER=END\n 192.0.2.0/\\c3\\bc\\\\@example.org/b@example.net\n 1,2\nDATA=END\n"
        #expect(read(text).count == 1)
        guard case .triplet(let triplet)? = read(text).first else { return }
        #expect(triplet.sender == "ü\\@example.org")
    }

    @Test(arguments: [
        ("192.0.2.0//b@example.net", "", "b@example.net"), ("192.0.2.0/root/b@example.net", "root", "b@example.net"),
        ("192.0.2.0/a/b@example.org/c@example.net", "a/b@example.org", "c@example.net"),
        ("192.0.2.0/a@example.org/c/d@example.net", "a@example.org", "c/d@example.net"),
        ("2001:db8:0:0:0:0:0:0/a@example.org/b@example.net", "a@example.org", "b@example.net"),
        ("192.0.2.0//c/d@example.net", "", "c/d@example.net"),
    ])
    func keysWithSlashes(key: String, sender: String, recipient: String) {
        guard case .triplet(let triplet)? = read("\(key)\t1,1").first else {
            Issue.record("\(read("\(key)\t1,1"))")
            return
        }
        #expect(triplet.sender == sender && triplet.recipient == recipient)
    }

    @Test(arguments: [
        "no tab", "192.0.2.0/a@b.example/c@d.example\t1", "192.0.2.0/a@b.example/c@d.example\t1,x",
        "192.0.2.0/a@b.example/c@d.example\t-1,2",
        "somewhere/a@b.example/c@d.example\t1,2", "192.0.2.0/a@b.example\t1,2", "192.0.2.0/a@b.example/\t1,2", "host.example\t1,2",
        "192.0.2.0/\t1,2", "\t1,2",
        "VERSION=3\nHEADER=END\nno space\n 31\nDATA=END", "VERSION=3\nHEADER=END\n 3\n 31\nDATA=END",
        "VERSION=3\nHEADER=END\n 31\nDATA=END",
        "VERSION=3\nformat=print\nHEADER=END\n a\\zz\n 1,2\nDATA=END",
    ])
    func whatCannotBeReadIsTold(text: String) {
        let records = read(text)
        #expect(records.count == 1)
        guard case .unreadable(let reason)? = records.first else {
            Issue.record("\(records)")
            return
        }
        #expect(!reason.isEmpty)
    }

    @Test func hashedKeysAreTold() {
        #expect(read("da39a3ee5e6b4b0d3255bfef95601890afd80709\t1,2") == [.hashed])
    }
}

enum Testdata {
    /// Collected data of other projects, where it is at hand.
    static let folder: String? = {
        let beside = URL(filePath: #filePath).deletingLastPathComponent().path + "/../../../shared/testdata"
        let path = ProcessInfo.processInfo.environment["POSTERN_TESTDATA"] ?? beside
        return FileManager.default.fileExists(atPath: path) ? path : nil
    }()
}

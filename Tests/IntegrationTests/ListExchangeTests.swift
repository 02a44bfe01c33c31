import Foundation
import IntegrationSupport
import Testing

/// Lists that go out, to rbldnsd and nftables, and lists that come in, from files, from the web and from spamd.
@Suite("lists in and out", .serialized)
struct ListExchangeTests {
    private func start(_ lines: String = "") async throws -> PosternProcess { try await PosternProcess.start(lines) }

    @Test("rbldnsd serves an export, and answers as our own DNS service does", .servers("rbldnsd", "bind9-dnsutils"))
    func rbldnsd() async throws {
        let port = try FreePort.next()
        let postern = try PosternProcess(
            "",
            listener:
                "address: \"127.0.0.1:0\" }, { name: lists, role: dnsbl, address: \"127.0.0.1:\(port)\", zone: bl.example.net, rate_limit: 0, lookup: \"https://example.net/$\""
        )
        try await postern.start()
        try await waitUntil("the DNS service listens") { FreePort.isListening(port) }
        let csv = try postern.folder.write(
            "192.0.2.7,block,2h,spam run\n192.0.2.8,block,,\n198.51.100.0/24,block,,a $ network\n198.51.100.9,allow,,\n2001:db8::/48,block,3h,six\n2001:db8::1,allow,,\n",
            to: "in.csv")
        #expect(try await postern.verb("import", "csv", csv).output.contains("taken: 6 entries"))
        let folder = try TemporaryFolder("rbldnsd")
        let zone = folder.file("bl.zone")
        let exported = try await postern.verb(
            "export", "rbldnsd", "--output", zone, "--colour", "black", "--colour", "white", "--json")
        #expect(exported.status == 0 && exported.output.contains("\"entries\" : 6"), "\(exported.output)")
        let root = try PrivateRoot("rbldnsd", folder: folder)
        let other = try FreePort.next()
        let process = try root.start([
            "/usr/sbin/rbldnsd", "-n", "-f", "-u", "nobody", "-b", "127.0.0.1/\(other)", "bl.example.net:combined:\(zone)",
        ])
        defer { process.kill() }
        try await process.waitUntilReady("started") { process.log.contains("rbldnsd version") && process.log.contains("started") }
        let names = [
            "7.2.0.192", "8.2.0.192", "9.2.0.192", "9.100.51.198", "200.100.51.198", "2.0.0.127", "1.0.0.127", "1.101.51.198",
            "5" + String(repeating: ".0", count: 23) + ".8.b.d.0.1.0.0.2", "1" + String(repeating: ".0", count: 23) + ".8.b.d.0.1.0.0.2",
            "5" + String(repeating: ".0", count: 22) + ".9.8.b.d.0.1.0.0.2",
        ].map { "\($0).bl.example.net" }
        for type in ["A", "TXT"] {
            for name in names {
                let ours = try await DNSClient(port: port).dig(name, type, "+noall", "+answer", "+comments", "+noedns")
                let theirs = try await DNSClient(port: other).dig(name, type, "+noall", "+answer", "+comments", "+noedns")
                func status(_ output: String) -> Substring? {
                    output.split(separator: "\n").first { $0.contains("status:") }?.split(separator: ",")[1]
                }
                func answer(_ output: String) -> [String] {
                    output.split(separator: "\n").filter { $0.hasPrefix(name) }.map { line in
                        // But for the time to live, which counts down here.
                        line.split(whereSeparator: \.isWhitespace).enumerated().filter { $0.offset != 1 }.map(\.element).joined(
                            separator: " ")
                    }
                }
                #expect(status(ours) == status(theirs) && answer(ours) == answer(theirs), "\(type) \(ours)\n\(theirs)")
            }
        }
        #expect(try await postern.stop() == .status(0))
    }

    @Test("nft loads an export into a namespace of its own, again and again", .servers("nftables"))
    func nftables() async throws {
        let postern = try await start("geo: { databases: [] }")
        for entry in ["192.0.2.7", "198.51.100.0/24", "198.51.100.9", "2001:db8::/48"] {
            #expect(try await postern.verb("block", "add", entry, "--for", "1h").status == 0)
        }
        #expect(try await postern.verb("block", "add", "203.0.113.5").status == 0)
        let folder = try TemporaryFolder("nft")
        let file = folder.file("sets.nft")
        #expect(try await postern.verb("export", "nftables", "--output", file).status == 0)
        let root = try PrivateRoot("nftables", folder: folder)
        let result = try await root.run(
            [
                "/bin/sh", "-c", "/usr/sbin/nft -f \(file) && /usr/sbin/nft -f \(file) && /usr/sbin/nft list ruleset",
            ].isolated)
        #expect(result.succeeded && result.output.contains("192.0.2.7 timeout "), "\(result.output)")
        #expect(
            result.output.contains("198.51.100.0/24") && result.output.contains("2001:db8::/48") && result.output.contains("203.0.113.5"))
        let none = try await postern.verb("export", "nftables", "--country", "SE")
        #expect(none.status == 78 && none.output.contains("geo.databases"))
        #expect(try await postern.stop() == .status(0))
    }

    private static let databases =
        (ProcessInfo.processInfo.environment["POSTERN_TESTDATA"] ?? ServerRoots.project + "/../shared/testdata") + "/mmdb/test-data"

    @Test(
        "the networks of a country and of a system go into sets that nft loads", .servers("nftables"),
        .enabled(if: FileManager.default.fileExists(atPath: databases + "/GeoIP2-Country-Test.mmdb")))
    func geography() async throws {
        let postern = try PosternProcess(
            "geo: { databases: [\"\(Self.databases)/GeoIP2-Country-Test.mmdb\", \"\(Self.databases)/GeoLite2-ASN-Test.mmdb\"] }")
        let folder = try TemporaryFolder("nft")
        let file = folder.file("sets.nft")
        let exported = try await postern.verb("export", "nftables", "--country", "se", "--as", "AS1221", "--output", file)
        #expect(exported.status == 0, "\(exported.output)")
        let text = folder.read("sets.nft")
        #expect(text.contains("add set inet postern country_se_4 ") && text.contains("89.160.20.112/28"), "\(text.prefix(2000))")
        #expect(text.contains("add element inet postern as1221_4 { 1.128.0.0/11"), "\(text.suffix(2000))")
        let result = try await PrivateRoot("nftables", folder: folder).run(
            ["/bin/sh", "-c", "/usr/sbin/nft -f \(file) && /usr/sbin/nft list ruleset"].isolated)
        #expect(result.succeeded && result.output.contains("89.160.20.112/28"), "\(result.output)")
    }

    @Test("files are written at their times, whole")
    func timer() async throws {
        let folder = try TemporaryFolder("exports")
        let postern = try await start(
            "exports: [ { file: \(folder.file("a.txt")), format: text, every: 200ms }, { file: \(folder.file("b.csv")), format: csv, every: 200ms, colours: [white] } ]"
        )
        #expect(try await postern.verb("block", "add", "192.0.2.7").status == 0)
        #expect(try await postern.verb("allow", "add", "192.0.2.8", "--note", "friend").status == 0)
        try await waitUntil("the exports are written") {
            folder.read("a.txt") == "192.0.2.7\n" && folder.read("b.csv").hasSuffix("192.0.2.8,white,,friend,own\n")
        }
        #expect(try await postern.stop() == .status(0))
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted() == ["a.txt", "b.csv"])
    }

    // MARK: - In

    @Test("spamd's memory is taken over")
    func spamd() async throws {
        let postern = try await start()
        let now = Int(Date().timeIntervalSince1970)
        let dump = """
            WHITE|192.0.2.10|||\(now - 90_000)|\(now - 80_000)|\(now + 3_000_000)|3|9
            GREY|192.0.2.11|mail.example.org|<a@example.org>|<bob@example.test>|\(now - 60)|\(now + 1000)|\(now + 10_000)|1|0
            TRAPPED|192.0.2.12|\(now + 5000)
            TRAPPED|192.0.2.13|\(now - 5)
            SPAMTRAP|trap@example.test
            NONSENSE|x

            """
        let path = try postern.folder.write(dump, to: "spamdb")
        let taken = try await postern.verb("import", "spamd", path)
        #expect(taken.output.contains("taken: 2 entries, 1 triplets, 1 clients; 1 too old; 1 left out"), "\(taken.output)")
        let proven = try await postern.verb(
            "explain", "--ip", "192.0.2.10", "--from", "x@example.com", "--to", "bob@example.test", "--json")
        #expect(proven.output.contains("\"verdict\" : \"accept\""), "\(proven.output)")
        let waiting = try await postern.verb(
            "explain", "--ip", "192.0.2.11", "--from", "a@example.org", "--to", "bob@example.test", "--json")
        #expect(waiting.output.contains("\"is_known\" : true"), "\(waiting.output)")
        #expect(try await postern.verb("block", "list").output.contains("trapped by spamd"))
        #expect(try await postern.verb("trap", "list").output.contains("trap@example.test"))
        #expect(try await postern.stop() == .status(0))
    }

    @Test("a file that others keep counts, is explained, and outlives a restart and its own loss")
    func fileSubscription() async throws {
        let folder = try TemporaryFolder("lists")
        let file = try folder.write("# bots\n192.0.2.7 ; seen often\n198.51.100.0/24\nspam.example\nnonsense\n", to: "bots.txt")
        let postern = try await start("subscriptions: [ { name: bots, source: \(file), list: block, every: 200ms } ]")
        let explain = { () async throws -> String in
            try await postern.verb("explain", "--ip", "192.0.2.7", "--from", "x@example.com", "--to", "bob@example.test").output
        }
        #expect(try await explain().contains("from bots: seen often"))
        let list = try await postern.verb("block", "list", "--json")
        #expect(list.output.contains("\"source\" : \"bots\"") && list.output.contains("198.51.100.0/24"), "\(list.output)")
        #expect(try await postern.verb("export", "text", "--source", "bots").output == "192.0.2.7\n198.51.100.0/24\nspam.example\n")
        // An allow of the admin's counts before it.
        #expect(try await postern.verb("allow", "add", "192.0.2.7").status == 0)
        #expect(try await !explain().contains("from bots"))
        #expect(try await postern.verb("allow", "remove", "192.0.2.7").status == 0)
        try folder.write("", to: "bots.txt")
        try await waitUntil("the empty file is noticed") {
            try await postern.verb("status", "--json").output.contains("it is empty")
        }
        #expect(try await explain().contains("from bots: seen often"))
        unlink(file)
        try await postern.stop()
        try await postern.start()
        #expect(try await explain().contains("from bots: seen often"))
        try folder.write("203.0.113.5\n", to: "bots.txt")
        try await waitUntil("the new list counts") { try await !explain().contains("from bots") }
        #expect(try await postern.stop() == .status(0))
    }

    @Test("a list of the web is fetched once, asked about with its date, and never emptied by a broken answer")
    func webSubscription() async throws {
        let folder = try TemporaryFolder("web")
        let server = try await WebServer.start(folder)
        let process = try RunningProcess(
            executable: "/usr/bin/env",
            ["python3", "-c", "import gzip,sys; gzip.open(sys.argv[1],'wb').write(b'192.0.2.7\\n192.0.2.8\\n')", folder.file("bots.gz")],
            log: folder.file("gzip.log"))
        #expect(try await process.waitForExit() == .status(0))
        let postern = try await start(
            "subscriptions: [ { name: bots, source: \"http://127.0.0.1:\(server.port)/bots.gz\", list: black, every: 300ms, timeout: 5s } ]"
        )
        func entries() async throws -> String { try await postern.verb("export", "text").output }
        try await waitUntil("the list counts") { try await entries() == "192.0.2.7\n192.0.2.8\n" }
        try await waitUntil("it is asked about") { server.log.contains("\"GET /bots.gz HTTP/1.1\" 304") }
        #expect(server.log.components(separatedBy: "\"GET /bots.gz HTTP/1.1\" 200").count == 2)
        // Broken in the middle, an error page, gone.
        // Its dates have whole seconds: what is written within the same one is the same to that server.
        try await Task.sleep(for: .milliseconds(1100))
        let whole = try #require(FileManager.default.contents(atPath: folder.file("bots.gz")))
        try whole.prefix(whole.count / 2).write(to: URL(filePath: folder.file("bots.gz")))
        try await waitUntil("the broken one is noticed") {
            try await postern.verb("status", "--json").output.contains("cannot be read to its end")
        }
        try folder.write("<html>\n<body>\nGone away\n</body>\n", to: "bots.gz")
        try await waitUntil("the page is noticed") {
            try await postern.verb("status", "--json").output.contains("no line of it is an entry")
        }
        unlink(folder.file("bots.gz"))
        try await waitUntil("that it is gone is noticed") {
            try await postern.verb("status", "--json").output.contains("answered 404")
        }
        #expect(try await entries() == "192.0.2.7\n192.0.2.8\n")
        server.stop()
        try await postern.stop()
        try await postern.start()
        #expect(try await entries() == "192.0.2.7\n192.0.2.8\n")
        #expect(try await postern.stop() == .status(0))
    }
}

extension [String] {
    /// In a network of its own, so that nothing of the host's is touched.
    fileprivate var isolated: [String] { ["/usr/bin/unshare", "--net"] + self }
}

/// Python's own server of files.
private final class WebServer: Sendable {
    let port: UInt16
    private let process: RunningProcess

    static func start(_ folder: TemporaryFolder) async throws -> WebServer {
        let port = try FreePort.next()
        let process = try RunningProcess(
            executable: "/usr/bin/env",
            [
                "python3", "-c",
                "import http.server as h; h.SimpleHTTPRequestHandler.protocol_version='HTTP/1.1'; h.test(h.SimpleHTTPRequestHandler, h.ThreadingHTTPServer, 'HTTP/1.1', \(port), '127.0.0.1')",
            ],
            environment: ["PYTHONUNBUFFERED": "1"], log: folder.file("web.log"), workingFolder: folder.path)
        try await process.waitUntilReady("listening") { FreePort.isListening(port) }
        return WebServer(port, process)
    }

    private init(_ port: UInt16, _ process: RunningProcess) {
        self.port = port
        self.process = process
    }

    var log: String { process.log }

    func stop() { process.kill() }
}

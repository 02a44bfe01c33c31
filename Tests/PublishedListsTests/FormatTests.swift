import AddressTables
import DNSProtocol
import EngineTestSupport
import PosternCore
import PosternEngine
import Testing

@testable import PublishedLists

struct ListRowTests {
    @Test func textLines() {
        #expect(ListRow.text("192.0.2.7") == ListRow(entry: "192.0.2.7"))
        #expect(ListRow.text("  198.51.100.0/24 ; SBL1234  \r") == ListRow(entry: "198.51.100.0/24", reason: "SBL1234"))
        #expect(ListRow.text("example.org# why") == ListRow(entry: "example.org", reason: "why"))
        #expect(ListRow.text("10.0.0.1 # why") == ListRow(entry: "10.0.0.1", reason: "why"))
        #expect(ListRow.text("10.0.0.1 ; see #5 # too") == ListRow(entry: "10.0.0.1", reason: "see #5 # too"))
        for comment in ["# bar", "; bar", "#bar # baz", "\t;"] {
            #expect(ListRow.text("10.7.7.7 foo \(comment)") == ListRow(entry: "10.7.7.7", reason: "foo"), "\(comment)")
        }
        #expect(ListRow.text("10.7.7.7 ticket#5;b") == ListRow(entry: "10.7.7.7", reason: "ticket#5;b"))
        for line in ["", "   ", "# nothing", "; nothing"] { #expect(ListRow.text(Substring(line)) == nil) }
    }

    @Test func csvWithAndWithoutAHeader() {
        var plain = ListTable()
        #expect(
            plain.read("192.0.2.7,block,4d,\"spam, and \"\"more\"\"\"")
                == .row(
                    ListRow(entry: "192.0.2.7", list: "block", end: .after(.days(4)), reason: "spam, and \"more\"")))
        #expect(plain.read("192.0.2.8") == .row(ListRow(entry: "192.0.2.8")))
        #expect(
            plain.read("192.0.2.9,allow,2026-11-25T08:15:00+01:00,")
                == .row(
                    ListRow(entry: "192.0.2.9", list: "allow", end: .at(WallTime(seconds: 1_795_590_900)))))
        #expect(plain.read("a,b,1795590900") == .row(ListRow(entry: "a", list: "b", end: .at(WallTime(seconds: 1_795_590_900)))))
        for (fraction, milliseconds) in [("25", 250), ("0019", 1), ("5", 500)] as [(String, Int64)] {
            let end = WallTime(milliseconds: 1_795_590_900_000 + milliseconds)
            #expect(plain.read(Substring("a,b,1795590900.\(fraction)")) == .row(ListRow(entry: "a", list: "b", end: .at(end))))
        }
        #expect(plain.read("# comment") == .nothing && plain.read("  ") == .nothing)
        for bad in [
            "\"192.0.2.1", "a,b,tomorrow", ",block", "\"a\"b,c", "a,b,2026-13-01T00:00:00Z", "a,b,2026-02-29T00:00:00Z", "a,b,1795590900.",
            "a,b,.5", "a,b,1.5.5",
        ] {
            if case .bad = plain.read(Substring(bad)) {} else { Issue.record("\(bad) was taken") }
        }
        for (separator, other) in [(";", ","), ("\t", ";"), (",", ";")] {
            var table = ListTable()
            let wanted = ListRow(entry: "192.0.2.7", list: "block", end: .after(.days(4)), reason: "spam\(other) more")
            #expect(table.read("192.0.2.1") == .row(ListRow(entry: "192.0.2.1")), "not told yet")
            let line = ["\"192.0.2.7\"", "block", "4d", "\"spam\(other) more\""].joined(separator: separator)
            #expect(table.read(Substring(line)) == .row(wanted))
            var headed = ListTable()
            #expect(headed.read(Substring(["entry", "reason"].joined(separator: separator))) == .nothing)
            #expect(headed.read(Substring("192.0.2.7\(separator)why\(other)")) == .row(ListRow(entry: "192.0.2.7", reason: "why\(other)")))
        }
        var tabs = ListTable()
        #expect(
            tabs.read("192.0.2.7\tblock\t\t\"quoted\" word") == .row(ListRow(entry: "192.0.2.7", list: "block", reason: "\"quoted\" word")))
        var named = ListTable()
        #expect(named.read("reason, Expires ,Entry") == .nothing)
        #expect(named.read("why,never,10.0.0.0/8") == .row(ListRow(entry: "10.0.0.0/8", reason: "why")))
    }
}

struct ListReaderTests {
    private func read(_ text: String, _ format: ListReader.Format = .text, piece: Int = .max) -> ListReader.Outcome {
        var reader = ListReader(format, colour: .black, reason: "listed by x", time: ZoneTime(now: 1000, toWall: 1_000_000))
        let octets = Array(text.utf8)
        var index = 0
        while index < octets.count {
            let end = min(octets.count, index + min(piece, octets.count))
            octets[index..<end].withUnsafeBytes { reader.feed($0) }
            index = end
        }
        return reader.finish()
    }

    @Test(arguments: [1, 2, 7, 1000])
    func inAnyPieces(piece: Int) {
        let text = "# list\r\n192.0.2.7\r\n198.51.100.0/24 ; ref\n\n2001:db8::/32\nspam.example why\n01.2.3.4\n1.2.3.4.5\n192.0.2.9"
        let read = read(text, piece: piece)
        #expect(read.entries == 5 && read.bad == 2 && read.firstBad?.line == 7)
        #expect(
            read.table.listing(of: IPAddress("192.0.2.7")!, at: 1).map { read.statements[Int($0.mark)] }
                == .init(.black, reason: "listed by x"))
        #expect(read.table.listing(of: IPAddress("192.0.2.9")!, at: 1) != nil)
        #expect(read.table.listing(of: IPAddress("198.51.100.9")!, at: 1).map { read.statements[Int($0.mark)].reason } == "ref")
        #expect(read.table.listing(of: IPAddress("2001:db8:1::")!, at: 1)?.length == 32)
        #expect(read.domains.keys.map(\.text) == ["spam.example"])
    }

    @Test func csv() {
        let read = read(
            "entry,list,expires,reason\n192.0.2.1,allow,,friend\n192.0.2.2,yellow,1h,\n192.0.2.3,,1000900,old\n192.0.2.4,,1001900,new\n192.0.2.5,grey,,\na@b.example,,,\n",
            .csv)
        #expect(read.entries == 3 && read.expired == 1 && read.bad == 2)
        let statement = { (text: String) in
            read.table.listing(of: IPAddress(text)!, at: 1).map { ($0.expires, read.statements[Int($0.mark)].colour) }
        }
        #expect(
            statement("192.0.2.1")! == (0, .white) && statement("192.0.2.2")! == (4600, .yellow)
                && statement("192.0.2.4")! == (1900, .black))
    }

    @Test func domainsHaveALabels() throws {
        let read = read(
            "b\u{fc}cher.example,block\nB\u{dc}CHER.example,block\nxn--bcher-kva.example,block\nb\\195\\188cher.example,block\n", .csv)
        #expect(read.domains.keys.map(\.text) == ["xn--bcher-kva.example"] && read.bad == 1)
        // So what is written reads back, and a zone has the name that programs ask for.
        let name = try #require(read.domains.keys.first)
        #expect(DNSName(name).description == "xn--bcher-kva.example")
    }

    @Test(arguments: [1, 2, 3, 1000])
    func aByteOrderMarkIsNoPartOfTheFirstEntry(piece: Int) {
        for (text, format) in [
            ("\u{feff}192.0.2.1\n192.0.2.2\n", ListReader.Format.text), ("\u{feff}entry;list\n192.0.2.1;block\n192.0.2.2;\n", .csv),
        ] {
            let read = read(text, format, piece: piece)
            #expect(read.entries == 2 && read.bad == 0, "\(text)")
        }
        #expect(read("192.0.2.1\n\u{feff}192.0.2.2\n", piece: piece).bad == 1, "only at the start")
    }

    @Test func spansCountFromWhenTheListWasWritten() {
        var reader = ListReader(.csv, colour: .black, reason: "", time: ZoneTime(now: 1000), writtenAt: 900)
        Array("192.0.2.1,black,3s\n192.0.2.2,black,200s\n".utf8).withUnsafeBytes { reader.feed($0) }
        let read = reader.finish()
        #expect(read.entries == 1 && read.expired == 1)
        #expect(read.table.listing(of: IPAddress("192.0.2.2")!, at: 1000)?.expires == 1100)
    }

    @Test func linesAreBounded() {
        let read = read(String(repeating: "x", count: 5000) + "\n192.0.2.1\n" + String(repeating: "y", count: 9000), piece: 100)
        #expect(read.entries == 1 && read.bad == 2)
    }
}

struct ListExportTests {
    private func export(
        _ format: ListExport.Format, _ sources: [PublishedSource], colours: Set<ListColour> = [.black], kind: ZoneSettings.Kind = .address,
        only: ZoneSettings.Kind? = nil
    ) -> (text: String, count: Int) {
        var zone = ListResponderTests.settings()
        zone.kind = kind
        var octets: [UInt8] = []
        var export = ListExport(format, colours: colours, sources: sources, time: ZoneTime(now: 1000, toWall: 1_795_000_000), zone: zone)
        export.only = only
        let count = export.write { octets += $0 }
        return (String(decoding: octets, as: UTF8.self), count)
    }

    private let sources = [
        ListResponderTests.source(
            [
                ("192.0.2.7", .black, "spam, \"run\"", 1100), ("198.51.100.0/24", .white, "friends", 0), ("198.51.100.9", .black, "", 0),
                ("203.0.113.5", .black, "over", 999), ("2001:db8::/64", .black, "=six", 0), ("10.0.0.0/8", .black, "", 0),
                ("10.1.0.0/16", .black, "", 0),
            ], domains: [("spam.example", .black)]),
        ListResponderTests.source(
            [("198.51.100.77", .black, "theirs", 0), ("192.0.2.7", .black, "again", 0), ("192.0.2.8", .black, "theirs", 0)], name: "theirs"),
    ]

    @Test func text() {
        let (text, count) = export(.text, sources)
        #expect(text == "192.0.2.7\n198.51.100.9\n10.1.0.0/16\n10.0.0.0/8\n2001:db8::/64\n192.0.2.8\nspam.example\n" && count == 7)
    }

    @Test func onlyWhatAZoneShows() {
        #expect(export(.text, sources, only: .domain).text == "spam.example\n")
        #expect(export(.text, sources, only: .address).count == 6)
        #expect(export(.csv, sources, only: .domain).text == "entry,list,expires,reason,source\nspam.example,black,,a domain,own\n")
    }

    @Test func csvReadsBack() {
        let (text, count) = export(.csv, sources, colours: Set(ListColour.allCases))
        #expect(count == 8 && text.hasPrefix("entry,list,expires,reason,source\n192.0.2.7,black,2026-11-"))
        #expect(text.contains(",\"spam, \"\"run\"\"\",own\n") && text.contains("2001:db8::/64,black,,'=six,own\n"))
        var reader = ListReader(.csv, colour: .brown, reason: "", time: ZoneTime(now: 1000, toWall: 1_795_000_000))
        Array(text.utf8).withUnsafeBytes { reader.feed($0) }
        let read = reader.finish()
        #expect(read.entries == 8 && read.bad == 0)
        #expect(read.table.listing(of: IPAddress("192.0.2.7")!, at: 1)?.expires == 1100)
        #expect(read.statements[Int(read.table.listing(of: IPAddress("198.51.100.1")!, at: 1)!.mark)] == .init(.white, reason: "friends"))
    }

    @Test func onlyWhatDNSServesIsASCII() {
        let sources = [ListResponderTests.source([("192.0.2.7", .black, "gr\u{fc}\u{df}e", 0)])]
        #expect(export(.csv, sources).text.hasSuffix("\n192.0.2.7,black,,gr\u{fc}\u{df}e,own\n"))
        #expect(export(.rbldnsd, sources).text.contains("$ is listed black: gr??e;"))
    }

    @Test func nftables() {
        let (text, count) = export(.nftables, sources)
        // What lies within another network is left out.
        #expect(count == 5 && text.contains("192.0.2.7 timeout 100s, 192.0.2.8, 198.51.100.9 }\n") && !text.contains("10.1.0.0"), "\(text)")
        #expect(text.contains("add set inet postern black6 { type ipv6_addr; flags interval, timeout; }\nflush set inet postern black6\n"))
    }

    @Test func rbldnsd() {
        let (text, count) = export(.rbldnsd, sources)
        #expect(count == 6 && text.contains("$DATASET ip4trie:addresses @\n127.0.0.2 :127.0.0.2:127.0.0.2 is listed black: test entry"))
        #expect(text.contains("\n!127.0.0.1\n:127.0.0.2:$ is listed black: spam, \"run\"; until 2026-"), "\(text)")
        #expect(
            export(.rbldnsd, [ListResponderTests.source([("192.0.2.7", .black, "", 0)])]).text.contains("$DATASET ip4set:addresses @\n"))
        #expect(export(.rbldnsd, sources, kind: .domain).text.contains("\n.spam.example :127.0.0.2:spam.example is listed black"))
    }

    // MARK: - As the DNS service answers

    /// Prefixes of a small part of the address space, of all colours, so that most of them lie within each other.
    private func randomSources(_ generator: inout Seeded) -> [PublishedSource] {
        (0..<3).map { number in
            var entries: [(String, ListColour, String, UInt32)] = []
            for _ in 0..<Int.random(in: 0...6, using: &generator) {
                let colour = ListColour.allCases.randomElement(using: &generator) ?? .black
                let end = [0, 0, 999, 1100, 5000].randomElement(using: &generator) ?? 0
                if Bool.random(using: &generator) {
                    let address = IPAddress(v4: 0xc000_0200 | UInt32.random(in: 0..<64, using: &generator))
                    entries.append(("\(Prefix(address, length: Int.random(in: 24...32, using: &generator)))", colour, "", UInt32(end)))
                } else {
                    let address = IPAddress(v6High: 0x2001_0db8_0000_0000, low: UInt64.random(in: 0..<64, using: &generator))
                    entries.append(("\(Prefix(address, length: Int.random(in: 120...128, using: &generator)))", colour, "", UInt32(end)))
                }
            }
            return ListResponderTests.source(entries, name: "s\(number)")
        }
    }

    @Test func everyFormatSaysOfEachAddressWhatAZoneSays() throws {
        var generator = Seeded(seed: 7)
        let addresses =
            (0..<64 as Range<UInt32>).map { IPAddress(v4: 0xc000_0200 | $0) }
            + (0..<64 as Range<UInt64>).map { IPAddress(v6High: 0x2001_0db8_0000_0000, low: $0) }
        for round in 0..<100 {
            let sources = randomSources(&generator)
            let colours = Set(ListColour.allCases.filter { _ in Bool.random(using: &generator) }).union([.black])
            var settings = ListResponderTests.settings()
            settings.colours = colours
            let zone = PublishedZone(settings, sources: sources, serial: 1)
            let text = export(.text, sources, colours: colours).text.split(separator: "\n").compactMap { Prefix($0) }
            let nft = try sets(export(.nftables, sources, colours: colours).text)
            let rbldnsd = exclusions(export(.rbldnsd, sources, colours: colours).text)
            for address in addresses {
                let said = zone.answer(for: address, at: 1000)?.statement.colour
                #expect(text.contains { $0.contains(address) } == (said != nil), "round \(round): text of \(address)")
                let narrowest = rbldnsd.filter { $0.prefix.contains(address) }.max { $0.prefix.length < $1.prefix.length }
                #expect(narrowest?.isListed ?? false == (said != nil), "round \(round): rbldnsd of \(address)")
                for colour in colours {
                    let elements = nft["\(colour.rawValue)\(address.family == .v4 ? "4" : "6")"] ?? []
                    let matching = elements.filter { $0.prefix.contains(address) }
                    #expect(matching.count == (said == colour ? 1 : 0), "round \(round): nft's \(colour) of \(address)")
                    guard said == colour, let found = matching.first else { continue }
                    #expect(found.seconds == life(of: address, colour, sources), "round \(round): \(address)")
                }
            }
        }
    }

    /// For how long a zone goes on to tell of this colour, while what is not of it stays; 0 for ever.
    private func life(of address: IPAddress, _ colour: ListColour, _ sources: [PublishedSource]) -> Int {
        var last = 0
        var limit = 129
        let prefix = Prefix(address, length: 128)
        // Through wider ones of any source, until one of another colour decides.
        var deciding: [(length: Int, colour: ListColour, end: UInt32)] = []
        for (index, source) in sources.enumerated() {
            limit = 129
            while let found = source.listing(covering: prefix, shorterThan: limit, at: 1000) {
                limit = Int(found.length)
                let own = Prefix(address, length: limit)
                if !sources[..<index].contains(where: { $0.listing(covering: own, shorterThan: limit + 1, at: 1000) != nil }) {
                    deciding.append((limit, source.colour(of: found), found.expires))
                }
            }
        }
        for entry in deciding.sorted(by: { $0.length > $1.length }) {
            guard entry.colour == colour else { break }
            if entry.end == 0 { return 0 }
            last = max(last, Int(entry.end) - 1000)
        }
        return last
    }

    private func sets(_ text: String) throws -> [String: [(prefix: Prefix, seconds: Int)]] {
        var sets: [String: [(prefix: Prefix, seconds: Int)]] = [:]
        for line in text.split(separator: "\n") where line.hasPrefix("add element inet postern ") {
            let words = line.split(separator: " ", maxSplits: 5)
            for element in words[5].dropFirst(2).dropLast(2).split(separator: ",") {
                let parts = element.split(separator: " ")
                let prefix = try #require(Prefix(parts[0]), "\(element)")
                sets[String(words[4]), default: []].append((prefix, parts.count == 3 ? try #require(Int(parts[2].dropLast())) : 0))
            }
        }
        return sets
    }

    private func exclusions(_ text: String) -> [(prefix: Prefix, isListed: Bool)] {
        text.split(separator: "\n").compactMap { line in
            Prefix(line).map { ($0, true) } ?? (line.first == "!" ? Prefix(line.dropFirst()).map { ($0, false) } : nil)
        }
    }

    @Test func whomTheAdminAllowsIsInNoExport() {
        let sources = [
            ListResponderTests.source(
                [("192.0.2.5", .white, "", 0), ("2001:db8::5", .white, "", 0)],
                domains: [("spam2.example", .white), ("good.b.example", .white)]
            ),
            ListResponderTests.source(
                [("192.0.2.0/29", .black, "", 0), ("2001:db8::4/127", .black, "", 0)],
                domains: [("x.spam2.example", .black), ("b.example", .black)], name: "theirs"),
        ]
        #expect(
            export(.text, sources).text
                == "192.0.2.0/30\n192.0.2.4\n192.0.2.6/31\n2001:db8::4\nb.example\n")
        let zone = export(.rbldnsd, sources).text
        #expect(zone.contains("\n!192.0.2.5\n") && zone.contains("\n!2001:db8::5\n"), "\(zone)")
        let domains = export(.rbldnsd, sources, kind: .domain)
        #expect(domains.text.contains("\n!.good.b.example\n") && domains.text.contains("\n.b.example :") && domains.count == 1)
        #expect(!domains.text.contains("spam2"))
    }

    @Test func whatLivesLongerThanTheNetworkAroundItIsKept() {
        let sources = [ListResponderTests.source([("198.51.100.0/31", .black, "", 4600), ("198.51.100.1", .black, "", 0)])]
        #expect(export(.nftables, sources).text.contains("{ 198.51.100.0 timeout 3600s, 198.51.100.1 }"))
        let shorter = [ListResponderTests.source([("198.51.100.0/31", .black, "", 4600), ("198.51.100.1", .black, "", 1100)])]
        #expect(export(.nftables, shorter).text.contains("{ 198.51.100.0/31 timeout 3600s }"))
    }

    @Test func longTimesAreToldInDays() {
        let long = [ListResponderTests.source([("192.0.2.7", .black, "", 1000 + 315_619_201)])]
        #expect(export(.nftables, long).text.contains("{ 192.0.2.7 timeout 3653d1s }"))
        #expect([59, 86_399, 86_400, 86_400 + 3661].map { NetworkSetWriter.span($0) } == ["59s", "86399s", "1d", "1d1h1m1s"])
    }

    @Test func textsHaveRoomForTheLongestAddress() throws {
        let reason = String(repeating: "r", count: 160)
        var zone = ListResponderTests.settings()
        zone.lookup = "https://example.net/" + String(repeating: "l", count: 60) + "?a=$"
        zone.timeToLive = 0
        var text = ""
        ListExport(
            .rbldnsd, colours: [.black], sources: [ListResponderTests.source([("2001:db8::1", .black, reason, 0)])],
            time: ZoneTime(now: 1000), zone: zone
        ).write { text += String(decoding: $0, as: UTF8.self) }
        let line = try #require(text.split(separator: "\n").last { $0.hasPrefix(":127.0.0.2:$") })
        let longest = line.dropFirst(":127.0.0.2:".count).replacing("$", with: String(repeating: "f", count: 39))
        #expect(longest.utf8.count <= 254 && longest.hasSuffix("; contact dnsbl@example.org"), "\(line)")
        #expect(text.contains("\n$TTL 1\n"), "rbldnsd takes 0 for 35 minutes")
    }

    /// By the wall clock an entry ends when it did, however often it goes out and comes in.
    @Test func endsAreExact() {
        let time = ZoneTime(now: 1000, offset: .milliseconds(1_795_000_000_250))
        var export = ListExport(.csv, colours: [.black], sources: [], time: time, zone: ListResponderTests.settings())
        let end = WallTime(milliseconds: 1_796_000_000_004)
        export.entries = [
            ListEntry(
                .block, .client, Pattern("192.0.2.1")!, expires: end - time.offset, note: "", added: WallTime(seconds: 0))
        ]
        var text = ""
        export.write { text += String(decoding: $0, as: UTF8.self) }
        #expect(text.hasSuffix("192.0.2.1,block,\(end),,own,client\n"), "\(text)")
    }

    @Test func theAdminsOwnEntriesReadBackAsTheyAre() {
        let note = "gr\u{fc}\u{df}e, \"x\""
        let texts: [(ListEntry.List, ListEntry.Kind, String, String)] = [
            (.block, .client, "dyn.example.com", ""), (.allow, .sender, "partner.example", "=1"), (.allow, .client, "192.0.2.0/24", note),
            (.block, .sender, "\"a,b\"@example.net", ""), (.allow, .recipient, "noc@", ""), (.block, .sender, "+x@example.net", ""),
            (.block, .sender, "#x@example.net", " lead"), (.block, .sender, "'=x@example.net", "'=x"),
            (.block, .sender, "'x@", "''-trail\t"),
            (.block, .sender, "a@example.net", ",\u{301}\"\u{301}"), (.trap, .recipient, "old@example.net", ""),
        ]
        var export = ListExport(
            .csv, colours: [.black, .white], sources: [], time: ZoneTime(now: 1000), zone: ListResponderTests.settings())
        export.entries = texts.map { ListEntry($0.0, $0.1, Pattern($0.2)!, note: $0.3, added: WallTime(seconds: 0)) }
        var text = ""
        let count = export.write { text += String(decoding: $0, as: UTF8.self) }
        var table = ListTable()
        var rows: [ListRow] = []
        for line in text.split(separator: "\n") { if case .row(let row) = table.read(line) { rows.append(row) } }
        #expect(count == 10 && rows.count == 10)
        for (list, kind, entry, note) in texts where list != .trap {
            #expect(rows.contains(ListRow(entry: entry, list: list.rawValue, reason: note, kind: kind.rawValue)), "\(entry) in \(text)")
        }
    }
}

import AddressTables
import DNSProtocol
import PosternCore
import PosternEngine
import Testing

@testable import PublishedLists

struct ListRowTests {
    @Test func textLines() {
        #expect(ListRow.text("192.0.2.7") == ListRow(entry: "192.0.2.7"))
        #expect(ListRow.text("  198.51.100.0/24 ; SBL1234  \r") == ListRow(entry: "198.51.100.0/24", reason: "SBL1234"))
        #expect(ListRow.text("example.org# why") == ListRow(entry: "example.org", reason: "why"))
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
        #expect(plain.read("# comment") == .nothing && plain.read("  ") == .nothing)
        for bad in ["\"192.0.2.1", "a,b,tomorrow", ",block", "\"a\"b,c", "a,b,2026-13-01T00:00:00Z"] {
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

    @Test func linesAreBounded() {
        let read = read(String(repeating: "x", count: 5000) + "\n192.0.2.1\n" + String(repeating: "y", count: 9000), piece: 100)
        #expect(read.entries == 1 && read.bad == 2)
    }
}

struct ListExportTests {
    private func export(
        _ format: ListExport.Format, _ sources: [PublishedSource], colours: Set<ListColour> = [.black], kind: ZoneSettings.Kind = .address
    ) -> (text: String, count: Int) {
        var zone = ListResponderTests.settings()
        zone.kind = kind
        var octets: [UInt8] = []
        let count = ListExport(format, colours: colours, sources: sources, time: ZoneTime(now: 1000, toWall: 1_795_000_000), zone: zone)
            .write { octets += $0 }
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
}

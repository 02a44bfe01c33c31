import PosternCore
import PosternEngine
import Testing

@testable import PosternReplay

struct TableTests {
    @Test func commas() throws {
        let heading = "time,client_address,client_name,helo,sender,recipient,label,spf,bytes\r\n"
        let found = try readAll(
            heading + "1763000000,192.0.2.1,mail.example.org,mail.example.org,a@example.org,b@example.net,ham,pass,1200\r\n"
                + "1763000000.25,2001:db8::1,unknown,[2001:db8::1],<>,<b@example.net>,spam,softfail,\r\n"
                + "2025-11-13T02:13:22+01:00,192.0.2.3,,,\"quo\"\"ted, one@example.org\",b@example.net,,none,7\r\n")
        #expect(
            found.attempts.map(\.summary) == [
                "2025-11-13T01:13:22.000Z 192.0.2.3 <quo\"ted, one@example.org> <b@example.net> 7",
                "2025-11-13T02:13:20.000Z 192.0.2.1 mail.example.org helo=mail.example.org <a@example.org> <b@example.net> 1200",
                "2025-11-13T02:13:20.250Z 2001:db8::1 helo=[2001:db8::1] <> <b@example.net>",
            ])
        #expect(found.counts.lines == 3 && found.problems.count == 0)
    }

    private func parse(_ text: String) throws -> Found { try readAll(text) }

    @Test func labelsAndEvidence() throws {
        let found = try parse(
            """
            time\tclient_ip\trdns\thelo\tmail_from\trcpt_to\tlabel\tspf\tdnsbl\tcountry\tasn\tsignals\tsize\tmore
            1\t192.0.2.1\tmx.example.org\th\ta@example.org\tb@example.net\tHAM\tPass\tzen.example=127.0.0.4;other.example\tde\tAS64500\tpipelining:2;early-talk\t9\t?
            2\t192.0.2.1\t-\th\t\tb@example.net\tunknown\t-\tnone\t\t64501\t\t\t"quoted" text

            """)
        #expect(found.problems.count == 0 && found.attempts.count == 2)
        let first = found.attempts[0]
        #expect(first.label == .ham && first.evidence.spf == .pass && first.evidence.country == "DE" && first.evidence.network == 64500)
        #expect(
            first.evidence.listings == [
                RecordedListing(zone: "zen.example", reply: IPAddress("127.0.0.4")), RecordedListing(zone: "other.example"),
            ])
        #expect(first.evidence.signals == [.pipelining: 2, .earlyTalk: 1] && first.bytes == 9)
        let second = found.attempts[1]
        #expect(second.label == nil && second.sender == .null && second.client.confirmedName == nil && second.evidence.listings == [])
        #expect(second.evidence.network == 64501 && second.evidence.spf == nil)
    }

    @Test(arguments: [
        ("x,192.0.2.1,a@b,c@d,,,,,", TableAttempts.Reason.time), ("-1,192.0.2.1,a@b,c@d,,,,,", .time),
        ("1763000000000,192.0.2.1,a@b,c@d,,,,,", .time), ("2023-02-30T00:00:00Z,192.0.2.1,a@b,c@d,,,,,", .time),
        ("2023-04-31T00:00:00Z,192.0.2.1,a@b,c@d,,,,,", .time), ("2100-02-29T00:00:00Z,192.0.2.1,a@b,c@d,,,,,", .time),
        ("1,192.0.2.256,a@b,c@d,,,,,", .address), ("1,,a@b,c@d,,,,,", .address), ("1,192.0.2.1,a@b,,,,,,", .recipient),
        ("1,192.0.2.1,a@b,<>,,,,,", .recipient), ("1,192.0.2.1,a@b,c@d,eggs,,,,", .label), ("1,192.0.2.1,a@b,c@d,,maybe,,,", .spf),
        ("1,192.0.2.1,a@b,c@d,,,many,,", .bytes), ("1,192.0.2.1,a@b,c@d,,,,perhaps,", .result), ("1,192.0.2.1,a@b,c@d,,,,,soon", .delay),
    ])
    func badRows(row: String, reason: TableAttempts.Reason) throws {
        let found = try parse("time,client_address,sender,recipient,label,spf,bytes,result,delay\n\(row)\n1,192.0.2.1,a@b,c@d,,,,,\n")
        #expect(found.attempts.count == 1 && found.problems.reasons == [.init(reason: reason.rawValue, count: 1)])
        #expect(found.problems.samples == [.init(file: "mail.log", line: 2, reason: reason.rawValue, text: row)])
    }

    @Test(arguments: [
        ("1,192.0.2.1,a\"b@c,d@e", TableRecords.Reason.quote), ("1,192.0.2.1,\"a\"b@c,d@e", .afterQuote), ("1,192.0.2.1,a@c,d@e,f", .count),
        ("1,192.0.2.1", .count),
    ])
    func badRecords(row: String, reason: TableRecords.Reason) throws {
        let found = try parse("time,client_address,sender,recipient\n\(row)\n1,192.0.2.1,a@b,c@d\n")
        #expect(found.attempts.count == 1 && found.problems.reasons == [.init(reason: reason.rawValue, count: 1)])
    }

    @Test func aQuotedFieldMayHoldLineFeeds() throws {
        let found = try parse(
            "time,client_address,sender,recipient,note\n1,192.0.2.1,a@b,c@d,\"one\ntwo \"\"three\"\"\n\n\"\n2,192.0.2.1,a@b,c@d,x\n")
        #expect(found.attempts.count == 2 && found.problems.count == 0 && found.counts.lines == 2)
    }

    /// It costs the row that it stands in.
    @Test func aQuoteThatIsNeverClosedTakesNoOtherRow() throws {
        let rows = (0..<4000).map { "\($0),192.0.2.1,a@b,c@d,x" }.joined(separator: "\n")
        let bad = "1,192.0.2.1,a@b,c@d,\"open"
        let heading = "time,client_address,sender,recipient,note\n"
        func problem(_ reason: TableRecords.Reason, line: Int) -> InputProblems.Sample {
            .init(file: "mail.log", line: line, reason: reason.rawValue, text: bad)
        }
        let found = try parse("\(heading)\(bad)\n\(rows)\n")
        #expect(found.problems.samples == [problem(.tooLong, line: 2)] && found.attempts.count == 4000 && found.counts.lines == 4001)
        let short = try parse("\(heading)\(bad)\n2,192.0.2.1,a@b,c@d,x\n\n3,192.0.2.1,a@b,c@d,x\n")
        #expect(short.problems.samples == [problem(.open, line: 2)] && short.attempts.count == 2)
        // The quotes of one row must not close those of another.
        let two = try parse("\(heading)1,192.0.2.1,a@b,c@d,x\n\(bad)\n\(bad)\n2,192.0.2.1,a@b,c@d,\"y\"\n3,192.0.2.1,a@b,c@d,\"y\nz\"\n")
        #expect(two.problems.count == 2 && two.problems.samples.map(\.line) == [3, 4] && two.attempts.count == 3, "\(two.problems)")
    }

    @Test func aTableOfEvidenceLosesNoOtherRowEither() throws {
        let rows = (0..<4000).map { "192.0.\($0 / 256).\($0 % 256),\"pass\"" }.joined(separator: "\n")
        let table = try EvidenceTable(file("client_address,spf\n198.51.100.1,\"pass\n\(rows)\n", name: "e.csv"))
        #expect(table.count == 4000 && table.problems.samples.map(\.line) == [2], "\(table.problems)")
        let plain = try EvidenceTable(file("client_address,spf\n198.51.100.1,\"pass\n192.0.2.1,pass\n192.0.2.2,pass\n", name: "e.csv"))
        #expect(plain.count == 2 && plain.problems.samples.map(\.reason) == [TableRecords.Reason.open.rawValue])
    }

    /// RFC 4180 has no bound; a record that is one line's worth longer is given up.
    @Test func aRecordThatIsTooLongIsGivenUpAndTheNextIsRead() throws {
        let heading = "time,client_address,sender,recipient,note\n"
        let long = "1,192.0.2.1,a@b,c@d,\"" + String(repeating: "x\n", count: LineBuffer.maximumLine) + "\"\n"
        let found = try parse(heading + long + "2,192.0.2.1,a@b,c@d,x\n")
        #expect(found.attempts.count == 1 && found.problems.samples.first?.line == 2, "\(found.problems.reasons)")
    }

    @Test func quotesInTabSeparatedTables() throws {
        let found = try parse("time\tip\tfrom\tto\tnote\n1\t192.0.2.1\t\"a b\"@c\td@e\tsay \"x\"\n2\t192.0.2.1\t\"a\"\td@e\t\"a\tb\"\n")
        #expect(found.problems.count == 0 && found.attempts.map(\.sender.description) == ["\"a b\"@c", "a"])
    }

    @Test func aHeadingThatLacksAColumn() {
        #expect(throws: InputFailure(file: "mail.log", message: "the heading lacks recipient", isBadData: true)) {
            try parse("time,client_address,sender\n1,192.0.2.1,a@b\n")
        }
        var options = ReadingOptions()
        options.form = .csv
        #expect(throws: InputFailure.self) { try readAll("a,b\n", options: options) }
    }

    @Test func delaysAndResults() throws {
        let found = try parse(
            "time,ip,from,to,delay,result\n5000,192.0.2.1,a@b,c@d,390.5,\n100,192.0.2.1,a@b,c@d,,deferred\n300,192.0.2.1,a@b,c@d,,rejected\n"
        )
        #expect(
            found.attempts.map { "\($0.time.milliseconds) \($0.outcome)" } == ["100000 deferred", "4609500 deferred", "5000000 accepted"])
        #expect(found.counts.refused == 1)
        var options = ReadingOptions()
        options.takesRefused = true
        #expect(
            try readAll("time,ip,from,to,result\n3,192.0.2.1,a@b,c@d,refused\n", options: options).attempts.map(\.outcome) == [.refused])
    }

    @Test func messagesOfSeveralRecipientsAreOne() throws {
        let found = try parse("time,ip,from,to,queue_id\n1,192.0.2.1,a@b,c@d,Q1\n1,192.0.2.1,a@b,e@d,Q1\n1,192.0.2.1,a@b,e@d,Q2\n")
        let messages = found.attempts.map(\.message)
        #expect(messages[0] == messages[1] && messages[1] != messages[2] && messages[0] != 0)
    }

    /// However the file is cut into pieces.
    @Test(arguments: [1, 2, 3, 7, 64, 65_536]) func pieces(size: Int) throws {
        let text = "time,client_address,sender,recipient\r\n" + (0..<200).map { "\($0),192.0.2.1,\"a\n\($0)\",c@d\r\n" }.joined()
        let found = try readAll([file(text, pieces: size)])
        #expect(found.attempts.count == 200 && found.problems.count == 0)
    }

    @Test func rowsInAnyOrderAreReplayedInTheOrderOfTime() throws {
        let rows = (0..<1000).map { "\(($0 * 7919) % 1000),192.0.2.1,a@b,c@d" }.joined(separator: "\n")
        let found = try parse("time,client_address,sender,recipient\n\(rows)\n")
        #expect(found.attempts.map(\.time.milliseconds) == (0..<1000).map { Int64($0) * 1000 } && found.counts.late == 0)
    }
}

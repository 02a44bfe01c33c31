import PosternCore
import Testing

@testable import PosternReplay

struct SyslogReaderTests {
    /// time|host|program|process|message, or nil.
    private func head(_ line: String, year: Int? = nil, modified: String? = "2026-11-21T00:00:00Z") -> String? {
        var reader = SyslogReader(year: year, modified: modified.map { time($0) })
        let bytes = Array(line.utf8)
        let span = bytes.span
        guard let head = reader.read(span, 0..<bytes.count) else { return nil }
        return "\(head.time)|\(span.text(head.host))|\(span.text(head.program))|\(head.process)|\(span.text(head.message))"
    }

    @Test(arguments: [
        // RFC 3164, with one digit and two, padded and not.
        (
            "Nov  3 09:01:02 mx postfix/smtpd[12]: connect from a[192.0.2.1]",
            "2026-11-03T09:01:02.000Z|mx|postfix/smtpd|12|connect from a[192.0.2.1]"
        ),
        ("Nov 3 09:01:02 mx postfix/smtpd[12]: x", "2026-11-03T09:01:02.000Z|mx|postfix/smtpd|12|x"),
        ("Nov 13 23:59:60 mx postgrey[7]: y", "2026-11-14T00:00:00.000Z|mx|postgrey|7|y"),
        ("<22>Nov 13 23:59:00 mx postgrey[7]: y", "2026-11-13T23:59:00.000Z|mx|postgrey|7|y"),
        ("Nov 13 23:59:00.125 mx postgrey: y", "2026-11-13T23:59:00.125Z|mx|postgrey|0|y"),
        ("Nov 13 23:59:00 mx postfix/smtpd[9]: [ID 197553 mail.info] y", "2026-11-13T23:59:00.000Z|mx|postfix/smtpd|9|y"),
        ("Nov 13 23:59:00 mx last message repeated 2 times", "2026-11-13T23:59:00.000Z|mx|last|0| message repeated 2 times"),
        // A stamp after the file was written is last year's.
        ("Dec 24 09:01:02 mx a: x", "2025-12-24T09:01:02.000Z|mx|a|0|x"), ("Feb 29 09:01:02 mx a: x", "2024-02-29T09:01:02.000Z|mx|a|0|x"),
        // What rsyslog, syslog-ng and journalctl write.
        ("2024-08-26T01:33:38.572449+00:00 mx postfix/smtpd[60203]: x", "2024-08-26T01:33:38.572Z|mx|postfix/smtpd|60203|x"),
        ("2024-08-26T01:33:38+0200 mx postfix/smtpd[60203]: x", "2024-08-25T23:33:38.000Z|mx|postfix/smtpd|60203|x"),
        ("2024-08-26 01:33:38,5 mx a[1]: x", "2024-08-26T01:33:38.500Z|mx|a|1|x"),
        ("2024-08-26T01:33:38Z mx a[1]: x", "2024-08-26T01:33:38.000Z|mx|a|1|x"),
        ("Mon 2024-08-26 01:33:38 UTC mx a[1]: x", "2024-08-26T01:33:38.000Z|mx|a|1|x"),
        ("2024-08-26T01:33:38-05:30 mx a[1]: x", "2024-08-26T07:03:38.000Z|mx|a|1|x"),
        // RFC 5424.
        ("<22>1 2024-08-26T01:33:38.5Z mx postfix/smtpd 60203 - - x y", "2024-08-26T01:33:38.500Z|mx|postfix/smtpd|60203|x y"),
        (
            "<22>1 2024-08-26T01:33:38Z mx postfix/smtpd 60203 ID7 [a@1 k=\"v \\\"] ]\"][b] x",
            "2024-08-26T01:33:38.000Z|mx|postfix/smtpd|60203|x"
        ),
        ("<22>1 2024-08-26T01:33:38Z mx postfix/smtpd - - - \u{feff}x", "2024-08-26T01:33:38.000Z|mx|postfix/smtpd|0|x"),
        // The first line of a file that begins with a byte order mark.
        ("\u{feff}Nov 13 23:59:00 mx postgrey[7]: y", "2026-11-13T23:59:00.000Z|mx|postgrey|7|y"),
    ])
    func heads(line: String, expected: String) {
        #expect(head(line) == expected)
    }

    @Test(arguments: [
        "", " ", "x", "\u{feff}", "Nov", "Nov 13", "Nov 13 23:59:00", "Nov 13 23:59:00 ", "Nov 13 23:59:00 mx", "Nov 32 23:59:00 mx a: x",
        "Feb 30 23:59:00 mx a: x", "Nov 31 23:59:00 mx a: x", "Foo 13 23:59:00 mx a: x",
        "Nov 13 24:59:00 mx a: x", "Nov 13 23-59:00 mx a: x", "2024-13-26T01:33:38Z mx a: x", "2024-08-26T25:33:38Z mx a: x",
        "2024-08-26T01:33:38Z",
        "<22>1 2024-08-26T01:33:38Z mx postfix", "<22>", "<99999>Nov 13 23:59:00 mx a: x", "<22>1 2024-08-26T01:33:38Z a b c",
        "\u{0}\u{0}\u{0}\u{0}",
    ])
    func whatIsNoLineOfALog(line: String) {
        #expect(head(line) == nil)
    }

    @Test(arguments: [
        (
            ["Nov 30 10:00:00", "Dec 31 23:59:59", "Jan  1 00:00:01", "Dec 31 23:59:59", "Jan  1 00:00:02", "Jan  5 01:00:00"],
            ["2025", "2025", "2026", "2025", "2026", "2026"]
        ),
        // Of a server that is seldom written to; a line that is out of order is not a year ahead.
        (["Oct 30 10:00:00", "Jan  3 00:00:01", "Jul 30 10:00:00"], ["2025", "2026", "2026"]),
        (["Jul 30 10:00:00", "Mar  3 00:00:01"], ["2025", "2025"]),
    ])
    func goesOnOverNewYear(stamps: [String], expected: [String]) {
        var reader = SyslogReader(year: nil, modified: time("2026-01-05T12:00:00Z"))
        let years = stamps.map { stamp in
            let bytes = Array("\(stamp) mx a: x".utf8)
            return String(reader.read(bytes.span, 0..<bytes.count)?.time.description.prefix(4) ?? "")
        }
        #expect(years == expected)
    }

    @Test func theYearCanBeGiven() {
        #expect(head("Dec 24 09:01:02 mx a: x", year: 2012, modified: nil) == "2012-12-24T09:01:02.000Z|mx|a|0|x")
        #expect(head("Dec 24 09:01:02 mx a: x", year: 2012) == "2012-12-24T09:01:02.000Z|mx|a|0|x")
        // Nothing is known: any year will do, as long as lines compare.
        #expect(head("Dec 24 09:01:02 mx a: x", modified: nil) == "1970-12-24T09:01:02.000Z|mx|a|0|x")
    }

    /// Octet by octet shorter and with each octet spoilt: never a trap.
    @Test func anyOctets() {
        let line = Array("<22>1 2024-08-26T01:33:38.572449+00:00 mx postfix/smtpd 60203 ID [a k=\"v\"] NOQUEUE: x".utf8)
        var read = 0
        for length in 0...line.count {
            var reader = SyslogReader(year: nil, modified: nil)
            let bytes = Array(line.prefix(length))
            if reader.read(bytes.span, 0..<bytes.count) != nil { read += 1 }
        }
        for index in line.indices {
            for octet: UInt8 in [0, 0x20, 0x22, 0x5b, 0x5d, 0x5c, 0x3e, 0xff] {
                var reader = SyslogReader(year: nil, modified: nil)
                var bytes = line
                bytes[index] = octet
                if reader.read(bytes.span, 0..<bytes.count) != nil { read += 1 }
            }
        }
        #expect(read > 100)
    }

    @Test func calendar() {
        for (year, month, day) in [(1970, 1, 1), (2000, 2, 29), (2024, 12, 31), (1969, 12, 31), (2100, 3, 1)] {
            let days = Calendar.days(year: year, month: month, day: day)
            let shown = WallTime(milliseconds: Int64(days) * 86_400_000).description
            #expect(shown.hasPrefix(String(year)) && shown.contains(month < 10 ? "-0\(month)-" : "-\(month)-"), "\(shown)")
            #expect(Calendar.year(of: WallTime(milliseconds: Int64(days) * 86_400_000)) == year)
        }
    }
}

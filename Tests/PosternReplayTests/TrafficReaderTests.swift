import PosternCore
import PosternEngine
import Testing

@testable import PosternReplay

/// Several files, in the order of time.
struct TrafficReaderTests {
    private func log(_ minutes: Range<Int>, host: String, stamp: (Int) -> String) -> String {
        minutes.map { minute in
            "\(stamp(minute)) \(host) postfix/smtpd[1]: NOQUEUE: reject: RCPT from unknown[192.0.2.1]: 450 4.2.0 Greylisted; from=<\(host)\(minute)@example.org> to=<b@example.net> proto=ESMTP helo=<h>\n"
        }.joined()
    }

    private func iso(_ minute: Int) -> String { (time("2026-11-20T00:00:00Z") + .minutes(Int64(minute))).description }

    @Test func rotatedFilesMayBeGivenInAnyOrder() throws {
        // A message's lines lie in two files.
        let older =
            log(0..<500, host: "mx", stamp: iso) + "\(iso(500)) mx postfix/smtpd[1]: 4A0001: client=a[192.0.2.1]\n"
            + "\(iso(500)) mx postfix/qmgr[1]: 4A0001: from=<cut@example.org>, size=1, nrcpt=1 (queue active)\n"
        let newer =
            "\(iso(501)) mx postfix/local[1]: 4A0001: to=<b@example.net>, relay=local, delay=1, dsn=2.0.0, status=sent (x)\n"
            + log(501..<900, host: "mx", stamp: iso)
        for files in [[file(older, name: "1"), file(newer, name: "2")], [file(newer, name: "2"), file(older, name: "1")]] {
            let found = try readAll(files)
            #expect(found.attempts.count == 900)
            #expect(
                found.attempts.map(\.time) == found.attempts.map(\.time).sorted()
                    && found.attempts[500].sender.description == "cut@example.org")
            #expect(found.counts.late == 0)
        }
    }

    @Test(arguments: [1, 100, 1_000_000]) func logsOfSeveralHostsAreMerged(pieces: Int) throws {
        let names = ["mx1", "mx2", "mx3"]
        let files = names.map { file(log(0..<300, host: $0, stamp: iso), name: $0, pieces: pieces) }
        let found = try readAll(files)
        #expect(found.attempts.count == 900 && found.counts.late == 0)
        #expect(found.attempts.map(\.time) == found.attempts.map(\.time).sorted())
        #expect(Set(found.attempts.prefix(30).map { String($0.sender.description.prefix(3)) }) == ["mx1", "mx2", "mx3"])
    }

    @Test func aPipeIsReadOnce() throws {
        let found = try readAll([
            file(log(0..<50, host: "mx", stamp: iso), name: "-", isRepeatable: false),
            file(log(20..<70, host: "my", stamp: iso), name: "b"),
        ])
        #expect(found.attempts.count == 100 && found.counts.late == 0)
    }

    @Test func aTableBesideALog() throws {
        let table =
            "time,client_address,sender,recipient\n" + (0..<100).map { "\(iso($0)),192.0.2.2,t\($0)@example.org,b@example.net\n" }.joined()
        let found = try readAll([file(log(0..<100, host: "mx", stamp: iso), name: "log"), file(table, name: "table")])
        #expect(found.attempts.count == 200 && found.attempts.map(\.time) == found.attempts.map(\.time).sorted())
    }

    @Test func aFileThatBreaksOff() throws {
        let failure = InputFailure(file: "mail.log.gz", message: "the compressed data is cut off")
        let found = try readAll([file(log(0..<10, host: "mx", stamp: iso), name: "mail.log.gz", failure: failure)])
        #expect(found.attempts.count == 10)
        #expect(found.problems.reasons == [.init(reason: "the file breaks off: the compressed data is cut off", count: 1)])
    }

    @Test func linesThatCannotBeReadAreCountedAndSampled() throws {
        let long = String(repeating: "x", count: 70_000)
        let bad = (0..<20).map { "bad line \($0)\n" }.joined()
        let found = try readAll([
            file(
                "\(bad)\(log(0..<1, host: "mx", stamp: iso))\(long)\n\(iso(1)) mx postfix/smtpd[1]: connect from nobody\n\(iso(1)) mx cron[1]: hello\n"
                    + String(repeating: "y", count: 300) + "\u{1b}[2J\n", name: "mail.log")
        ])
        #expect(found.problems.count == 23 && found.counts.lines == 25 && found.counts.foreignLines == 1)
        #expect(found.problems.reasons.map(\.count) == [21, 1, 1])
        let samples = found.problems.samples
        #expect(
            samples.count == 7
                && samples[0] == .init(file: "mail.log", line: 1, reason: "it does not begin as a line of a log does", text: "bad line 0"))
        #expect(samples.contains { $0.line == 23 && $0.reason.contains("name[address]") })
        #expect(samples.allSatisfy { $0.text.utf8.count <= InputProblems.maximumText })
    }

    @Test func reasonsAreBounded() {
        var problems = InputProblems()
        for index in 0..<10_000 { problems.add("reason \(index)", file: "f", line: index, text: "") }
        #expect(problems.count == 10_000 && problems.reasons.count == InputProblems.maximumReasons)
        #expect(problems.samples.count <= InputProblems.maximumReasons * InputProblems.samplesAReason)
        #expect(problems.reasons.reduce(0) { $0 + $1.count } == 10_000)
    }

    @Test func emptyFiles() throws {
        let found = try readAll([file("", name: "a"), file("\n\n", name: "b"), file("time,client_address,sender,recipient\n", name: "c")])
        #expect(found.attempts.isEmpty && found.problems.count == 0)
    }

    /// What comes to light too late, as when summer time ends, is replayed late and counted.
    @Test func theOrderOfTimeIsMendedWithinItsWindow() {
        var order = TimeOrder()
        var minutes: [Int64] = []
        func attempt(_ minute: Int64) -> LoggedAttempt {
            LoggedAttempt(
                time: WallTime(seconds: minute * 60), client: Client(address: nil), sender: .null,
                recipient: Mailbox(localPart: "a", domain: "b"))
        }
        var now = WallTime(seconds: 0)
        for minute in [0, 1, 2, 9, 5, 6, 30, 31, 3, 32, 60] as [Int64] {
            order.insert(attempt(minute))
            now = max(now, WallTime(seconds: minute * 60))
            while let next = order.next(readTo: now, window: TimeOrder.window) { minutes.append(next.time.milliseconds / 60_000) }
        }
        while let next = order.next(readTo: nil, window: nil) { minutes.append(next.time.milliseconds / 60_000) }
        #expect(minutes == [0, 1, 2, 5, 6, 9, 3, 30, 31, 32, 60] && order.late == 1)
    }

    @Test func heldBackAttemptsAreBounded() {
        var order = TimeOrder()
        var released = 0
        for index in 0..<TimeOrder.maximum + 5000 {
            order.insert(
                LoggedAttempt(
                    time: WallTime(milliseconds: Int64(index)), client: Client(address: nil), sender: .null,
                    recipient: Mailbox(localPart: "a", domain: "b")))
            while order.next(readTo: WallTime(milliseconds: 0), window: nil) != nil { released += 1 }
        }
        #expect(order.count == TimeOrder.maximum && released == 5000)
    }
}

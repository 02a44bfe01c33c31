import PosternCore
import PosternEngine
import Testing

@testable import PosternReplay

/// Attempts put together from a log's lines.
struct AssemblyTests {
    private let day = "2026-11-20T08:"

    @Test func anAcceptedMessage() throws {
        let found = try readAll(
            """
            Nov 20 08:00:00 mx postfix/smtpd[11]: connect from mx.example.org[192.0.2.1]
            Nov 20 08:00:01 mx postfix/smtpd[11]: 4A0001: client=mx.example.org[192.0.2.1]
            Nov 20 08:00:01 mx postfix/cleanup[12]: 4A0001: message-id=<x@example.org>
            Nov 20 08:00:02 mx postfix/qmgr[2]: 4A0001: from=<a@example.org>, size=3000, nrcpt=3 (queue active)
            Nov 20 08:00:02 mx postfix/smtpd[11]: disconnect from mx.example.org[192.0.2.1] ehlo=1 mail=1 rcpt=2 data=1 quit=1 commands=6
            Nov 20 08:00:03 mx postfix/lmtp[13]: 4A0001: to=<b@host.example.net>, orig_to=<b@example.net>, relay=x, delay=1, delays=0/0/0/0, dsn=4.0.0, status=deferred (x)
            Nov 20 08:00:03 mx postfix/local[14]: 4A0001: to=<c@host.example.net>, orig_to=<staff>, relay=local, delay=1, delays=0/0/0/0, dsn=2.0.0, status=sent (x)
            Nov 20 08:00:03 mx postfix/local[14]: 4A0001: to=<d@example.net>, relay=local, delay=1, delays=0/0/0/0, dsn=5.1.1, status=bounced (x)
            Nov 20 08:10:03 mx postfix/lmtp[13]: 4A0001: to=<b@host.example.net>, orig_to=<B@example.net>, relay=x, delay=1, delays=0/0/0/0, dsn=2.0.0, status=sent (x)
            Nov 20 08:10:03 mx postfix/qmgr[2]: 4A0001: removed

            """)
        #expect(
            found.attempts.map(\.summary) == [
                "\(day)00:01.000Z 192.0.2.1 mx.example.org <a@example.org> <b@example.net> 1000",
                "\(day)00:01.000Z 192.0.2.1 mx.example.org <a@example.org> <c@host.example.net> 1000",
                "\(day)00:01.000Z 192.0.2.1 mx.example.org <a@example.org> <d@example.net> 1000",
            ])
        #expect(Set(found.attempts.map(\.message)).count == 1)
        #expect(found.counts.lines == 10 && found.counts.attempts == 3 && found.counts.incomplete == 0 && found.problems.count == 0)
    }

    @Test func deferralsAndRefusals() throws {
        func reject(
            _ second: Int, _ text: String, host: String = "unknown[192.0.2.7]",
            envelope: String = "from=<a@example.org> to=<b@example.net> proto=ESMTP helo=<h>", program: String = "smtpd"
        ) -> String {
            "Nov 20 08:00:\(second < 10 ? "0" : "")\(second) mx postfix/\(program)[11]: NOQUEUE: reject: RCPT from \(host): \(text); \(envelope)\n"
        }
        let log =
            reject(1, "450 4.2.0 <b@example.net>: Recipient address rejected: Greylisted, see http://x")
            + reject(2, "451 4.7.1 Service: please come back in 180 seconds or later")
            + reject(
                3, "450 4.3.2 Service currently unavailable", host: "[192.0.2.7]:99",
                envelope: "from=<a@example.org>, to=<b@example.net>, proto=ESMTP, helo=<h>", program: "postscreen")
            + reject(4, "450 4.7.25 Client host rejected: cannot find your hostname")
            + reject(5, "550 5.1.1 <b@example.net>: Recipient address rejected: User unknown")
            + reject(6, "451 4.7.1 Not today") + reject(7, "554 5.7.1 Service unavailable", envelope: "proto=ESMTP")
            + "Nov 20 08:00:08 mx postfix/smtpd[11]: NOQUEUE: reject: EHLO from unknown[192.0.2.7]: 504 5.5.2 <x>: Helo command rejected; proto=SMTP helo=<x>\n"
            + "Nov 20 08:00:09 mx postfix/smtpd[11]: NOQUEUE: reject_warning: RCPT from unknown[192.0.2.7]: 450 4.2.0 Greylisted; from=<a@example.org> to=<b@example.net> proto=ESMTP helo=<h>\n"
        let found = try readAll(log)
        #expect(
            found.attempts.map(\.summary) == [
                "\(day)00:01.000Z 192.0.2.7 helo=h <a@example.org> <b@example.net> deferred",
                "\(day)00:02.000Z 192.0.2.7 helo=h <a@example.org> <b@example.net> deferred",
                "\(day)00:03.000Z 192.0.2.7 helo=h <a@example.org> <b@example.net> deferred",
            ])
        #expect(found.counts.refused == 3 && found.counts.withoutRecipient == 2)

        var options = ReadingOptions()
        options.takesRefused = true
        options.greylistTexts = ["NOT TODAY"]
        let all = try readAll(log, options: options)
        #expect(all.attempts.map { "\($0.outcome)" } == ["deferred", "deferred", "deferred", "refused", "refused", "deferred"])
    }

    @Test func aMilterThatGreylistsAtTheEnd() throws {
        let found = try readAll(
            """
            Nov 20 08:00:01 mx postfix/smtpd[11]: 4A0001: client=mx.example.org[192.0.2.1]
            Nov 20 08:00:03 mx postfix/cleanup[12]: 4A0001: milter-reject: END-OF-MESSAGE from mx.example.org[192.0.2.1]: 4.7.1 Try again later; from=<a@example.org> to=<b@example.net> proto=ESMTP helo=<mx.example.org>
            Nov 20 08:01:01 mx postfix/smtpd[11]: 4A0002: client=mx.example.org[192.0.2.1]
            Nov 20 08:01:03 mx postfix/cleanup[12]: 4A0002: milter-reject: END-OF-MESSAGE from mx.example.org[192.0.2.1]: 5.7.1 Spam; from=<a@example.org> to=<b@example.net> proto=ESMTP helo=<mx.example.org>

            """)
        #expect(
            found.attempts.map(\.summary) == [
                "\(day)00:01.000Z 192.0.2.1 mx.example.org helo=mx.example.org <a@example.org> <b@example.net> deferred"
            ])
        #expect(found.counts.refused == 1 && found.counts.incomplete == 0)
    }

    @Test func ownUsersAndWhatComesBackFromAFilter() throws {
        let found = try readAll(
            """
            Nov 20 08:00:01 mx postfix/submission/smtpd[11]: 4A0001: client=pc[198.51.100.4], sasl_method=PLAIN, sasl_username=bob
            Nov 20 08:00:02 mx postfix/qmgr[2]: 4A0001: from=<bob@example.net>, size=300, nrcpt=2 (queue active)
            Nov 20 08:00:03 mx postfix/smtp[13]: 4A0001: to=<friend@example.org>, relay=mx.example.org[192.0.2.1]:25, delay=1, dsn=2.0.0, status=sent (250 Ok)
            Nov 20 08:00:03 mx postfix/smtp[13]: 4A0001: to=<gone@example.com>, relay=none, delay=1, dsn=4.0.0, status=deferred (x)
            Nov 20 08:00:04 mx postfix/smtpd[12]: 4A0002: client=localhost[127.0.0.1], orig_queue_id=4A0001, orig_client=pc[198.51.100.4]
            Nov 20 08:00:04 mx postfix/qmgr[2]: 4A0002: from=<a@example.org>, size=300, nrcpt=1 (queue active)
            Nov 20 08:00:04 mx postfix/local[14]: 4A0002: to=<c@example.net>, relay=local, delay=1, dsn=2.0.0, status=sent (x)
            Nov 20 08:00:05 mx postfix/smtpd[12]: 4A0003: client=mx[192.0.2.3]
            Nov 20 08:00:05 mx postfix/qmgr[2]: 4A0003: from=<x@example.org>, size=300, nrcpt=1 (queue active)
            Nov 20 08:00:05 mx postfix/smtp[14]: 4A0003: to=<c@example.net>, relay=127.0.0.1[127.0.0.1]:10024, delay=1, dsn=2.0.0, status=sent (250 Ok: queued as 4A0004)
            Nov 20 08:00:06 mx postfix/pickup[15]: 4A0005: uid=0 from=<root>
            Nov 20 08:00:06 mx postfix/qmgr[2]: 4A0005: from=<root@example.net>, size=300, nrcpt=1 (queue active)
            Nov 20 08:00:06 mx postfix/smtp[14]: 4A0005: to=<admin@example.com>, relay=mx[192.0.2.9]:25, delay=1, dsn=2.0.0, status=sent (250 Ok)

            """)
        #expect(found.attempts.map(\.sender.description) == ["x@example.org"])
        #expect(found.counts.own == 3)
        #expect(
            found.sent.map { "\($0.sender) to \($0.recipient)" } == [
                "bob@example.net to friend@example.org", "root@example.net to admin@example.com",
            ])
    }

    @Test func aFilterInFrontOfTheQueue() throws {
        let found = try readAll(
            """
            Nov 20 08:00:00 mx postfix/smtpd[11]: NOQUEUE: client=mx.example.org[192.0.2.1]
            Nov 20 08:00:01 mx postfix/smtpd[12]: 4A0001: client=localhost[127.0.0.1]
            Nov 20 08:00:01 mx postfix/smtpd[11]: proxy-accept: END-OF-MESSAGE: 250 2.0.0 Ok: queued as 4A0001; from=<a@example.org> to=<b@example.net> proto=ESMTP helo=<mx.example.org>
            Nov 20 08:00:02 mx postfix/smtpd[11]: proxy-reject: END-OF-MESSAGE: 554 5.7.0 Reject; from=<c@example.org> to=<b@example.net> proto=ESMTP helo=<mx.example.org>

            """)
        #expect(
            found.attempts.map(\.summary) == [
                "\(day)00:01.000Z 192.0.2.1 mx.example.org helo=mx.example.org <a@example.org> <b@example.net>"
            ])
        #expect(found.counts.refused == 1)
    }

    @Test func evidenceOfTheLog() throws {
        let found = try readAll(
            """
            Nov 20 08:00:00 mx postfix/postscreen[9]: CONNECT from [192.0.2.1]:4 to [192.0.2.9]:25
            Nov 20 08:00:00 mx postfix/dnsblog[8]: addr 192.0.2.1 listed by domain Zen.example as 127.0.0.4
            Nov 20 08:00:00 mx postfix/dnsblog[8]: addr 192.0.2.1 listed by domain zen.example as 127.0.0.4
            Nov 20 08:00:01 mx postfix/postscreen[9]: PREGREET 14 after 0.08 from [192.0.2.1]:4: EHLO x
            Nov 20 08:00:02 mx postfix/postscreen[9]: DNSBL rank 3 for [192.0.2.1]:4
            Nov 20 08:00:03 mx policyd-spf[7]: None; identity=helo; client-ip=192.0.2.1; helo=h.example.org; envelope-from=a@example.org; receiver=x
            Nov 20 08:00:03 mx policyd-spf[7]: Softfail; identity=mailfrom; client-ip=192.0.2.1; helo=h.example.org; envelope-from=a@example.org; receiver=x
            Nov 20 08:00:04 mx postfix/smtpd[11]: 4A0001: client=unknown[192.0.2.1]
            Nov 20 08:00:04 mx postfix/qmgr[2]: 4A0001: from=<a@example.org>, size=300, nrcpt=1 (queue active)
            Nov 20 08:00:04 mx postfix/local[14]: 4A0001: to=<c@example.net>, relay=local, delay=1, dsn=2.0.0, status=sent (x)
            Nov 20 08:20:04 mx postfix/smtpd[11]: 4A0002: client=unknown[192.0.2.1]
            Nov 20 08:20:04 mx postfix/qmgr[2]: 4A0002: from=<a@example.org>, size=300, nrcpt=1 (queue active)
            Nov 20 08:20:04 mx postfix/local[14]: 4A0002: to=<c@example.net>, relay=local, delay=1, dsn=2.0.0, status=sent (x)
            Nov 20 08:30:00 mx postfix/postscreen[9]: PASS NEW [192.0.2.2]:4
            Nov 20 08:30:04 mx postfix/smtpd[11]: 4A0003: client=unknown[192.0.2.2]
            Nov 20 08:30:04 mx postfix/qmgr[2]: 4A0003: from=<b@example.org>, size=300, nrcpt=1 (queue active)
            Nov 20 08:30:04 mx postfix/local[14]: 4A0003: to=<c@example.net>, relay=local, delay=1, dsn=2.0.0, status=sent (x)

            """)
        #expect(found.attempts.count == 3)
        let first = found.attempts[0]
        #expect(first.evidence.listings == [RecordedListing(zone: "zen.example", reply: IPAddress("127.0.0.4"))])
        #expect(first.evidence.dnsRank == 3 && first.evidence.signals == [.earlyTalk: 1] && first.evidence.spf == .softfail)
        #expect(first.client.helo == "h.example.org")
        #expect(found.attempts[1].evidence.isEmpty, "that was twenty minutes ago")
        #expect(found.attempts[2].evidence.dnsRank == 0)
    }

    @Test func aPolicyServicesLogAlone() throws {
        let lines = """
            Nov 20 08:00:00 mx postgrey[7]: action=greylist, reason=new, client_name=mx.example.org, client_address=192.0.2.1, sender=a@example.org, recipient=b@example.net
            Nov 20 08:05:30 mx postgrey[7]: action=pass, reason=triplet found, delay=330, client_name=mx.example.org, client_address=192.0.2.1, sender=a@example.org, recipient=b@example.net

            """
        let alone = try readAll(lines)
        #expect(alone.attempts.map { "\($0.outcome)" } == ["deferred", "accepted"])
        // Beside the server's own lines they are the same attempts again.
        let both = try readAll(
            lines.replacing(
                "Nov 20 08:05:30",
                with:
                    "Nov 20 08:00:00 mx postfix/smtpd[1]: NOQUEUE: reject: RCPT from mx.example.org[192.0.2.1]: 450 4.2.0 <b@example.net>: Greylisted; from=<a@example.org> to=<b@example.net> proto=ESMTP helo=<h>\nNov 20 08:05:30"
            ))
        #expect(
            both.attempts.map(\.summary) == ["\(day)00:00.000Z 192.0.2.1 mx.example.org helo=h <a@example.org> <b@example.net> deferred"])
    }

    @Test func queueIdentifiersBelongToTheirHostAndInstance() throws {
        let found = try readAll(
            """
            Nov 20 08:00:01 mx1 postfix/smtpd[11]: 4A0001: client=a[192.0.2.1]
            Nov 20 08:00:01 mx2 postfix/smtpd[11]: 4A0001: client=b[192.0.2.2]
            Nov 20 08:00:01 mx2 postfix-in/smtpd[11]: 4A0001: client=c[192.0.2.3]
            Nov 20 08:00:02 mx1 postfix/qmgr[2]: 4A0001: from=<a@example.org>, size=1, nrcpt=1 (queue active)
            Nov 20 08:00:02 mx2 postfix/qmgr[2]: 4A0001: from=<b@example.org>, size=1, nrcpt=1 (queue active)
            Nov 20 08:00:02 mx2 postfix-in/qmgr[2]: 4A0001: from=<c@example.org>, size=1, nrcpt=1 (queue active)
            Nov 20 08:00:03 mx2 postfix/local[3]: 4A0001: to=<x@example.net>, relay=local, delay=1, dsn=2.0.0, status=sent (x)
            Nov 20 08:00:03 mx1 postfix/local[3]: 4A0001: to=<x@example.net>, relay=local, delay=1, dsn=2.0.0, status=sent (x)
            Nov 20 08:00:03 mx2 postfix-in/local[3]: 4A0001: to=<x@example.net>, relay=local, delay=1, dsn=2.0.0, status=sent (x)

            """)
        #expect(
            Set(found.attempts.map { "\($0.client.address?.description ?? "") \($0.sender)" })
                == ["192.0.2.1 a@example.org", "192.0.2.2 b@example.org", "192.0.2.3 c@example.org"])
    }

    @Test func cutShort() throws {
        // It begins and ends in the midst of messages.
        let found = try readAll(
            """
            Nov 20 08:00:03 mx postfix/local[14]: 4A0001: to=<c@example.net>, relay=local, delay=1, dsn=2.0.0, status=sent (x)
            Nov 20 08:00:03 mx postfix/qmgr[2]: 4A0001: removed
            Nov 20 08:00:04 mx postfix/smtpd[11]: 4A0002: client=mx.example.org[192.0.2.1]
            Nov 20 08:00:05 mx postfix/smtpd[11]: lost connection after RCPT from mx.example.org[192.0.2.1]
            Nov 20 08:00:06 mx postfix/smtpd[11]: 4A0003: client=mx.example.org[192.0.2.1]
            Nov 20 08:00:06 mx postfix/qmgr[2]: 4A0003: from=<a@example.org>, size=300, nrcpt=1 (queue active)
            """)
        #expect(found.attempts.isEmpty && found.counts.incomplete == 2)
    }

    /// What is held is bounded by what is open.
    @Test func messagesThatNeverEndAreForgotten() {
        var assembler = MailLogAssembler()
        let start = time("2026-11-20T08:00:00Z")
        func take(_ message: String, _ second: Int64) {
            let program = "postfix/smtpd"
            let bytes = Array((program + message).utf8)
            let result = PostfixMessage.read(bytes.span, program: 0..<program.utf8.count, message: program.utf8.count..<bytes.count)
            guard case .event(let event) = result else { return }
            assembler.take(event, bytes.span, time: start + .seconds(second), instance: 1, process: 1)
        }
        for index in 0..<10_000 { take("\(String(index + 0xA00000, radix: 16, uppercase: true)): client=a[192.0.2.1]", Int64(index)) }
        #expect(assembler.openMessages <= 3602 && assembler.counts.incomplete >= 6398)
        assembler.finish()
        #expect(assembler.openMessages == 0 && assembler.counts.incomplete == 10_000)
    }

    @Test func factsAreForgotten() {
        var table = ClientFactsTable()
        let start = time("2026-11-20T08:00:00Z")
        for index in 0..<100_000 {
            table.update(IPAddress(v4: UInt32(index)), at: start + .seconds(Int64(index))) { $0.evidence.dnsRank = 1 }
        }
        #expect(table.count < 3000)
        #expect(table[IPAddress(v4: 99_999), at: start + .seconds(100_000)] != nil)
        #expect(table[IPAddress(v4: 99_000), at: start + .seconds(100_000)] == nil)
    }
}

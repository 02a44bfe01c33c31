import PosternCore
import PosternEngine
import Testing

@testable import PosternReplay

/// What a message tells, in words.
func told(_ message: String, by program: String) -> String {
    let bytes = Array((program + message).utf8)
    let split = program.utf8.count
    return describe(PostfixMessage.read(bytes.span, program: 0..<split, message: split..<bytes.count), bytes)
}

func describe(_ result: PostfixMessage.Result, _ bytes: [UInt8]) -> String {
    func text(_ piece: Piece?) -> String { piece.map { String(decoding: bytes[$0], as: UTF8.self) } ?? "-" }
    func client(_ client: LoggedClient) -> String { "\(text(client.name))[\(text(client.address))]" }
    func envelope(_ envelope: LoggedEnvelope) -> String { "\(text(envelope.sender)) \(text(envelope.recipient)) \(text(envelope.helo))" }
    switch result {
    case .foreign: return "foreign"
    case .unreadable(let reason): return "unreadable \(reason)"
    case .event(let event):
        switch event {
        case .idle: return "idle"
        case .accepted(let queue, let who, let account, let isForwarded):
            return "accepted \(text(queue)) \(client(who)) \(text(account))\(isForwarded ? " forwarded" : "")"
        case .refused(let refusal):
            return
                "refused \(text(refusal.queue)) \(text(refusal.action)) \(text(refusal.stage)) \(client(refusal.client)) \(refusal.code) \(text(refusal.enhancedCode)) '\(text(refusal.text))' \(envelope(refusal.envelope))"
        case .filtered(let isAccepted, let response, let named): return "filtered \(isAccepted) '\(text(response))' \(envelope(named))"
        case .envelope(let queue, let named): return "envelope \(text(queue)) \(envelope(named))"
        case .messageID(let queue, let id): return "message-id \(text(queue)) \(text(id))"
        case .queued(let queue, let sender, let size, let count): return "queued \(text(queue)) \(text(sender)) \(size) \(count)"
        case .delivery(let delivery):
            return
                "delivery \(text(delivery.queue)) \(text(delivery.recipient)) \(text(delivery.original)) \(text(delivery.relay)) \(text(delivery.status)) '\(text(delivery.response))'\(delivery.isRemote ? " remote" : "")"
        case .removed(let queue): return "removed \(text(queue))"
        case .pickedUp(let queue, let sender): return "picked up \(text(queue)) \(text(sender))"
        case .connected(let who): return "connected \(client(who))"
        case .disconnected(let who): return "disconnected \(client(who))"
        case .violation(let check, let who): return "violation \(check.rawValue) \(client(who))"
        case .screened(let screening, let who): return "screened \(screening) \(client(who))"
        case .dnsRank(let rank, let who): return "rank \(rank) \(client(who))"
        case .listed(let address, let zone, let reply): return "listed \(text(address)) \(text(zone)) \(text(reply))"
        case .policy(let answer):
            return
                "policy \(answer.isDeferred ? "defer" : "pass") \(client(answer.client)) \(text(answer.sender)) \(text(answer.recipient))"
        case .spf(let answer):
            return "spf \(answer.result)\(answer.isHelo ? " helo" : "") \(text(answer.address)) \(text(answer.helo)) \(text(answer.sender))"
        }
    }
}

struct PostfixMessageTests {
    @Test(arguments: [
        ("connect from a.example[192.0.2.1]", "connected a.example[192.0.2.1]"),
        ("connect from unknown[2001:db8::1]:4711", "connected unknown[2001:db8::1]"),
        ("disconnect from a.example[192.0.2.1] ehlo=1 quit=1 commands=2", "disconnected a.example[192.0.2.1]"),
        ("4Tw0Hh5zwCz7fxV: client=a.example[192.0.2.1]", "accepted 4Tw0Hh5zwCz7fxV a.example[192.0.2.1] -"),
        (
            "A1B2C3: client=unknown[192.0.2.1]:4711, sasl_method=PLAIN, sasl_username=bob@example.net",
            "accepted A1B2C3 unknown[192.0.2.1] bob@example.net"
        ),
        (
            "A1B2C3: client=localhost[127.0.0.1], sasl_method=LOGIN, sasl_username=bob, sasl_sender=b, orig_queue_id=C3, orig_client=a[192.0.2.1]",
            "accepted A1B2C3 localhost[127.0.0.1] bob forwarded"
        ), ("NOQUEUE: client=a.example[192.0.2.1]", "accepted - a.example[192.0.2.1] -"),
        (
            "NOQUEUE: reject: RCPT from a.example[192.0.2.1]: 450 4.2.0 <b@example.net>: Recipient address rejected: Greylisted, see http://x/; from=<a@example.org> to=<b@example.net> proto=ESMTP helo=<a.example>",
            "refused - reject RCPT a.example[192.0.2.1] 450 4.2.0 '<b@example.net>: Recipient address rejected: Greylisted, see http://x/' a@example.org b@example.net a.example"
        ),
        (
            "A1B2C3: milter-reject: END-OF-MESSAGE from a.example[192.0.2.1]: 4.7.1 Try again later; from=<> to=<b@example.net> proto=ESMTP helo=<[192.0.2.1]>",
            "refused A1B2C3 milter-reject END-OF-MESSAGE a.example[192.0.2.1] 450 4.7.1 'Try again later'  b@example.net [192.0.2.1]"
        ),
        // A local part may hold what looks like the end of a field.
        (
            "NOQUEUE: reject: RCPT from a[192.0.2.1]: 554 5.7.1 x; from=<\"a>b\"@example.org> to=<b@example.net> proto=SMTP helo=<x y>",
            "refused - reject RCPT a[192.0.2.1] 554 5.7.1 'x' \"a>b\"@example.org b@example.net x y"
        ),
        (
            "NOQUEUE: reject: CONNECT from a[192.0.2.1]: 554 5.7.1 x; proto=SMTP",
            "refused - reject CONNECT a[192.0.2.1] 554 5.7.1 'x' - - -"
        ),
        (
            "NOQUEUE: reject: RCPT from a[192.0.2.1]: 554 5.7.1 Service unavailable",
            "refused - reject RCPT a[192.0.2.1] 554 5.7.1 'Service unavailable' - - -"
        ),
        ("NOQUEUE: lost connection after CONNECT from unknown[192.0.2.25]", "idle"),
        ("improper command pipelining after EHLO from a[192.0.2.1]: MAIL FROM:<x>", "violation pipelining a[192.0.2.1]"),
        ("warning: non-SMTP command from a[192.0.2.1]: GET / HTTP/1.1", "violation non-smtp a[192.0.2.1]"),
        ("bare <LF> received after DATA from a[192.0.2.1]", "violation bare-line-ending a[192.0.2.1]"),
        (
            "proxy-accept: END-OF-MESSAGE: 250 2.0.0 Ok: queued as DF66E94; from=<a@example.org> to=<b@example.net> proto=ESMTP helo=<h>",
            "filtered true '250 2.0.0 Ok: queued as DF66E94' a@example.org b@example.net h"
        ),
        (
            "proxy-reject: END-OF-MESSAGE: ; from=<a@example.org> to=<b@example.net> proto=ESMTP helo=<h>",
            "filtered false '' a@example.org b@example.net h"
        ),
        ("warning: hostname x does not resolve to address 192.0.2.1", "idle"), ("lost connection after RCPT from a[192.0.2.1]", "idle"),
        (
            "message repeated 3 times: [ NOQUEUE: reject: VRFY from a[192.0.2.1]: 454 4.7.1 x; to=<b@example.net> proto=SMTP helo=<h>]",
            "refused - reject VRFY a[192.0.2.1] 454 4.7.1 'x' - b@example.net h"
        ), ("connect from nowhere", "unreadable client"), ("", "idle"), ("NOQUEUE: reject: RCPT from nobody: 450 x", "unreadable client"),
    ])
    func smtpd(message: String, expected: String) {
        #expect(told(message, by: "postfix/smtpd") == expected)
        #expect(told(message, by: "postfix-in/submission/smtpd") == expected)
    }

    @Test(arguments: [
        ("cleanup", "A1B2C3: message-id=<x@y>", "message-id A1B2C3 x@y"), ("cleanup", "A1B2C3: message-id=<>", "message-id A1B2C3 "),
        (
            "cleanup",
            "A1B2C3: warning: header Subject: a; b from a[192.0.2.1]; from=<a@example.org> to=<b@example.net> proto=ESMTP helo=<h>",
            "envelope A1B2C3 a@example.org b@example.net h"
        ),
        (
            "cleanup",
            "A1B2C3: reject: header Subject: casino from a[192.0.2.1]; from=<a@example.org> to=<b@example.net> proto=ESMTP helo=<h>: 5.7.1 no",
            "refused A1B2C3 reject  a[192.0.2.1] 550  'header Subject: casino' a@example.org b@example.net h"
        ), ("qmgr", "A1B2C3: from=<a@example.org>, size=5360, nrcpt=2 (queue active)", "queued A1B2C3 a@example.org 5360 2"),
        ("qmgr", "A1B2C3: from=<>, size=5360, nrcpt=1 (queue active)", "queued A1B2C3  5360 1"),
        ("qmgr", "A1B2C3: removed", "removed A1B2C3"),
        ("qmgr", "A1B2C3: from=<a@example.org>, status=expired, returned to sender", "idle"),
        ("qmgr", "A1B2C3: from=<a>, size=x", "unreadable queued"),
        ("pickup", "A1B2C3: uid=0 from=<root>", "picked up A1B2C3 root"),
        (
            "smtp",
            "A1B2C3: to=<b@example.net>, orig_to=<c@example.net>, relay=mx[192.0.2.9]:25, conn_use=2, delay=11, delays=5/0/5/0, dsn=2.0.0, status=sent (250 2.0.0 Ok: (x))",
            "delivery A1B2C3 b@example.net c@example.net mx[192.0.2.9]:25 sent '250 2.0.0 Ok: (x)' remote"
        ),
        (
            "lmtp", "A1B2C3: to=b@example.net, relay=x[private/lmtp], delay=1, delays=0/0/0/0, dsn=2.0.0, status=sent (250 Ok)",
            "delivery A1B2C3 b@example.net - x[private/lmtp] sent '250 Ok'"
        ),
        (
            "virtual",
            "A1B2C3: to=<b@example.net>, relay=virtual, delay=1, delays=0/0/0/0, dsn=5.1.1, status=bounced (unknown user: \"b\")",
            "delivery A1B2C3 b@example.net - virtual bounced 'unknown user: \"b\"'"
        ), ("local", "A1B2C3: to=<b@example.net>, relay=local", "unreadable delivery"), ("local", "warning: x", "idle"),
        ("smtp", "connect to mx[192.0.2.9]:25: Connection timed out", "idle"), ("anvil", "statistics: max connection rate 1/60s", "idle"),
        ("trivial-rewrite", "x", "idle"),
    ])
    func queue(program: String, message: String, expected: String) {
        #expect(told(message, by: "postfix/\(program)") == expected)
    }

    @Test(arguments: [
        ("CONNECT from [192.0.2.1]:53024 to [192.0.2.9]:25", "screened connected [192.0.2.1]"),
        ("PASS OLD [192.0.2.1]:53024", "screened passedOld [192.0.2.1]"),
        ("PASS NEW [2001:db8::1]:5302", "screened passedNew [2001:db8::1]"), ("WHITELISTED [192.0.2.1]:1", "screened allowed [192.0.2.1]"),
        ("ALLOWLISTED [192.0.2.1]:1", "screened allowed [192.0.2.1]"), ("DENYLISTED [192.0.2.1]:1", "screened denied [192.0.2.1]"),
        ("BLACKLISTED [192.0.2.1]:1", "screened denied [192.0.2.1]"), ("ALLOWLIST VETO [192.0.2.1]:1", "screened vetoed [192.0.2.1]"),
        ("PREGREET 14 after 0.08 from [192.0.2.1]:59415: EHLO ylmf-pc\\r\\n", "violation early-talk [192.0.2.1]"),
        ("DNSBL rank 3 for [192.0.2.1]:1038", "rank 3 [192.0.2.1]"),
        ("HANGUP after 63 from [192.0.2.1]:1038 in tests after SMTP handshake", "screened hungUp [192.0.2.1]"),
        ("COMMAND PIPELINING from [192.0.2.1]:42606 after .: x", "violation pipelining [192.0.2.1]"),
        ("BARE NEWLINE from [192.0.2.1]:42606 after .", "violation bare-line-ending [192.0.2.1]"),
        ("NON-SMTP COMMAND from [192.0.2.1]:1 after CONNECT: GET / HTTP/1.1", "violation non-smtp [192.0.2.1]"),
        (
            "NOQUEUE: reject: RCPT from [192.0.2.1]:4984: 550 5.7.1 Service unavailable; client [192.0.2.1] blocked using zen.example; from=<a@example.org>, to=<b@example.net>, proto=ESMTP, helo=<h>",
            "refused - reject RCPT [192.0.2.1] 550 5.7.1 'Service unavailable; client [192.0.2.1] blocked using zen.example' a@example.org b@example.net h"
        ),
        (
            "NOQUEUE: reject: CONNECT from [192.0.2.1]:1337: too many connections",
            "refused - reject CONNECT [192.0.2.1] 0  'too many connections' - - -"
        ),
        ("cache btree:/x full cleanup: retained=1 dropped=0 entries", "idle"), ("DNSBL rank x for nobody", "unreadable client"),
    ])
    func postscreen(message: String, expected: String) {
        #expect(told(message, by: "postfix/postscreen") == expected)
    }

    @Test(arguments: [
        ("postfix/dnsblog", "addr 192.0.2.1 listed by domain zen.example as 127.0.0.2", "listed 192.0.2.1 zen.example 127.0.0.2"),
        (
            "postgrey",
            "action=greylist, reason=new, client_name=a.example, client_address=192.0.2.1/32, sender=a@example.org, recipient=b@example.net",
            "policy defer a.example[192.0.2.1] a@example.org b@example.net"
        ),
        (
            "postgrey",
            "A1B2C3: action=pass, reason=triplet found, delay=2400, client_name=unknown, client_address=192.0.2.1, sender=, recipient=b@example.net",
            "policy pass unknown[192.0.2.1]  b@example.net"
        ), ("postgrey", "whitelisted: mx.example[192.0.2.1/32]", "idle"), ("postgrey", "action=pass, client_name=x", "unreadable policy"),
        (
            "policyd-spf", "Pass; identity=mailfrom; client-ip=192.0.2.1; helo=h.example; envelope-from=a@example.org; receiver=<UNKNOWN>",
            "spf pass 192.0.2.1 h.example a@example.org"
        ), ("policyd-spf", "None; identity=helo; client-ip=192.0.2.1; helo=h; envelope-from=<>; receiver=x", "spf none helo 192.0.2.1 h "),
        (
            "postfix/policy-spf",
            "Policy action=PREPEND Received-SPF: softfail (example.org: x) receiver=mx; identity=mailfrom; envelope-from=\"a@example.org\"; helo=h; client-ip=192.0.2.1",
            "spf softfail 192.0.2.1 h a@example.org"
        ), ("dovecot", "imap-login: x", "foreign"), ("kernel", "x", "foreign"),
    ])
    func services(program: String, message: String, expected: String) {
        #expect(told(message, by: program) == expected)
    }

    /// Every cut of a line, and every octet of it spoilt: a result, never a trap.
    @Test(arguments: [
        (
            "postfix/smtpd",
            "NOQUEUE: reject: RCPT from a[192.0.2.1]: 450 4.2.0 <b@example.net>: Greylisted; from=<a@b> to=<b@example.net> proto=ESMTP helo=<a>"
        ),
        ("postfix/smtpd", "A1B2C3: client=localhost[127.0.0.1], sasl_method=LOGIN, sasl_username=bob, orig_client=a[192.0.2.1]"),
        ("postfix/smtp", "A1B2C3: to=<b@c>, orig_to=<c@d>, relay=mx[192.0.2.9]:25, delay=11, dsn=2.0.0, status=sent (250 Ok)"),
        ("postfix/cleanup", "A1B2C3: reject: header Subject: casino from a[192.0.2.1]; from=<a@b> to=<b@c> proto=ESMTP helo=<h>: 5.7.1 no"),
        ("postfix/postscreen", "PREGREET 14 after 0.08 from [192.0.2.1]:59415: EHLO"),
        ("postfix/qmgr", "A1B2C3: from=<a@b>, size=5360, nrcpt=2 (queue active)"),
        ("postgrey", "action=greylist, reason=new, client_name=a, client_address=192.0.2.1/32, sender=a@b, recipient=b@c"),
        ("policyd-spf", "Pass; identity=mailfrom; client-ip=192.0.2.1; helo=h; envelope-from=\"a@b\"; receiver=x"),
    ])
    func anyOctets(program: String, message: String) {
        let whole = told(message, by: program)
        #expect(whole != "idle" && whole != "foreign")
        for length in 0...message.utf8.count { _ = told(String(message.utf8.prefix(length)) ?? "", by: program) }
        let bytes = Array((program + message).utf8)
        for index in bytes.indices.dropFirst(program.utf8.count) {
            for octet: UInt8 in [0, 0x20, 0x2c, 0x3a, 0x3b, 0x3c, 0x3e, 0x5b, 0x5d, 0x3d, 0xff] {
                var spoilt = bytes
                spoilt[index] = octet
                _ = describe(
                    PostfixMessage.read(spoilt.span, program: 0..<program.utf8.count, message: program.utf8.count..<spoilt.count), spoilt)
            }
        }
    }
}

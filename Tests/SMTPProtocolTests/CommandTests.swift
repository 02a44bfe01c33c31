import PosternCore
import Testing

@testable import SMTPProtocol

@Suite("Commands")
struct CommandTests {
    private func parse(
        _ line: String, leniency: SyntaxLeniency = SyntaxLeniency(), allowUTF8: Bool = false
    ) -> (result: Result<Command, CommandError>, violations: [Violation]) {
        var violations: ViolationSet = []
        let result = Result { () throws(CommandError) in
            try Command.parse(bytes(line), leniency: leniency, allowUTF8: allowUTF8, violations: &violations)
        }
        return (result, violations.members)
    }

    private func expect(_ line: String, _ command: Command, _ violations: [Violation] = [], allowUTF8: Bool = false) {
        let parsed = parse(line, allowUTF8: allowUTF8)
        #expect(parsed.result == .success(command), "\(line)")
        #expect(parsed.violations == violations, "\(line)")
    }

    private func expect(_ line: String, _ error: CommandError, code: UInt16, allowUTF8: Bool = false) {
        let parsed = parse(line, allowUTF8: allowUTF8)
        #expect(parsed.result == .failure(error), "\(line)")
        #expect(error.reply.code == code, "\(line)")
        #expect(error.reply.enhancedCode != nil)
    }

    private func mail(_ local: String, _ domain: String, wire: String? = nil) -> MailCommand {
        MailCommand(.mailbox(Mailbox(localPart: local, domain: domain)), wirePath: wire)
    }

    @Test("verbs without arguments, in either case and with trailing space")
    func plain() {
        expect("DATA", .data)
        expect("data  ", .data)
        expect("RsEt\t", .reset)
        expect("QUIT", .quit)
        expect("STARTTLS", .startTLS)
        expect("NOOP", .noop)
        expect("NOOP whatever", .noop)
        expect("HELP", .help(nil))
        expect("HELP me", .help("me"))
        expect("VRFY a@b", .verify("a@b"))
        expect("VRFY \u{e9}", .verify("\u{e9}"))
        expect("EXPN list", .expand("list"))
        expect("ETRN x", .etrn("x"))
        expect("AUTH PLAIN dGVzdA==", .authenticate(mechanism: "PLAIN", initialResponse: Secret(Array("dGVzdA==".utf8))))
        for (line, verb) in [("DATA x", Verb.data), ("RSET x", .rset), ("QUIT now", .quit), ("STARTTLS x", .starttls)] {
            expect(line, .unexpectedArgument(verb), code: 501)
        }
        for (line, verb) in [("VRFY", Verb.vrfy), ("EXPN ", .expn), ("VRFY \"\"", .vrfy), ("AUTH", .auth), ("XCLIENT", .xclient)] {
            expect(line, .missingArgument(verb), code: 501)
        }
        for line in ["FOO", "LHLO a", "DATA_", "MAIL:", "Received:", "XFORWARD a=b", "starttlsx"] { expect(line, .unknownVerb, code: 500) }
        for line in ["", " ", " QUIT", "\u{e9}FOO", "<", "250 ok"] { expect(line, .notACommand, code: 500) }
    }

    @Test("BDAT (RFC 3030 §2)")
    func chunk() {
        expect("BDAT 0", .chunk(size: 0, last: false))
        expect("BDAT 86 last", .chunk(size: 86, last: true))
        for line in [
            "BDAT", "BDAT x", "BDAT -1", "BDAT 1x LAST", "BDAT LAST", "BDAT 1 LAST x", "BDAT 1 LASTS", "BDAT 99999999999999999999",
            "BDAT 18446744073709551616",
        ] {
            expect(line, .badChunk, code: 421)
        }
    }

    @Test("HELO names (RFC 5321 §4.1.1.1)")
    func helo() {
        let v4 = IPAddress("192.0.2.1")!
        let v6 = IPAddress("2001:db8::1")!
        let cases: [(String, HeloName.Form)] = [
            ("mx.example.org", .domain), ("localhost", .domain), ("a-b.c1", .domain), ("example.org.", .domain),
            ("[192.0.2.1]", .addressLiteral(v4)),
            ("[IPv6:2001:db8::1]", .addressLiteral(v6)), ("[ipv6:2001:db8::1]", .addressLiteral(v6)), ("192.0.2.1", .bareAddress(v4)),
            ("2001:db8::1", .bareAddress(v6)), ("[2001:db8::1]", .malformed), ("[IPv6:192.0.2.1]", .malformed), ("[]", .malformed),
            ("my_pc", .malformed), ("-a.b", .malformed), ("a-.b", .malformed), ("a..b", .malformed), (".", .malformed),
            ("foo bar", .malformed),
            ("[192.0.2.256]", .malformed), (String(repeating: "a", count: 64) + ".b", .malformed), ("<x>", .malformed),
        ]
        for (name, form) in cases {
            let parsed = HeloName(name)
            #expect(parsed.form == form, "\(name)")
            expect("EHLO \(name)", .ehlo(parsed), parsed.isValid ? [] : [.heloSyntax])
            expect("HELO  \(name) ", .helo(parsed), parsed.isValid ? [] : [.heloSyntax])
            if !parsed.isValid { #expect(parse("EHLO \(name)", leniency: .strict).result == .failure(.badHelo)) }
        }
        expect("EHLO", .missingArgument(.ehlo), code: 501)
        expect("HELO \u{e9}", .eightBit(.helo), code: 500)
    }

    @Test("paths (RFC 5321 §4.1.2)")
    func paths() {
        expect("MAIL FROM:<>", .mail(MailCommand(.null)))
        expect("mail from:<a@example.org>", .mail(mail("a", "example.org")))
        expect("MAIL FROM:<@x.example,@y.example:a@example.org>", .mail(mail("a", "example.org", wire: "a@example.org")))
        expect("MAIL FROM:<a@EXAMPLE.org>", .mail(mail("a", "example.org", wire: "a@EXAMPLE.org")))
        expect("MAIL FROM:<\"a b\"@example.org>", .mail(mail("\"a b\"", "example.org")))
        expect("MAIL FROM:<\"a.b\"@example.org>", .mail(mail("a.b", "example.org", wire: "\"a.b\"@example.org")))
        expect("MAIL FROM:<\"\\a\\\"\"@example.org>", .mail(mail("\"\\a\\\"\"", "example.org")))
        expect("MAIL FROM:<\"\"@example.org>", .mail(mail("\"\"", "example.org")))
        expect("MAIL FROM:<\"<a>@,:\"@example.org>", .mail(mail("\"<a>@,:\"", "example.org")))
        expect("MAIL FROM:<a@[192.0.2.1]>", .mail(mail("a", "[192.0.2.1]")))
        expect("MAIL FROM:<a@[IPv6:2001:db8::1]>", .mail(mail("a", "[ipv6:2001:db8::1]", wire: "a@[IPv6:2001:db8::1]")))
        expect("MAIL FROM:<bounce+x=y!z%w@my_host.example>", .mail(mail("bounce+x=y!z%w", "my_host.example")))
        expect("RCPT TO:<postmaster>", .recipient(RecipientCommand(Mailbox(localPart: "postmaster", domain: ""))))
        expect("RCPT TO:<PostMaster>", .recipient(RecipientCommand(Mailbox(localPart: "PostMaster", domain: ""))))
        expect(
            "RCPT TO:<\"postmaster\">",
            .recipient(RecipientCommand(Mailbox(localPart: "postmaster", domain: ""), wirePath: "\"postmaster\"")))

        for path in [
            "<a@>", "<@>", "<@a>", "<a@@b>", "<.@c>", "<..@c>", "<../a@c>", "<a..b/c@d>", "<a@.c>", "<a@c.>", "<a@c..d>", "<a@-c>",
            "<a@c-.d>", "<a",
            "a@b>",
            "<a@b>>", "<<a@b>>", "<a b@c>", "<a@b c>", "<\"a@b>", "<\"a\"b@c>", "<\"a\u{7f}\"@c>", "<a@[1.2.3]>", "<a@[x:1]>", "<a@[::1]>",
            "<a@[1.2.3.4>",
            "<(x)a@b>", "<a>", "< >", "<@x,a@b>", "<@x:>", "<a@b>x", "<a@b>SIZE=1", "Anne <a@b>", "<a@b,c@d>", "<\"a\\\u{e9}\"@b>",
        ] {
            expect("MAIL FROM:\(path)", .badPath(.mail), code: 501)
            expect("RCPT TO:\(path)", .badPath(.rcpt), code: 501)
        }
        expect("MAIL FROM:<postmaster>", .badPath(.mail), code: 501)
        expect("RCPT TO:<>", .badPath(.rcpt), code: 501)
        expect("RCPT TO:<abuse>", .badPath(.rcpt), code: 501)
        for line in ["MAIL", "MAIL FROM", "MAIL FROM:", "MAIL <a@b>", "MAIL TO:<a@b>", "MAIL FROM<a@b>"] {
            expect(line, .missingArgument(.mail), code: 501)
        }
        var lax = SyntaxLeniency()
        lax.unqualifiedPaths = true
        #expect(parse("MAIL FROM:<root>", leniency: lax).result == .success(.mail(mail("root", ""))))
    }

    @Test("limits of paths (RFC 5321 §4.5.3.1)")
    func pathLimits() {
        let local64 = String(repeating: "l", count: 64)
        let local256 = String(repeating: "l", count: 256)
        let domain = Array(repeating: String(repeating: "d", count: 63), count: 4).joined(separator: ".")
        #expect(domain.utf8.count == 255)
        expect("MAIL FROM:<\(local256)@\(domain)>", .mail(mail(local256, domain)))
        expect("MAIL FROM:<\(local256)l@b>", .pathTooLong(.mail), code: 501)
        expect("RCPT TO:<a@\(domain)d>", .pathTooLong(.rcpt), code: 501)
        expect("RCPT TO:<a@\(String(repeating: "d", count: 64)).org>", .badPath(.rcpt), code: 501)
        #expect(parse("MAIL FROM:<\(local64)@b>", leniency: .strict).result == .success(.mail(mail(local64, "b"))))
        #expect(parse("MAIL FROM:<\(local64)l@b>", leniency: .strict).result == .failure(.pathTooLong(.mail)))
    }

    @Test("leniency is reported, and can be switched off")
    func leniency() {
        expect("MAIL FROM: <a@b>", .mail(mail("a", "b")), [.commandSpacing])
        expect("MAIL  FROM : <a@b>", .mail(mail("a", "b")), [.commandSpacing])
        expect("MAIL FROM:a@b SIZE=1", .mail(MailCommand(.mailbox(Mailbox(localPart: "a", domain: "b")), size: 1)), [.unbracketedPath])
        expect("RCPT TO: a@b", .recipient(RecipientCommand(Mailbox(localPart: "a", domain: "b"))), [.unbracketedPath, .commandSpacing])
        for local in ["a..b", ".a", "a.", "..a.b.."] {
            expect("MAIL FROM:<\(local)@b>", .mail(mail(local, "b")), [.dotsInLocalPart])
            expect("RCPT TO:<\(local)@b>", .recipient(RecipientCommand(Mailbox(localPart: local, domain: "b"))), [.dotsInLocalPart])
        }
        expect("MAIL FROM:<\"a..b\"@c>", .mail(mail("\"a..b\"", "c")))
        for line in ["MAIL FROM: <a@b>", "MAIL  FROM:<a@b>", "MAIL FROM :<a@b>", "MAIL FROM:a@b", "MAIL FROM:<a..b@c>", "MAIL FROM:<a.@c>"]
        {
            #expect(parse(line, leniency: .strict).result == .failure(.badPath(.mail)), "\(line)")
        }
    }

    @Test("SMTPUTF8 (RFC 6531)")
    func utf8() {
        // Compared by its A-labels, handed on as it came.
        let path = Mailbox(localPart: "用户", domain: "xn--r8jz45g.example")
        let wire = "用户@例え.example"
        expect("MAIL FROM:<用户@例え.example> SMTPUTF8", .mail(MailCommand(.mailbox(path), wirePath: wire, isSMTPUTF8: true)))
        expect(
            "MAIL FROM:<\"用 户\"@例え.example> SMTPUTF8",
            .mail(
                MailCommand(
                    .mailbox(Mailbox(localPart: "\"用 户\"", domain: "xn--r8jz45g.example")), wirePath: "\"用 户\"@例え.example",
                    isSMTPUTF8: true)))
        expect("MAIL FROM:<用户@例え.example>", .eightBit(.mail), code: 550)
        expect("RCPT TO:<用户@例え.example>", .recipient(RecipientCommand(path, wirePath: wire)), allowUTF8: true)
        expect("RCPT TO:<用户@例え.example>", .eightBit(.rcpt), code: 553)
        expect("MAIL FROM:<> SMTPUTF8=YES", .badParameter("SMTPUTF8"), code: 501)
        // Octets that are not UTF-8.
        var violations: ViolationSet = []
        let latin = bytes("MAIL FROM:<a") + [0xff] + bytes("@b> SMTPUTF8")
        #expect(throws: CommandError.notUTF8(.mail)) { try Command.parse(latin, violations: &violations) }
        #expect(violations.isEmpty && CommandError.notUTF8(.mail).violation == .eightBitEnvelope)
        for path in [[0xff] + bytes("@b.c"), bytes("a@b") + [0xc3, 0x28] + bytes(".c")] {
            let line = bytes("RCPT TO:<") + path + bytes(">")
            #expect(throws: CommandError.notUTF8(.rcpt)) { try Command.parse(line, allowUTF8: true, violations: &violations) }
        }
        #expect(CommandError.notUTF8(.mail).reply == Reply(501, "5.1.7", "Sender address has octets that are not UTF-8"))
        #expect(CommandError.notUTF8(.rcpt).reply == Reply(501, "5.1.3", "Recipient address has octets that are not UTF-8"))
        expect(
            "RCPT TO:<a@b> ORCPT=utf-8;用户",
            .recipient(RecipientCommand(Mailbox(localPart: "a", domain: "b"), originalRecipient: "utf-8;用户")), allowUTF8: true)
        expect("RCPT TO:<a@b> ORCPT=utf-8;用户", .badParameter("ORCPT"), code: 501)
    }

    @Test("parameters of MAIL")
    func mailParameters() {
        let null = ReversePath.null
        expect(
            "MAIL FROM:<> size=1000 BODY=8bitmime RET=hdrs ENVID=QQ+20x AUTH=e+3Dmc2@example.com MT-PRIORITY=-4",
            .mail(
                MailCommand(
                    null, size: 1000, body: .eightBitMIME, returnedContent: .headers, envelopeID: "QQ+20x",
                    authenticatedAs: "e+3Dmc2@example.com", priority: -4)))
        expect("MAIL FROM:<> AUTH=<>", .mail(MailCommand(null, authenticatedAs: "<>")))
        expect("MAIL FROM:<> SIZE=99999999999999999999", .mail(MailCommand(null, size: UInt64.max)))
        expect(
            "MAIL FROM:<> ENVID=\(String(repeating: "x", count: 100))",
            .mail(MailCommand(null, envelopeID: String(repeating: "x", count: 100))))
        for (parameter, name) in [
            ("SIZE", "SIZE"), ("SIZE=", "SIZE"), ("SIZE=-1", "SIZE"), ("SIZE=1x", "SIZE"), ("SIZE=123456789012345678901", "SIZE"),
            ("BODY=9BIT", "BODY"),
            ("BODY", "BODY"), ("RET=", "RET"), ("RET=ALL", "RET"), ("ENVID=", "ENVID"), ("ENVID=a+G", "ENVID"), ("ENVID=a+00", "ENVID"),
            ("ENVID=\(String(repeating: "x", count: 101))", "ENVID"), ("AUTH=", "AUTH"), ("AUTH=a+", "AUTH"),
            ("MT-PRIORITY=10", "MT-PRIORITY"),
            ("MT-PRIORITY=", "MT-PRIORITY"), ("SIZE=1=2", "SIZE"), ("#$%=x", "parameter"), ("=x", "parameter"),
        ] {
            expect("MAIL FROM:<> \(parameter)", .badParameter(name), code: 501)
        }
        expect("MAIL FROM:<> SIZE=1 SIZE=2", .repeatedParameter("SIZE"), code: 501)
        expect("MAIL FROM:<> RET=FULL ret=hdrs", .repeatedParameter("RET"), code: 501)
        expect("MAIL FROM:<> FOO", .unsupportedParameter(.mail), code: 555)
        expect("MAIL FROM:<> NOTIFY=NEVER", .unsupportedParameter(.mail), code: 555)
    }

    @Test("parameters of RCPT")
    func recipientParameters() {
        let mailbox = Mailbox(localPart: "a", domain: "b")
        expect("RCPT TO:<a@b> NOTIFY=never", .recipient(RecipientCommand(mailbox, notify: .never)))
        expect(
            "RCPT TO:<a@b> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;George+20@Tax",
            .recipient(RecipientCommand(mailbox, notify: .on([.success, .delay]), originalRecipient: "rfc822;George+20@Tax")))
        for (parameter, name) in [
            ("NOTIFY", "NOTIFY"), ("NOTIFY=", "NOTIFY"), ("NOTIFY=NEVER,DELAY", "NOTIFY"), ("NOTIFY=DELAY,", "NOTIFY"), ("ORCPT=", "ORCPT"),
            ("ORCPT=;a", "ORCPT"),
            ("ORCPT=rfc822;", "ORCPT"), ("ORCPT=a@b", "ORCPT"), ("ORCPT=rfc822;a+G1", "ORCPT"),
            ("ORCPT=rfc822;\(String(repeating: "x", count: 494))", "ORCPT"),
        ] {
            expect("RCPT TO:<a@b> \(parameter)", .badParameter(name), code: 501)
        }
        expect("RCPT TO:<a@b> NOTIFY=NEVER NOTIFY=NEVER", .repeatedParameter("NOTIFY"), code: 501)
        expect("RCPT TO:<a@b> SIZE=1", .unsupportedParameter(.rcpt), code: 555)
    }

    @Test("what goes to a backend is what the client gave, as far as the backend knows it")
    func encoded() {
        let all = Extensions(size: 0, eightBitMIME: true, smtpUTF8: true, dsn: true)
        for line in [
            "MAIL FROM:<>", "MAIL FROM:<a@EXAMPLE.org> SIZE=10 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=a+20b", "RCPT TO:<\"a b\"@b>",
            "RCPT TO:<a@b> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;x", "RCPT TO:<a@b> NOTIFY=NEVER",
        ] {
            switch parse(line).result {
            case .success(.mail(let mail)):
                #expect(text(mail.encoded(for: all)) == line + "\r\n")
                #expect(text(mail.encoded(for: Extensions())) == "MAIL FROM:<\(mail.wirePath)>\r\n")
                #expect(mail.unsupportedParameter(by: all) == nil)
            case .success(.recipient(let recipient)):
                #expect(text(recipient.encoded(for: all)) == line + "\r\n")
                #expect(text(recipient.encoded(for: Extensions())) == "RCPT TO:<\(recipient.wirePath)>\r\n")
            default: Issue.record("\(line) does not parse")
            }
        }
        #expect(MailCommand(.null, body: .binaryMIME).unsupportedParameter(by: all) == "BODY")
        #expect(MailCommand(.null, size: 1).unsupportedParameter(by: Extensions()) == "SIZE")
        #expect(RecipientCommand(Mailbox(localPart: "a", domain: "b"), notify: .never).unsupportedParameter(by: Extensions()) == "NOTIFY")
    }

    @Test("commands are equal where every field is")
    func equality() {
        let mailbox = Mailbox(localPart: "a", domain: "b.example")
        func mails() -> [MailCommand] {
            [
                MailCommand(.null), MailCommand(.mailbox(mailbox)), MailCommand(.null, wirePath: "a@b.example"),
                MailCommand(.null, size: 0),
                MailCommand(.null, size: 1), MailCommand(.null, body: .sevenBit), MailCommand(.null, body: .eightBitMIME),
                MailCommand(.null, isSMTPUTF8: true), MailCommand(.null, returnedContent: .full),
                MailCommand(.null, returnedContent: .headers), MailCommand(.null, envelopeID: "x"), MailCommand(.null, envelopeID: "y"),
                MailCommand(.null, authenticatedAs: "<>"), MailCommand(.null, priority: 0), MailCommand(.null, priority: 1),
            ]
        }
        func recipients() -> [RecipientCommand] {
            [
                RecipientCommand(mailbox), RecipientCommand(Mailbox(localPart: "A", domain: "b.example"), wirePath: "a@b.example"),
                RecipientCommand(mailbox, wirePath: "\"a\"@b.example"), RecipientCommand(mailbox, notify: .never),
                RecipientCommand(mailbox, notify: .on(.success)), RecipientCommand(mailbox, originalRecipient: "rfc822;a"),
            ]
        }
        // Made anew each time: not the same objects.
        for (place, mail) in mails().enumerated() {
            #expect(mails().indices.filter { mails()[$0] == mail } == [place])
            #expect(mails()[place].hashValue == mail.hashValue)
        }
        for (place, recipient) in recipients().enumerated() {
            #expect(recipients().indices.filter { recipients()[$0] == recipient } == [place])
            #expect(recipients()[place].hashValue == recipient.hashValue)
        }
    }

    @Test("random lines never trap, and what parses parses again", arguments: [UInt64](1...8))
    func random(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let parts = [
            "MAIL FROM:", "RCPT TO:", "<", ">", "@", "a", ".", "\"", "\\", "[", "]", ":", ",", " ", "\t", "=", "SIZE", "ORCPT=rfc822;",
            "NOTIFY=", "XCLIENT ",
            "ADDR=", "NAME=", "+4", "EHLO ", "BDAT ", "99", "LAST", "\u{e9}", "IPv6:", "::1", "192.0.2.1", "b.example", "SMTPUTF8", "VRFY ",
            "AUTH ", "\u{7f}",
        ]
        for _ in 0..<3000 {
            let line = (0..<Int.random(in: 0...9, using: &generator)).map { _ in parts.randomElement(using: &generator)! }.joined()
            guard case .success(let command) = parse(line, allowUTF8: true).result else { continue }
            let all = Extensions(size: 0, eightBitMIME: true, smtpUTF8: true, dsn: true)
            let again: [UInt8]
            switch command {
            case .mail(let mail): again = mail.encoded(for: all)
            case .recipient(let recipient): again = recipient.encoded(for: all)
            default: continue
            }
            #expect(again.filter { $0 == 13 || $0 == 10 || $0 == 0 } == [13, 10], "seed \(seed): \(line)")
            var violations: ViolationSet = []
            let second = try? Command.parse(Array(again.dropLast(2)), leniency: .strict, allowUTF8: true, violations: &violations)
            #expect(second != nil, "seed \(seed): \(line) becomes \(shown(again))")
        }
    }
}

import PosternCore
import Testing

@testable import SMTPProtocol

/// What the dialogues cannot show.
@Suite("Server sessions")
struct ServerSessionTests {
    private func runner(_ change: (inout ServerSettings) -> Void = { _ in }) -> ServerRunner {
        var settings = ServerSettings(
            hostname: "mx.example",
            extensions: Extensions(pipelining: true, size: 0, eightBitMIME: true, dsn: true, chunking: true, startTLS: true))
        change(&settings)
        return ServerRunner(settings: settings)
    }

    @Test("a deadline starts anew with each wait, and stops while we are waited for")
    func deadlines() {
        var runner = runner()
        runner.held = ["mail", "end"]
        runner.connect()
        #expect(runner.deadlines == [.command])
        runner.send("EHLO a\r\n")
        // Part of a command does not start it anew: a slow client has one wait for a whole line.
        runner.send("MAIL")
        runner.send(" FROM:<a@b>")
        #expect(runner.deadlines == [.command, nil, .command])
        runner.send("\r\n")
        #expect(runner.deadlines.last == .some(nil))
        runner.release("mail")
        runner.send("RCPT TO:<c@d>\r\nDATA\r\n")
        #expect(runner.deadlines.last == .content)
        let before = runner.deadlines.count
        runner.send("some\r\n")
        runner.send("more\r\n")
        #expect(runner.deadlines.count == before + 2)
        runner.send(".\r\n")
        #expect(runner.deadlines.last == .some(nil))
        runner.release("end")
        #expect(runner.deadlines.last == .command)
        #expect(ServerTimeouts()[.command] >= .minutes(5), "RFC 5321 §4.5.3.2.7")
        #expect(ServerTimeouts()[.content] >= .minutes(3), "RFC 5321 §4.5.3.2.5")
        // One that was not started does nothing.
        _ = runner.takeReplies()
        runner.event { $0.timerFired(.handshake, into: &$1) }
        #expect(runner.takeReplies() == [])
        runner.send("STARTTLS\r\n")
        #expect(runner.deadlines.last == .handshake)
        runner.event { $0.timerFired(.handshake, into: &$1) }
        #expect(runner.isClosed)
        // In the midst of a handshake nothing is said in the clear.
        #expect(runner.takeReplies().map(\.code) == [220])
    }

    @Test("the recipient limit is exact, and costs no errors")
    func recipients() {
        var runner = runner { $0.limits.recipients = 100 }
        runner.connect()
        runner.send("EHLO a\r\n")
        runner.send("MAIL FROM:<>\r\n")
        _ = runner.takeReplies()
        for _ in 0..<150 { runner.send("RCPT TO:<c@d>\r\n") }
        let codes = runner.takeReplies().map(\.code)
        #expect(codes == Array(repeating: 250, count: 100) + Array(repeating: 452, count: 50))
        #expect(runner.session.errors == 0)
        runner.send("DATA\r\n")
        #expect(runner.takeReplies().map(\.code) == [354])
        #expect(runner.questions.last == .content(recipients: 100))
    }

    @Test(
        "recipients refused in a row end the session, whoever refuses them and in how many messages",
        arguments: ["rcpt", "recipient"])
    func recipientsRefusedInARow(_ who: String) {
        var runner = runner { $0.limits.errors = 4 }
        let unknown = Reply(550, "5.1.1", "nobody")
        runner.connect()
        runner.send("EHLO a\r\n")
        runner.send("MAIL FROM:<a@b>\r\n")
        let refusals = [unknown, unknown, Reply(554, "5.7.1", "not you"), unknown]
        if who == "rcpt" { runner.decisions[who] = refusals.map { .reject($0) } } else { runner.backend[who] = refusals }
        _ = runner.takeReplies()
        runner.send("RCPT TO:<c@d>\r\nRCPT TO:<e@d>\r\nRSET\r\nMAIL FROM:<a@b>\r\nRCPT TO:<f@d>\r\nRCPT TO:<g@d>\r\n")
        #expect(runner.takeReplies().map(\.code) == [550, 550, 250, 250, 554, 550])
        #expect(runner.session.errors == 0 && !runner.isClosed)
        let asked = runner.questions.count
        runner.send("RCPT TO:<h@d>\r\nQUIT\r\n")
        #expect(runner.takeReplies() == [Reply(421, "4.7.0", "Too many recipients refused, closing connection")])
        #expect(runner.isClosed && runner.takeViolations().last == .overLimit)
        #expect(runner.questions.count == asked, "nobody is asked about it")
    }

    @Test("a list of old addresses comes through: an accepted or deferred recipient begins anew, and a message with one goes on")
    func staleRecipients() {
        var runner = runner { $0.limits.errors = 3 }
        let unknown = Reply(550, "5.1.1", "nobody")
        func send(_ replies: [Reply]) -> [UInt16] {
            runner.backend["recipient"] = replies
            _ = runner.takeReplies()
            for _ in replies { runner.send("RCPT TO:<c@d>\r\n") }
            return runner.takeReplies().map(\.code)
        }
        runner.connect()
        runner.send("EHLO a\r\n")
        runner.send("MAIL FROM:<a@b>\r\n")
        let deferred = Reply(451, "4.7.1", "later")
        #expect(send([unknown, unknown, deferred, unknown, unknown, .ok]) == [550, 550, 451, 550, 550, 250])
        // One is accepted: what follows belongs to its message.
        #expect(send(Array(repeating: unknown, count: 20)) == Array(repeating: 550, count: 20))
        runner.send("DATA\r\n")
        runner.send("x\r\n.\r\n")
        runner.send("MAIL FROM:<a@b>\r\n")
        #expect(send([unknown, unknown, unknown]) == [550, 550, 550])
        #expect(!runner.isClosed)
        runner.send("RCPT TO:<c@d>\r\n")
        #expect(runner.isClosed)
    }

    @Test("another client, and one that has logged in, are not counted for it")
    func othersRefused() {
        let unknown = Reply(550, "5.1.1", "nobody")
        var front = runner {
            $0.limits.errors = 3
            $0.extensions.xclient = [.address]
        }
        front.connect()
        for host in 1...3 {
            front.send("XCLIENT ADDR=192.0.2.\(host)\r\n")
            front.send("EHLO a\r\n")
            front.send("MAIL FROM:<a@b>\r\n")
            _ = front.takeReplies()
            front.backend["recipient"] = [unknown, unknown, unknown]
            front.send("RCPT TO:<c@d>\r\nRCPT TO:<c@d>\r\nRCPT TO:<c@d>\r\nRSET\r\n")
            #expect(front.takeReplies().map(\.code) == [550, 550, 550, 250])
        }

        var user = ServerRunner(
            settings: {
                var settings = ServerSettings(hostname: "mx.example", extensions: Extensions(pipelining: true))
                settings.extensions.authentication = [.plain]
                settings.requiresAuthentication = true
                settings.limits.errors = 3
                settings.limits.line.authentication = 12_288
                return settings
            }(), isSecured: true)
        user.connect()
        user.send("EHLO a\r\n")
        user.send("AUTH PLAIN AHVzZXIAc2VjcmV0\r\n")
        #expect(user.takeReplies().last?.code == 235)
        user.backend["recipient"] = Array(repeating: unknown, count: 10)
        user.send("MAIL FROM:<a@b>\r\n")
        for _ in 0..<10 { user.send("RCPT TO:<c@d>\r\n") }
        #expect(user.takeReplies().map(\.code) == [250] + Array(repeating: 550, count: 10))
    }

    @Test("questions carry what was said")
    func questions() {
        var runner = runner()
        runner.connect()
        runner.send("EHLO me.example\r\n")
        runner.send("MAIL FROM:<a@b> SIZE=5\r\nRCPT TO:<c@d> NOTIFY=NEVER\r\nRCPT TO:<e@d>\r\n")
        let mail = MailCommand(.mailbox(Mailbox(localPart: "a", domain: "b")), size: 5)
        let first = RecipientCommand(Mailbox(localPart: "c", domain: "d"), notify: .never)
        let second = RecipientCommand(Mailbox(localPart: "e", domain: "d"))
        #expect(
            runner.questions == [
                .connect, .helo(HeloName("me.example"), extended: true), .mail(mail), .recipient(first, count: 0),
                .recipient(second, count: 1),
            ])
        #expect(runner.relays == [.recipient(mail, first), .recipient(mail, second)])
        #expect(runner.session.helo == HeloName("me.example"))
        #expect(runner.session.isExtended)
        #expect(runner.session.transaction?.recipients == 2)
    }

    @Test("answers that come when none is awaited do nothing")
    func strayAnswers() {
        var session = ServerSession(settings: ServerSettings(hostname: "mx.example"))
        var actions: [ServerAction] = []
        session.decided(.accept, into: &actions)
        session.backendReplied(.ok, into: &actions)
        session.backendFailed(.backendUnavailable, into: &actions)
        session.tlsEstablished(into: &actions)
        session.timerFired(.command, into: &actions)
        #expect(actions == [])
        session.connected(into: &actions)
        session.connected(into: &actions)
        session.closed(into: &actions)
        #expect(actions == [.ask(.connect)])
        actions = []
        session.decided(.accept, into: &actions)
        session.backendReplied(.ok, into: &actions)
        session.shed(into: &actions)
        session.shuttingDown(into: &actions)
        session.sessionTimedOut(into: &actions)
        let consumed = [UInt8](repeating: 65, count: 10).withUnsafeBytes { session.received($0, into: &actions) }
        #expect(consumed == 10)
        #expect(actions == [])
        #expect(session.hasEnded)
    }

    @Test("nothing is consumed while a question is open, so that no more than one line is held")
    func consumesNothingWhileAsked() {
        var session = ServerSession(settings: ServerSettings(hostname: "mx.example", extensions: Extensions(pipelining: true)))
        var actions: [ServerAction] = []
        session.connected(into: &actions)
        session.decided(.accept, into: &actions)
        let greeting = bytes("EHLO a\r\n")
        #expect(greeting.withUnsafeBytes { session.received($0, into: &actions) } == greeting.count)
        session.decided(.accept, into: &actions)
        let group = bytes("MAIL FROM:<>\r\nRCPT TO:<c@d>\r\n")
        #expect(group.withUnsafeBytes { session.received($0, into: &actions) } == 14)
        let rest = Array(group.dropFirst(14))
        #expect(rest.withUnsafeBytes { session.received($0, into: &actions) } == 0)
        session.decided(.accept, into: &actions)
        #expect(rest.withUnsafeBytes { session.received($0, into: &actions) } == rest.count)
    }

    @Test("the announcement of a greeting goes on as the greeting does")
    func teaser() {
        let session = ServerSession(settings: ServerSettings(hostname: "mx.example"))
        #expect(text(session.teaser) == "220-mx.example ESMTP\r\n")
    }

    @Test("the sizes of insertions are those of their octets")
    func insertions() {
        for insertion in Insertion.allCases {
            #expect(insertion.count == insertion.bytes.count)
            #expect(insertion.beginsWithDot == (insertion.bytes.first == UInt8(ascii: ".")))
            #expect(insertion.endsLine == (insertion.bytes.last == 10))
        }
    }

    @Test("a chunk may come in any cut with its command and the next", arguments: Cut.allCases, [UInt64](1...5))
    func chunkCuts(_ cut: Cut, seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var runner = runner()
        runner.connect()
        runner.send("EHLO a\r\n")
        let wire = bytes("MAIL FROM:<>\r\nRCPT TO:<c@d>\r\nBDAT 6\r\nQUIT\r\nBDAT 8 LAST\r\nRSET\r\n.\nRSET\r\nQUIT\r\n")
        for piece in cut.pieces(wire, &generator) { runner.send(piece) }
        #expect(runner.takeReplies().map(\.code) == [220, 250, 250, 250, 250, 554, 250, 221])
        #expect(runner.takeViolations() == [.bareLF, .endOfDataLookAlike])
        #expect(runner.takeAbandoned() == 1)
    }

    @Test(
        "what was pipelined behind a MAIL that was refused is neither an error nor against the order",
        arguments: ["MAIL FROM:<a@b> SIZE=99999999", "MAIL FROM:<a@b> BODY=BINARYMIME", "MAIL FROM:<a@@b>", "MAIL FROM:<a@b> X=1"])
    func pipelinedBehindRefusedMail(_ mail: String) {
        var runner = runner { $0.extensions.size = 1000 }
        runner.connect()
        runner.send("EHLO a\r\n")
        let recipients = String(repeating: "RCPT TO:<c@d>\r\n", count: 30)
        runner.send(mail + "\r\n" + recipients + "DATA\r\n")
        runner.send("BDAT 2 LAST\r\nx\n")
        let codes = runner.takeReplies().map(\.code)
        #expect(codes.suffix(32) == Array(repeating: 503, count: 32)[...], "\(codes)")
        #expect(!runner.takeViolations().contains(.badOrder))
        #expect(runner.session.errors == 1)
        // After RSET, as before any MAIL, it is.
        runner.send("RSET\r\nRCPT TO:<c@d>\r\n")
        #expect(runner.takeViolations() == [.badOrder])
        #expect(runner.session.errors == 2)
    }

    @Test(
        "behind a recipient that was refused, for whatever reason, DATA finds none",
        arguments: ["RCPT TO:<c@d> X=1", "RCPT TO:<c@@d>", "RCPT TO:<c@d> NOTIFY=A"])
    func dataBehindRefusedRecipient(_ recipient: String) {
        var runner = runner()
        runner.connect()
        runner.send("EHLO a\r\nMAIL FROM:<a@b>\r\n")
        runner.send(recipient + "\r\nDATA\r\n")
        #expect(runner.takeReplies().last?.code == 554)
        #expect(!runner.takeViolations().contains(.badOrder))
    }

    @Test("a backend's refusals of chunks are handed on, and are no errors of the client's")
    func refusedChunksAreNoErrors() {
        var runner = runner { $0.limits.errors = 3 }
        runner.connect()
        runner.send("EHLO a\r\n")
        let refusal = Reply(550, "5.7.1", "spam")
        for _ in 0..<5 {
            runner.backend["begin"] = [refusal]
            _ = runner.takeReplies()
            runner.send("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 2 LAST\r\nx\n")
            #expect(runner.takeReplies().last == refusal)
        }
        #expect(runner.session.errors == 0)
    }

    @Test("chunks behind one that was put off are put off, too; behind one that was refused they are out of order")
    func chunksBehindRefused() {
        for (code, later) in [(451, 451), (550, 503)] as [(UInt16, UInt16)] {
            var runner = runner()
            runner.connect()
            runner.send("EHLO a\r\n")
            runner.decisions["content"] = [code == 451 ? .defer(Reply(code, nil, "no")) : .reject(Reply(code, nil, "no"))]
            _ = runner.takeReplies()
            runner.send("MAIL FROM:<>\r\nRCPT TO:<c@d>\r\nBDAT 2\r\nx\nBDAT 2\r\nx\nBDAT 2 LAST\r\nx\n")
            #expect(runner.takeReplies().map(\.code) == [250, 250, code, later, later])
        }
    }
}

import PosternCore
import Testing

@testable import SMTPProtocol

/// A runtime in miniature for one backend session.
struct BackendRunner {
    var session: BackendSession
    private(set) var actions: [BackendAction] = []
    private(set) var sent: [UInt8] = []
    private(set) var isClosed = false
    private(set) var failures: [BackendFailure] = []
    private var decoder = ChunkDecoder()
    let cut: Cut

    init(_ settings: BackendSettings, client: BackendClient?, cut: Cut = .whole) {
        session = BackendSession(settings: settings, client: client)
        self.cut = cut
    }

    mutating func event(_ perform: (inout BackendSession, inout [BackendAction]) -> Void, input: [UInt8] = []) {
        var now: [BackendAction] = []
        perform(&session, &now)
        for action in now {
            switch action {
            case .send(let bytes): sent += bytes
            case .sendSecret(let secret): secret.withUnsafeBytes { sent += $0 }
            case .forward(let piece): sent += input.withUnsafeBytes { piece.bytes(of: $0) }
            case .close: isClosed = true
            case .failed(let failure): failures.append(failure)
            case .deadline: break
            default: actions.append(action)
            }
        }
    }

    mutating func connect() { event { $0.connected(into: &$1) } }

    mutating func says(_ text: String) { says(Array(text.utf8)) }

    mutating func says(_ octets: [UInt8]) {
        var generator = SeededGenerator(seed: 14)
        for piece in cut.pieces(octets, &generator) {
            event { session, actions in piece.withUnsafeBytes { session.received($0, into: &actions) } }
        }
    }

    mutating func content(_ octets: [UInt8]) {
        var pieces: [ContentPiece] = []
        var position = 0
        decoder.begin(size: UInt64(octets.count), last: false)
        _ = octets.withUnsafeBytes { decoder.decode($0, at: &position, into: &pieces) }
        event({ session, actions in octets.withUnsafeBytes { session.content(pieces, of: $0, into: &actions) } }, input: octets)
    }

    mutating func takeSent() -> String {
        defer { sent = [] }
        return text(sent)
    }

    mutating func takeActions() -> [BackendAction] {
        defer { actions = [] }
        return actions
    }
}

private let mail = MailCommand(.mailbox(Mailbox(localPart: "a", domain: "b.example")), size: 10)
private let recipient = RecipientCommand(Mailbox(localPart: "c", domain: "d.example"))
private let other = RecipientCommand(Mailbox(localPart: "e", domain: "d.example"))
private let client = BackendClient(
    source: Endpoint(address: IPAddress("2001:db8::7")!, port: 4321), destination: Endpoint(address: IPAddress("2001:db8::25")!, port: 25),
    name: .known("client.example"), helo: HeloName("helo.example"), isExtended: true)
private let xclient = BackendSettings(hostname: "mx.example", clientInformation: .xclient)
private let plain = BackendSettings(hostname: "mx.example", clientInformation: .none)
private let pipelining = Extensions(pipelining: true, size: 0)

@Suite("Backend sessions", .serialized)
struct BackendTests {
    /// A session that is open, with or without PIPELINING.
    private func opened(_ settings: BackendSettings = plain, client: BackendClient? = client, keywords: String, cut: Cut = .whole)
        -> BackendRunner
    {
        var runner = BackendRunner(settings, client: client, cut: cut)
        runner.connect()
        runner.says("220 backend\r\n")
        runner.says("250-backend\r\n\(keywords)250 SIZE\r\n")
        _ = runner.takeSent()
        _ = runner.takeActions()
        return runner
    }

    private func withRecipient(_ runner: inout BackendRunner) {
        runner.event { $0.recipient(recipient, of: mail, into: &$1) }
        runner.says("250 2.1.0 ok\r\n")
        runner.says("250 2.1.5 ok\r\n")
        _ = runner.takeSent()
        _ = runner.takeActions()
    }

    // MARK: - Who the client is

    @Test("XCLIENT comes before all else, ADDR in its last command, and EHLO again as the client", arguments: Cut.allCases)
    func introduces(_ cut: Cut) {
        var runner = BackendRunner(xclient, client: client, cut: cut)
        runner.connect()
        #expect(runner.takeSent() == "")
        // Given before the session is open, it waits.
        runner.event { $0.recipient(recipient, of: mail, into: &$1) }
        runner.says("220-backend\r\n220 ready\r\n")
        #expect(runner.takeSent() == "EHLO mx.example\r\n")
        runner.says("250-backend\r\n250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT\r\n250-PIPELINING\r\n250 SIZE 1000\r\n")
        #expect(
            runner.takeSent()
                == "XCLIENT NAME=client.example PORT=4321 PROTO=ESMTP HELO=helo.example DESTADDR=IPV6:2001:db8::25 DESTPORT=25 LOGIN=[UNAVAILABLE] ADDR=IPV6:2001:db8::7\r\n"
        )
        runner.says("220 backend\r\n")
        #expect(runner.takeSent() == "EHLO helo.example\r\n")
        runner.says("250-backend\r\n250-PIPELINING\r\n250 SIZE 1000\r\n")
        #expect(runner.takeSent() == "MAIL FROM:<a@b.example> SIZE=10\r\nRCPT TO:<c@d.example>\r\n")
        #expect(runner.takeActions() == [.ready(Extensions(pipelining: true, size: 1000))])
        runner.says("250 2.1.0 ok\r\n450-4.2.0 wait\r\n450 4.2.0 a little\r\n")
        #expect(runner.takeActions() == [.replied(Reply(450, "4.2.0", "wait", "a little"), to: .recipient)])
        #expect(!runner.isClosed)
    }

    @Test("XCLIENT in several commands, each answered")
    func introducesInSeveral() {
        var wordy = client
        wordy.name = .known(Array(repeating: String(repeating: "n", count: 60), count: 4).joined(separator: "."))
        wordy.login = "alice"
        wordy.helo = HeloName(String(repeating: "h", count: 250))
        var runner = BackendRunner(xclient, client: wordy)
        runner.connect()
        runner.says("220 backend\r\n")
        _ = runner.takeSent()
        runner.says("250-backend\r\n250 XCLIENT NAME ADDR LOGIN HELO\r\n")
        let first = runner.takeSent()
        #expect(first.hasPrefix("XCLIENT NAME=nnn") && !first.contains("ADDR"))
        runner.says("220 go on\r\n")
        let second = runner.takeSent()
        #expect(second.hasPrefix("XCLIENT HELO=hhh") && second.hasSuffix(" LOGIN=alice ADDR=IPV6:2001:db8::7\r\n"))
        runner.says("220 go on\r\n")
        #expect(runner.takeSent().hasPrefix("EHLO hhh"))
    }

    @Test("a name that Postfix would refuse the command for is not told, nor one that it would take for ours")
    func names() {
        let cases: [(name: XClientValue<String>, reverse: XClientValue<String>?, told: String)] = [
            (.known("mail.example"), nil, "NAME=mail.example REVERSE_NAME=mail.example"),
            (.known("a_b.example"), .known("other.example"), "NAME=a_b.example REVERSE_NAME=other.example"),
            (.unavailable, nil, "NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE]"),
            (.temporarilyUnavailable, .known("r.example"), "NAME=[TEMPUNAVAIL] REVERSE_NAME=r.example"),
            (.known("b\u{fc}cher.example"), nil, "NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE]"),
            (.known("192.0.2.1"), nil, "NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE]"),
            (.known("x..example"), nil, "NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE]"),
        ]
        for (name, reverse, told) in cases {
            var named = client
            (named.name, named.reverseName) = (name, reverse)
            var runner = BackendRunner(xclient, client: named)
            runner.connect()
            runner.says("220 backend\r\n250-backend\r\n250 XCLIENT NAME REVERSE_NAME ADDR\r\n")
            #expect(runner.takeSent().hasSuffix("XCLIENT \(told) ADDR=IPV6:2001:db8::7\r\n"))
        }
    }

    @Test(
        "without XCLIENT and ADDR nothing is forwarded: 451",
        arguments: ["250 backend\r\n", "250-backend\r\n250 XCLIENT NAME PORT\r\n", "250-backend\r\n250 XCLIENT\r\n"])
    func notOffered(_ reply: String) {
        var runner = BackendRunner(xclient, client: client)
        runner.connect()
        runner.event { $0.recipient(recipient, of: mail, into: &$1) }
        runner.says("220 backend\r\n\(reply)")
        #expect(runner.failures == [BackendFailure(.clientInformationNotNegotiated)])
        #expect(runner.failures.first?.reply.code == 451)
        #expect(runner.isClosed)
        #expect(!runner.takeSent().contains("MAIL"))
        // And so it stays.
        runner.event { $0.recipient(recipient, of: mail, into: &$1) }
        #expect(runner.failures.count == 2)
    }

    @Test("a backend that forbids us XCLIENT gets nothing; one that refuses the client says so itself")
    func xclientRefused() {
        for (reply, isRefusal) in [
            ("550 5.7.0 insufficient authorization", false), ("501 x", false), ("500 x", false), ("250 x", false),
            ("503 x", false), ("504 x", false),
            ("554 5.7.1 Not this client", true), ("450 4.7.1 Not now", true), ("521 5.7.1 Not here", true), ("553 5.7.1 No", true),
        ] {
            var runner = BackendRunner(xclient, client: client)
            runner.connect()
            runner.event { $0.recipient(recipient, of: mail, into: &$1) }
            runner.says("220 backend\r\n250-backend\r\n250 XCLIENT ADDR\r\n")
            _ = runner.takeSent()
            runner.says("\(reply)\r\n")
            let sent = runner.takeSent()
            if isRefusal {
                #expect(runner.failures == [])
                #expect(sent == "QUIT\r\n")
                guard case .replied(let told, to: .recipientInVain)? = runner.takeActions().last else {
                    Issue.record("no reply for \(reply)")
                    continue
                }
                #expect(text(told.wire) == "\(reply)\r\n")
                // Recipients that come later hear the same, before and after the connection is gone.
                runner.event { $0.recipient(other, of: mail, into: &$1) }
                runner.says("221 bye\r\n")
                #expect(runner.isClosed)
                runner.event { $0.recipient(other, of: mail, into: &$1) }
                #expect(runner.takeActions() == [.replied(told, to: .recipientInVain), .replied(told, to: .recipientInVain)])
                #expect(runner.takeSent() == "")
            } else {
                #expect(runner.failures == [BackendFailure(.clientInformationNotNegotiated)], "\(reply)")
                #expect(sent == "")
            }
        }
    }

    @Test("PROXY v2 opens the connection")
    func proxy() {
        var runner = BackendRunner(BackendSettings(hostname: "mx.example", clientInformation: .proxyV2), client: client)
        runner.connect()
        let header = ProxyHeader.proxied(source: client.source, destination: client.destination).encodedV2()
        #expect(runner.sent == header)
        _ = runner.takeSent()
        runner.says("220 backend\r\n")
        #expect(runner.takeSent() == "EHLO helo.example\r\n")
        runner.says("250 backend\r\n")
        #expect(runner.takeActions() == [.ready(Extensions())])

        var own = BackendRunner(BackendSettings(hostname: "mx.example", clientInformation: .proxyV2), client: nil)
        own.connect()
        #expect(own.sent == ProxyHeader.local.encodedV2())
    }

    @Test("a connection of our own carries no one's mail")
    func ownConnection() {
        for settings in [plain, xclient] {
            var runner = opened(settings, client: nil, keywords: "250-XCLIENT ADDR\r\n")
            runner.event { $0.recipient(recipient, of: mail, into: &$1) }
            #expect(runner.failures == [BackendFailure(.clientInformationNotNegotiated)])
            #expect(runner.takeSent() == "")
        }
    }

    @Test("a client of HELO is passed on as one, without extensions")
    func heloClient() {
        var old = client
        old.isExtended = false
        old.helo = HeloName("two words")
        var runner = BackendRunner(xclient, client: old)
        runner.connect()
        runner.says("220 backend\r\n250-backend\r\n250-PIPELINING\r\n250 XCLIENT ADDR PROTO\r\n")
        #expect(runner.takeSent() == "EHLO mx.example\r\nXCLIENT PROTO=SMTP ADDR=IPV6:2001:db8::7\r\n")
        runner.event { $0.recipient(recipient, of: mail, into: &$1) }
        runner.says("220 backend\r\n")
        #expect(runner.takeSent() == "HELO two\r\n")
        runner.says("250 backend\r\n")
        // One at a time, since nothing was offered to HELO.
        #expect(runner.takeSent() == "MAIL FROM:<a@b.example>\r\n")
    }

    @Test("a client's HELO teaches nothing of the backend; a refusal of our own EHLO does")
    func learnsFromEhloAlone() {
        var old = client
        old.isExtended = false
        var told = BackendRunner(BackendSettings(hostname: "mx.example", clientInformation: .proxyV2), client: old)
        told.connect()
        _ = told.takeSent()
        told.says("220 backend\r\n250 backend\r\n")
        #expect(told.takeSent() == "HELO helo.example\r\n")
        #expect(told.takeActions() == [.ready(nil)])
        var own = BackendRunner(plain, client: nil)
        own.connect()
        own.says("220 backend\r\n502 what\r\n250 backend\r\n")
        #expect(own.takeSent() == "EHLO mx.example\r\nHELO mx.example\r\n")
        #expect(own.takeActions() == [.ready(Extensions())])
    }

    @Test("a backend that is told nothing of the client hears our own EHLO, in a client's name of HELO too")
    func heloClientUntold() {
        var old = client
        old.isExtended = false
        var runner = BackendRunner(plain, client: old)
        runner.connect()
        runner.event { $0.recipient(recipient, of: mail, into: &$1) }
        runner.says("220 backend\r\n250-backend\r\n250 PIPELINING\r\n")
        #expect(runner.takeSent() == "EHLO helo.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n")
        #expect(runner.session.toldUs?.pipelining == true && runner.session.toldClient == nil)
        // And goes on for one of EHLO.
        runner.says("250 ok\r\n250 ok\r\n")
        runner.event { $0.reset(into: &$1) }
        runner.says("250 ok\r\n")
        #expect(runner.session.knows(client))
    }

    @Test("what is said to a client is kept apart from what is said to us")
    func wordsToClients() {
        let few = Extensions(pipelining: true)
        let open: (BackendSettings, BackendClient?, [String]) -> BackendSession = { settings, client, replies in
            var runner = BackendRunner(settings, client: client)
            runner.connect()
            for reply in replies { runner.says(reply) }
            return runner.session
        }
        let own = "220 backend\r\n250-backend\r\n250-XCLIENT ADDR NAME LOGIN\r\n250 DSN\r\n"
        let named = open(xclient, client, [own, "220 hello\r\n250-backend\r\n250 PIPELINING\r\n"])
        #expect(named.toldUs?.dsn == true && named.toldClient == few && named.learnt == few)
        // A client of HELO hears of nothing.
        var old = client
        old.isExtended = false
        let silent = open(xclient, old, [own, "220 hello\r\n", "250 backend\r\n"])
        #expect(silent.toldUs?.dsn == true && silent.toldClient == nil)
        // One whose EHLO is refused after ours was not has nothing, whatever we were told.
        let refused = open(xclient, client, [own, "220 hello\r\n", "502 what\r\n", "250 backend\r\n"])
        #expect(refused.toldUs?.dsn == true && refused.toldClient == Extensions() && refused.learnt == Extensions())
        let proxy = BackendSettings(hostname: "mx.example", clientInformation: .proxyV2)
        let short = "220 backend\r\n250-backend\r\n250 PIPELINING\r\n"
        let headed = open(proxy, client, [short])
        #expect(headed.toldUs == nil && headed.toldClient == few)
        #expect(open(proxy, nil, [short]).toldUs == few)
        let plainly = open(plain, client, [short])
        #expect(plainly.toldUs == few && plainly.toldClient == nil)
    }

    @Test("HELO where EHLO is not known; a name that is refused is the client's affair")
    func heloFallback() {
        var runner = BackendRunner(plain, client: client)
        runner.connect()
        runner.says("220 backend\r\n500 what\r\n")
        #expect(runner.takeSent() == "EHLO helo.example\r\nHELO helo.example\r\n")
        runner.event { $0.recipient(recipient, of: mail, into: &$1) }
        runner.says("550 5.7.1 no such name\r\n")
        #expect(runner.takeActions() == [.replied(Reply(550, "5.7.1", "no such name"), to: .recipientInVain)])
        #expect(runner.failures == [])
    }

    // MARK: - Going over to another client

    private func another(_ change: (inout BackendClient) -> Void) -> BackendClient {
        var other = client
        other.source.port += 1
        change(&other)
        return other
    }

    private func deliver(_ runner: inout BackendRunner, final: String = "250 2.0.0 taken") {
        withRecipient(&runner)
        runner.event { $0.beginContent(into: &$1) }
        runner.says("354 go\r\n")
        runner.content(Array("x\r\n".utf8))
        runner.event { $0.endContent(into: &$1) }
        runner.says(final + "\r\n")
        _ = runner.takeSent()
        _ = runner.takeActions()
    }

    @Test("XCLIENT again tells the backend of the next client before its MAIL")
    func nextByXclient() {
        var runner = opened(xclient, keywords: "250-XCLIENT ADDR NAME LOGIN\r\n250-PIPELINING\r\n")
        runner.says("220 hello\r\n250-backend\r\n250-XCLIENT ADDR NAME LOGIN\r\n250 PIPELINING\r\n")
        deliver(&runner)
        let next = another {
            $0.source.address = IPAddress("192.0.2.9")!
            $0.name = .unavailable
            $0.helo = HeloName("next.example")
        }
        #expect(runner.session.mayServe(next))
        runner.event { $0.serve(next, into: &$1) }
        runner.event { $0.recipient(recipient, of: mail, into: &$1) }
        #expect(runner.takeSent() == "XCLIENT NAME=[UNAVAILABLE] LOGIN=[UNAVAILABLE] ADDR=192.0.2.9\r\n")
        #expect(!runner.session.maySpeakForAnother)
        runner.says("220 hello\r\n")
        #expect(runner.takeSent() == "EHLO next.example\r\n")
        runner.says("250-backend\r\n250 PIPELINING\r\n")
        #expect(runner.takeSent() == "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n")
        runner.says("250 ok\r\n250 ok\r\n")
        // XCLIENT was not offered again: this client's alone.
        runner.event { $0.beginContent(into: &$1) }
        runner.says("354 go\r\n")
        runner.event { $0.endContent(into: &$1) }
        runner.says("250 ok\r\n")
        #expect(runner.session.isIdle && !runner.session.maySpeakForAnother && !runner.session.mayServe(next))
    }

    @Test("where XCLIENT is not offered to the client that was told, the connection is that client's alone")
    func xclientForTheFirstOnly() {
        var runner = opened(xclient, keywords: "250-XCLIENT ADDR NAME\r\n250-PIPELINING\r\n")
        runner.says("220 hello\r\n250-backend\r\n250 PIPELINING\r\n")
        deliver(&runner)
        #expect(runner.session.isIdle && !runner.session.maySpeakForAnother && !runner.session.mayServe(client))
    }

    @Test("an XCLIENT that is refused the second time forwards nothing")
    func nextRefused() {
        var runner = opened(xclient, keywords: "250-XCLIENT ADDR\r\n")
        runner.says("220 hello\r\n250-backend\r\n250 XCLIENT ADDR\r\n")
        deliver(&runner)
        runner.event { $0.serve(another { _ in }, into: &$1) }
        runner.event { $0.recipient(recipient, of: mail, into: &$1) }
        runner.says("503 5.5.1 once only\r\n")
        #expect(runner.failures == [BackendFailure(.clientInformationNotNegotiated)])
        #expect(!runner.takeSent().contains("MAIL"))
    }

    @Test("where the backend is told nothing a client of the same name goes on at once, another is announced by its name")
    func nextWithoutInformation() {
        var runner = opened(plain, keywords: "250-PIPELINING\r\n")
        deliver(&runner)
        runner.event { $0.serve(another { $0.source.address = IPAddress("192.0.2.9")! }, into: &$1) }
        #expect(runner.takeSent() == "")
        deliver(&runner)
        runner.event { $0.serve(another { $0.helo = HeloName("next.example") }, into: &$1) }
        #expect(runner.takeSent() == "EHLO next.example\r\n")
        runner.says("250 backend\r\n")
        runner.event { $0.serve(another { $0.isExtended = false }, into: &$1) }
        #expect(runner.takeSent() == "EHLO helo.example\r\n")
        #expect(!runner.isClosed && runner.failures == [])
    }

    @Test("what may not go over: PROXY, a connection of our own, something open, something refused, too many before")
    func staysWithItsClient() {
        let proxy = BackendSettings(hostname: "mx.example", clientInformation: .proxyV2)
        for (settings, whose) in [(proxy, client), (plain, nil)] {
            let runner = opened(settings, client: whose, keywords: "")
            #expect(runner.session.isIdle && !runner.session.mayServe(client))
        }
        var runner = opened(keywords: "250-PIPELINING\r\n")
        #expect(runner.session.mayServe(client))
        withRecipient(&runner)
        #expect(!runner.session.mayServe(client))
        runner.event { $0.reset(into: &$1) }
        #expect(!runner.session.mayServe(client))
        runner.says("250 ok\r\n")
        #expect(runner.session.mayServe(client))
        deliver(&runner, final: "550 5.7.1 no")
        #expect(runner.session.isIdle && !runner.session.mayServe(client))
        // Misuse ends in a failure, not in mail under another's name.
        runner.event { $0.serve(client, into: &$1) }
        #expect(runner.failures == [BackendFailure(.clientInformationNotNegotiated)] && runner.isClosed)

        var often = opened(keywords: "")
        for number in 0..<BackendSession.mostFurtherClients {
            let next = another { $0.helo = HeloName("h\(number).example") }
            #expect(often.session.mayServe(next))
            often.event { $0.serve(next, into: &$1) }
            often.says("250 backend\r\n")
        }
        #expect(!often.session.mayServe(client))
    }

    // MARK: - TLS

    @Test("STARTTLS, and EHLO anew")
    func startTLS() {
        var settings = xclient
        settings.tls = .required
        var runner = BackendRunner(settings, client: client)
        runner.connect()
        runner.says("220 backend\r\n250-backend\r\n250-STARTTLS\r\n250 XCLIENT ADDR\r\n")
        #expect(runner.takeSent() == "EHLO mx.example\r\nSTARTTLS\r\n")
        runner.says("220 go\r\n")
        #expect(runner.takeActions() == [.startTLS])
        runner.event { $0.tlsEstablished(into: &$1) }
        #expect(runner.takeSent() == "EHLO mx.example\r\n")
        runner.says("250-backend\r\n250 XCLIENT ADDR\r\n220 hello\r\n250 backend\r\n")
        #expect(runner.takeSent() == "XCLIENT ADDR=IPV6:2001:db8::7\r\nEHLO helo.example\r\n")
        #expect(runner.session.isSecured)
    }

    @Test("what comes in the clear behind the reply to STARTTLS ends the connection", arguments: Cut.allCases)
    func startTLSInjection(_ cut: Cut) {
        var settings = plain
        settings.tls = .opportunistic
        var runner = BackendRunner(settings, client: client, cut: cut)
        runner.connect()
        runner.says("220 backend\r\n")
        runner.says("250-backend\r\n250 STARTTLS\r\n")
        runner.says("220 go\r\n250 injected\r\n")
        #expect(runner.failures == [BackendFailure(.plaintextAfterStartTLS)])
        #expect(runner.isClosed)
    }

    @Test("required TLS is required; wished-for TLS is not")
    func tlsRequired() {
        for (tls, extra, refused) in [
            (BackendSettings.TLS.required, "", true), (.required, "454 not now\r\n", true), (.opportunistic, "", false),
            (.opportunistic, "454 not now\r\n", false),
        ] {
            var settings = plain
            settings.tls = tls
            var runner = BackendRunner(settings, client: client)
            runner.connect()
            runner.says("220 backend\r\n250-backend\r\n250 \(extra.isEmpty ? "DSN" : "STARTTLS")\r\n\(extra)")
            #expect(runner.failures == (refused ? [BackendFailure(.tlsUnavailable)] : []))
            #expect(runner.session.isIdle == !refused)
        }
    }

    // MARK: - Transactions

    @Test("with PIPELINING all leaves at once, and replies are kept apart", arguments: Cut.allCases)
    func pipelined(_ cut: Cut) {
        var runner = opened(keywords: "250-PIPELINING\r\n", cut: cut)
        runner.event { session, actions in
            session.recipient(recipient, of: mail, into: &actions)
            session.recipient(other, of: mail, into: &actions)
        }
        #expect(runner.takeSent() == "MAIL FROM:<a@b.example> SIZE=10\r\nRCPT TO:<c@d.example>\r\nRCPT TO:<e@d.example>\r\n")
        runner.says("250 ok\r\n550 5.1.1 unknown\r\n250 2.1.5 fine\r\n")
        #expect(
            runner.takeActions() == [
                .replied(Reply(550, "5.1.1", "unknown"), to: .recipient), .replied(Reply(250, "2.1.5", "fine"), to: .recipient),
            ])
    }

    @Test("without it one at a time")
    func oneAtATime() {
        var runner = opened(keywords: "")
        runner.event { session, actions in
            session.recipient(recipient, of: mail, into: &actions)
            session.recipient(other, of: mail, into: &actions)
        }
        #expect(runner.takeSent() == "MAIL FROM:<a@b.example> SIZE=10\r\n")
        runner.says("250 ok\r\n")
        #expect(runner.takeSent() == "RCPT TO:<c@d.example>\r\n")
        runner.says("250 ok\r\n")
        #expect(runner.takeSent() == "RCPT TO:<e@d.example>\r\n")
    }

    @Test("a refused MAIL answers every recipient", arguments: ["", "250-PIPELINING\r\n"])
    func mailRefused(_ keywords: String) {
        var runner = opened(keywords: keywords)
        runner.event { session, actions in
            session.recipient(recipient, of: mail, into: &actions)
            session.recipient(other, of: mail, into: &actions)
        }
        runner.says("550 5.1.8 bad sender\r\n")
        if !keywords.isEmpty { runner.says("503 5.5.1 no MAIL\r\n503 5.5.1 no MAIL\r\n") }
        let refusal = Reply(550, "5.1.8", "bad sender")
        runner.event { $0.recipient(other, of: mail, into: &$1) }
        #expect(runner.takeActions() == Array(repeating: .replied(refusal, to: .recipientInVain), count: 3))
        runner.event { $0.beginContent(into: &$1) }
        #expect(runner.takeActions() == [.replied(refusal, to: .beginContent)])
        #expect(!runner.takeSent().contains("DATA"))
        runner.event { $0.reset(into: &$1) }
    }

    @Test("content goes by DATA with dots stuffed, and its reply is the message's")
    func data() {
        var runner = opened(keywords: "250-PIPELINING\r\n")
        withRecipient(&runner)
        runner.event { $0.beginContent(into: &$1) }
        #expect(runner.takeSent() == "DATA\r\n")
        runner.says("354 go\r\n")
        #expect(runner.takeActions() == [.replied(Reply(354, nil, "go"), to: .beginContent)])
        runner.content(bytes("a\r\n.b\r"))
        runner.content(bytes("\n.\r\nend"))
        runner.event { $0.endContent(into: &$1) }
        #expect(runner.takeSent() == "a\r\n..b\r\n..\r\nend\r\n.\r\n")
        runner.says("250-2.0.0 queued\r\n250 2.0.0 as 1\r\n")
        #expect(runner.takeActions() == [.replied(Reply(250, "2.0.0", "queued", "as 1"), to: .endContent)])
        #expect(runner.session.isIdle)
        // The next transaction on the same connection.
        runner.event { $0.recipient(other, of: mail, into: &$1) }
        #expect(runner.takeSent() == "MAIL FROM:<a@b.example> SIZE=10\r\nRCPT TO:<e@d.example>\r\n")
    }

    @Test("or by BDAT, where that is wished for and offered with PIPELINING")
    func chunks() {
        var settings = plain
        settings.usesChunking = true
        var runner = opened(settings, keywords: "250-PIPELINING\r\n250-CHUNKING\r\n")
        withRecipient(&runner)
        runner.event { $0.beginContent(into: &$1) }
        #expect(runner.takeSent() == "")
        #expect(runner.takeActions() == [.replied(.startInput, to: .beginContent)])
        runner.content(bytes("a\r\n.\r\n"))
        runner.content([])
        runner.content(bytes("b"))
        runner.event { $0.endContent(into: &$1) }
        #expect(runner.takeSent() == "BDAT 6\r\na\r\n.\r\nBDAT 1\r\nbBDAT 0 LAST\r\n")
        runner.says("250 1\r\n250 2\r\n")
        #expect(runner.takeActions() == [])
        runner.says("550 5.7.1 spam\r\n")
        #expect(runner.takeActions() == [.replied(Reply(550, "5.7.1", "spam"), to: .endContent)])

        var without = opened(settings, keywords: "250-CHUNKING\r\n")
        withRecipient(&without)
        without.event { $0.beginContent(into: &$1) }
        #expect(without.takeSent() == "DATA\r\n")
    }

    @Test("a refusal before the end of the content is handed on, and ends the connection")
    func earlyRefusal() {
        var settings = plain
        settings.usesChunking = true
        for keywords in ["250-PIPELINING\r\n250-CHUNKING\r\n", ""] {
            var runner = opened(settings, keywords: keywords)
            withRecipient(&runner)
            runner.event { $0.beginContent(into: &$1) }
            if keywords.isEmpty { runner.says("354 go\r\n") }
            runner.content(bytes("x"))
            runner.says("552 5.3.4 too much\r\n")
            #expect(runner.failures == [BackendFailure(.contentRefused, reply: Reply(552, "5.3.4", "too much"))])
            #expect(runner.isClosed)
            _ = runner.takeSent()
            runner.event { $0.endContent(into: &$1) }
            #expect(runner.takeSent() == "")
        }
    }

    @Test("RSET between transactions, QUIT at the end")
    func resetAndQuit() {
        var runner = opened(keywords: "250-PIPELINING\r\n")
        runner.event { $0.reset(into: &$1) }
        #expect(runner.takeSent() == "")
        withRecipient(&runner)
        runner.event { $0.reset(into: &$1) }
        #expect(runner.takeSent() == "RSET\r\n")
        runner.says("250 ok\r\n")
        #expect(runner.takeActions() == [.idle])
        #expect(runner.session.isIdle)
        runner.event { $0.quit(into: &$1) }
        #expect(runner.takeSent() == "QUIT\r\n")
        runner.says("221 bye\r\n")
        #expect(runner.isClosed)
        #expect(runner.failures == [])
    }

    @Test("aborting sends nothing more: no dot, no QUIT")
    func abort() {
        for step in 0...3 {
            var runner = opened(keywords: "250-PIPELINING\r\n")
            if step > 0 { withRecipient(&runner) }
            if step > 1 {
                runner.event { $0.beginContent(into: &$1) }
                if step > 2 {
                    runner.says("354 go\r\n")
                    runner.content(bytes("half\r\n"))
                }
            }
            _ = runner.takeSent()
            runner.event { step % 2 == 0 ? $0.abort(into: &$1) : $0.reset(into: &$1) }
            if step == 1 {
                #expect(runner.takeSent() == "RSET\r\n")
            } else {
                #expect(runner.takeSent() == "")
                #expect(runner.isClosed, "step \(step)")
            }
        }
    }

    // MARK: - Probes

    @Test("a probe tells known mailboxes from unknown ones", arguments: ["", "250-PIPELINING\r\n"])
    func probe(_ keywords: String) {
        var runner = opened(client: nil, keywords: keywords)
        for (replies, outcome) in [
            (["250 ok", "250 2.1.5 known", "250 ok"], ProbeOutcome.accepted(Reply(250, "2.1.5", "known"))),
            (["250 ok", "550 5.1.1 unknown", "250 ok"], .refused(Reply(550, "5.1.1", "unknown"))),
            (["250 ok", "450 4.2.0 greylisted", "250 ok"], .inconclusive(Reply(450, "4.2.0", "greylisted"))),
            (["550 5.7.1 no null sender", "503 5.5.1 no MAIL", "250 ok"], .inconclusive(Reply(550, "5.7.1", "no null sender"))),
        ] {
            runner.event { $0.probe(recipient, into: &$1) }
            for reply in replies { runner.says("\(reply)\r\n") }
            #expect(runner.takeSent() == "MAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nRSET\r\n")
            #expect(runner.takeActions() == [.probed(outcome), .idle])
            #expect(runner.session.isIdle)
        }
    }

    @Test("asked with a client's mail, the backend says what it would say to that")
    func inquiry() {
        var runner = opened(keywords: "250-PIPELINING\r\n")
        runner.event { $0.probe(recipient, of: mail, into: &$1) }
        #expect(runner.takeSent() == "MAIL FROM:<a@b.example> SIZE=10\r\nRCPT TO:<c@d.example>\r\nRSET\r\n")
        runner.says("250 ok\r\n250 2.1.5 known\r\n")
        #expect(runner.takeActions() == [.probed(.accepted(Reply(250, "2.1.5", "known")))])
        // What comes next does not wait for the RSET, nor does taking it back end the connection.
        runner.event { $0.reset(into: &$1) }
        runner.event { $0.recipient(recipient, of: mail, into: &$1) }
        #expect(runner.takeSent() == "MAIL FROM:<a@b.example> SIZE=10\r\nRCPT TO:<c@d.example>\r\n")
        runner.says("250 ok\r\n250 ok\r\n250 2.1.5 ok\r\n")
        #expect(runner.takeActions() == [.idle, .replied(Reply(250, "2.1.5", "ok"), to: .recipient)])
        // Nobody's connection carries nobody's mail.
        var ours = opened(client: nil, keywords: "")
        ours.event { $0.probe(recipient, of: mail, into: &$1) }
        #expect(ours.failures == [BackendFailure(.clientInformationNotNegotiated)] && ours.takeSent() == "")
    }

    @Test("a mailbox beyond ASCII is asked about with SMTPUTF8, or not at all (RFC 6531)")
    func probeInUTF8() {
        let beyond = RecipientCommand(Mailbox(localPart: "\u{fc}", domain: "d.example"))
        var runner = opened(client: nil, keywords: "250-SMTPUTF8\r\n250-8BITMIME\r\n")
        runner.event { $0.probe(beyond, into: &$1) }
        for _ in 0..<3 { runner.says("250 ok\r\n") }
        #expect(runner.takeSent() == "MAIL FROM:<> SMTPUTF8\r\nRCPT TO:<\u{fc}@d.example>\r\nRSET\r\n")
        #expect(runner.takeActions() == [.probed(.accepted(Reply(250, nil, "ok"))), .idle])
        for keywords in ["", "250-PIPELINING\r\n"] {
            runner = opened(client: nil, keywords: keywords)
            runner.event { $0.probe(beyond, into: &$1) }
            #expect(runner.takeSent() == "" && runner.session.isIdle)
            #expect(runner.takeActions() == [.probed(.inconclusive(.notOfferedNow)), .idle])
        }
    }

    // MARK: - Failures

    @Test("whatever fails, the client hears 4xx and the connection closes", arguments: Cut.allCases)
    func failures(_ cut: Cut) {
        let cases: [(String, BackendFailure.Reason)] = [
            ("421 4.3.2 busy\r\n", .closing(Reply(421, "4.3.2", "busy"))), ("what?\r\n", .nonsense), ("250-a\r\n251 b\r\n", .nonsense),
            ("250 a\n", .nonsense),
            ("354 no\r\n", .nonsense),
        ]
        for (words, reason) in cases {
            // At the end of the content is the worst moment.
            var runner = opened(keywords: "250-PIPELINING\r\n", cut: cut)
            withRecipient(&runner)
            runner.event { $0.beginContent(into: &$1) }
            runner.says("354 go\r\n")
            runner.event { $0.endContent(into: &$1) }
            _ = runner.takeActions()
            runner.says(words)
            #expect(runner.failures.map(\.reason) == [reason], "\(shown(bytes(words)))")
            #expect(runner.failures.allSatisfy { $0.reply.isTransient && $0.reply.code != 421 })
            #expect(runner.takeActions() == [])
            #expect(runner.isClosed)
        }
        for greeting in ["554 no\r\n", "250 odd\r\n", "450 later\r\n"] {
            var runner = BackendRunner(plain, client: client, cut: cut)
            runner.connect()
            runner.says(greeting)
            #expect(runner.failures.count == 1)
            #expect(runner.failures.first?.reply.isTransient == true)
        }
        // An idle connection that speaks unasked.
        var idle = opened(keywords: "", cut: cut)
        idle.says("421 idle too long\r\n")
        #expect(idle.failures.map(\.reason) == [.closing(Reply(421, nil, "idle too long"))])
    }

    @Test("loss and time-outs at every step")
    func loss() {
        for step in 0...5 {
            for isTimeout in [false, true] {
                var runner = BackendRunner(plain, client: client)
                runner.connect()
                if step > 0 { runner.says("220 backend\r\n") }
                if step > 1 { runner.says("250 backend\r\n") }
                if step > 1 { runner.event { $0.recipient(recipient, of: mail, into: &$1) } }
                if step > 2 { runner.says("250 ok\r\n250 ok\r\n") }
                if step > 2 { runner.event { $0.beginContent(into: &$1) } }
                if step > 3 { runner.says("354 ok\r\n") }
                if step > 4 { runner.event { $0.endContent(into: &$1) } }
                let deadline = runner.session.deadline
                #expect(deadline == [.greeting, .command, .command, .dataStart, .content, .endOfData][step])
                for wrong in BackendDeadline.allCases where wrong != deadline { runner.event { $0.timerFired(wrong, into: &$1) } }
                #expect(runner.failures == [])
                runner.event { isTimeout ? $0.timerFired(deadline!, into: &$1) : $0.closed(into: &$1) }
                #expect(runner.failures.map(\.reason) == [isTimeout ? .timedOut : .connectionLost])
                #expect(runner.failures.allSatisfy { $0.reply.isTransient })
                #expect(runner.isClosed)
                runner.says("250 too late\r\n")
                runner.event { $0.closed(into: &$1) }
                #expect(runner.failures.count == 1)
            }
        }
    }

    @Test("a backend that no longer offers what the client used: 451")
    func offersChanged() {
        var runner = opened(keywords: "")
        let utf8 = MailCommand(.null, isSMTPUTF8: true)
        runner.event { $0.recipient(recipient, of: utf8, into: &$1) }
        #expect(runner.takeSent() == "")
        #expect(runner.takeActions() == [.replied(.notOfferedNow, to: .recipientInVain)])
        #expect(Reply.notOfferedNow.isTransient)
    }

    @Test("a recipient that asks for what the backend does not offer: 451, and the others pass")
    func recipientOffersChanged() {
        for (keywords, isCarried) in [("", false), ("250-DSN\r\n", true)] {
            var runner = opened(keywords: keywords)
            let mail = MailCommand(.null)
            let noted = RecipientCommand(recipient.mailbox, notify: .never)
            runner.event { $0.recipient(noted, of: mail, into: &$1) }
            #expect(runner.takeSent().hasPrefix("MAIL FROM:<>"))
            runner.says("250 ok\r\n")
            let sent = runner.takeSent()
            #expect(sent.contains("NOTIFY=NEVER") == isCarried)
            #expect(sent.contains("RCPT") == isCarried)
            let refused = runner.takeActions().contains(.replied(.notOfferedNow, to: .recipient))
            #expect(refused == !isCarried)
            guard !isCarried else { continue }
            runner.event { $0.recipient(recipient, of: mail, into: &$1) }
            #expect(runner.takeSent().hasPrefix("RCPT TO:<"))
        }
    }

    @Test("no connection could be made: it says why, and 4.4.1")
    func notConnected() {
        var runner = BackendRunner(plain, client: client)
        runner.event { $0.recipient(recipient, of: mail, into: &$1) }
        runner.event { $0.notConnected("Connection refused", into: &$1) }
        #expect(runner.failures == [BackendFailure(.notConnected("Connection refused"))])
        #expect(runner.failures.first?.reply == .backendUnavailable)
        #expect(Reply.backendUnavailable.enhancedCode == EnhancedCode(4, 4, 1))
        #expect(runner.isClosed)
    }

    @Test("what an EHLO reply offers, and what may be offered on")
    func extensions() {
        let reply = Reply(
            250, nil, "backend says SIZE 1", "PIPELINING", "size 1000", "8bitmime", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "CHUNKING",
            "STARTTLS", "VRFY", "AUTH CRAM-MD5 plain",
            "XCLIENT NAME addr FOO", "")
        let learnt = Extensions(ehloReply: reply)
        #expect(
            learnt
                == Extensions(
                    pipelining: true, size: 1000, eightBitMIME: true, smtpUTF8: true, dsn: true, enhancedStatusCodes: true, chunking: true,
                    startTLS: true,
                    xclient: [.name, .address], authentication: .plain))
        #expect(Extensions(ehloReply: Reply(250, nil, "x", "SIZE")).size == 0)
        #expect(Extensions(ehloReply: Reply(250, nil, "x", "SIZE many")).size == 0)
        #expect(Extensions(ehloReply: Reply(250, nil, "x")).size == nil)
        #expect(learnt.offered(limit: 500).size == 500)
        #expect(learnt.offered(limit: 5000).size == 1000)
        #expect(learnt.offered().xclient == [])
        #expect(learnt.offered().authentication == [])
        #expect(!learnt.offered().startTLS)
        #expect(!Extensions().offered().dsn)
        #expect(learnt.offered().enhancedStatusCodes && !Extensions().offered().enhancedStatusCodes)
        #expect(Extensions().offered().chunking)
    }
}

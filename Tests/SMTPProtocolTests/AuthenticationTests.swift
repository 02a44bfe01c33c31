import PosternCore
import SMTPProtocol
import Testing

@testable import SMTPProtocol

/// What passwords travel in.
@Suite("secrets")
struct SecretTests {
    private func encoded(_ octets: [UInt8]) -> String {
        var line: [UInt8] = []
        Base64.encode(octets, to: &line)
        return String(decoding: line, as: UTF8.self)
    }

    private func decoded(_ text: String) -> [UInt8]? { Base64.decode(Array(text.utf8))?.withUnsafeBytes { Array($0) } }

    @Test(
        "RFC 4648 §10",
        arguments: [
            ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="), ("foobar", "Zm9vYmFy"),
        ])
    func vectors(_ plain: String, _ text: String) {
        #expect(encoded(Array(plain.utf8)) == text)
        #expect(decoded(text) == Array(plain.utf8))
    }

    @Test("what was encoded is what is decoded")
    func roundTrip() {
        var generator = SeededGenerator(seed: 4648)
        for count in 0..<300 {
            let octets = (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
            #expect(decoded(encoded(octets)) == octets)
        }
    }

    @Test(
        "what is not base64",
        arguments: [
            "Z", "Zg", "Zg=", "Zg===", "=", "====", "Z===", "=Zg=", "Zg==Zg==", "Zm 9", "Zm9v\r\n", "Zm9-", "Zm9_", "Zh==", "Zm9=",
            "Zm\u{e9}",
        ])
    func malformed(_ text: String) {
        #expect(decoded(text) == nil)
    }

    @Test("nothing that is printed of a password is one")
    func unprinted() {
        let credentials = Credentials(name: "ann", password: Secret(Array("sesame".utf8)))
        var dumped = ""
        dump(credentials, to: &dumped)
        for text in [
            "\(credentials)", "\(ServerAction.authenticate(credentials))", String(reflecting: credentials), dumped,
            "\(BackendAction.sendSecret(credentials.plainLine("AUTH PLAIN ")))",
            "\(Command.authenticate(mechanism: "PLAIN", initialResponse: Secret(Array("c2VzYW1l".utf8))))",
        ] {
            #expect(!text.contains("sesame") && !text.contains("c2Vz") && !text.contains("115"), "\(text)")
        }
        #expect(credentials == Credentials(name: "ann", password: Secret(Array("sesame".utf8))))
        #expect(credentials != Credentials(name: "ann", password: Secret(Array("simsim".utf8))))
    }

    @Test("a line that held a password is overwritten")
    func wiped() {
        var decoder = LineDecoder()
        var position = 0
        let outcome = Array("AUTH PLAIN x\r\n".utf8).withUnsafeBytes { decoder.decode($0, at: &position) }
        #expect(outcome == .line)
        decoder.wipe()
        #expect(decoder.line.allSatisfy { $0 == 0 } && decoder.line.count == 12)
    }
}

/// Logging in at a backend.
@Suite("log-in at a backend", .serialized)
struct BackendLogInTests {
    private static let client = BackendClient(
        source: Endpoint(address: IPAddress("192.0.2.7")!, port: 4321), destination: Endpoint(address: IPAddress("192.0.2.25")!, port: 587),
        helo: HeloName("pc.example"), isExtended: true)
    private let ann = Credentials(name: "ann", password: Secret(Array("sesame".utf8)))
    private let mail = MailCommand(.mailbox(Mailbox(localPart: "a", domain: "b.example")), authenticatedAs: "a@b.example")
    private let recipient = RecipientCommand(Mailbox(localPart: "c", domain: "d.example"))

    private struct Runner {
        var session: BackendSession
        var sent = ""
        var actions: [BackendAction] = []

        init(_ information: BackendSettings.ClientInformation = .none, client: BackendClient? = BackendLogInTests.client) {
            var settings = BackendSettings(hostname: "mx.example", clientInformation: information)
            settings.requiresLogIn = true
            session = BackendSession(settings: settings, client: client)
        }

        mutating func event(_ body: (inout BackendSession, inout [BackendAction]) -> Void) {
            var now: [BackendAction] = []
            body(&session, &now)
            for action in now {
                switch action {
                case .send(let bytes): sent += String(decoding: bytes, as: UTF8.self)
                case .sendSecret(let secret): sent += secret.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
                case .deadline, .ready: break
                default: actions.append(action)
                }
            }
        }

        mutating func says(_ text: String) {
            event { session, actions in Array(text.utf8).withUnsafeBytes { session.received($0, into: &actions) } }
        }

        mutating func take() -> (sent: String, actions: [BackendAction]) {
            defer { (sent, actions) = ("", []) }
            return (sent, actions)
        }
    }

    private func opened(_ offers: String, _ credentials: Credentials, _ information: BackendSettings.ClientInformation = .none) -> Runner {
        var runner = Runner(information)
        runner.event { $0.authenticate(credentials, into: &$1) }
        runner.event { $0.connected(into: &$1) }
        runner.says("220 hi\r\n")
        #expect(!runner.take().sent.contains("AUTH"))
        runner.says("250-hi\r\n250-PIPELINING\r\n250 \(offers)\r\n")
        return runner
    }

    @Test("PLAIN in one command, as the client, and the backend's word")
    func plain() {
        var runner = opened("AUTH DIGEST-MD5 LOGIN PLAIN", ann)
        #expect(runner.take() == ("AUTH PLAIN AGFubgBzZXNhbWU=\r\n", []))
        runner.says("235 2.7.0 Authentication successful\r\n")
        #expect(runner.take().actions == [.authenticated(.answered(Reply(235, "2.7.0", "Authentication successful")))])
        runner.event { $0.recipient(recipient, of: mail, into: &$1) }
        // RFC 4954 §5: whom a client claims to speak for is not handed on.
        #expect(runner.take().sent == "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n")
    }

    @Test("LOGIN where there is only that")
    func login() {
        var runner = opened("AUTH LOGIN", ann)
        #expect(runner.take().sent == "AUTH LOGIN\r\n")
        runner.says("334 VXNlcm5hbWU6\r\n")
        #expect(runner.take().sent == "YW5u\r\n")
        runner.says("334 UGFzc3dvcmQ6\r\n")
        #expect(runner.take().sent == "c2VzYW1l\r\n")
        runner.says("535 5.7.8 Error: authentication failed\r\n")
        #expect(runner.take().actions == [.authenticated(.answered(Reply(535, "5.7.8", "Error: authentication failed")))])
        // Once more on the same connection.
        runner.event { $0.authenticate(ann, into: &$1) }
        #expect(runner.take().sent == "AUTH LOGIN\r\n")
    }

    @Test("a long password goes by itself, since a command has 512 octets")
    func long() {
        var runner = opened("AUTH PLAIN", Credentials(name: "ann", password: Secret([UInt8](repeating: 0x61, count: 400))))
        #expect(runner.take().sent == "AUTH PLAIN\r\n")
        runner.says("334 \r\n")
        let line = runner.take().sent
        #expect(line.hasPrefix("AGFubgBhYWFh") && line.hasSuffix("\r\n") && line.utf8.count == (405 + 2) / 3 * 4 + 2)
        runner.says("235 ok\r\n")
        #expect(runner.take().actions == [.authenticated(.answered(Reply(235, nil, "ok")))])
    }

    @Test("a backend that asks for more than there is to say is told no more, and the client to come again")
    func furtherChallenge() {
        var runner = opened("AUTH PLAIN", ann)
        _ = runner.take()
        runner.says("334 more\r\n")
        #expect(runner.take().sent == "*\r\n")
        runner.says("501 cancelled\r\n")
        #expect(runner.take().actions == [.authenticated(.answered(.authenticationUnavailable))])
    }

    @Test("answers that are none end the connection", arguments: ["250 ok\r\n", "354 go\r\n", "nonsense\r\n"])
    func nonsense(_ answer: String) {
        var runner = opened("AUTH PLAIN", ann)
        _ = runner.take()
        runner.says(answer)
        #expect(runner.session.hasEnded && !runner.session.isLoggedIn)
        #expect(runner.take().actions.first == .failed(BackendFailure(.nonsense)))
    }

    @Test("a backend without AUTH hears no password")
    func notOffered() {
        var runner = opened("SIZE", ann)
        #expect(runner.take() == ("", [.authenticated(.notOffered)]))
        runner = opened("AUTH CRAM-MD5", ann)
        #expect(runner.take() == ("", [.authenticated(.notOffered)]))
    }

    @Test("the password is said once the backend knows who the client is, and not where it does not want to know")
    func clientFirst() {
        var runner = opened("AUTH PLAIN", ann, .xclient)
        #expect(runner.take() == ("", [.failed(BackendFailure(.clientInformationNotNegotiated)), .close]))
        runner = opened("XCLIENT ADDR LOGIN", ann, .xclient)
        #expect(runner.take().sent == "XCLIENT LOGIN=[UNAVAILABLE] ADDR=192.0.2.7\r\n")
        runner.says("220 hi\r\n")
        #expect(runner.take().sent == "EHLO pc.example\r\n")
        runner.says("250-hi\r\n250 AUTH PLAIN\r\n")
        #expect(runner.take().sent.hasPrefix("AUTH PLAIN "))
    }

    @Test("a client that the backend will not talk to hears that")
    func refusedClient() {
        var runner = opened("XCLIENT ADDR", ann, .xclient)
        _ = runner.take()
        runner.says("554 5.7.1 Go away\r\n")
        #expect(runner.take().actions == [.authenticated(.answered(Reply(554, "5.7.1", "Go away")))])
        runner.event { $0.authenticate(ann, into: &$1) }
        #expect(runner.take().actions == [.authenticated(.answered(Reply(554, "5.7.1", "Go away")))])
    }

    @Test("nothing is forwarded before a log-in has succeeded, and never on a connection of our own")
    func noRelay() {
        var runner = opened("AUTH PLAIN", ann)
        runner.says("535 no\r\n")
        _ = runner.take()
        runner.event { $0.recipient(recipient, of: mail, into: &$1) }
        #expect(runner.take() == ("", [.failed(BackendFailure(.notLoggedIn)), .close]))

        runner = Runner(client: nil)
        runner.event { $0.connected(into: &$1) }
        runner.says("220 hi\r\n250 hi\r\n")
        _ = runner.take()
        runner.event { $0.authenticate(ann, into: &$1) }
        #expect(runner.take() == ("", [.failed(BackendFailure(.clientInformationNotNegotiated)), .close]))
    }

    @Test("a connection on which somebody has tried to log in is nobody else's")
    func keptForOne() {
        for answer in ["235 ok\r\n", "535 no\r\n"] {
            var runner = opened("AUTH PLAIN", ann)
            runner.says(answer)
            #expect(runner.session.isIdle && !runner.session.maySpeakForAnother && !runner.session.mayServe(Self.client))
        }
    }

    @Test("a reset that is under way is not the end of a log-in")
    func resetTwice() {
        var runner = opened("AUTH PLAIN", ann)
        runner.says("235 ok\r\n")
        runner.event { $0.recipient(recipient, of: mail, into: &$1) }
        runner.says("250 ok\r\n250 ok\r\n")
        _ = runner.take()
        runner.event { $0.reset(into: &$1) }
        runner.event { $0.reset(into: &$1) }
        #expect(runner.take() == ("RSET\r\n", []))
        #expect(!runner.session.hasEnded)
        runner.says("250 ok\r\n")
        #expect(runner.take().actions == [.idle])
    }

    @Test("421 and silence end it, with a failure that is no refusal of the password")
    func lost() {
        var runner = opened("AUTH PLAIN", ann)
        runner.says("421 4.7.0 too many\r\n")
        guard case .failed(let failure)? = runner.take().actions.first else {
            Issue.record("it goes on")
            return
        }
        #expect(failure.reply.isTransient)
        runner = opened("AUTH PLAIN", ann)
        _ = runner.take()
        runner.event { $0.timerFired(.command, into: &$1) }
        #expect(runner.take().actions.first == .failed(BackendFailure(.timedOut)))
    }
}

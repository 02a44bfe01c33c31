import PosternCore
import Testing

@testable import SMTPProtocol

/// A backend that says what nobody expects of it.
@Suite("Unexpected replies of a backend")
struct UnexpectedReplyTests {
    private let mail = MailCommand(.mailbox(Mailbox(localPart: "a", domain: "b.example")))
    private let recipient = RecipientCommand(Mailbox(localPart: "c", domain: "d.example"))
    private let client = BackendClient(
        source: Endpoint(address: IPAddress("192.0.2.7")!, port: 4321), destination: Endpoint(address: IPAddress("192.0.2.25")!, port: 25),
        helo: HeloName("helo.example"), isExtended: true)

    private func begun(_ information: BackendSettings.ClientInformation, client: BackendClient?) -> BackendRunner {
        var runner = BackendRunner(BackendSettings(hostname: "mx.example", clientInformation: information), client: client)
        runner.connect()
        if client != nil { runner.event { $0.recipient(recipient, of: mail, into: &$1) } }
        return runner
    }

    @Test(
        "what may answer a PROXY header is about the header: 451, and no HELO in its place",
        arguments: [
            "500 5.5.2 Error: bad syntax", "500 what", "502 x", "503 x", "504 x", "555 x", "521 5.5.1 Protocol error",
            "554 SMTP synchronization error",
        ])
    func headerNotUnderstood(_ reply: String) {
        for greeting in ["", "220 backend\r\n"] {
            for client in [client, nil] {
                var runner = begun(.proxyV2, client: client)
                runner.says("\(greeting)\(reply)\r\n500 more\r\n250 and more\r\n")
                #expect(runner.isClosed && runner.failures.count == 1)
                guard case .notUnderstood(let told)? = runner.failures.first?.reason else {
                    Issue.record("\(runner.failures)")
                    continue
                }
                #expect(text(told.wire) == "\(reply)\r\n")
                #expect(runner.failures.first?.reply == .clientInformationNotNegotiated)
                #expect(!runner.takeSent().contains("HELO helo") && runner.takeActions().isEmpty)
            }
        }
    }

    @Test("a refusal of policy behind a PROXY header is the client's")
    func headerUnderstood() {
        var runner = begun(.proxyV2, client: client)
        runner.says("220 backend\r\n554 5.7.1 go away\r\n")
        #expect(runner.takeActions() == [.replied(Reply(554, "5.7.1", "go away"), to: .recipientInVain)])
        var greeted = begun(.proxyV2, client: client)
        greeted.says("554 5.7.1 go away\r\n")
        #expect(greeted.failures.map(\.reason) == [.refusedUs(Reply(554, "5.7.1", "go away"))])
    }

    @Test("a refusal of our EHLO and HELO that is about the command is no word to the client", arguments: [500, 502, 503, 504, 555])
    func helloNotUnderstood(_ code: Int) {
        for information in [BackendSettings.ClientInformation.none, .xclient] {
            var runner = begun(information, client: client)
            runner.says("220 backend\r\n")
            if information == .xclient { runner.says("250-backend\r\n250 XCLIENT ADDR\r\n220 backend\r\n") }
            runner.says("\(code) 5.5.1 no\r\n")
            if code == 500 || code == 502 {
                #expect(runner.failures.isEmpty && runner.takeSent().hasSuffix("HELO helo.example\r\n"))
                runner.says("\(code) 5.5.1 no\r\n")
            }
            #expect(
                runner.failures == [BackendFailure(.notUnderstood(Reply(UInt16(code), "5.5.1", "no")), reply: .backendUnavailable)])
            #expect(runner.session.hasNamedClient, "nor does it make the backend look ill")
            #expect(runner.takeActions().isEmpty)
        }
    }

    @Test("only 250 answers EHLO")
    func anotherGreeting() {
        var runner = begun(.none, client: client)
        runner.says("220 backend\r\n220 backend\r\n")
        #expect(runner.failures == [BackendFailure(.nonsense)])
    }

    /// With PIPELINING the recipients have been sent by then, and their replies will not come.
    @Test(
        "a refusal of MAIL answers what was sent with it, however the connection ends",
        arguments: ["", "421 4.7.0 too many\r\n", "354 go\r\n"])
    func refusalBeforeTheEnd(_ more: String) {
        for (said, isAnswered) in [("550-5.7.1 no\r\n550 5.7.1 such sender\r\n", 0), ("450 4.7.1 later\r\n503 5.5.1 no MAIL\r\n", 1)] {
            var runner = pipelining()
            runner.event { session, actions in
                session.recipient(recipient, of: mail, into: &actions)
                session.recipient(recipient, of: mail, into: &actions)
            }
            runner.says(said + more)
            runner.event { $0.closed(into: &$1) }
            let refusal = isAnswered == 0 ? Reply(550, nil, "5.7.1 no", "5.7.1 such sender") : Reply(450, "4.7.1", "later")
            #expect(runner.takeActions() == Array(repeating: .replied(refusal, to: .recipientInVain), count: 2))
            #expect(runner.failures.count == 1 && runner.isClosed)

            var asking = pipelining()
            asking.event { $0.probe(recipient, of: mail, into: &$1) }
            asking.says(said + more)
            asking.event { $0.closed(into: &$1) }
            #expect(asking.takeActions() == [.probed(.inconclusive(refusal))])
            #expect(asking.failures.count == 1)
        }
    }

    private func pipelining() -> BackendRunner {
        var runner = BackendRunner(BackendSettings(hostname: "mx.example", clientInformation: .none), client: client)
        runner.connect()
        runner.says("220 backend\r\n250-backend\r\n250 PIPELINING\r\n")
        _ = runner.takeActions()
        return runner
    }

    @Test("421 in a transaction is told as 451, in its own words")
    func closingInATransaction() {
        for (more, told) in [
            ("421-4.7.0 too\r\n421 4.7.0 many\r\n", "451-4.7.0 too\r\n451 4.7.0 many\r\n"), ("421\r\n", "451\r\n"),
        ] {
            for before in ["", "250 ok\r\n", "250 ok\r\n250 ok\r\n"] {
                var runner = pipelining()
                runner.event { $0.recipient(recipient, of: mail, into: &$1) }
                runner.says(before + more)
                #expect(runner.failures.map { text($0.reply.wire) } == [told])
            }
        }
        // Between transactions it is a connection lost, and before them none was made.
        var runner = pipelining()
        runner.says("421 4.4.2 idle\r\n")
        #expect(runner.failures.map(\.reply) == [.backendLost])
        var greeted = begun(.none, client: client)
        greeted.says("421 4.3.2 busy\r\n")
        #expect(greeted.failures.map(\.reply) == [.backendUnavailable])
    }

    /// Random words at random moments.
    @Test("every recipient has one answer, whatever comes", arguments: BackendSettings.ClientInformation.allCases)
    func everyRecipientIsAnswered(_ information: BackendSettings.ClientInformation) {
        let words = [
            "220 hello", "250 ok", "250-backend\r\n250-PIPELINING\r\n250 XCLIENT ADDR", "250 ok", "354 go", "450 4.2.0 later",
            "500 5.5.2 bad",
            "502 5.5.1 no", "550 5.7.1 go away", "554 no", "221 bye", "235 fine", "334 ", "421 4.3.2 busy",
        ]
        var openings = 0
        for seed in 0..<4000 {
            var generator = SeededGenerator(seed: UInt64(seed))
            var runner = BackendRunner(BackendSettings(hostname: "mx.example", clientInformation: information), client: client)
            runner.connect()
            if Bool.random(using: &generator) {
                runner.says("220 hello\r\n250-backend\r\n250 XCLIENT ADDR\r\n")
                if information == .xclient { runner.says("220 hello\r\n250 ok\r\n") }
            }
            var asked = 0
            for _ in 0..<12 {
                if runner.failures.isEmpty, Int.random(in: 0..<3, using: &generator) == 0 {
                    asked += 1
                    runner.event { $0.recipient(recipient, of: mail, into: &$1) }
                } else {
                    runner.says("\(words[Int.random(in: words.indices, using: &generator)])\r\n")
                }
            }
            runner.event { $0.closed(into: &$1) }
            #expect(runner.isClosed, "seed \(seed)")
            let isReady = runner.actions.contains { if case .ready = $0 { true } else { false } }
            openings += isReady ? 1 : 0
            let replies = runner.actions.compactMap { if case .replied(let reply, _) = $0 { reply } else { nil } }
            #expect(runner.failures.isEmpty ? replies.count == asked : replies.count <= asked, "seed \(seed)")
            #expect(runner.failures.allSatisfy { $0.reply.isTransient }, "seed \(seed)")
            if !isReady { #expect(replies.allSatisfy { !$0.isAboutCommand }, "seed \(seed): \(replies)") }
            // And so it is for whoever comes when all is over.
            let before = (replies.count, runner.failures.count)
            runner.event { $0.recipient(recipient, of: mail, into: &$1) }
            let after = runner.actions.count { if case .replied = $0 { true } else { false } }
            #expect(after + runner.failures.count == before.0 + before.1 + 1, "seed \(seed)")
        }
        #expect(openings > 500, "the test sees what it is for")
    }
}

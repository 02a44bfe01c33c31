import Glibc
import Logging
import NIOConcurrencyHelpers
import NIOPosix
import PosternCore
import PosternEngine
import Testing

@testable import PosternServer

/// A fake MX on a port of the kernel's choice, and the visits that it tells of.
final class TestFakeMX: Sendable {
    let listener: FakeMXListener
    let lines: LineCapture
    private let seen: NIOLockedValueBox<[FakeMXVisit]>

    init(_ mode: FakeMXSettings.Mode, configure: (inout FakeMXSettings) -> Void = { _ in }) async throws {
        var settings = FakeMXSettings(mode: mode, hostname: "spare.example.org")
        configure(&settings)
        let lines = try LineCapture()
        let seen = NIOLockedValueBox<[FakeMXVisit]>([])
        self.lines = lines
        self.seen = seen
        let (descriptor, bound) = try ListeningSocket.open(.tcp(IPAddress("127.0.0.1")!, port: 0))
        listener = try await FakeMXListener.start(
            name: "spare", address: bound, descriptor: descriptor, group: MultiThreadedEventLoopGroup.singleton, settings: settings,
            clock: ServiceClock(after: nil), log: DecisionLog(writer: lines.writer, isEnabled: true),
            logger: Logger(label: "test") { _ in LineLogHandler(writer: lines.writer, level: .debug) },
            allows: { $0.domain == "friend.example" }
        ) { visit in seen.withLockedValue { $0.append(visit) } }
    }

    var visits: [FakeMXVisit] { seen.withLockedValue { $0 } }
    var open: Int { listener.mx.counters.values.sessions }

    func client(source: String? = nil) async throws -> SMTPTestClient { try await SMTPTestClient(listener.address, source: source) }

    func greeted() async throws -> SMTPTestClient {
        let client = try await client()
        #expect(try await client.reply() == "220 spare.example.org ESMTP")
        let hello = try #require(try await client.ask("EHLO client.example"))
        #expect(hello.hasPrefix("250-spare.example.org\r\n") && hello.contains("SMTPUTF8") && hello.contains("8BITMIME"))
        return client
    }

    func visit(_ number: Int = 1) async throws -> FakeMXVisit {
        try await eventually("visit \(number)") { visits.count >= number }
        return try #require(visits.last)
    }

    func stop() async { await listener.drain(patience: .milliseconds(500)) }
}

@Suite(.timeLimit(.minutes(10)))
struct FakeMXTests {
    @Test func everyRecipientIsDeferredWithAnExplanation() async throws {
        let mx = try await TestFakeMX(.deferRecipients)
        let client = try await mx.greeted()
        #expect(try await client.ask("MAIL FROM:<a@example.com> SIZE=99999999999") == "250 2.1.0 Ok")
        for recipient in ["user@example.org", "postmaster@example.org", "other@Example.NET"] {
            let reply = try #require(try await client.ask("RCPT TO:<\(recipient)>"))
            #expect(reply.hasPrefix("451 4.7.1 spare.example.org is a stand-in that takes no mail. Nothing is wrong with your message"))
        }
        let data = try #require(try await client.ask("DATA"))
        #expect(data.hasPrefix("451 4.5.1 "), "\(data)")
        #expect(try await client.ask("QUIT") == "221 2.0.0 Bye")
        let visit = try await mx.visit()
        #expect(visit.end == .quit && visit.deferrals == 3 && visit.domains == ["example.org", "example.net"])
        #expect(visit.address == IPAddress("127.0.0.1") && visit.listener == "spare" && visit.discarded == 0)
        // The text's reference leads to the line, and nobody's name stands in it.
        let line = try #require(mx.lines.lines.first { $0.contains("msg=fake-mx") })
        #expect(line.contains("deferred=3") && line.contains("left=quit") && !line.contains("example.com"), "\(line)")
        await mx.stop()
    }

    @Test func contentIsNeverSent() async throws {
        let mx = try await TestFakeMX(.deferData)
        let client = try await mx.greeted()
        _ = try await client.ask("MAIL FROM:<>")
        #expect(try await client.ask("RCPT TO:<user@example.org>") == "250 2.1.5 Ok")
        #expect(try #require(try await client.ask("DATA")).hasPrefix("451 4.7.1 spare.example.org is a stand-in"))
        // It may try that again, or go on to another message.
        #expect(try #require(try await client.ask("DATA")).hasPrefix("451 4.7.1 "))
        #expect(try await client.ask("RSET") == "250 2.0.0 Ok")
        client.channel.close(promise: nil)
        let visit = try await mx.visit()
        #expect(visit.end == .hungUp && visit.deferrals == 2)
        #expect(mx.listener.totals.hungUp == 1)
        await mx.stop()
    }

    @Test(arguments: [FakeMXSettings.Mode.deferRecipients, .deferData])
    func allInOneGoIsAnsweredInOrder(mode: FakeMXSettings.Mode) async throws {
        let mx = try await TestFakeMX(mode)
        let client = try await mx.greeted()
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nRCPT TO:<c@example.org>\r\nDATA\r\nQUIT\r\n")
        var codes: [String] = []
        while let reply = try await client.reply() { codes.append(String(reply.prefix(3))) }
        #expect(codes == ["250"] + (mode == .deferData ? ["250", "250", "451"] : ["451", "451", "451"]) + ["221"])
        await mx.stop()
    }

    /// What a mail server would refuse for good is put off here, whatever the client does.
    @Test(arguments: [FakeMXSettings.Mode.deferRecipients, .deferData])
    func nothingIsEverRefusedForGood(mode: FakeMXSettings.Mode) async throws {
        let mx = try await TestFakeMX(mode)
        let dialogues = [
            ["MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>", "DATA", "RSET", "HELO", "EHLO"],
            ["EHLO x", "RCPT TO:<b@example.org>", "DATA", "BDAT 0 LAST", "MAIL FROM:<a@example.com> FROB=1", "MAIL FROM:a b c"],
            ["HELO x", "MAIL FROM:<a@example.com>", "MAIL FROM:<a@example.com>", "RCPT TO:<@>", "RCPT TO:<b@example.org> X=Y", "DATA"],
            ["AUTH PLAIN AAAA", "EXPN list", "ETRN x", "STARTTLS", "XCLIENT ADDR=192.0.2.1", "VRFY a", "HELP", "FROB", "\u{e9}"],
            ["EHLO " + String(repeating: "x", count: 3000), "MAIL FROM:<" + String(repeating: "y", count: 900) + "@example.com>"],
            ["GET / HTTP/1.1"], ["a\nb", "c", "d", "e", "f", "g", "h", "i", "j", "k"],
            ["EHLO x", "MAIL FROM:<a@example.com>"] + (0..<1001).map { "RCPT TO:<u\($0)@example.org>" } + ["DATA"],
        ]
        for dialogue in dialogues {
            let client = try await mx.client()
            #expect(try #require(try await client.reply()).hasPrefix("220 "))
            client.send(dialogue.joined(separator: "\r\n") + "\r\nQUIT\r\n")
            var count = 0
            while let reply = try await client.reply() {
                count += 1
                #expect(!reply.hasPrefix("5") && reply.prefix(3).allSatisfy(\.isNumber), "\(dialogue.prefix(8)): \(reply)")
            }
            #expect(count > 0)
        }
        try await eventually("all gone") { mx.open == 0 }
        await mx.stop()
    }

    @Test func aSinkTakesAllAndKeepsNothing() async throws {
        let mx = try await TestFakeMX(.sink)
        let client = try await mx.greeted()
        for number in 0..<3 {
            _ = try await client.ask("MAIL FROM:<a@example.com> SIZE=5000000")
            #expect(try await client.ask("RCPT TO:<spare\(number)@example.org>") == "250 2.1.5 Ok")
            #expect(try await client.ask("DATA") == "354 End data with <CR><LF>.<CR><LF>")
            let line = String(repeating: "z", count: 998) + "\r\n"
            for _ in 0..<50 { client.send(String(repeating: line, count: 100)) }
            #expect(try await client.ask(".") == "250 2.0.0 Ok")
        }
        _ = try await client.ask("MAIL FROM:<a@example.com>")
        for local in ["postmaster", "Abuse"] {
            #expect(try #require(try await client.ask("RCPT TO:<\(local)@example.org>")).hasPrefix("451 4.7.1 "))
        }
        // RFC 2920 §3.1: a client that pipelines says DATA all the same.
        #expect(try await client.ask("DATA") == "451 4.5.1 No valid recipients")
        _ = try await client.ask("RSET")
        #expect(try await client.ask("MAIL FROM:<a@example.com> SIZE=52428801") == "552 5.3.4 Message size exceeds the limit")
        _ = try await client.ask("QUIT")
        let visit = try await mx.visit()
        #expect(visit.discarded == 3 && visit.deferrals == 2 && visit.end == .quit)
        let totals = mx.listener.totals
        #expect(totals.discarded == 3 && totals.octetsDiscarded == 15_000_000)
        await mx.stop()
    }

    /// What a mail server refuses lest it be taken for another message does no harm where all of it is thrown away.
    @Test(arguments: ["a\n.\nMAIL FROM:<x@y>\r\n", "a\r\n.\nb\r\n", "a\r.\rb\r\n", "a\u{0}b\r\n", "a\nb\rc\r\n"])
    func aSinkTakesWhatIsFlawedToo(content: String) async throws {
        let mx = try await TestFakeMX(.sink)
        let client = try await mx.greeted()
        for _ in 0..<2 {
            client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
            #expect(try await client.replies(3).map { $0?.prefix(3) } == ["250", "250", "354"])
            client.send(content)
            // Not before its real end.
            try await Task.sleep(for: .milliseconds(50))
            #expect(client.pending.text == "")
            #expect(try await client.ask("rest\r\n.") == "250 2.0.0 Ok")
        }
        let loop = String(repeating: "Received: from x\r\n", count: 300)
        client.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
        _ = try await client.replies(3)
        #expect(try await client.ask(loop + "\r\n.") == "250 2.0.0 Ok")
        #expect(try await client.ask("QUIT") == "221 2.0.0 Bye")
        #expect(try await mx.visit().discarded == 3)
        #expect(mx.listener.totals.discarded == 3)
        await mx.stop()
    }

    /// As at a trap mailbox: neither a bounce nor mail of a sender whom the admin allows says anything of the client.
    @Test func onlyMailOfStrangersToASinkCounts() async throws {
        let mx = try await TestFakeMX(.sink)
        let client = try await mx.greeted()
        for sender in ["a@friend.example", "", "a@example.com"] {
            client.send("MAIL FROM:<\(sender)>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
            _ = try await client.replies(3)
            #expect(try await client.ask("text\r\n.") == "250 2.0.0 Ok")
        }
        _ = try await client.ask("QUIT")
        #expect(try await mx.visit().discarded == 1 && mx.listener.totals.discarded == 3)
        await mx.stop()
    }

    @Test(arguments: [FakeMXSettings.Mode.deferRecipients, .deferData, .sink])
    func helpNamesWhatIsThere(mode: FakeMXSettings.Mode) async throws {
        let mx = try await TestFakeMX(mode)
        let client = try await mx.greeted()
        #expect(try await client.ask("HELP") == "214 2.0.0 Commands: HELO EHLO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT")
        await mx.stop()
    }

    @Test func whoIsLetGoByUsDidNotHangUp() async throws {
        let mx = try await TestFakeMX(.deferRecipients) {
            $0.capacity = 3
            $0.hold = .seconds(6)
        }
        var clients: [SMTPTestClient] = []
        for _ in 0..<5 {
            let client = try await mx.greeted()
            _ = try await client.ask("MAIL FROM:<a@example.com>")
            _ = try await client.ask("RCPT TO:<b@example.org>")
            clients.append(client)
        }
        for client in clients[..<2] { #expect(try await client.reply() == "421 4.3.2 Too busy, closing connection") }
        // The others' time is up a little later.
        for client in clients[2...] { #expect(try await client.reply() == "421 4.4.2 Timeout, closing connection") }
        try await eventually("all gone") { mx.visits.count == 5 }
        #expect(mx.visits.allSatisfy { $0.end == .notByClient && $0.deferrals == 1 })
        #expect(mx.listener.mx.counters.values.sessionsShed == 2 && mx.listener.totals.timedOut == 3)
        await mx.stop()
    }

    @Test func aClientThatNeverReadsIsBoundedAndLetGo() async throws {
        let mx = try await TestFakeMX(.deferRecipients) { $0.hold = .seconds(1) }
        guard case .tcp(_, let port) = mx.listener.address else { return }
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = port.bigEndian
        name.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var small: Int32 = 1024
        setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &small, 4)
        let connected = withUnsafePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
        try #require(connected == 0)
        let burst = String(repeating: "HELP\r\n", count: 10_000)
        var sent = 0
        for _ in 0..<100 {
            let count = burst.withCString { send(descriptor, $0, strlen($0), Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL)) }
            if count > 0 { sent += count }
            try await Task.sleep(for: .milliseconds(2))
        }
        #expect(sent > 60_000)
        try await eventually("it is let go although it reads nothing") { mx.open == 0 }
        close(descriptor)
        // Replies to no more commands than a session has: the rest is thrown away unread.
        #expect(mx.listener.totals.octetsSent < 1_000_000)
        #expect(try await mx.visit().end == .notByClient)
        await mx.stop()
    }

    @Test func behindAProxyTheClientIsTheProxys() async throws {
        let mx = try await TestFakeMX(.deferRecipients) { $0.proxies = PrefixSet([Prefix("127.0.0.0/8")!]) }
        let client = try await mx.client()
        client.send("PROXY TCP4 198.51.100.7 192.0.2.1 40000 25\r\n")
        #expect(try #require(try await client.reply()).hasPrefix("220 "))
        _ = try await client.ask("QUIT")
        #expect(try await mx.visit().address == IPAddress("198.51.100.7"))
        let liar = try await mx.client()
        liar.send("EHLO x\r\n")
        #expect(try await liar.reply() == nil)
        try await eventually("gone") { mx.open == 0 }
        #expect(mx.visits.count == 1)
        await mx.stop()
    }
}

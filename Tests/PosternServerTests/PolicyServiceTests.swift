import Foundation
import IntegrationSupport
import Logging
import NIOConcurrencyHelpers
import NIOPosix
import PolicyProtocol
import PosternControl
import PosternCore
import PosternEngine
import PosternStorage
import SMTPProtocol
import Testing

@testable import PosternServer

/// Knows no public suffix but the last label: enough for names under .example and .com.
struct LastLabelDomains: OrganisationalDomains {
    func organisationalDomain(of name: DomainName) -> DomainName? {
        let labels = name.labels
        return labels.count < 2 ? nil : DomainName(labels.suffix(2).joined(separator: "."))
    }
}

/// A policy service on a port of the kernel's choice, over a store of the test's choice.
final class TestService {
    let service: PolicyService
    let listener: PolicyListener
    let store: any Store
    let limits: LimitService?

    init(
        store: any Store = MemoryStore(), address: ListenAddress = .tcp(IPAddress("127.0.0.1")!, port: 0),
        limits: PolicyServiceLimits = PolicyServiceLimits(), lists: Lists = Lists(), evidence: (any EvidenceSource)? = nil,
        hold: WallTime.Span = .zero, lines: LineCapture? = nil, clock: ServiceClock = ServiceClock(after: nil),
        configure: (inout EngineSettings) -> Void = { _ in }
    ) async throws {
        var settings = EngineSettings()
        settings.hostname = "mx.example.org"
        configure(&settings)
        let writer = lines?.writer ?? LogWriter(descriptor: open("/dev/null", O_WRONLY), format: .logfmt)
        self.store = store
        let counting = LimitService(throttle: settings.throttle, accounts: settings.accounts, seed: (1, 2))
        self.limits = counting
        service = PolicyService(
            decisions: DecisionService(
                engine: Engine(settings: settings, lists: lists, domains: LastLabelDomains()), store: store,
                clock: clock, log: DecisionLog(writer: writer, isEnabled: true), counters: Counters(), evidence: evidence,
                limits: counting), hold: hold)
        let (descriptor, bound) = try ListeningSocket.open(address)
        listener = try await PolicyListener.start(
            name: "test", address: bound, descriptor: descriptor, group: MultiThreadedEventLoopGroup.singleton, service: service,
            limits: limits, logger: Logger(label: "test") { _ in LineLogHandler(writer: writer, level: .debug) })
    }

    func client() throws -> PolicyClient {
        switch listener.address {
        case .tcp(let address, let port): try PolicyClient(port: port, v6: address.family == .v6)
        case .unix(let path, _, _): try PolicyClient(path: path)
        }
    }

    func stop() async {
        await listener.drain(patience: .seconds(1))
        await store.close()
    }
}

/// Says the same of everybody.
struct FixedEvidence: EvidenceSource {
    let findings: Findings

    /// Of a client that its SPF record names, that has a name, and that a list was asked about.
    static var clean: FixedEvidence {
        var findings = Findings()
        findings.spf = SPFFinding(.pass, domain: DomainName("example.com"), identifies: true)
        findings.listsAnswered = 1
        findings.spfField = "Received-SPF: pass (mx.example.org: \(String(repeating: "x", count: 500)))"
        return FixedEvidence(findings: findings)
    }

    func known(_ attempt: Attempt) -> Findings? { nil }

    func gather(_ attempt: Attempt, for settings: EngineSettings, completion: @escaping @Sendable (Findings) -> Void) {
        completion(findings)
    }
}

extension Findings {
    fileprivate func without<Value>(_ path: WritableKeyPath<Findings, Value?>) -> Findings {
        var findings = self
        findings[keyPath: path] = nil
        return findings
    }
}

@Suite struct PolicyServiceTests {
    @Test func firstAttemptIsDeferredEarlyRetryTooAndALaterRetryPasses() async throws {
        let test = try await TestService { $0.greylist.delay = .seconds(2) }
        let client = try test.client()
        let first = try #require(try client.ask([]))
        #expect(first.hasPrefix("action=DEFER_IF_PERMIT 4.7.1 Greylisted: please come back in 2 seconds or later (mx.example.org "))
        #expect(try #require(try client.ask([("instance", "2")])).hasPrefix("action=DEFER_IF_PERMIT"))
        usleep(2_050_000)
        let passed = try #require(try client.ask([("instance", "3")]))
        #expect(
            passed.prefixMatch(of: /action=PREPEND X-Greylist: delayed [0-9]+ seconds by postern at mx.example.org/) != nil, "\(passed)")
        #expect(!passed.contains("b@example.org"))
        // The next message of the same people is not delayed, and says nothing.
        #expect(try client.ask([("instance", "4")]) == "action=DUNNO")
        await test.stop()
    }

    @Test func oneHeaderAMessage() async throws {
        let test = try await TestService { $0.greylist.delay = .milliseconds(50) }
        let client = try test.client()
        for recipient in ["b@example.org", "c@example.org"] { _ = try client.ask([("recipient", recipient), ("instance", "1")]) }
        usleep(80_000)
        #expect(try #require(try client.ask([("recipient", "b@example.org"), ("instance", "2")])).contains("PREPEND"))
        #expect(try client.ask([("recipient", "c@example.org"), ("instance", "2")]) == "action=DUNNO")
        await test.stop()
    }

    /// What a hold costs the mail server is bounded: once a message, and not while it is short of processes.
    @Test func aHoldIsAShortWaitOnceAMessageAndNeverUnderStress() async throws {
        func took(_ client: PolicyClient, _ attributes: [(String, String)]) throws -> Duration {
            let start = ContinuousClock.now
            #expect(try #require(try client.ask(attributes)) == "action=DUNNO")
            return ContinuousClock.now - start
        }
        let findings = FixedEvidence.clean.findings
        for hold in [WallTime.Span.seconds(2), .zero] {
            let test = try await TestService(evidence: FixedEvidence(findings: findings.without(\.spfField)), hold: hold) {
                $0.looksUp = true
                $0.delays.clean = .seconds(20)
            }
            let client = try test.client()
            let first = try took(client, [("sender", "a@example.com"), ("instance", "1")])
            #expect(hold == .zero ? first < .milliseconds(1500) : first >= .milliseconds(1990) && first < .seconds(15), "\(first)")
            #expect(
                try took(client, [("sender", "a@example.com"), ("recipient", "c@example.org"), ("instance", "1")]) < .milliseconds(1500))
            #expect(try took(client, [("sender", "b@example.com"), ("instance", "2"), ("stress", "yes")]) < .milliseconds(1500))
            #expect(try took(client, [("sender", "c@example.com"), ("instance", "")]) < .milliseconds(1500))
            await test.stop()
        }
    }

    @Test func aConnectionThatGoesWhileItsAnswerIsHeldHarmsNobody() async throws {
        let test = try await TestService(evidence: FixedEvidence.clean, hold: .milliseconds(300)) {
            $0.looksUp = true
            $0.delays.clean = .seconds(3)
        }
        do {
            let gone = try test.client()
            gone.send(PolicyClient.request([("instance", "1")]))
            usleep(50_000)
        }
        let client = try test.client()
        #expect(try client.ask([("protocol_state", "HELO")]) == "action=DUNNO")
        usleep(400_000)
        #expect(try client.ask([("protocol_state", "HELO")]) == "action=DUNNO")
        await test.stop()
    }

    /// An answer has room for one field; the other comes with the next question about the message.
    @Test func theFieldAboutSPFIsGivenOnceAMessageAndTheOtherFollows() async throws {
        let test = try await TestService(evidence: FixedEvidence.clean) {
            $0.looksUp = true
            $0.profile = .classic
            $0.spfHeader = .receivedSPF
            $0.greylist.delay = .milliseconds(50)
        }
        let client = try test.client()
        #expect(try #require(try client.ask([("instance", "1")])).hasPrefix("action=DEFER"))
        usleep(80_000)
        let first = try #require(try client.ask([("instance", "2")]))
        #expect(first.hasPrefix("action=PREPEND Received-SPF: pass (mx.example.org: xxx") && first.hasSuffix("xxx)"), "\(first)")
        #expect(try #require(try client.ask([("protocol_state", "DATA"), ("instance", "2")])).hasPrefix("action=PREPEND X-Greylist: "))
        #expect(try client.ask([("protocol_state", "END-OF-MESSAGE"), ("instance", "2")]) == "action=DUNNO")
        // Known senders' messages have it too.
        #expect(try #require(try client.ask([("instance", "3")])).hasPrefix("action=PREPEND Received-SPF"))
        await test.stop()
    }

    /// Postfix says "unknown" where there is no name, and where the DNS failed for the moment (smtpd_peer.c).
    @Test func anUnknownReverseNameIsNoProofThatThereIsNone() throws {
        func reverseName(_ attributes: [(String, String)]) throws -> Findings.ReverseName? {
            var decoder = PolicyRequestDecoder()
            decoder.feed(Array(PolicyClient.request(attributes).utf8))
            return Attempt(try #require(try decoder.next()))?.client.reverseName
        }
        #expect(try reverseName([("client_name", "unknown"), ("reverse_client_name", "unknown")]) == .unknown)
        #expect(try reverseName([("client_name", "unknown"), ("reverse_client_name", "")]) == .unknown)
        let name = try #require(DomainName("mail.example.com"))
        #expect(try reverseName([("client_name", "unknown"), ("reverse_client_name", name.text)]) == .unconfirmed(name))
        #expect(try reverseName([("client_name", name.text), ("reverse_client_name", name.text)]) == .confirmed(name))
    }

    /// A pool that comes back from another network is known by the name that we found for ourselves.
    @Test func whomPostfixCouldNotNameWeAskAbout() async throws {
        var findings = Findings()
        findings.reverseName = .confirmed(try #require(DomainName("out1.pool.example")))
        let test = try await TestService(evidence: FixedEvidence(findings: findings)) {
            $0.looksUp = true
            $0.greylist.delay = .milliseconds(50)
        }
        let client = try test.client()
        func ask(_ address: String) throws -> String {
            try #require(
                try client.ask([
                    ("client_address", address), ("client_name", "unknown"), ("reverse_client_name", "unknown"), ("instance", address),
                ]))
        }
        #expect(try ask("192.0.2.1").hasPrefix("action=DEFER_IF_PERMIT"))
        usleep(80_000)
        #expect(try ask("198.51.100.1").hasPrefix("action=PREPEND X-Greylist"))
        await test.stop()
    }

    /// The gateway judges a name as it comes in; what a mail server tells is judged by the same grammar.
    @Test(arguments: [
        ("my_pc", true), ("192.0.2.1", true), ("two words", true), ("-a.example", true), ("h\u{e9}.example", true),
        ("mail.example.com", false), ("localhost", false), ("[192.0.2.1]", false), ("[IPv6:2001:db8::1]", false), ("", false),
    ])
    func helloNamesAreJudgedAsTheGatewayDoes(name: String, isWrong: Bool) async throws {
        let test = try await TestService(lines: nil) { $0.bands.reject = 2 }
        let reply = try #require(
            try test.client().ask([("helo_name", name), ("client_address", "198.51.100.3"), ("instance", "1")]))
        let address = IPAddress(name.filter { $0 != "[" && $0 != "]" }.replacing("IPv6:", with: ""))
        // An address is wrong for another reason too.
        #expect(reply.hasPrefix("action=554 ") == (isWrong || address != nil), "\(reply)")
        await test.stop()
        #expect(HeloName(name).isValid == !isWrong || name.isEmpty)
    }

    @Test func plainReply() async throws {
        let test = try await TestService { $0.greylist.reply = .plain }
        #expect(try #require(try test.client().ask([])).hasPrefix("action=451 4.7.1 Greylisted"))
        await test.stop()
    }

    @Test func aBlockedClientIsRefusedAndPostmasterStillReachable() async throws {
        let entry = ListEntry(.block, .client, Pattern("192.0.2.0/24")!, added: WallTime(seconds: 0))
        let test = try await TestService(lists: Lists(entries: [entry]))
        let client = try test.client()
        #expect(try #require(try client.ask([])).hasPrefix("action=554 5.7.1 Refused by local policy"))
        #expect(try client.ask([("recipient", "Postmaster@example.org")]) == "action=DUNNO")
        await test.stop()
    }

    /// Behind RCPT, too: for a mail server that asks there alone.
    @Test func aBlockCountsBehindRcptAndKeepsNobodyFromPostmaster() async throws {
        let entry = ListEntry(.block, .sender, Pattern("example.com")!, added: WallTime(seconds: 0))
        let test = try await TestService(lists: Lists(entries: [entry]))
        let client = try test.client()
        func ask(_ stage: String, _ recipient: String, count: Int = 1, message: String = "1") throws -> String {
            try #require(
                try client.ask([
                    ("protocol_state", stage), ("recipient", recipient), ("recipient_count", "\(count)"), ("instance", message),
                ]))
        }
        for stage in ["DATA", "END-OF-MESSAGE"] {
            #expect(try ask(stage, "b@example.org").hasPrefix("action=554 5.7.1 Refused by local policy"), "\(stage)")
            #expect(try ask(stage, "", count: 2).hasPrefix("action=554"), "\(stage)")
            #expect(try ask(stage, "abuse@example.org") == "action=DUNNO", "\(stage)")
        }
        for stage in ["CONNECT", "EHLO", "HELO", "MAIL"] { #expect(try ask(stage, "", count: 0) == "action=DUNNO", "\(stage)") }
        for recipient in ["postmaster@example.org", "abuse@example.org"] {
            #expect(try ask("RCPT", recipient, count: 0, message: "2") == "action=DUNNO")
        }
        for stage in ["DATA", "END-OF-MESSAGE"] { #expect(try ask(stage, "", count: 2, message: "2") == "action=DUNNO", "\(stage)") }
        await test.stop()
    }

    @Test func everyStageIsAnswered() async throws {
        let test = try await TestService()
        let client = try test.client()
        for stage in ["CONNECT", "EHLO", "HELO", "MAIL", "DATA", "END-OF-MESSAGE", "VRFY", "ETRN", "SOMETHING-NEW"] {
            #expect(try client.ask([("protocol_state", stage)]) == "action=DUNNO", "\(stage)")
        }
        await test.stop()
    }

    @Test func aNullSenderIsDeferredAtDataOnly() async throws {
        let test = try await TestService { $0.greylist.delay = .milliseconds(100) }
        let client = try test.client()
        #expect(try client.ask([("sender", ""), ("instance", "1")]) == "action=DUNNO")
        #expect(
            try #require(try client.ask([("sender", ""), ("protocol_state", "DATA"), ("recipient_count", "1"), ("instance", "1")]))
                .hasPrefix("action=DEFER_IF_PERMIT"))
        usleep(120_000)
        #expect(try client.ask([("sender", ""), ("instance", "2")]) == "action=DUNNO")
        #expect(
            try #require(try client.ask([("sender", ""), ("protocol_state", "DATA"), ("recipient_count", "1"), ("instance", "2")]))
                .hasPrefix("action=PREPEND"))
        await test.stop()
    }

    @Test func manyRequestsInOneWriteAreAnsweredInOrder() async throws {
        let test = try await TestService { $0.greylist.delay = .hours(1) }
        let client = try test.client()
        let stages = (0..<500).map { $0 % 3 == 0 ? "RCPT" : "HELO" }
        client.send(
            stages.enumerated().map {
                PolicyClient.request([("protocol_state", $1), ("sender", "s\($0)x@example.com"), ("instance", "\($0)")])
            }.joined()
        )
        for stage in stages {
            let reply = try #require(try client.reply())
            #expect(reply.hasPrefix(stage == "RCPT" ? "action=DEFER_IF_PERMIT" : "action=DUNNO"))
        }
        await test.stop()
    }

    /// A store that takes its time: what comes in one read is asked before anything is answered.
    @Test func oneHeaderAMessageHoweverItsQuestionsCome() async throws {
        let folder = try TemporaryFolder()
        let test = try await TestService(store: try SQLiteStore(path: folder.file("postern.db"))) { $0.greylist.delay = .milliseconds(50) }
        let recipients = (0..<40).map { "r\($0)@example.org" }
        func questions(_ instance: String, _ recipients: some Sequence<String>) -> String {
            recipients.map { PolicyClient.request([("recipient", $0), ("instance", instance)]) }.joined()
        }
        let client = try test.client()
        client.send(questions("first", recipients))
        for _ in recipients { #expect(try #require(try client.reply()).hasPrefix("action=DEFER_IF_PERMIT")) }
        usleep(80_000)

        // Two messages' questions by turns on one connection, and half of one of them by another.
        let other = try test.client()
        client.send(zip(recipients[..<10], recipients[10..<20]).map { questions("a", [$0]) + questions("b", [$1]) }.joined())
        other.send(questions("b", recipients[20...]))
        var fields: [String: Int] = [:]
        for index in 0..<20 {
            let reply = try #require(try client.reply())
            #expect(reply == "action=DUNNO" || reply.hasPrefix("action=PREPEND X-Greylist: "), "\(reply)")
            if reply.contains("PREPEND") { fields[index % 2 == 0 ? "a" : "b", default: 0] += 1 }
        }
        for _ in 20..<40 where try #require(try other.reply()).contains("PREPEND") { fields["b", default: 0] += 1 }
        #expect(fields == ["a": 1, "b": 1])
        #expect(test.service.messagesUnderWay == 0)
        await test.stop()
    }

    /// One connection's end does not keep the questions of others about the same message waiting.
    @Test func aQuestionWhoseConnectionHasGoneHoldsNobodyUp() async throws {
        let folder = try TemporaryFolder()
        let test = try await TestService(store: try SQLiteStore(path: folder.file("postern.db"))) { $0.greylist.delay = .hours(1) }
        do {
            let gone = try test.client()
            for index in 0..<50 { gone.send(PolicyClient.request([("recipient", "g\(index)@example.org"), ("instance", "m")])) }
        }
        let client = try test.client()
        #expect(try #require(try client.ask([("instance", "m")])).hasPrefix("action=DEFER_IF_PERMIT"))
        await test.stop()
    }

    /// The engine's time may be another than the wall clock's; people read the latter.
    @Test func untilWhenMailIsReleasedIsLoggedByTheWallClock() async throws {
        let wall = SystemClocks.wall()
        let anchor = SteadyClock.Anchor(
            wall: wall, monotonic: SystemClocks.monotonic(), steady: wall - .hours(3), boot: SystemClocks.bootID())
        let clock = ServiceClock(after: anchor)
        let until = clock.now().steady + .minutes(10)
        let lines = try LineCapture()
        let test = try await TestService(
            lists: Lists(entries: [], releases: [Release(recipient: "b@example.org", expires: until)]), lines: lines, clock: clock)
        #expect(try test.client().ask([("recipient", "b@example.org")]) == "action=DUNNO")
        await test.stop()
        let line = try #require(lines.lines.first { $0.contains("reason=released") })
        let text = try #require(line.firstMatch(of: /released until ([0-9T:.Z-]+)/)?.1)
        let told = try Date(String(text), strategy: Date.ISO8601FormatStyle(includingFractionalSeconds: true))
        let error = told.timeIntervalSince1970 - Double((wall + .minutes(10)).milliseconds) / 1000
        // Time is given back at 5 %.
        #expect(abs(error) < 5, "\(line)")
    }

    @Test func aHalfClosedConnectionGetsItsAnswerAndIsClosed() async throws {
        let test = try await TestService()
        let client = try test.client()
        client.send(PolicyClient.request())
        client.halfClose()
        #expect(try #require(try client.reply()).hasPrefix("action=DEFER_IF_PERMIT"))
        #expect(try client.reply() == nil)
        await test.stop()
    }

    @Test(arguments: ["nonsense\n\n", "\n", "request=other\n\n", "request=smtpd_access_policy\nsender\n\n"])
    func aMalformedRequestGetsNoAnswerButThoseBeforeItDo(text: String) async throws {
        let lines = try LineCapture()
        let test = try await TestService(lines: lines)
        let client = try test.client()
        client.send(PolicyClient.request() + text + PolicyClient.request())
        #expect(try #require(try client.reply()).hasPrefix("action=DEFER_IF_PERMIT"))
        #expect(try client.reply() == nil)
        #expect(test.service.counters.values.malformedRequests == 1)
        await test.stop()
        let warnings = lines.lines.filter { $0.contains("malformed policy request") }
        #expect(warnings.count == 1 && warnings[0].contains(#/ peer="?127\.0\.0\.1:[0-9]+"?$/#), "\(warnings)")
    }

    @Test func aSilentConnectionIsClosedAndABusyOneIsNot() async throws {
        var limits = PolicyServiceLimits()
        limits.idle = .seconds(2)
        let test = try await TestService(limits: limits)
        let silent = try test.client()
        let busy = try test.client()
        for _ in 0..<8 {
            #expect(try busy.ask([("protocol_state", "HELO")]) == "action=DUNNO")
            usleep(300_000)
        }
        #expect(try silent.reply() == nil)
        #expect(try busy.ask([("protocol_state", "HELO")]) == "action=DUNNO")
        await test.stop()
    }

    /// A burst waits in the kernel, not for the clients' second try a second later.
    @Test func asManyMayWaitAsTheSocketWasOpenedFor() async throws {
        let test = try await TestService()
        let (descriptor, bound) = try ListeningSocket.open(.tcp(IPAddress("127.0.0.1")!, port: 0))
        /// Of a socket that listens the kernel tells here how many may wait (tcp_get_info(), net/ipv4/tcp.c).
        func room() -> UInt32 {
            var info = tcp_info()
            var length = socklen_t(MemoryLayout<tcp_info>.size)
            return getsockopt(descriptor, Int32(IPPROTO_TCP), TCP_INFO, &info, &length) == 0 ? info.tcpi_sacked : 0
        }
        let before = room()
        #expect(before > 0)
        let listener = try await PolicyListener.start(
            name: "burst", address: bound, descriptor: descriptor, group: MultiThreadedEventLoopGroup.singleton, service: test.service,
            limits: PolicyServiceLimits(), logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        #expect(room() == before)
        await listener.drain(patience: .seconds(1))
        await test.stop()
    }

    @Test func connectionsAreBounded() async throws {
        var limits = PolicyServiceLimits()
        limits.connections = 3
        let test = try await TestService(limits: limits)
        var clients = try (0..<3).map { _ in try test.client() }
        for client in clients { #expect(try client.ask([("protocol_state", "HELO")]) == "action=DUNNO") }
        #expect(try test.client().reply() == nil)
        #expect(test.service.counters.values.refusedConnections == 1)
        clients.removeLast()
        var admitted = false
        for _ in 0..<6000 where !admitted {
            usleep(10_000)
            admitted = try test.client().ask([("protocol_state", "HELO")]) == "action=DUNNO"
        }
        #expect(admitted)
        clients.removeAll()
        await test.stop()
    }

    @Test func aStoreThatFailsLetsMailPass() async throws {
        let store = MemoryStore()
        let test = try await TestService(store: store)
        let client = try test.client()
        #expect(try #require(try client.ask([])).hasPrefix("action=DEFER_IF_PERMIT"))
        await store.close()
        #expect(try client.ask([("sender", "other@example.com")]) == "action=DUNNO")
        #expect(test.service.counters.values.storeFailures == 1)
        await test.stop()
    }

    @Test func drainingAnswersWhatWasAskedThenCloses() async throws {
        let test = try await TestService()
        let idle = try test.client()
        #expect(try idle.ask([("protocol_state", "HELO")]) == "action=DUNNO")
        await test.stop()
        #expect(try idle.reply() == nil)
        #expect(throws: TestFailure.self) { _ = try test.client() }
    }
}

@Suite struct ListeningSocketTests {
    @Test func unixSocketsGetTheirModeAndAStaleOneIsReplaced() async throws {
        let path = "/tmp/postern-test-\(getpid())-\(UInt32.random(in: 0 ... .max)).sock"
        defer { unlink(path) }
        let address = ListenAddress.unix(path: path, mode: 0o640, group: nil)
        let test = try await TestService(address: address)
        var status = stat()
        #expect(lstat(path, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o640)
        #expect(try #require(try test.client().ask([])).hasPrefix("action=DEFER_IF_PERMIT"))
        // Somebody listens there.
        #expect(throws: ListenFailure.self) { _ = try ListeningSocket.open(address) }
        await test.stop()
        // A socket that a killed process left behind is in nobody's way.
        let (left, _) = try ListeningSocket.open(address)
        close(left)
        #expect(lstat(path, &status) == 0)
        let (again, _) = try ListeningSocket.open(address)
        close(again)
    }

    @Test func aStoppedDaemonRemovesItsOwnSocketsAndNoOthers() throws {
        let path = "/tmp/postern-test-\(getpid())-\(UInt32.random(in: 0 ... .max)).sock"
        defer { unlink(path) }
        let address = ListenAddress.unix(path: path, mode: nil, group: nil)
        let ours = try OpenSocket.ours("policy", address)
        defer { close(ours.descriptor) }
        // Somebody has removed it, and listens there now.
        unlink(path)
        let theirs = try OpenSocket.ours("policy", address)
        defer { close(theirs.descriptor) }
        ours.file?.remove()
        #expect(theirs.file != nil && SocketFile(path) == theirs.file)
        theirs.file?.remove()
        #expect(SocketFile(path) == nil)
        theirs.file?.remove()
    }

    @Test func failuresSayWhatToDo() throws {
        let (descriptor, bound) = try ListeningSocket.open(.tcp(IPAddress("127.0.0.1")!, port: 0))
        defer { close(descriptor) }
        let taken = #expect(throws: ListenFailure.self) { _ = try ListeningSocket.open(bound) }
        #expect(taken?.description.contains("ss -ltnp") == true)
        let missing = #expect(throws: ListenFailure.self) {
            _ = try ListeningSocket.open(.unix(path: "/nonexistent/x.sock", mode: nil, group: nil))
        }
        #expect(missing?.description.contains("the folder does not exist") == true)
        let group = #expect(throws: ListenFailure.self) {
            _ = try ListeningSocket.open(.unix(path: "/tmp/postern-test-\(getpid())-group.sock", mode: nil, group: "no-such-group"))
        }
        #expect(group?.description.contains("there is no group no-such-group") == true)
        let long = #expect(throws: ListenFailure.self) {
            _ = try ListeningSocket.open(.unix(path: "/tmp/" + String(repeating: "x", count: 200), mode: nil, group: nil))
        }
        #expect(long?.description.contains("107") == true)
    }

    @Test func v6IsListenedForOnItsOwn() async throws {
        let test = try await TestService(address: .tcp(IPAddress("::1")!, port: 0))
        #expect(try #require(try test.client().ask([("client_address", "2001:db8::1")])).hasPrefix("action=DEFER_IF_PERMIT"))
        await test.stop()
    }
}

@Suite struct MessageTableTests {
    @Test func theOldestIsForgottenFirst() {
        var table = MessageTable(capacity: 3, octets: 1000)
        var memory = MessageMemory()
        memory.headerGiven = true
        for instance in ["a", "b", "c", "b", "d"] { table[instance] = memory }
        #expect(table["a"] == nil)
        #expect(table["b"] == memory)
        #expect(table["d"] == memory)
        #expect(table[""] == nil)
    }

    /// Recipients are a stranger's words, and may be long and many.
    @Test func whatIsKeptIsBoundedInOctets() throws {
        var table = MessageTable(capacity: 1000, octets: 100_000)
        for number in 0..<500 {
            var memory = MessageMemory()
            for recipient in 0..<20 {
                memory.awaitingData.append(try #require(Mailbox("\(String(repeating: "x", count: 1000))\(recipient)@example.net")))
                table["\(number)"] = memory
            }
            #expect(table.octets <= 100_000)
        }
        #expect(table.count == 4 && table["499"]?.awaitingData.count == 20 && table["495"] == nil)
        var sum = 0
        for number in 496..<500 { sum += try #require(table["\(number)"]).octets }
        #expect(sum == table.octets)
    }
}

@Suite struct LogWriterTests {
    /// A collector that has stalled, a terminal that was stopped.
    @Test func aReaderWhoStallsHoldsNobodyUp() throws {
        var ends: [Int32] = [0, 0]
        try #require(pipe(&ends) == 0)
        defer { close(ends[0]) }
        let writer = LogWriter(descriptor: ends[1], format: .logfmt)
        var line = LogLine(.logfmt)
        line.add("text", String(repeating: "x", count: 1000))
        // Far more than a pipe holds, and than is kept.
        for number in 0..<6000 { writer.write(line, now: number % 7 == 0) }
        writer.flush()
        // Then it reads on: what was kept comes in order and whole, and how much was not.
        let reader = FileHandle(fileDescriptor: ends[0])
        var read = Data()
        while true {
            var waiting: Int32 = 0
            guard ioctl(ends[0], UInt(FIONREAD), &waiting) == 0, waiting > 0 else { break }
            read += reader.availableData
            writer.flush()
        }
        close(ends[1])
        let lines = String(decoding: read, as: UTF8.self).split(separator: "\n")
        let kept = lines.filter { $0 == "text=" + String(repeating: "x", count: 1000) }.count
        let dropped = try #require(lines.last?.firstMatch(of: /level=warning .*count=([0-9]+)/)).1
        #expect(kept + 1 == lines.count && kept > 4000)
        #expect(Int(dropped) == 6000 - kept)
    }
}

@Suite struct LogLineTests {
    @Test(
        arguments: [
            (.logfmt, "helo=\"x\\nlevel=error msg=\\\"forged\\\"\" plain=a.b@c empty=\"\"\n"),
            (.json, "{\"helo\":\"x\\nlevel=error msg=\\\"forged\\\"\",\"plain\":\"a.b@c\",\"empty\":\"\"}\n"),
        ] as [(LogFormat, String)])
    func aClientCannotForgeALine(_ format: LogFormat, _ expected: String) {
        var line = LogLine(format)
        line.add("helo", "x\nlevel=error msg=\"forged\"")
        line.add("plain", "a.b@c")
        line.add("empty", "")
        line.add(nonEmpty: "left out", "")
        var buffer: [UInt8] = []
        line.append(to: &buffer)
        #expect(String(decoding: buffer, as: UTF8.self) == expected)
    }

    @Test func everyCharacterStandsForItselfOrIsEscaped() {
        for value in (UInt8.min...0x7f).map({ String(UnicodeScalar($0)) }) + ["ü", "…", ""] {
            // At the beginning, amid other text and at the end.
            for text in ["\(value)bc", "ab\(value)\(value)cd", "abc\(value)", value] {
                #expect(logfmt(text) == "key=" + (text.utf8.allSatisfy(isBare) && !text.isEmpty ? text : quoted(text)) + "\n")
            }
        }
    }

    private func logfmt(_ text: String) -> String {
        var line = LogLine(.logfmt)
        line.add("key", text)
        var buffer: [UInt8] = []
        line.append(to: &buffer)
        return String(decoding: buffer, as: UTF8.self)
    }

    private func isBare(_ octet: UInt8) -> Bool { octet > 0x20 && octet < 0x7f && !"\"=\\".utf8.contains(octet) }

    /// RFC 8259 §7.
    private func quoted(_ text: String) -> String {
        "\""
            + text.unicodeScalars.map { scalar in
                switch scalar {
                case "\"": "\\\""
                case "\\": "\\\\"
                case "\n": "\\n"
                case "\r": "\\r"
                case "\t": "\\t"
                case _ where scalar.value < 0x20 || scalar.value == 0x7f:
                    "\\u00" + (scalar.value < 16 ? "0" : "") + String(scalar.value, radix: 16)
                default: String(scalar)
                }
            }.joined() + "\""
    }
}

import DNSProtocol
import Foundation
import IntegrationSupport
import Logging
import NIOCore
import NIOPosix
import PolicyProtocol
import PosternConfiguration
import PosternCore
import PosternResolver
import Testing

@testable import PosternServer

@Suite("socketmap")
struct SocketmapServiceTests {
    // MARK: - Around which throttle

    private func way(_ exchanges: [(UInt16, String)], own: String = "mail.sender.example") -> SkippedThrottle? {
        SkippedThrottle(
            exchanges: exchanges.map { (preference: $0.0, host: DomainName($0.1)!) }, names: [DomainName("throttle.example")!],
            own: DomainName(own))
    }

    @Test func theNextExchangerIsTheFirstThatIsNoNode() {
        #expect(way([(10, "mx.throttle.example"), (20, "mx.site.example")])?.transport == "smtp:[mx.site.example]")
        #expect(
            way([(10, "a.throttle.example"), (10, "b.throttle.example"), (15, "c.throttle.example"), (20, "mx.site.example")])?.transport
                == "smtp:[mx.site.example]")
        // Of one preference, all of them; a fake one behind them is not among them.
        #expect(
            way([
                (10, "throttle.example"), (20, "b.site.example"), (20, "a.site.example"), (20, "b.site.example"), (90, "fake.site.example"),
            ])?
            .transport == "smtp:[b.site.example],[a.site.example]")
        // As good as the throttle itself.
        #expect(way([(10, "mx.site.example"), (10, "mx.throttle.example")])?.transport == "smtp:[mx.site.example]")
        let many = (0..<20).map { (UInt16(20), "mx\($0).site.example") }
        #expect(way([(10, "throttle.example")] + many)?.exchangers.count == SkippedThrottle.mostExchangers)
    }

    @Test func elsewhereMailGoesTheUsualWay() {
        #expect(way([]) == nil)
        #expect(way([(10, "mx.site.example"), (20, "mx.throttle.example")]) == nil, "the throttle is not the best")
        #expect(way([(10, "mx.throttle.example")]) == nil, "there is nothing behind it")
        #expect(way([(10, "mx.badthrottle.example"), (20, "mx.site.example")]) == nil)
        #expect(way([(10, "mx.throttle.example"), (20, "mail.sender.example")]) == nil, "it would come back to us")
    }

    // MARK: - Answers

    private final class Zone: Sendable {
        let answers: [Question: Answer]

        init(_ answers: [Question: Answer]) { self.answers = answers }

        func ask(_ question: Question) -> Answer { answers[question] ?? Answer(.noSuchDomain) }
    }

    private static func name(_ text: String) -> DNSName { DNSName(text)! }

    private static func exchanges(_ domain: String, _ hosts: String...) -> (Question, Answer) {
        let records = hosts.enumerated().map { RecordData.mx(preference: UInt16($0.offset + 1) * 10, exchange: name($0.element)) }
        return (Question(name(domain), .mx), Answer(.records(records, owner: name(domain))))
    }

    private static func listed(_ reversed: String, _ code: UInt32) -> (Question, Answer) {
        let owner = name(reversed + ".trusted.throttle.example")
        return (Question(owner, .a), Answer(.records([.a(code)], owner: owner)))
    }

    private func service(
        _ answers: [(Question, Answer)], trustedBy: [String] = [], zone: String? = nil, addresses: [String] = [],
        unresolved: Configuration.Socketmap.Unresolved = .notFound
    ) throws -> SocketmapService {
        var socketmap = Configuration.Socketmap()
        socketmap.throttleNames = [DomainName("throttle.example")!]
        socketmap.trustedBy = trustedBy.compactMap { DomainName($0) }
        socketmap.trustZone = try zone.map { try ListSpecification($0) }
        socketmap.sourceAddresses = addresses.compactMap { IPAddress($0) }
        socketmap.unresolved = unresolved
        var configuration = Configuration()
        configuration.hostname = "mail.sender.example"
        let zone = Zone(Dictionary(answers) { $1 })
        return SocketmapService(
            name: "skip", settings: .init(socketmap, of: configuration), logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        ) { question, _ in zone.ask(question) }
    }

    private let throttled = Self.exchanges("site.example", "mx.throttle.example", "mx.site.example")

    private func answer(_ service: SocketmapService, _ key: String, table: String = "transport") async -> SocketmapReply {
        await service.answer(SocketmapRequest(name: table, key: key))
    }

    @Test func whoIsTrustedGoesDirect() async throws {
        let service = try service([throttled, Self.exchanges("plain.example", "mx.plain.example")], trustedBy: ["throttle.example"])
        let direct = SocketmapReply.found("smtp:[mx.site.example]")
        for key in ["bob@site.example", "site.example", "\"a@b\"@SITE.example", "bob+tag@site.example."] {
            #expect(await answer(service, key) == direct, "\(key)")
        }
        for key in ["bob@plain.example", "*", "", "bob@", "bob@[192.0.2.1]", "bob@no such", "bob@sub.site.example", "bob@nowhere.example"] {
            #expect(await answer(service, key) == .notFound, "\(key)")
        }
    }

    @Test func theDNSIsAskedAboutALabels() async throws {
        let service = try service(
            [Self.exchanges("xn--bcher-kva.example", "mx.throttle.example", "mx.site.example")], trustedBy: ["throttle.example"])
        for key in ["bob@b\u{fc}cher.example", "B\u{dc}CHER.example", "xn--bcher-kva.example"] {
            #expect(await answer(service, key) == .found("smtp:[mx.site.example]"), "\(key)")
        }
        #expect(await answer(service, "bob@\u{fc}" + String(repeating: "a", count: 58) + ".example") == .notFound)
    }

    @Test func anotherTableIsAnErrorOfConfiguration() async throws {
        let service = try service([throttled], trustedBy: ["throttle.example"])
        guard case .permanentFailure = await answer(service, "bob@site.example", table: "virtual") else {
            Issue.record("not refused")
            return
        }
    }

    @Test func byAgreementWithOneNodeOnly() async throws {
        let service = try service([throttled], trustedBy: ["other.throttle.example"])
        #expect(await answer(service, "bob@site.example") == .notFound)
    }

    @Test func allOurAddressesMustBeOnTheList() async throws {
        let one = Self.listed("1.2.0.192", 0x7f00_0001)
        let two = Self.listed("2.2.0.192", 0x7f00_0001)
        let black = Self.listed("2.2.0.192", 0x7f00_0002)
        let error = Self.listed("1.2.0.192", 0x7fff_fffe)
        let zone = "trusted.throttle.example=127.0.0.1"
        let addresses = ["192.0.2.1", "192.0.2.2"]
        #expect(
            await answer(try service([throttled, one, two], zone: zone, addresses: addresses), "bob@site.example")
                == .found("smtp:[mx.site.example]"))
        #expect(await answer(try service([throttled, one], zone: zone, addresses: addresses), "bob@site.example") == .notFound)
        #expect(await answer(try service([throttled, one, black], zone: zone, addresses: addresses), "bob@site.example") == .notFound)
        #expect(await answer(try service([throttled, error], zone: zone, addresses: ["192.0.2.1"]), "bob@site.example") == .notFound)
    }

    @Test func whereTheDNSIsSilent() async throws {
        func silent(_ failure: Answer.Failure) -> (Question, Answer) {
            (Question(Self.name("site.example"), .mx), Answer(.failure(failure)))
        }
        let usual = try service([silent(.timeout)], trustedBy: ["throttle.example"])
        #expect(await answer(usual, "bob@site.example") == .notFound)
        let waiting = try service([silent(.timeout)], trustedBy: ["throttle.example"], unresolved: .temporary)
        #expect(await answer(waiting, "bob@site.example") == .timeout("no answer from the DNS in time"))
        let failing = try service([silent(.serverFailure)], trustedBy: ["throttle.example"], unresolved: .temporary)
        #expect(await answer(failing, "bob@site.example") == .temporaryFailure("no answer from the DNS: server-failure"))
        // The list is as silent: not trusted is not said of whom nobody knows.
        let owner = Self.name("1.2.0.192.trusted.throttle.example")
        let list = try service(
            [throttled, (Question(owner, .a), Answer(.failure(.refused)))], zone: "trusted.throttle.example", addresses: ["192.0.2.1"],
            unresolved: .temporary)
        #expect(await answer(list, "bob@site.example") == .temporaryFailure("no answer from the DNS: refused"))
    }

    @Test func namesThatWouldLeaveTheBracketsAreNotUsed() async throws {
        let strange = (
            Question(Self.name("site.example"), .mx),
            Answer(
                .records(
                    [
                        .mx(preference: 10, exchange: Self.name("mx.throttle.example")),
                        .mx(preference: 20, exchange: Self.name("a],[b.example")),
                        // Brackets would make an address of it.
                        .mx(preference: 25, exchange: Self.name("127.0.0.1")),
                        .mx(preference: 30, exchange: Self.name("mx.site.example")),
                    ], owner: Self.name("site.example")))
        )
        let service = try service([strange], trustedBy: ["throttle.example"])
        #expect(await answer(service, "bob@site.example") == .found("smtp:[mx.site.example]"))
        let null = (
            Question(Self.name("site.example"), .mx),
            Answer(.records([.mx(preference: 0, exchange: .root)], owner: Self.name("site.example")))
        )
        #expect(await answer(try self.service([null], trustedBy: ["throttle.example"]), "bob@site.example") == .notFound)
    }

    // MARK: - Connections

    private func listener(_ limits: SocketmapLimits = .init()) async throws -> (SocketmapListener, UInt16) {
        let service = try service([throttled], trustedBy: ["throttle.example"])
        let (descriptor, bound) = try ListeningSocket.open(.tcp(IPAddress(v4: 0x7f00_0001), port: 0))
        let listener = try await SocketmapListener.start(
            name: "skip", address: bound, descriptor: descriptor, group: MultiThreadedEventLoopGroup.singleton, service: service,
            limits: limits, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        guard case .tcp(_, let port) = bound else { throw TestFailure("no port") }
        return (listener, port)
    }

    /// Blocking, on a thread of its own: answers come from the threads that all tests share.
    private func apart<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws -> Result {
        try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread { continuation.resume(with: Swift.Result { try body() }) }
        }
    }

    @Test func requestsThatComeTogetherAreAnsweredInOrder() async throws {
        let (listener, port) = try await listener()
        try await apart {
            let client = try PolicyClient(port: port)
            client.send("26:transport bob@site.example,26:transport bob@none.example,")
            #expect(try client.read(until: "9:NOTFOUND ,") == "25:OK smtp:[mx.site.example],9:NOTFOUND ,")
            client.send("x")
            #expect(client.isClosedByPeer(within: 60), "what is no request ends the connection")
        }
        await listener.drain(patience: .seconds(1))
    }

    @Test func connectionsAreBoundedAndTheIdleAreClosed() async throws {
        var limits = SocketmapLimits()
        limits.connections = 1
        limits.idle = .seconds(2)
        let (listener, port) = try await listener(limits)
        try await apart {
            let first = try PolicyClient(port: port)
            first.send("26:transport bob@none.example,")
            #expect(try first.read(until: ",") == "9:NOTFOUND ,")
            let second = try PolicyClient(port: port)
            #expect(second.isClosedByPeer(within: 60))
            #expect(first.isClosedByPeer(within: 60), "it was silent")
            // Its peer sees the end a moment before the service has taken it out of its count.
            var answer: String?
            for _ in 0..<100 where answer == nil {
                let third = try PolicyClient(port: port)
                third.send("26:transport bob@none.example,")
                answer = try? third.read(until: ",")
            }
            #expect(answer == "9:NOTFOUND ,")
        }
        await listener.drain(patience: .seconds(1))
    }
}

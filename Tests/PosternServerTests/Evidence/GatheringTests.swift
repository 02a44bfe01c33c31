import DNSProtocol
import IntegrationSupport
import Logging
import NIOConcurrencyHelpers
import PosternConfiguration
import PosternCore
import PosternEngine
import PosternResolver
import Testing

@testable import PosternServer

/// Look-ups as the configuration has them, over a scripted resolver.
private final class GatheringUnderTest: Sendable {
    let zone = ScriptedZone()
    let server: ScriptedDNSServer
    let lookUps: LookUps
    static let address = IPAddress(v4: 0xc000_0205)

    init(_ lists: [Configuration.DNSList], timeout: WallTime.Span = .seconds(60)) async throws {
        server = try ScriptedDNSServer(zone.script)
        var configuration = Configuration()
        configuration.hostname = "mx.example.org"
        configuration.dns.resolvers = .listed([.init(address: IPAddress(v4: 0x7f00_0001), port: server.port)])
        configuration.dns.timeout = timeout
        // What is tested is who waits for whom, so that the lists' own tests would only be in the way.
        configuration.dnsLists = lists.map { list in
            var list = list
            list.tests = false
            return list
        }
        let silent = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        lookUps = try await LookUps.start(configuration, logger: silent, patience: .seconds(60))
        zone.add("5.2.0.192.in-addr.arpa", pointer: "mail.good.example")
        zone.add("mail.good.example", .a(0xc000_0205))
        zone.add("good.example", exchange: "mail.good.example")
        zone.add("good.example", text: "v=spf1 a:mail.good.example -all")
    }

    func stop() {
        lookUps.close()
        server.stop()
    }

    func gather(
        from sender: String = "a@good.example", helo: String = "mail.good.example", all: Bool = false,
        _ configure: (inout EngineSettings) -> Void = { _ in }
    ) async -> (findings: Findings, took: Duration) {
        var settings = EngineSettings()
        settings.hostname = "mx.example.org"
        configure(&settings)
        let attempt = Attempt(
            stage: .rcpt, client: Client(address: Self.address, helo: helo), sender: ReversePath(sender),
            recipient: Mailbox("b@example.org"))
        let start = ContinuousClock.now
        let findings = await withCheckedContinuation { continuation in
            if all {
                lookUps.gatherer.gatherAll(attempt, for: settings) { continuation.resume(returning: $0) }
            } else {
                lookUps.gatherer.gather(attempt, for: settings) { continuation.resume(returning: $0) }
            }
        }
        return (findings, ContinuousClock.now - start)
    }

    /// A list's answer about the client that comes this late: listed, or not.
    func answer(_ name: String, after delay: Duration, listed code: UInt32? = nil) {
        zone.add(name) { query, _ in
            guard let question = query.questions.first else { return .silence }
            let records = code.map { [ResourceRecord(question.name, .a($0), timeToLive: 300)] } ?? []
            return .after(
                delay, .message(query.answer(records, authorities: [ScriptedZone.authority], code: code == nil ? .noSuchDomain : .noError)))
        }
    }
}

@Suite(.serialized) struct GatheringTests {
    private func list(
        _ text: String, kind: Configuration.DNSList.Kind = .address, about: Set<Configuration.DNSList.DomainSource> = [.sender]
    )
        throws -> Configuration.DNSList
    {
        let specification = try ListSpecification(text)
        return Configuration.DNSList(
            zone: specification.zone, kind: kind, about: about,
            filters: ListFilters([.init(filter: specification.filter, weight: specification.weight ?? 1)]))
    }

    /// Nobody waits for it to pass: a test that does has failed.
    private let slow = Duration.seconds(40)
    /// Sooner than the slow list, with room for a busy machine.
    private let soon = Duration.seconds(30)

    // MARK: Who waits for a list

    @Test func nobodyWaitsForAListThatCannotChangeARefusal() async throws {
        let test = try await GatheringUnderTest([try list("fast.example*12"), try list("slow.example*3")])
        test.zone.add("5.2.0.192.fast.example", .a(0x7f00_0002))
        test.answer("5.2.0.192.slow.example", after: slow, listed: 0x7f00_0002)
        let (findings, took) = await test.gather()
        #expect(took < soon && findings.listings.map(\.list) == ["fast.example"])
        test.stop()
    }

    @Test func whoeverWantsToSeeItAllWaitsForEveryList() async throws {
        let test = try await GatheringUnderTest([try list("fast.example*12"), try list("slow.example*3")])
        test.zone.add("5.2.0.192.fast.example", .a(0x7f00_0002))
        test.answer("5.2.0.192.slow.example", after: .milliseconds(300), listed: 0x7f00_0002)
        let (findings, took) = await test.gather(all: true)
        #expect(took >= .milliseconds(290) && findings.listings.count == 2)
        test.stop()
    }

    @Test func aListThatCouldStillSpareTheClientIsWaitedFor() async throws {
        let test = try await GatheringUnderTest([try list("fast.example*12"), try list("white.example*-4")])
        test.zone.add("5.2.0.192.fast.example", .a(0x7f00_0002))
        test.answer("5.2.0.192.white.example", after: .milliseconds(300), listed: 0x7f00_0002)
        let (findings, took) = await test.gather()
        #expect(took >= .milliseconds(290) && findings.listings.count == 2)
        test.stop()
    }

    @Test func aListThatCouldEndCleanlinessIsWaitedFor() async throws {
        let test = try await GatheringUnderTest([try list("fast.example*3"), try list("slow.example*1")])
        test.answer("5.2.0.192.slow.example", after: .milliseconds(300), listed: 0x7f00_0002)
        let (findings, took) = await test.gather()
        #expect(took >= .milliseconds(290) && findings.listings.count == 1 && findings.listsAnswered == 2)
        test.stop()
    }

    /// Both weigh so little that the client is clean whatever they say; but clean is whom one list at least was asked about.
    @Test func theFirstOfManyFeebleListsIsEnough() async throws {
        let test = try await GatheringUnderTest([try list("fast.example*0.2"), try list("slow.example*0.2")])
        test.answer("5.2.0.192.fast.example", after: .milliseconds(200))
        test.answer("5.2.0.192.slow.example", after: slow)
        let (findings, took) = await test.gather()
        #expect(took >= .milliseconds(190) && took < soon && findings.listsAnswered == 1)
        test.stop()
    }

    @Test func whoCannotBeCleanWaitsForNoFeebleList() async throws {
        let test = try await GatheringUnderTest([try list("slow.example*0.2")])
        test.answer("5.2.0.192.slow.example", after: slow)
        // No name and no SPF: to be greylisted, whatever the list says.
        test.zone.remove("5.2.0.192.in-addr.arpa")
        let (findings, took) = await test.gather(from: "a@other.example", helo: "nowhere.example")
        #expect(took < soon && findings.listsAnswered == 0)
        test.stop()
    }

    @Test func classicWaitsOnlyForWhatCouldRefuseOrSpare() async throws {
        let test = try await GatheringUnderTest([try list("slow.example*3")])
        test.answer("5.2.0.192.slow.example", after: slow, listed: 0x7f00_0002)
        let (findings, took) = await test.gather {
            $0.profile = .classic; $0.bands.greylist = 4
        }
        #expect(took < soon && findings.listings.isEmpty)
        test.stop()
    }

    // MARK: Domains

    @Test func listsOfDomainsAreAskedAboutWhomTheyAreFor() async throws {
        let test = try await GatheringUnderTest([
            try list("s.example*1", kind: .domain), try list("h.example*1", kind: .domain, about: [.helo]),
            try list("c.example*1", kind: .domain, about: [.client]),
            try list("all.example*2", kind: .domain, about: [.sender, .helo, .client]),
        ])
        for list in ["s", "h", "c", "all"] {
            for domain in ["sender.example", "helo.example", "mail.good.example"] {
                test.zone.add("\(domain).\(list).example", .a(0x7f00_0002))
            }
        }
        let (findings, _) = await test.gather(from: "a@sender.example", helo: "helo.example")
        // Once each, though one knows all three names.
        #expect(findings.listings.map(\.list).sorted() == ["all.example", "c.example", "h.example", "s.example"])
        #expect(Set(findings.listings.map(\.score)) == [1, 2])
        let asked = test.server.questions.map { "\($0.name)" }
        func count(_ name: String) -> Int { asked.count { $0.hasPrefix(name) } }
        #expect(count("sender.example.s.") == 1 && count("helo.example.h.") == 1 && count("mail.good.example.c.") == 1)
        #expect(count("helo.example.s.") == 0 && count("sender.example.h.") == 0 && count("helo.example.c.") == 0)
        #expect(count("sender.example.all.") == 1 && count("helo.example.all.") == 1 && count("mail.good.example.all.") == 1)
        test.stop()
    }

    @Test func aNameThatIsHeloToIsAskedAboutOnce() async throws {
        let test = try await GatheringUnderTest([try list("all.example*2", kind: .domain, about: [.helo, .client])])
        _ = await test.gather()
        #expect(test.server.questions.count { "\($0.name)".hasPrefix("mail.good.example.all.") } == 1)
        test.stop()
    }

    @Test func domainsInUnicodeAreLookedUpAsTheDNSHasThem() async throws {
        let test = try await GatheringUnderTest([try list("dbl.example*2", kind: .domain)])
        test.zone.add("xn--bcher-kva.example", exchange: "mail.good.example")
        test.zone.add("xn--bcher-kva.example", text: "v=spf1 ip4:192.0.2.0/24 -all")
        test.zone.add("xn--bcher-kva.example.dbl.example", .a(0x7f00_0002))
        let (findings, _) = await test.gather(from: "jo@bücher.example", helo: "bücher.example")
        #expect(findings.senderDomain == .reachable && findings.spf?.vouchedDomain?.text == "xn--bcher-kva.example")
        #expect(findings.listings.map(\.list) == ["dbl.example"] && findings.helo == .none)
        test.stop()
    }

    // MARK: Fields

    @Test(arguments: [
        (SPFHeader.receivedSPF, "Received-SPF: pass (mx.example.org: domain of good.example designates 192.0.2.5 as permitted sender) "),
        (.authenticationResults, "Authentication-Results: mx.example.org; spf=pass smtp.mailfrom=a@good.example"),
    ])
    func theFieldTellsWhatSPFSaid(kind: SPFHeader, field: String) async throws {
        let test = try await GatheringUnderTest([])
        let (findings, _) = await test.gather { $0.spfHeader = kind }
        #expect(findings.spfField?.hasPrefix(field) == true, "\(findings.spfField ?? "")")
        test.stop()
    }
}

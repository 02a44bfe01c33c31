import DNSProtocol
import IntegrationSupport
import NIOConcurrencyHelpers
import PosternConfiguration
import PosternCore
import PosternEngine
import PosternResolver
import Testing

@testable import PosternServer

/// Lists that a scripted resolver serves, with their monitor.
private final class ListsUnderTest: Sendable {
    let zone = ScriptedZone()
    let server: ScriptedDNSServer
    let resolver: Resolver
    let lists: DNSLists
    let log = LogCapture()
    private let monitor: NIOLockedValueBox<Task<Void, Never>?>

    /// Each list's entries for its own test are there.
    init(_ specifications: [Configuration.DNSList], pace: ZoneMonitor.Pace? = nil) throws {
        server = try ScriptedDNSServer(zone.script)
        var settings = ResolverSettings(servers: [.init(IPAddress(v4: 0x7f00_0001), port: server.port)])
        settings.attemptTimeout = .seconds(1)
        settings.failureTimeToLive = 0
        resolver = try Resolver(settings)
        lists = DNSLists(specifications, resolver: resolver)
        for list in specifications {
            zone.add((list.kind == .address ? "2.0.0.127." : "test.") + list.zone.text, .a(0x7f00_0002), timeToLive: 3600)
        }
        var fast = ZoneMonitor.Pace()
        fast.well = .milliseconds(300)
        fast.ailing = .milliseconds(300)
        fast.patience = .seconds(5)
        let monitor = ZoneMonitor(lists, logger: log.logger, pace: pace ?? fast)
        self.monitor = NIOLockedValueBox(Task { await monitor.run() })
    }

    func whenAllAreLive() async throws {
        try await waitUntil("every list passed its test") { lists.zones.allSatisfy(\.isLive) }
    }

    func stop() async {
        let task = monitor.withLockedValue { $0 }
        task?.cancel()
        await task?.value
        resolver.close()
    }

    func outcomes(_ subject: ListSubject) async -> [String: ListZone.Outcome] {
        let replies = await lists.ask(about: subject, deadline: .after(.seconds(20)))
        return Dictionary(uniqueKeysWithValues: replies.map { ($0.zone.list.name, $0.outcome) })
    }

    func status(_ name: String) throws -> ListStatus { try #require(lists.statuses.first { $0.name == name }) }
}

@Suite(.serialized) struct DNSListsTests {
    private func list(_ text: String, kind: Configuration.DNSList.Kind = .address, name: String? = nil) throws -> Configuration.DNSList {
        let specification = try ListSpecification(text)
        return Configuration.DNSList(
            zone: specification.zone, kind: kind,
            filters: ListFilters([.init(filter: specification.filter, weight: specification.weight ?? 1)]),
            name: name)
    }

    private let client = ListSubject.address(IPAddress(v4: 0xc000_0205))

    @Test func eachListSaysItsWord() async throws {
        let test = try ListsUnderTest([
            try list("bl.example=127.0.0.[2..9]*3"), try list("wl.example*-2"), try list("other.example=127.0.0.4"),
            try list("full.example"), try list("dbl.example*4", kind: .domain),
        ])
        test.zone.add("5.2.0.192.bl.example", .a(0x7f00_0003), .a(0x7f00_0004), .a(0x7f00_0063))
        test.zone.add("5.2.0.192.wl.example", .a(0x7f00_0a02))
        test.zone.add("5.2.0.192.other.example", .a(0x7f00_0002))
        test.zone.add("5.2.0.192.full.example", .a(0x7fff_fffe))
        test.zone.add("spam.example.dbl.example", .a(0x7f00_0102))
        test.zone.add("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example", .a(0x7f00_0002))
        try await test.whenAllAreLive()
        let said = await test.outcomes(client)
        #expect(
            said == [
                "bl.example": .listed(codes: [0x7f00_0003, 0x7f00_0004], weight: 3),
                "wl.example": .listed(codes: [0x7f00_0a02], weight: -2),
                "other.example": .notListed, "full.example": .error(code: 0x7fff_fffe),
            ])
        #expect(
            await test.outcomes(.domain(try #require(DomainName("spam.example")))) == [
                "dbl.example": .listed(codes: [0x7f00_0102], weight: 4)
            ])
        let six = await test.outcomes(.address(try #require(IPAddress("2001:db8::1"))))
        #expect(six["bl.example"] == .listed(codes: [0x7f00_0002], weight: 3) && six["other.example"] == .notListed)
        #expect(test.lists.zones.map(\.reach) == [0...3, -2...0, 0...1, 0...1, 0...4])
        let figures = try test.status("bl.example")
        #expect(figures.listed == 2 && figures.notListed == 0 && figures.overlapping == 1)
        #expect(try test.status("wl.example").overlapping == 1)
        #expect(try test.status("full.example").errors == 1)
        #expect(try test.status("other.example").notListed == 2)
        await test.stop()
    }

    @Test func aListThatDoesNotAnswerIsSilentAtTheDeadline() async throws {
        let test = try ListsUnderTest([try list("bl.example"), try list("slow.example")])
        test.zone.add("5.2.0.192.slow.example") { _, _ in .silence }
        try await test.whenAllAreLive()
        let begun = ContinuousClock.now
        let replies = await test.lists.ask(about: client, deadline: .after(.seconds(1)))
        let took = ContinuousClock.now - begun
        #expect(took >= .milliseconds(900) && took < .seconds(10))
        #expect(replies.map(\.outcome) == [.notListed, .silent(.timeout)])
        #expect(try test.status("slow.example").silent == 1)
        await test.stop()
    }

    @Test func aZoneThatListsTheWorldIsDisabledAndComesBack() async throws {
        let test = try ListsUnderTest([try list("bl.example"), try list("good.example")])
        try await test.whenAllAreLive()
        test.zone.add("1.0.0.127.bl.example", .a(0x7f00_0002))
        try await waitUntil("it is disabled") { try test.status("bl.example").ailment == .listsEverything }
        #expect(await test.outcomes(client).keys.sorted() == ["good.example"])
        test.zone.remove("1.0.0.127.bl.example")
        try await waitUntil("it is live again") { try test.status("bl.example").isLive }
        #expect(
            test.log.lines.contains {
                $0.hasPrefix("DNS list is not asked for now") && $0.contains("bl.example") && $0.contains("dns_lists")
            })
        #expect(test.log.lines.contains { $0.hasPrefix("DNS list passed its test, it is asked again") })
        await test.stop()
    }

    @Test func aZoneThatLostItsTestEntryIsDisabled() async throws {
        let test = try ListsUnderTest([try list("bl.example"), try list("dbl.example", kind: .domain)])
        try await test.whenAllAreLive()
        test.zone.remove("2.0.0.127.bl.example")
        test.zone.add("invalid.dbl.example", .a(0x7f00_0002))
        try await waitUntil("both are disabled") {
            try test.status("bl.example").ailment == .listsNothing && test.status("dbl.example").ailment == .listsEverything
        }
        await test.stop()
    }

    /// A parked domain answers every question with the address of its shop window.
    @Test func aParkedZoneNeverBecomesLive() async throws {
        let test = try ListsUnderTest([try list("bl.example")])
        for name in ["2.0.0.127.bl.example", "1.0.0.127.bl.example"] {
            test.zone.remove(name)
            test.zone.add(name, .a(0xc633_6401))
        }
        try await waitUntil("it is disabled") { try test.status("bl.example").ailment == .refuses(code: 0xc633_6401) }
        #expect(await test.outcomes(client).isEmpty)
        await test.stop()
    }

    @Test func oneTestWithoutAnAnswerDisablesNothing() async throws {
        var pace = ZoneMonitor.Pace()
        pace.well = .milliseconds(300)
        pace.ailing = .milliseconds(300)
        pace.patience = .seconds(1)
        let test = try ListsUnderTest([try list("bl.example")], pace: pace)
        try await test.whenAllAreLive()
        let asked = NIOLockedValueBox(0)
        test.zone.add("2.0.0.127.bl.example") { query, _ in
            let isFirst = asked.withLockedValue { count in
                count += 1
                return count == 1
            }
            return isFirst ? .silence : .message(query.answer([ResourceRecord(query.questions[0].name, .a(0x7f00_0002), timeToLive: 3600)]))
        }
        try await waitUntil("one goes unanswered, and another is answered") { asked.withLockedValue { $0 } > 2 }
        #expect(try test.status("bl.example").isLive)
        #expect(!test.log.lines.contains { $0.hasPrefix("DNS list is not asked for now") })
        test.zone.add("2.0.0.127.bl.example") { _, _ in .silence }
        try await waitUntil("it is disabled") { try test.status("bl.example").ailment == .silent }
        await test.stop()
    }

    /// A zone that begins to refuse is tested at once, not minutes later.
    @Test func anErrorBringsTheNextTestForward() async throws {
        var pace = ZoneMonitor.Pace()
        pace.well = .minutes(60)
        pace.ailing = .milliseconds(100)
        let test = try ListsUnderTest([try list("bl.example")], pace: pace)
        try await test.whenAllAreLive()
        for name in ["2.0.0.127.bl.example", "1.0.0.127.bl.example", "5.2.0.192.bl.example"] {
            test.zone.remove(name)
            test.zone.add(name, .a(0x7fff_fffe))
        }
        #expect(await test.outcomes(client) == ["bl.example": .error(code: 0x7fff_fffe)])
        try await waitUntil("it is disabled", within: .seconds(60)) { try test.status("bl.example").ailment == .refuses(code: 0x7fff_fffe) }
        await test.stop()
    }

    @Test func aKeyIsNeverTold() async throws {
        let key = "k3y0f0urs0123456789abcdef0"
        let test = try ListsUnderTest([try list("\(key).zen.example")])
        #expect(test.lists.zones[0].list.name == "zen.example")
        test.zone.add("1.0.0.127.\(key).zen.example", .a(0x7f00_0002))
        try await waitUntil("it is disabled") { try test.status("zen.example").ailment != nil }
        #expect(!test.log.lines.isEmpty && !test.log.lines.contains { $0.contains(key) })
        #expect(!"\(test.lists.statuses)".contains(key))
        await test.stop()
    }

    /// What the engine is told: a list that refuses counts as one that did not answer.
    @Test func theGathererHearsOfListingsByName() async throws {
        let key = "k3y0f0urs0123456789abcdef0"
        let test = try ListsUnderTest([
            try list("\(key).zen.example*3"), try list("full.example"), try list("dbl.example*4", kind: .domain),
        ])
        test.zone.add("5.2.0.192.\(key).zen.example", .a(0x7f00_0003), .a(0x7f00_0004))
        test.zone.add("5.2.0.192.full.example", .a(0x7fff_fffe))
        try await test.whenAllAreLive()
        let said = NIOLockedValueBox<[Int: ListOutcome]>([:])
        var subjects = ListSubjects()
        subjects.address = IPAddress(v4: 0xc000_0205)
        subjects.domains[.sender] = DomainName("spam.example")
        // Nobody asks about it.
        subjects.domains[.helo] = DomainName("mail.spam.example")
        let reach = test.lists.ask(about: subjects, deadline: .after(.seconds(20))) { place, outcome in
            said.withLockedValue { $0[place] = outcome }
        }
        #expect(reach == [0...3, 0...1, 0...4])
        try await waitUntil("all have answered") { said.withLockedValue { $0.count } == 3 }
        #expect(
            said.withLockedValue { $0 } == [
                0: .listed(Listing(list: "zen.example", score: 3, reply: "127.0.0.3,127.0.0.4")), 1: .silent, 2: .notListed,
            ])
        await test.stop()
    }

    @Test func changedListsAreTakenUpAndTested() async throws {
        let test = try ListsUnderTest([try list("bl.example"), try list("gone.example")])
        try await test.whenAllAreLive()
        _ = await test.outcomes(client)
        test.zone.add("2.0.0.127.new.example", .a(0x7f00_0002))
        test.lists.update([try list("new.example"), try list("bl.example")])
        try await waitUntil("the new list passed its test") { try test.status("new.example").isLive }
        #expect(await test.outcomes(client).keys.sorted() == ["bl.example", "new.example"])
        // The one that stayed goes on counting.
        #expect(try test.status("bl.example").notListed == 2)
        await test.stop()
    }

    @Test func otherResolversAreAskedAtOnceForWhatTheOldOnesDidNotReach() async throws {
        var pace = ZoneMonitor.Pace()
        pace.ailing = .hours(1)
        let test = try ListsUnderTest([try list("bl.example")], pace: pace)
        try await test.whenAllAreLive()
        test.lists.update([try list("bl.example"), try list("hidden.example")])
        try await waitUntil("the other does not pass") { try test.status("hidden.example").ailment == .listsNothing }
        let zone = ScriptedZone()
        zone.add("2.0.0.127.hidden.example", .a(0x7f00_0002))
        let server = try ScriptedDNSServer(zone.script)
        test.resolver.update(ResolverSettings(servers: [.init(IPAddress(v4: 0x7f00_0001), port: server.port)]))
        try await waitUntil("it passes") { try test.status("hidden.example").isLive }
        // Whoever is well need not prove it now.
        #expect(try test.status("bl.example").isLive)
        await test.stop()
    }

    @Test func aZoneWithoutTestsCountsAtOnce() async throws {
        var plain = try list("untested.example*2")
        plain.tests = false
        let test = try ListsUnderTest([plain])
        test.zone.remove("2.0.0.127.untested.example")
        test.zone.add("5.2.0.192.untested.example", .a(0x7f00_0002))
        #expect(await test.outcomes(client) == ["untested.example": .listed(codes: [0x7f00_0002], weight: 2)])
        await test.stop()
    }
}

import Logging
import NIOConcurrencyHelpers
import PosternCore
import PosternEngine
import PosternStorage
import Testing

@testable import PosternServer

/// A harvest beside an engine whose lists and networks a test sets.
private struct Site {
    let service: HarvestService
    let store = MemoryStore()
    let clock = ServiceClock(after: nil)
    var engine: Engine

    init(
        _ configure: (inout EngineSettings) -> Void = { _ in }, lists: Lists = Lists(),
        nameOf: (@Sendable (IPAddress) async -> HarvestedName)? = nil
    ) throws {
        var settings = EngineSettings()
        settings.ourDomains = [DomainName("example.org")!]
        // Every visit counts by itself, and is judged soon.
        settings.harvest.quiet = .zero
        settings.harvest.settle = .milliseconds(100)
        settings.harvest.apart = .milliseconds(1)
        configure(&settings)
        engine = Engine(settings: settings, lists: lists, domains: LastLabelDomains())
        let harvest = Harvest(settings: settings.harvest, seesPrimary: true, seed: 1, now: clock.now().steady - .hours(1))
        service = HarvestService(
            harvest, store: store, clock: clock, log: DecisionLog(writer: try LineCapture().writer, isEnabled: false),
            logger: Logger(label: "test"), nameOf: nameOf)
        service.watch { true }
    }

    func attempt(_ address: String, from sender: String = "a@b.example", to recipient: String, account: String? = nil) -> Attempt {
        Attempt(
            stage: .rcpt, client: Client(address: IPAddress(address)), sender: ReversePath(sender), recipient: Mailbox(recipient),
            account: account)
    }

    /// Two visits that hang up, each judged.
    func hangUpTwice(_ address: String, domains: [String] = ["example.org"]) async throws {
        for _ in 0..<2 {
            await service.judge(engine, expires: false)
            service.visited(
                FakeMXVisit(
                    listener: "spare", address: IPAddress(address)!, domains: domains, deferrals: 1, end: .hungUp, at: clock.now().steady),
                engine)
            try await Task.sleep(for: .milliseconds(120))
            await service.judge(engine, expires: true)
        }
    }
}

@Suite(.timeLimit(.minutes(10)))
struct HarvestServiceTests {
    private static let bot = "192.0.2.66"

    @Test func whoeverIsNamedIsNeverHarvested() async throws {
        let plain = try Site()
        try await plain.hangUpTwice(Self.bot)
        #expect(plain.service.colour(of: IPAddress(Self.bot)!) == .black)
        let network = PrefixSet([Prefix("192.0.2.0/24")!])
        let networks: [WritableKeyPath<Networks, PrefixSet>] = [\.local, \.backupMX, \.forwarders, \.monitoring]
        let trap = ListEntry(.trap, .recipient, .mailbox("old@example.org"), added: WallTime(seconds: 0))
        for path in networks {
            let site = try Site({ $0.networks[keyPath: path] = network }, lists: Lists(entries: [trap]))
            try await site.hangUpTwice(Self.bot)
            site.service.named(site.attempt(Self.bot, to: "old@example.org"), at: "mx", site.engine)
            try await Task.sleep(for: .milliseconds(50))
            #expect(site.service.entries.isEmpty, "\(path)")
        }
        let allowed = ListEntry(.allow, .client, .prefix(Prefix("192.0.2.0/24")!), added: WallTime(seconds: 0))
        let site = try Site(lists: Lists(entries: [allowed, trap]))
        try await site.hangUpTwice(Self.bot)
        site.service.named(site.attempt(Self.bot, to: "old@example.org"), at: "mx", site.engine)
        try await Task.sleep(for: .milliseconds(50))
        #expect(site.service.entries.isEmpty)
    }

    @Test func whoIsAllowedOrProvenByNameIsFoundOut() async throws {
        let lists = Lists(entries: [
            ListEntry(.allow, .client, .domain(DomainName("friend.example")!), added: WallTime(seconds: 0)),
            ListEntry(.trap, .recipient, .mailbox("old@example.org"), added: WallTime(seconds: 0)),
        ])
        let site = try Site(lists: lists) { address in
            switch "\(address)" {
            case "192.0.2.24": .known(DomainName("mail3.friend.example"))
            case "192.0.2.25": .known(DomainName("out23.pool.example"))
            case "192.0.2.26": .nobodyAnswers
            default: .known(nil)
            }
        }
        var changes = Changes()
        let now = site.clock.now().steady
        let proven = Client(address: IPAddress("198.51.100.1"), confirmedName: DomainName("out1.pool.example"))
        changes.identities = site.engine.identities(of: proven).map {
            .init(identity: $0, row: IdentityRow(passes: 5, lastSeen: now, expires: now + .days(30)))
        }
        let decision = Decision(verdict: Verdict(.accept, [.greylistKnown]), changes: changes)
        site.store.submit(BlockTransaction(needs: Needs(), decide: { _ in (decision, nil) }, completion: { _ in }))
        for address in ["192.0.2.24", "192.0.2.25", "192.0.2.26", Self.bot] { try await site.hangUpTwice(address) }
        func colour(_ address: String) -> ListColour? { site.service.colour(of: IPAddress(address)!) }
        #expect(colour("192.0.2.24") == nil && colour("192.0.2.25") == .yellow && colour("192.0.2.26") == nil)
        #expect(colour(Self.bot) == .black)
        site.service.named(site.attempt("192.0.2.24", to: "old@example.org"), at: "mx", site.engine)
        try await Task.sleep(for: .milliseconds(50))
        #expect(colour("192.0.2.24") == nil)
    }

    /// Where greylisting never takes anybody for proven, messages are counted for the traps.
    @Test func whereNobodyIsProvenSendersAreKnownByWhatMakesThemWhite() async throws {
        let lists = Lists(entries: [ListEntry(.trap, .recipient, .mailbox("old@example.org"), added: WallTime(seconds: 0))])
        let site = try Site(
            { settings in
                (settings.greylist.provenAfter, settings.harvest.whiteAfter, settings.greylist.delay) = (0, 3, .milliseconds(1))
            }, lists: lists)
        let decisions = DecisionService(
            engine: site.engine, store: site.store, clock: site.clock,
            log: DecisionLog(writer: try LineCapture().writer, isEnabled: false), counters: Counters(), harvest: site.service)
        for (address, messages) in [("198.51.100.1", 5), ("192.0.2.66", 3)] {
            for _ in 0..<messages {
                await withCheckedContinuation { continuation in
                    decisions.decide(site.attempt(address, to: "user@example.org"), listener: "mx") { _ in continuation.resume() }
                }
                try await Task.sleep(for: .milliseconds(3))
            }
            site.service.named(site.attempt(address, to: "old@example.org"), at: "mx", site.engine)
        }
        try await eventually("both are listed") { site.service.entries.count == 2 }
        #expect(site.service.colour(of: IPAddress("198.51.100.1")!) == .yellow, "four passed")
        #expect(site.service.colour(of: IPAddress("192.0.2.66")!) == .black, "two did")
    }

    /// A policy service hears of a message once, whatever it asks, and an address has its own count.
    @Test func anAddressIsWhiteForItsOwnMessages() async throws {
        let site = try Site { ($0.greylist.provenAfter, $0.harvest.whiteAfter, $0.greylist.delay) = (1, 3, .milliseconds(1)) }
        let decisions = DecisionService(
            engine: site.engine, store: site.store, clock: site.clock,
            log: DecisionLog(writer: try LineCapture().writer, isEnabled: false), counters: Counters(), harvest: site.service)
        func colour(_ address: String) -> ListColour? { site.service.colour(of: IPAddress(address)!) }
        func ask(_ address: String, recipients: Int = 4) async throws {
            var memory = MessageMemory()
            for number in 0..<recipients {
                memory = await withCheckedContinuation { [memory] continuation in
                    decisions.decide(site.attempt(address, to: "user\(number)@example.org"), memory: memory, listener: "mx") {
                        continuation.resume(returning: $0.memory)
                    }
                }
            }
            site.service.countMessages(keptFor: .days(36))
            try await Task.sleep(for: .milliseconds(5))
        }
        for _ in 0..<3 { try await ask("198.51.100.1") }
        #expect(colour("198.51.100.1") == nil, "the first was deferred")
        try await ask("198.51.100.1")
        #expect(colour("198.51.100.1") == .white)
        for _ in 0..<2 { try await ask("198.51.100.2") }
        #expect(colour("198.51.100.2") == nil)
        try await ask("198.51.100.2")
        #expect(colour("198.51.100.2") == .white)
        #expect(site.service.entries.count == 2)
    }

    @Test func whoIsNamedInNetworksLaterIsTakenOff() async throws {
        var site = try Site()
        try await site.hangUpTwice(Self.bot)
        #expect(site.service.entries.count == 1)
        site.engine.settings.networks.forwarders = PrefixSet([Prefix("192.0.2.0/24")!])
        await site.service.judge(site.engine, expires: false)
        #expect(site.service.entries.isEmpty)
        // A load balancer is not the client that it says nothing of.
        site.engine.settings.networks.proxies = PrefixSet([Prefix("198.51.100.1/32")!])
        try await site.hangUpTwice("198.51.100.1")
        #expect(site.service.entries.isEmpty)
    }

    @Test func onlyStrangersWhoWriteToATrapAreHarvested() async throws {
        let traps = [
            ListEntry(.trap, .recipient, .domain(DomainName("spare.example")!), added: WallTime(seconds: 0)),
            ListEntry(.allow, .sender, .domain(DomainName("friend.example")!), added: WallTime(seconds: 0)),
        ]
        let site = try Site(lists: Lists(entries: traps))
        let innocent = [
            site.attempt("198.51.100.1", to: "user@example.org"),
            site.attempt("198.51.100.2", from: "", to: "x@spare.example"),
            site.attempt("198.51.100.3", to: "x@spare.example", account: "user"),
            site.attempt("198.51.100.4", to: "postmaster@spare.example"),
            site.attempt("198.51.100.5", to: "Abuse@spare.example"),
            site.attempt("198.51.100.6", from: "a@friend.example", to: "x@spare.example"),
        ]
        for attempt in innocent { site.service.named(attempt, at: "mx", site.engine) }
        site.service.named(site.attempt(Self.bot, to: "x@sub.spare.example"), at: "mx", site.engine)
        try await eventually("the bot is listed") { site.service.colour(of: IPAddress(Self.bot)!) == .black }
        #expect(site.service.entries.map(\.prefix) == [Prefix(IPAddress(Self.bot)!, length: 32)])
    }

    /// What is learnt from a trap has no bearing on the message that it was learnt from: a trap would be told from a mailbox.
    @Test func aTrapIsNotToldByTheAnswersThatFollow() async throws {
        let trap = ListEntry(.trap, .recipient, .mailbox("old@example.org"), added: WallTime(seconds: 0))
        let site = try Site(lists: Lists(entries: [trap]))
        let decisions = DecisionService(
            engine: site.engine, store: site.store, clock: site.clock,
            log: DecisionLog(writer: try LineCapture().writer, isEnabled: false), counters: Counters(), harvest: site.service)
        let attempt = site.attempt(Self.bot, to: "old@example.org")
        let isScored = { (memory: MessageMemory) async -> Bool in
            await withCheckedContinuation { continuation in
                decisions.decide(attempt, memory: memory, listener: "mx") { outcome in
                    continuation.resume(
                        returning: outcome.verdict.causes.contains {
                            if case .scored(.harvestedBlack, _, _, _) = $0 { true } else { false }
                        })
                }
            }
        }
        #expect(decisions.named(site.attempt(Self.bot, to: "user@example.org"), at: "mx") == nil)
        var memory = MessageMemory()
        memory.beforeTrap = decisions.named(attempt, at: "mx")
        #expect(memory.beforeTrap == MessageMemory.BeforeTrap(colour: nil))
        try await eventually("the bot is listed") { site.service.colour(of: IPAddress(Self.bot)!) == .black }
        #expect(await !isScored(memory))
        // The next message is another matter.
        #expect(await isScored(MessageMemory()))
        #expect(decisions.named(attempt, at: "mx") == MessageMemory.BeforeTrap(colour: .black))
    }

    @Test func whoIsProvenBecomesYellow() async throws {
        let site = try Site(lists: Lists(entries: [ListEntry(.trap, .recipient, .mailbox("old@example.org"), added: WallTime(seconds: 0))]))
        var changes = Changes()
        let now = site.clock.now().steady
        changes.identities = site.engine.identities(of: Client(address: IPAddress(Self.bot))).map {
            .init(identity: $0, row: IdentityRow(passes: 5, lastSeen: now, expires: now + .days(30)))
        }
        let decision = Decision(verdict: Verdict(.accept, [.greylistKnown]), changes: changes)
        site.store.submit(BlockTransaction(needs: Needs(), decide: { _ in (decision, nil) }, completion: { _ in }))
        site.service.named(site.attempt(Self.bot, to: "old@example.org"), at: "mx", site.engine)
        try await eventually("listed") { site.service.colour(of: IPAddress(Self.bot)!) == .yellow }
        try await site.hangUpTwice("192.0.2.67")
        #expect(site.service.colour(of: IPAddress("192.0.2.67")!) == .yellow, "its network is known")
    }

    @Test func domainsOfOthersMakeBrownAtMost() async throws {
        let site = try Site()
        try await site.hangUpTwice(Self.bot, domains: ["a.example", "b.example"])
        #expect(site.service.entries.isEmpty)
        try await site.hangUpTwice(Self.bot, domains: ["c.example"])
        #expect(site.service.colour(of: IPAddress(Self.bot)!) == .brown)
        // A subdomain of ours is ours.
        try await site.hangUpTwice("198.51.100.9", domains: ["lists.example.org"])
        #expect(site.service.colour(of: IPAddress("198.51.100.9")!) == .black)
    }

    /// Wherever it stands: beside the domains that we receive for, below one of them, or at one.
    @Test func whoWritesToASinkHasWrittenToATrap() async throws {
        let known = "203.0.113.5"
        let allowed = ListEntry(.allow, .client, .prefix(Prefix("192.0.2.80/32")!), added: WallTime(seconds: 0))
        let site = try Site({ $0.networks.forwarders = PrefixSet([Prefix("192.0.2.81/32")!]) }, lists: Lists(entries: [allowed]))
        var changes = Changes()
        let now = site.clock.now().steady
        changes.identities = site.engine.identities(of: Client(address: IPAddress(known))).map {
            .init(identity: $0, row: IdentityRow(passes: 5, lastSeen: now, expires: now + .days(30)))
        }
        let decision = Decision(verdict: Verdict(.accept, [.greylistKnown]), changes: changes)
        site.store.submit(BlockTransaction(needs: Needs(), decide: { _ in (decision, nil) }, completion: { _ in }))

        func takes(_ address: String, _ domain: String, discarded: Int = 1) {
            site.service.visited(
                FakeMXVisit(
                    listener: "sink", address: IPAddress(address)!, domains: [domain], discarded: discarded, end: .quit,
                    at: site.clock.now().steady),
                site.engine)
        }
        // A bounce alone is destroyed and not counted (`discarded` is 0 then); the admin's own are spared.
        takes("198.51.100.1", "lists.example.org", discarded: 0)
        takes("192.0.2.80", "lists.example.org")
        takes("192.0.2.81", "lists.example.org")
        takes(known, "lists.example.org")
        takes("198.51.100.8", "example.org")
        takes("198.51.100.9", "lists.example.org")
        takes(Self.bot, "spare.example")
        for (address, colour) in [("198.51.100.8", ListColour.black), ("198.51.100.9", .black), (Self.bot, .black), (known, .yellow)] {
            try await eventually("\(address) is listed") { site.service.colour(of: IPAddress(address)!) == colour }
        }
        #expect(site.service.entries.count == 4)
    }

    @Test func readersHearAllThereIsAndThenEachChange() async throws {
        final class Reader: PublishedEntriesReader {
            let heard = NIOLockedValueBox<(entries: [PublishedEntry], changes: [PublishedChange])>(([], []))
            func published(_ entries: [PublishedEntry]) { heard.withLockedValue { $0.entries = entries } }
            func changed(_ changes: [PublishedChange]) { heard.withLockedValue { $0.changes += changes } }
        }
        let site = try Site()
        try await site.hangUpTwice(Self.bot)
        let reader = Reader()
        site.service.follow(reader)
        #expect(reader.heard.withLockedValue { $0.entries.map(\.colour) } == [.black])
        try await site.hangUpTwice("198.51.100.9")
        let prefix = Prefix(IPAddress(Self.bot)!, length: 32)
        #expect(site.service.remove(prefix) != nil)
        let changes = reader.heard.withLockedValue { $0.changes }
        #expect(changes.count == 2 && changes.last == .remove(prefix), "\(changes)")
        site.service.unfollow(reader)
        #expect(site.service.remove(Prefix(IPAddress("198.51.100.9")!, length: 32)) != nil)
        #expect(reader.heard.withLockedValue { $0.changes.count } == 2)
    }

    @Test func rowsAreKeptAndTakenUpAgain() async throws {
        let site = try Site()
        let running = Task { [engine = site.engine] in await site.service.run { engine } }
        try await site.hangUpTwice(Self.bot)
        running.cancel()
        await running.value
        let image = try await site.store.harvest()
        #expect(image.isComplete && image.touches != nil && image.entries.map(\.colour) == [.black] && image.sightings.count == 1)
        let again = await HarvestService.start(
            HarvestSettings(), store: site.store, clock: site.clock, seesPrimary: true,
            log: DecisionLog(writer: try LineCapture().writer, isEnabled: false), logger: Logger(label: "test"))
        #expect(again.colour(of: IPAddress(Self.bot)!) == .black && again.sightings == 1)
    }
}

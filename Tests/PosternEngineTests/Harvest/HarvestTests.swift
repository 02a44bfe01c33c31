import PosternCore
import PosternEngine
import Testing

/// One site: a harvest with its clock, that a test drives by what happens.
private struct Traps {
    var harvest: Harvest
    var now: WallTime

    /// Started an hour ago, with a gateway that is well.
    init(_ configure: (inout HarvestSettings) -> Void = { _ in }, seesPrimary: Bool = true, image: HarvestImage = HarvestImage()) {
        var settings = HarvestSettings()
        configure(&settings)
        now = WallTime(seconds: 1_800_000_000)
        harvest = Harvest(settings: settings, image: image, seesPrimary: seesPrimary, seed: 7, now: now)
        pass(.hours(1))
    }

    /// Time passes, the gateway stays well, visits are judged; whoever is found is nobody known unless told.
    mutating func pass(_ span: WallTime.Span, isWell: Bool? = true, isKnown: Bool = false) {
        let end = now + span
        while now < end {
            now = min(now + .minutes(1), end)
            harvest.primaryIsWell(isWell, now: now)
            harvest.expire(now: now)
            for candidate in harvest.judge(now: now) { harvest.list(candidate, isKnown: isKnown, now: now) }
        }
    }

    mutating func visit(
        _ address: String, _ end: FakeMXVisit.End = .hungUp, at listener: String = "spare", deferrals: Int = 1, domains: [String] = [],
        isForeign: Bool = false
    ) {
        let visit = FakeMXVisit(
            listener: listener, address: IPAddress(address)!, domains: domains, deferrals: deferrals, end: end, at: now)
        harvest.visited(visit, isForeign: isForeign, now: now)
    }

    mutating func tries(_ address: String) { harvest.primaryTouched(by: IPAddress(address)!, listener: "mx", now: now) }

    func colour(_ address: String) -> ListColour? { harvest.published(of: IPAddress(address)!, now: now)?.colour }
}

private let bot = "192.0.2.66"

struct HarvestTests {
    @Test func aBotThatHangsUpOnTheFakeMXOnTwoDaysIsBlack() throws {
        var traps = Traps()
        traps.visit(bot)
        traps.pass(.hours(24))
        #expect(traps.colour(bot) == nil)
        traps.visit(bot, at: "spare2")
        traps.pass(.minutes(14))
        #expect(traps.colour(bot) == nil, "it may still try the primary")
        traps.pass(.minutes(2))
        #expect(traps.colour(bot) == .black)
        let entry = try #require(traps.harvest.entry(of: IPAddress(bot)!, now: traps.now))
        #expect(entry.listeners == ["spare", "spare2"])
        #expect(entry.reason == "came only to a stand-in mail exchanger, and hung up without QUIT after a 4xx reply, on 2 days")
        #expect(entry.expires - traps.now > .days(3) && entry.expires - traps.now <= .days(4))
        // Its neighbour is somebody else.
        #expect(traps.colour("192.0.2.67") == nil)
    }

    @Test func twiceOnOneDayIsOnce() {
        var traps = Traps()
        for _ in 0..<20 {
            traps.visit(bot)
            traps.pass(.minutes(55))
        }
        #expect(traps.colour(bot) == nil)
        traps.pass(.hours(3))
        traps.visit(bot)
        traps.pass(.hours(1))
        #expect(traps.colour(bot) == .black)
    }

    @Test func whoTriedThePrimaryIsNeverHarvested() {
        // Before: it was deferred there, or the line broke, and it went on to the next MX.
        var before = Traps()
        for _ in 0..<5 {
            before.tries(bot)
            before.visit(bot)
            before.pass(.hours(24))
        }
        #expect(before.colour(bot) == nil)
        // A week ago.
        var long = Traps()
        long.tries(bot)
        long.pass(.days(6))
        long.visit(bot)
        long.pass(.days(1))
        long.visit(bot)
        long.pass(.hours(1))
        #expect(long.colour(bot) == nil)
        // After it: the visits before count for nothing.
        var after = Traps()
        after.visit(bot)
        after.pass(.hours(1))
        after.tries(bot)
        after.pass(.days(1))
        after.visit(bot)
        after.pass(.days(1))
        after.visit(bot)
        after.pass(.hours(1))
        #expect(after.colour(bot) == nil)
        #expect(after.harvest.sighting(of: IPAddress(bot)!)?.listeners == ["spare", "mx"])
        // Right after the second visit.
        var late = Traps()
        late.visit(bot)
        late.pass(.days(1))
        late.visit(bot)
        late.pass(.minutes(10))
        late.tries(bot)
        late.pass(.hours(1))
        #expect(late.colour(bot) == nil)
    }

    @Test func whoSaysQUITIsAtMostBrown() throws {
        var traps = Traps()
        for _ in 0..<4 {
            traps.visit(bot, .quit)
            traps.pass(.days(1))
        }
        #expect(traps.colour(bot) == .brown)
        #expect(
            try #require(traps.harvest.entry(of: IPAddress(bot)!, now: traps.now)).reason
                == "came to a stand-in mail exchanger on 4 days, and never to the one that takes mail")
        // Hanging up twice makes it black, and another QUIT does not make that less.
        traps.visit(bot)
        traps.pass(.days(1))
        #expect(traps.colour(bot) == .brown)
        traps.visit(bot)
        traps.pass(.hours(1))
        #expect(traps.colour(bot) == .black)
        traps.visit(bot, .quit)
        traps.pass(.days(1))
        #expect(traps.colour(bot) == .black)
    }

    @Test(arguments: [(FakeMXVisit.End.notByClient, 1), (.hungUp, 0), (.quit, 0)])
    func onlyACompletedDeferralThatTheClientEndedCounts(end: FakeMXVisit.End, deferrals: Int) {
        var traps = Traps()
        for _ in 0..<5 {
            traps.visit(bot, end, deferrals: deferrals)
            traps.pass(.days(1))
        }
        #expect(traps.colour(bot) == nil && traps.harvest.sighting(of: IPAddress(bot)!) == nil)
    }

    @Test func nothingIsHarvestedWhereThePrimaryIsNotSeen() {
        var traps = Traps(seesPrimary: false)
        for _ in 0..<5 {
            traps.visit(bot)
            traps.pass(.days(1))
        }
        #expect(traps.colour(bot) == nil)
    }

    @Test func nothingIsHarvestedWhileThePrimaryIsOutNorSoonAfter() {
        var traps = Traps()
        for _ in 0..<5 {
            // Out for an hour in which honest clients come here.
            traps.pass(.minutes(30), isWell: false)
            traps.visit(bot)
            traps.pass(.minutes(30), isWell: false)
            traps.pass(.minutes(14))
            traps.visit(bot)
            traps.pass(.days(1))
            // It goes out right after the visit.
            traps.visit(bot)
            traps.pass(.minutes(5))
            traps.pass(.minutes(30), isWell: false)
            traps.pass(.hours(20))
        }
        #expect(traps.colour(bot) == nil)
    }

    @Test func nothingIsHarvestedInTheFirstMinutes() {
        var image = HarvestImage()
        for day in 0..<5 {
            var traps = Traps(image: image)
            var harvest = Harvest(settings: HarvestSettings(), image: image, seesPrimary: true, seed: 7, now: traps.now)
            traps.harvest = harvest
            traps.pass(.minutes(14))
            traps.visit(bot)
            traps.pass(.hours(1))
            #expect(traps.colour(bot) == nil, "day \(day)")
            harvest = traps.harvest
            image.isComplete = true
        }
    }

    /// A policy service has no mail server behind it that could be looked at: requests show that it lives.
    @Test func aPolicyServicesRequestsAreThePrimarysSignOfLife() {
        func run(_ before: Bool, _ after: Bool) -> ListColour? {
            var traps = Traps()
            for _ in 0..<4 {
                if before { traps.tries("198.51.100.1") }
                traps.pass(.minutes(5), isWell: nil)
                traps.visit(bot)
                traps.pass(.minutes(5), isWell: nil)
                if after { traps.tries("198.51.100.2") }
                traps.pass(.days(1), isWell: nil)
            }
            return traps.colour(bot)
        }
        #expect(run(true, true) == .black)
        #expect(run(true, false) == nil)
        #expect(run(false, true) == nil)
        #expect(run(false, false) == nil)
    }

    @Test func aTrapForForeignDomainsMakesBrownAtMostAfterSeveral() throws {
        var traps = Traps(seesPrimary: false)
        for domain in ["a.example", "b.example", "a.example"] {
            traps.visit(bot, domains: [domain], isForeign: true)
            traps.pass(.days(1))
            #expect(traps.colour(bot) == nil)
        }
        traps.visit(bot, .quit, domains: ["c.example"], isForeign: true)
        traps.pass(.days(1))
        #expect(traps.colour(bot) == nil)
        for number in 0..<20 {
            traps.visit(bot, domains: ["d\(number).example"], isForeign: true)
            traps.pass(.hours(12))
        }
        #expect(traps.colour(bot) == .brown)
        #expect(try #require(traps.harvest.sighting(of: IPAddress(bot)!)).domains.count == FakeMXVisit.maximumDomains)
    }

    @Test func oneSessionAtATrapForForeignDomainsIsOneDay() {
        var traps = Traps(seesPrimary: false)
        traps.visit(bot, domains: ["a.example", "b.example", "c.example"], isForeign: true)
        traps.pass(.hours(1))
        traps.visit(bot, domains: ["d.example"], isForeign: true)
        traps.pass(.hours(12))
        #expect(traps.colour(bot) == nil)
        traps.visit(bot, domains: ["a.example"], isForeign: true)
        traps.pass(.hours(12))
        traps.visit(bot, domains: ["a.example"], isForeign: true)
        traps.pass(.hours(1))
        #expect(traps.colour(bot) == .brown, "on another day")
    }

    @Test func aDayAtATrapForForeignDomainsIsNoneAtOurs() {
        var traps = Traps()
        traps.visit(bot, domains: ["a.example"], isForeign: true)
        traps.pass(.days(1))
        traps.visit(bot)
        traps.pass(.hours(1))
        #expect(traps.colour(bot) == nil)
    }

    @Test func whoIsSparedLaterIsTakenOffAndForgotten() {
        var traps = Traps()
        for address in ["192.0.2.66", "198.51.100.7", "2001:db8:1:2::5"] {
            traps.harvest.wroteToTrap(IPAddress(address)!, listener: "mx", isKnown: false, now: traps.now)
        }
        traps.visit("192.0.2.9")
        traps.pass(.hours(1))
        _ = traps.harvest.takePublished()
        let spared = SparedNetworks([
            PrefixSet([Prefix("192.0.2.0/24")!]), PrefixSet(), PrefixSet([Prefix("2001:db8:1:2::99")!, Prefix("2001:db8:9::/48")!]),
        ])
        traps.harvest.spare(spared)
        #expect(traps.colour("192.0.2.66") == nil && traps.colour("2001:db8:1:2::5") == nil, "somebody of its /64 is spared")
        #expect(traps.colour("198.51.100.7") == .black && traps.harvest.sighting(of: IPAddress("192.0.2.9")!) == nil)
        #expect(traps.harvest.takePublished().count == 2 && traps.harvest.takeChanges().entries.values.contains { $0 == nil })
    }

    @Test func whoWritesToATrapMailboxIsBlackAtOnceUnlessItIsKnown() throws {
        var traps = Traps()
        traps.harvest.wroteToTrap(IPAddress(bot)!, listener: "mx", isKnown: false, now: traps.now)
        #expect(traps.colour(bot) == .black)
        traps.harvest.wroteToTrap(IPAddress("198.51.100.9")!, listener: "mx", isKnown: true, now: traps.now)
        #expect(traps.colour("198.51.100.9") == .yellow)
        // Wanted mail from it, too: its address says nothing of a message.
        traps.harvest.vouched(for: IPAddress(bot)!, messages: 50, now: traps.now)
        #expect(traps.colour(bot) == .yellow)
        traps.harvest.wroteToTrap(IPAddress(bot)!, listener: "mx", isKnown: false, now: traps.now)
        #expect(traps.colour(bot) == .yellow)
    }

    @Test func whoSendsWantedMailIsWhiteUntilItWritesToATrap() {
        var traps = Traps()
        let sender = "198.51.100.25"
        traps.harvest.vouched(for: IPAddress(sender)!, messages: 49, now: traps.now)
        #expect(traps.colour(sender) == nil)
        traps.harvest.vouched(for: IPAddress(sender)!, messages: 50, now: traps.now)
        #expect(traps.colour(sender) == .white)
        // Refreshed by more of it, but not with each message.
        _ = traps.harvest.takeChanges()
        traps.harvest.vouched(for: IPAddress(sender)!, messages: 51, now: traps.now)
        #expect(traps.harvest.takeChanges().isEmpty)
        traps.pass(.days(3))
        traps.harvest.vouched(for: IPAddress(sender)!, messages: 90, now: traps.now)
        traps.pass(.days(3))
        #expect(traps.colour(sender) == .white)
        traps.harvest.wroteToTrap(IPAddress(sender)!, listener: "mx", isKnown: true, now: traps.now)
        #expect(traps.colour(sender) == .yellow)
        var off = Traps { $0.whiteAfter = 0 }
        off.harvest.vouched(for: IPAddress(sender)!, messages: 1000, now: off.now)
        #expect(off.colour(sender) == nil)
    }

    @Test func messagesAreCountedByAddressWhereTheyMatter() {
        var traps = Traps { $0.whiteAfter = 2 }
        func take(_ addresses: String...) -> [String: UInt32] {
            for address in addresses { traps.harvest.taken(from: IPAddress(address)!, now: traps.now) }
            return Dictionary(uniqueKeysWithValues: traps.harvest.takeMessages().map { ("\($0.key)", $0.value) })
        }
        #expect(
            take("198.51.100.25", "198.51.100.26", "198.51.100.25", "2001:db8::1", "2001:db8::2")
                == ["198.51.100.25": 2, "198.51.100.26": 1, "2001:db8::/64": 2])
        #expect(take().isEmpty)
        traps.harvest.vouched(for: IPAddress("198.51.100.25")!, messages: 2, now: traps.now)
        traps.harvest.wroteToTrap(IPAddress(bot)!, listener: "mx", isKnown: false, now: traps.now)
        #expect(take("198.51.100.25", bot) == [bot: 1], "it is white, and was so a moment ago")
        traps.pass(.days(3))
        #expect(take("198.51.100.25") == ["198.51.100.25": 1], "it is to stay white")
        _ = traps.harvest.remove(Harvest.prefix(of: IPAddress(bot)!), now: traps.now)
        #expect(take(bot).isEmpty)
        for number in 0..<UInt32(HarvestSettings.maximumCounted + 10) {
            traps.harvest.taken(from: IPAddress(v4: 0x0a00_0000 + number), now: traps.now)
        }
        #expect(traps.harvest.takeMessages().count == HarvestSettings.maximumCounted)
        var off = Traps { $0.whiteAfter = 0 }
        off.harvest.taken(from: IPAddress(bot)!, now: off.now)
        #expect(off.harvest.takeMessages().isEmpty)
    }

    @Test func aKnownSenderAtTheFakeMXIsYellow() {
        var traps = Traps()
        traps.visit(bot)
        traps.pass(.days(1), isKnown: true)
        traps.visit(bot)
        traps.pass(.hours(1), isKnown: true)
        #expect(traps.colour(bot) == .yellow)
    }

    @Test func entriesExpireAndAreRefreshedByNewEvidence() {
        var traps = Traps()
        func wait(_ span: WallTime.Span, _ traps: inout Traps) -> ListColour? {
            traps.pass(span)
            return traps.colour(bot)
        }
        traps.harvest.wroteToTrap(IPAddress(bot)!, listener: "mx", isKnown: false, now: traps.now)
        #expect(wait(.days(3), &traps) == .black)
        traps.harvest.wroteToTrap(IPAddress(bot)!, listener: "mx", isKnown: false, now: traps.now)
        #expect(wait(.days(3), &traps) == .black)
        #expect(wait(.hours(25), &traps) == nil)
        #expect(traps.harvest.count == 0)
    }

    @Test func whatTheAdminRemovesDoesNotComeBackForLong() {
        var traps = Traps()
        func evidence(_ traps: inout Traps) {
            traps.harvest.wroteToTrap(IPAddress(bot)!, listener: "mx", isKnown: false, now: traps.now)
        }
        evidence(&traps)
        #expect(traps.harvest.remove(Harvest.prefix(of: IPAddress(bot)!), now: traps.now)?.colour == .black)
        #expect(traps.harvest.remove(Harvest.prefix(of: IPAddress(bot)!), now: traps.now) == nil)
        for _ in 0..<29 {
            evidence(&traps)
            traps.visit(bot)
            traps.pass(.days(1))
            #expect(traps.colour(bot) == nil)
        }
        traps.pass(.days(2))
        evidence(&traps)
        #expect(traps.colour(bot) == .black)
    }

    @Test(arguments: [false, true]) func norDoesItByItsWantedMail(wroteToTrap: Bool) {
        var traps = Traps()
        let (sender, other) = ("198.51.100.25", "198.51.100.26")
        func vouch(_ address: String, _ traps: inout Traps) {
            traps.harvest.vouched(for: IPAddress(address)!, messages: 60, now: traps.now)
        }
        vouch(sender, &traps)
        if wroteToTrap { traps.harvest.wroteToTrap(IPAddress(sender)!, listener: "mx", isKnown: true, now: traps.now) }
        #expect(traps.harvest.remove(Harvest.prefix(of: IPAddress(sender)!), now: traps.now)?.colour == (wroteToTrap ? .yellow : .white))
        for _ in 0..<29 {
            vouch(sender, &traps)
            vouch(other, &traps)
            #expect(traps.colour(sender) == nil && traps.colour(other) == .white)
            traps.pass(.days(1))
        }
        traps.pass(.days(2))
        vouch(sender, &traps)
        #expect(traps.colour(sender) == .white)
    }

    @Test func theListedMayRemoveItselfOnce() {
        var traps = Traps { $0.selfRemovalsPerHour = 3 }
        func list(_ address: String) {
            traps.harvest.wroteToTrap(IPAddress(address)!, listener: "mx", isKnown: false, now: traps.now)
        }
        func ask(_ address: String, from requester: String? = nil) -> Harvest.SelfRemoval {
            traps.harvest.removeItself(IPAddress(address)!, requester: IPAddress(requester ?? address)!, now: traps.now)
        }
        list(bot)
        #expect(ask(bot, from: "192.0.2.67") == .notYours)
        #expect(ask("192.0.2.67") == .notListed)
        guard case .removed(let entry) = ask(bot) else { return #expect(Bool(false)) }
        #expect(entry.colour == .black && traps.colour(bot) == nil)
        // New evidence lists it again, and then it is for a person to decide.
        list(bot)
        #expect(traps.colour(bot) == .black)
        #expect(ask(bot) == .onlyOnce)
        traps.pass(.days(30))
        list(bot)
        #expect(ask(bot) == .onlyOnce)
        // An IPv6 client is its /64.
        list("2001:db8::25")
        #expect(traps.colour("2001:db8::ffff") == .black)
        guard case .removed = ask("2001:db8::25", from: "2001:db8::7") else { return #expect(Bool(false)) }
        for number in 1...3 {
            list("203.0.113.\(number)")
            let outcome = ask("203.0.113.\(number)")
            #expect((outcome == .tooMany) == (number > 2), "\(number): \(outcome)")
        }
        traps.pass(.hours(1))
        guard case .removed = ask("203.0.113.3") else { return #expect(Bool(false)) }
    }

    @Test func shadowShowsAndDoesNotPublishAndOffDoesNothing() {
        for mode in [Mode.shadow, .off] {
            var traps = Traps { $0.mode = mode }
            _ = traps.harvest.takePublished()
            traps.harvest.wroteToTrap(IPAddress(bot)!, listener: "mx", isKnown: false, now: traps.now)
            traps.visit("192.0.2.1")
            traps.pass(.days(1))
            traps.visit("192.0.2.1")
            traps.pass(.days(1))
            #expect(traps.colour(bot) == nil && traps.harvest.allPublished(now: traps.now).isEmpty)
            #expect(traps.harvest.takePublished().isEmpty)
            #expect(traps.harvest.allEntries(now: traps.now).count == (mode == .shadow ? 2 : 0))
        }
    }

    @Test func aChangeOfModeIsTold() throws {
        var traps = Traps()
        traps.harvest.wroteToTrap(IPAddress(bot)!, listener: "mx", isKnown: false, now: traps.now)
        let listed = try #require(traps.harvest.published(of: IPAddress(bot)!, now: traps.now))
        _ = traps.harvest.takePublished()
        var settings = HarvestSettings()
        settings.mode = .shadow
        traps.harvest.take(settings, now: traps.now)
        #expect(traps.harvest.takePublished() == [.remove(listed.prefix)] && traps.colour(bot) == nil)
        settings.mode = .on
        traps.harvest.take(settings, now: traps.now)
        traps.harvest.take(settings, now: traps.now)
        #expect(traps.harvest.takePublished() == [.put(listed)] && traps.colour(bot) == .black)
    }

    @Test func readersHearOfEveryChangeInOrder() throws {
        var traps = Traps()
        traps.harvest.wroteToTrap(IPAddress(bot)!, listener: "mx", isKnown: false, now: traps.now)
        let listed = try #require(traps.harvest.published(of: IPAddress(bot)!, now: traps.now))
        #expect(traps.harvest.takePublished() == [.put(listed)])
        traps.pass(.days(5))
        #expect(traps.harvest.takePublished() == [.remove(Prefix(IPAddress(bot)!, length: 32))])
        #expect(traps.harvest.takePublished().isEmpty)
        for reason in [
            HarvestReason.onlyFakeMX(days: 9_999_999), .neverThePrimary(days: 9_999_999), .sends(1_000_000), .both, .wroteToTrap,
        ] {
            #expect(reason.text.utf8.count <= PublishedEntry.maximumReason && reason.text.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7f })
        }
    }

    @Test func everythingIsBoundedAndErrsOnTheSideOfNotHarvesting() {
        var traps = Traps { $0.capacity = 10 }
        for number in 0..<30 as Range<UInt32> {
            traps.harvest.wroteToTrap(IPAddress(v4: number), listener: "mx", isKnown: false, now: traps.now)
        }
        #expect(traps.harvest.count == 10 && traps.harvest.totals.overflowed == 20)
        // More than are waited for within the quarter of an hour.
        for number in 0..<UInt32(HarvestSettings.maximumPending + 500) {
            let visit = FakeMXVisit(listener: "spare", address: IPAddress(v4: number), deferrals: 1, end: .hungUp, at: traps.now)
            traps.harvest.visited(visit, isForeign: false, now: traps.now)
        }
        #expect(traps.harvest.totals.forgotten == 500)
        // The oldest sightings make room.
        for round in 0..<7 as Range<UInt32> {
            for number in 0..<UInt32(HarvestSettings.maximumPending) {
                let visit = FakeMXVisit(
                    listener: "spare", address: IPAddress(v4: 0x0a00_0000 + round << 16 + number), deferrals: 1, end: .hungUp, at: traps.now
                )
                traps.harvest.visited(visit, isForeign: false, now: traps.now)
            }
            traps.pass(.minutes(16))
        }
        #expect(traps.harvest.sightingCount == HarvestSettings.maximumSightings)
        #expect(traps.harvest.sighting(of: IPAddress(v4: 0x0a00_0000)) == nil)
        #expect(traps.harvest.sighting(of: IPAddress(v4: 0x0a06_0000 + 19_999)) != nil)
    }

    // MARK: - Over a restart

    @Test func whatIsKeptIsTakenUpAgain() {
        var traps = Traps()
        traps.tries("198.51.100.1")
        traps.visit(bot)
        traps.harvest.wroteToTrap(IPAddress("192.0.2.7")!, listener: "mx", isKnown: false, now: traps.now)
        traps.pass(.hours(1))
        traps.harvest.keepTouches(isComplete: true)
        let changes = traps.harvest.takeChanges()
        var image = HarvestImage()
        image.entries = changes.entries.values.compactMap { $0 }
        image.sightings = changes.sightings.values.compactMap { $0 }
        image.touches = changes.touches
        image.isComplete = changes.isComplete == true
        #expect(image.entries.count == 1 && image.sightings.count == 1)

        func resume(_ image: HarvestImage) -> Traps {
            var resumed = Traps()
            resumed.now = traps.now
            resumed.harvest = Harvest(settings: HarvestSettings(), image: image, seesPrimary: true, seed: 8, now: traps.now)
            resumed.pass(.days(1))
            return resumed
        }
        var resumed = resume(image)
        #expect(resumed.colour("192.0.2.7") == .black)
        resumed.visit(bot)
        resumed.visit("198.51.100.1")
        resumed.pass(.days(1))
        resumed.visit("198.51.100.1")
        resumed.pass(.hours(1))
        #expect(resumed.colour(bot) == .black)
        #expect(resumed.colour("198.51.100.1") == nil, "it tried the primary before the restart")

        // After a crash nobody knows who tried the primary: the sighting is worth nothing.
        image.isComplete = false
        var crashed = resume(image)
        #expect(crashed.colour("192.0.2.7") == .black)
        crashed.visit(bot)
        crashed.pass(.hours(1))
        #expect(crashed.colour(bot) == nil)
    }
}

struct TouchMemoryTests {
    @Test func itNeverForgetsInTimeAndForgetsInTheEnd() {
        for (age, isKnown) in [(0, true), (7, true), (8, true), (11, true), (13, false), (400, false)] as [(Int64, Bool)] {
            let start = WallTime(seconds: 1_800_000_000)
            var traps = Harvest(settings: HarvestSettings(), seesPrimary: true, seed: 3, now: start)
            traps.primaryIsWell(true, now: start)
            traps.primaryTouched(by: IPAddress(bot)!, listener: "mx", now: start)
            for day in 0..<age { traps.expire(now: start + .days(day)) }
            let now = start + .days(age) + .hours(1)
            traps.expire(now: now)
            traps.primaryIsWell(true, now: now)
            traps.visited(
                FakeMXVisit(listener: "s", address: IPAddress(bot)!, deferrals: 1, end: .hungUp, at: now), isForeign: false, now: now)
            traps.primaryIsWell(true, now: now + .minutes(15))
            _ = traps.judge(now: now + .minutes(15))
            #expect((traps.sighting(of: IPAddress(bot)!) == nil) == isKnown, "after \(age) days")
        }
    }
}

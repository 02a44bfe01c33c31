import Logging
import NIOConcurrencyHelpers
import PosternCore
import PosternEngine

/// What is known of a client's forward-confirmed name.
public enum HarvestedName: Sendable {
    case known(DomainName?)
    /// No resolver answers: it may have one.
    case nobodyAnswers
}

/// The harvest of a running daemon: hears of clients from all fronts, keeps its rows in the store behind what it has in memory,
/// and tells readers what is published. All calls may come from any thread; none blocks.
public final class HarvestService: PublishedEntries {
    private let state: NIOLockedValueBox<Harvest>
    /// Held while readers are told, so that they hear everything in order.
    private let readers = NIOLockedValueBox<[any PublishedEntriesReader]>([])
    private let store: any Store
    private let clock: ServiceClock
    private let log: DecisionLog
    private let logger: Logger
    private let primaryIsWell: NIOLockedValueBox<@Sendable () -> Bool?>
    /// `nil` where nothing is looked up.
    private let nameOf: (@Sendable (IPAddress) async -> HarvestedName)?
    /// Whom the last settings spared.
    private let spared = NIOLockedValueBox(SparedNetworks())

    private static let tick = Duration.milliseconds(500)
    private static let expiryTicks = 20
    /// Two seconds: what a crash may forget of the messages of senders, and how late they show.
    private static let countTicks = 4
    /// Rows that are read and written together.
    private static let countsAtOnce = 256
    /// Ten minutes: what a crash may forget costs two more days until somebody is harvested.
    private static let touchTicks = 1200
    /// Changes that wait for a store that does not work; beyond that what is in memory alone counts.
    private static let mostUnsaved = 500_000
    /// Clients whose names are looked up at the same time.
    private static let namesAtOnce = 256

    /// Reads what the store has; begins anew, and says so, where it cannot.
    public static func start(
        _ settings: HarvestSettings, store: any Store, clock: ServiceClock, seesPrimary: Bool, log: DecisionLog, logger: Logger,
        nameOf: (@Sendable (IPAddress) async -> HarvestedName)? = nil
    ) async -> HarvestService {
        var image = HarvestImage()
        do throws(StoreFailure) {
            image = try await store.harvest()
        } catch {
            logger.error("what traps have learnt cannot be read, the harvest begins anew", metadata: ["error": "\(error)"])
        }
        let harvest = Harvest(
            settings: settings, image: image, seesPrimary: seesPrimary, seed: UInt64.random(in: .min ... .max), now: clock.now().steady)
        return HarvestService(harvest, store: store, clock: clock, log: log, logger: logger, nameOf: nameOf)
    }

    init(
        _ harvest: Harvest, store: any Store, clock: ServiceClock, log: DecisionLog, logger: Logger,
        nameOf: (@Sendable (IPAddress) async -> HarvestedName)? = nil
    ) {
        self.nameOf = nameOf
        state = NIOLockedValueBox(harvest)
        self.store = store
        self.clock = clock
        self.log = log
        self.logger = logger
        primaryIsWell = NIOLockedValueBox { nil }
    }

    /// From here on asked each tick: whether all gateways have a mail server behind them that is well; `nil` without a gateway.
    public func watch(primaryIsWell look: @escaping @Sendable () -> Bool?) { primaryIsWell.withLockedValue { $0 = look } }

    // MARK: - What fronts tell

    /// A client came to a listener that takes mail.
    func primaryTouched(by address: IPAddress, listener: String) {
        let now = clock.now().steady
        state.withLockedValue { $0.primaryTouched(by: address, listener: listener, now: now) }
    }

    /// A visit at a fake MX or a sink is over.
    func visited(_ visit: FakeMXVisit, _ engine: Engine) {
        guard engine.mayHarvest(Client(address: visit.address), now: visit.at) else { return }
        // A sink's addresses exist for nothing else, those of our own sub-domains too: whoever made one said so.
        if visit.discarded > 0 { return wroteToTrap(Client(address: visit.address), at: visit.listener, engine) }
        let domains = visit.domains.compactMap { DomainName($0) }
        let ours = engine.settings.ourDomains
        // Where nothing is said of domains, a fake MX stands in for our own.
        let isForeign = !ours.isEmpty && !domains.contains { name in ours.contains { name.isWithin($0) } }
        state.withLockedValue { $0.visited(visit, isForeign: isForeign, now: visit.at) }
    }

    /// A recipient was named: harvests a stranger who writes to a trap. The answer must not depend on it.
    ///
    /// - Returns: what the client was listed as till then, where one did.
    @discardableResult
    func named(_ attempt: Attempt, at listener: String, _ engine: Engine) -> MessageMemory.BeforeTrap? {
        guard engine.settings.harvest.mode != .off, let recipient = attempt.recipient else { return nil }
        let now = clock.now().steady
        guard engine.lists.trap(recipient, at: now) != nil, engine.mayHarvest(attempt, now: now) else { return nil }
        let before = MessageMemory.BeforeTrap(colour: attempt.client.address.flatMap { colour(of: $0) })
        wroteToTrap(attempt.client, at: listener, engine)
        return before
    }

    /// Lists it when it is clear whether it is known, which the store knows.
    private func wroteToTrap(_ client: Client, at listener: String, _ engine: Engine) {
        guard let address = client.address else { return }
        Task {
            guard let isKnown = await isKnownStranger(client, engine) else { return }
            let now = clock.now().steady
            change { $0.wroteToTrap(address, listener: listener, isKnown: isKnown, now: now) }
        }
    }

    /// A message that had passed was taken from this address.
    func taken(from address: IPAddress) {
        let now = clock.now().steady
        state.withLockedValue { $0.taken(from: address, now: now) }
    }

    /// Whether somebody who is to be listed is known as a sender of wanted mail; `nil` where it must not be listed, which its name may
    /// tell: nobody waits for this, so it is looked up where no front has done so.
    private func isKnownStranger(_ client: Client, _ engine: Engine) async -> Bool? {
        var client = client
        // The admin may have spared it meanwhile.
        guard engine.mayHarvest(client, now: clock.now().steady) else { return nil }
        if client.confirmedName == nil, let address = client.address, let nameOf {
            guard case .known(let name) = await nameOf(address) else { return nil }
            client.confirmedName = name
            guard engine.mayHarvest(client, now: clock.now().steady) else { return nil }
        }
        return await isKnown(client, engine)
    }

    /// Whether enough messages of one of its identities have passed. Who cannot be looked up is taken for known: it is listed as less.
    private func isKnown(_ client: Client, _ engine: Engine) async -> Bool {
        guard let enough = engine.settings.knownAfter else { return false }
        let lifetime = engine.settings.greylist.lifetime
        let identities = engine.identities(of: client)
        let now = clock.now().steady
        do throws(StoreFailure) {
            return try await store.read(Needs(identities: identities)).identities.contains { row in
                row.map { $0.passes(within: lifetime, now: now) >= enough } ?? false
            }
        } catch {
            return true
        }
    }

    // MARK: - Who is listed

    /// What checks go by.
    public func colour(of address: IPAddress) -> ListColour? {
        state.withLockedValue { harvest in
            harvest.count == 0 ? nil : harvest.published(of: address, now: clock.now().steady)?.colour
        }
    }

    public var entries: [HarvestEntry] {
        let now = clock.now().steady
        return state.withLockedValue { $0.allEntries(now: now) }
    }

    public var totals: HarvestTotals { state.withLockedValue { $0.totals } }
    /// Clients at fake MXs that are remembered.
    public var sightings: Int { state.withLockedValue { $0.sightingCount } }

    public func remove(_ prefix: Prefix) -> HarvestEntry? {
        let now = clock.now().steady
        return change { $0.remove(prefix, now: now) }
    }

    public func extend(_ prefix: Prefix, until: WallTime) -> HarvestEntry? {
        let now = clock.now().steady
        return change { $0.extend(prefix, until: until, now: now) }
    }

    public func putBack(_ entry: HarvestEntry) {
        let now = clock.now().steady
        change { $0.putBack(entry, now: now) }
    }

    public func removeItself(_ address: IPAddress, requester: IPAddress) -> Harvest.SelfRemoval {
        let now = clock.now().steady
        return change { $0.removeItself(address, requester: requester, now: now) }
    }

    public func follow(_ reader: any PublishedEntriesReader) {
        let now = clock.now().steady
        readers.withLockedValue { readers in
            let (changes, entries) = state.withLockedValue { ($0.takePublished(), $0.allPublished(now: now)) }
            if !changes.isEmpty { for reader in readers { reader.changed(changes) } }
            reader.published(entries)
            readers.append(reader)
        }
    }

    public func unfollow(_ reader: any PublishedEntriesReader) {
        readers.withLockedValue { $0.removeAll { $0 === reader } }
    }

    /// Changes something, and tells the readers at once.
    private func change<Result>(_ body: (inout Harvest) -> Result) -> Result {
        let result = state.withLockedValue(body)
        tell()
        return result
    }

    private func tell() {
        readers.withLockedValue { readers in
            let changes = state.withLockedValue { $0.takePublished() }
            guard !changes.isEmpty else { return }
            for change in changes { write(change) }
            for reader in readers { reader.changed(changes) }
        }
    }

    private func write(_ change: PublishedChange) {
        let wall = clock.now().wall
        switch change {
        case .put(let entry):
            log.write("listed", at: wall) { line in
                line.add("client", entry.prefix.description)
                line.add("colour", entry.colour.rawValue)
                line.add("reason", entry.reason)
            }
        case .remove(let prefix):
            log.write("unlisted", at: wall) { $0.add("client", prefix.description) }
        }
    }

    // MARK: - Upkeep

    /// Runs until cancelled: judges visits, lets entries expire, keeps rows. `engine` is asked for the lists and settings of now.
    func run(engine: @escaping @Sendable () -> Engine) async {
        var ticks = 0
        var unsaved = HarvestChanges()
        while !Task.isCancelled {
            try? await Task.sleep(for: Self.tick)
            ticks += 1
            await judge(engine(), expires: ticks % Self.expiryTicks == 0)
            if ticks % Self.countTicks == 0 { countMessages(keptFor: engine().settings.greylist.lifetime) }
            if ticks % Self.touchTicks == 0 { state.withLockedValue { $0.keepTouches(isComplete: false) } }
            await save(&unsaved)
        }
        countMessages(keptFor: engine().settings.greylist.lifetime)
        state.withLockedValue { $0.keepTouches(isComplete: true) }
        await save(&unsaved)
    }

    /// One step of upkeep.
    func judge(_ engine: Engine, expires: Bool) async {
        let now = clock.now().steady
        let isWell = primaryIsWell.withLockedValue { $0 }()
        let networks = engine.settings.spared
        let isNews = spared.withLockedValue { spared in
            defer { spared = networks }
            return spared != networks
        }
        let candidates = state.withLockedValue { harvest in
            harvest.take(engine.settings.harvest, now: now)
            if isNews { harvest.spare(networks) }
            harvest.primaryIsWell(isWell, now: now)
            if expires { harvest.expire(now: now) }
            return harvest.judge(now: now)
        }
        var rest = candidates[...]
        while !rest.isEmpty {
            await withTaskGroup(of: Void.self) { group in
                for candidate in rest.prefix(Self.namesAtOnce) {
                    group.addTask {
                        guard let isKnown = await self.isKnownStranger(Client(address: candidate.address), engine) else { return }
                        self.state.withLockedValue { $0.list(candidate, isKnown: isKnown, now: now) }
                    }
                }
            }
            rest = rest.dropFirst(Self.namesAtOnce)
        }
        tell()
    }

    /// Adds the messages that were taken to each address's count, which lasts as long as no `lifetime` goes by without one, and lists
    /// those that have sent enough. It is the address's own: what others of its network or domain have sent says nothing of it.
    func countMessages(keptFor lifetime: WallTime.Span) {
        let now = clock.now().steady
        var rest = state.withLockedValue { $0.takeMessages() }.map { (address: $0.key, messages: $0.value) }[...]
        while !rest.isEmpty {
            let lot = rest.prefix(Self.countsAtOnce)
            rest = rest.dropFirst(Self.countsAtOnce)
            let transaction = BlockTransaction(needs: Needs(identities: lot.map { .address($0.address) })) { evidence in
                var decision = Decision(verdict: Verdict(.accept, [.stageHasNoCheck]))
                decision.changes.identities = zip(lot, evidence.identities).map { one, row in
                    .init(identity: .address(one.address), row: IdentityRow(adding: one.messages, to: row, lifetime: lifetime, now: now))
                }
                return (decision, nil)
            } completion: { [state] result in
                // Told elsewhere.
                guard case .success((let decision, _)) = result else { return }
                state.withLockedValue { harvest in
                    for (one, count) in zip(lot, decision.changes.identities) {
                        harvest.vouched(for: one.address.address, messages: count.row.passes, now: now)
                    }
                }
            }
            store.submit(transaction)
        }
    }

    private func save(_ unsaved: inout HarvestChanges) async {
        unsaved.add(state.withLockedValue { $0.takeChanges() })
        guard !unsaved.isEmpty else { return }
        do throws(StoreFailure) {
            let changes = unsaved
            try await store.keep(changes)
            unsaved = HarvestChanges()
        } catch {
            // Told elsewhere; tried again in a moment.
            if unsaved.entries.count + unsaved.sightings.count > Self.mostUnsaved { unsaved = HarvestChanges() }
        }
    }
}

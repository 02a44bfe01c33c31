import Logging
import PosternConfiguration
import PosternControl
import PosternCore
import PosternEngine
import PosternMetrics
import PosternResolver
import PosternStorage
import PublicSuffix
import SMTPProtocol

/// What all listeners share: the store and its clock, look-ups, decisions, and the lists that are published.
struct Services: Sendable {
    let store: any Store
    let clock: ServiceClock
    let lookUps: LookUps
    let registry: MetricRegistry
    let harvest: HarvestService
    let limits: LimitService
    let trustedFiles: TrustedFiles
    let decisions: DecisionService
    let publisher: ListPublisher
    let listKeeper: ListKeeper

    /// Starts each behind what it needs.
    static func start(_ configuration: Configuration, log: LogWriter, logger: Logger) async throws -> Services {
        let store = try openStore(configuration)
        // First, since what follows goes on without a store that cannot be read, and says so.
        let lists = try await lists(from: store)
        let clock = await startClock(store, logger)
        guard let domains = PublicSuffixList() else {
            throw StartFailure(StartFailure.unavailable, "libpsl has no public suffix list; install Debian's publicsuffix package")
        }
        let lookUps = try await startLookUps(configuration, logger)
        let registry = MetricRegistry()
        let decisionLog = DecisionLog(writer: log, isEnabled: logger.logLevel <= .info)
        let harvest = await HarvestService.start(
            configuration.harvest, store: store, clock: clock,
            seesPrimary: configuration.listeners.contains { [.gateway, .throttle, .policy].contains($0.role) },
            log: decisionLog, logger: logger, nameOf: lookUps.nameOf)
        let limits = await LimitService.start(configuration, store: store, now: clock.now().steady, logger: logger)
        let trustedFiles = TrustedFiles(configuration.trustedFiles, logger: logger)
        _ = trustedFiles.refresh()
        let engine = Engine(
            settings: configuration.engineSettings(with: trustedFiles), lists: lists, domains: domains)
        let decisions = DecisionService(
            engine: engine, store: store, clock: clock, log: decisionLog, counters: Counters(), evidence: lookUps.gatherer,
            metrics: ServiceMetrics(registry), harvest: harvest, limits: limits)
        let publisher = ListPublisher(clock: clock, lists: engine.lists)
        harvest.follow(publisher)
        publisher.trustChanged(engine.settings.trusted)
        let listKeeper = ListKeeper(publisher: publisher, decisions: decisions, clock: clock, logger: logger, configuration: configuration)
        await listKeeper.start()
        return Services(
            store: store, clock: clock, lookUps: lookUps, registry: registry, harvest: harvest, limits: limits, trustedFiles: trustedFiles,
            decisions: decisions, publisher: publisher, listKeeper: listKeeper)
    }

    private static func openStore(_ configuration: Configuration) throws -> any Store {
        do throws(StoreFailure) {
            return try configuration.openStore(for: .daemon)
        } catch {
            throw StartFailure("cannot open the store", error)
        }
    }

    /// Goes on with the time that the store was left with, and leaves a mark at once, so that even a process that lives
    /// for a second is followed by one with the same time.
    private static func startClock(_ store: any Store, _ logger: Logger) async -> ServiceClock {
        do throws(StoreFailure) {
            let clock = ServiceClock(after: try await store.anchor())
            try await store.keep(clock.anchor())
            return clock
        } catch {
            logger.warning(
                "the store does not say what time it was left with; this start believes the wall clock", metadata: ["error": "\(error)"])
            return ServiceClock(after: nil)
        }
    }

    private static func startLookUps(_ configuration: Configuration, _ logger: Logger) async throws -> LookUps {
        do throws(ResolverStartFailure) {
            return try await LookUps.start(configuration, logger: logger, patience: ResolverHealth.patienceAtStart)
        } catch {
            throw StartFailure(StartFailure.unavailable, "cannot start the resolver: \(error)")
        }
    }

    private static func lists(from store: any Store) async throws -> Lists {
        do throws(StoreFailure) {
            return Lists(entries: try await store.entries(), releases: try await store.releases())
        } catch {
            throw StartFailure("cannot read the store", error)
        }
    }

    /// Ends what still runs once the last listener is gone, and leaves the time in the store.
    func end() async {
        lookUps.close()
        try? await store.keep(clock.anchor())
        await store.close()
    }
}

extension StartFailure {
    /// With the exit code that the verbs have for it.
    init(_ what: String, _ failure: StoreFailure) {
        self.init(ControlFailure(failure).code.rawValue, "\(what): \(failure)")
    }
}

extension LookUps {
    /// Who a client of a trap is by name; `nil` where nothing is looked up.
    fileprivate var nameOf: (@Sendable (IPAddress) async -> HarvestedName)? {
        let gatherer = gatherer
        guard !gatherer.resolver.servers.isEmpty else { return nil }
        return { address in
            switch await gatherer.confirmedName(of: address) {
            case .known(let name): return .known(name)
            case .unavailable: return .known(nil)
            // Whose own servers do not answer has no name; where nobody's do it may have one.
            case .temporarilyUnavailable: return gatherer.health.answers ? .known(nil) : .nobodyAnswers
            }
        }
    }
}

import Logging
import PosternConfiguration
import PosternCore
import PosternResolver

/// Everything that looks things up, as the configuration has it: resolver, DNS lists, databases of networks. One for the
/// daemon; a command that looks things up by itself has its own.
public final class LookUps: Sendable {
    public let gatherer: EvidenceGatherer
    public let lists: DNSLists
    public let networks: NetworkDatabases
    private let logger: Logger

    /// How long a command waits for its lists' tests: those end by then, and a little is for a busy machine.
    private static let patienceForLists = Duration.seconds(6)

    private init(gatherer: EvidenceGatherer, lists: DNSLists, networks: NetworkDatabases, logger: Logger) {
        self.gatherer = gatherer
        self.lists = lists
        self.networks = networks
        self.logger = logger
    }

    /// Whom to ask about clients. Waits for `patience` to see whether anybody answers, so that the first client is not judged
    /// without.
    static func start(_ configuration: Configuration, logger: Logger, patience: WallTime.Span) async throws(ResolverStartFailure) -> LookUps
    {
        let settings = ResolverSettings(configuration.dns)
        configuration.warnOfSystemResolvers(settings, logger)
        let health = ResolverHealth(logger: logger)
        let resolver = try Resolver(settings)
        let lists = DNSLists(configuration.dnsLists, resolver: resolver)
        let networks = NetworkDatabases(configuration.geography.databases, logger: logger)
        let gatherer = EvidenceGatherer(
            resolver: resolver, health: health, lists: lists, networks: networks, settings: EvidenceGatherer.Settings(configuration))
        if !resolver.servers.isEmpty { await health.probe(resolver, patience: patience) }
        return LookUps(gatherer: gatherer, lists: lists, networks: networks, logger: logger)
    }

    /// For a command that looks things up by itself, as the daemon would; `nil` where nobody answers and no database of networks is
    /// named. Where databases are named, and nobody answers (`gatherer.health`), they alone tell. DNS lists
    /// have been tested when it returns, and go on being tested until `task` is cancelled.
    public static func started(_ configuration: Configuration) async throws(ResolverStartFailure) -> (
        lookUps: LookUps, task: Task<Void, Never>
    )? {
        let lookUps = try await start(configuration, logger: .silent, patience: ResolverHealth.interval)
        guard lookUps.gatherer.health.answers else {
            guard !configuration.geography.databases.isEmpty else {
                lookUps.close()
                return nil
            }
            return (lookUps, Task {})
        }
        let task = Task { await lookUps.watch() }
        let deadline = ContinuousClock.now + patienceForLists
        while lookUps.lists.zones.contains(where: \.awaitsTest), ContinuousClock.now < deadline {
            try? await Task.sleep(for: .milliseconds(20))
        }
        return (lookUps, task)
    }

    /// Takes up another configuration.
    func update(_ configuration: Configuration) {
        gatherer.update(EvidenceGatherer.Settings(configuration))
        gatherer.resolver.update(ResolverSettings(configuration.dns))
        lists.update(configuration.dnsLists)
        networks.update(configuration.geography.databases)
    }

    /// Runs until cancelled: whether resolvers and lists answer, and whether databases have changed.
    func watch() async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { [gatherer] in await gatherer.health.watch(gatherer.resolver) }
            group.addTask { [lists, logger] in await ZoneMonitor(lists, logger: logger).run() }
            group.addTask { [networks] in await networks.watch() }
        }
    }

    public func close() { gatherer.resolver.close() }
}

import Logging
import PosternConfiguration
import PosternResolver

extension EvidenceGatherer {
    /// For a command that looks things up by itself, as the daemon would; `nil` where the configuration names nobody to ask, or
    /// nobody answers.
    public static func started(_ configuration: Configuration) async throws(ResolverStartFailure) -> EvidenceGatherer? {
        let health = ResolverHealth(logger: Logger(label: "postern") { _ in SwiftLogNoOpLogHandler() })
        let gatherer = EvidenceGatherer(
            resolver: try Resolver(ResolverSettings(configuration.dns)), health: health, settings: Settings(configuration))
        guard !gatherer.resolver.servers.isEmpty else { return nil }
        await health.probe(gatherer.resolver, patience: ResolverHealth.interval)
        return health.answers ? gatherer : nil
    }
}

import Logging
import PosternConfiguration
import PosternCore
import PosternEngine

extension Daemon {
    /// The limits, with what an earlier process has counted. Where the store does not say, they begin anew.
    func startLimits(_ configuration: Configuration, _ store: any Store, _ clock: ServiceClock) async -> LimitService {
        let fresh = (UInt64.random(in: .min ... .max), UInt64.random(in: .min ... .max))
        let now = clock.now().steady
        do throws(StoreFailure) {
            let seed = try await LimitService.seed(in: store, fresh: fresh)
            let limits = LimitService(throttle: configuration.throttle, accounts: configuration.accounts, seed: seed)
            try await limits.restore(from: store, now: now)
            return limits
        } catch {
            logger.warning("the store does not say what was counted; limits begin anew", metadata: ["error": "\(error)"])
            return LimitService(throttle: configuration.throttle, accounts: configuration.accounts, seed: fresh)
        }
    }

    /// Runs until cancelled: trusted files that have changed are read again.
    func watch(_ files: TrustedFiles, _ decisions: DecisionService, _ publisher: ListPublisher) async {
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(2))
            guard files.refresh() else { continue }
            let configured = configurationInForce.trusted
            decisions.update { engine in
                engine.settings.trusted = configured
                engine.settings.trusted.formUnion(files.trusted)
            }
            publisher.trustChanged(decisions.engine.settings.trusted)
            logger.info("trusted senders were read anew")
        }
    }
}

extension Configuration {
    /// With what the files of trusted senders say.
    func engineSettings(with files: TrustedFiles) -> EngineSettings {
        var settings = engineSettings
        settings.trusted.formUnion(files.trusted)
        return settings
    }
}

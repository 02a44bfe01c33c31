import Logging
import PosternConfiguration
import PosternCore
import PosternEngine

extension LimitService {
    /// The limits, with what an earlier process has counted. Where the store does not say, they begin anew.
    static func start(_ configuration: Configuration, store: any Store, now: WallTime, logger: Logger) async -> LimitService {
        let fresh = (UInt64.random(in: .min ... .max), UInt64.random(in: .min ... .max))
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
}

import Logging
import NIOConcurrencyHelpers
import PosternCore
import PosternEngine

/// What the daemon does beside answering: expiry, the clock's anchor, and telling the admin once a minute that the store fails.
struct Upkeep: Sendable {
    let store: any Store
    let clock: ServiceClock
    let decisions: DecisionService
    let logger: Logger
    /// How long decisions stay readable.
    let keepDecisions: WallTime.Span

    /// Each waking costs a daemon that has nothing to do some hundredths of a percent of a core.
    private static let tick = Duration.seconds(1)
    private static let anchorTicks = 10
    private static let reportTicks = 60
    /// How often a daemon looks for old rows that has decided nothing since, and found none the last time.
    private static let restTicks = 10

    /// Runs until cancelled.
    func run() async {
        var ticks = 0
        var resting = 0
        var seen = decisions.counters.values.decided
        var failuresReported: UInt64 = 0
        var expiryFailed = false
        var anchored = clock.anchor()
        while !Task.isCancelled {
            guard (try? await Task.sleep(for: Self.tick)) != nil else { break }
            ticks += 1
            let (steady, wall) = clock.now()
            let decided = decisions.counters.values.decided
            resting = decided == seen ? resting - 1 : 0
            seen = decided
            do {
                // Steps that are small enough never to be felt.
                if resting <= 0 {
                    let expired = try await store.expire(now: steady, decisionsBefore: wall - keepDecisions)
                    if expired == 0 { resting = Self.restTicks }
                }
                try await store.indexStep()
                expiryFailed = false
            } catch {
                // What was cut off by the daemon's end is not a failure.
                guard !Task.isCancelled else { break }
                if !expiryFailed {
                    logger.warning("expiry of old rows failed, it is tried again each second", metadata: ["error": "\(error)"])
                }
                expiryFailed = true
            }
            if ticks % Self.reportTicks == 0 { decisions.update { $0.lists.removeExpired(at: steady) } }
            if ticks % Self.anchorTicks == 0 || clock.hasStepped(since: anchored) {
                anchored = clock.anchor()
                // Where this fails the next one is ten seconds away, and the store's failure is told elsewhere.
                try? await store.keep(anchored)
            }
            failuresReported = reportFailures(since: failuresReported, due: ticks % Self.reportTicks == 0)
        }
    }

    /// The first failure is told at once, later ones once a minute with their number.
    private func reportFailures(since reported: UInt64, due: Bool) -> UInt64 {
        let values = decisions.counters.values
        guard values.storeFailures > reported, reported == 0 || due, let failure = values.lastStoreFailure else { return reported }
        logger.error(
            "the store fails, mail passes unchecked until it is mended",
            metadata: ["error": "\(failure)", "answers_without_store": "\(values.storeFailures - reported)"])
        return values.storeFailures
    }
}

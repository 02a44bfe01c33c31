import EngineTestSupport
import Foundation
import PosternCore
import PosternEngine
import PosternStorage
import Testing

/// The engine's random schedules against the stores themselves: what is committed is there after every crash, and
/// expiry, batches and hashed keys change no answer. `POSTERN_SEED` replays the one schedule of a seed.
@Suite("Random schedules on stores")
struct PropertyOnStoresTests {
    static let seed = ProcessInfo.processInfo.environment["POSTERN_SEED"].flatMap { UInt64($0) }

    private func check(_ seeds: Range<UInt64>, run: (Schedule) async throws -> ScheduleRun.Failure?) async throws {
        for seed in Self.seed.map({ [$0] }) ?? Array(seeds) {
            let schedule = Schedule(seed: seed)
            guard let failure = try await run(schedule) else { continue }
            let short = try await schedule.shrunk(runs: 100) { try await run($0) != nil }
            Issue.record("POSTERN_SEED=\(seed) fails \(failure)\n\(short)")
            return
        }
    }

    @Test("memory")
    func memory() async throws {
        try await check(0..<300) { schedule in
            // It forgets all when it is opened anew, so one is kept through all crashes.
            let kept = MemoryStore()
            return try await ScheduleRun.failure(of: schedule, store: Undying(kept))
        }
    }

    @Test("SQLite, opened anew after every crash")
    func sqlite() async throws {
        try await check(10_000..<10_060) { schedule in
            let folder = FileManager.default.temporaryDirectory.appendingPathComponent("postern-property-\(UUID().uuidString)")
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            defer { try? FileManager.default.removeItem(at: folder) }
            let path = folder.appendingPathComponent("postern.db").path
            let store = try await OpenedStore { try SQLiteStore(path: path) }
            let failure = try await ScheduleRun.failure(of: schedule, store: store)
            await store.close()
            return failure
        }
    }

    @Test("a store that loses what it said it had committed is found out")
    func forgetful() async throws {
        var found: UInt64?
        for seed in 0..<100 as Range<UInt64> where found == nil {
            let store = try await OpenedStore { MemoryStore() }
            if try await ScheduleRun.failure(of: Schedule(seed: seed), store: store) != nil { found = seed }
            await store.close()
        }
        #expect(found != nil)
    }
}

/// A store in memory that outlives the process of the schedule.
private final class Undying: ScheduleStore {
    private let store: MemoryStore

    init(_ store: MemoryStore) { self.store = store }

    func commit(_ transactions: [BlockTransaction]) { for transaction in transactions { store.submit(transaction) } }
    func expire(now: WallTime) async throws { _ = try await store.expire(now: now, decisionsBefore: now) }
    func anchor() async throws -> SteadyClock.Anchor? { try await store.anchor() }
    func keep(_ anchor: SteadyClock.Anchor) async throws { try await store.keep(anchor) }
    func reopen() {}
}

import Foundation
import NIOConcurrencyHelpers
import PosternCore
import Testing

@testable import PosternEngine
@testable import PosternStorage

/// A store that fails while it is used says so at once, and works again by itself.
@Suite(.timeLimit(.minutes(10)))
struct SQLiteRecoveryTests {
    private static var settings: SQLiteSettings {
        var settings = SQLiteSettings()
        settings.busyTimeout = .milliseconds(300)
        settings.probeInterval = .milliseconds(100)
        return settings
    }

    /// What a store told of itself.
    private final class Changes: Sendable {
        private let box = NIOLockedValueBox<[StoreFailure.Kind?]>([])
        var all: [StoreFailure.Kind?] { box.withLockedValue { $0 } }
        var note: @Sendable (StoreFailure?) -> Void { { failure in self.box.withLockedValue { $0.append(failure?.kind) } } }
    }

    private func kind(_ call: () async throws -> Void) async -> StoreFailure.Kind? {
        do {
            try await call()
            return nil
        } catch { return (error as? StoreFailure)?.kind }
    }

    @Test func `Locked by another process, it fails fast and comes back when it is let go`() async throws {
        let folder = try Folder()
        let changes = Changes()
        let store = try SQLiteStore(path: folder.database, settings: Self.settings, onChange: changes.note)
        try await store.commit(triplets: [triplet(1): row()])
        let other = try RawDatabase(folder.database)
        try other.execute("BEGIN EXCLUSIVE")
        let start = ContinuousClock.now
        #expect(await kind { try await store.commit(triplets: [triplet(2): row()]) } == .locked)
        #expect(ContinuousClock.now - start < .seconds(10))
        #expect(store.failure?.kind == .locked)
        // From now on nobody waits for the lock.
        let many = ContinuousClock.now
        for _ in 0..<1000 { #expect(await kind { try await store.commit(triplets: [triplet(2): row()]) } == .locked) }
        #expect(ContinuousClock.now - many < .seconds(10))
        #expect(await kind { _ = try await store.decisions(DecisionFilter()) } == .locked)
        try other.execute("COMMIT")
        try await eventually("works again") { store.failure == nil }
        try await store.commit(triplets: [triplet(3): row()])
        #expect(
            try await store.read(Needs(triplets: [triplet(1), triplet(2), triplet(3)])).triplets.map { $0 != nil } == [true, false, true])
        await store.close()
        #expect(changes.all == [.locked, nil])
    }

    @Test func `Full, it fails, keeps what it had, and comes back when there is room`() async throws {
        let folder = try Folder()
        var settings = Self.settings
        settings.maximumPages = 200
        let changes = Changes()
        let store = try SQLiteStore(path: folder.database, settings: settings, onChange: changes.note)
        var stored: Int64 = 0
        var failed: StoreFailure.Kind?
        let helo = String(repeating: "x", count: 3000)
        for number in 1...2000 as ClosedRange<Int64> where failed == nil {
            var long = record(number)
            long.attempt.client.helo = helo
            failed = await kind { try await store.commit(record: long) }
            if failed == nil { stored = number }
        }
        #expect(failed == .full)
        #expect(stored > 20)
        // Long enough for several trials: none may succeed while there is no room.
        try await Task.sleep(for: .seconds(1))
        #expect(store.failure?.kind == .full)
        let other = try RawDatabase(folder.database)
        #expect(try other.integer("SELECT sum(count) FROM decision_lots") == stored)
        #expect(try other.integer("SELECT decisions FROM counts") == stored)
        try other.execute("BEGIN IMMEDIATE; DELETE FROM decision_lots WHERE highest > 5; UPDATE counts SET decisions = 5; COMMIT")
        try await eventually("works again") { store.failure == nil }
        try await store.commit(record: record(3000))
        #expect(try await store.decisions(DecisionFilter()).map(\.reference.value) == [3000, 5, 4, 3, 2, 1])
        #expect(try await store.statistics().decisions == 6)
        await store.close()
        #expect(changes.all == [.full, nil])
    }

    @Test func `Deleted under it, it says so and starts afresh`() async throws {
        let folder = try Folder()
        let changes = Changes()
        let store = try SQLiteStore(path: folder.database, settings: Self.settings, onChange: changes.note)
        try await store.commit(triplets: [triplet(1): row()])
        try FileManager.default.removeItem(atPath: folder.database)
        try await eventually("noticed") { changes.all.count == 2 }
        #expect(changes.all == [.other, nil])
        try await store.commit(triplets: [triplet(2): row()])
        #expect(try await store.read(Needs(triplets: [triplet(1), triplet(2)])).triplets.map { $0 != nil } == [false, true])
        await store.close()
        let again = try SQLiteStore(path: folder.database)
        #expect(try await again.row(triplet(2)) != nil)
        await again.close()
    }

    @Test func `Replaced by a backup, it goes on with the backup`() async throws {
        let folder = try Folder()
        let changes = Changes()
        let store = try SQLiteStore(path: folder.database, settings: Self.settings, onChange: changes.note)
        try await store.commit(triplets: [triplet(1): row()])
        try await store.backup(to: folder.file("backup.db"))
        for number in 2...300 { try await store.commit(triplets: [triplet(number): row()], record: record(Int64(number))) }
        try FileManager.default.removeItem(atPath: folder.database)
        try FileManager.default.moveItem(atPath: folder.file("backup.db"), toPath: folder.database)
        try await eventually("noticed") { changes.all.count == 2 }
        #expect(try await store.read(Needs(triplets: [triplet(1), triplet(2)])).triplets.map { $0 != nil } == [true, false])
        try await store.commit(triplets: [triplet(3): row()])
        await store.close()
        #expect(try RawDatabase(folder.database).integer("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'") == 0)
        let again = try SQLiteStore(path: folder.database)
        #expect(try await again.statistics().triplets == 2)
        await again.close()
    }

    @Test func `A key file that is replaced while in use is not taken`() async throws {
        let folder = try Folder()
        let store = try SQLiteStore(path: folder.database, settings: Self.settings)
        try await store.commit(triplets: [triplet(1): row()])
        let right = folder.octets("postern.key")
        try Data(repeating: 7, count: 32).write(to: URL(fileURLWithPath: folder.key))
        let other = try RawDatabase(folder.database)
        try other.execute("BEGIN EXCLUSIVE")
        #expect(await kind { try await store.commit(triplets: [triplet(2): row()]) } == .locked)
        try other.execute("COMMIT")
        try await eventually("the wrong key is noticed") { store.failure?.kind == .corrupt }
        try right.write(to: URL(fileURLWithPath: folder.key))
        try await eventually("works again") { store.failure == nil }
        #expect(try await store.row(triplet(1)) != nil)
        await store.close()
    }

    @Test func `Closing a store that has failed ends it`() async throws {
        let folder = try Folder()
        let store = try SQLiteStore(path: folder.database, settings: Self.settings)
        let other = try RawDatabase(folder.database)
        try other.execute("BEGIN EXCLUSIVE")
        #expect(await kind { try await store.commit(triplets: [triplet(2): row()]) } == .locked)
        await store.close()
        #expect(await kind { try await store.commit(triplets: [triplet(2): row()]) } == .closed)
        try other.execute("COMMIT")
    }

    @Test func `More than may wait is refused at once, the rest is answered`() async throws {
        let folder = try Folder()
        var settings = Self.settings
        settings.maximumWaiting = 100
        let store = try SQLiteStore(path: folder.database, settings: settings)
        let kinds = NIOLockedValueBox<[StoreFailure.Kind?]>([])
        let isDeciding = NIOLockedValueBox(false)
        let mayDecide = DispatchSemaphore(value: 0)
        @Sendable func submit(_ number: Int, _ decide: @escaping @Sendable () -> Void = {}) {
            store.submit(
                BlockTransaction(needs: Needs(triplets: [triplet(number)])) { _ in
                    decide()
                    return (.writing([triplet(number): row()]), nil)
                } completion: { result in
                    kinds.withLockedValue {
                        if case .failure(let failure) = result { $0.append(failure.kind) } else { $0.append(nil) }
                    }
                })
        }
        // The writer is busy with the first, so that the others wait.
        submit(0) {
            isDeciding.withLockedValue { $0 = true }
            mayDecide.wait()
        }
        try await eventually("the first is taken") { isDeciding.withLockedValue { $0 } }
        for number in 1...150 { submit(number) }
        #expect(kinds.withLockedValue { $0 } == Array(repeating: .overloaded, count: 50))
        mayDecide.signal()
        try await eventually("all are answered") { kinds.withLockedValue { $0.count } == 151 }
        #expect(kinds.withLockedValue { $0.count { $0 == nil } } == 101)
        #expect(try await store.statistics().triplets == 101)
        await store.close()
    }
}

import Foundation
import GRDB
import NIOConcurrencyHelpers
import PosternCore
import PosternEngine

/// The store of a single host: a SQLite database beside a key file.
///
/// Triplets and identities are kept as keyed hashes, decisions in words for as long as `expire` lets them. One thread
/// of the store's own reads, decides and writes, and commits what waits together. A failure closes the database, is
/// told at once to all who wait and all who come, and is over as soon as the database opens again, which is tried
/// each second.
public final class SQLiteStore: Store {
    private let queue: WriteQueue<WriterItem>
    private let state = NIOLockedValueBox(WriterState())
    let opening: SQLiteOpening
    var index: DecisionIndex { opening.index }
    let expiryCursors = NIOLockedValueBox(ExpiryCursors())

    /// Opens or makes the database and the key file, whose folders must exist. Blocks, for a second or so at most.
    ///
    /// - Parameters:
    ///   - keyPath: `postern.key` in the database's folder where not given.
    ///   - onChange: Called on the store's thread with the failure when it stops working, with `nil` when it works again.
    public init(
        path: String, keyPath: String? = nil, settings: SQLiteSettings = SQLiteSettings(),
        onChange: @escaping @Sendable (StoreFailure?) -> Void = { _ in }
    ) throws(StoreFailure) {
        let opening = try SQLiteOpening(path: path, keyPath: keyPath ?? Self.keyPath(beside: path), settings: settings)
        let queue = WriteQueue<WriterItem>(bound: settings.maximumWaiting)
        let state = state
        self.opening = opening
        self.queue = queue

        let opened = NIOLockedValueBox<StoreFailure?>(nil)
        let isOpen = DispatchSemaphore(value: 0)
        let thread = Thread {
            let writer = SQLiteWriter(opening: opening, queue: queue, state: state, onChange: onChange)
            do throws(StoreFailure) {
                try writer.open(busyTimeout: opening.settings.busyTimeout)
            } catch {
                opened.withLockedValue { $0 = error }
            }
            let failed = opened.withLockedValue { $0 != nil }
            isOpen.signal()
            if !failed { writer.run() }
        }
        thread.name = "postern-store"
        thread.start()
        isOpen.wait()
        if let failure = opened.withLockedValue({ $0 }) { throw failure }
    }

    deinit { queue.close() }

    /// Where the key file of a database is unless told otherwise.
    public static func keyPath(beside path: String) -> String {
        let folder = (path as NSString).deletingLastPathComponent
        return folder.isEmpty ? "postern.key" : folder + "/postern.key"
    }

    /// Why the store does not work at present; `nil` while it does.
    public var failure: StoreFailure? { state.withLockedValue(\.failure) }

    // MARK: - Transactions

    public func submit(_ transaction: any StoreTransaction) {
        let keys = HashedNeeds(transaction.needs, hasher: opening.hasher)
        let refusal = queue.append(.transaction(transaction, keys), isUpkeep: false, isAwaited: transaction.isAwaited)
        if let refusal { transaction.completed(.failure(refusal)) }
    }

    public func read(_ needs: Needs) async throws(StoreFailure) -> Evidence {
        let keys = HashedNeeds(needs, hasher: opening.hasher)
        return try await onWriter(writes: false) { hot throws(StoreFailure) in try hot.evidence(keys) }
    }

    /// Work on the writer's thread, in its turn; the answer comes when it is committed.
    func onWriter<Value: Sendable>(
        writes: Bool = true, _ work: @escaping @Sendable (HotTransaction) throws(StoreFailure) -> Value
    ) async throws(StoreFailure) -> Value {
        let queue = queue
        let result: Result<Value, StoreFailure> = await withCheckedContinuation { continuation in
            let job = WriterJob(
                writes: writes,
                work: { hot throws(StoreFailure) in
                    let value = try work(hot)
                    return { continuation.resume(returning: .success(value)) }
                },
                fail: { continuation.resume(returning: .failure($0)) })
            if let refusal = queue.append(.job(job), isUpkeep: true) { job.fail(refusal) }
        }
        return try result.get()
    }

    /// Work on a reader's connection, beside the writer.
    func onReader<Value: Sendable>(_ work: @escaping @Sendable (Database) throws -> Value) async throws(StoreFailure) -> Value {
        guard let pool = state.withLockedValue(\.pool) else { throw failure ?? .closed }
        do {
            return try await pool.read(work)
        } catch {
            // It may have been closed meanwhile.
            if state.withLockedValue({ $0.pool !== pool }) { throw failure ?? .closed }
            throw StoreFailure(error, path: opening.path)
        }
    }

    // MARK: - End

    public func close() async {
        queue.close()
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            let hasEnded = state.withLockedValue { state in
                if !state.hasEnded { state.whenEnded.append { continuation.resume() } }
                return state.hasEnded
            }
            if hasEnded { continuation.resume() }
        }
    }
}

import Foundation
import GRDB
import NIOConcurrencyHelpers
import PosternCore
import PosternEngine

/// What waits for the writer.
enum WriterItem: Sendable {
    case transaction(any StoreTransaction, HashedNeeds)
    case job(WriterJob)

    func fail(_ failure: StoreFailure) {
        switch self {
        case .transaction(let transaction, _): transaction.completed(.failure(failure))
        case .job(let job): job.fail(failure)
        }
    }
}

/// Work on the writer's connection that is not a decision, in a transaction of its own.
struct WriterJob: Sendable {
    var writes: Bool
    /// What to do when it is committed.
    var work: @Sendable (HotTransaction) throws(StoreFailure) -> @Sendable () -> Void
    var fail: @Sendable (StoreFailure) -> Void
}

/// What the writer tells the rest of the store.
struct WriterState {
    /// The readers; `nil` while the store cannot work.
    var pool: DatabasePool?
    var failure: StoreFailure?
    var hasEnded = false
    var whenEnded: [@Sendable () -> Void] = []
}

/// The one thread that writes: takes what waits, commits it together, answers; and when the database fails, refuses
/// at once until it works again.
final class SQLiteWriter {
    private let opening: SQLiteOpening
    private let queue: WriteQueue<WriterItem>
    private let state: NIOLockedValueBox<WriterState>
    private let onChange: @Sendable (StoreFailure?) -> Void
    private var settings: SQLiteSettings { opening.settings }
    private var database: HotDatabase?
    private var checkpointer: Checkpointer?
    private var lastLook = ContinuousClock.now

    /// How often the path is looked at, to see whether it still names the open file.
    static let lookInterval = Duration.seconds(1)
    /// How long nobody must have come before idle time is used, in seconds.
    static let idleInterval = 0.005
    /// How long a trial of a failed database waits for a lock.
    static let probeBusyTimeout = WallTime.Span.milliseconds(100)

    init(
        opening: SQLiteOpening, queue: WriteQueue<WriterItem>, state: NIOLockedValueBox<WriterState>,
        onChange: @escaping @Sendable (StoreFailure?) -> Void
    ) {
        self.opening = opening
        self.queue = queue
        self.state = state
        self.onChange = onChange
    }

    func open(busyTimeout: WallTime.Span) throws(StoreFailure) {
        let database = try opening.open(busyTimeout: busyTimeout)
        self.database = database
        checkpointer = Checkpointer(path: opening.path, journalBytes: settings.journalBytes)
        state.withLockedValue { $0.pool = database.pool }
        lastLook = .now
    }

    /// Works until the queue is closed and empty.
    func run() {
        while true {
            let timeout = database.map { $0.usesIdleTime ? Self.idleInterval : 1 } ?? Double(settings.probeInterval.milliseconds) / 1000
            switch queue.next(timeout: timeout) {
            case .items(let items):
                if database == nil { fail(items) } else { work(items) }
                queue.recycle(items)
            case .idle:
                if database == nil { probe() } else { idle() }
            case .closed:
                shut()
                let whenEnded = state.withLockedValue { state in
                    state.hasEnded = true
                    defer { state.whenEnded = [] }
                    return state.whenEnded
                }
                for action in whenEnded { action() }
                return
            }
        }
    }

    // MARK: - Work

    private func work(_ items: [WriterItem]) {
        var index = 0
        while index < items.count {
            if ContinuousClock.now - lastLook >= Self.lookInterval { look() }
            guard let database else {
                fail(items[index...])
                return
            }
            switch items[index] {
            case .job(let job):
                index += 1
                do throws(StoreFailure) {
                    let whenCommitted = try database.transaction(writing: job.writes, job.work)
                    committed()
                    whenCommitted()
                } catch {
                    if error.kind == .other { job.fail(error) } else { breakDown(error, failing: items[index - 1..<index]) }
                }
            case .transaction:
                let start = index
                let end = min(items.count, start + min(max(settings.maximumBatch, 1), 10_000))
                while index < end, case .transaction = items[index] { index += 1 }
                commit(items[start..<index], on: database)
            }
        }
    }

    private func commit(_ batch: ArraySlice<WriterItem>, on database: HotDatabase) {
        var rulings: [Ruling?] = []
        rulings.reserveCapacity(batch.count)
        do throws(StoreFailure) {
            try database.transaction { hot throws(StoreFailure) in
                for case .transaction(let transaction, let keys) in batch {
                    rulings.append(try hot.carryOut(transaction, keys))
                }
            }
        } catch {
            breakDown(error, failing: batch)
            return
        }
        for (item, ruling) in zip(batch, rulings) {
            if case .transaction(let transaction, _) = item { transaction.completed(.success(ruling)) }
        }
        committed()
    }

    /// Looks after the file, and merges and learns while nobody waits.
    private func idle() {
        if ContinuousClock.now - lastLook >= Self.lookInterval { look() }
        guard let database, database.usesIdleTime else { return }
        do throws(StoreFailure) {
            try database.transaction(isIdle: true) { _ in }
            committed()
        } catch { breakDown(error) }
    }

    private func committed() {
        guard let database, let checkpointer, checkpointer.committed(frames: database.logLength) else { return }
        database.withConnection { checkpointer.finish(on: $0) }
    }

    private func fail(_ items: some Sequence<WriterItem>) {
        let failure = state.withLockedValue(\.failure) ?? .closed
        for item in items { item.fail(failure) }
    }

    // MARK: - Failure and recovery

    /// Tells those who wait, and from now on those who come, then closes what is open.
    private func breakDown(_ failure: StoreFailure, failing batch: ArraySlice<WriterItem> = []) {
        let isNew = state.withLockedValue { state in
            defer { state.failure = failure }
            state.pool = nil
            return state.failure == nil
        }
        let waiting = queue.refuse(with: failure)
        for item in batch { item.fail(failure) }
        for item in waiting { item.fail(failure) }
        if isNew { onChange(failure) }
        shut()
    }

    private func shut() {
        let database = self.database
        self.database = nil
        state.withLockedValue { $0.pool = nil }
        database?.close()
        // Last, since it may write, and so leaves no log behind.
        checkpointer?.stop()
        checkpointer = nil
        database?.removeStaleLog()
    }

    private func look() {
        lastLook = .now
        guard let database, !database.isInPlace else { return }
        breakDown(.replaced(opening.path))
    }

    private func probe() {
        do throws(StoreFailure) {
            try open(busyTimeout: Self.probeBusyTimeout)
            if let database { try database.tryWriting() }
            state.withLockedValue { $0.failure = nil }
            _ = queue.refuse(with: nil)
            onChange(nil)
        } catch {
            shut()
            state.withLockedValue { $0.failure = error }
            _ = queue.refuse(with: error)
        }
    }
}

import PosternCore
import PosternEngine
import Synchronization

/// What a schedule asks of a store. What was submitted and not committed is kept by whoever runs the schedule: it is
/// what a crash loses.
public protocol ScheduleStore: AnyObject {
    /// Carries the transactions out in this order and returns once every completion was called.
    func commit(_ transactions: [BlockTransaction]) async throws
    func expire(now: WallTime) async throws
    func anchor() async throws -> SteadyClock.Anchor?
    func keep(_ anchor: SteadyClock.Anchor) async throws
    /// The process has died, or stopped, and started again.
    func reopen() async throws
}

/// Rows in memory that outlive a crash as far as they were committed.
public final class RowStore: ScheduleStore {
    private var rows = Rows()
    private var committed = Rows()
    private var kept: SteadyClock.Anchor?
    private let answersBeforeCommit: Bool

    /// With `answersBeforeCommit` each commit but the last is what a crash finds: a planted bug.
    public init(answersBeforeCommit: Bool = false) {
        self.answersBeforeCommit = answersBeforeCommit
    }

    public func commit(_ transactions: [BlockTransaction]) {
        committed = rows
        for transaction in transactions {
            let ruling = transaction.decide(rows.evidence(transaction.needs))
            if let changes = ruling?.decision.changes {
                rows.apply(changes)
                if !answersBeforeCommit { committed.apply(changes) }
            }
            transaction.completed(.success(ruling))
        }
    }

    public func expire(now: WallTime) {
        rows.expire(now: now)
        committed.expire(now: now)
    }

    public func anchor() -> SteadyClock.Anchor? { kept }
    public func keep(_ anchor: SteadyClock.Anchor) { kept = anchor }
    public func reopen() { rows = committed }
}

/// Any store behind the protocol, opened anew after a crash.
public final class OpenedStore: ScheduleStore {
    private let open: () async throws -> any Store
    private var store: any Store

    public init(_ open: @escaping () async throws -> any Store) async throws {
        self.open = open
        store = try await open()
    }

    public func commit(_ transactions: [BlockTransaction]) async throws {
        guard !transactions.isEmpty else { return }
        let left = Counter(transactions.count)
        await withCheckedContinuation { (done: CheckedContinuation<Void, Never>) in
            for transaction in transactions {
                store.submit(
                    Counted(transaction) {
                        if left.countDown() { done.resume() }
                    })
            }
        }
    }

    public func expire(now: WallTime) async throws {
        while try await store.expire(now: now, decisionsBefore: now - .days(7)) > 0 {}
    }

    public func anchor() async throws -> SteadyClock.Anchor? { try await store.anchor() }
    public func keep(_ anchor: SteadyClock.Anchor) async throws { try await store.keep(anchor) }

    public func reopen() async throws {
        await store.close()
        store = try await open()
    }

    public func close() async { await store.close() }
}

/// A transaction that tells when it is completed.
private final class Counted: StoreTransaction {
    private let transaction: BlockTransaction
    private let whenCompleted: @Sendable () -> Void

    init(_ transaction: BlockTransaction, whenCompleted: @escaping @Sendable () -> Void) {
        self.transaction = transaction
        self.whenCompleted = whenCompleted
    }

    var needs: Needs { transaction.needs }
    func decide(_ evidence: Evidence) -> Ruling? { transaction.decide(evidence) }
    func completed(_ result: Result<Ruling?, StoreFailure>) {
        transaction.completed(result)
        whenCompleted()
    }
}

private final class Counter: Sendable {
    private let left: Mutex<Int>

    init(_ count: Int) { left = Mutex(count) }

    /// True for the last one.
    func countDown() -> Bool {
        left.withLock {
            $0 -= 1
            return $0 == 0
        }
    }
}

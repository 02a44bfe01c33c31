import NIOConcurrencyHelpers
import PosternCore
import PosternEngine

/// A store that forgets all when it goes: for tests, replay and the simulator.
///
/// A transaction is carried out within `submit`, on the caller's thread; nothing ever waits.
public final class MemoryStore: Store {
    /// Beyond this the oldest decisions are dropped.
    public static let defaultMaximumDecisions = 100_000
    /// The most rows, and the most decisions, that one call of `expire` drops.
    static let expiryStep = 10_000

    private struct Kept {
        var decision: StoredDecision
        var groups: [[TripletKey]]
    }

    private struct EntryKey: Hashable {
        var list: ListEntry.List
        var kind: ListEntry.Kind
        var pattern: Pattern
    }

    private struct State {
        var triplets: [TripletKey: TripletRow] = [:]
        var identities: [Identity: IdentityRow] = [:]
        /// By reference, the oldest first.
        var decisions: [Kept] = []
        var entries: [EntryKey: ListEntry] = [:]
        var releases: [Release] = []
        var counts: [CountPosition: CountRow] = [:]
        var suspensions: [String: Suspension] = [:]
        var anchor: SteadyClock.Anchor?
        var history = MemoryHistory()
        var harvest = HarvestImage()
        var isClosed = false
    }

    private let state = NIOLockedValueBox(State())
    private let maximumDecisions: Int

    public init(maximumDecisions: Int = MemoryStore.defaultMaximumDecisions) {
        self.maximumDecisions = max(maximumDecisions, 1)
    }

    public func submit(_ transaction: any StoreTransaction) {
        let result: Result<Ruling?, StoreFailure> = state.withLockedValue { state in
            if state.isClosed { return .failure(Self.closed) }
            guard let ruling = transaction.decide(Self.evidence(transaction.needs, in: state)) else { return .success(nil) }
            for change in ruling.decision.changes.triplets { state.triplets[change.key] = change.row }
            for change in ruling.decision.changes.identities { state.identities[change.identity] = change.row }
            if let record = ruling.record { keep(record, in: &state) }
            return .success(ruling)
        }
        transaction.completed(result)
    }

    private func keep(_ record: DecisionRecord, in state: inout State) {
        let kept = Kept(decision: StoredDecision(record), groups: record.tripletGroups { $0 })
        let index = state.decisions.firstIndex(from: record.reference, by: \.decision.reference)
        if index < state.decisions.count, state.decisions[index].decision.reference == record.reference {
            state.decisions[index] = kept
        } else {
            state.decisions.insert(kept, at: index)
        }
        // Dropped by the hundredth, since dropping moves all the rest.
        if state.decisions.count > maximumDecisions + maximumDecisions / 100 {
            state.decisions.removeFirst(state.decisions.count - maximumDecisions)
        }
    }

    public func read(_ needs: Needs) async throws(StoreFailure) -> Evidence {
        try locked { Self.evidence(needs, in: $0) }
    }

    public func entries() async throws(StoreFailure) -> [ListEntry] {
        try locked { $0.entries.values.sorted { $0.sortKey < $1.sortKey } }
    }

    public func entries(like entries: [ListEntry]) async throws(StoreFailure) -> [ListEntry] {
        try locked { state in
            entries.compactMap { state.entries[EntryKey(list: $0.list, kind: $0.kind, pattern: $0.pattern)] }
        }
    }

    public func releases() async throws(StoreFailure) -> [Release] {
        try locked { $0.releases.sorted { ($0.expires, $0.recipient) < ($1.expires, $1.recipient) } }
    }

    public func insert(_ entries: [ListEntry]) async throws(StoreFailure) {
        try locked { state in
            for entry in entries { state.entries[EntryKey(list: entry.list, kind: entry.kind, pattern: entry.pattern)] = entry }
        }
    }

    public func remove(_ list: ListEntry.List, _ kind: ListEntry.Kind, _ pattern: Pattern) async throws(StoreFailure) -> Bool {
        try locked { $0.entries.removeValue(forKey: EntryKey(list: list, kind: kind, pattern: pattern)) != nil }
    }

    public func insert(_ release: Release) async throws(StoreFailure) {
        try locked { state in
            state.releases.removeAll { $0.recipient == release.recipient && $0.sender == release.sender && $0.client == release.client }
            state.releases.append(release)
        }
    }

    public func keep(_ rows: [CountRow]) async throws(StoreFailure) {
        try locked { state in
            for row in rows { state.counts[row.position] = row }
        }
    }

    public func counts(after position: CountPosition?, limit: Int) async throws(StoreFailure) -> [CountRow] {
        try locked { state in
            let behind = state.counts.keys.filter { key in position.map { $0 < key } ?? true }
            return behind.sorted().prefix(limit).compactMap { state.counts[$0] }
        }
    }

    public func insert(_ suspension: Suspension) async throws(StoreFailure) {
        try locked { $0.suspensions[suspension.account] = suspension }
    }

    public func suspensions() async throws(StoreFailure) -> [Suspension] {
        try locked { $0.suspensions.values.sorted { $0.account < $1.account } }
    }

    public func removeSuspension(of account: String) async throws(StoreFailure) -> Bool {
        try locked { $0.suspensions.removeValue(forKey: account) != nil }
    }

    public func decisions(_ filter: DecisionFilter) async throws(StoreFailure) -> [StoredDecision] {
        let match = DecisionMatch(filter)
        return try locked {
            Array(
                $0.decisions.reversed().prefix(filter.mostSeen ?? .max).lazy.map(\.decision).filter(match.matches).prefix(filter.limit))
        }
    }

    public func waiting(_ filter: DecisionFilter, now: WallTime) async throws(StoreFailure) -> [WaitingTriplet] {
        let match = DecisionMatch(filter)
        return try locked { state in
            var search = WaitingSearch<TripletKey>(now: now, limit: filter.limit)
            for kept in state.decisions.reversed() where kept.decision.action == Verdict.Action.defer.name && match.matches(kept.decision) {
                search.consider(kept.decision, groups: kept.groups) { state.triplets[$0] }
                if search.isFull { break }
            }
            return search.found
        }
    }

    public func forget(_ filter: DecisionFilter) async throws(StoreFailure) -> Int {
        let match = DecisionMatch(filter)
        return try locked { state in
            var forgotten = 0
            for kept in state.decisions where match.matches(kept.decision) {
                for key in kept.groups.joined() where state.triplets.removeValue(forKey: key) != nil { forgotten += 1 }
            }
            return forgotten
        }
    }

    public func remove(_ release: Release) async throws(StoreFailure) -> Bool {
        try locked { state in
            let before = state.releases.count
            state.releases.removeAll { $0.recipient == release.recipient && $0.sender == release.sender && $0.client == release.client }
            return state.releases.count < before
        }
    }

    public func forgetReversibly(_ filter: DecisionFilter) async throws(StoreFailure) -> ForgottenRows {
        let match = DecisionMatch(filter)
        return try locked { state in
            var rows: [(TripletKey, TripletRow)] = []
            for kept in state.decisions where match.matches(kept.decision) {
                for key in kept.groups.joined() { if let row = state.triplets.removeValue(forKey: key) { rows.append((key, row)) } }
            }
            return state.history.keep(rows)
        }
    }

    public func restore(_ rows: ForgottenRows) async throws(StoreFailure) -> Int {
        try locked { state in
            var count = 0
            for (key, row) in state.history.take(rows) where state.triplets[key] == nil {
                state.triplets[key] = row
                count += 1
            }
            return count
        }
    }

    public func record(_ minute: HistoryMinute) async throws(StoreFailure) { try locked { $0.history.record(minute) } }
    public func history(_ span: HistorySpan) async throws(StoreFailure) -> [HistoryMinute] { try locked { $0.history.groups(span) } }
    public func append(_ entry: AuditEntry) async throws(StoreFailure) -> Int64 { try locked { $0.history.append(entry) } }
    public func audit(before: Int64?, limit: Int) async throws(StoreFailure) -> [AuditEntry] {
        try locked { $0.history.audit(before: before, limit: limit) }
    }
    public func markUndone(_ id: Int64, at time: WallTime) async throws(StoreFailure) -> Bool {
        try locked { $0.history.markUndone(id, at: time) }
    }
    public func expireHistory(before minute: Int64, auditBefore: WallTime) async throws(StoreFailure) -> Int {
        try locked { $0.history.expire(before: minute, auditBefore: auditBefore) }
    }
    /// Nothing to do: all is in memory.
    public func indexStep() async throws(StoreFailure) { _ = try locked { _ in } }

    public func statistics() async throws(StoreFailure) -> StoreStatistics {
        try locked {
            StoreStatistics(
                triplets: $0.triplets.count, identities: $0.identities.count, decisions: $0.decisions.count, entries: $0.entries.count,
                bytes: 0)
        }
    }

    public func expire(now: WallTime, decisionsBefore: WallTime) async throws(StoreFailure) -> Int {
        try locked { state in
            let triplets = Array(state.triplets.lazy.filter { $0.value.expires <= now }.map(\.key).prefix(Self.expiryStep))
            for key in triplets { state.triplets[key] = nil }
            let identities = Array(state.identities.lazy.filter { $0.value.expires <= now }.map(\.key).prefix(Self.expiryStep))
            for key in identities { state.identities[key] = nil }
            let decisions = state.decisions.prefix { $0.decision.time < decisionsBefore }.prefix(Self.expiryStep).count
            state.decisions.removeFirst(decisions)
            let entries = state.entries.filter { !$0.value.isLive(at: now) }
            for key in entries.keys { state.entries[key] = nil }
            let counts = Array(state.counts.lazy.filter { $0.value.expires <= now }.map(\.key).prefix(Self.expiryStep))
            for key in counts { state.counts[key] = nil }
            let releases = state.releases.count
            state.releases.removeAll { $0.expires <= now }
            return triplets.count + identities.count + decisions + entries.count + counts.count + releases - state.releases.count
        }
    }

    public func harvest() async throws(StoreFailure) -> HarvestImage {
        try locked(\.harvest)
    }

    public func keep(_ changes: HarvestChanges) async throws(StoreFailure) {
        try locked { state in
            func merge<Kept>(_ kept: inout [Kept], _ changes: [Prefix: Kept?], _ prefix: (Kept) -> Prefix) {
                guard !changes.isEmpty else { return }
                var rows = Dictionary(uniqueKeysWithValues: kept.map { (prefix($0), $0) })
                for (key, value) in changes { rows[key] = value }
                kept = Array(rows.values)
            }
            merge(&state.harvest.entries, changes.entries, \.prefix)
            merge(&state.harvest.sightings, changes.sightings, \.prefix)
            merge(&state.harvest.removals, changes.removals, \.prefix)
            state.harvest.touches = changes.touches ?? state.harvest.touches
            state.harvest.isComplete = changes.isComplete ?? state.harvest.isComplete
        }
    }

    /// Always fails: there is nothing to copy.
    public func backup(to path: String) async throws(StoreFailure) {
        _ = try locked { _ in }
        throw StoreFailure(.other, "a store in memory cannot be backed up")
    }

    public func anchor() async throws(StoreFailure) -> SteadyClock.Anchor? {
        try locked(\.anchor)
    }

    public func keep(_ anchor: SteadyClock.Anchor) async throws(StoreFailure) {
        try locked { $0.anchor = anchor }
    }

    public func close() async {
        state.withLockedValue { $0.isClosed = true }
    }

    // MARK: -

    private static let closed = StoreFailure(.closed, "the store is closed")

    private func locked<Value: Sendable>(_ body: (inout State) -> Value) throws(StoreFailure) -> Value {
        let result: Result<Value, StoreFailure> = state.withLockedValue { $0.isClosed ? .failure(Self.closed) : .success(body(&$0)) }
        return try result.get()
    }

    private static func evidence(_ needs: Needs, in state: State) -> Evidence {
        Evidence(triplets: needs.triplets.map { state.triplets[$0] }, identities: needs.identities.map { state.identities[$0] })
    }
}

extension ListEntry {
    /// The order in which entries are shown.
    var sortKey: (String, String, String) { (list.rawValue, kind.rawValue, pattern.description) }
}

extension Array {
    /// The first index whose element's value is not below the given one, in an array that is ordered by it.
    func firstIndex<Value: Comparable>(from value: Value, by path: KeyPath<Element, Value>) -> Int {
        guard let last, last[keyPath: path] >= value else { return count }
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if self[middle][keyPath: path] < value { low = middle + 1 } else { high = middle }
        }
        return low
    }
}

import GRDB
import PosternCore
import PosternEngine

/// What may be done within one transaction on the writer's connection.
final class HotTransaction {
    private let statements: HotDatabase.Statements
    private let hasher: KeyHasher
    private let path: String
    /// For what is done seldom.
    private let db: Database
    private(set) var counts: HotDatabase.Counts
    private let keepsDecisions: Bool
    /// Decisions written, and triplets changed.
    private var written = 0
    private var changed = 0
    /// What one decision's evidence was in, for the next one's.
    private var room = Evidence()

    init(
        statements: HotDatabase.Statements, hasher: KeyHasher, counts: HotDatabase.Counts, keepsDecisions: Bool, db: Database, path: String
    ) {
        self.statements = statements
        self.hasher = hasher
        self.counts = counts
        self.keepsDecisions = keepsDecisions
        self.db = db
        self.path = path
    }

    func triplet(_ key: Int64) throws(StoreFailure) -> TripletRow? { try statements.triplets.row(key) }

    func evidence(_ keys: HashedNeeds) throws(StoreFailure) -> Evidence {
        var evidence = Evidence()
        try read(keys, into: &evidence)
        return evidence
    }

    private func read(_ keys: HashedNeeds, into evidence: inout Evidence) throws(StoreFailure) {
        evidence.triplets.removeAll(keepingCapacity: true)
        evidence.identities.removeAll(keepingCapacity: true)
        for index in 0..<keys.tripletCount { evidence.triplets.append(try statements.triplets.row(keys.triplet(index))) }
        for index in 0..<keys.identityCount { evidence.identities.append(try statements.identities.row(keys.identity(index))) }
    }

    /// Reads, decides, writes. `decide` is called once, unless reading fails.
    func carryOut(_ transaction: any StoreTransaction, _ keys: HashedNeeds) throws(StoreFailure) -> Ruling? {
        var evidence = Evidence()
        swap(&evidence, &room)
        defer { swap(&evidence, &room) }
        try read(keys, into: &evidence)
        guard let ruling = transaction.decide(evidence) else { return nil }
        try write(ruling, on: evidence, transaction.needs, keys)
        return ruling
    }

    /// Apart from the decision, so that what is written is read where the ruling has it.
    @inline(never)
    private func write(_ ruling: Ruling, on evidence: Evidence, _ needs: Needs, _ keys: HashedNeeds) throws(StoreFailure) {
        if !ruling.decision.changes.triplets.isEmpty { try write(ruling.decision.changes.triplets, evidence, needs.triplets, keys) }
        if !ruling.decision.changes.identities.isEmpty { try write(ruling.decision.changes.identities, evidence, needs.identities, keys) }
        if keepsDecisions, let record = ruling.record { keep(record, needs.triplets, keys) }
    }

    private func write(
        _ changes: [Changes.Triplet], _ evidence: Evidence, _ needs: [TripletKey], _ keys: HashedNeeds
    ) throws(StoreFailure) {
        var positions = Positions(needs)
        try changes.forEachInPlace { (change) throws(StoreFailure) in
            let index = positions.index(of: change.pointee.key)
            let key = index.map(keys.triplet) ?? hasher.key(of: change.pointee.key)
            let existed = if let index { evidence.triplets[index] != nil } else { try statements.triplets.row(key) != nil }
            // A message may name a recipient twice.
            let isFirst = statements.triplets.put(key, change.pointee.row)
            changed += 1
            if !existed, isFirst { counts.triplets += 1 }
        }
    }

    /// Apart for the same reason.
    @inline(never)
    private func keep(_ record: DecisionRecord, _ needs: [TripletKey], _ keys: HashedNeeds) {
        let triplets = record.triplets
        // Mostly what was asked for, to the very array.
        if triplets.count == needs.count, triplets.startAddress == needs.startAddress {
            statements.decisions.put(record, key: keys.triplet)
        } else {
            var positions = Positions(needs)
            statements.decisions.put(record) { place in
                positions.index(of: triplets[place]).map(keys.triplet) ?? hasher.key(of: triplets[place])
            }
        }
        written += 1
    }

    /// They change only when mail passes.
    private func write(
        _ changes: [Changes.IdentityCount], _ evidence: Evidence, _ needs: [Identity], _ keys: HashedNeeds
    ) throws(StoreFailure) {
        var created: [Int64] = []
        var identities = Positions(needs)
        for change in changes {
            let index = identities.index(of: change.identity)
            let key = index.map(keys.identity) ?? hasher.key(of: change.identity)
            let existed = if let index { evidence.identities[index] != nil } else { try statements.identities.row(key) != nil }
            try statements.identities.put(key, change.row)
            if !existed, !created.contains(key) { created.append(key) }
        }
        counts.identities += Int64(created.count)
    }

    /// Where a value stands among those that were asked for; quick where they are looked for in their order.
    private struct Positions<Value: Equatable> {
        private let values: [Value]
        private var next = 0

        init(_ values: [Value]) {
            self.values = values
        }

        mutating func index(of value: Value) -> Int? {
            let next = next
            let found: Int? = values.withUnsafeBufferPointer { values in
                guard let start = values.baseAddress else { return nil }
                for offset in 0..<values.count {
                    let index = next + offset < values.count ? next + offset : next + offset - values.count
                    if (start + index).pointee == value { return index }
                }
                return nil
            }
            if let found { self.next = found + 1 < values.count ? found + 1 : 0 }
            return found
        }
    }

    /// The last step before a commit: writes the journal, merges, learns, and keeps the number of decisions in bounds, with at
    /// most a few times the transaction's own work.
    func finish(maximumDecisions: Int, isIdle: Bool) throws(StoreFailure) {
        counts.journal = try statements.triplets.flush()
        counts.decisions += Int64(try statements.decisions.flush())
        try statements.triplets.merge(isIdle ? Self.idleMerge : statements.triplets.pace(changed))
        counts.merging = statements.triplets.progress
        try learn(isIdle ? Self.idleLearn : max(changed * Self.learntEach, Self.learntAtLeast))
        let excess = Int(counts.decisions) - max(maximumDecisions, 1)
        if excess > 0, written > 0 {
            // More than need be, so that most commits need not.
            let spare = min(maximumDecisions / 100, Self.pruneSpare)
            counts.decisions -= Int64(try statements.decisions.prune(oldest: min(excess, written * 2 + Self.pruneAtLeast) + spare))
        }
    }

    /// Learns which rows there are, about so many more of each table, and more of triplets, of which a hundred are read at once.
    private func learn(_ rows: Int) throws(StoreFailure) {
        try statements.triplets.learn(rows * Self.tripletsLearnt, of: counts.triplets)
        try statements.identities.learn(rows, of: counts.identities)
    }

    private static let pruneAtLeast = 50
    private static let pruneSpare = 512
    /// Changes that are merged, and rows that are learnt, in one transaction while nobody waits: about half a thousandth of a second.
    private static let idleMerge = 128
    private static let idleLearn = 1500
    /// Rows that are learnt for each change otherwise, and with each transaction.
    private static let learntEach = 8
    private static let learntAtLeast = 100
    /// So many times as many triplets.
    private static let tripletsLearnt = 8

    // MARK: - Upkeep

    /// Removes rows, whatever they say; returns how many there were.
    func forget(_ keys: [Int64]) throws(StoreFailure) -> Int {
        var removed = 0
        for key in keys where try statements.triplets.row(key) != nil {
            statements.triplets.remove(key)
            removed += 1
        }
        changed += removed
        counts.triplets -= Int64(removed)
        return removed
    }

    /// Writes a row that was not there.
    func create(_ key: Int64, _ row: TripletRow) {
        statements.triplets.put(key, row)
        changed += 1
        counts.triplets += 1
    }

    /// Removes what has expired by now of some lots of triplets; returns how many rows there were.
    func expireTriplets(lots: [Int64], now: WallTime) throws(StoreFailure) -> Int {
        var removed = 0
        for lot in lots { removed += try statements.triplets.expire(lot: lot, now: now) }
        counts.triplets -= Int64(removed)
        return removed
    }

    func expireRecentTriplets(_ count: Int, now: WallTime) -> Int {
        let removed = statements.triplets.expireRecent(count, now: now)
        changed += removed
        counts.triplets -= Int64(removed)
        return removed
    }

    func expireIdentities(_ keys: [Int64], now: WallTime) throws(StoreFailure) -> Int {
        var removed = 0
        for key in keys {
            guard let row = try statements.identities.row(key), row.expires <= now else { continue }
            try statements.identities.remove(key)
            removed += 1
        }
        counts.identities -= Int64(removed)
        return removed
    }

    func pruneDecisions(_ count: Int, before: WallTime) throws(StoreFailure) -> Int {
        let pruned = try statements.decisions.prune(oldest: count, before: before)
        counts.decisions -= Int64(pruned)
        return pruned
    }

    /// Something seldom, in GRDB's own words.
    func seldom<Value>(_ work: (Database) throws -> Value) throws(StoreFailure) -> Value {
        do { return try work(db) } catch { throw StoreFailure(error, path: path) }
    }
}

/// The keys of a transaction's needs, in their order; made by whoever submits, to spare the writer's thread.
struct HashedNeeds: Sendable {
    /// Those of triplets, then those of identities.
    private let keys: [Int64]
    let tripletCount: Int
    var identityCount: Int { keys.count - tripletCount }

    init(_ needs: Needs, hasher: KeyHasher) {
        tripletCount = needs.triplets.count
        guard !needs.isEmpty else {
            keys = []
            return
        }
        var keys: [Int64] = []
        keys.reserveCapacity(needs.triplets.count + needs.identities.count)
        needs.triplets.forEachInPlace { triplet in keys.append(hasher.key(at: triplet)) }
        needs.identities.forEachInPlace { identity in keys.append(hasher.key(of: identity.pointee)) }
        self.keys = keys
    }

    func triplet(_ index: Int) -> Int64 { keys[index] }
    func identity(_ index: Int) -> Int64 { keys[tripletCount + index] }
}

extension Array {
    /// Calls `body` with each element where it lies: to take out what holds many references costs more than most that is done with it.
    @inline(__always)
    fileprivate func forEachInPlace<Failure>(_ body: (UnsafePointer<Element>) throws(Failure) -> Void) throws(Failure) {
        try withUnsafeBufferPointer { (elements) throws(Failure) in
            guard let start = elements.baseAddress else { return }
            for index in 0..<elements.count { try body(start + index) }
        }
    }

    /// Where the elements lie, to tell whether two arrays share them.
    fileprivate var startAddress: UnsafeRawPointer? { withUnsafeBufferPointer { UnsafeRawPointer($0.baseAddress) } }
}

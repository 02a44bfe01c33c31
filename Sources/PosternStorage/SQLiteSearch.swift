import GRDB
import GRDBSQLite
import PosternCore
import PosternEngine

// What people look at: read beside the writer, in short steps, so that the log can be written back between them.

extension SQLiteStore {
    /// Decisions that are looked at in one step.
    static let searchStep = 10_000
    /// Triplet rows that are looked up, or forgotten, in one turn of the writer.
    static let lookupStep = 256

    public func decisions(_ filter: DecisionFilter) async throws(StoreFailure) -> [StoredDecision] {
        var found: [StoredDecision] = []
        try await search(filter, columns: .all, wanted: filter.limit, atMost: filter.mostSeen ?? .max) { matches throws(StoreFailure) in
            found += matches.prefix(filter.limit - found.count).map(\.decision)
            return found.count < filter.limit
        }
        return found
    }

    public func waiting(_ filter: DecisionFilter, now: WallTime) async throws(StoreFailure) -> [WaitingTriplet] {
        var search = WaitingSearch<Int64>(now: now, limit: filter.limit)
        try await self.search(filter, columns: .deferred) { matches throws(StoreFailure) in
            var rest = matches[...]
            while !rest.isEmpty, !search.isFull {
                let step = rest.prefix(Self.lookupStep)
                rest = rest.dropFirst(Self.lookupStep)
                let keys = Set(step.flatMap { $0.groups.joined() })
                let rows = try await self.onWriter(writes: false) { hot throws(StoreFailure) in
                    var rows: [Int64: TripletRow] = [:]
                    for key in keys { rows[key] = try hot.triplet(key) }
                    return rows
                }
                for match in step { search.consider(match.decision, groups: match.groups) { rows[$0] } }
            }
            return !search.isFull
        }
        return search.found
    }

    /// The filter's limit does not count here.
    public func forget(_ filter: DecisionFilter) async throws(StoreFailure) -> Int {
        var forgotten = 0
        try await search(filter, columns: .all) { matches throws(StoreFailure) in
            var rest = Array(Set(matches.flatMap { $0.groups.joined() }))[...]
            while !rest.isEmpty {
                let keys = Array(rest.prefix(Self.lookupStep))
                rest = rest.dropFirst(Self.lookupStep)
                forgotten += try await self.onWriter { hot throws(StoreFailure) in try hot.forget(keys) }
            }
            return true
        }
        return forgotten
    }

    public func statistics() async throws(StoreFailure) -> StoreStatistics {
        let path = opening.path
        return try await onReader { db in
            guard let counts = try Row.fetchOne(db, sql: "SELECT triplets, identities, decisions FROM counts") else {
                throw StoreFailure.sqlite(SQLITE_CORRUPT, "the table of counts is empty", path: path)
            }
            return StoreStatistics(
                triplets: counts["triplets"], identities: counts["identities"], decisions: counts["decisions"],
                entries: try Int.fetchOne(db, sql: "SELECT count(*) FROM entries") ?? 0,
                bytes: ["", "-wal", "-shm"].reduce(0) { $0 + fileSize(path + $1) })
        }
    }

    // MARK: -

    struct Match: Sendable {
        var decision: StoredDecision
        var groups: [[Int64]]
    }

    enum Columns {
        case all
        /// Only decisions that deferred.
        case deferred
    }

    /// Hands over what matches, the newest first, step by step, until told to stop.
    /// Of a step that finds `wanted` no more is read; of all that may match at most `atMost` are looked at.
    func search(
        _ filter: DecisionFilter, columns: Columns, wanted: Int = .max, atMost: Int = .max,
        _ take: ([Match]) async throws(StoreFailure) -> Bool
    ) async throws(StoreFailure) {
        let match = DecisionMatch(filter)
        let path = opening.path
        let action = columns == .deferred ? Verdict.Action.defer.name : nil
        var ranges = match.reference.map { [$0...$0] } ?? index.ranges(match, action: action)
        if let reference = match.reference, let before = match.before, reference >= before { ranges = [] }
        var unseen = atMost
        while !ranges.isEmpty, unseen > 0 {
            let left = ranges
            let limit = min(Self.searchStep, unseen)
            unseen -= limit
            let (matches, rest) = try await onReader { db in
                try DecisionSearch.step(db, path: path, left, match: match, action: action, limit: limit, wanted: wanted)
            }
            if !matches.isEmpty, try await !take(matches) { return }
            if Task.isCancelled { throw StoreFailure(.other, "cancelled") }
            ranges = rest
        }
    }
}

/// A search through the decisions on a reader's connection.
private enum DecisionSearch {
    /// What matches among the next rows of the ranges, and what is left of them; nothing when all have been seen.
    static func step(
        _ db: Database, path: String, _ ranges: [ClosedRange<Int64>], match: DecisionMatch, action: String?, limit: Int, wanted: Int
    ) throws -> ([SQLiteStore.Match], [ClosedRange<Int64>]) {
        guard let connection = db.sqliteConnection else { throw StoreFailure.closed }
        let statement = try Statement(DecisionLot.selection, on: connection, path: path)
        let action = action.map { Array($0.utf8) }
        var found: [SQLiteStore.Match] = []
        var seen = 0
        for (place, range) in ranges.enumerated() {
            statement.bind(1, range.lowerBound)
            statement.bind(2, range.upperBound)
            defer { statement.reset() }
            while try statement.step() {
                var lot = DecisionLot(statement.octets(0))
                while let decision = lot.next() {
                    let reference = decision.reference
                    // The lots at both ends may reach over the range.
                    guard reference <= range.upperBound else { continue }
                    guard reference >= range.lowerBound else { break }
                    // What is left of this range, when the step ends here.
                    if seen >= limit || found.count >= wanted {
                        return (found, [range.lowerBound...reference] + ranges[(place + 1)...])
                    }
                    seen += 1
                    guard matches(decision, match, action) else { continue }
                    guard let (stored, groups) = StoredDecision.read(decision) else { throw StoreFailure.damagedDecisions(path: path) }
                    found.append(SQLiteStore.Match(decision: stored, groups: groups))
                }
                if lot.isDamaged { throw StoreFailure.damagedDecisions(path: path) }
            }
        }
        return (found, [])
    }

    /// Looks at the texts in the order in which they lie there, and no further than it has to.
    private static func matches(_ decision: PackedDecision, _ match: DecisionMatch, _ action: [UInt8]?) -> Bool {
        guard decision.time >= match.since else { return false }
        var texts = decision.texts
        let word = texts.next()
        if let action, !word.elementsEqual(action) { return false }
        let address = texts.next()
        if let wanted = match.address, !wanted.isPart(of: address) { return false }
        guard match.isOfNetwork(String(decoding: address, as: UTF8.self)) else { return false }
        let sender = texts.next()
        if let wanted = match.sender, !wanted.isPart(of: sender) { return false }
        return match.recipient?.isPart(of: texts.next()) ?? true
    }
}

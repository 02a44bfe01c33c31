import GRDBSQLite
import PosternCore
import PosternEngine

/// The readable decisions, on the writer's connection.
final class DecisionTable {
    private let replace: Statement
    private let exists: Statement
    private let newest: Statement
    private let pruneOldest: Statement
    private let pruneAged: Statement
    private let connection: OpaquePointer
    private let index: DecisionIndex
    /// The texts of one row, one after the other, while they are bound.
    private var texts: [UInt8] = []
    /// Where each ends.
    private var ends: [Int] = []
    private(set) var highest: Int64

    init(_ connection: OpaquePointer, path: String, index: DecisionIndex) throws(StoreFailure) {
        self.connection = connection
        self.index = index
        replace = try Statement(
            "REPLACE INTO decisions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", on: connection, path: path)
        exists = try Statement("SELECT 1 FROM decisions WHERE reference = ?", on: connection, path: path)
        newest = try Statement("SELECT max(reference) FROM decisions", on: connection, path: path)
        pruneOldest = try Statement(
            "DELETE FROM decisions WHERE reference IN (SELECT reference FROM decisions ORDER BY reference LIMIT ?)", on: connection,
            path: path)
        pruneAged = try Statement(
            "DELETE FROM decisions WHERE reference IN (SELECT reference FROM decisions ORDER BY reference LIMIT ?) AND time < ?",
            on: connection, path: path)
        texts.reserveCapacity(4096)
        highest = .min
    }

    /// To be called when another process has written, or a transaction failed.
    func synchronise() throws(StoreFailure) {
        defer { newest.reset() }
        _ = try newest.step()
        highest = newest.optionalInteger(0) ?? .min
        index.clear()
    }

    /// Writes a decision in place of one of the same reference; `false` where there was one. `key` tells a triplet's key.
    func put(_ record: DecisionRecord, key: (TripletKey) -> Int64) throws(StoreFailure) -> Bool {
        let reference = record.reference.value
        var isNew = true
        if reference <= highest {
            exists.bind(1, reference)
            defer { exists.reset() }
            isNew = try !exists.step()
        }
        highest = max(highest, reference)
        index.willWrite(reference, record)

        // Taken out while they are filled, so that their owner is not asked at each step.
        var texts: [UInt8] = []
        var ends: [Int] = []
        swap(&texts, &self.texts)
        swap(&ends, &self.ends)
        defer {
            texts.removeAll(keepingCapacity: true)
            ends.removeAll(keepingCapacity: true)
            swap(&texts, &self.texts)
            swap(&ends, &self.ends)
        }
        for column in StoredDecision.Column.allCases {
            record.append(column, to: &texts)
            ends.append(texts.count)
        }
        record.appendTripletGroups(to: &texts, key: key)

        let replace = replace
        let result: Result<Void, StoreFailure> = texts.withUnsafeBytes { bytes in
            replace.bind(1, reference)
            replace.bind(2, record.time.milliseconds)
            replace.bind(3, record.verdict.passesAt?.milliseconds)
            var start = 0
            var parameter: Int32 = 4
            for end in ends {
                replace.bind(parameter, text: UnsafeRawBufferPointer(rebasing: bytes[start..<end]))
                start = end
                parameter += 1
            }
            replace.bind(parameter, blob: UnsafeRawBufferPointer(rebasing: bytes[start...]))
            do throws(StoreFailure) {
                try replace.run()
                return .success(())
            } catch { return .failure(error) }
        }
        try result.get()
        return isNew
    }

    /// Drops the oldest; returns how many.
    func prune(oldest count: Int) throws(StoreFailure) -> Int {
        pruneOldest.bind(1, Int64(count))
        try pruneOldest.run()
        return Int(sqlite3_changes(connection))
    }

    /// Drops those of the oldest that are older than `before`; returns how many.
    func prune(oldest count: Int, before: WallTime) throws(StoreFailure) -> Int {
        pruneAged.bind(1, Int64(count))
        pruneAged.bind(2, before.milliseconds)
        try pruneAged.run()
        return Int(sqlite3_changes(connection))
    }
}

/// The triplet keys of a decision as octets: for each triplet the number of its keys, then the keys, 8 octets each.
enum TripletGroups {
    /// A triplet has at most as many keys as there are kinds of identities.
    static let maximumKeys = 255

    /// What cannot be read is left out.
    static func decode(_ bytes: UnsafeRawBufferPointer) -> [[Int64]] {
        var groups: [[Int64]] = []
        var position = 0
        while position < bytes.count {
            let count = Int(bytes[position])
            position += 1
            guard position + count * 8 <= bytes.count else { break }
            groups.append(
                (0..<count).map { Int64(littleEndian: bytes.loadUnaligned(fromByteOffset: position + $0 * 8, as: Int64.self)) })
            position += count * 8
        }
        return groups
    }
}

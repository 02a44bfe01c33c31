import PosternCore
import PosternEngine

/// History, audit and what was forgotten, in a store in memory.
struct MemoryHistory: Sendable {
    private var minutes: [Int64: HistoryMinute] = [:]
    private var entries: [AuditEntry] = []
    private var lastEntry: Int64 = 0
    /// By the number that `ForgottenRows.data` holds.
    private var forgotten: [UInt64: [(TripletKey, TripletRow)]] = [:]
    private var lastForgotten: UInt64 = 0

    /// Of those that may be put back; the oldest make room.
    private static let maximumForgotten = 1000

    mutating func record(_ minute: HistoryMinute) {
        minutes[minute.minute, default: HistoryMinute(minute: minute.minute)].add(minute)
    }

    func groups(_ span: HistorySpan) -> [HistoryMinute] {
        var groups: [Int64: HistoryMinute] = [:]
        for minute in minutes.values where minute.minute >= span.from && minute.minute < span.to {
            let first = span.group(of: minute.minute)
            groups[first, default: HistoryMinute(minute: first)].add(minute)
        }
        return Array(groups.values.sorted { $0.minute < $1.minute }.suffix(HistorySpan.maximumGroups))
    }

    mutating func append(_ entry: AuditEntry) -> Int64 {
        lastEntry += 1
        var entry = entry
        entry.id = lastEntry
        entries.append(entry)
        if entries.count > AuditEntry.maximumEntries { entries.removeFirst(entries.count - AuditEntry.maximumEntries) }
        return lastEntry
    }

    func audit(before: Int64?, limit: Int) -> [AuditEntry] {
        Array(entries.reversed().lazy.filter { $0.id < before ?? .max }.prefix(max(limit, 0)))
    }

    mutating func markUndone(_ id: Int64, at time: WallTime) -> Bool {
        guard let index = entries.firstIndex(where: { $0.id == id }), entries[index].undoneAt == nil else { return false }
        entries[index].undoneAt = time
        entries[index].undo = nil
        return true
    }

    mutating func expire(before minute: Int64, auditBefore: WallTime) -> Int {
        let count = minutes.count + entries.count
        minutes = minutes.filter { $0.key >= minute }
        entries.removeAll { $0.time < auditBefore }
        return count - minutes.count - entries.count
    }

    mutating func keep(_ rows: [(TripletKey, TripletRow)]) -> ForgottenRows {
        guard rows.count <= ForgottenRows.maximumRows else { return ForgottenRows(count: rows.count, data: nil) }
        lastForgotten += 1
        forgotten[lastForgotten] = rows
        forgotten[lastForgotten &- UInt64(Self.maximumForgotten)] = nil
        return ForgottenRows(count: rows.count, data: withUnsafeBytes(of: lastForgotten.littleEndian) { Array($0) })
    }

    mutating func take(_ rows: ForgottenRows) -> [(TripletKey, TripletRow)] {
        guard let data = rows.data, data.count == 8 else { return [] }
        return forgotten.removeValue(forKey: data.reversed().reduce(0) { $0 << 8 | UInt64($1) }) ?? []
    }
}

import PosternCore
import PosternEngine
import PosternStorage
import Testing

/// History, the log of changes, and forgetting with a way back: what every store keeps to.
@Suite(.timeLimit(.minutes(10)))
struct HistoryConformanceTests {
    private func minute(_ number: Int64, accepted: Int64 = 0, waiting: Int64 = 0) -> HistoryMinute {
        var minute = HistoryMinute(minute: number)
        minute.accepted = accepted
        minute.mostWaiting = waiting
        return minute
    }

    @Test(arguments: StoreKind.allCases)
    func `A minute's figures are added up, of others the greatest counts`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            var full = HistoryMinute(minute: 100)
            for (index, path) in (HistoryMinute.sums + HistoryMinute.maxima).enumerated() { full[keyPath: path] = Int64(index + 1) }
            try await store.record(full)
            #expect(try await store.history(HistorySpan(from: 100, to: 101)) == [full])
            try await store.record(full)
            var twice = full
            twice.add(full)
            #expect(twice.accepted == 2 * full.accepted && twice.mostTrapped == full.mostTrapped)
            #expect(try await store.history(HistorySpan(from: 100, to: 101)) == [twice])
        }
    }

    @Test(arguments: StoreKind.allCases)
    func `Minutes are put together by steps, the oldest first, and only those asked for`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            for number in Int64(5)...17 { try await store.record(minute(number, accepted: 1, waiting: number)) }
            try await store.record(minute(40, accepted: 7))
            let groups = try await store.history(HistorySpan(from: 6, to: 17, step: 5))
            #expect(groups.map(\.minute) == [5, 10, 15])
            #expect(groups.map(\.accepted) == [4, 5, 2])
            #expect(groups.map(\.mostWaiting) == [9, 14, 16])
            #expect(try await store.history(HistorySpan(from: 18, to: 40)).isEmpty)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func `What is too old goes, what is not stays`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            for number in Int64(1)...6 {
                try await store.record(minute(number, accepted: number))
                _ = try await store.append(AuditEntry(time: WallTime(seconds: number * 60), who: "test", what: "\(number)"))
            }
            #expect(try await store.expireHistory(before: 4, auditBefore: WallTime(seconds: 300)) == 7)
            #expect(try await store.expireHistory(before: 4, auditBefore: WallTime(seconds: 300)) == 0)
            #expect(try await store.history(HistorySpan(from: 0, to: 100)).map(\.minute) == [4, 5, 6])
            #expect(try await store.audit(before: nil, limit: 10).map(\.what) == ["6", "5"])
        }
    }

    @Test(arguments: StoreKind.allCases)
    func `Changes come back newest first, page by page, and are undone once`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            var ids: [Int64] = []
            for number in 1...5 {
                let entry = AuditEntry(
                    id: 77, time: noon + .seconds(Int64(number)), who: "dashboard", what: "Allowed: ünïcode \(number)", undo: "{\(number)}")
                ids.append(try await store.append(entry))
            }
            #expect(ids == ids.sorted() && Set(ids).count == 5)
            let newest = try await store.audit(before: nil, limit: 2)
            #expect(newest.map(\.id) == [ids[4], ids[3]])
            #expect(
                newest[0] == AuditEntry(id: ids[4], time: noon + .seconds(5), who: "dashboard", what: "Allowed: ünïcode 5", undo: "{5}"))
            #expect(try await store.audit(before: ids[3], limit: 10).map(\.id) == [ids[2], ids[1], ids[0]])
            #expect(try await store.markUndone(ids[1], at: noon + .hours(1)))
            #expect(try await store.markUndone(ids[1], at: noon + .hours(2)) == false)
            #expect(try await store.markUndone(9999, at: noon) == false)
            let undone = try await store.audit(before: ids[2], limit: 1)
            #expect(undone.first?.undoneAt == noon + .hours(1) && undone.first?.undo == nil)
        }
    }

    @Test(arguments: [StoreKind.memory, .sqlite])
    func `The log of changes is bounded, the oldest go`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            for number in 0..<AuditEntry.maximumEntries + 3 {
                _ = try await store.append(AuditEntry(time: noon, who: "test", what: "\(number)"))
            }
            let all = try await store.audit(before: nil, limit: AuditEntry.maximumEntries * 2)
            #expect(all.count == AuditEntry.maximumEntries)
            #expect(all.last?.what == "3")
        }
    }

    @Test(arguments: StoreKind.allCases)
    func `What was forgotten can be put back, but not over what came since`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            let keys = [triplet(1), triplet(2), triplet(3)]
            let rows = [row(deferrals: 7), row(at: noon + .seconds(1), passed: true), row(at: noon - .days(3))]
            for (index, key) in keys.enumerated() {
                try await store.commit(triplets: [key: rows[index]], record: record(Int64(index + 1), triplets: [key]))
            }
            let forgotten = try await store.forgetReversibly(DecisionFilter(sender: "sender@"))
            #expect(forgotten.count == 3 && forgotten.data != nil)
            #expect(try await store.read(Needs(triplets: keys)).triplets == [nil, nil, nil])
            #expect(try await store.statistics().triplets == 0)
            let newer = row(at: noon + .hours(1))
            try await store.commit(triplets: [keys[1]: newer])
            #expect(try await store.restore(forgotten) == 2)
            #expect(try await store.read(Needs(triplets: keys)).triplets == [rows[0], newer, rows[2]])
            #expect(try await store.statistics().triplets == 3)
            #expect(try await store.restore(ForgottenRows(count: 1, data: nil)) == 0)
            #expect(try await store.restore(ForgottenRows(count: 1, data: [1, 2, 3])) == 0)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func `A release is removed by its recipient, sender and client`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            let any = Release(recipient: "a@example.net", expires: noon)
            let narrow = Release(recipient: "a@example.net", sender: "", client: Prefix("192.0.2.0/24"), expires: noon)
            try await store.insert(any)
            try await store.insert(narrow)
            #expect(try await store.remove(Release(recipient: "a@example.net", sender: "x@example.org", expires: noon)) == false)
            #expect(try await store.remove(Release(recipient: "a@example.net", expires: noon + .days(1))))
            #expect(try await store.releases() == [narrow])
            #expect(try await store.remove(narrow))
            #expect(try await store.remove(narrow) == false)
        }
    }

    @Test(arguments: StoreKind.durable)
    func `History and changes are there after reopening`(kind: StoreKind) async throws {
        let folder = try Folder()
        var store = try kind.open(in: folder)
        try await store.record(minute(7, accepted: 3))
        let id = try await store.append(AuditEntry(time: noon, who: "test", what: "something", undo: "{}"))
        await store.close()
        store = try kind.open(in: folder)
        #expect(try await store.history(HistorySpan(from: 0, to: 10)) == [minute(7, accepted: 3)])
        #expect(try await store.audit(before: nil, limit: 10).map(\.id) == [id])
        await store.close()
    }
}

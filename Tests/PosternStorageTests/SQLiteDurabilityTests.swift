import Foundation
import NIOConcurrencyHelpers
import PosternCore
import Testing

@testable import PosternEngine
@testable import PosternStorage

/// What is on the disk, and how much of it.
@Suite(.timeLimit(.minutes(10)))
struct SQLiteDurabilityTests {
    // MARK: - Two processes

    @Test func `Two stores on one file see what the other has written, and merge one journal`() async throws {
        let folder = try Folder()
        var settings = SQLiteSettings()
        settings.mergeRows = 13
        settings.busyTimeout = .seconds(20)
        let stores = [
            try SQLiteStore(path: folder.database, settings: settings), try SQLiteStore(path: folder.database, settings: settings),
        ]
        // Both count one row up, in turn and at once.
        for number in 1...60 as ClosedRange<UInt32> {
            let decision = try await stores[Int(number % 2)].commit(Needs(triplets: [triplet(0)])) { evidence in
                (.writing([triplet(0): row(deferrals: (evidence.triplets[0]?.deferrals ?? 0) + 1)]), nil)
            }
            #expect(decision.changes.triplets[0].row.deferrals == number)
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (index, store) in stores.enumerated() {
                group.addTask {
                    for number in 1...200 {
                        let own = triplet(1000 * (index + 1) + number)
                        try await store.commit(Needs(triplets: [triplet(0), own])) { evidence in
                            let next = row(deferrals: (evidence.triplets[0]?.deferrals ?? 0) + 1)
                            return (.writing([triplet(0): next, own: row()]), record(Int64(1000 * (index + 1) + number)))
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        for store in stores {
            #expect(try await store.row(triplet(0))?.deferrals == 460)
            let statistics = try await store.statistics()
            #expect(statistics.triplets == 401)
            #expect(statistics.decisions == 400)
        }
        #expect(try await stores[0].forget(DecisionFilter()) == 0)
        try await stores[0].insert([ListEntry(.block, .client, #require(Pattern("192.0.2.1")), added: noon)])
        #expect(try await stores[1].entries().count == 1)
        for store in stores { await store.close() }
        let raw = try RawDatabase(folder.database)
        #expect(try raw.integer("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'") == 0)
    }

    // MARK: - The journal of triplets

    @Test func `Rows are the same whatever of the journal is merged, before and after reopening`() async throws {
        let folder = try Folder()
        var settings = SQLiteSettings()
        settings.mergeRows = 40
        var expected: [Int: TripletRow] = [:]
        var generator = SplitMix(state: 7)
        for round in 0..<6 {
            let store = try SQLiteStore(path: folder.database, settings: settings)
            for step in 0..<300 {
                let number = Int.random(in: 0..<120, using: &generator)
                if Int.random(in: 0..<6, using: &generator) == 0 {
                    // Its newest decision alone is forgotten.
                    let reference = Int64(round * 1000 + step + 1)
                    try await store.commit(record: record(reference, triplets: [triplet(number)]))
                    let forgotten = try await store.forget(DecisionFilter(reference: Reference(value: reference)))
                    #expect(forgotten == (expected[number] == nil ? 0 : 1))
                    expected[number] = nil
                } else {
                    let new = row(at: noon + .seconds(Int64(step)), passed: Bool.random(using: &generator), deferrals: UInt32(step))
                    try await store.commit(triplets: [triplet(number): new])
                    expected[number] = new
                }
                if step % 50 == 0 {
                    let rows = try await store.read(Needs(triplets: (0..<120).map { triplet($0) })).triplets
                    #expect(rows == (0..<120).map { expected[$0] })
                }
            }
            #expect(try await store.statistics().triplets == expected.count)
            await store.close()
        }
        let store = try SQLiteStore(path: folder.database, settings: settings)
        #expect(try await store.read(Needs(triplets: (0..<120).map { triplet($0) })).triplets == (0..<120).map { expected[$0] })
        // With nothing to do it merges what is set aside, and throws that part of the journal away.
        for number in 0..<100 { try await store.commit(triplets: [triplet(1000 + number): row()]) }
        let raw = try RawDatabase(folder.database)
        try await eventually("the journal is short") { try raw.integer("SELECT count(*) FROM journal") <= 45 }
        #expect(try raw.integer("SELECT sum(length(triplets)) FROM triplet_lots") > 50 * Int64(TripletLot.rowOctets))
        #expect(try await store.statistics().triplets == expected.count + 100)
        await store.close()
    }

    // MARK: - Bounds

    @Test func `The write-ahead log stays bounded under load`() async throws {
        let folder = try Folder()
        var settings = SQLiteSettings()
        settings.journalBytes = 512 << 10
        settings.mergeRows = 500
        let store = try SQLiteStore(path: folder.database, settings: settings)
        let total = 30_000
        let answered = NIOLockedValueBox(0)
        var longest: Int64 = 0
        for number in 0..<total {
            store.submit(
                BlockTransaction(needs: Needs(triplets: [triplet(number)])) { _ in
                    (.writing([triplet(number): row()]), record(Int64(number + 1), triplets: [triplet(number)]))
                } completion: { _ in
                    answered.withLockedValue { $0 += 1 }
                })
            if number % 100 == 0 {
                longest = max(longest, fileSize(folder.database + "-wal"))
                try await eventually("there is room in the queue") { number - answered.withLockedValue { $0 } < 2000 }
            }
        }
        try await eventually("all are answered") { answered.withLockedValue { $0 } == total }
        #expect(try await store.statistics().triplets == total)
        longest = max(longest, fileSize(folder.database + "-wal"))
        // Four times the setting, and some batches more, each of a megabyte at most.
        #expect(longest < Int64(4 * settings.journalBytes) + 3 << 20, "\(longest)")
        await store.close()
    }

    @Test func `Decisions are bounded in number, the oldest go first`() async throws {
        let folder = try Folder()
        var settings = SQLiteSettings()
        settings.maximumDecisions = 200
        let store = try SQLiteStore(path: folder.database, settings: settings)
        for number in 1...500 as ClosedRange<Int64> { try await store.commit(record: record(number)) }
        let references = try await store.decisions(DecisionFilter(limit: 10_000)).map(\.reference.value)
        #expect(references == (301...500).reversed())
        #expect(try await store.statistics().decisions == 200)
        await store.close()
    }

    // MARK: - Privacy

    @Test func `Nobody is named outside the readable decisions, and nobody once these are gone`() async throws {
        let folder = try Folder()
        var settings = SQLiteSettings()
        settings.mergeRows = 50
        let store = try SQLiteStore(path: folder.database, settings: settings)
        let name = try #require(DomainName("secret-identity.example"))
        for number in 1...400 {
            let key = TripletKey(
                identity: .nameDomain(name), sender: "secret-sender\(number)@example.org",
                recipient: "secret-recipient\(number)@example.net")
            try await store.commit(
                triplets: [key: row()], identities: [.nameDomain(name): IdentityRow(passes: 1, lastSeen: noon, expires: noon + .days(9))],
                record: record(Int64(number), sender: key.sender, recipient: key.recipient, triplets: [key]))
        }
        func named(_ octets: Data) -> Bool { octets.range(of: Data("secret-".utf8)) != nil }
        #expect(named(folder.octets("postern.db-wal")))
        var removed = 0
        while removed < 400 { removed += try await store.expire(now: noon, decisionsBefore: noon + .seconds(1)) }
        #expect(try await store.statistics().decisions == 0)
        #expect(try await store.statistics().triplets == 400)
        await store.close()
        let octets = folder.octets("postern.db")
        #expect(octets.count > 50_000)
        #expect(!named(octets))
        #expect(!named(folder.octets("postern.db-wal")))
    }

    // MARK: - Kill

    @Test(arguments: [0, 3, 40, 200, 510]) func `What was answered before a kill is known after it`(milliseconds: Int) async throws {
        let folder = try Folder()
        // The child tells what was answered in a file of its own, and is killed at a moment of its own.
        await #expect(processExitsWith: .signal(SIGKILL)) { [path = folder.path as String, milliseconds] in
            try await workUntilKilled(path, after: .milliseconds(milliseconds))
        }
        let answered = folder.octets("answered").withUnsafeBytes { bytes in
            (0..<bytes.count / 4).map { Int(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: $0 * 4, as: UInt32.self))) }
        }
        try #require(answered.count >= answeredBeforeKill)
        let store = try SQLiteStore(path: folder.database)
        var missing = 0
        for number in answered where try await store.row(triplet(number)) == nil { missing += 1 }
        #expect(missing == 0, "of \(answered.count)")
        let decisions = try await store.statistics().decisions
        #expect(decisions >= answered.count)
        #expect(try await store.statistics().triplets == decisions)
        await store.close()
        #expect(try RawDatabase(folder.database).integer("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'") == 0)
    }
}

/// So much is answered before the time to the kill begins to run.
private let answeredBeforeKill = 1500

/// A child process's whole life.
@Sendable private func workUntilKilled(_ path: String, after span: Duration) async throws {
    var settings = SQLiteSettings()
    settings.mergeRows = 1000
    settings.journalBytes = 1 << 20
    let store = try SQLiteStore(path: path + "/postern.db", settings: settings)
    let file = open(path + "/answered", O_WRONLY | O_CREAT | O_APPEND, 0o600)
    let waiting = NIOLockedValueBox(0)
    var end: ContinuousClock.Instant?
    var number = 0
    while number < 1_000_000 {
        let unanswered = waiting.withLockedValue { $0 }
        if end == nil, number - unanswered >= answeredBeforeKill { end = .now + span }
        if let end, ContinuousClock.now >= end { kill(getpid(), SIGKILL) }
        if unanswered > 200 {
            await Task.yield()
            continue
        }
        let this = number
        waiting.withLockedValue { $0 += 1 }
        store.submit(
            BlockTransaction(needs: Needs(triplets: [triplet(this)])) { _ in
                (.writing([triplet(this): row()]), record(Int64(this + 1), triplets: [triplet(this)]))
            } completion: { result in
                if case .success = result {
                    withUnsafeBytes(of: UInt32(this).littleEndian) { _ = write(file, $0.baseAddress, 4) }
                }
                waiting.withLockedValue { $0 -= 1 }
            })
        number += 1
    }
}

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }
}

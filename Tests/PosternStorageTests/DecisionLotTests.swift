import Foundation
import PosternCore
import Testing

@testable import PosternEngine
@testable import PosternStorage

/// Decisions packed into rows: nothing is lost, whatever comes when, and databases of before are taken over.
@Suite(.timeLimit(.minutes(10)))
struct DecisionLotTests {
    private func lot(_ records: [DecisionRecord]) -> [UInt8] {
        // So little room that it has to grow.
        var octets = OctetWriter(capacity: 0)
        for record in records { octets.pack(record) { Int64(record.triplets[$0].recipient.utf8.count) } }
        return [UInt8](octets.octets)
    }

    private func read(_ octets: [UInt8]) -> (decisions: [StoredDecision], groups: [[[Int64]]], isDamaged: Bool) {
        octets.withUnsafeBytes { bytes in
            var lot = DecisionLot(bytes)
            var found: ([StoredDecision], [[[Int64]]], Bool) = ([], [], false)
            while let packed = lot.next() {
                guard let (decision, groups) = StoredDecision.read(packed) else { return (found.0, found.1, true) }
                found.0.append(decision)
                found.1.append(groups)
            }
            found.2 = lot.isDamaged
            return found
        }
    }

    @Test(arguments: [0, 1, 127, 128, 129, 16_383, 16_384, 70_000]) func `Texts of every length come back`(length: Int) {
        var first = record(Int64.max, triplets: [triplet(1), triplet(2), triplet(3, recipient: "b@example.net")])
        first.attempt.client.helo = String(repeating: "h", count: length)
        first.attempt.account = String(repeating: "ä", count: length / 2)
        var second = record(0, address: "2001:db8::1", sender: "", recipient: "postmaster", action: .accept)
        second.verdict.passesAt = nil
        second.verdict.causes = [.greylistKnown, .storeUnavailable]
        second.listener = String(repeating: "l", count: length)
        let found = read(lot([first, second]))
        let isSame = found.decisions == [StoredDecision(first), StoredDecision(second)]
        #expect(isSame)
        #expect(found.decisions.map(\.helo.utf8.count) == [length, "Mail.Example.ORG".utf8.count])
        #expect(found.groups == [[[16, 16], [13]], []])
        #expect(!found.isDamaged)
        #expect(found.decisions[1].reason == "passed before; the store is unavailable")
    }

    @Test func `Damaged octets are found out, and never read past`() {
        let whole = lot([record(9), record(8), record(7)])
        let expected = read(whole).decisions
        for length in 0..<whole.count {
            let found = read(Array(whole[..<length]))
            #expect(found.decisions == Array(expected.prefix(found.decisions.count)))
            let isBetween = [0, whole.count / 3, whole.count / 3 * 2].contains(length)
            #expect(found.isDamaged == !isBetween, "cut at \(length)")
        }
        for place in whole.indices {
            for octet in [0, 0x7f, 0x80, 0xff] as [UInt8] {
                var damaged = whole
                damaged[place] = octet
                _ = read(damaged)
            }
        }
    }

    // MARK: - In a database

    private struct Dice: RandomNumberGenerator {
        var state: UInt64

        mutating func next() -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return state ^ state >> 29
        }
    }

    /// Batches of new, late and repeated references in any order, long and short ones, with expiry between, beside a plain dictionary.
    @Test(arguments: [1, 2, 3] as [UInt64]) func `Whatever comes when, what is kept is what came`(seed: UInt64) async throws {
        let folder = try Folder()
        var store = try SQLiteStore(path: folder.database)
        var dice = Dice(state: seed)
        var all: [Int64: DecisionRecord] = [:]
        for round in Int64(0)..<30 {
            var batch: [Int64: DecisionRecord] = [:]
            for _ in 0..<Int.random(in: 1...120, using: &dice) {
                let newest = (round + 1) * 100
                let reference = Int64.random(in: (Int.random(in: 0...3, using: &dice) == 0 ? 0 : newest - 100)..<newest, using: &dice)
                var record = record(reference, at: noon + .milliseconds(reference), sender: "s\(round)@example.org")
                if Int.random(in: 0..<10, using: &dice) == 0 { record.attempt.client.helo = String(repeating: "x", count: 1500) }
                batch[reference] = record
            }
            await keep(Array(batch.values), in: store)
            all.merge(batch) { $1 }
            if round % 7 == 6 {
                let before = noon + .milliseconds(Int64.random(in: 0..<round * 60, using: &dice))
                for _ in 0..<3 { _ = try await store.expire(now: noon, decisionsBefore: before) }
                all = all.filter { $0.value.time >= before }
            }
            if round % 11 == 10 {
                await store.close()
                store = try SQLiteStore(path: folder.database)
            }
            let found = try await store.decisions(DecisionFilter(limit: 10_000))
            let isSame = found == all.values.sorted { $0.reference > $1.reference }.map { StoredDecision($0) }
            #expect(isSame, "round \(round)")
            #expect(try await store.statistics().decisions == all.count)
        }
        let raw = try RawDatabase(folder.database)
        #expect(try raw.integer("SELECT sum(count) FROM decision_lots") == Int64(all.count))
        #expect(try raw.integer("SELECT count(*) FROM decision_lots") < Int64(all.count))
        // And one decision.
        #expect(try raw.integer("SELECT max(length(decisions)) FROM decision_lots") <= Int64(DecisionLot.maximumOctets) + 2000)
        await store.close()
    }

    @Test func `After a step back of the clock every decision is kept`() async throws {
        let folder = try Folder()
        let store = try SQLiteStore(path: folder.database)
        try await store.commit(record: record(1_000_000))
        for number in 1...400 as ClosedRange<Int64> { try await store.commit(record: record(number)) }
        // Between two of the same lot.
        await keep((1...30).map { record(2000 + $0 * 20) }, in: store)
        for number in 2030...2100 as ClosedRange<Int64> { try await store.commit(record: record(number)) }
        let found = try await store.decisions(DecisionFilter(limit: 10_000)).map(\.reference.value)
        let expected = Set(1...400).union([1_000_000]).union((1...30).map { 2000 + $0 * 20 }).union(2030...2100)
        #expect(found == expected.map { Int64($0) }.sorted(by: >))
        #expect(try await store.statistics().decisions == expected.count)
        await store.close()
    }

    // MARK: - A database of before

    /// As versions up to 3 laid decisions out.
    private static let oldTable = """
        CREATE TABLE decisions(
            reference INTEGER PRIMARY KEY, time INTEGER NOT NULL, passes_at INTEGER, action TEXT NOT NULL, address TEXT NOT NULL,
            sender TEXT NOT NULL, recipient TEXT NOT NULL, name TEXT NOT NULL, helo TEXT NOT NULL, account TEXT NOT NULL,
            listener TEXT NOT NULL, stage TEXT NOT NULL, reason TEXT NOT NULL, triplets BLOB) STRICT;
        """

    @Test func `A database of before is taken over, and can be searched and forgotten from`() async throws {
        let folder = try Folder()
        var store = try SQLiteStore(path: folder.database)
        let key = triplet(1, sender: "sender7@example.org")
        try await store.commit(triplets: [key: row(expires: noon + .hours(24))])
        await store.close()
        let secret = [UInt8](folder.octets("postern.key"))
        let hashed = UInt64(bitPattern: try #require(KeyHasher(secret: secret)).key(of: key))
        // A group of one key.
        let group = "01" + (0..<8).map { String(format: "%02X", Int(hashed >> UInt64(8 * $0) & 0xff)) }.joined()
        do {
            let raw = try RawDatabase(folder.database)
            try raw.execute("DROP TABLE triplet_lots; \(TripletLotTests.oldTable)")
            try raw.execute("DROP TABLE decision_lots; \(Self.oldTable); PRAGMA user_version = 3; UPDATE counts SET decisions = 2500")
            try raw.execute(
                """
                WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 2499)
                INSERT INTO decisions SELECT n * 3, \(noon.milliseconds) + n, CASE n % 2 WHEN 0 THEN NULL ELSE n END,
                    CASE n WHEN 7 THEN 'defer' ELSE 'accept' END, '192.0.2.' || (n % 256), 'sender' || n || '@example.org', 'user@example.net',
                    'mail.example.org', 'helo', 'account', 'policy', 'RCPT', 'first attempt; ' || hex(zeroblob(n % 90)),
                    CASE n WHEN 7 THEN x'\(group)' END FROM numbers
                """)
        }
        store = try SQLiteStore(path: folder.database)
        #expect(try RawDatabase(folder.database).integer("SELECT count(*) FROM sqlite_master WHERE name = 'decisions'") == 0)
        #expect(try RawDatabase(folder.database).integer("PRAGMA user_version") == Int64(Schema.version))
        #expect(try await store.statistics().decisions == 2500)
        let found = try await store.decisions(DecisionFilter(limit: 10_000))
        let expected = (0..<2500).reversed().map { n in
            StoredDecision(
                reference: Reference(value: n * 3), time: noon + .milliseconds(n), listener: "policy", stage: "RCPT",
                address: "192.0.2.\(n % 256)", name: "mail.example.org", helo: "helo", sender: "sender\(n)@example.org",
                recipient: "user@example.net", account: "account", action: n == 7 ? "defer" : "accept",
                reason: "first attempt; " + String(repeating: "00", count: Int(n % 90)),
                passesAt: n % 2 == 0 ? nil : WallTime(milliseconds: n))
        }
        let isSame = found == expected
        #expect(isSame)
        for _ in 0..<2 {
            #expect(try await store.decisions(DecisionFilter(sender: "SENDER77@")).map(\.reference.value) == [231])
            try await store.indexStep()
        }
        #expect(store.index.progress.isComplete && store.index.progress.blocks == 5)
        #expect(try await store.waiting(DecisionFilter(sender: "sender7@"), now: noon + .seconds(2)).count == 1)
        #expect(try await store.forget(DecisionFilter(sender: "sender7@")) == 1)
        #expect(try await store.waiting(DecisionFilter(sender: "sender7@"), now: noon + .seconds(2)).isEmpty)
        try await store.commit(record: record(22, sender: "late@example.org"))
        try await store.backup(to: folder.file("copy.db"))
        await store.close()
        let copy = try SQLiteStore(path: folder.file("copy.db"), keyPath: folder.file("copy.db.key"))
        #expect(try await copy.decisions(DecisionFilter(sender: "late@")).map(\.reference.value) == [22])
        #expect(try await copy.statistics().decisions == 2501)
        await copy.close()
    }
}

import GRDBSQLite
import PosternCore
import Testing

@testable import PosternEngine
@testable import PosternStorage

/// Triplets in lots, beside what a dictionary makes of the same changes.
@Suite(.timeLimit(.minutes(5)))
struct TripletLotTests {
    /// As versions up to 4 laid triplets out.
    static let oldTable = """
        CREATE TABLE triplets(
            key INTEGER PRIMARY KEY, first INTEGER NOT NULL, last_after INTEGER NOT NULL, passed_after INTEGER,
            deferrals INTEGER NOT NULL, passes INTEGER NOT NULL, expires_after INTEGER NOT NULL) STRICT;
        """

    // MARK: - The octets

    @Test func `A row comes back as it was, to the last millisecond and count`() throws {
        let rows = [
            row(), row(passed: true, deferrals: 0), row(at: noon, expires: noon, deferrals: .max),
            TripletRow(
                firstSeen: noon, lastSeen: noon - .days(400), passedAt: noon - .milliseconds(1), deferrals: 0, passes: .max,
                expires: noon + .days(9000)),
            TripletRow(
                firstSeen: WallTime(milliseconds: 0), lastSeen: WallTime(milliseconds: -1), deferrals: 0, passes: 0,
                expires: WallTime(milliseconds: 1)),
            TripletRow(
                firstSeen: WallTime(seconds: -9_999_999_999), lastSeen: noon, passedAt: noon, deferrals: 7, passes: 8,
                expires: WallTime(seconds: 9_999_999_999)),
        ]
        var octets = OctetWriter(capacity: 16)
        for (number, row) in rows.enumerated() { TripletLot.append(Int64(number) * 1000, row, to: &octets) }
        #expect(octets.count == rows.count * TripletLot.rowOctets)
        let lot = try #require(TripletLot(octets.octets))
        #expect((0..<lot.count).map(lot.row) == rows)
        #expect((0..<lot.count).map(lot.expires) == rows.map(\.expires))
        #expect(rows.indices.map { lot.row(of: Int64($0) * 1000) } == rows)
        #expect([-1, 1, 999, 5001, .min, .max].allSatisfy { lot.row(of: $0) == nil })
        #expect(
            lot.place(of: .min) == 0 && lot.place(of: .max) == rows.count && lot.place(of: 1000) == 1 && lot.place(of: 1001, from: 2) == 2)
    }

    @Test func `Times thousands of years off stay where they are: far away`() throws {
        var octets = OctetWriter(capacity: 16)
        let row = TripletRow(
            firstSeen: WallTime(milliseconds: .min), lastSeen: WallTime(milliseconds: .max), passedAt: WallTime(milliseconds: .min),
            deferrals: 1, passes: 0, expires: WallTime(milliseconds: .max))
        TripletLot.append(.min, row, to: &octets)
        let read = try #require(TripletLot(octets.octets)?.row(of: .min))
        #expect(read.firstSeen < noon - .days(1_000_000) && read.passedAt.map { $0 < noon - .days(1_000_000) } == true)
        #expect(read.expires > read.firstSeen + .days(1_000_000) && read.lastSeen == read.expires)
        #expect(TripletLot(UnsafeRawBufferPointer(rebasing: octets.octets.dropLast())) == nil)
    }

    // MARK: - Changes in memory

    @Test func `Changes are found by key, the last of each, in the order of their keys where that is asked for`() {
        var generator = SplitMix(state: 11)
        for room in [0, 150_000] {
            var changes = TripletChanges(room: room)
            var expected: [Int64: TripletChange] = [:]
            for number in 0..<150_000 {
                // Neighbours and hashes; some again.
                let key = number % 3 == 0 ? Int64(number) : Int64.random(in: -60_000...60_000, using: &generator) &* 0x9e37_79b9_7f4a_7c1
                let change = number % 7 == 0 ? TripletChange(removing: key) : TripletChange(key, row(deferrals: UInt32(number)))
                #expect(changes.put(change) == expected.updateValue(change, forKey: key))
            }
            #expect(changes.count == expected.count)
            #expect(expected.allSatisfy { changes.change(of: $0.key) == $0.value })
            #expect((1...1000).allSatisfy { !changes.contains(Int64.max - $0) })
            #expect(changes.sortedPlaces().map { changes[Int($0)].key } == expected.keys.sorted())
        }
    }

    // MARK: - In the database

    @Test func `Lots hold what was merged into them, each key in one, each no larger than a page`() throws {
        var handle: OpaquePointer?
        try #require(sqlite3_open(":memory:", &handle) == SQLITE_OK)
        let connection = try #require(handle)
        // The statements go before their connection does.
        defer { #expect(sqlite3_close(connection) == SQLITE_OK) }
        try #require(
            sqlite3_exec(connection, "CREATE TABLE triplet_lots(lowest INTEGER PRIMARY KEY, triplets BLOB NOT NULL) STRICT", nil, nil, nil)
                == SQLITE_OK)
        let lots = try TripletLots(connection, path: ":memory:")
        var expected: [Int64: TripletRow] = [:]
        var generator = SplitMix(state: 3)
        for round in 0..<400 {
            // Many at once and few, all over and close together, the least and the greatest key among them.
            let spreads: [Int64] = [300, 4000, .max / 2]
            let spread = spreads[round % 3]
            var changes: [Int64: TripletChange] = [:]
            for _ in 0..<[1, 40, 300][round / 3 % 3] {
                let keys = [Int64.min, .max, Int64.random(in: -spread...spread, using: &generator)]
                let key = keys[min(Int.random(in: 0..<40, using: &generator), 2)]
                changes[key] =
                    Bool.random(using: &generator) || round % 5 == 0
                    ? TripletChange(
                        key, row(expires: noon + .seconds(Int64.random(in: 0...100, using: &generator)), deferrals: UInt32(round)))
                    : TripletChange(removing: key)
            }
            let sorted = changes.values.sorted { $0.key < $1.key }
            try lots.merge(0..<sorted.count) { sorted[$0] }
            for change in sorted { expected[change.key] = change.row }
            for change in sorted { #expect(try lots.row(change.key) == expected[change.key]) }
            if round % 40 == 39 {
                // Some expire, but not what has changed.
                let now = noon + .seconds(50)
                var removed = 0
                for lowest in try numbers(connection) { removed += try lots.expire(lowest, now: now) { $0 % 3 == 0 } }
                let gone = expected.filter { $0.value.expires <= now && $0.key % 3 != 0 }
                #expect(removed == gone.count)
                for key in gone.keys { expected[key] = nil }
            }
        }
        try #require(expected.count > 1000)
        for (key, row) in expected { #expect(try lots.row(key) == row) }
        let sum = try Statement("SELECT sum(length(triplets)), max(length(triplets)) FROM triplet_lots", on: connection, path: "")
        try #require(try sum.step())
        #expect(sum.integer(0) == Int64(expected.count * TripletLot.rowOctets))
        #expect(sum.integer(1) <= Int64(TripletLot.maximumRows * TripletLot.rowOctets))
        sum.reset()
        // A little at a time, each key once.
        var read: [Int64] = []
        var start: Int64? = .min
        while let from = start {
            let isMore = try lots.keys(from: from, about: 250) { read.append($0) }
            start = isMore && read.last != .max ? read.last.map { $0 + 1 } : nil
        }
        #expect(read == expected.keys.sorted())
    }

    private func numbers(_ connection: OpaquePointer) throws -> [Int64] {
        let select = try Statement("SELECT lowest FROM triplet_lots", on: connection, path: "")
        var numbers: [Int64] = []
        while try select.step() { numbers.append(select.integer(0)) }
        select.reset()
        return numbers
    }

    @Test func `A lot of an impossible length is a corrupt database`() async throws {
        let folder = try Folder()
        let store = try SQLiteStore(path: folder.database)
        try await store.commit(triplets: [triplet(1): row()])
        await store.close()
        try RawDatabase(folder.database).execute("INSERT INTO triplet_lots VALUES (\(Int64.min), x'00')")
        let failure = #expect(throws: StoreFailure.self) { _ = try SQLiteStore(path: folder.database) }
        #expect(failure?.kind == .corrupt && failure.map { "\($0)".contains("triplets has an impossible length") } == true)
    }

    // MARK: - A database of before

    @Test func `Triplets of before are taken over, in whatever state their journal was`() async throws {
        let folder = try Folder()
        var settings = SQLiteSettings()
        settings.mergeRows = 50
        var store = try SQLiteStore(path: folder.database, settings: settings)
        for number in 0..<230 {
            try await store.commit(triplets: [triplet(number): row(passed: number % 2 == 0, deferrals: UInt32(number))])
        }
        await store.close()
        let hasher = try #require(KeyHasher(secret: [UInt8](folder.octets("postern.key"))))
        do {
            let raw = try RawDatabase(folder.database)
            let journalled = try raw.integer("SELECT count(*) FROM journal")
            #expect(journalled > 0 && journalled < 230)
            try raw.execute("DROP TABLE triplet_lots; \(Self.oldTable); PRAGMA user_version = 4")
            // What had been merged, and many more.
            let progress = (try raw.integer("SELECT merged_through FROM counts"), try raw.integer("SELECT merged_key FROM counts"))
            let first = try raw.integer("SELECT min(sequence) FROM journal")
            for number in 0..<230 {
                let key = hasher.key(of: triplet(number))
                let isMerged = Int64(number) + 1 < first || Int64(number) + 1 <= progress.0 && key <= progress.1
                guard isMerged else { continue }
                let passed = number % 2 == 0 ? String((row(passed: true).passedAt ?? noon).milliseconds - noon.milliseconds) : "NULL"
                let (last, end) = (row().lastSeen - noon, row().expires - noon)
                try raw.execute(
                    """
                    INSERT INTO triplets VALUES (
                        \(key), \(noon.milliseconds), \(last.milliseconds), \(passed), \(number), \(row(passed: number % 2 == 0).passes),
                        \(end.milliseconds))
                    """)
            }
            try raw.execute(
                """
                WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 5000)
                INSERT INTO triplets SELECT n, \(noon.milliseconds), n, NULL, n, 0, 1000000 + n FROM numbers;
                UPDATE counts SET triplets = triplets + 5000
                """)
        }
        store = try SQLiteStore(path: folder.database, settings: settings)
        let raw = try RawDatabase(folder.database)
        #expect(try raw.integer("SELECT count(*) FROM sqlite_master WHERE name = 'triplets'") == 0)
        #expect(try raw.integer("PRAGMA user_version") == Int64(Schema.version))
        #expect(try await store.statistics().triplets == 5230)
        for number in 0..<230 {
            #expect(try await store.row(triplet(number)) == row(passed: number % 2 == 0, deferrals: UInt32(number)))
        }
        // All of before expire, and nothing else.
        var removed = 0
        for _ in 0..<20 { removed += try await store.expire(now: noon + .seconds(1006), decisionsBefore: noon) }
        #expect(removed == 5000)
        for number in 0..<230 { #expect(try await store.row(triplet(number)) != nil) }
        #expect(try await store.statistics().triplets == 230)
        await store.close()
        #expect(try raw.integer("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'") == 0)
    }
}

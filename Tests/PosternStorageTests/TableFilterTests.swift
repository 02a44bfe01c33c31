import GRDBSQLite
import PosternCore
import Testing

@testable import PosternEngine
@testable import PosternStorage

/// What the filter says has no row has none, whoever wrote it.
@Suite(.timeLimit(.minutes(5)))
struct TableFilterTests {
    @Test(arguments: [0, 1, 3000, 200_000]) func `What is in it is never denied, and little else is taken for it`(rows: Int) throws {
        let hasher = try #require(KeyHasher(secret: (0..<KeyHasher.secretLength).map(UInt8.init)))
        func key(_ number: Int) -> Int64 {
            hasher.key(of: .network(Prefix(IPAddress(v6High: UInt64(number) << 8 | 0x2001 << 48, low: 0), length: 64)))
        }
        var filter = KeyFilter(keys: rows)
        for number in 0..<rows { filter.insert(key(number)) }
        #expect((0..<rows).allSatisfy { filter.mayContain(key($0)) })
        let mistaken = (rows..<rows + 20_000).filter { filter.mayContain(key($0)) }.count
        #expect(mistaken < 400, "\(mistaken) of 20,000")
    }

    @Test func `A table is learnt little by little, and again when it has grown`() throws {
        var handle: OpaquePointer?
        try #require(sqlite3_open(":memory:", &handle) == SQLITE_OK)
        let connection = try #require(handle)
        // The statement goes before its connection does.
        defer { #expect(sqlite3_close(connection) == SQLITE_OK) }
        // Keys all over, as hashes are; the first and the last there can be are among them.
        func key(_ number: Int) -> Int64 {
            switch number {
            case 0: .min
            case 1: .max
            default: Int64(truncatingIfNeeded: UInt64(number) &* 0x9e37_79b9_7f4a_7c15)
            }
        }
        func fill(_ numbers: Range<Int>) throws {
            for start in stride(from: numbers.lowerBound, to: numbers.upperBound, by: 500) {
                let rows = (start..<min(start + 500, numbers.upperBound)).map { "(\(key($0)))" }.joined(separator: ",")
                try #require(sqlite3_exec(connection, "INSERT INTO things VALUES \(rows)", nil, nil, nil) == SQLITE_OK)
            }
        }
        try #require(sqlite3_exec(connection, "CREATE TABLE things(key INTEGER PRIMARY KEY)", nil, nil, nil) == SQLITE_OK)
        do {
            let filter = TableFilter(try TableKeys("things", on: connection, path: ":memory:"))
            func mistaken(_ numbers: Range<Int>) -> Int { numbers.filter { filter.mayContain(key($0)) }.count }
            #expect(filter.mayContain(key(5)))
            try filter.reset(rows: 0)
            #expect(filter.isComplete)
            #expect(mistaken(0..<1000) == 0)

            let old = 3 * TableFilter.learntAtOnce
            try fill(0..<old)
            try filter.reset(rows: Int64(old))
            // A part is learnt; of the rest anything may be.
            #expect(!filter.isComplete)
            #expect(mistaken(0..<old) == old)
            let unknown = mistaken(1_000_000..<1_010_000)
            #expect(unknown > 5000 && unknown < 8000)
            // What is put meanwhile is not denied, wherever learning is.
            try fill(old..<old + 100)
            for number in old..<old + 100 { filter.insert(key(number)) }
            var steps = 0
            while !filter.isComplete, steps < 1000 {
                try filter.learn(1000, rows: Int64(old))
                steps += 1
                #expect(mistaken(0..<old + 100) == old + 100)
            }
            #expect(steps > old / 1000 / 2 && steps < old / 1000)
            #expect(mistaken(1_000_000..<1_010_000) < 200)

            // Beyond the room a larger one is learnt, and what is known meanwhile stays known.
            let all = old + TableFilter.minimumRoom + 1
            try fill(old + 100..<all)
            for number in old + 100..<all { filter.insert(key(number)) }
            #expect(filter.isComplete)
            filter.insert(key(0))
            filter.insert(key(0))
            try filter.learn(1, rows: Int64(all))
            #expect(!filter.isComplete)
            #expect(mistaken(1_000_000..<1_010_000) < 300)
            try fill(all..<all + 50)
            for number in all..<all + 50 { filter.insert(key(number)) }
            while !filter.isComplete {
                #expect(mistaken(0..<all + 50) == all + 50)
                try filter.learn(50_000, rows: Int64(all))
            }
            #expect(mistaken(all..<all + 50) == 50)
            #expect(mistaken(0..<all) == all)
            #expect(mistaken(1_000_000..<1_010_000) < 200)
        }
    }

    @Test func `Rows are found after a start, and when another process wrote them`() async throws {
        let folder = try Folder()
        let row = IdentityRow(passes: 3, lastSeen: noon, expires: noon + .hours(1))
        func found(_ store: SQLiteStore, _ number: Int) async throws -> Bool {
            try await store.read(Needs(identities: [.network(number)])).identities == [row]
        }
        var store = try SQLiteStore(path: folder.database)
        #expect(try await !found(store, 1))
        try await store.commit(identities: [.network(1): row])
        #expect(try await found(store, 1))
        await store.close()
        store = try SQLiteStore(path: folder.database)
        #expect(try await found(store, 1))
        let key = try #require(KeyHasher(secret: [UInt8](folder.octets("postern.key")))).key(of: Identity.network(2))
        let raw = try RawDatabase(folder.database)
        try raw.execute("INSERT INTO identities VALUES (\(key), 3, \(noon.milliseconds), 3600000)")
        #expect(try await found(store, 2))
        // So many that they are not learnt at once.
        try raw.execute(
            """
            WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n <= \(3 * TableFilter.learntAtOnce))
            INSERT INTO identities SELECT n, 1, 1, 1 FROM numbers;
            UPDATE counts SET identities = (SELECT count(*) FROM identities)
            """)
        #expect(try await found(store, 1))
        #expect(try await found(store, 2))
        #expect(try await !found(store, 3))
        try await store.commit(identities: [.network(3): row])
        #expect(try await found(store, 3))
        await store.close()
    }
}

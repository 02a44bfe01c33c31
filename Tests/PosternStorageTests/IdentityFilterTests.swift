import PosternCore
import Testing

@testable import PosternEngine
@testable import PosternStorage

/// What the filter says has no row has none, whoever wrote it.
@Suite(.timeLimit(.minutes(5)))
struct IdentityFilterTests {
    @Test(arguments: [0, 1, 3000, 200_000]) func `What is in it is never denied, and little else is taken for it`(rows: Int) throws {
        let hasher = try #require(KeyHasher(secret: (0..<KeyHasher.secretLength).map(UInt8.init)))
        func key(_ number: Int) -> Int64 {
            hasher.key(of: .network(Prefix(IPAddress(v6High: UInt64(number) << 8 | 0x2001 << 48, low: 0), length: 64)))
        }
        var filter = IdentityFilter(rows: rows)
        for number in 0..<rows { filter.insert(key(number)) }
        #expect((0..<rows).allSatisfy { filter.mayContain(key($0)) })
        let mistaken = (rows..<rows + 20_000).filter { filter.mayContain(key($0)) }.count
        #expect(mistaken < 400, "\(mistaken) of 20,000")
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
        // So many that the filter is not made again.
        try raw.execute(
            """
            WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n <= \(IdentityTable.filteredLater))
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

import Foundation
import PosternCore
import PosternStorage
import Testing

@testable import PosternEngine

/// Every store there is; the conformance suite runs against each.
enum StoreKind: CaseIterable, CustomTestStringConvertible {
    case memory
    case sqlite
    case sqliteFullSync
    /// Merges the journal of triplets with nearly every commit.
    case sqliteMerging

    static let durable: [StoreKind] = [.sqlite, .sqliteFullSync, .sqliteMerging]

    var testDescription: String {
        switch self {
        case .memory: "memory"
        case .sqlite: "SQLite"
        case .sqliteFullSync: "SQLite, sync: full"
        case .sqliteMerging: "SQLite, merging"
        }
    }

    func open(in folder: Folder) throws -> any Store {
        switch self {
        case .memory: return MemoryStore()
        case .sqlite: return try SQLiteStore(path: folder.database)
        case .sqliteFullSync:
            var settings = SQLiteSettings()
            settings.sync = .full
            return try SQLiteStore(path: folder.database, settings: settings)
        case .sqliteMerging:
            var settings = SQLiteSettings()
            settings.mergeRows = 7
            return try SQLiteStore(path: folder.database, settings: settings)
        }
    }
}

/// A folder of its own, gone with the value.
final class Folder: Sendable {
    let path: String

    init() throws {
        path = NSTemporaryDirectory() + "postern-storage-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func file(_ name: String) -> String { path + "/" + name }
    var database: String { file("postern.db") }
    var key: String { file("postern.key") }

    func octets(_ name: String) -> Data { FileManager.default.contents(atPath: file(name)) ?? Data() }
}

/// Opens a store, hands it to the body, closes it.
func withStore<Result>(_ kind: StoreKind, _ body: (any Store) async throws -> Result) async throws -> Result {
    let folder = try Folder()
    let store = try kind.open(in: folder)
    do {
        let result = try await body(store)
        await store.close()
        return result
    } catch {
        await store.close()
        throw error
    }
}

extension Store {
    /// Submits a transaction and waits for its completion.
    @discardableResult
    func commit(_ needs: Needs, _ decide: @escaping @Sendable (Evidence) -> (Decision, DecisionRecord?)) async throws -> Decision {
        let result = await withCheckedContinuation { continuation in
            submit(BlockTransaction(needs: needs, decide: decide, completion: { continuation.resume(returning: $0) }))
        }
        return try result.get().0
    }

    /// Writes rows and a record.
    func commit(
        triplets: [TripletKey: TripletRow] = [:], identities: [Identity: IdentityRow] = [:], record: DecisionRecord? = nil
    ) async throws {
        try await commit(Needs(triplets: Array(triplets.keys), identities: Array(identities.keys))) { _ in
            (.writing(triplets, identities), record)
        }
    }

    func row(_ key: TripletKey) async throws -> TripletRow? { try await read(Needs(triplets: [key])).triplets[0] }
}

extension Decision {
    static func writing(_ triplets: [TripletKey: TripletRow], _ identities: [Identity: IdentityRow] = [:]) -> Decision {
        var changes = Changes()
        changes.triplets = triplets.map { Changes.Triplet(key: $0.key, row: $0.value) }
        changes.identities = identities.map { Changes.IdentityCount(identity: $0.key, row: $0.value) }
        return Decision(verdict: Verdict(.defer, [.greylistNew]), changes: changes)
    }
}

// MARK: - Values

/// 2026-11-20T00:00:00Z.
let noon = WallTime(seconds: 1_795_132_800)

extension Identity {
    static func network(_ index: Int) -> Identity {
        .network(Prefix(IPAddress(v4: 0xc000_0200 + UInt32(index) << 8), length: 24))
    }
}

func triplet(_ index: Int, sender: String = "sender@example.org", recipient: String = "user@example.net") -> TripletKey {
    TripletKey(identity: .network(index), sender: sender, recipient: recipient)
}

func row(at time: WallTime = noon, passed: Bool = false, expires: WallTime? = nil, deferrals: UInt32 = 1) -> TripletRow {
    TripletRow(
        firstSeen: time, lastSeen: time + .seconds(1), passedAt: passed ? time + .milliseconds(999) : nil, deferrals: deferrals,
        passes: passed ? 1 : 0, expires: expires ?? time + .hours(24))
}

func record(
    _ number: Int64, at time: WallTime = noon, address: String = "192.0.2.1", sender: String = "sender@example.org",
    recipient: String = "user@example.net", action: Verdict.Action = .defer, triplets: [TripletKey] = []
) -> DecisionRecord {
    DecisionRecord(
        reference: Reference(value: number), time: time, listener: "policy",
        attempt: Attempt(
            stage: .rcpt,
            client: Client(address: IPAddress(address), confirmedName: DomainName("mail.example.org"), helo: "Mail.Example.ORG"),
            sender: ReversePath(sender), recipient: Mailbox(recipient)),
        verdict: Verdict(action, [.greylistNew], passesAt: time + .minutes(3)), triplets: triplets)
}

/// Records of decisions, submitted all at once; they are kept when this returns.
func keep(_ records: [DecisionRecord], in store: any Store) async {
    await withTaskGroup(of: Void.self) { group in
        for record in records {
            group.addTask {
                await withCheckedContinuation { continuation in
                    store.submit(
                        BlockTransaction(
                            needs: Needs(), decide: { _ in (Decision(verdict: record.verdict), record) },
                            completion: { _ in continuation.resume() }))
                }
            }
        }
    }
}

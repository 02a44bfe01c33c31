import Foundation
import PosternCore
import Testing

@testable import PosternEngine
@testable import PosternStorage

/// What a store says of files that it cannot work with, before it changes anything.
@Suite(.timeLimit(.minutes(10)))
struct SQLiteOpeningTests {
    private func failure(_ folder: Folder, path: String? = nil, key: String? = nil, settings: SQLiteSettings = SQLiteSettings()) async
        -> StoreFailure?
    {
        do throws(StoreFailure) {
            let store = try SQLiteStore(path: path ?? folder.database, keyPath: key, settings: settings)
            await store.close()
            return nil
        } catch { return error }
    }

    private func makeStore(_ folder: Folder) async throws {
        let store = try SQLiteStore(path: folder.database)
        try await store.commit(triplets: [triplet(1): row()])
        await store.close()
    }

    @Test func `A new store's files are for their owner alone`() async throws {
        let folder = try Folder()
        let store = try SQLiteStore(path: folder.database)
        try await store.commit(triplets: [triplet(1): row()])
        for name in ["postern.db", "postern.db-wal", "postern.db-shm", "postern.key"] {
            let attributes = try FileManager.default.attributesOfItem(atPath: folder.file(name))
            #expect((attributes[.posixPermissions] as? NSNumber)?.intValue == 0o600, "\(name)")
        }
        #expect(folder.octets("postern.key").count == KeyHasher.secretLength)
        await store.close()
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted() == ["postern.db", "postern.key"])
    }

    @Test func `Entries and suspensions of an older program, with U-labels, are found and removed by A-labels`() async throws {
        let folder = try Folder()
        let store = try SQLiteStore(path: folder.database)
        let pattern = try #require(Pattern("b\u{fc}cher.example"))
        let entries = [
            ListEntry(.block, .sender, pattern, added: noon), ListEntry(.block, .sender, Pattern("a@b\u{fc}cher.example")!, added: noon),
        ]
        try await store.insert(entries)
        try await store.insert(Suspension(account: "ann@xn--bcher-kva.example", since: noon, reason: ""))
        try RawDatabase(folder.database).execute(
            "UPDATE entries SET pattern = replace(pattern, 'xn--bcher-kva', 'b\u{fc}cher');"
                + "UPDATE suspensions SET account = 'ann@b\u{fc}cher.example'")
        #expect(try await Set(store.entries()) == Set(entries))
        #expect(try await store.suspensions().map(\.account) == ["ann@xn--bcher-kva.example"])
        // Said again, it is there once.
        try await store.insert([entries[0]])
        #expect(try RawDatabase(folder.database).integer("SELECT count(*) FROM entries") == 2)
        for entry in entries {
            #expect(try await store.remove(entry.list, entry.kind, entry.pattern))
            #expect(try await !store.remove(entry.list, entry.kind, entry.pattern))
        }
        #expect(try await store.removeSuspension(of: "ann@xn--bcher-kva.example"))
        #expect(try await store.entries().isEmpty)
        #expect(try await store.suspensions().isEmpty)
        await store.close()
    }

    @Test func `Two stores have two secrets`() async throws {
        let (a, b) = (try Folder(), try Folder())
        try await makeStore(a)
        try await makeStore(b)
        #expect(a.octets("postern.key") != b.octets("postern.key"))
    }

    @Test func `A database of a newer version is refused, by both versions' names, and left as it was`() async throws {
        let folder = try Folder()
        try await makeStore(folder)
        try RawDatabase(folder.database).execute("PRAGMA user_version = 97")
        let before = folder.octets("postern.db")
        let failure = await failure(folder)
        #expect(failure?.kind == .newer)
        #expect(failure?.message.contains("97") == true)
        #expect(failure?.message.contains("\(Schema.version)") == true)
        #expect(folder.octets("postern.db") == before)
    }

    @Test func `Another program's database is refused and left as it was`() async throws {
        let folder = try Folder()
        try RawDatabase(folder.database).execute("CREATE TABLE theirs(x); INSERT INTO theirs VALUES (1)")
        let before = folder.octets("postern.db")
        #expect(await failure(folder)?.kind == .corrupt)
        #expect(folder.octets("postern.db") == before)
    }

    @Test func `What is no database is refused`() async throws {
        let folder = try Folder()
        try Data("this is a text, not a database, and longer than a header of 100 octets; this is a text, not a database".utf8)
            .write(to: URL(fileURLWithPath: folder.database))
        let failure = await failure(folder)
        #expect(failure?.kind == .corrupt)
        #expect(failure?.message.contains(folder.database) == true)
        #expect(!FileManager.default.fileExists(atPath: folder.key))
    }

    @Test(arguments: [2, 3, 5, 9]) func `A database with a damaged page is refused at the start or fails when the page is met`(page: Int)
        async throws
    {
        let folder = try Folder()
        let store = try SQLiteStore(path: folder.database)
        for number in 1...50 {
            try await store.commit(
                triplets: [triplet(number): row()], identities: [.network(number): IdentityRow(passes: 1, lastSeen: noon, expires: noon)],
                record: record(Int64(number), triplets: [triplet(number)]))
        }
        await store.close()
        var octets = folder.octets("postern.db")
        try #require(octets.count > page * 4096)
        octets.replaceSubrange((page - 1) * 4096..<page * 4096, with: repeatElement(0x5a, count: 4096))
        try octets.write(to: URL(fileURLWithPath: folder.database))

        var failures: [StoreFailure] = []
        do throws(StoreFailure) {
            let store = try SQLiteStore(path: folder.database)
            do throws(StoreFailure) { _ = try await store.read(Needs(triplets: [triplet(999)], identities: [.network(1)])) } catch {
                failures.append(error)
            }
            do throws(StoreFailure) { _ = try await store.decisions(DecisionFilter()) } catch { failures.append(error) }
            do throws(StoreFailure) { _ = try await store.entries() } catch { failures.append(error) }
            do throws(StoreFailure) { _ = try await store.releases() } catch { failures.append(error) }
            do throws(StoreFailure) { _ = try await store.anchor() } catch { failures.append(error) }
            await store.close()
        } catch { failures.append(error) }
        #expect(!failures.isEmpty)
        #expect(failures.allSatisfy { $0.kind == .corrupt }, "\(failures)")
    }

    @Test func `A database that another process holds for itself is refused in time`() async throws {
        let folder = try Folder()
        try await makeStore(folder)
        let other = try RawDatabase(folder.database)
        try other.execute("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE")
        var settings = SQLiteSettings()
        settings.busyTimeout = .milliseconds(200)
        let start = ContinuousClock.now
        let failure = await failure(folder, settings: settings)
        #expect(failure?.kind == .locked)
        #expect(ContinuousClock.now - start < .seconds(10))
        try other.execute("COMMIT")
    }

    @Test func `Files that cannot be opened are named`() async throws {
        let folder = try Folder()
        let missing = folder.file("missing/postern.db")
        let failure = await failure(folder, path: missing)
        #expect(failure?.kind == .uncreatable)
        #expect(failure?.message.contains("missing/postern") == true)
        try FileManager.default.createDirectory(atPath: folder.file("folder.db"), withIntermediateDirectories: false)
        var settings = SQLiteSettings()
        settings.lock = .exclusive
        let notAFile = await self.failure(folder, path: folder.file("folder.db"), key: folder.file("key"), settings: settings)
        #expect(notAFile?.kind == .uncreatable && notAFile?.message.contains("folder.db is not a file") == true)
        #expect(!FileManager.default.fileExists(atPath: folder.file("folder.db.lock")), "nothing is left beside it")
        try FileManager.default.createDirectory(atPath: folder.key, withIntermediateDirectories: false)
        #expect(await self.failure(folder)?.kind == .uncreatable)
    }

    @Test func `A file where the folder should be is no matter of permission`() async throws {
        let folder = try Folder()
        try Data().write(to: URL(filePath: folder.file("data")))
        let failure = await failure(folder, path: folder.file("data/postern.db"), key: folder.file("data/postern.key"))
        #expect(failure?.kind == .uncreatable)
        #expect(failure?.message.contains("Not a directory; data_directory must name a folder") == true, "\(failure as Any)")
    }

    // MARK: - The key file

    @Test func `A database without its key file is refused`() async throws {
        let folder = try Folder()
        try await makeStore(folder)
        try FileManager.default.removeItem(atPath: folder.key)
        let failure = await failure(folder)
        #expect(failure?.kind == .corrupt)
        #expect(failure?.message.contains(folder.key) == true)
        #expect(!FileManager.default.fileExists(atPath: folder.key))
    }

    @Test(arguments: [0, 31, 33]) func `A key file of a wrong length is refused`(length: Int) async throws {
        let folder = try Folder()
        try await makeStore(folder)
        try Data(repeating: 1, count: length).write(to: URL(fileURLWithPath: folder.key))
        #expect(await failure(folder)?.kind == .corrupt)
        #expect(folder.octets("postern.key").count == length)
    }

    @Test func `Another database's key file is refused`() async throws {
        let folder = try Folder()
        try await makeStore(folder)
        let right = folder.octets("postern.key")
        try Data(repeating: 1, count: KeyHasher.secretLength).write(to: URL(fileURLWithPath: folder.key))
        let failure = await failure(folder)
        #expect(failure?.kind == .corrupt)
        #expect(failure?.message.contains("key file") == true)
        try right.write(to: URL(fileURLWithPath: folder.key))
        #expect(await self.failure(folder) == nil)
    }

    @Test func `A key file that is there is used for a new database`() async throws {
        let folder = try Folder()
        let secret = Data((0..<KeyHasher.secretLength).map(UInt8.init))
        try secret.write(to: URL(fileURLWithPath: folder.key))
        try await makeStore(folder)
        #expect(folder.octets("postern.key") == secret)
    }
}

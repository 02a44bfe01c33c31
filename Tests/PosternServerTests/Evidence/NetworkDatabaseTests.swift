import Foundation
import IntegrationSupport
import PosternControl
import PosternCore
import PosternEngine
import Testing

@testable import PosternServer

struct NetworkDatabaseTests {
    private let folder: TemporaryFolder
    private let log = LogCapture()

    init() throws { folder = try TemporaryFolder("geo") }

    /// Replaces the file as an updater does: written beside, then renamed.
    private func place(_ octets: [UInt8], at name: String) throws -> String {
        let path = folder.file(name)
        try Data(octets).write(to: URL(filePath: path), options: .atomic)
        return path
    }

    private func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }

    private func countries(_ entries: (String, String)...) throws -> [UInt8] {
        var database = WrittenDatabase()
        for (prefix, code) in entries { database.add(try #require(Prefix(prefix)), WrittenDatabase.country(code)) }
        return database.octets
    }

    /// What one file has is exported, though another is missing; what is missing with it is not.
    @Test func anExportDoesWithoutAFileThatIsMissing() throws {
        let paths = [folder.file("asn.mmdb"), try place(try countries(("192.0.2.0/24", "NZ")), at: "country.mmdb")]
        var warnings: [String] = []
        let report = try OfflineExport.writeNetworks(databases: paths, countries: ["NZ"], systems: []) { warnings.append($0) }
        defer { try? FileManager.default.removeItem(atPath: report.path) }
        #expect(try String(contentsOfFile: report.path, encoding: .utf8).contains("country_nz_4 { 192.0.2.0/24 }"))
        #expect(warnings.count == 1 && warnings.first?.hasPrefix("cannot read \(paths[0])") == true, "\(warnings)")
        let failure = #expect(throws: ControlFailure.self) {
            try OfflineExport.writeNetworks(databases: paths, countries: ["NZ"], systems: [64_500])
        }
        #expect(failure?.message.contains("no file in geo.databases has a network of AS64500") == true)
        #expect(failure?.message.contains("cannot read \(paths[0])") == true)
    }

    @Test func addressesAreFoundInTheirNetworks() throws {
        var systems = WrittenDatabase()
        systems.type = "GeoLite2-ASN"
        systems.add(try #require(Prefix("192.0.2.0/24")), WrittenDatabase.system(64_500, "Example Networks"))
        systems.add(try #require(Prefix("2001:db8::/32")), .map([("asn", .text("AS64501")), ("as_name", .text("Six Ltd"))]))
        systems.add(try #require(Prefix("198.51.100.0/24")), .map([("autonomous_system_number", .uint16(7))]))
        var places = WrittenDatabase()
        places.add(try #require(Prefix("192.0.2.0/25")), WrittenDatabase.country("NZ"))
        places.add(try #require(Prefix("2001:db8:1::/48")), .map([("country_code", .text("fr"))]))
        places.add(try #require(Prefix("203.0.113.0/24")), .map([("registered_country", .map([("iso_code", .text("DE"))]))]))
        places.add(try #require(Prefix("203.0.112.0/24")), .map([("country", .text("IT"))]))
        places.add(try #require(Prefix("203.0.111.0/24")), .map([("country", .uint32(9))]))
        let databases = NetworkDatabases(
            [try place(places.octets, at: "country.mmdb"), try place(systems.octets, at: "asn.mmdb")], logger: log.logger)
        #expect(databases.country(of: try address("192.0.2.1")) == "NZ")
        #expect(databases.country(of: try address("192.0.2.200")) == nil)
        #expect(databases.country(of: try address("2001:db8:1::9")) == "FR")
        #expect(databases.country(of: try address("203.0.113.9")) == "DE")
        #expect(databases.country(of: try address("203.0.112.9")) == "IT")
        #expect(databases.country(of: try address("203.0.111.9")) == nil)
        #expect(databases.owner(of: try address("192.0.2.200")) == NetworkOwner(number: 64_500, name: "Example Networks"))
        #expect(databases.owner(of: try address("2001:db8:ffff::1")) == NetworkOwner(number: 64_501, name: "Six Ltd"))
        #expect(databases.owner(of: try address("198.51.100.1")) == NetworkOwner(number: 7, name: ""))
        #expect(databases.owner(of: try address("8.8.8.8")) == nil)
    }

    @Test func aFileIsReadAgainWhenItChanges() async throws {
        let path = try place(try countries(("192.0.2.0/24", "NZ")), at: "c.mmdb")
        let databases = NetworkDatabases([path], logger: log.logger)
        let watch = Task { await databases.watch(every: .milliseconds(10)) }
        let client = try address("192.0.2.1")
        #expect(databases.country(of: client) == "NZ")
        _ = try place(try countries(("192.0.2.0/24", "DE"), ("198.51.100.0/24", "DE")), at: "c.mmdb")
        try await waitUntil("the new file is read") { databases.country(of: client) == "DE" }
        try FileManager.default.removeItem(atPath: path)
        try await waitUntil("the missing file is noticed") { databases.country(of: client) == nil }
        _ = try place(try countries(("192.0.2.0/24", "FR")), at: "c.mmdb")
        try await waitUntil("the file is back") { databases.country(of: client) == "FR" }
        watch.cancel()
        await watch.value
        #expect(log.lines.filter { $0.hasPrefix("a database of countries and networks is missing") }.count == 1)
    }

    /// Over the file in use, cut short: nothing that was read before may be touched by it.
    @Test func aFileDamagedInItsPlaceHarmsNothing() throws {
        let good = try countries(("192.0.2.0/24", "NZ"))
        let path = try place(good, at: "c.mmdb")
        let databases = NetworkDatabases([path], logger: log.logger)
        let handle = try #require(FileHandle(forWritingAtPath: path))
        try handle.truncate(atOffset: 10)
        databases.refresh()
        #expect(databases.country(of: try address("192.0.2.1")) == "NZ")
        try handle.truncate(atOffset: 0)
        databases.refresh()
        databases.refresh()
        #expect(databases.country(of: try address("192.0.2.1")) == "NZ")
        #expect(log.lines.filter { $0.contains("the one read before stays in use") }.count == 2)
    }

    @Test func whatIsNoDatabaseIsToldOnce() throws {
        let paths = [folder.file("none.mmdb"), folder.path, try place(Array("hello".utf8), at: "text.mmdb")]
        let databases = NetworkDatabases(paths, logger: log.logger)
        for _ in 0..<3 { databases.refresh() }
        let unknown = try address("192.0.2.1")
        #expect(databases.country(of: unknown) == nil && databases.owner(of: unknown) == nil)
        #expect(log.lines.count == 3)
    }

    /// Every octet of it changed, one after the other, and cut short everywhere.
    @Test func damagedFilesNeverEndTheProcess() throws {
        let good = try countries(("192.0.2.0/24", "NZ"), ("2001:db8::/32", "DE"))
        var generator = UInt64(20_261_121)
        for index in good.indices {
            var damaged = good
            generator = generator &* 6_364_136_223_846_793_005 &+ 1
            damaged[index] = UInt8(truncatingIfNeeded: generator >> 40)
            if index % 3 == 0 { damaged.removeLast(index) }
            let path = folder.file("damaged.mmdb")
            try Data(damaged).write(to: URL(filePath: path))
            guard let database = try? NetworkDatabase(path: path) else { continue }
            for text in ["192.0.2.1", "2001:db8::1", "255.255.255.255", "::"] {
                _ = database.country(of: try address(text))
                _ = database.owner(of: try address(text))
            }
        }
    }

    @Test(.enabled(if: TestData.exists("mmdb"))) func theFormatsOwnTestFilesAreRead() throws {
        func database(_ name: String) throws -> NetworkDatabase {
            try NetworkDatabase(path: "\(TestData.folder)/mmdb/test-data/\(name).mmdb")
        }
        let country = try database("GeoLite2-Country-Test")
        #expect(country.country(of: try address("81.2.69.142")) == "GB")
        #expect(country.country(of: try address("2001:218::1")) == "JP")
        #expect(country.country(of: try address("10.0.0.1")) == nil)
        #expect(try database("GeoIP2-City-Test").country(of: try address("89.160.20.112")) == "SE")
        #expect(try database("GeoLite2-ASN-Test").owner(of: try address("1.128.0.1"))?.number == 1221)
        // An IPv6 address in a file of IPv4.
        #expect(try database("MaxMind-DB-test-ipv4-24").country(of: try address("2001:db8::1")) == nil)
        // Every file, broken ones too: found or not, and no more.
        for file in try FileManager.default.contentsOfDirectory(atPath: "\(TestData.folder)/mmdb/test-data") where file.hasSuffix(".mmdb") {
            guard let database = try? NetworkDatabase(path: "\(TestData.folder)/mmdb/test-data/\(file)") else { continue }
            for text in ["1.1.1.1", "81.2.69.142", "2001:218::1", "89.160.20.112", "255.255.255.255", "::"] {
                _ = database.country(of: try address(text))
                _ = database.owner(of: try address(text))
            }
        }
    }
}

/// Data that is measured with and is no part of the project.
enum TestData {
    static let folder = ProcessInfo.processInfo.environment["POSTERN_TESTDATA"] ?? ServerRoots.project + "/../shared/testdata"

    static func exists(_ name: String) -> Bool { FileManager.default.fileExists(atPath: "\(folder)/\(name)") }
}

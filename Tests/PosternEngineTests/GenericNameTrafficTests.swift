import Foundation
import PosternCore
import Testing

@testable import PosternEngine

/// Reverse names of real traffic, where the data is at hand: `POSTERN_TESTDATA`, else a folder beside the project.
private let traffic: URL? = {
    let root =
        ProcessInfo.processInfo.environment["POSTERN_TESTDATA"].map { URL(fileURLWithPath: $0) }
        ?? URL(fileURLWithPath: #filePath).appendingPathComponent("../../../../shared/testdata").standardizedFileURL
    let folder = root.appendingPathComponent("traffic")
    return FileManager.default.fileExists(atPath: folder.path) ? folder : nil
}()

@Suite("Generic reverse names in real traffic")
struct GenericNameTrafficTests {
    /// The rows of a gzipped table, by column name.
    private func rows(_ file: URL) throws -> [[Substring: Substring]] {
        let gzip = Process()
        gzip.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        gzip.arguments = ["gzip", "-dc", file.path]
        let output = Pipe()
        gzip.standardOutput = output
        try gzip.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        gzip.waitUntilExit()
        let lines = text.split(separator: "\n").map { $0.split(separator: "\t", omittingEmptySubsequences: false) }
        let header = try #require(lines.first)
        return lines.dropFirst().map { Dictionary(zip(header, $0), uniquingKeysWith: { first, _ in first }) }
    }

    /// How many distinct reverse names there are, and how many of them are generic.
    private func share(_ file: String, where isWanted: ([Substring: Substring]) -> Bool) throws -> (names: Int, flagged: [String]) {
        let rows = try rows(try #require(traffic).appendingPathComponent(file))
        var names: [String: Bool] = [:]
        for row in rows where isWanted(row) {
            guard let address = row["client_ip"].flatMap({ IPAddress($0) }), let name = row["rdns"].flatMap({ DomainName($0) }) else {
                continue
            }
            names["\(name) \(address)"] = GenericName.matches(name, address: address)
        }
        return (names.count, names.filter(\.value).keys.sorted())
    }

    @Test("hardly a mail server of a mailing list's members is taken for a line", .enabled(if: traffic != nil))
    func members() throws {
        let (names, flagged) = try share("linbit.tsv.gz") { _ in true }
        print("list members: \(flagged.count) of \(names) names are generic: \(flagged.prefix(40))")
        #expect(names > 100)
        #expect(flagged.count * 100 < names * 8)
    }

    @Test("spam comes from generic names far more often than wanted mail", .enabled(if: traffic != nil))
    func spam() throws {
        let ham = try share("spamassassin_2002.tsv.gz") { $0["label"] == "ham" }
        let spam = try share("spamassassin_2002.tsv.gz") { $0["label"] == "spam" }
        print("2002: \(ham.flagged.count) of \(ham.names) ham, \(spam.flagged.count) of \(spam.names) spam")
        #expect(ham.names > 100 && spam.names > 100)
        #expect(ham.flagged.count * spam.names * 2 < spam.flagged.count * ham.names)
    }
}

import Foundation
import PosternEngine
import Testing

/// docs/evidence.md names every check, with the weight that it has.
struct ChecksDocumentationTests {
    @Test func everyCheckStandsThereWithItsWeight() throws {
        let path = URL(filePath: Corpus.folder).deletingLastPathComponent().deletingLastPathComponent().path + "/docs/evidence.md"
        var documented: [String: String] = [:]
        for line in try String(contentsOfFile: path, encoding: .utf8).split(whereSeparator: \.isNewline) where line.hasPrefix("| `") {
            let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
            guard cells.count == 3, !cells[2].isEmpty else { continue }
            for name in cells[0].matches(of: /`([^`]+)`/) {
                #expect(documented[String(name.1)] == nil, "\(name.1) stands there twice")
                documented[String(name.1)] = cells[1]
            }
        }
        for check in Check.allCases {
            let weight = try #require(documented[check.rawValue], "\(check.rawValue) is not in docs/evidence.md")
            // The weights of lists, countries and networks are those of each entry.
            if [.dnsLists, .country, .asNumber].contains(check) {
                #expect(weight.hasPrefix("by "))
            } else {
                #expect(Double(weight) == check.defaultSetting.score, "\(check.rawValue)")
            }
        }
    }
}

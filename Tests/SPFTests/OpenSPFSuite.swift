import Foundation
import PosternCore
import SPF
import Yams

/// The openspf.org test suites, where they are at hand: `POSTERN_TESTDATA`, else a folder beside the project.
struct OpenSPFSuite {
    struct Case: Sendable {
        var name: String
        var helo: String
        var host: String
        var sender: String
        /// The first is the one that the suite prefers.
        var accepted: [String]
        /// `DEFAULT` for none.
        var explanation: String?
    }

    struct Scenario: Sendable {
        var description: String
        var cases: [Case]
        var zones: [String: [ZoneResolver.Record]]
    }

    struct Malformed: Error {
        var what: String
    }

    static let folder: URL? = {
        let beside = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../../shared/testdata")
        let folder = ProcessInfo.processInfo.environment["POSTERN_TESTDATA"].map { URL(fileURLWithPath: $0) } ?? beside
        let spf = folder.appending(path: "spf").standardizedFileURL
        return FileManager.default.fileExists(atPath: spf.path) ? spf : nil
    }()

    static func scenarios(_ file: String) throws -> [Scenario] {
        guard let folder else { return [] }
        let text = try String(contentsOf: folder.appending(path: file), encoding: .utf8)
        return try Yams.compose_all(yaml: text).map(scenario)
    }

    private static func scenario(_ node: Node) throws -> Scenario {
        guard let description = node["description"]?.string, let tests = node["tests"]?.mapping, let zones = node["zonedata"]?.mapping
        else {
            throw Malformed(what: "scenario")
        }
        var scenario = Scenario(description: description, cases: [], zones: [:])
        for (name, body) in tests {
            guard let helo = body["helo"]?.scalar?.string, let host = body["host"]?.scalar?.string,
                let sender = body["mailfrom"]?.scalar?.string, let result = body["result"]
            else { throw Malformed(what: name.string ?? description) }
            let accepted = result.sequence.map { $0.compactMap(\.scalar?.string) } ?? [result.scalar?.string ?? ""]
            scenario.cases.append(
                Case(
                    name: name.string ?? "", helo: helo, host: host, sender: sender, accepted: accepted,
                    explanation: body["explanation"]?.scalar?.string))
        }
        for (name, records) in zones {
            guard let name = name.scalar?.string, let records = records.sequence else { throw Malformed(what: description) }
            scenario.zones[name.lowercasedASCII] = try self.records(records)
        }
        return scenario
    }

    /// Records of type SPF stand for TXT records, unless there are any of those (`TXT: NONE` is one that is not there).
    private static func records(_ nodes: Node.Sequence) throws -> [ZoneResolver.Record] {
        var records: [ZoneResolver.Record] = []
        var texts: [ZoneResolver.Record] = []
        var substitutes: [ZoneResolver.Record] = []
        var hasText = false
        for node in nodes {
            if node.scalar?.string == "TIMEOUT" {
                records.append(.timeout)
                continue
            }
            guard let (key, value) = node.mapping?.first, let type = key.scalar?.string else { throw Malformed(what: "record") }
            switch type {
            case "SPF": substitutes.append(.text(strings(value)))
            case "TXT":
                hasText = true
                if value.scalar?.string != "NONE" { texts.append(.text(strings(value))) }
            case "A", "AAAA":
                guard let address = value.scalar.flatMap({ IPAddress($0.string) }) else { throw Malformed(what: "address") }
                records.append(.address(address))
            case "MX": records.append(.exchanger(value.sequence?.last?.scalar?.string ?? ""))
            case "PTR": records.append(.pointer(value.scalar?.string ?? ""))
            case "CNAME":
                records.append(.alias(value.scalar.map { $0.string.hasSuffix(".") ? String($0.string.dropLast()) : $0.string } ?? ""))
            default: throw Malformed(what: type)
            }
        }
        return records + (hasText ? texts : substitutes)
    }

    /// Escapes such as `\x96` are meant as octets, so characters below U+0100 become one octet each.
    private static func strings(_ node: Node) -> [[UInt8]] {
        let texts = node.sequence.map { $0.compactMap(\.scalar?.string) } ?? [node.scalar?.string ?? ""]
        return texts.map { $0.unicodeScalars.map { UInt8(truncatingIfNeeded: $0.value) } }
    }
}

import Foundation
import Testing

/// What the pages say can be typed, and what they point to is there.
struct DocumentationTests {
    private static let root = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../..").standardizedFileURL.path

    private static var pages: [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: root + "/docs")) ?? []
        return ["README.md"] + names.filter { $0.hasSuffix(".md") }.sorted().map { "docs/\($0)" }
    }

    private func text(_ page: String) throws -> String { try String(contentsOfFile: "\(Self.root)/\(page)", encoding: .utf8) }

    @Test func everyPageIsInTheIndex() throws {
        let index = try text("docs/README.md") + text("README.md").replacing("](docs/", with: "](")
        for page in Self.pages where page.hasPrefix("docs/") && page != "docs/README.md" {
            let name = page.dropFirst(5)
            #expect(index.contains("](\(name))"), "\(name)")
        }
        #expect(try text("README.md").contains("(docs/README.md)"))
    }

    @Test func everyLinkLeadsSomewhere() throws {
        for page in Self.pages {
            let folder = page.hasPrefix("docs/") ? "\(Self.root)/docs" : Self.root
            for link in try text(page).matches(of: /\]\(([^)\s]+)\)/) {
                let target = link.1.prefix { $0 != "#" }
                guard !target.isEmpty, !target.contains("://") else { continue }
                #expect(FileManager.default.fileExists(atPath: "\(folder)/\(target)"), "\(page): \(target)")
            }
        }
    }

    /// Verbs and options that a page names are the program's.
    @Test func everyCommandCanBeTyped() async throws {
        let place = try Workplace()
        let dump = try await place.run("--experimental-dump-help").object
        let command = try #require(dump["command"] as? [String: Any])
        var found = 0
        for page in Self.pages {
            let text = try text(page)
            let lines = text.split(whereSeparator: \.isNewline).map { $0.trimmingPrefix(while: { $0 == " " || $0 == "$" }) }
            let typed = lines.filter { $0.hasPrefix("postern ") || $0.hasPrefix("sudo postern ") }.map(String.init)
            let quoted = text.matches(of: /`((?:sudo )?postern [^`\n]+)`/).map { String($0.1) }
            for line in typed + quoted {
                found += 1
                if let problem = problem(line.replacing("sudo ", with: ""), command) { Issue.record("\(page): \(line): \(problem)") }
            }
        }
        #expect(found > 60)
    }

    private func problem(_ line: String, _ root: [String: Any]) -> String? {
        var command = root
        var isVerb = true
        for word in line.split(separator: " ").dropFirst() {
            if ["|", ">", "&&", ";", "#", "·", "->"].contains(word) { return nil }
            // `VERB` stands for any of them, `allow|block` for one of these.
            if isVerb, word.allSatisfy({ $0.isUppercase || $0 == "." }) || word.contains("|") { return nil }
            if word.hasPrefix("--") {
                isVerb = false
                let name = word.dropFirst(2).prefix { $0 != "=" && $0 != "]" && $0 != "," && $0 != ")" }
                let names = (command["arguments"] as? [[String: Any]] ?? []).flatMap { $0["names"] as? [[String: Any]] ?? [] }
                    .compactMap { $0["name"] as? String }
                guard name == "help" || names.contains(String(name)) else { return "there is no --\(name)" }
                continue
            }
            let subcommands = command["subcommands"] as? [[String: Any]] ?? []
            guard isVerb, !subcommands.isEmpty else {
                isVerb = false
                continue
            }
            guard let next = subcommands.first(where: { $0["commandName"] as? String == String(word) }) else {
                return "there is no verb \(word)"
            }
            command = next
        }
        return nil
    }
}

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

    /// What a page shows of a configuration can be pasted as it stands. What is set in belongs to a listener, which stands around it here.
    @Test func everyConfigurationIsGood() async throws {
        let around = [
            "docs/dns-service.md":
                "listeners:\n  - name: lists\n    role: dnsbl\n    address: \"127.0.0.1:5353\"\n    zone: bl.example.net\n",
            "docs/inner.md":
                "listeners:\n  - name: door\n    role: inner\n    address: \"127.0.0.1:2525\"\n    backend: \"127.0.0.1:10025\"\n    nodes: [192.0.2.1]\n",
        ]
        let place = try Workplace()
        var found = 0
        for page in Self.pages {
            for match in try text(page).matches(of: /```yaml\n(.*?)\n *```/.dotMatchesNewlines()) {
                var yaml = String(match.1) + "\n"
                guard !yaml.hasPrefix("scrape_configs") else { continue }
                if yaml.hasPrefix("    ") { yaml = (around[page] ?? "") + yaml }
                found += 1
                let checked = try await place.run("config", "check", place.write(yaml, to: "page.yaml"))
                #expect(checked.code == 0, "\(page): \(yaml)\(checked.errors)")
            }
        }
        #expect(found > 20)
        // The package's own file, and what it offers behind a comment sign.
        let own = try text("packaging/postern.yaml")
        let offered = own.replacing(/(?m)^# ((?:hostname|dns_lists):)/) { $0.1 }
        #expect(own != offered)
        for yaml in [own, offered] {
            let checked = try await place.run("config", "check", place.write(yaml, to: "page.yaml"))
            #expect(checked.code == 0, "\(checked.errors)")
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

    /// The examples of each verb's help: a terminal of 80 columns breaks none of them, and what they name is there.
    @Test func everyExampleCanBePasted() async throws {
        let place = try Workplace()
        let root = try #require(try await place.run("--experimental-dump-help").object["command"] as? [String: Any])
        var found = 0
        func look(at command: [String: Any]) {
            let name = command["commandName"] as? String ?? ""
            let examples = (command["discussion"] as? String ?? "").split(separator: "EXAMPLES\n").dropFirst().joined(separator: "\n")
            for line in examples.split(separator: "\n") where line.count > 80 { Issue.record("\(name): \(line) is too long") }
            for line in examples.replacing(/\\\n */, with: "").split(separator: "\n") {
                for part in line.split(separator: " | ").map({ $0.trimmingCharacters(in: .whitespaces) }) where part.hasPrefix("postern ") {
                    found += 1
                    if let problem = problem(part, root) { Issue.record("\(name): \(part): \(problem)") }
                }
            }
            for command in command["subcommands"] as? [[String: Any]] ?? [] { look(at: command) }
        }
        look(at: root)
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

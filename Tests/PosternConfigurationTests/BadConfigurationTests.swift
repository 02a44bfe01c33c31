import Foundation
import PosternConfiguration
import Testing

/// One bad configuration a file; its last lines, `#= line:column: message`, are what must be said of it.
struct BadConfigurationTests {
    @Test(arguments: try Corpus.files("Bad"))
    func everyErrorIsNamedWithItsPlace(file: String) throws {
        let path = Corpus.folder + "/Bad/" + file
        let bytes = try Data(contentsOf: URL(filePath: path))
        let expected = bytes.split(separator: UInt8(ascii: "\n")).filter { $0.starts(with: Array("#= ".utf8)) }
            .map { String(decoding: $0.dropFirst(3), as: UTF8.self) }
        try #require(!expected.isEmpty, "\(file) does not say what is wrong with it")

        let failure = try #require(throws: ConfigurationFailure.self) { try ConfigurationFile(named: path, environment: [:]).load() }
        #expect(failure.diagnostics.contains { $0.severity == .error })
        let found = failure.diagnostics.map { $0.description.replacing(path + ":", with: "", maxReplacements: 1) }
        #expect(found == expected, "\(file) gives\n\(found.map { "#= " + $0 }.joined(separator: "\n"))")
        #expect(failure.diagnostics.allSatisfy { $0.description.hasPrefix("\(path):\($0.line):\($0.column): ") })
    }

    @Test func aFileThatIsNotThereOrIsAFolder() throws {
        for (path, words) in [("/nonexistent/postern.yaml", "No such file"), ("/tmp", "it is a folder")] {
            let failure = try #require(throws: ConfigurationFailure.self) { try ConfigurationFile(named: path, environment: [:]).load() }
            #expect(failure.description.hasPrefix("\(path):1:1: this file cannot be read: \(words)"))
        }
    }

    @Test func aFileLongerThanTheBoundIsRefused() throws {
        let text = "#" + String(repeating: "x", count: ConfigurationLoader.maximumSize)
        let failure = try #require(throws: ConfigurationFailure.self) { try ConfigurationLoader.load(text, file: "f") }
        #expect(failure.description == "f:1:1: the file is longer than \(ConfigurationLoader.maximumSize) octets")
        _ = try ConfigurationLoader.load(String(text.dropLast()), file: "f")
    }

    @Test func moreErrorsThanAnybodyReadsAreCounted() throws {
        let text = (0..<300).map { "key\($0): 1\n" }.joined()
        let failure = try #require(throws: ConfigurationFailure.self) { try ConfigurationLoader.load(text, file: "f") }
        #expect(failure.diagnostics.count == 201)
        #expect(failure.diagnostics.last?.message == "and 100 more errors")
    }

    @Test func moreListenersThanTheBoundAreRefused() throws {
        func text(_ count: Int) -> String {
            "listeners:\n" + (0..<count).map { "  - { name: l\($0), role: policy, address: \"127.0.0.1:0\" }\n" }.joined()
        }
        #expect(try ConfigurationLoader.load(text(256), file: "f").configuration.listeners.count == 256)
        let failure = try #require(throws: ConfigurationFailure.self) { try ConfigurationLoader.load(text(257), file: "f") }
        #expect(failure.description == "f:2:3: listeners: 257 listeners are more than 256")
    }

    @Test(arguments: ["[", "{ a: "])
    func deepNestingIsAnError(opening: String) {
        let text = "networks: " + String(repeating: opening, count: 200_000)
        #expect(throws: ConfigurationFailure.self) { try ConfigurationLoader.load(text, file: "f") }
    }

    @Test func aliasesDoNotMultiply() throws {
        var text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        for level in 1...30 {
            text += "a\(level): &a\(level) [" + Array(repeating: "*a\(level - 1)", count: 10).joined(separator: ", ") + "]\n"
        }
        text += "networks: { local: *a30 }\n"
        let failure = try #require(throws: ConfigurationFailure.self) { try ConfigurationLoader.load(text, file: "f") }
        #expect(failure.diagnostics.count < 60)
    }
}

enum Corpus {
    static let folder = URL(filePath: #filePath).deletingLastPathComponent().path

    static func files(_ kind: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: "\(folder)/\(kind)").filter { $0.hasSuffix(".yaml") }.sorted()
    }
}

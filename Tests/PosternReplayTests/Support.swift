import EngineTestSupport
import Foundation
import PosternCore
import PosternEngine

@testable import PosternReplay

/// A file in memory, handed out in pieces of a given size.
final class Pieces: ByteSource {
    private let bytes: [UInt8]
    private let size: Int
    private let failure: InputFailure?
    private var position = 0

    init(_ bytes: [UInt8], size: Int = 4096, failure: InputFailure? = nil) {
        self.bytes = bytes
        self.size = size
        self.failure = failure
    }

    var consumed: Int64 { Int64(position) }

    func read(into buffer: inout [UInt8]) throws(InputFailure) -> Bool {
        guard position < bytes.count else {
            if let failure { throw failure }
            return false
        }
        let end = min(position + size, bytes.count)
        buffer += bytes[position..<end]
        position = end
        return true
    }
}

func file(
    _ text: String, name: String = "mail.log", modified: String? = nil, pieces: Int = 4096, failure: InputFailure? = nil,
    isRepeatable: Bool = true
) -> InputFile {
    InputFile(
        name: name, size: Int64(text.utf8.count), modified: modified.map { time($0) }, isRepeatable: isRepeatable
    ) { () throws(InputFailure) in Pieces(Array(text.utf8), size: pieces, failure: failure) }
}

/// From RFC 3339.
func time(_ text: String) -> WallTime {
    let bytes = Array(text.utf8)
    return ISOTime(bytes.span, at: 0, before: bytes.count)?.time ?? WallTime(milliseconds: -1)
}

/// Everything that a reader finds.
struct Found {
    var attempts: [LoggedAttempt] = []
    var sent: [SentMessage] = []
    var counts: LogCounts
    var problems: InputProblems
}

func readAll(_ files: [InputFile], _ options: ReadingOptions = ReadingOptions()) throws -> Found {
    let reader = try TrafficReader(files: files, options: options)
    var attempts: [LoggedAttempt] = []
    var sent: [SentMessage] = []
    var steps = 0
    while reader.advance({ attempts.append($0) }) {
        sent += reader.sent
        reader.sent = []
        steps += 1
        precondition(steps < 1_000_000)
    }
    return Found(attempts: attempts, sent: sent, counts: reader.counts, problems: reader.problems)
}

func readAll(_ text: String, modified: String? = "2026-12-31T00:00:00Z", options: ReadingOptions = ReadingOptions()) throws -> Found {
    try readAll([file(text, modified: modified)], options)
}

extension LoggedAttempt {
    /// In one line, for comparing.
    var summary: String {
        var words = ["\(time)", client.address?.description ?? "?"]
        if let name = client.confirmedName { words.append(name.text) }
        if !client.helo.isEmpty { words.append("helo=\(client.helo)") }
        words.append("<\(sender)> <\(recipient)>")
        if bytes > 0 { words.append("\(bytes)") }
        if outcome != .accepted { words.append("\(outcome)") }
        return words.joined(separator: " ")
    }
}

/// Runs policies over a file.
func replay(
    _ files: [InputFile], _ policies: [(inout EngineSettings) -> Void] = [{ _ in }], model: RetryModel = RetryModel(),
    assumptions: Assumptions = Assumptions(), isConversation: Bool = false, options: ReadingOptions = ReadingOptions(),
    findings: any FindingsSource = RecordedFindings(), lists: Lists = Lists()
) async throws -> TrafficReport {
    let reader = try TrafficReader(files: files, options: options)
    let policies = policies.enumerated().map { index, change in
        var settings = EngineSettings()
        settings.profile = .classic
        change(&settings)
        return ReplayPolicy(
            name: "policy \(index)", engine: Engine(settings: settings, lists: lists, domains: LastTwoLabels()),
            isConversation: isConversation,
            findings: findings)
    }
    let replay = Replay(policies: policies, model: model, assumptions: assumptions, domains: LastTwoLabels())
    var batch: [LoggedAttempt] = []
    while reader.advance({ batch.append($0) }) {
        await replay.take(batch)
        batch = []
    }
    await replay.take(batch)
    return replay.report(of: reader, files: files.map(\.name))
}

/// Data collected from public projects, where it is at hand.
enum TestData {
    static let folder: URL? = {
        let beside = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../../shared/testdata")
        let folder = ProcessInfo.processInfo.environment["POSTERN_TESTDATA"].map { URL(fileURLWithPath: $0) } ?? beside
        return FileManager.default.fileExists(atPath: folder.path) ? folder.standardizedFileURL : nil
    }()
}

import Foundation
import IntegrationSupport
import PolicyProtocol
import PosternEngine
import Testing

/// Requests that a Postfix 3.7 made, where the data is at hand: `POSTERN_TESTDATA`, else a folder beside the project.
@Suite(.enabled(if: RecordedRequests.isPresent)) struct RecordedRequestsTests {
    @Test(arguments: [1, 7, 1000, 1_000_000])
    func everyAttributeIsRead(pieceSize: Int) throws {
        let recorded = try RecordedRequests.all()
        #expect(recorded.count == 94)
        let bytes = recorded.flatMap(\.octets)
        var decoder = PolicyRequestDecoder()
        var decoded: [PolicyRequest] = []
        for start in stride(from: 0, to: bytes.count, by: pieceSize) {
            decoder.feed(bytes[start..<min(start + pieceSize, bytes.count)])
            while let request = try decoder.next() { decoded.append(request) }
        }
        #expect(!decoder.isWithinRequest)
        try #require(decoded.count == recorded.count)
        for (request, recording) in zip(decoded, recorded) {
            let lines = String(decoding: recording.octets, as: UTF8.self).split(separator: "\n")
            var known = 0
            for line in lines {
                let parts = line.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                guard let attribute = PolicyAttribute(rawValue: String(parts[0])) else { continue }
                known += 1
                #expect(request[attribute] == parts[1], "\(line)")
            }
            // Postfix sends none that we do not know.
            #expect(known == lines.count)
            #expect(request[.protocolState] == recording.state)
        }
    }

    @Test(arguments: [true, false])
    func eachRequestGetsOneReply(atOnce: Bool) async throws {
        let recorded = try RecordedRequests.all()
        let test = try await TestService()
        let client = try test.client()
        var replies: [String?] = []
        if atOnce {
            client.send(recorded.map { String(decoding: $0.octets, as: UTF8.self) }.joined())
            for _ in recorded { replies.append(try client.reply()) }
        } else {
            for recording in recorded {
                client.send(String(decoding: recording.octets, as: UTF8.self))
                replies.append(try client.reply())
            }
        }
        client.halfClose()
        #expect(try client.reply() == nil)
        for (reply, recording) in zip(replies, recorded) {
            // All are strangers; those without a sender are deferred at DATA, the others at RCPT.
            let isDeferred = recording.state == "RCPT" ? !recording.hasNullSender : recording.state == "DATA" && recording.hasNullSender
            let expected = isDeferred ? "action=DEFER_IF_PERMIT 4.7.1 Greylisted" : "action=DUNNO"
            #expect(reply?.hasPrefix(expected) == true, "\(recording.state): \(reply ?? "closed")")
        }
        await test.stop()
    }
}

enum RecordedRequests {
    struct Recording {
        let state: String
        let octets: [UInt8]

        var hasNullSender: Bool { String(decoding: octets, as: UTF8.self).contains("\nsender=\n") }
    }

    private struct Line: Decodable {
        let k: String
        let state: String?
        let req: String?
    }

    private static let file =
        (ProcessInfo.processInfo.environment["POSTERN_TESTDATA"].map { URL(fileURLWithPath: $0) }
        ?? URL(fileURLWithPath: #filePath).appendingPathComponent("../../../../shared/testdata").standardizedFileURL)
        .appendingPathComponent("policy/postfix3711_20_sessions.jsonl")

    static var isPresent: Bool { FileManager.default.fileExists(atPath: file.path) }

    static func all() throws -> [Recording] {
        try String(contentsOf: file, encoding: .utf8).split(separator: "\n").compactMap { text in
            let line = try JSONDecoder().decode(Line.self, from: Data(text.utf8))
            guard line.k == "policy", let state = line.state, let digits = line.req.map({ Array($0.utf8) }) else { return nil }
            let octets = stride(from: 0, to: digits.count - 1, by: 2).compactMap {
                UInt8(String(decoding: digits[$0..<($0 + 2)], as: UTF8.self), radix: 16)
            }
            return Recording(state: state, octets: octets)
        }
    }
}

import Foundation

/// The lines that go over the control socket: one request or reply each, as JSON, ended by a line feed.
enum ControlMessage {
    /// Both sides are of one package; a daemon that was not restarted after an upgrade is told from its number.
    static let version = 1

    /// Octets of a request: a full batch fits.
    static let maximumRequest = 2_097_152
    /// Octets of a reply: 10,000 decisions fit.
    static let maximumReply = 33_554_432

    private struct Version: Codable {
        var version: Int
    }

    private struct Request: Codable {
        var version: Int
        var request: ControlRequest
    }

    private struct Reply: Codable {
        var version: Int
        var reply: ControlReply?
        var failure: ControlFailure?
    }

    static func line(_ request: ControlRequest) throws(ControlFailure) -> [UInt8] {
        try line(Request(version: version, request: request), atMost: maximumRequest)
    }

    /// A reply that is too long becomes a failure that says so.
    static func line(_ result: Result<ControlReply, ControlFailure>) -> [UInt8] {
        do throws(ControlFailure) {
            switch result {
            case .success(let reply): return try line(Reply(version: version, reply: reply), atMost: maximumReply)
            case .failure(let failure): return try line(Reply(version: version, failure: failure), atMost: maximumReply)
            }
        } catch {
            return (try? line(Reply(version: version, failure: error), atMost: maximumReply)) ?? []
        }
    }

    static func request(_ line: [UInt8]) throws(ControlFailure) -> ControlRequest {
        try decode(Request.self, line).request
    }

    static func reply(_ line: [UInt8]) throws(ControlFailure) -> ControlReply {
        let message = try decode(Reply.self, line)
        if let failure = message.failure { throw failure }
        guard let reply = message.reply else {
            throw ControlFailure(.protocolMismatch, "the daemon's answer holds neither reply nor failure")
        }
        return reply
    }

    private static func line(_ message: some Encodable, atMost limit: Int) throws(ControlFailure) -> [UInt8] {
        let data: Data
        do {
            data = try JSONEncoder().encode(message)
        } catch {
            throw ControlFailure(.badData, "this cannot be written as JSON: \(error)")
        }
        guard data.count < limit else { throw ControlFailure(.badData, "\(data.count) octets are too many for one message; ask for less") }
        return Array(data) + [UInt8(ascii: "\n")]
    }

    private static func decode<Message: Decodable>(_: Message.Type, _ line: [UInt8]) throws(ControlFailure) -> Message {
        let data = Data(line)
        guard let theirs = try? JSONDecoder().decode(Version.self, from: data) else {
            throw ControlFailure(.protocolMismatch, "this is not a message of the control socket")
        }
        guard theirs.version == version else {
            throw ControlFailure(
                .protocolMismatch,
                "the other side speaks version \(theirs.version) of the control protocol, this one \(version); restart the daemon")
        }
        do {
            return try JSONDecoder().decode(Message.self, from: data)
        } catch {
            throw ControlFailure(.protocolMismatch, "the message is not understood; are command and daemon of the same version? (\(error))")
        }
    }
}

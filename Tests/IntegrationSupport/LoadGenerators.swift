import Foundation

/// Postfix's `smtp-sink`: takes every message and forgets it.
public final class SMTPSink: Sendable {
    public let port: UInt16
    private let process: RunningProcess
    private let root: PrivateRoot

    /// - Parameters:
    ///   - counting: keeps the counters of `counters`; leave it off when measuring.
    ///   - options: further ones, e.g. `-f`, `DATA` (refuse a command for good) or `-w`, `1` (delay the answer to DATA).
    public static func start(port: UInt16? = nil, counting: Bool = true, backlog: Int = 1024, options: [String] = []) async throws
        -> SMTPSink
    {
        let sink = try SMTPSink(port: port ?? FreePort.next(), counting: counting, backlog: backlog, options: options)
        try await sink.process.waitUntilReady("listening on port \(sink.port)") { FreePort.isListening(sink.port) }
        return sink
    }

    private init(port: UInt16, counting: Bool, backlog: Int, options: [String]) throws {
        self.port = port
        root = try PrivateRoot("postfix", folder: TemporaryFolder("sink"))
        // It drops to a user that it is told.
        let command = ["/usr/sbin/smtp-sink", "-u", "nobody"] + (counting ? ["-c"] : []) + options
        process = try root.start(command + ["127.0.0.1:\(port)", "\(backlog)"])
    }

    /// What it saw so far, sessions and messages that are complete.
    public struct Counters: Sendable, Equatable {
        public var sessions = 0
        public var quits = 0
        public var messages = 0
    }

    public var counters: Counters {
        var counters = Counters()
        // "sess=1 quit=1 mesg=1", each after a carriage return.
        let last = process.log.split { $0 == "\r" || $0 == "\n" || $0 == "\r\n" }.last { $0.contains("mesg=") }
        for field in (last ?? "").split(separator: " ") {
            let parts = field.split(separator: "=")
            guard parts.count == 2, let value = Int(parts[1]) else { continue }
            switch parts[0] {
            case "sess": counters.sessions = value
            case "quit": counters.quits = value
            case "mesg": counters.messages = value
            default: break
            }
        }
        return counters
    }

    /// Its process and all children gone.
    public func kill() {
        process.kill()
    }
}

/// Postfix's `smtp-source`: many messages over parallel sessions.
public struct SMTPSource: Sendable {
    private let root: PrivateRoot
    public var server: String

    public init(server: String) throws {
        self.server = server
        root = try PrivateRoot("postfix", folder: TemporaryFolder("source"))
    }

    public init(port: UInt16) throws {
        try self.init(server: "127.0.0.1:\(port)")
    }

    /// Sends `messages` messages.
    ///
    /// - Parameters:
    ///   - size: bytes of content.
    ///   - onePerSession: disconnects after each message; else a session is used for many.
    /// - Returns: how long it took; throws when a message was refused or the connection broke.
    @discardableResult
    public func send(
        messages: Int, sessions: Int = 1, size: Int = 1024, from sender: String = "alice@sender.test",
        to recipient: String = "bob@example.test", helo: String = "mail.sender.test", onePerSession: Bool = false, options: [String] = [],
        within limit: Duration = .seconds(120)
    ) async throws -> Duration {
        var command = ["/usr/sbin/smtp-source", "-m", "\(messages)", "-s", "\(sessions)", "-l", "\(size)"]
        command += ["-f", sender, "-t", recipient, "-M", helo] + (onePerSession ? [] : ["-d"]) + options
        let start = ContinuousClock.now
        let result = try await root.run(command + [server], within: limit)
        guard result.succeeded else { throw TestFailure("smtp-source: \(result.exit)\n\(result.output)") }
        return ContinuousClock.now - start
    }
}

import Foundation

/// The SMTP client `swaks`: one message, and the whole conversation to look at.
public struct Swaks: Sendable {
    private let root: PrivateRoot
    /// Host and port that each message goes to.
    public var server: String

    /// - Parameter server: `127.0.0.1:10025`.
    public init(server: String) throws {
        self.server = server
        root = try PrivateRoot("swaks", folder: TemporaryFolder("swaks"))
    }

    public init(port: UInt16) throws {
        try self.init(server: "127.0.0.1:\(port)")
    }

    /// A command and its reply.
    public struct Exchange: Sendable, Equatable {
        /// What the client sent, empty for the greeting.
        public let sent: String
        /// The lines of the reply, codes included.
        public let reply: [String]

        /// The reply's code, 0 where there was none.
        public var code: Int { reply.last.flatMap { Int($0.prefix(3)) } ?? 0 }
    }

    /// How a conversation went.
    public struct Outcome: Sendable {
        /// Of swaks itself: 0 when the message was accepted for at least one recipient.
        public let status: Int32
        /// Everything that swaks printed.
        public let transcript: String
        public let exchanges: [Exchange]

        public var accepted: Bool { status == 0 }

        /// The reply to the first command that starts so (`RCPT TO:<bob@`); `.` is the end of the message.
        public func reply(to command: String) -> Exchange? {
            exchanges.first { command == "." ? $0.sent == "." : $0.sent.hasPrefix(command) }
        }
    }

    /// Sends one message.
    ///
    /// - Parameters:
    ///   - sender: empty for the null sender.
    ///   - source: the loopback address to come from.
    ///   - headers: added to or replacing those of swaks' own message, as whole lines.
    ///   - data: the whole message instead of swaks' own; swaks adds the dots and the CRs.
    ///   - extra: further options of swaks.
    public func send(
        from sender: String = "alice@sender.test", to recipients: [String] = ["bob@example.test"], helo: String = "mail.sender.test",
        source: String? = nil, headers: [String] = [], body: String? = nil, data: String? = nil, extra: [String] = [],
        within limit: Duration = .seconds(60)
    ) async throws -> Outcome {
        var command = ["/usr/bin/swaks", "--server", server, "--helo", helo, "--from", sender.isEmpty ? "<>" : sender]
        command += ["--to", recipients.joined(separator: ",")]
        if let source { command += ["--local-interface", source] }
        for header in headers { command += ["--header", header] }
        if let body { command += ["--body", body] }
        var dataFile: String?
        if let data {
            // A file, since a message may be larger than a command line.
            let path = try root.folder.write(data, to: UUID().uuidString)
            dataFile = path
            command += ["--data", "@\(path)"]
        }
        defer {
            if let dataFile { unlink(dataFile) }
        }
        let result = try await root.run(command + extra, within: limit)
        return Outcome(status: result.exit.code, transcript: result.output, exchanges: Self.exchanges(result.output))
    }

    /// Lines of swaks' transcript start with ` -> ` (sent) and `<-  ` (received); `~` stands for a TLS session and `*` for a
    /// reply that was not hoped for.
    private static func exchanges(_ transcript: String) -> [Exchange] {
        var exchanges: [Exchange] = []
        var sent = ""
        var reply: [String] = []
        // What is sent over TLS is shown with its carriage returns.
        for line in transcript.split(whereSeparator: \.isNewline) {
            if line.hasPrefix(" -> ") || line.hasPrefix(" ~> ") {
                if !reply.isEmpty { exchanges.append(Exchange(sent: sent, reply: reply)) }
                reply = []
                sent = String(line.dropFirst(4))
            } else if ["<-  ", "<** ", "<~  ", "<~* "].contains(where: line.hasPrefix) {
                reply.append(String(line.dropFirst(4)))
            }
        }
        if !reply.isEmpty { exchanges.append(Exchange(sent: sent, reply: reply)) }
        return exchanges
    }
}

import Foundation

/// A Postfix of one test's own, on loopback: takes mail for its domains into a maildir, relays where told to, asks a policy
/// service, and queues and retries within seconds.
public final class PostfixServer: Sendable {
    public let configuration: PostfixConfiguration
    /// Where it listens, on the configuration's address.
    public let port: UInt16
    /// Of the submission listener, where there is one.
    public let submissionPort: UInt16?
    public let root: PrivateRoot
    /// What it delivered to its own domains.
    public let mailbox: Mailbox
    /// For how long a test waits for what it is to send again by itself: usually some seconds, but a minute more where it found a
    /// message held (`PostfixConfiguration.retrySeconds`).
    public static let retryPatience = Duration.seconds(150)
    private let process: Current

    /// Writes the configuration, starts Postfix, and waits until it listens.
    public static func start(_ configuration: PostfixConfiguration = .init()) async throws -> PostfixServer {
        let server = try PostfixServer(configuration)
        if let submission = configuration.submission, submission.dovecot == nil { try await server.addUsers(submission.users) }
        try await server.start()
        return server
    }

    private init(_ configuration: PostfixConfiguration) throws {
        self.configuration = configuration
        root = try PrivateRoot("postfix", folder: TemporaryFolder("postfix"), binds: configuration.binds)
        mailbox = Mailbox(root: root, path: "mail/all")
        port = try configuration.port ?? FreePort.next(on: configuration.address)
        submissionPort = try configuration.submission.map { try $0.port ?? FreePort.next(on: configuration.address) }
        process = Current()
        try configuration.write(to: root.folder, port: port, submissionPort: submissionPort)
    }

    /// Starts it again with the same queue and ports, after `stop` or `kill`.
    public func start() async throws {
        // -s: stay in the foreground.
        let running = try root.start(["/usr/lib/postfix/sbin/master", "-s"])
        process.set(running)
        try await running.waitUntilReady("listening on port \(port)") {
            FreePort.isListening(port) && (submissionPort.map(FreePort.isListening) ?? true)
        }
    }

    /// As `postfix stop` does.
    public func stop() async throws {
        try await process.get().stop()
    }

    /// `SIGKILL` to the master and all of its daemons at once.
    public func kill() throws {
        try process.get().kill()
    }

    /// `SIGHUP`: reads its configuration again.
    public func reload() throws {
        try process.get().signal(SIGHUP)
    }

    /// The mail log so far, and what was written to standard error.
    public var log: String {
        root.folder.read("var/log/mail.log") + root.folder.read("output.log")
    }

    /// Puts a message into the queue, as `sendmail` does on the host itself.
    public func submit(from sender: String, to recipients: [String], message: String) async throws {
        let result = try await root.run(["/usr/sbin/sendmail", "-i", "-f", sender, "--"] + recipients, input: message)
        guard result.succeeded else { throw TestFailure("sendmail: \(result.output)") }
    }

    /// A message that waits in the queue.
    public struct Queued: Sendable, Decodable {
        public struct Recipient: Sendable, Decodable {
            public let address: String
            /// Why it was not delivered at the last attempt.
            public let delayReason: String?

            enum CodingKeys: String, CodingKey {
                case address
                case delayReason = "delay_reason"
            }
        }

        public let queueName: String
        public let queueID: String
        public let sender: String
        public let recipients: [Recipient]

        enum CodingKeys: String, CodingKey {
            case queueName = "queue_name"
            case queueID = "queue_id"
            case sender
            case recipients
        }
    }

    /// What waits in the queue; Postfix must be running.
    public func queue() async throws -> [Queued] {
        let result = try await root.run(["/usr/sbin/postqueue", "-j"])
        guard result.succeeded else { throw TestFailure("postqueue: \(result.output)") }
        return try result.output.split(separator: "\n").map { line in
            try JSONDecoder().decode(Queued.self, from: Data(line.utf8))
        }
    }

    /// Tries all queued mail now.
    public func flush() async throws {
        let result = try await root.run(["/usr/sbin/postqueue", "-f"])
        guard result.succeeded else { throw TestFailure("postqueue: \(result.output)") }
    }

    private func addUsers(_ users: [String: String]) async throws {
        for (user, password) in users {
            let parts = user.split(separator: "@", maxSplits: 1).map(String.init)
            let realm = parts.count > 1 ? parts[1] : configuration.hostname
            let result = try await root.run(
                ["/usr/sbin/saslpasswd2", "-p", "-c", "-u", realm, "-f", "/etc/sasldb2", parts[0]], input: password)
            guard result.succeeded else { throw TestFailure("saslpasswd2: \(result.output)") }
        }
        // smtpd reads it as its own user.
        try root.makeReadable("etc/sasldb2")
    }
}

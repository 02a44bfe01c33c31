import Foundation

/// An Exim of one test's own, on loopback: takes mail for its domains into a maildir, relays where told to, runs ACL
/// statements of the test's, and queues and retries within seconds.
public final class EximServer: Sendable {
    public let configuration: EximConfiguration
    public let port: UInt16
    public let root: PrivateRoot
    /// What it delivered to its own domains.
    public let mailbox: Mailbox
    private let process = Current()

    /// Writes the configuration, starts Exim, and waits until it listens.
    public static func start(_ configuration: EximConfiguration = .init()) async throws -> EximServer {
        let server = try EximServer(configuration)
        try await server.start()
        return server
    }

    private init(_ configuration: EximConfiguration) throws {
        self.configuration = configuration
        root = try PrivateRoot("exim4", folder: TemporaryFolder("exim"), binds: configuration.binds)
        mailbox = Mailbox(root: root, path: "mail/all")
        port = try configuration.port ?? FreePort.next(on: configuration.address)
        try configuration.write(to: root.folder, port: port)
    }

    /// Starts it again with the same queue and port, after `stop` or `kill`.
    public func start() async throws {
        // A daemon in the foreground that also starts a queue runner each second.
        let running = try root.start(["/usr/sbin/exim4", "-bdf", "-q\(configuration.retrySeconds)s"])
        process.set(running)
        try await running.waitUntilReady("listening on port \(port)") { FreePort.isListening(port) }
    }

    public func stop() async throws {
        try await process.get().stop()
    }

    /// `SIGKILL` to the daemon and all of its children at once.
    public func kill() throws {
        try process.get().kill()
    }

    /// The main, reject and panic logs so far, and what was written to standard error.
    public var log: String {
        // Exim's own user wrote them, for itself alone.
        if geteuid() != 0 { try? root.makeReadable("var/log/exim4") }
        return ["mainlog", "rejectlog", "paniclog"].map { root.folder.read("var/log/exim4/\($0)") }.joined()
            + root.folder.read("output.log")
    }

    /// Hands in a message as a program on the host itself does.
    public func submit(from sender: String, to recipients: [String], message: String) async throws {
        let result = try await root.run(["/usr/sbin/exim4", "-i", "-f", sender, "--"] + recipients, input: message)
        guard result.succeeded else { throw TestFailure("exim4: \(result.output)") }
    }

    /// How many messages wait in the queue.
    public func queueCount() async throws -> Int {
        let result = try await root.run(["/usr/sbin/exim4", "-bpc"])
        guard result.succeeded, let count = Int(result.output.trimmingCharacters(in: .whitespacesAndNewlines)) else {
            throw TestFailure("exim4 -bpc: \(result.output)")
        }
        return count
    }

    /// Tries all queued mail now, whatever its retry times, and waits until the attempts are over.
    public func flush() async throws {
        let result = try await root.run(["/usr/sbin/exim4", "-qff"])
        guard result.succeeded else { throw TestFailure("exim4 -qff: \(result.output)") }
    }
}

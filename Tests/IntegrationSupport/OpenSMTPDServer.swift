import Foundation

/// What a test wants of an OpenSMTPD. Every default suits a receiving server that trusts nobody.
///
/// It offers no STARTTLS: that of Debian 12 breaks every handshake with OpenSSL 3 (OpenSMTPD issues 1171 and 1239). As a
/// client it speaks TLS.
public struct OpenSMTPDConfiguration: Sendable {
    public var hostname: String
    /// Received for, into the maildir.
    public var domains: [String]
    /// The mailboxes that exist; nil for every one of `domains`.
    public var recipients: [String]?
    /// IPv4 address to listen on.
    public var address: String
    /// From the kernel when nil.
    public var port: UInt16?
    /// Where mail for other domains goes, for clients on loopback: a URL such as `smtp+notls://127.0.0.1:10025`
    /// (`smtp://` uses STARTTLS where it is offered); nil: nowhere.
    public var relay: String?
    /// Connections must start with a PROXY header of version 2.
    public var expectsProxyHeader: Bool
    /// Names by address, as in a hosts file: the only names that this server can find.
    public var hosts: [String: String]
    /// A name server on port 53: mail for other domains then goes where their MX records say.
    public var resolver: String?
    /// The address that such mail is sent from.
    public var sourceAddress: String?
    /// Options of the `listen` line, e.g. `filter "postern"`.
    public var extraListen: String
    /// Lines before the `listen` line.
    public var extra: [String]
    /// Folders outside that it must see.
    public var binds: [String]

    public init(
        hostname: String = "mx.example.test", domains: [String] = ["example.test"], recipients: [String]? = nil,
        address: String = "127.0.0.1", port: UInt16? = nil, relay: String? = nil, expectsProxyHeader: Bool = false,
        hosts: [String: String] = [:], extraListen: String = "", extra: [String] = [], binds: [String] = []
    ) {
        self.hostname = hostname
        self.domains = domains
        self.recipients = recipients
        self.address = address
        self.port = port
        self.relay = relay
        self.expectsProxyHeader = expectsProxyHeader
        self.hosts = hosts
        self.extraListen = extraListen
        self.extra = extra
        self.binds = binds
    }

    func write(to folder: TemporaryFolder, port: UInt16) throws {
        let mailboxes = recipients ?? domains.map { "@\($0)" }
        var lines = [
            "smtp max-message-size \"100M\"",
            "table domains { \(domains.map { "\"\($0)\"" }.joined(separator: ", ")) }",
            "table mailboxes { \(mailboxes.map { "\"\($0)\" = \"vmail\"" }.joined(separator: ", ")) }",
        ]
        if let recipients { lines.append("table known { \(recipients.map { "\"\($0)\"" }.joined(separator: ", ")) }") }
        lines += extra
        let listening = [
            "listen on \(address) port \(port) hostname \(hostname)", expectsProxyHeader ? "proxy-v2" : "", extraListen,
        ]
        lines += [
            listening.filter { !$0.isEmpty }.joined(separator: " "),
            "action \"keep\" maildir \"\(folder.file("mail/all"))\" virtual <mailboxes>",
            "match from any for \(recipients == nil ? "domain <domains>" : "rcpt-to <known>") action \"keep\"",
        ]
        if resolver != nil {
            lines.append("mta limit session-keepalive 1 reconn-delay-route 1")
            let source = sourceAddress.map { " src \($0)" } ?? ""
            lines += ["action \"onward\" relay helo \(hostname)\(source)", "match from local for any action \"onward\""]
        }
        if let relay {
            // A session is kept, and a next hop left alone, no longer than a second.
            lines.append("mta limit session-keepalive 1 reconn-delay-route 1")
            lines += ["action \"onward\" relay host \"\(relay)\" helo \(hostname)", "match from local for any action \"onward\""]
        }
        try folder.write(lines.joined(separator: "\n") + "\n", to: "etc/smtpd.conf")
        try folder.write(hostsFile(hosts, hostname: hostname), to: "etc/hosts")
        if let resolver { try folder.write("nameserver \(resolver)\n", to: "etc/resolv.conf") }
        let owners = ["755 1000:1000 mail", "755 0:0 var/lib/opensmtpd/empty", "711 0:0 var/spool/smtpd"]
        try folder.write(owners.joined(separator: "\n") + "\n", to: "owners")
    }
}

/// An OpenSMTPD of one test's own, on loopback: takes mail for its domains into a maildir and relays where told to.
///
/// Its time between two attempts (400 s at first) is not configurable: a test calls `flush`.
public final class OpenSMTPDServer: Sendable {
    public let configuration: OpenSMTPDConfiguration
    public let port: UInt16
    public let root: PrivateRoot
    /// What it delivered to its own domains.
    public let mailbox: Mailbox
    private let process = Current()
    /// opensmtpq, of which smtpctl insists on being.
    private static let queueGroup = 105

    /// Writes the configuration, starts OpenSMTPD, and waits until it listens.
    public static func start(_ configuration: OpenSMTPDConfiguration = .init()) async throws -> OpenSMTPDServer {
        let server = try OpenSMTPDServer(configuration)
        try await server.start()
        return server
    }

    private init(_ configuration: OpenSMTPDConfiguration) throws {
        self.configuration = configuration
        root = try PrivateRoot("opensmtpd", folder: TemporaryFolder("opensmtpd"), binds: configuration.binds)
        mailbox = Mailbox(root: root, path: "mail/all")
        port = try configuration.port ?? FreePort.next(on: configuration.address)
        try configuration.write(to: root.folder, port: port)
    }

    /// Starts it again with the same queue and port, after `stop` or `kill`.
    public func start() async throws {
        let running = try root.start(["/usr/sbin/smtpd", "-d"])
        process.set(running)
        try await running.waitUntilReady("listening on port \(port)") { FreePort.isListening(port) }
    }

    public func stop() async throws {
        try await process.get().stop()
    }

    /// `SIGKILL` to all of its processes at once.
    public func kill() throws {
        try process.get().kill()
    }

    /// All it has logged so far.
    public var log: String { root.folder.read("output.log") }

    /// How many envelopes wait in the queue.
    public func queueCount() async throws -> Int {
        let result = try await root.run(["/usr/sbin/smtpctl", "show", "queue"], group: Self.queueGroup)
        guard result.succeeded else { throw TestFailure("smtpctl show queue: \(result.output)") }
        return result.output.split(separator: "\n").count
    }

    /// Tries all queued mail now.
    public func flush() async throws {
        let result = try await root.run(["/usr/sbin/smtpctl", "schedule", "all"], group: Self.queueGroup)
        guard result.succeeded else { throw TestFailure("smtpctl schedule all: \(result.output)") }
    }
}

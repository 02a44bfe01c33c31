import Foundation

/// Debian's sqlgrey, a greylisting policy service that keeps its memory in SQL, here in a SQLite file of its own.
public final class SqlgreyServer: Sendable {
    public let port: UInt16
    public let root: PrivateRoot
    private let process: RunningProcess

    /// Its memory, as the host sees it.
    public var database: String { root.folder.file("var/lib/sqlgrey/sqlgrey.db") }

    /// Its lists of clients, as the package ships them.
    public var lists: [String] { ["clients_ip_whitelist", "clients_fqdn_whitelist"].map { root.folder.file("etc/sqlgrey/\($0)") } }

    /// - Parameter options: further lines of sqlgrey.conf.
    public static func start(options: [String] = []) async throws -> SqlgreyServer {
        let server = try SqlgreyServer(options)
        try await server.process.waitUntilReady("listening on port \(server.port)") { FreePort.isListening(server.port) }
        return server
    }

    private init(_ options: [String]) throws {
        let folder = try TemporaryFolder("sqlgrey")
        root = try PrivateRoot("sqlgrey", folder: folder)
        port = try FreePort.next()
        // 112 is sqlgrey.
        try folder.write("700 112:112 var/lib/sqlgrey\n", to: "owners")
        let lines = [
            "inet = 127.0.0.1:\(port)", "user = sqlgrey", "group = sqlgrey", "conf_dir = /etc/sqlgrey", "loglevel = 3", "db_type = SQLite",
            "db_name = /var/lib/sqlgrey/sqlgrey.db", "db_cleandelay = 1800", "clean_method = sync", "prepend = 0", "reconnect_delay = 0",
        ]
        try folder.write((lines + options).joined(separator: "\n") + "\n", to: "etc/sqlgrey/sqlgrey.conf")
        process = try root.start(["/usr/bin/perl", "/usr/sbin/sqlgrey"])
    }

    /// What it wrote to standard output and standard error.
    public var log: String { process.log }

    public func stop() async throws {
        try await process.stop()
    }
}

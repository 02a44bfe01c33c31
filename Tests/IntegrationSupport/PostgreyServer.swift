import Foundation

/// Debian's postgrey, the greylisting policy service that figures are compared with, with a database of its own.
public final class PostgreyServer: Sendable {
    public let port: UInt16
    public let root: PrivateRoot
    private let process: RunningProcess

    /// - Parameters:
    ///   - delaySeconds: how long an unknown triplet is deferred.
    ///   - onePerConnection: for Exim: answers one request and closes.
    ///   - options: further ones of postgrey.
    public static func start(delaySeconds: Int = 300, onePerConnection: Bool = false, options: [String] = []) async throws -> PostgreyServer
    {
        let arguments = ["--delay=\(delaySeconds)"] + (onePerConnection ? ["--exim"] : []) + options
        let server = try PostgreyServer(arguments)
        try await server.process.waitUntilReady("listening on port \(server.port)") { FreePort.isListening(server.port) }
        return server
    }

    private init(_ arguments: [String]) throws {
        let folder = try TemporaryFolder("postgrey")
        root = try PrivateRoot("postgrey", folder: folder)
        port = try FreePort.next()
        // 106 is postgrey.
        try folder.write("700 106:106 var/lib/postgrey\n", to: "owners")
        // The package's maintainer script would put its whitelists here.
        for name in ["whitelist_clients", "whitelist_recipients"] {
            let shipped = "\(ServerRoots.folder)/postgrey/usr/share/postgrey/\(name)"
            try folder.write(String(contentsOfFile: shipped, encoding: .utf8), to: "etc/postgrey/\(name)")
        }
        let command = ["/usr/bin/perl", "-T", "/usr/sbin/postgrey", "--inet=127.0.0.1:\(port)", "--dbdir=/var/lib/postgrey", "--quiet"]
        process = try root.start(command + arguments)
    }

    /// What it wrote to standard output and standard error.
    public var log: String { process.log }

    public func stop() async throws {
        try await process.stop()
    }
}

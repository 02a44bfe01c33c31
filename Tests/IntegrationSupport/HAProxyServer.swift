import Foundation

/// An HAProxy that passes TCP through to one backend, with or without a PROXY header.
public final class HAProxyServer: Sendable {
    /// What it tells the backend of the client.
    public enum Header: String, Sendable {
        case none = ""
        case version1 = "send-proxy"
        case version2 = "send-proxy-v2"
        /// Version 2 with a CRC32C checksum.
        case version2Checksum = "send-proxy-v2 proxy-v2-options crc32c"
    }

    public let port: UInt16
    /// Its own process identifiers are those of `root.processes()`.
    public let root: PrivateRoot
    private let process: RunningProcess

    /// - Parameters:
    ///   - backend: host and port, `127.0.0.1:10025`.
    ///   - threads: how many it may use; all of the machine's processors when nil.
    ///   - connections: clients at once, for each of which it wants two descriptors.
    public static func start(
        backend: String, header: Header = .none, threads: Int? = nil, connections: Int = 4000
    ) async throws -> HAProxyServer {
        let server = try HAProxyServer(backend: backend, header: header, threads: threads, connections: connections)
        try await server.process.waitUntilReady("listening on port \(server.port)") { FreePort.isListening(server.port) }
        return server
    }

    private init(backend: String, header: Header, threads: Int?, connections: Int) throws {
        root = try PrivateRoot("haproxy", folder: TemporaryFolder("haproxy"))
        port = try FreePort.next()
        try root.folder.write(
            """
            global
                maxconn \(connections)
                \(threads.map { "nbthread \($0)" } ?? "")
            defaults
                mode tcp
                timeout connect 5s
                timeout client 5m
                timeout server 5m
            listen mail
                bind 127.0.0.1:\(port)
                server backend \(backend) \(header.rawValue)

            """, to: "etc/haproxy/haproxy.cfg")
        process = try root.start(["/usr/sbin/haproxy", "-db", "-f", "/etc/haproxy/haproxy.cfg"])
    }

    public func kill() {
        process.kill()
    }

    public var log: String { process.log }
}

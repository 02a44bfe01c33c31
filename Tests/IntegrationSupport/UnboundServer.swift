import Foundation

/// Debian's unbound on a loopback port, answering from zones of the test's own and asking nobody else.
public final class UnboundServer: Sendable {
    public let port: UInt16
    public let root: PrivateRoot
    private let process: RunningProcess

    /// - Parameters:
    ///   - records: lines of zone data, such as `a.example. 300 IN A 192.0.2.1`.
    ///   - address: a loopback address to listen on; with port 53, one that a resolv.conf can name.
    ///   - port: from the kernel when nil.
    ///   - zones: domains in which a name that has no record is answered by NXDOMAIN.
    public static func start(
        records: [String], zones: [String], address: String = "127.0.0.1", port: UInt16? = nil
    ) async throws -> UnboundServer {
        let server = try UnboundServer(records: records, zones: zones, address: address, port: port)
        try await server.process.waitUntilReady("listening on port \(server.port)") { FreePort.isListening(server.port) }
        return server
    }

    /// In front of another server, which it asks for all of one zone.
    public static func start(stub zone: String, port: UInt16) async throws -> UnboundServer {
        let further = """
              do-not-query-localhost: no
            stub-zone:
              name: "\(zone)"
              stub-addr: 127.0.0.1@\(port)
            """
        let server = try UnboundServer(records: [], zones: [], address: "127.0.0.1", port: nil, further: further)
        try await server.process.waitUntilReady("listening on port \(server.port)") { FreePort.isListening(server.port) }
        return server
    }

    private init(records: [String], zones: [String], address: String, port: UInt16?, further: String = "") throws {
        let folder = try TemporaryFolder("unbound")
        root = try PrivateRoot("unbound", folder: folder)
        self.port = try port ?? FreePort.next()
        let configuration = """
            server:
              interface: \(address)
              port: \(self.port)
              username: ""
              chroot: ""
              directory: "/etc/unbound"
              pidfile: ""
              use-syslog: no
              do-daemonize: no
              so-rcvbuf: 1m
              num-threads: 1
              module-config: "iterator"
              access-control: 127.0.0.0/8 allow
            \(zones.map { "  local-zone: \"\($0).\" static" }.joined(separator: "\n"))
            \(records.map { "  local-data: '\($0)'" }.joined(separator: "\n"))
            \(further)
            remote-control:
              control-enable: no
            forward-zone:
              name: "."
              forward-addr: 127.0.0.1@1

            """
        try folder.write(configuration, to: "etc/unbound/unbound.conf")
        process = try root.start(["/usr/sbin/unbound", "-d", "-p", "-c", "/etc/unbound/unbound.conf"])
    }

    /// What it wrote to standard output and standard error.
    public var log: String { process.log }

    public func stop() async throws {
        try await process.stop()
    }
}

import Foundation

/// Debian's dig, in a private root or on the host.
public struct DNSClient: Sendable {
    public var server: String
    public var port: UInt16

    public init(_ server: String = "127.0.0.1", port: UInt16) {
        self.server = server
        self.port = port
    }

    /// What dig prints.
    public func dig(_ arguments: String...) async throws -> String { try await dig(arguments) }

    public func dig(_ arguments: [String]) async throws -> String {
        let root = try PrivateRoot("bind9-dnsutils", folder: TemporaryFolder("dig"))
        let result = try await root.run(["/usr/bin/dig", "@\(server)", "-p", "\(port)", "+tries=1", "+time=3"] + arguments)
        return result.output
    }
}

import Glibc
import NIOCore
import PosternCore
import SMTPProtocol

extension SocketAddresses {
    /// The address as NIO has it.
    static func nio(_ host: IPAddress, _ port: UInt16) -> SocketAddress? {
        withSockaddr(host, port) { pointer, _ in
            switch host.family {
            case .v4: pointer.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { SocketAddress($0.pointee, host: "") }
            case .v6: pointer.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) { SocketAddress($0.pointee, host: "") }
            }
        }
    }
}

extension Endpoint {
    /// `nil` for a UNIX socket.
    init?(_ address: SocketAddress) {
        switch address {
        case .v4(let v4):
            self.init(
                address: IPAddress(v4: UInt32(bigEndian: v4.address.sin_addr.s_addr)), port: UInt16(bigEndian: v4.address.sin_port))
        case .v6(let v6):
            guard let ip = IPAddress(octets: withUnsafeBytes(of: v6.address.sin6_addr) { Array($0) }) else { return nil }
            self.init(address: ip, port: UInt16(bigEndian: v6.address.sin6_port))
        case .unixDomainSocket: return nil
        }
    }
}

extension SocketAddress {
    /// For the log: `192.0.2.1:25`, `[2001:db8::1]:25`, or a UNIX socket's path where it has one.
    var shown: String? {
        guard let endpoint = Endpoint(self) else { return pathname.flatMap { $0.isEmpty ? nil : $0 } }
        return endpoint.address.family == .v4 ? "\(endpoint.address):\(endpoint.port)" : "[\(endpoint.address)]:\(endpoint.port)"
    }
}

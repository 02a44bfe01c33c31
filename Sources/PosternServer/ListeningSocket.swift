import DNSListServer
import Glibc
import PosternConfiguration
import PosternCore

public typealias ListenAddress = Configuration.Address

/// Why a socket could not be opened, with what to do about it.
public struct ListenFailure: Error, CustomStringConvertible, Sendable {
    public let address: ListenAddress
    public let reason: String

    public var description: String { "cannot listen on \(address): \(reason)" }
}

/// Opens listening sockets with plain system calls: before privileges are dropped, before any event loop runs.
enum ListeningSocket {
    /// Connections that wait to be accepted. As many as Linux lets by default (net.core.somaxconn since 5.4): one more, and whoever
    /// comes in a burst tries again only a second later.
    static let backlog: Int32 = 4096

    /// A listening, non-blocking, close-on-exec descriptor, and the address it is bound to (the kernel's choice for port 0).
    static func open(_ address: ListenAddress) throws(ListenFailure) -> (descriptor: Int32, bound: ListenAddress) {
        switch address {
        case .tcp(let host, let port): try tcp(address, host, port)
        case .unix(let path, let mode, let group): (try unix(address, path, mode, group), address)
        }
    }

    private static func tcp(_ address: ListenAddress, _ host: IPAddress, _ port: UInt16) throws(ListenFailure) -> (Int32, ListenAddress) {
        let domain = host.family == .v4 ? AF_INET : AF_INET6
        let descriptor = socket(domain, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
        guard descriptor >= 0 else { throw failure(address) }
        var yes: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
        // IPv4 is listened for on its own: what a socket takes must not depend on the machine's settings.
        if domain == AF_INET6 { setsockopt(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &yes, socklen_t(MemoryLayout<Int32>.size)) }

        var bound: UInt16 = 0
        let result = SocketAddresses.withSockaddr(host, port) { pointer, length in
            bind(descriptor, pointer, length)
        }
        guard result == 0, listen(descriptor, backlog) == 0 else {
            let failure = failure(address)
            close(descriptor)
            throw failure
        }
        bound = SocketAddresses.localPort(descriptor)
        return (descriptor, .tcp(host, port: bound))
    }

    /// For DNS: the same address and port for connections and for datagrams. Where the port is the kernel's choice it has
    /// to be free for both.
    static func openBoth(_ host: IPAddress, _ port: UInt16) throws(ListenFailure) -> (
        streams: Int32, datagrams: Int32, bound: ListenAddress
    ) {
        var attempts = port == 0 ? 20 : 1
        while true {
            attempts -= 1
            let (streams, bound) = try tcp(.tcp(host, port: port), host, port)
            let datagrams = socket(
                host.family == .v4 ? AF_INET : AF_INET6, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
            var yes: Int32 = 1
            if host.family == .v6 {
                setsockopt(datagrams, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &yes, socklen_t(MemoryLayout<Int32>.size))
            }
            if host == host.masked(to: 0) { DatagramServer.noteAddresses(of: datagrams) }
            guard case .tcp(_, let chosen) = bound else { return (streams, datagrams, bound) }
            let result = SocketAddresses.withSockaddr(host, chosen) { pointer, length in bind(datagrams, pointer, length) }
            if result == 0 { return (streams, datagrams, bound) }
            let failure = failure(.tcp(host, port: chosen))
            let isTaken = errno == EADDRINUSE
            close(streams)
            if datagrams >= 0 { close(datagrams) }
            guard isTaken, attempts > 0 else { throw failure }
        }
    }

    /// Such as `SOCK_STREAM`; `nil` where the descriptor is no socket.
    static func kind(_ descriptor: Int32) -> __socket_type? {
        var kind: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        guard getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &kind, &length) == 0 else { return nil }
        return __socket_type(UInt32(kind))
    }

    /// Octets of datagrams for the kernel to keep; it takes what it is allowed to.
    private static let datagramRoom: Int32 = 1 << 20

    /// A socket for datagrams that a thread of its own will wait on.
    static func prepareForWaiting(_ descriptor: Int32) {
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) & ~O_NONBLOCK)
        var room = datagramRoom
        setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &room, socklen_t(MemoryLayout<Int32>.size))
    }

    private static func unix(_ address: ListenAddress, _ path: String, _ mode: UInt16?, _ group: String?) throws(ListenFailure) -> Int32 {
        guard var name = SocketAddresses.unix(path) else {
            throw ListenFailure(address: address, reason: "the path is longer than 107 octets")
        }
        try removeStale(address, path)
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
        guard descriptor >= 0 else { throw failure(address) }
        // Nobody may connect between bind and the mode that was asked for.
        let umaskBefore = umask(0o177)
        let result = withUnsafePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
        umask(umaskBefore)
        func fail(_ failure: ListenFailure) -> ListenFailure {
            close(descriptor)
            if result == 0 { unlink(path) }
            return failure
        }
        guard result == 0 else { throw fail(failure(address)) }
        if let group {
            guard let entry = getgrnam(group) else {
                throw fail(ListenFailure(address: address, reason: "there is no group \(group)"))
            }
            guard chown(path, uid_t.max, entry.pointee.gr_gid) == 0 else { throw fail(failure(address, "giving it to group \(group)")) }
        }
        guard chmod(path, mode_t(mode ?? 0o666 & ~UInt16(umaskBefore))) == 0 else { throw fail(failure(address)) }
        guard listen(descriptor, backlog) == 0 else { throw fail(failure(address)) }
        return descriptor
    }

    /// Removes a socket that nobody listens on; one that answers belongs to somebody.
    private static func removeStale(_ address: ListenAddress, _ path: String) throws(ListenFailure) {
        var status = stat()
        guard lstat(path, &status) == 0 else { return }
        guard status.st_mode & S_IFMT == S_IFSOCK else {
            throw ListenFailure(address: address, reason: "something that is not a socket is in the way; move it or choose another path")
        }
        guard var name = SocketAddresses.unix(path) else { return }
        let probe = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        defer { close(probe) }
        let connected = withUnsafePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(probe, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
        guard connected != 0 else { throw ListenFailure(address: address, reason: "another process listens there") }
        unlink(path)
    }

    private static func failure(_ address: ListenAddress, _ doing: String = "") -> ListenFailure {
        let error = errno
        let words = String(cString: strerror(error))
        let advice =
            switch error {
            case EADDRINUSE: "; another process listens there: `ss -ltnp` shows which"
            case EACCES where doing.isEmpty: "; ports below 1024 need root or CAP_NET_BIND_SERVICE, a socket's folder must be writable"
            case EADDRNOTAVAIL: "; this machine has no such address"
            case ENOENT: "; the folder does not exist"
            default: ""
            }
        return ListenFailure(address: address, reason: (doing.isEmpty ? "" : doing + ": ") + words + advice)
    }
}

/// Addresses as the system calls want them.
enum SocketAddresses {
    static func withSockaddr<Result>(_ host: IPAddress, _ port: UInt16, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
        let octets = host.octets
        switch host.family {
        case .v4:
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = port.bigEndian
            withUnsafeMutableBytes(of: &address.sin_addr) { $0.copyBytes(from: octets) }
            return withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
            }
        case .v6:
            var address = sockaddr_in6()
            address.sin6_family = sa_family_t(AF_INET6)
            address.sin6_port = port.bigEndian
            withUnsafeMutableBytes(of: &address.sin6_addr) { $0.copyBytes(from: octets) }
            return withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_in6>.size)) }
            }
        }
    }

    /// `nil` for a path that does not fit with its final NUL.
    static func unix(_ path: String) -> sockaddr_un? {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        let fits = withUnsafeMutableBytes(of: &address.sun_path) { room in
            guard bytes.count < room.count else { return false }
            room.copyBytes(from: bytes)
            return true
        }
        return fits ? address : nil
    }

    /// The address a listening descriptor is bound to; `nil` for a family we do not use.
    static func local(_ descriptor: Int32) -> ListenAddress? {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let result = withUnsafeMutablePointer(to: &storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
        }
        guard result == 0 else { return nil }
        return withUnsafeBytes(of: &storage) { bytes -> ListenAddress? in
            switch Int32(bytes.load(as: sa_family_t.self)) {
            case AF_INET:
                let address = bytes.loadUnaligned(as: sockaddr_in.self)
                return IPAddress(octets: withUnsafeBytes(of: address.sin_addr) { Array($0) }).map {
                    .tcp($0, port: UInt16(bigEndian: address.sin_port))
                }
            case AF_INET6:
                let address = bytes.loadUnaligned(as: sockaddr_in6.self)
                return IPAddress(octets: withUnsafeBytes(of: address.sin6_addr) { Array($0) }).map {
                    .tcp($0, port: UInt16(bigEndian: address.sin6_port))
                }
            case AF_UNIX:
                let path = bytes.dropFirst(MemoryLayout<sa_family_t>.size).prefix { $0 != 0 }
                return .unix(path: String(decoding: path, as: UTF8.self), mode: nil, group: nil)
            default:
                return nil
            }
        }
    }

    static func localPort(_ descriptor: Int32) -> UInt16 {
        if case .tcp(_, let port) = local(descriptor) { port } else { 0 }
    }
}

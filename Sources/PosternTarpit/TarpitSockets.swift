import CEpoll
import Glibc
import PosternCore

/// System calls on the sockets of a tarpit, all of which return at once.
enum TarpitSockets {
    /// Octets for the kernel to keep of what a client sends, and of what we send; it takes the least that it can do with.
    private static let buffer: Int32 = 1024
    /// Seconds after which a silent peer is asked whether it is there, and between two such questions.
    private static let keepAliveIdle: Int32 = 120
    private static let keepAliveInterval: Int32 = 60
    /// Milliseconds for which a peer may leave what we sent, or a question, without an answer; then it is gone.
    private static let patience: Int32 = 300_000
    /// Octets of a client thrown away at once.
    static let discardSize = 65_536

    /// To a listening socket, whose connections inherit it, or to one connection.
    static func prepare(_ descriptor: Int32) {
        set(descriptor, SOL_SOCKET, SO_RCVBUF, buffer)
        set(descriptor, SOL_SOCKET, SO_SNDBUF, buffer)
        set(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1)
        set(descriptor, Int32(IPPROTO_TCP), TCP_KEEPIDLE, keepAliveIdle)
        set(descriptor, Int32(IPPROTO_TCP), TCP_KEEPINTVL, keepAliveInterval)
        set(descriptor, Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, patience)
    }

    private static func set(_ descriptor: Int32, _ level: Int32, _ option: Int32, _ value: Int32) {
        var value = value
        // Where the system will not, the tarpit still works, with more memory in the kernel.
        setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
    }

    static func address(_ storage: inout sockaddr_storage) -> IPAddress? {
        withUnsafeBytes(of: &storage) { bytes in
            switch Int32(bytes.load(as: sa_family_t.self)) {
            case AF_INET: IPAddress(v4: UInt32(bigEndian: bytes.loadUnaligned(as: sockaddr_in.self).sin_addr.s_addr))
            case AF_INET6:
                IPAddress(
                    v6High: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: addressOffset, as: UInt64.self)),
                    low: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: addressOffset + 8, as: UInt64.self)))
            default: nil
            }
        }
    }

    private static let addressOffset = MemoryLayout<sockaddr_in6>.offset(of: \.sin6_addr) ?? 8

    enum Outcome: Equatable {
        /// So many octets.
        case done(Int)
        /// The kernel has none, or no room, now.
        case later
        case gone
    }

    static func send(_ descriptor: Int32, _ octets: UnsafeRawBufferPointer) -> Outcome {
        outcome(Glibc.send(descriptor, octets.baseAddress, octets.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)))
    }

    static func receive(_ descriptor: Int32, into room: UnsafeMutableRawBufferPointer) -> Outcome {
        endIsGone(outcome(recv(descriptor, room.baseAddress, room.count, Int32(MSG_DONTWAIT))))
    }

    /// Throws away what has come, without its ever entering the process (tcp(7), MSG_TRUNC).
    static func discard(_ descriptor: Int32) -> Outcome {
        endIsGone(outcome(recv(descriptor, nil, discardSize, Int32(MSG_TRUNC) | Int32(MSG_DONTWAIT))))
    }

    private static func endIsGone(_ outcome: Outcome) -> Outcome { outcome == .done(0) ? .gone : outcome }

    private static func outcome(_ result: Int) -> Outcome {
        guard result < 0 else { return .done(result) }
        return errno == EAGAIN || errno == EINTR ? .later : .gone
    }
}

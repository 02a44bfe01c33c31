import Glibc

@testable import PosternServer

/// A blocking client of the policy service, with a bound on every wait.
final class PolicyClient {
    let descriptor: Int32

    init(_ address: ListenAddress) throws {
        switch address {
        case .tcp(let host, let port):
            descriptor = socket(host.family == .v4 ? AF_INET : AF_INET6, Int32(SOCK_STREAM.rawValue), 0)
            let descriptor = descriptor
            let result = SocketAddresses.withSockaddr(host, port) { connect(descriptor, $0, $1) }
            guard result == 0 else { throw ClientError.connect(errno) }
        case .unix(let path, _, _):
            descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
            guard var name = SocketAddresses.unix(path) else { throw ClientError.connect(ENAMETOOLONG) }
            let descriptor = descriptor
            let result = withUnsafePointer(to: &name) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
            }
            guard result == 0 else { throw ClientError.connect(errno) }
        }
        var patience = timeval(tv_sec: 10, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    }

    deinit { close(descriptor) }

    enum ClientError: Error {
        case connect(Int32)
        case timedOut
    }

    func send(_ text: String) {
        let bytes = Array(text.utf8)
        var offset = 0
        while offset < bytes.count {
            let written = bytes.withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress! + offset, bytes.count - offset, Int32(MSG_NOSIGNAL))
            }
            guard written > 0 else { return }
            offset += written
        }
    }

    func halfClose() { shutdown(descriptor, Int32(SHUT_WR)) }

    /// One reply without its empty line; `nil` when the service closed the connection instead.
    func reply() throws -> String? {
        var text = ""
        var byte: UInt8 = 0
        while !text.hasSuffix("\n\n") {
            let count = recv(descriptor, &byte, 1, 0)
            if count == 0 { return nil }
            guard count > 0 else {
                if errno == ECONNRESET { return nil }
                throw ClientError.timedOut
            }
            text.unicodeScalars.append(Unicode.Scalar(byte))
        }
        return String(text.dropLast(2))
    }

    func ask(_ attributes: [(String, String)]) throws -> String? {
        send(request(attributes))
        return try reply()
    }
}

/// A request at RCPT with some attributes set or replaced.
func request(_ attributes: [(String, String)] = []) -> String {
    var all: [(String, String)] = [
        ("request", "smtpd_access_policy"), ("protocol_state", "RCPT"), ("protocol_name", "ESMTP"), ("client_address", "192.0.2.1"),
        ("client_name", "unknown"), ("helo_name", "client.example"), ("sender", "a@example.com"), ("recipient", "b@example.org"),
        ("recipient_count", "0"), ("instance", "1.2.3"), ("sasl_username", ""), ("stress", ""),
    ]
    for (name, value) in attributes {
        all.removeAll { $0.0 == name }
        all.append((name, value))
    }
    return all.map { "\($0)=\($1)\n" }.joined() + "\n"
}

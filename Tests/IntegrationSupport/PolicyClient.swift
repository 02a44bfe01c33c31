import Foundation

/// A blocking client of a policy service, with a bound on every wait.
public final class PolicyClient {
    private let descriptor: Int32

    /// To a loopback port; IPv6's loopback where `v6` is set.
    public convenience init(port: UInt16, v6: Bool = false) throws {
        if v6 {
            var name = sockaddr_in6()
            name.sin6_family = sa_family_t(AF_INET6)
            name.sin6_port = port.bigEndian
            inet_pton(AF_INET6, "::1", &name.sin6_addr)
            try self.init(connectingTo: name, family: AF_INET6)
        } else {
            var name = sockaddr_in()
            name.sin_family = sa_family_t(AF_INET)
            name.sin_port = port.bigEndian
            inet_pton(AF_INET, "127.0.0.1", &name.sin_addr)
            try self.init(connectingTo: name, family: AF_INET)
        }
    }

    public convenience init(path: String) throws {
        var name = sockaddr_un()
        name.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: name.sun_path) else { throw TestFailure("a socket path too long: \(path)") }
        withUnsafeMutableBytes(of: &name.sun_path) { $0.copyBytes(from: bytes) }
        try self.init(connectingTo: name, family: AF_UNIX)
    }

    private init<Name>(connectingTo name: Name, family: Int32) throws {
        descriptor = socket(family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var name = name
        let descriptor = descriptor
        let result = withUnsafeMutablePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, socklen_t(MemoryLayout<Name>.size)) }
        }
        guard result == 0 else {
            let reason = String(cString: strerror(errno))
            close(descriptor)
            throw TestFailure("connect: \(reason)")
        }
        var patience = timeval(tv_sec: 60, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    }

    deinit { close(descriptor) }

    /// Sends as far as the service takes it.
    public func send(_ text: String) {
        let bytes = Array(text.utf8)
        var offset = 0
        while offset < bytes.count {
            let written = bytes.withUnsafeBytes {
                Foundation.send(descriptor, $0.baseAddress! + offset, bytes.count - offset, Int32(MSG_NOSIGNAL))
            }
            guard written > 0 else { return }
            offset += written
        }
    }

    public func halfClose() { shutdown(descriptor, Int32(SHUT_WR)) }

    /// One reply without its empty line; nil when the service closed the connection instead.
    public func reply() throws -> String? {
        var text: [UInt8] = []
        var byte: UInt8 = 0
        while !text.suffix(2).elementsEqual([10, 10]) {
            let count = recv(descriptor, &byte, 1, 0)
            if count == 0 || count < 0 && errno == ECONNRESET { return nil }
            guard count > 0 else { throw TestFailure("no reply within 60 s") }
            text.append(byte)
        }
        return String(decoding: text.dropLast(2), as: UTF8.self)
    }

    /// What comes until it ends with `end`.
    public func read(until end: String) throws -> String {
        var text: [UInt8] = []
        var byte: UInt8 = 0
        while !text.suffix(end.utf8.count).elementsEqual(end.utf8) {
            guard recv(descriptor, &byte, 1, 0) == 1 else {
                throw TestFailure("closed, or silent for 60 s, after \(String(decoding: text, as: UTF8.self))")
            }
            text.append(byte)
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// Waits for the end of the connection; what comes until then is thrown away.
    public func isClosedByPeer(within seconds: Int) -> Bool {
        var patience = timeval(tv_sec: seconds, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        var byte: UInt8 = 0
        while true {
            let count = recv(descriptor, &byte, 1, 0)
            if count == 0 || count < 0 && errno == ECONNRESET { return true }
            if count < 0 { return false }
        }
    }

    public func ask(_ attributes: [(String, String)]) throws -> String? {
        send(Self.request(attributes))
        return try reply()
    }

    /// A request at RCPT with some attributes set or replaced.
    public static func request(_ attributes: [(String, String)] = []) -> String {
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
}

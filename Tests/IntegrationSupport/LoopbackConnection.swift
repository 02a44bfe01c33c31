import Foundation

/// TCP from a loopback address of a test's choice.
public enum LoopbackConnection {
    /// A connection; `nil` where nobody listens. Whoever asked closes it.
    ///
    /// - Parameter patience: Seconds that it waits at most for what it reads.
    public static func connected(
        to address: String = "127.0.0.1", port: UInt16, from source: String = "127.0.0.1", patience: Int = 10
    ) -> Int32? {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard call(bind, descriptor, source, 0), call(connect, descriptor, address, port) else {
            close(descriptor)
            return nil
        }
        var limit = timeval(tv_sec: patience, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        return descriptor
    }

    /// A bot at a fake MX: names a recipient, hears the answer, and hangs up.
    ///
    /// - Returns: the answer to RCPT; `nil` where nobody listens.
    public static func hangUp(on address: String = "127.0.0.1", port: UInt16, from source: String) -> String? {
        guard let descriptor = connected(to: address, port: port, from: source) else { return nil }
        defer { close(descriptor) }
        var text = ""
        var buffer = [UInt8](repeating: 0, count: 4096)
        for line in ["", "HELO bot", "MAIL FROM:<a@b.test>", "RCPT TO:<bob@example.test>"] {
            if !line.isEmpty { _ = (line + "\r\n").withCString { send(descriptor, $0, strlen($0), Int32(MSG_NOSIGNAL)) } }
            let count = recv(descriptor, &buffer, buffer.count, 0)
            text = String(decoding: buffer.prefix(max(count, 0)), as: UTF8.self)
        }
        return text
    }

    private static func call(
        _ body: (Int32, UnsafePointer<sockaddr>, socklen_t) -> Int32, _ descriptor: Int32, _ address: String, _ port: UInt16
    ) -> Bool {
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = port.bigEndian
        inet_pton(AF_INET, address, &name.sin_addr)
        return withUnsafePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        } == 0
    }
}

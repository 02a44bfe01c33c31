import Foundation
import IntegrationSupport

/// A policy service that answers by a closure and keeps what it was asked: it shows that a mail server's configuration asks
/// at all, and does as it is told.
// Guarded by its lock.
final class ScriptedPolicyService: @unchecked Sendable {
    typealias Request = [String: String]

    let port: UInt16
    private let listener: Int32
    private let answer: @Sendable (Request) -> String
    private let lock = NSLock()
    private var seen: [Request] = []
    private var connections: Set<Int32> = []
    private var closed = false

    /// - Parameter answer: the action for a request, e.g. `DUNNO`.
    init(_ answer: @escaping @Sendable (Request) -> String) throws {
        self.answer = answer
        listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let descriptor = listener
        let bound = withUnsafeMutablePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) == 0 && listen(descriptor, 16) == 0 && getsockname(descriptor, $0, &length) == 0
            }
        }
        guard bound else { throw TestFailure("no listener for the policy service") }
        port = UInt16(bigEndian: name.sin_port)
        Thread.detachNewThread { [weak self] in
            while true {
                let connection = accept(descriptor, nil, nil)
                guard connection >= 0, let self else { break }
                _ = self.lock.withLock { self.connections.insert(connection) }
                Thread.detachNewThread { self.serve(connection) }
            }
            close(descriptor)
        }
    }

    var requests: [Request] { lock.withLock { seen } }

    /// Ends the listener and every connection.
    func stop() {
        lock.withLock {
            guard !closed else { return }
            closed = true
            // Their threads close them.
            for connection in connections { shutdown(connection, Int32(SHUT_RDWR)) }
            shutdown(listener, Int32(SHUT_RDWR))
        }
    }

    private func serve(_ connection: Int32) {
        defer {
            // Under the lock, and no longer known: its number may be another's at once.
            lock.withLock {
                connections.remove(connection)
                close(connection)
            }
        }
        var pending: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = read(connection, &buffer, buffer.count)
            guard count > 0 else { return }
            pending += buffer[..<count]
            while let request = Self.takeRequest(&pending) {
                lock.withLock { seen.append(request) }
                let reply = "action=\(answer(request))\n\n"
                _ = reply.withCString { send(connection, $0, strlen($0), Int32(MSG_NOSIGNAL)) }
            }
        }
    }

    private static func takeRequest(_ pending: inout [UInt8]) -> Request? {
        let text = String(decoding: pending, as: UTF8.self)
        guard let end = text.range(of: "\n\n") else { return nil }
        var request: Request = [:]
        for line in text[..<end.lowerBound].split(separator: "\n") {
            let parts = line.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            if parts.count == 2 { request[parts[0]] = parts[1] }
        }
        pending = Array(text[end.upperBound...].utf8)
        return request
    }
}

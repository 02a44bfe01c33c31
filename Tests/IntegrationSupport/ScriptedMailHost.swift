import Foundation

/// A mail server of few words on one loopback address, for one session at a time.
// Guarded by its lock; descriptors do not change.
public final class ScriptedMailHost: @unchecked Sendable {
    public let port: UInt16
    private let listener: Int32
    private let stopEnds: (read: Int32, write: Int32)
    private let greeting: String?
    private let replies: [String: String]
    private let lock = NSLock()
    private var lines: [String] = []
    private var isStopped = false
    private let running = DispatchGroup()
    private var fillers: [Int32] = []

    /// - Parameters:
    ///   - greeting: `nil` for a host that says nothing.
    ///   - at: replies that differ from 250, by verb.
    ///   - backlogFull: connections are neither taken nor refused.
    public init(
        _ address: String, port: UInt16, greeting: String? = "220 host ESMTP", at replies: [String: String] = [:], backlogFull: Bool = false
    ) throws {
        self.port = port
        self.greeting = greeting
        self.replies = replies
        listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var one: Int32 = 1
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, 4)
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = port.bigEndian
        name.sin_addr.s_addr = inet_addr(address)
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let listener = listener
        let bound = withUnsafePointer(to: &name) { $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(listener, $0, size) } }
        var ends: [Int32] = [0, 0]
        guard bound == 0, listen(listener, backlogFull ? 0 : 16) == 0, pipe(&ends) == 0 else {
            throw TestFailure("\(address):\(port): \(String(cString: strerror(errno)))")
        }
        stopEnds = (ends[0], ends[1])
        guard !backlogFull else {
            // A backlog of 0 has room for one; what comes after waits for ever.
            for _ in 0..<4 {
                let filler = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
                _ = withUnsafePointer(to: &name) { $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(filler, $0, size) } }
                fillers.append(filler)
            }
            return
        }
        running.enter()
        Thread { [unowned self] in
            serve()
            running.leave()
        }.start()
    }

    /// Every command that came, in order.
    public var heard: [String] { lock.withLock { lines } }

    public func stop() {
        lock.lock()
        let isFirst = !isStopped
        isStopped = true
        lock.unlock()
        guard isFirst else { return }
        close(stopEnds.write)
        running.wait()
        for filler in fillers { close(filler) }
        close(listener)
        close(stopEnds.read)
    }

    deinit { stop() }

    /// Until the descriptor is readable; `false` when the host stops.
    private func wait(for descriptor: Int32) -> Bool {
        var entries = [
            pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0), pollfd(fd: stopEnds.read, events: Int16(POLLIN), revents: 0),
        ]
        while poll(&entries, 2, -1) < 0, errno == EINTR {}
        return entries[1].revents == 0
    }

    private func serve() {
        while wait(for: listener) {
            let session = accept(listener, nil, nil)
            guard session >= 0 else { continue }
            serve(session)
            close(session)
        }
    }

    private func serve(_ session: Int32) {
        func say(_ text: String) { _ = send(session, text + "\r\n", text.utf8.count + 2, Int32(MSG_NOSIGNAL)) }
        if let greeting { say(greeting) }
        var buffer = ""
        var chunk = [UInt8](repeating: 0, count: 1024)
        while wait(for: session) {
            let count = recv(session, &chunk, chunk.count, 0)
            guard count > 0 else { return }
            guard greeting != nil else { continue }
            buffer += String(decoding: chunk[..<count], as: UTF8.self)
            while let end = buffer.range(of: "\r\n") {
                let line = String(buffer[..<end.lowerBound])
                buffer.removeSubrange(..<end.upperBound)
                lock.withLock { lines.append(line) }
                guard line != "QUIT" else { return say("221 2.0.0 Bye") }
                say(replies[String(line.prefix(4))] ?? "250 2.0.0 Ok")
            }
        }
    }
}

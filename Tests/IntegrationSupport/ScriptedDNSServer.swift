import DNSProtocol
import Foundation

/// A DNS server on a loopback port, over UDP and TCP, that answers as a test says.
// Guarded by its lock; descriptors do not change.
public final class ScriptedDNSServer: @unchecked Sendable {
    public enum Transport: Sendable {
        case udp
        case tcp
    }

    /// What is sent in return for one message.
    public enum Reply: Sendable {
        case silence
        case message(DNSMessage)
        /// Any octets, in the place of a message.
        case octets([UInt8])
        /// One after the other.
        case several([Reply])
        /// Later, while further messages are answered.
        indirect case after(Duration, Reply)
        /// Over TCP only: ends the connection.
        case close
    }

    public typealias Script = @Sendable (_ query: DNSMessage, _ transport: Transport) -> Reply

    public let port: UInt16
    private let script: Script
    private let udp: Int32
    private let tcp: Int32
    private let stopEnds: (read: Int32, write: Int32)
    private let lock = NSLock()
    private var received: [(question: Question?, transport: Transport)] = []
    private let running = DispatchGroup()
    private let later = DispatchQueue(label: "scripted-dns")

    /// - Parameter port: 0 for one that the kernel chooses; another to come back where an earlier server was.
    public init(port wanted: UInt16 = 0, _ script: @escaping Script) throws {
        self.script = script
        var opened: (udp: Int32, tcp: Int32, port: UInt16)?
        for _ in 0..<50 where opened == nil {
            let udp = try Self.bound(SOCK_DGRAM, port: wanted)
            let port = Self.port(of: udp)
            do {
                opened = (udp, try Self.bound(SOCK_STREAM, port: port), port)
            } catch {
                // Someone has the port over TCP: another one.
                close(udp)
                if wanted != 0 { throw error }
            }
        }
        guard let opened else { throw TestFailure("no port is free over UDP and TCP") }
        (udp, tcp, port) = opened
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0, listen(tcp, 64) == 0 else { throw TestFailure("pipe or listen: \(String(cString: strerror(errno)))") }
        stopEnds = (ends[0], ends[1])
        var size: Int32 = 4 << 20
        setsockopt(udp, SOL_SOCKET, SO_RCVBUF, &size, 4)
        start { server in server.serveUDP() }
        start { server in server.serveTCP() }
    }

    /// Ends it; the port is free afterwards.
    public func stop() {
        lock.lock()
        let isFirst = !isStopped
        isStopped = true
        lock.unlock()
        guard isFirst else { return }
        close(stopEnds.write)
        running.wait()
        later.sync {}
        close(udp)
        close(tcp)
        close(stopEnds.read)
    }

    private var isStopped = false

    deinit { stop() }

    /// The questions that came, in order.
    public var questions: [Question] { lock.withLock { received.compactMap(\.question) } }

    public func count(_ question: Question, over transport: Transport? = nil) -> Int {
        lock.withLock { received.count { $0.question == question && (transport == nil || $0.transport == transport) } }
    }

    public var count: Int { lock.withLock { received.count } }

    private func start(_ body: @escaping @Sendable (borrowing ScriptedDNSServer) -> Void) {
        running.enter()
        // Unowned: the thread ends before the server goes, since `stop` waits for it.
        let thread = Thread { [unowned self, running] in
            body(self)
            running.leave()
        }
        thread.start()
    }

    // MARK: - Serving

    /// `false` once the server is to stop.
    private func wait(for descriptor: Int32) -> Bool {
        var entries = [
            pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0), pollfd(fd: stopEnds.read, events: Int16(POLLIN), revents: 0),
        ]
        while poll(&entries, 2, -1) < 0 && errno == EINTR {}
        return entries[1].revents == 0
    }

    private func reply(to octets: [UInt8], _ transport: Transport) -> Reply {
        guard let query = try? DNSMessage(parsing: octets.span) else {
            lock.withLock { received.append((nil, transport)) }
            return .silence
        }
        lock.withLock { received.append((query.questions.first, transport)) }
        return script(query, transport)
    }

    private func serveUDP() {
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while wait(for: udp) {
            var peer = sockaddr_in()
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            let count = withUnsafeMutablePointer(to: &peer) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { recvfrom(udp, &buffer, buffer.count, 0, $0, &length) }
            }
            guard count > 0 else { continue }
            sendUDP(reply(to: Array(buffer[..<count]), .udp), to: peer)
        }
    }

    private func sendUDP(_ reply: Reply, to peer: sockaddr_in) {
        switch reply {
        case .silence, .close: break
        case .message(let message): sendUDP(.octets(message.serialised()), to: peer)
        case .octets(let octets):
            var peer = peer
            _ = withUnsafePointer(to: &peer) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    sendto(udp, octets, octets.count, 0, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
        case .several(let replies): for reply in replies { sendUDP(reply, to: peer) }
        case .after(let delay, let reply): schedule(delay) { $0.sendUDP(reply, to: peer) }
        }
    }

    private func schedule(_ delay: Duration, _ body: @escaping @Sendable (ScriptedDNSServer) -> Void) {
        let nanoseconds = Int(delay.components.seconds) * 1_000_000_000 + Int(delay.components.attoseconds / 1_000_000_000)
        later.asyncAfter(deadline: .now() + .nanoseconds(nanoseconds)) { [weak self] in
            guard let self, !lock.withLock({ isStopped }) else { return }
            body(self)
        }
    }

    private func serveTCP() {
        while wait(for: tcp) {
            let connection = accept(tcp, nil, nil)
            guard connection >= 0 else { continue }
            // One that hangs would keep `stop` waiting.
            var patience = timeval(tv_sec: 1, tv_usec: 0)
            setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
            running.enter()
            Thread { [unowned self, running] in
                serve(connection)
                Foundation.close(connection)
                running.leave()
            }.start()
        }
    }

    private func serve(_ connection: Int32) {
        while wait(for: connection) {
            guard let prefix = read(2, from: connection), let octets = read(Int(prefix[0]) << 8 | Int(prefix[1]), from: connection),
                sendTCP(reply(to: octets, .tcp), on: connection)
            else { return }
        }
    }

    private func read(_ count: Int, from connection: Int32) -> [UInt8]? {
        var octets = [UInt8](repeating: 0, count: count)
        var have = 0
        while have < count {
            let more = octets.withUnsafeMutableBytes { recv(connection, $0.baseAddress! + have, count - have, 0) }
            guard more > 0 else { return nil }
            have += more
        }
        return octets
    }

    private func sendTCP(_ reply: Reply, on connection: Int32) -> Bool {
        switch reply {
        case .silence: return true
        case .close: return false
        case .message(let message): return sendTCP(.octets(message.serialised()), on: connection)
        case .octets(let octets):
            let framed = [UInt8(octets.count >> 8), UInt8(octets.count & 255)] + octets
            return send(connection, framed, framed.count, Int32(MSG_NOSIGNAL)) == framed.count
        case .several(let replies): return replies.allSatisfy { sendTCP($0, on: connection) }
        case .after(let delay, let reply):
            usleep(UInt32(delay.components.seconds) * 1_000_000 + UInt32(delay.components.attoseconds / 1_000_000_000_000))
            return sendTCP(reply, on: connection)
        }
    }

    // MARK: - Sockets

    private static func bound(_ kind: __socket_type, port: UInt16) throws -> Int32 {
        let descriptor = socket(AF_INET, Int32(kind.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw TestFailure("socket: \(String(cString: strerror(errno)))") }
        var one: Int32 = 1
        // For a server that comes back: old connections may linger.
        if kind == SOCK_STREAM { setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, 4) }
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = port.bigEndian
        name.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let result = withUnsafePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
        guard result == 0 else {
            defer { close(descriptor) }
            throw TestFailure("bind to port \(port): \(String(cString: strerror(errno)))")
        }
        return descriptor
    }

    private static func port(of descriptor: Int32) -> UInt16 {
        var name = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        _ = withUnsafeMutablePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
        }
        return UInt16(bigEndian: name.sin_port)
    }
}

extension DNSMessage {
    /// An answer to this query, as a recursive resolver gives it.
    public func answer(
        _ records: [ResourceRecord] = [], authorities: [ResourceRecord] = [], code: ResponseCode = .noError, truncated: Bool = false
    ) -> DNSMessage {
        var message = DNSMessage(id: id)
        message.isResponse = true
        message.recursionDesired = recursionDesired
        message.recursionAvailable = true
        message.isTruncated = truncated
        message.code = code
        message.questions = questions
        message.answers = records
        message.authorities = authorities
        message.extensions = extensions
        return message
    }
}

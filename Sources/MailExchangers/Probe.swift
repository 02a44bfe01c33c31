import Dispatch
import Glibc
import PosternCore
import SMTPProtocol

public struct ProbeSettings: Equatable, Sendable {
    public var port: UInt16 = 25
    /// For one host's whole conversation.
    public var patience = WallTime.Span.seconds(20)
    /// Whether to go on to DATA, and hang up there: some fake ones defer only then.
    public var triesData = false
    /// What we say in EHLO.
    public var hostname: String

    public init(hostname: String) {
        self.hostname = hostname
    }
}

/// One conversation with a host, as a sender of a bounce to postmaster begins it: up to RCPT, and to DATA where that is wanted. No
/// message is sent.
enum Probe {
    /// At most this many at the same time; the others wait.
    private static let lanes = DispatchSemaphore(value: 32)
    private static let queue = DispatchQueue(label: "mx-probes", attributes: .concurrent)

    static func run(_ address: IPAddress, postmasterOf domain: DomainName, _ settings: ProbeSettings) async -> Behaviour {
        await withCheckedContinuation { continuation in
            queue.async {
                lanes.wait()
                defer { lanes.signal() }
                var conversation = ProbedConversation(patience: settings.patience)
                continuation.resume(returning: conversation.run(address, postmasterOf: domain, settings))
            }
        }
    }
}

/// The blocking part, with one deadline for all of it.
private struct ProbedConversation {
    private enum Failure: Error {
        case timeout
        case closed
        case reset
        case nonsense(String)
    }

    /// Of a text that a host sent; it is shown to people.
    private static let mostText = 200

    private let deadline: Int64
    private var descriptor: Int32 = -1
    private var decoder = ReplyDecoder()
    private var pending: [UInt8] = []

    init(patience: WallTime.Span) {
        deadline = Self.now + patience.milliseconds
    }

    private static var now: Int64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }

    mutating func run(_ address: IPAddress, postmasterOf domain: DomainName, _ settings: ProbeSettings) -> Behaviour {
        defer { if descriptor >= 0 { close(descriptor) } }
        if let failure = connect(address, port: settings.port) { return failure }
        var stage = Behaviour.Stage.connect
        do throws(Failure) {
            let greeting = try reply()
            if let verdict = Self.verdict(greeting, at: .greeting) { return verdict }
            var commands = [
                (Behaviour.Stage.ehlo, "EHLO \(settings.hostname)"), (.mail, "MAIL FROM:<>"), (.rcpt, "RCPT TO:<postmaster@\(domain)>"),
            ]
            if settings.triesData { commands.append((.data, "DATA")) }
            for (next, command) in commands {
                stage = next
                try send(command)
                let reply = try reply()
                // RFC 5321 §3.2: an old server knows only HELO.
                if next == .ehlo, reply.code >= 500 {
                    try send("HELO \(settings.hostname)")
                    if let verdict = Self.verdict(try self.reply(), at: .ehlo) { return verdict }
                } else if let verdict = Self.verdict(reply, at: next) {
                    try? send("QUIT")
                    return verdict
                }
            }
            // A polite end; whether it is answered does not matter. Behind DATA it would be text: RFC 5321 §4.1.1.4 has a server throw
            // away what was not ended.
            if !settings.triesData { try? send("QUIT") }
            return .accepts
        } catch {
            switch error {
            case .timeout: return decoder.isEmpty ? .silent(after: stage) : .drips(after: stage)
            case .closed, .reset: return .hangsUp(after: stage)
            case .nonsense(let text): return .notSMTP(text)
            }
        }
    }

    private static func verdict(_ reply: Reply, at stage: Behaviour.Stage) -> Behaviour? {
        let text = String(reply.text.prefix(mostText))
        switch reply.code {
        case 400..<500: return .defers(stage, code: Int(reply.code), text: text)
        case 500..<600: return .rejects(stage, code: Int(reply.code), text: text)
        default: return nil
        }
    }

    // MARK: - The socket

    private mutating func connect(_ address: IPAddress, port: UInt16) -> Behaviour? {
        descriptor = socket(
            address.family == .v4 ? AF_INET : AF_INET6, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
        guard descriptor >= 0 else { return .unreachable(Self.reason(errno)) }
        let octets = address.octets
        let result: Int32
        if address.family == .v4 {
            var name = sockaddr_in()
            name.sin_family = sa_family_t(AF_INET)
            name.sin_port = port.bigEndian
            withUnsafeMutableBytes(of: &name.sin_addr) { $0.copyBytes(from: octets) }
            result = withUnsafePointer(to: &name) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
        } else {
            var name = sockaddr_in6()
            name.sin6_family = sa_family_t(AF_INET6)
            name.sin6_port = port.bigEndian
            withUnsafeMutableBytes(of: &name.sin6_addr) { $0.copyBytes(from: octets) }
            result = withUnsafePointer(to: &name) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in6>.size))
                }
            }
        }
        var problem = result == 0 ? 0 : errno
        if problem == EINPROGRESS {
            guard wait(for: Int16(POLLOUT)) else { return .timesOut }
            var length = socklen_t(MemoryLayout<Int32>.size)
            problem = 0
            if getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &problem, &length) != 0 { problem = errno }
        }
        switch problem {
        case 0: return nil
        case ECONNREFUSED: return .refuses
        case ETIMEDOUT: return .timesOut
        default: return .unreachable(Self.reason(problem))
        }
    }

    private static func reason(_ code: Int32) -> String { String(cString: strerror(code)) }

    /// Until the descriptor is ready; `false` at the deadline.
    private func wait(for events: Int16) -> Bool {
        while true {
            let left = deadline - Self.now
            guard left > 0 else { return false }
            var entry = pollfd(fd: descriptor, events: events, revents: 0)
            let count = poll(&entry, 1, Int32(min(left, 60_000)))
            if count > 0 { return true }
            if count < 0, errno != EINTR { return false }
        }
    }

    private func send(_ command: String) throws(Failure) {
        let line = Array("\(command)\r\n".utf8)
        var offset = 0
        while offset < line.count {
            let written = line.withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress.map { $0 + offset }, line.count - offset, Int32(MSG_NOSIGNAL))
            }
            if written > 0 {
                offset += written
            } else if errno == EAGAIN || errno == EINTR {
                guard wait(for: Int16(POLLOUT)) else { throw .timeout }
            } else {
                throw .reset
            }
        }
    }

    private mutating func reply() throws(Failure) -> Reply {
        var chunk = [UInt8](repeating: 0, count: 4096)
        while true {
            if !pending.isEmpty {
                var position = 0
                let decoded: Result<Reply?, ReplyFlaw> = pending.withUnsafeBytes { bytes in
                    Result { () throws(ReplyFlaw) in try decoder.decode(bytes, at: &position) }
                }
                let seen = pending
                pending.removeFirst(position)
                switch decoded {
                case .success(let reply?): return reply
                case .success(nil): break
                case .failure: throw .nonsense(Self.printable(seen))
                }
            }
            guard wait(for: Int16(POLLIN)) else { throw .timeout }
            let count = recv(descriptor, &chunk, chunk.count, 0)
            if count > 0 {
                pending += chunk[..<count]
            } else if count == 0 {
                throw .closed
            } else if errno != EAGAIN, errno != EINTR {
                throw .reset
            }
        }
    }

    private static func printable(_ octets: [UInt8]) -> String {
        String(decoding: octets.prefix(60).map { $0 >= 0x20 && $0 < 0x7f ? $0 : UInt8(ascii: "?") }, as: UTF8.self)
    }
}

import Foundation

/// Many scripted SMTP clients, each from a loopback address of its own, on one thread. Every wait has a bound.
public enum BotSwarm {
    /// How one of them fared.
    public struct Outcome: Sendable {
        public let source: String
        /// The greeting's code; 0 where the connection ended before it.
        public var greeting = 0
        /// The replies to RCPT, each a line.
        public var recipients: [String] = []
        /// Messages that were answered with 250.
        public var accepted = 0
        /// The longest wait for a reply to RCPT.
        public var longestWait = Duration.zero

        public func count(_ code: String) -> Int { recipients.count { $0.hasPrefix(code) } }
    }

    /// Each connects and tries so many messages in one session; whoever is told 421 leaves.
    public static func run(
        from sources: [String], port: UInt16, messages: Int, sender: String = "bot@sender.test", to recipient: String,
        within limit: Duration = .seconds(60)
    ) async throws -> [Outcome] {
        let outcomes: Result<[Outcome], TestFailure> = await withCheckedContinuation { continuation in
            let thread = Thread {
                continuation.resume(
                    returning: Result { () throws(TestFailure) in
                        try drive(sources.map { Bot($0, port: port, messages, sender, recipient) }, until: .now + limit)
                    })
            }
            thread.start()
        }
        return try outcomes.get()
    }

    private static func drive(_ bots: [Bot], until deadline: ContinuousClock.Instant) throws(TestFailure) -> [Outcome] {
        while case let living = bots.filter({ !$0.isDone }), !living.isEmpty {
            guard ContinuousClock.now < deadline else { throw TestFailure("\(living.count) of \(bots.count) bots are not done") }
            var watched = living.map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
            guard poll(&watched, nfds_t(watched.count), 100) > 0 else { continue }
            for (bot, event) in zip(living, watched) where event.revents != 0 { bot.isReadable() }
        }
        return bots.map(\.outcome)
    }
}

/// One of them; used by one thread.
private final class Bot {
    private enum Step {
        case greeting
        case hello
        case mail
        case recipient
        case data
        case content
        case reset
        case quit
    }

    let descriptor: Int32
    private(set) var outcome: BotSwarm.Outcome
    private(set) var isDone = false
    private let sender: String
    private let recipient: String
    private var left: Int
    private var step = Step.greeting
    private var buffer: [UInt8] = []
    private var asked = ContinuousClock.now

    init(_ source: String, port: UInt16, _ messages: Int, _ sender: String, _ recipient: String) {
        outcome = .init(source: source)
        self.sender = sender
        self.recipient = recipient
        left = messages
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
        func call(_ host: String, _ port: UInt16, _ body: (Int32, UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Bool {
            var name = sockaddr_in()
            name.sin_family = sa_family_t(AF_INET)
            name.sin_port = port.bigEndian
            guard inet_pton(AF_INET, host, &name.sin_addr) == 1 else { return false }
            let result = withUnsafePointer(to: &name) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
            }
            return result == 0 || errno == EINPROGRESS
        }
        if !call(source, 0, bind) || !call("127.0.0.1", port, connect) { finish() }
    }

    deinit { finish() }

    private func finish() {
        guard !isDone else { return }
        isDone = true
        close(descriptor)
    }

    func isReadable() {
        var chunk = [UInt8](repeating: 0, count: 4096)
        let count = recv(descriptor, &chunk, chunk.count, 0)
        if count < 0, errno == EAGAIN || errno == EINTR { return }
        guard count > 0 else { return finish() }
        buffer += chunk[..<count]
        while !isDone, let end = buffer.firstIndex(of: 10) {
            let line = String(decoding: buffer[..<end], as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
            buffer.removeFirst(end + 1)
            // The lines before a reply's last have a hyphen behind the code (RFC 5321 §4.2.1).
            if line.dropFirst(3).first != "-" { replied(line) }
        }
    }

    private func say(_ command: String, then next: Step) {
        step = next
        asked = .now
        let octets = Array("\(command)\r\n".utf8)
        if send(descriptor, octets, octets.count, Int32(MSG_NOSIGNAL)) != octets.count { finish() }
    }

    private func replied(_ line: String) {
        let isPositive = line.hasPrefix("2") || line.hasPrefix("3")
        switch step {
        case .greeting:
            outcome.greeting = Int(line.prefix(3)) ?? 0
            if isPositive { say("EHLO bot.sender.test", then: .hello) } else { finish() }
        case .recipient:
            outcome.recipients.append(line)
            outcome.longestWait = max(outcome.longestWait, .now - asked)
            if line.hasPrefix("421") { return finish() }
            if isPositive { say("DATA", then: .data) } else { say("RSET", then: .reset) }
        case .data:
            if isPositive { say("Subject: \(outcome.source)\r\n\r\nbuy\r\n.", then: .content) } else { say("RSET", then: .reset) }
        case .hello, .reset, .content:
            if line.hasPrefix("421") { return finish() }
            if step == .content, isPositive { outcome.accepted += 1 }
            if left == 0 { return say("QUIT", then: .quit) }
            left -= 1
            say("MAIL FROM:<\(sender)>", then: .mail)
        case .mail:
            if isPositive { say("RCPT TO:<\(recipient)>", then: .recipient) } else { finish() }
        case .quit: finish()
        }
    }
}

import Glibc
import NIOConcurrencyHelpers
import PosternCore

@testable import PosternServer

/// A small SMTP server that does what a test tells it, and remembers what it was told. One thread a connection.
final class ScriptedBackend: Sendable {
    /// What it does, changed at any time.
    struct Script: Sendable {
        var greeting = "220 backend.example ESMTP\r\n"
        /// Behind `250-backend.example`, each with its own code.
        var extensions = ["PIPELINING", "SIZE 100000000", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"]
        /// What it offers in place of that to clients that it was told of, by the start of their address; the first that fits.
        var clientExtensions: [(start: String, extensions: [String])] = []
        /// Replies by the start of the command line, the first that fits; without CRLF at the end. The connection closes behind a line
        /// of 421.
        var replies: [(start: String, reply: String)] = []
        /// The reply to the end of the data.
        var final = "250 2.0.0 Ok: queued as 4711"
        /// Closes the connection instead of answering a command that begins so; `.` is the end of the data, `*` content.
        var diesAt: String?
        /// Waits this long before it answers a command that begins so, in milliseconds.
        var slowAt: (start: String, milliseconds: UInt32)?
        /// Reads a PROXY header of version 2 first.
        var readsProxy = false
        /// Closes a moment after it has answered a message.
        var leavesAfterMessage = false
        /// Offers XCLIENT until it was used, as Postfix does to a client that may not use it.
        var takesOneXclient = false
        /// Stops reading content, for as long as it is set.
        var isStalled = false
    }

    struct Message: Sendable, Equatable {
        var commands: [String] = []
        var content = ""
    }

    struct Record: Sendable {
        var connections = 0
        /// The command lines of each connection, without CRLF.
        var lines: [[String]] = []
        /// Those whose final dot came.
        var messages: [Message] = []
        /// The octets of content of messages whose end did not come.
        var truncated: [Int] = []
        /// The addresses in PROXY headers, `local` for LOCAL.
        var proxied: [String] = []
        var open = 0
    }

    let port: UInt16
    private let listener: Int32
    private let script: NIOLockedValueBox<Script>
    private let state = NIOLockedValueBox(Record())

    init(_ script: Script = Script(), port: UInt16 = 0) throws {
        self.script = NIOLockedValueBox(script)
        let (descriptor, bound) = try ListeningSocket.open(.tcp(IPAddress("127.0.0.1")!, port: port))
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) & ~O_NONBLOCK)
        // Little is taken unread, so that a stalled script is soon felt.
        var size: Int32 = 16_384
        setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<Int32>.size))
        listener = descriptor
        guard case .tcp(_, let port) = bound else { preconditionFailure() }
        self.port = port
        Self.thread { [self] in accept() }
    }

    deinit { stop() }

    var address: ListenAddress { .tcp(IPAddress("127.0.0.1")!, port: port) }
    var record: Record { state.withLockedValue { $0 } }

    func change(_ body: (inout Script) -> Void) { script.withLockedValue { body(&$0) } }

    /// Stops to listen; connections go on.
    func stop() { shutdown(listener, Int32(SHUT_RDWR)) }

    static func thread(_ body: @escaping @Sendable () -> Void) {
        final class Box: Sendable {
            let body: @Sendable () -> Void
            init(_ body: @escaping @Sendable () -> Void) { self.body = body }
        }
        var thread = pthread_t()
        let pointer = Unmanaged.passRetained(Box(body)).toOpaque()
        pthread_create(
            &thread, nil,
            {
                Unmanaged<Box>.fromOpaque($0!).takeRetainedValue().body()
                return nil
            }, pointer)
        pthread_detach(thread)
    }

    private func accept() {
        while true {
            let descriptor = Glibc.accept(listener, nil, nil)
            guard descriptor >= 0 else { break }
            let index = state.withLockedValue { state in
                state.connections += 1
                state.open += 1
                state.lines.append([])
                return state.lines.count - 1
            }
            Self.thread { [self] in
                serve(descriptor, index)
                close(descriptor)
                state.withLockedValue { $0.open -= 1 }
            }
        }
        close(listener)
    }

    private func serve(_ descriptor: Int32, _ index: Int) {
        let stream = BlockingStream(descriptor)
        var client = ""
        if script.withLockedValue({ $0.readsProxy }) {
            guard let told = readProxy(stream) else { return }
            client = told
        }
        if script.withLockedValue({ $0.diesAt }) == "greeting" { return }
        stream.send(script.withLockedValue { $0.greeting })
        var commands: [String] = []
        var isTold = false
        while let line = stream.line() {
            state.withLockedValue { $0.lines[index].append(line) }
            let script = script.withLockedValue { $0 }
            let upper = line.uppercased()
            if let start = script.diesAt, upper.hasPrefix(start) { return }
            if let slow = script.slowAt, upper.hasPrefix(slow.start) { usleep(slow.milliseconds * 1000) }
            if let reply = script.replies.first(where: { upper.hasPrefix($0.start.uppercased()) })?.reply {
                stream.send(reply + "\r\n")
                if reply.split(separator: "\r\n").contains(where: { $0.hasPrefix("421 ") }) { return }
                if upper.hasPrefix("DATA"), reply.hasPrefix("354") { return }
                if reply.hasPrefix("2"), upper.hasPrefix("MAIL") || upper.hasPrefix("RCPT") { commands.append(line) }
                continue
            }
            switch upper.prefix(4) {
            case "EHLO":
                let hides = script.takesOneXclient && isTold
                let offered = script.clientExtensions.first { client.hasPrefix($0.start) }?.extensions ?? script.extensions
                let lines = ["backend.example"] + offered.filter { !hides || !$0.hasPrefix("XCLIENT") }
                stream.send(lines.enumerated().map { "250\($0 == lines.count - 1 ? " " : "-")\($1)\r\n" }.joined())
            case "XCLI":
                isTold = true
                client = upper.split(separator: " ").first { $0.hasPrefix("ADDR=") }.map { String($0.dropFirst(5)) } ?? client
                stream.send(script.greeting)
            case "RSET":
                commands = []
                stream.send("250 2.0.0 Ok\r\n")
            case "MAIL":
                commands = [line]
                stream.send("250 2.1.0 Ok\r\n")
            case "RCPT":
                commands.append(line)
                stream.send("250 2.1.5 Ok\r\n")
            case "DATA":
                stream.send("354 End data with <CR><LF>.<CR><LF>\r\n")
                guard let content = content(stream) else { return }
                state.withLockedValue { $0.messages.append(Message(commands: commands, content: content)) }
                commands = []
                if script.diesAt == "." { return }
                if let slow = script.slowAt, slow.start == "." { usleep(slow.milliseconds * 1000) }
                stream.send(script.final + "\r\n")
                if script.leavesAfterMessage {
                    usleep(50_000)
                    return
                }
            case "QUIT":
                stream.send("221 2.0.0 Bye\r\n")
                return
            default: stream.send("250 2.0.0 Ok\r\n")
            }
        }
    }

    /// `nil` when the connection ends before the content does.
    private func content(_ stream: BlockingStream) -> String? {
        var bytes: [UInt8] = []
        let end = Array("\r\n.\r\n".utf8)
        while true {
            while script.withLockedValue({ $0.isStalled }) { usleep(10_000) }
            if bytes.count > 0, script.withLockedValue({ $0.diesAt }) == "*" { return nil }
            guard let byte = stream.byte() else {
                let count = bytes.count
                state.withLockedValue { $0.truncated.append(count) }
                return nil
            }
            bytes.append(byte)
            if byte == UInt8(ascii: "\n"), bytes == Array(end.dropFirst(2)) || bytes.suffix(5).elementsEqual(end) {
                return String(decoding: bytes.dropLast(3), as: UTF8.self)
            }
        }
    }

    /// Whom the header is about.
    private func readProxy(_ stream: BlockingStream) -> String? {
        guard let head = stream.bytes(16), head[12] & 0xf0 == 0x20 else { return nil }
        guard let block = stream.bytes(Int(head[14]) << 8 + Int(head[15])) else { return nil }
        let text: String
        if head[12] == 0x20 {
            text = "local"
        } else {
            let width = head[13] == 0x11 ? 4 : 16
            text = IPAddress(octets: block[..<width]).map { "\($0)" } ?? "?"
        }
        state.withLockedValue { $0.proxied.append(text) }
        return text
    }
}

/// Blocking reads of a socket, with a bound on every wait.
final class BlockingStream {
    private let descriptor: Int32
    private var buffer: [UInt8] = []
    private var position = 0

    init(_ descriptor: Int32) {
        self.descriptor = descriptor
        var patience = timeval(tv_sec: 30, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    }

    func byte() -> UInt8? {
        if position == buffer.count {
            var chunk = [UInt8](repeating: 0, count: 65_536)
            let count = recv(descriptor, &chunk, chunk.count, 0)
            guard count > 0 else { return nil }
            buffer = Array(chunk[..<count])
            position = 0
        }
        defer { position += 1 }
        return buffer[position]
    }

    func bytes(_ count: Int) -> [UInt8]? {
        var result: [UInt8] = []
        while result.count < count {
            guard let byte = byte() else { return nil }
            result.append(byte)
        }
        return result
    }

    /// Without CRLF.
    func line() -> String? {
        var line: [UInt8] = []
        while let byte = byte() {
            line.append(byte)
            if line.suffix(2).elementsEqual([0x0d, 0x0a]) { return String(decoding: line.dropLast(2), as: UTF8.self) }
        }
        return nil
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
}

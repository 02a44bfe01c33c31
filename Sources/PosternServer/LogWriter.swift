import Glibc
import Logging
import NIOConcurrencyHelpers
import PosternEngine

/// Writes log lines to a descriptor, which may be blocking: it is written to only as far as that does not block, since no answer
/// may wait for who reads the log. Lines that come in a flood are written together; a line is never held for longer than it takes
/// `flush` to be called, which `keepFlushing` does as soon as anything waits.
public final class LogWriter: Sendable {
    private struct State {
        var buffer: [UInt8] = []
        var dropped = 0
        var redact: Bool
    }

    public let format: LogFormat
    private let descriptor: Int32
    private let state: NIOLockedValueBox<State>
    /// Told when something waits that nothing waited before.
    private let (waiting, waits) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))

    /// How late a line may be.
    private static let lateness = Duration.milliseconds(100)
    /// Octets held before they are written.
    private static let flushSize = 32_768
    /// Octets held at most, when the descriptor takes none; lines beyond it are dropped and counted.
    private static let maximumHeld = 4_194_304
    /// What a pipe that can be written to takes without blocking: PIPE_BUF (pipe(7)).
    private static let piece = 4096
    /// For how long a reader who is slow is waited for at the end, in all.
    private static let lastPatience = Duration.seconds(1)

    /// A regular file takes whatever it is given.
    private let isFile: Bool

    public init(descriptor: Int32, format: LogFormat, redact: Bool = false) {
        self.descriptor = descriptor
        self.format = format
        state = NIOLockedValueBox(State(redact: redact))
        var status = stat()
        isFile = fstat(descriptor, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
    }

    /// Whether addresses of people are to be left out of lines.
    public var redacts: Bool { state.withLockedValue { $0.redact } }

    public func write(_ line: borrowing LogLine, now flushNow: Bool) {
        let isFirst = state.withLockedValue { state in
            guard state.buffer.count < Self.maximumHeld else {
                state.dropped += 1
                return false
            }
            let wasEmpty = state.buffer.isEmpty
            line.append(to: &state.buffer)
            if flushNow || state.buffer.count >= Self.flushSize { drain(&state) }
            return wasEmpty && !state.buffer.isEmpty
        }
        if isFirst { waits.yield() }
    }

    public func flush() {
        let holds = state.withLockedValue { state in
            drain(&state)
            return !state.buffer.isEmpty
        }
        // The descriptor took not all of it: it is tried again.
        if holds { waits.yield() }
    }

    /// Writes what waits, and gives a reader who is slow a moment for it.
    func finish() { state.withLockedValue { drain(&$0, until: .now + Self.lastPatience) } }

    /// Runs until cancelled: writes what waits. Nobody is woken while nothing does.
    public func keepFlushing() async {
        for await _ in waiting {
            try? await Task.sleep(for: Self.lateness)
            flush()
        }
    }

    /// - Parameter deadline: how long to wait for the descriptor to take more; `nil` for not at all.
    private func drain(_ state: inout State, until deadline: ContinuousClock.Instant? = nil) {
        var offset = 0
        state.buffer.withUnsafeBytes { bytes in
            while offset < bytes.count, takesMore(until: deadline) {
                let count = isFile ? bytes.count - offset : min(bytes.count - offset, Self.piece)
                let written = Glibc.write(descriptor, bytes.baseAddress! + offset, count)
                if written > 0 {
                    offset += written
                } else if errno != EINTR {
                    break
                }
            }
        }
        state.buffer.removeFirst(offset)
        if state.dropped > 0, state.buffer.isEmpty {
            var line = LogLine(format)
            line.add("level", "warning")
            line.add("msg", "log lines were dropped, the log could not be written")
            line.add("count", state.dropped)
            state.dropped = 0
            line.append(to: &state.buffer)
        }
    }

    private func takesMore(until deadline: ContinuousClock.Instant?) -> Bool {
        if isFile { return true }
        let patience = deadline.map { max(.zero, ContinuousClock.now.duration(to: $0)) / .milliseconds(1) } ?? 0
        var state = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        return poll(&state, 1, Int32(patience)) > 0 && state.revents & Int16(POLLOUT) != 0
    }
}

/// swift-log's lines through the same writer.
public struct LineLogHandler: LogHandler {
    public var logLevel: Logger.Level
    public var metadata: Logger.Metadata = [:]
    private let writer: LogWriter

    public init(writer: LogWriter, level: Logger.Level) {
        self.writer = writer
        logLevel = level
    }

    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    public func log(event: LogEvent) {
        var line = LogLine(writer.format)
        line.add("time", SystemClocks.wall())
        line.add("level", event.level.rawValue)
        line.add("msg", event.message.description)
        let all = metadata.merging(event.metadata ?? [:]) { $1 }
        let redacts = writer.redacts
        for (key, value) in all.sorted(by: { $0.key < $1.key }) {
            // An error may quote what a peer wrote.
            line.add(named: key, redacts ? Redaction.sentence("\(value)") : "\(value)")
        }
        writer.write(line, now: true)
    }
}

import Glibc
import Logging
import NIOConcurrencyHelpers
import PosternConfiguration
import PosternCore
import PosternEngine

public typealias LogFormat = Configuration.Log.Format

/// One line of a structured log: keys and values in order, written down as they come.
public struct LogLine: Sendable {
    private let format: LogFormat
    private var bytes: [UInt8] = []

    /// Octets of most lines.
    private static let usual = 384

    public init(_ format: LogFormat) {
        self.format = format
        bytes.reserveCapacity(Self.usual)
    }

    public mutating func add(_ key: String, _ value: String) {
        switch format {
        case .logfmt:
            if !bytes.isEmpty { bytes.append(UInt8(ascii: " ")) }
            bytes.append(octetsOf: key)
            bytes.append(UInt8(ascii: "="))
            if Self.isPlain(value) { bytes.append(octetsOf: value) } else { Self.quote(value, into: &bytes) }
        case .json:
            bytes.append(bytes.isEmpty ? UInt8(ascii: "{") : UInt8(ascii: ","))
            Self.quote(key, into: &bytes)
            bytes.append(UInt8(ascii: ":"))
            Self.quote(value, into: &bytes)
        }
    }

    /// Adds a field unless it is empty.
    public mutating func add(nonEmpty key: String, _ value: String) {
        if !value.isEmpty { add(key, value) }
    }

    func append(to buffer: inout [UInt8]) {
        buffer.append(contentsOf: bytes)
        if format == .json { buffer.append(contentsOf: (bytes.isEmpty ? "{}" : "}").utf8) }
        buffer.append(UInt8(ascii: "\n"))
    }

    /// Whether a value can stand in logfmt as it is.
    private static func isPlain(_ value: String) -> Bool {
        var value = value
        return value.withUTF8 { octets in
            !octets.isEmpty && octets.allSatisfy { $0 > 0x20 && !isEscaped($0) && $0 < 0x7f && $0 != UInt8(ascii: "=") }
        }
    }

    private static func isEscaped(_ octet: UInt8) -> Bool {
        octet < 0x20 || octet == 0x7f || octet == UInt8(ascii: "\"") || octet == UInt8(ascii: "\\")
    }

    /// As a JSON string (RFC 8259 §7), which logfmt readers take too. A client cannot forge a line: control characters
    /// are escaped.
    private static func quote(_ text: String, into buffer: inout [UInt8]) {
        buffer.append(UInt8(ascii: "\""))
        var text = text
        text.withUTF8 { octets in
            // What need not be escaped is taken over in one piece.
            var rest = octets[...]
            while let place = rest.firstIndex(where: isEscaped) {
                buffer.append(contentsOf: UnsafeBufferPointer(rebasing: rest[..<place]))
                escape(rest[place], into: &buffer)
                rest = rest[(place + 1)...]
            }
            buffer.append(contentsOf: UnsafeBufferPointer(rebasing: rest))
        }
        buffer.append(UInt8(ascii: "\""))
    }

    private static func escape(_ octet: UInt8, into buffer: inout [UInt8]) {
        switch octet {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"):
            buffer.append(UInt8(ascii: "\\"))
            buffer.append(octet)
        case UInt8(ascii: "\n"): buffer.append(octetsOf: "\\n")
        case UInt8(ascii: "\r"): buffer.append(octetsOf: "\\r")
        case UInt8(ascii: "\t"): buffer.append(octetsOf: "\\t")
        default:
            buffer.append(octetsOf: octet < 16 ? "\\u000" : "\\u00")
            buffer.append(octetsOf: String(octet, radix: 16))
        }
    }
}

extension [UInt8] {
    fileprivate mutating func append(octetsOf text: String) {
        let isDone: Void? = text.utf8.withContiguousStorageIfAvailable { append(contentsOf: $0) }
        if isDone == nil { append(contentsOf: text.utf8) }
    }
}

/// Writes log lines to a descriptor. Lines that come in a flood are written together; a line is never held for longer
/// than it takes `flush` to be called, which `keepFlushing` does as soon as anything waits.
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

    public init(descriptor: Int32, format: LogFormat, redact: Bool = false) {
        self.descriptor = descriptor
        self.format = format
        state = NIOLockedValueBox(State(redact: redact))
    }

    /// Whether addresses of people are to be left out of lines.
    public var redacts: Bool { state.withLockedValue { $0.redact } }

    public func write(_ line: LogLine, now flushNow: Bool) {
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

    /// Runs until cancelled: writes what waits. Nobody is woken while nothing does.
    public func keepFlushing() async {
        for await _ in waiting {
            try? await Task.sleep(for: Self.lateness)
            flush()
        }
    }

    private func drain(_ state: inout State) {
        var offset = 0
        state.buffer.withUnsafeBytes { bytes in
            while offset < bytes.count {
                let written = Glibc.write(descriptor, bytes.baseAddress! + offset, bytes.count - offset)
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
            line.add("count", String(state.dropped))
            state.dropped = 0
            line.append(to: &state.buffer)
        }
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
        line.add("time", SystemClocks.wall().description)
        line.add("level", event.level.rawValue)
        line.add("msg", event.message.description)
        let all = metadata.merging(event.metadata ?? [:]) { $1 }
        let redacts = writer.redacts
        for (key, value) in all.sorted(by: { $0.key < $1.key }) {
            // An error may quote what a peer wrote.
            line.add(key, redacts ? Redaction.sentence("\(value)") : "\(value)")
        }
        writer.write(line, now: true)
    }
}

import PosternConfiguration
import PosternCore

public typealias LogFormat = Configuration.Log.Format

/// One line of a structured log: keys and values in order, written down as they come.
public struct LogLine: Sendable {
    private let format: LogFormat
    /// Written up to `count`.
    private var memory: [UInt8]
    private var count = 0

    /// Octets of most lines.
    private static let usual = 512
    /// What stands between and around a key and a value.
    private static let marks = 6

    public init(_ format: LogFormat) {
        self.format = format
        memory = Array(repeating: 0, count: Self.usual)
    }

    public mutating func add(_ key: String, _ value: String) {
        let isFirst = count == 0
        let isEscaped = key.holdsEscapes || value.holdsEscapes
        let octets = key.utf8.count + value.utf8.count
        write(Self.marks + (isEscaped ? octets * JSONText.longestEscape : octets)) { [format] writer in
            switch format {
            case .logfmt:
                if !isFirst { writer.add(UInt8(ascii: " ")) }
                writer.add(key)
                writer.add(UInt8(ascii: "="))
                if value.isLogfmtWord { writer.add(value) } else { JSONText.quote(value, isEscaped, into: &writer) }
            case .json:
                writer.add(isFirst ? UInt8(ascii: "{") : UInt8(ascii: ","))
                JSONText.quote(key, isEscaped, into: &writer)
                writer.add(UInt8(ascii: ":"))
                JSONText.quote(value, isEscaped, into: &writer)
            }
        }
    }

    /// Adds a field unless it is empty.
    public mutating func add(nonEmpty key: String, _ value: String) {
        if !value.isEmpty { add(key, value) }
    }

    func append(to buffer: inout [UInt8]) {
        memory.withUnsafeBufferPointer { buffer.append(contentsOf: UnsafeBufferPointer(rebasing: $0[..<count])) }
        if format == .json { buffer.append(contentsOf: (count == 0 ? "{}" : "}").utf8) }
        buffer.append(UInt8(ascii: "\n"))
    }

    /// - Parameter octets: as many as are written, or more.
    private mutating func write(_ octets: Int, _ body: (inout TextWriter) -> Void) {
        if memory.count - count < octets { memory.append(contentsOf: repeatElement(0, count: max(octets, memory.count))) }
        count += memory.withUnsafeMutableBytes { memory in
            var writer = TextWriter(UnsafeMutableRawBufferPointer(rebasing: memory[count...]))
            body(&writer)
            return writer.count
        }
    }
}

/// A JSON string (RFC 8259 §7), which logfmt readers take too. A client cannot forge a line: control characters are escaped.
private enum JSONText {
    /// Octets that stand for one: `\u001f`.
    static let longestEscape = 6

    static func quote(_ text: String, _ isEscaped: Bool, into writer: inout TextWriter) {
        writer.add(UInt8(ascii: "\""))
        if isEscaped {
            for octet in text.utf8 { add(octet, into: &writer) }
        } else {
            writer.add(text)
        }
        writer.add(UInt8(ascii: "\""))
    }

    private static func add(_ octet: UInt8, into writer: inout TextWriter) {
        switch octet {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"):
            writer.add(UInt8(ascii: "\\"))
            writer.add(octet)
        case UInt8(ascii: "\n"): writer.add("\\n")
        case UInt8(ascii: "\r"): writer.add("\\r")
        case UInt8(ascii: "\t"): writer.add("\\t")
        case ..<0x20, 0x7f:
            writer.add(octet < 0x10 ? "\\u000" : "\\u00")
            writer.add(String(octet, radix: 16))
        default: writer.add(octet)
        }
    }
}

extension String {
    /// Whether a JSON string would say any octet in another way.
    fileprivate var holdsEscapes: Bool { octets { $0.holdEscapesOfJSON } }

    /// Whether it can stand in logfmt as it is.
    fileprivate var isLogfmtWord: Bool { octets { $0.areLogfmtWord } }

    private func octets(_ test: (UnsafeBufferPointer<UInt8>) -> Bool) -> Bool {
        utf8.withContiguousStorageIfAvailable(test) ?? Array(utf8).withUnsafeBufferPointer(test)
    }
}

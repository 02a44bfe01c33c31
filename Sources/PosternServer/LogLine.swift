import PosternConfiguration
import PosternCore

public typealias LogFormat = Configuration.Log.Format

/// One line of a structured log: keys and values in order, written down as they come.
public struct LogLine: ~Copyable {
    private let format: LogFormat
    /// Its own; written up to `count`.
    private var memory: UnsafeMutableRawBufferPointer
    private var count = 0

    /// Octets of most lines.
    private static let usual = 512
    /// What stands between and around a key and a value.
    private static let marks = 6
    /// Of a number of 64 bits, with its sign.
    private static let longestNumber = 20

    public init(_ format: LogFormat) {
        self.format = format
        memory = .allocate(byteCount: Self.usual, alignment: 1)
    }

    deinit { memory.deallocate() }

    /// - Parameter key: a word that neither form has to escape.
    public mutating func add(_ key: StaticString, _ value: String) {
        value.withOctets { add(key.octets, $0) }
    }

    /// - Parameter word: one that neither form has to escape.
    mutating func add(_ key: StaticString, word: StaticString) {
        add(key, octets: word.utf8CodeUnitCount) { $0.add(word.octets) }
    }

    /// Of a key that is not ours: what is no word in it becomes `_`.
    public mutating func add(named key: String, _ value: String) {
        let word = key.withOctets { $0.areLogfmtWord } ? key : String(key.map { $0.isASCII && ($0.isLetter || $0.isNumber) ? $0 : "_" })
        word.withOctets { word in value.withOctets { add(word, $0) } }
    }

    /// Adds a field unless it is empty.
    public mutating func add(nonEmpty key: StaticString, _ value: String) {
        if !value.isEmpty { add(key, value) }
    }

    public mutating func add(_ key: StaticString, _ number: some BinaryInteger) {
        // A number is a word in logfmt; in JSON it is a string, as every value is.
        add(key, octets: Self.longestNumber) { $0.add(decimal: Int64(clamping: number)) }
    }

    public mutating func add<Value: TextWritable>(_ key: StaticString, _ value: Value) {
        add(key, octets: Value.longestText) { value.write(to: &$0) }
    }

    /// What every line begins with.
    mutating func begin(_ what: StaticString, at time: WallTime) {
        add("time", time)
        add("level", word: "info")
        add("msg", word: what)
    }

    func append(to buffer: inout [UInt8]) {
        buffer.append(contentsOf: UnsafeRawBufferPointer(rebasing: memory[..<count]))
        if format == .json { buffer.append(contentsOf: (count == 0 ? "{}" : "}").utf8) }
        buffer.append(UInt8(ascii: "\n"))
    }

    private mutating func add(_ key: UnsafeBufferPointer<UInt8>, _ value: UnsafeBufferPointer<UInt8>) {
        // A word needs no escape.
        let isWord = value.areLogfmtWord
        let isEscaped = !isWord && value.holdEscapesOfJSON
        write(key, isEscaped ? value.count * JSONText.longestEscape : value.count) { [format] writer in
            if format == .logfmt, isWord { writer.add(value) } else { JSONText.quote(value, isEscaped, into: &writer) }
        }
    }

    /// - Parameter body: writes a word, of at most as many octets.
    @inline(__always)
    private mutating func add(_ key: StaticString, octets: Int, _ body: (inout TextWriter) -> Void) {
        write(key.octets, octets) { [format] writer in
            if format == .json { writer.add(UInt8(ascii: "\"")) }
            body(&writer)
            if format == .json { writer.add(UInt8(ascii: "\"")) }
        }
    }

    /// - Parameter octets: as many as `value` writes without quotes, or more.
    @inline(__always)
    private mutating func write(_ key: UnsafeBufferPointer<UInt8>, _ octets: Int, _ value: (inout TextWriter) -> Void) {
        let isFirst = count == 0
        makeRoom(Self.marks + key.count + octets)
        var writer = TextWriter(UnsafeMutableRawBufferPointer(rebasing: memory[count...]))
        switch format {
        case .logfmt:
            if !isFirst { writer.add(UInt8(ascii: " ")) }
            writer.add(key)
            writer.add(UInt8(ascii: "="))
        case .json:
            writer.add(isFirst ? UInt8(ascii: "{") : UInt8(ascii: ","))
            writer.add(UInt8(ascii: "\""))
            writer.add(key)
            writer.add(UInt8(ascii: "\""))
            writer.add(UInt8(ascii: ":"))
        }
        value(&writer)
        count += writer.count
    }

    private mutating func makeRoom(_ octets: Int) {
        guard memory.count - count < octets else { return }
        let larger = UnsafeMutableRawBufferPointer.allocate(byteCount: memory.count + max(octets, memory.count), alignment: 1)
        larger.copyMemory(from: UnsafeRawBufferPointer(rebasing: memory[..<count]))
        memory.deallocate()
        memory = larger
    }
}

/// A JSON string (RFC 8259 §7), which logfmt readers take too. A client cannot forge a line: control characters are escaped.
private enum JSONText {
    /// Octets that stand for one: `\u001f`.
    static let longestEscape = 6

    static func quote(_ text: UnsafeBufferPointer<UInt8>, _ isEscaped: Bool, into writer: inout TextWriter) {
        writer.add(UInt8(ascii: "\""))
        if isEscaped {
            for octet in text { add(octet, into: &writer) }
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

extension StaticString {
    @inline(__always)
    fileprivate var octets: UnsafeBufferPointer<UInt8> { UnsafeBufferPointer(start: utf8Start, count: utf8CodeUnitCount) }
}

extension String {
    @inline(__always)
    fileprivate func withOctets<Value>(_ body: (UnsafeBufferPointer<UInt8>) -> Value) -> Value {
        utf8.withContiguousStorageIfAvailable(body) ?? Array(utf8).withUnsafeBufferPointer(body)
    }
}

/// What makes a server's reply unusable. After one of these the stream is out of step and the connection must end.
public enum ReplyFlaw: Error, Hashable, Sendable {
    /// A line longer than `ReplyDecoder.Limits.line`.
    case lineTooLong
    /// More lines than `ReplyDecoder.Limits.lines`.
    case tooManyLines
    /// A line does not start with three digits in 200...599 and a space, a hyphen or its end (RFC 5321 §4.2).
    case notAReply
    /// The code of a continuation differs from that of the first line (RFC 5321 §4.2.1).
    case codesDiffer
    /// A line feed without carriage return, a carriage return without line feed, or a NUL.
    case badLineEnd
}

/// Takes replies from a stream of bytes, whatever the sizes of the pieces they come in.
///
/// Strict: only CRLF ends a line. Nothing is repaired, since a reply decides whether mail is lost.
public struct ReplyDecoder: Sendable {
    public struct Limits: Hashable, Sendable {
        /// Octets in a line without its CRLF. RFC 5321 §4.5.3.1.5 sets 512; servers send longer ones in EHLO replies.
        public var line: Int
        /// Lines in one reply.
        public var lines: Int

        public init(line: Int = 2048, lines: Int = 128) {
            self.line = line
            self.lines = lines
        }
    }

    private let limits: Limits
    private var line: [UInt8] = []
    /// Lines that are complete, as they go over the wire.
    private var wire: [UInt8] = []
    private var complete = 0
    private var code: UInt16 = 0
    private var sawCR = false

    public init(limits: Limits = Limits()) {
        self.limits = limits
    }

    /// Whether no part of a reply is held.
    public var isEmpty: Bool { line.isEmpty && complete == 0 && !sawCR }

    /// Consumes bytes up to the end of the next reply.
    ///
    /// - Returns: the reply, or `nil` when all bytes are consumed and it is not complete. `position` moves past what was
    ///   consumed.
    public mutating func decode(_ input: UnsafeRawBufferPointer, at position: inout Int) throws(ReplyFlaw) -> Reply? {
        if isEmpty, let reply = wholeReply(input, at: &position) { return reply }
        while position < input.count {
            if sawCR {
                guard input[position] == Octet.lf else { throw .badLineEnd }
                position += 1
                sawCR = false
                if let reply = try endLine() { return reply }
                continue
            }
            let stop = ByteScan.firstControl(input, from: position)
            guard line.count + (stop - position) <= limits.line else { throw .lineTooLong }
            line.append(contentsOf: UnsafeRawBufferPointer(rebasing: input[position..<stop]))
            position = stop
            guard stop < input.count else { break }
            position += 1
            switch input[stop] {
            case Octet.cr: sawCR = true
            case Octet.lf, Octet.nul: throw .badLineEnd
            case let other:
                guard line.count < limits.line else { throw .lineTooLong }
                line.append(other)
            }
        }
        return nil
    }

    /// A reply of one line that has come as a whole, as nearly all do, goes on as it stands. `nil` for what has to be looked at closer.
    private func wholeReply(_ input: UnsafeRawBufferPointer, at position: inout Int) -> Reply? {
        let start = position
        let stop = ByteScan.firstControl(input, from: start)
        let length = stop - start
        guard stop + 1 < input.count, input[stop] == Octet.cr, input[stop + 1] == Octet.lf, length <= limits.line, limits.lines > 0,
            length == 3 || (length > 4 && input[start + 3] == Octet.space)
        else { return nil }
        var code: UInt16 = 0
        for octet in input[start..<start + 3] {
            guard Octet.isDigit(octet) else { return nil }
            code = code * 10 + UInt16(octet - 0x30)
        }
        guard (200...599).contains(code) else { return nil }
        position = stop + 2
        return Reply(code: code, wire: Array(UnsafeRawBufferPointer(rebasing: input[start..<position])))
    }

    private mutating func endLine() throws(ReplyFlaw) -> Reply? {
        defer { line.removeAll(keepingCapacity: true) }
        guard line.count >= 3, line[..<3].allSatisfy(Octet.isDigit) else { throw .notAReply }
        let number = line[..<3].reduce(0) { $0 * 10 + UInt16($1 - 0x30) }
        guard (200...599).contains(number) else { throw .notAReply }
        let continues: Bool
        switch line.count > 3 ? line[3] : Octet.space {
        case Octet.space: continues = false
        case Octet.hyphen: continues = true
        default: throw .notAReply
        }
        guard complete == 0 || number == code else { throw .codesDiffer }
        guard complete < limits.lines else { throw .tooManyLines }
        code = number
        complete += 1
        Reply.append(line.dropFirst(4), of: code, isLast: !continues, to: &wire)
        guard !continues else { return nil }
        defer {
            wire = []
            complete = 0
        }
        return Reply(code: code, wire: wire)
    }
}

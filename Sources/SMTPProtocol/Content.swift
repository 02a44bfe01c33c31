/// A piece of message content on its way from client to backend.
///
/// Content is not copied: a piece is either a range of the bytes that were just handed in, or one of a few fixed
/// strings that framing put in their place. The receiver forwards the pieces in order, before the bytes go away.
public enum ContentPiece: Hashable, Sendable {
    /// A range of the input of the call that produced this piece.
    case input(Range<Int>)
    case insert(Insertion)

    /// The number of octets.
    public var count: Int {
        switch self {
        case .input(let range): range.count
        case .insert(let insertion): insertion.count
        }
    }

    /// The first octet; `nil` for a piece without any.
    public func first(of input: UnsafeRawBufferPointer) -> UInt8? {
        switch self {
        case .input(let range): range.isEmpty ? nil : input[range.lowerBound]
        case .insert(let insertion): insertion.bytes.first
        }
    }

    /// The octets, copied out of the input that the piece refers to.
    public func bytes(of input: UnsafeRawBufferPointer) -> [UInt8] {
        switch self {
        case .input(let range): Array(input[range])
        case .insert(let insertion): insertion.bytes
        }
    }
}

/// The fixed strings that framing puts into content.
public enum Insertion: UInt8, Hashable, Sendable, CaseIterable {
    /// In place of a bare CR.
    case space
    /// A dot that was held back, or one stuffed before a dot (RFC 5321 §4.5.2).
    case dot
    /// A CR that was held back; an LF follows.
    case cr
    /// In place of a bare LF.
    case crlf
    /// A dot and a CR that were held back; an LF follows.
    case dotCR
    /// `.` CRLF after a complete last line.
    case endOfData
    /// CRLF `.` CRLF after a last line that lacked its CRLF.
    case lineEndAndEndOfData

    /// The number of octets.
    public var count: Int {
        switch self {
        case .space, .dot, .cr: 1
        case .crlf, .dotCR: 2
        case .endOfData: 3
        case .lineEndAndEndOfData: 5
        }
    }

    /// Whether the first octet is a dot.
    var beginsWithDot: Bool {
        switch self {
        case .dot, .dotCR, .endOfData: true
        case .space, .cr, .crlf, .lineEndAndEndOfData: false
        }
    }

    /// Whether the last octet is a line feed.
    var endsLine: Bool {
        switch self {
        case .crlf, .endOfData, .lineEndAndEndOfData: true
        case .space, .dot, .cr, .dotCR: false
        }
    }

    private static let table: [[UInt8]] = [
        [0x20], [0x2e], [0x0d], [0x0d, 0x0a], [0x2e, 0x0d], [0x2e, 0x0d, 0x0a], [0x0d, 0x0a, 0x2e, 0x0d, 0x0a],
    ]

    public var bytes: [UInt8] { Self.table[Int(rawValue)] }
}

/// How content that breaks the line rules is treated.
public enum Framing: Hashable, Sendable, CaseIterable {
    /// A bare LF becomes CRLF, a bare CR a space.
    case normalize
    /// Content with a bare LF or CR is refused.
    case reject
}

/// Why content is refused. It is read to its real end all the same, so that the conversation stays in step.
public enum ContentFault: Error, Hashable, Sendable, CaseIterable {
    /// A bare LF under `Framing.reject`.
    case bareLF
    /// A bare CR under `Framing.reject`.
    case bareCR
    /// A NUL octet (RFC 5322 §2.2 allows 1 to 127).
    case nul
    /// What a lenient server would take for the end of the data.
    case endOfDataLookAlike
    /// More octets than the limit.
    case tooLarge
    /// More Received fields than the limit (RFC 5321 §6.3).
    case tooManyHops
    /// A line longer than the limit.
    case lineTooLong

    /// What the client is told once the content has ended.
    public var reply: Reply {
        switch self {
        case .bareLF: Reply(554, "5.6.0", "Message refused: it has a line feed without carriage return")
        case .bareCR: Reply(554, "5.6.0", "Message refused: it has a carriage return without line feed")
        case .nul: Reply(554, "5.6.0", "Message refused: it has a NUL octet")
        case .endOfDataLookAlike: Reply(554, "5.7.0", "Message refused: it has a malformed end of data")
        case .tooLarge: Reply(552, "5.3.4", "Message too large")
        case .tooManyHops: Reply(554, "5.4.6", "Too many hops: mail loop?")
        case .lineTooLong: Reply(554, "5.6.0", "Message refused: it has a line that is too long")
        }
    }
}

/// What content may not exceed. Zero switches a limit off.
public struct ContentLimits: Hashable, Sendable {
    /// Octets of the message, dots unstuffed.
    public var octets: UInt64
    /// Received fields in the header. RFC 5321 §6.3 wants at least 100.
    public var hops: Int
    /// Octets in a line with its CRLF. RFC 5321 §4.5.3.1.6 sets 1,000, but longer ones are common: off by default, and
    /// left to the backend.
    public var line: UInt64
    /// Whether look-alikes of the end of data, NUL, and what the framing forbids are faults; only where content goes nowhere
    /// they need not be.
    public var refusesFlaws = true

    public init(octets: UInt64 = 0, hops: Int = 100, line: UInt64 = 0) {
        self.octets = octets
        self.hops = hops
        self.line = line
    }
}

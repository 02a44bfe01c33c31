/// Takes a message out of what follows DATA (RFC 5321 §4.1.1.4): only CRLF.CRLF ends it, stuffed dots are removed
/// (§4.5.2), and what a lenient server could take for another end is refused.
///
/// Memory is constant, whatever the size of the message. Once the content is at fault nothing more of it is handed on,
/// but it is read to its real end.
public struct DataDecoder: Sendable {
    private var scanner: ContentScanner

    public init(framing: Framing = .normalize, limits: ContentLimits = ContentLimits()) {
        scanner = ContentScanner(framing: framing, limits: limits, dotTerminated: true)
    }

    /// Octets handed on so far.
    public var octets: UInt64 { scanner.octets }
    /// Why the message is refused, once it is.
    public var fault: ContentFault? { scanner.fault }
    /// Every flaw seen, also those that were repaired: some of bare LF, bare CR, NUL and look-alikes of the end of data.
    public var flaws: ViolationSet { scanner.flaws }

    /// Consumes content; `position` moves past it, and stops behind the end of the data.
    ///
    /// - Returns: whether the end of the data was reached.
    public mutating func decode(_ input: UnsafeRawBufferPointer, at position: inout Int, into pieces: inout [ContentPiece]) -> Bool {
        scanner.scan(input, at: &position, to: input.count, into: &pieces)
    }
}

/// Takes a message out of the chunks that follow BDAT (RFC 3030 §2). Lengths rule: a dot means nothing, and the end of a
/// chunk may fall anywhere in a line.
///
/// The same flaws are repaired or refused as in DATA, since the message may go on to a backend by DATA.
public struct ChunkDecoder: Sendable {
    private var scanner: ContentScanner
    /// Octets of the current chunk that are still to come.
    public private(set) var remaining: UInt64 = 0
    private var isLast = false

    public init(framing: Framing = .normalize, limits: ContentLimits = ContentLimits()) {
        scanner = ContentScanner(framing: framing, limits: limits, dotTerminated: false)
    }

    public var octets: UInt64 { scanner.octets }
    public var fault: ContentFault? { scanner.fault }
    public var flaws: ViolationSet { scanner.flaws }

    /// A BDAT command was accepted. Must not be called while a chunk is incomplete or after the last.
    public mutating func begin(size: UInt64, last: Bool) {
        precondition(remaining == 0 && !isLast, "a chunk begins only after the one before it")
        remaining = size
        isLast = last
    }

    /// Consumes bytes of the current chunk, and no byte beyond it. What was held back is handed on at the end of the last.
    ///
    /// - Returns: whether the chunk is complete; true at once for one of size 0, such as `BDAT 0 LAST`.
    public mutating func decode(_ input: UnsafeRawBufferPointer, at position: inout Int, into pieces: inout [ContentPiece]) -> Bool {
        let end = position + Int(min(remaining, UInt64(input.count - position)))
        remaining -= UInt64(end - position)
        _ = scanner.scan(input, at: &position, to: end, into: &pieces)
        guard remaining == 0 else { return false }
        if isLast { scanner.finish(into: &pieces) }
        return true
    }
}

/// Prepares message content for a backend's DATA: stuffs dots (RFC 5321 §4.5.2) and ends it.
///
/// Expects the pieces of `DataDecoder` or `ChunkDecoder`: their lines all end in CRLF, and a dot that begins a line begins a piece.
public struct DataEncoder: Sendable {
    private var atLineStart = true

    public init() {}

    /// Appends what goes on the wire for `piece`, which refers to `input`.
    public mutating func encode(_ piece: ContentPiece, of input: UnsafeRawBufferPointer, into pieces: inout [ContentPiece]) {
        switch piece {
        case .insert(let insertion):
            if atLineStart, insertion.beginsWithDot { pieces.append(.insert(.dot)) }
            pieces.append(piece)
            atLineStart = insertion.endsLine
        case .input(let range):
            guard !range.isEmpty else { return }
            if atLineStart, input[range.lowerBound] == Octet.dot { pieces.append(.insert(.dot)) }
            pieces.append(piece)
            atLineStart = input[range.upperBound - 1] == Octet.lf
        }
    }

    /// The end of the data: with a CRLF of its own in front where the last line lacked one.
    public func finish() -> Insertion {
        atLineStart ? .endOfData : .lineEndAndEndOfData
    }
}

/// The automaton under `DataDecoder` and `ChunkDecoder`: it knows where in a line the content stands, holds back what
/// cannot be judged yet (at most a dot and a CR), and so needs a few bytes of memory for a message of any size.
struct ContentScanner: Sendable {
    /// What ended the line before. All three would start a line for one lenient server or another.
    enum LineStart: UInt8, Sendable {
        case crlf
        case lf
        case cr
    }

    enum State: Equatable, Sendable {
        /// Within a line.
        case text
        /// A CR is held back.
        case cr
        case lineStart(LineStart)
        /// A dot at the start of a line is held back.
        case dot(LineStart)
        /// A dot at the start of a line and a CR are held back.
        case dotCR(LineStart)
    }

    private let framing: Framing
    private let limits: ContentLimits
    /// Whether CRLF.CRLF ends the content and leading dots are stuffing: DATA, not BDAT.
    private let dotTerminated: Bool
    /// RFC 5321 §4.1.1.4: the CRLF of the DATA command counts as the one before the first line.
    private var state = State.lineStart(.crlf)
    private var lineLength: UInt64 = 0
    private var hops: HopCounter
    private(set) var octets: UInt64 = 0
    private(set) var fault: ContentFault?
    private(set) var flaws: ViolationSet = []

    init(framing: Framing, limits: ContentLimits, dotTerminated: Bool) {
        self.framing = framing
        self.limits = limits
        self.dotTerminated = dotTerminated
        self.hops = HopCounter(limit: limits.hops)
    }

    /// Scans `input[position..<end]`.
    ///
    /// - Returns: whether the end of the data was consumed; otherwise `position` is at `end`.
    mutating func scan(
        _ input: UnsafeRawBufferPointer, at position: inout Int, to end: Int, into pieces: inout [ContentPiece]
    ) -> Bool {
        let window = UnsafeRawBufferPointer(rebasing: input[..<end])
        let firstPiece = pieces.count
        var index = position
        // Octets from here on are part of the message, but not yet handed on.
        var run = position
        var lineBegin = position
        var ended = false
        scanning: while index < end {
            switch state {
            case .text:
                index = ByteScan.firstControl(window, from: index)
                guard index < end else { break scanning }
                switch window[index] {
                case Octet.cr:
                    if index + 1 < end, window[index + 1] == Octet.lf {
                        // The common case: nothing is held back, and the run goes on.
                        index += 2
                        endLine(at: index, &lineBegin)
                        if index < end, window[index] > Octet.space, window[index] != Octet.dot { continue }
                        state = .lineStart(.crlf)
                    } else {
                        flush(run, index, &pieces)
                        index += 1
                        run = index
                        state = .cr
                    }
                case Octet.lf:
                    flush(run, index, &pieces)
                    index += 1
                    run = index
                    note(.bareLF)
                    insert(.crlf, &pieces)
                    endLine(at: index, &lineBegin)
                    state = .lineStart(.lf)
                case Octet.nul:
                    note(.nul)
                    index += 1
                default:
                    index += 1
                }
            case .cr:
                if window[index] == Octet.lf {
                    insert(.cr, &pieces)
                    index += 1
                    endLine(at: index, &lineBegin)
                    state = .lineStart(.crlf)
                } else {
                    note(.bareCR)
                    insert(.space, &pieces)
                    state = .lineStart(.cr)
                }
            case .lineStart(let kind):
                if window[index] == Octet.dot {
                    flush(run, index, &pieces)
                    index += 1
                    run = index
                    state = .dot(kind)
                } else {
                    state = .text
                }
            case .dot(let kind):
                switch window[index] {
                case Octet.cr:
                    index += 1
                    run = index
                    state = .dotCR(kind)
                case Octet.lf:
                    index += 1
                    run = index
                    note([.bareLF, .endOfDataLookAlike])
                    state = .lineStart(.lf)
                default:
                    // RFC 5321 §4.5.2: a leading dot with text behind it is stuffing. After a bare LF or CR the client
                    // stood, by the strict rule, in the middle of a line, and the dot is its own.
                    if !dotTerminated || kind != .crlf {
                        insert(.dot, &pieces)
                    } else {
                        // RFC 5321 §4.5.3.1.6: the dot duplicated for transparency does not count.
                        lineBegin = index
                        lineLength = 0
                    }
                    state = .text
                }
            case .dotCR(let kind):
                if window[index] == Octet.lf {
                    index += 1
                    switch (kind, dotTerminated) {
                    case (.crlf, true):
                        run = index
                        ended = true
                        break scanning
                    case (.crlf, false):
                        insert(.dotCR, &pieces)
                        endLine(at: index, &lineBegin)
                    case (.lf, _), (.cr, _):
                        run = index
                        note(.endOfDataLookAlike)
                    }
                    state = .lineStart(.crlf)
                } else {
                    note([.bareCR, .endOfDataLookAlike])
                    state = .lineStart(.cr)
                }
            }
        }
        if !ended {
            lineLength &+= UInt64(end - lineBegin)
            checkLine(lineLength)
            flush(run, end, &pieces)
        }
        position = ended ? index : end
        countHops(in: input, &pieces, from: firstPiece)
        return ended
    }

    /// The end of counted content: hands on what was held back.
    mutating func finish(into pieces: inout [ContentPiece]) {
        switch state {
        case .text, .lineStart: break
        case .cr:
            note(.bareCR)
            insert(.space, &pieces)
        case .dot(.crlf): insert(.dot, &pieces)
        case .dot: note(.endOfDataLookAlike)
        case .dotCR: note([.bareCR, .endOfDataLookAlike])
        }
        state = .text
    }

    mutating func fail(_ newFault: ContentFault) {
        if fault == nil { fault = newFault }
    }

    private mutating func note(_ flaw: ViolationSet) {
        flaws.formUnion(flaw)
        if flaw.contains(.endOfDataLookAlike) { return fail(.endOfDataLookAlike) }
        if flaw.contains(.nul) { return fail(.nul) }
        guard framing == .reject else { return }
        fail(flaw.contains(.bareLF) ? .bareLF : .bareCR)
    }

    /// Hands on `input[start..<end]`, unless the content is refused already.
    private mutating func flush(_ start: Int, _ end: Int, _ pieces: inout [ContentPiece]) {
        guard start < end, admit(UInt64(end - start)) else { return }
        pieces.append(.input(start..<end))
    }

    private mutating func insert(_ insertion: Insertion, _ pieces: inout [ContentPiece]) {
        guard admit(UInt64(insertion.count)) else { return }
        pieces.append(.insert(insertion))
    }

    private mutating func admit(_ count: UInt64) -> Bool {
        guard fault == nil else { return false }
        octets += count
        guard limits.octets == 0 || octets <= limits.octets else {
            fail(.tooLarge)
            return false
        }
        return true
    }

    @inline(__always)
    private mutating func endLine(at index: Int, _ begin: inout Int) {
        guard limits.line > 0 else { return }
        checkLine(lineLength + UInt64(index - begin))
        lineLength = 0
        begin = index
    }

    private mutating func checkLine(_ length: UInt64) {
        if limits.line > 0, length > limits.line { fail(.lineTooLong) }
    }

    private mutating func countHops(in input: UnsafeRawBufferPointer, _ pieces: inout [ContentPiece], from first: Int) {
        guard hops.isCounting, fault == nil else { return }
        for piece in pieces[first...] {
            switch piece {
            case .input(let range): hops.count(UnsafeRawBufferPointer(rebasing: input[range]))
            case .insert(let insertion): insertion.bytes.withUnsafeBytes { hops.count($0) }
            }
        }
        if hops.isOver {
            fail(.tooManyHops)
            pieces.removeSubrange(first...)
        }
    }
}

/// Counts the Received fields of a message header (RFC 5321 §6.3) as it flows by.
struct HopCounter: Sendable {
    /// A header longer than this is not looked at further: the count is against loops, not against the malicious.
    static let headerLimit = 1 << 20

    private static let field: StaticString = "received:"

    private let limit: Int
    private var found = 0
    private var seen = 0
    /// The octets of this line that matched the field's name, or -1 once one did not.
    private var matched = 0
    private var lineIsEmpty = true
    private(set) var isCounting: Bool

    init(limit: Int) {
        self.limit = limit
        self.isCounting = limit > 0
    }

    var isOver: Bool { limit > 0 && found > limit }

    mutating func count(_ bytes: UnsafeRawBufferPointer) {
        guard isCounting else { return }
        let field = UnsafeBufferPointer(start: Self.field.utf8Start, count: Self.field.utf8CodeUnitCount)
        var index = 0
        while index < bytes.count, isCounting {
            if matched < 0 {
                // The rest of the line does not matter.
                index = ByteScan.firstLF(bytes, from: index)
                guard index < bytes.count else { break }
            }
            let octet = bytes[index]
            index += 1
            if octet == Octet.lf {
                // The empty line ends the header (RFC 5322 §2.1).
                if lineIsEmpty { isCounting = false }
                matched = 0
                lineIsEmpty = true
            } else if octet != Octet.cr {
                lineIsEmpty = false
                matched = Octet.lowercased(octet) == field[matched] ? matched + 1 : -1
                if matched == field.count {
                    found += 1
                    matched = -1
                    if found > limit { isCounting = false }
                }
            } else if !lineIsEmpty {
                matched = -1
            }
        }
        seen += bytes.count
        if seen >= Self.headerLimit { isCounting = false }
    }
}

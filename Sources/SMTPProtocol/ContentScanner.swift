/// The automaton under `DataDecoder` and `ChunkDecoder`: it knows where in a line the content stands, holds back what
/// cannot be judged yet (at most a dot and a CR), and so needs a few bytes of memory for a message of any size.
///
/// Faults and limits count in the order of the octets, so what is told of a message does not depend on how it was cut.
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
        var index = position
        // Octets from here on are part of the message, but not yet handed on.
        var run = position
        var lineBegin = position
        var ended = false
        scanning: while index < end {
            switch state {
            case .text:
                if limits.line == 0 {
                    let plain = ByteScan.endOfPlain(window, from: index)
                    if plain > index {
                        index = plain
                        switch window[index - 1] {
                        case Octet.lf:
                            state = .lineStart(.crlf)
                            continue
                        case Octet.cr: index -= 1
                        default: break
                        }
                    }
                }
                index = ByteScan.firstControl(window, from: index)
                guard index < end else { break scanning }
                switch window[index] {
                case Octet.cr:
                    if index + 1 < end, window[index + 1] == Octet.lf {
                        // The common case: nothing is held back, and the run goes on.
                        index += 2
                        endLine(at: index, input, &run, &lineBegin, &pieces)
                        if index < end, window[index] > Octet.space, window[index] != Octet.dot { continue }
                        state = .lineStart(.crlf)
                    } else {
                        flush(input, run, index, lineBegin, &pieces)
                        index += 1
                        run = index
                        state = .cr
                    }
                case Octet.lf:
                    flush(input, run, index, lineBegin, &pieces)
                    note(.bareLF)
                    insert(.crlf, &pieces)
                    index += 1
                    run = index
                    endLine(at: index, input, &run, &lineBegin, &pieces)
                    state = .lineStart(.lf)
                case Octet.nul:
                    flush(input, run, index, lineBegin, &pieces)
                    note(.nul)
                    index += 1
                    run = index
                default:
                    index += 1
                }
            case .cr:
                measure(to: index, lineBegin)
                if window[index] == Octet.lf {
                    insert(.cr, &pieces)
                    index += 1
                    endLine(at: index, input, &run, &lineBegin, &pieces)
                    state = .lineStart(.crlf)
                } else {
                    note(.bareCR)
                    insert(.space, &pieces)
                    state = .lineStart(.cr)
                }
            case .lineStart(let kind):
                if window[index] == Octet.dot {
                    flush(input, run, index, lineBegin, &pieces)
                    index += 1
                    run = index
                    state = .dot(kind)
                } else {
                    state = .text
                }
            case .dot(let kind):
                measure(to: index, lineBegin)
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
                measure(to: index, lineBegin)
                if window[index] == Octet.lf {
                    index += 1
                    switch (kind, dotTerminated) {
                    case (.crlf, true):
                        run = index
                        ended = true
                        break scanning
                    case (.crlf, false):
                        insert(.dotCR, &pieces)
                        endLine(at: index, input, &run, &lineBegin, &pieces)
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
            flush(input, run, end, lineBegin, &pieces)
            lineLength &+= UInt64(end - lineBegin)
        }
        position = ended ? index : end
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
        guard limits.refusesFlaws else { return }
        if flaw.contains(.endOfDataLookAlike) { return fail(.endOfDataLookAlike) }
        if flaw.contains(.nul) { return fail(.nul) }
        guard framing == .reject else { return }
        fail(flaw.contains(.bareLF) ? .bareLF : .bareCR)
    }

    /// Hands on `input[start..<end]`, unless the content is refused already or passes a limit in it. Of several limits the one
    /// that is passed first counts.
    private mutating func flush(
        _ input: UnsafeRawBufferPointer, _ start: Int, _ end: Int, _ lineBegin: Int, _ pieces: inout [ContentPiece]
    ) {
        guard fault == nil else { return }
        let longLine = Self.crossing(limits.line, lineLength, lineBegin, end)
        let tooMuch = Self.crossing(limits.octets, octets, start, end)
        let stop = min(longLine, tooMuch)
        let counted = min(end, stop)
        if hops.isCounting, start < counted {
            hops.count(UnsafeRawBufferPointer(rebasing: input[start..<counted]))
            if hops.isOver { return fail(.tooManyHops) }
        }
        guard end <= stop else { return fail(longLine <= tooMuch ? .lineTooLong : .tooLarge) }
        guard start < end else { return }
        octets += UInt64(end - start)
        pieces.append(.input(start..<end))
    }

    /// Where in `start..<end` a limit is passed by one octet, `count` having been counted before; `Int.max` where it is not.
    @inline(__always)
    private static func crossing(_ limit: UInt64, _ count: UInt64, _ start: Int, _ end: Int) -> Int {
        guard limit > 0, UInt64(end - start) > limit - count else { return Int.max }
        return start + Int(limit - count)
    }

    private mutating func insert(_ insertion: Insertion, _ pieces: inout [ContentPiece]) {
        guard fault == nil else { return }
        octets += UInt64(insertion.count)
        if limits.octets > 0, octets > limits.octets { return fail(.tooLarge) }
        if hops.isCounting { insertion.bytes.withUnsafeBytes { hops.count($0) } }
        pieces.append(.insert(insertion))
    }

    /// A line has ended, `input[run..<index]` not having been handed on.
    @inline(__always)
    private mutating func endLine(
        at index: Int, _ input: UnsafeRawBufferPointer, _ run: inout Int, _ lineBegin: inout Int, _ pieces: inout [ContentPiece]
    ) {
        guard limits.line > 0 else { return }
        if lineLength + UInt64(index - lineBegin) > limits.line {
            flush(input, run, index, lineBegin, &pieces)
            run = index
        }
        lineLength = 0
        lineBegin = index
    }

    /// Whether the line is too long with all before `index`, of which nothing is left to hand on.
    private mutating func measure(to index: Int, _ lineBegin: Int) {
        if limits.line > 0, lineLength + UInt64(index - lineBegin) > limits.line { fail(.lineTooLong) }
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

    mutating func count(_ input: UnsafeRawBufferPointer) {
        guard isCounting else { return }
        let bytes = UnsafeRawBufferPointer(rebasing: input.prefix(Self.headerLimit - seen))
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
                // White space may come before the colon (RFC 5322 §4.5).
                if matched == field.count - 1, octet == Octet.space || octet == Octet.tab { continue }
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

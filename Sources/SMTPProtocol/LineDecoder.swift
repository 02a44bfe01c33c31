/// Cuts a client's bytes into command lines.
///
/// Only CRLF ends a line (RFC 5321 §2.3.8): a bare LF, a bare CR and a NUL are flaws of the line they stand in, never
/// its end. A line over its limit is consumed to its real end without being kept.
public struct LineDecoder: Sendable {
    /// The limits of RFC 5321 §4.5.3.1.4, in octets with the CRLF.
    public struct Limits: Hashable, Sendable {
        /// All commands but those below: 512.
        public var command: Int
        /// MAIL and RCPT: 512 and what the extensions allow on top. For MAIL that comes to 1,181: SIZE 26 (RFC 1870 §3), BODY 17
        /// (RFC 6152 §2), SMTPUTF8 10 (RFC 6531 §3.1), RET and ENVID 116 (RFC 3461 §4), AUTH 500 (RFC 4954 §3); for RCPT to
        /// 1,048 with ORCPT 507 and NOTIFY 29 (RFC 3461 §4).
        public var envelope: Int
        /// AUTH, and the lines that answer its challenges: 12,288 where authentication is offered (RFC 4954 §4), else 512.
        public var authentication: Int

        public init(command: Int = 512, envelope: Int = 2048, authentication: Int = 512) {
            precondition(
                command >= Self.least && envelope >= Self.least && authentication >= Self.least, "RFC 5321 §4.5.3.1.4 demands 512 octets")
            self.command = command
            self.envelope = envelope
            self.authentication = authentication
        }

        var longest: Int { max(command, max(envelope, authentication)) }
        /// What every line may have.
        static let least = 512

        func limit(of line: [UInt8], isResponse: Bool) -> Int {
            if isResponse { return authentication }
            let verb = line.prefix(4)
            if verb.equalsIgnoringCase("MAIL") || verb.equalsIgnoringCase("RCPT") { return envelope }
            if verb.equalsIgnoringCase("AUTH") { return authentication }
            return command
        }
    }

    public enum Outcome: Hashable, Sendable {
        /// All bytes are consumed and the line is not complete.
        case needsMore
        /// A whole line stands in `line`.
        case line
        /// A whole line was consumed that held a bare LF, a bare CR or a NUL.
        case flawed
        /// A whole line was consumed that passed its limit.
        case tooLong
    }

    /// Octets that are kept of an overlong line: by its beginning it may be told for another protocol's.
    private static let keptOfOverlong = 16

    public let limits: Limits
    /// The octets of the line so far, without CRLF; of an overlong one only the first few. Valid until the next call of
    /// `decode`.
    public private(set) var line: [UInt8] = []
    private var sawCR = false
    private var overlong = false
    private var finished = false
    private var flaws: ViolationSet = []
    private var unreported: ViolationSet = []

    public init(limits: Limits = Limits()) {
        self.limits = limits
    }

    /// Whether no part of a line is held.
    public var isAtLineStart: Bool { finished || (line.isEmpty && !sawCR && !overlong && flaws.isEmpty) }

    /// The flaws seen since the last call, each once per line, as soon as it was seen.
    public mutating func takeFlaws() -> ViolationSet {
        defer { unreported = [] }
        return unreported
    }

    /// Consumes bytes up to the end of the next line; `position` moves past them. `isResponse` says that the line answers a
    /// challenge of AUTH.
    public mutating func decode(_ input: UnsafeRawBufferPointer, at position: inout Int, isResponse: Bool = false) -> Outcome {
        if finished { startLine() }
        while position < input.count {
            if sawCR {
                sawCR = false
                if input[position] == Octet.lf {
                    position += 1
                    return endLine(isResponse)
                }
                note(.bareCR)
            }
            let stop = ByteScan.firstControl(input, from: position)
            append(UnsafeRawBufferPointer(rebasing: input[position..<stop]))
            position = stop
            guard stop < input.count else { break }
            position += 1
            switch input[stop] {
            case Octet.cr: sawCR = true
            case Octet.lf: note(.bareLF)
            case Octet.nul: note(.nul)
            default: append(UnsafeRawBufferPointer(rebasing: input[stop...stop]))
            }
        }
        return .needsMore
    }

    /// Forgets a line that is not complete, as at the start of TLS.
    public mutating func reset() {
        startLine()
        unreported = []
    }

    /// Overwrites the line, which held a password.
    mutating func wipe() { Secret.wipe(&line) }

    private mutating func startLine() {
        line.removeAll(keepingCapacity: true)
        sawCR = false
        overlong = false
        finished = false
        flaws = []
    }

    private mutating func append(_ octets: UnsafeRawBufferPointer) {
        guard !overlong else { return }
        if line.count + octets.count + 2 > limits.longest {
            overlong = true
            line = Array((line + octets.prefix(Self.keptOfOverlong)).prefix(Self.keptOfOverlong))
        } else {
            line.append(contentsOf: octets)
        }
    }

    private mutating func note(_ flaw: ViolationSet) {
        unreported.formUnion(flaw.subtracting(flaws))
        flaws.formUnion(flaw)
    }

    private mutating func endLine(_ isResponse: Bool) -> Outcome {
        finished = true
        let length = line.count + 2
        if overlong || length > Limits.least && length > limits.limit(of: line, isResponse: isResponse) { return .tooLong }
        return flaws.isEmpty ? .line : .flawed
    }
}

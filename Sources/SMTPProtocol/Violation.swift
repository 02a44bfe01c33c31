/// A way in which a client breaks the protocol. The engine gives each a weight; here only its meaning is fixed.
///
/// The machines report every occurrence that they act upon, and each framing flaw once per line or message.
public enum Violation: UInt8, Hashable, Sendable, CaseIterable {
    /// Bytes came before our 220 greeting (RFC 5321 §3.1: the client waits for it).
    case earlyTalk
    /// Another command came before our reply, where PIPELINING was not offered or not negotiated by EHLO (RFC 2920 §3.1).
    case pipeliningNotOffered
    /// PIPELINING was negotiated, but bytes followed a command that must be the last of its group: HELO, EHLO, DATA, AUTH,
    /// NOOP, VRFY, EXPN (RFC 2920 §3.1).
    case pipelinedPastReply
    /// Bytes followed STARTTLS in the clear (RFC 3207 §4.2, CVE-2011-0411).
    case plaintextAfterStartTLS
    /// The argument of HELO or EHLO is neither a domain name nor an address literal (RFC 5321 §4.1.1.1).
    case heloSyntax
    /// What came is another protocol: an HTTP request, an SSH banner, a TLS ClientHello, binary.
    case nonSMTP
    /// A line feed without a carriage return before it (RFC 5321 §2.3.8).
    case bareLF
    /// A carriage return without a line feed after it (RFC 5321 §2.3.8).
    case bareCR
    /// A NUL octet in a command or in content (RFC 5321 §4.5.2, RFC 5322 §2.2).
    case nul
    /// Content holds something that a lenient server would take for the end of the data: SMTP smuggling.
    case endOfDataLookAlike
    /// A command out of order: MAIL before HELO, RCPT before MAIL, a second MAIL, DATA without a recipient (RFC 5321 §4.1.4).
    case badOrder
    /// A path without its angle brackets (RFC 5321 §4.1.2).
    case unbracketedPath
    /// White space where the grammar has none, as in `MAIL FROM: <a@example.org>` (RFC 5321 §3.3).
    case commandSpacing
    /// A local part with a dot at its beginning or end, or two in a row, and no quotes (RFC 5321 §4.1.2).
    case dotsInLocalPart
    /// Octets above 127 in HELO, MAIL or RCPT without SMTPUTF8 (RFC 6531 §3.4).
    case eightBitEnvelope
    /// A verb that no standard that we carry knows (RFC 5321 §4.2.4).
    case unknownCommand
    /// Arguments that do not parse (RFC 5321 §4.1.1).
    case commandSyntax
    /// A command line over its limit (RFC 5321 §4.5.3.1.4).
    case overlongLine
    /// RCPT named a mailbox that does not exist.
    case unknownRecipient
    /// The client went on past the limit of errors, commands or messages, and was let go.
    case overLimit
}

/// A set of violations, in one word.
public struct ViolationSet: OptionSet, Hashable, Sendable {
    public let rawValue: UInt32

    public init(rawValue: UInt32) { self.rawValue = rawValue }

    public init(_ violation: Violation) { self.rawValue = 1 << UInt32(violation.rawValue) }

    public static let bareLF = ViolationSet(.bareLF)
    public static let bareCR = ViolationSet(.bareCR)
    public static let nul = ViolationSet(.nul)
    public static let endOfDataLookAlike = ViolationSet(.endOfDataLookAlike)

    public mutating func insert(_ violation: Violation) { formUnion(ViolationSet(violation)) }

    public func contains(_ violation: Violation) -> Bool { isSuperset(of: ViolationSet(violation)) }

    /// The members, in the order of `Violation.allCases`.
    public var members: [Violation] { isEmpty ? [] : Violation.allCases.filter(contains) }
}

/// An answer of the policy delegation protocol: one action of access(5), its text, and an empty line.
public enum PolicyReply: Equatable, Sendable {
    /// Nothing to say: the next restriction decides.
    case dunno
    /// Defer, unless a later restriction rejects; the code is Postfix's `access_map_defer_code`.
    case deferIfPermit(String)
    /// Defer at once: `451 4.7.1 text`.
    case `defer`(code: Int, enhanced: String, text: String)
    /// Reject: `554 5.7.1 text`.
    case reject(code: Int, enhanced: String, text: String)
    /// Put a header field on the message and go on with the next restriction.
    case prepend(String)
    /// Keep the message in Postfix's hold queue, for all of its recipients.
    case hold(String)

    /// The longest text sent; RFC 5321 §4.5.3.1.5 bounds a reply line to 512 octets, and Postfix puts the recipient before it.
    public static let maximumText = 384

    /// The longest header field sent: a line of mail without its CRLF (RFC 5322 §2.1.1).
    public static let maximumField = 998

    /// What goes over the wire.
    public var encoded: String {
        switch self {
        case .dunno: "action=DUNNO\n\n"
        case .deferIfPermit(let text): Self.line("action=DEFER_IF_PERMIT 4.7.1 ", text)
        case .defer(let code, let enhanced, let text), .reject(let code, let enhanced, let text):
            Self.line("action=\(code) \(enhanced) ", text)
        case .hold(let text): Self.line("action=HOLD ", text)
        case .prepend(let field): Self.line("action=PREPEND ", field, maximum: Self.maximumField)
        }
    }

    private static func line(_ action: String, _ text: String, maximum: Int = maximumText) -> String {
        var line = ""
        line.reserveCapacity(action.utf8.count + min(text.utf8.count, maximum) + 2)
        line += action
        line += printable(text, maximum: maximum)
        line += "\n\n"
        return line
    }

    /// On one line, in printable ASCII, bounded: whatever a client sent may stand in a text without harm.
    static func printable(_ text: String, maximum: Int = maximumText) -> String {
        var text = text
        let isPlain = text.withUTF8 { octets in octets.count <= maximum && octets.allSatisfy(isPrintable) }
        guard !isPlain else { return text }
        let bytes = text.utf8.prefix(maximum).map { isPrintable($0) ? $0 : UInt8(ascii: "?") }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func isPrintable(_ octet: UInt8) -> Bool { octet >= 0x20 && octet <= 0x7e }
}

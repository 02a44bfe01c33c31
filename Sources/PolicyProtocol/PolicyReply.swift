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

    /// The longest text sent; RFC 5321 §4.5.3.1.5 bounds a reply line to 512 octets, and Postfix puts the recipient before it.
    public static let maximumText = 384

    /// The longest header field sent: a line of mail without its CRLF (RFC 5322 §2.1.1).
    public static let maximumField = 998

    /// What goes over the wire.
    public var encoded: String {
        switch self {
        case .dunno: "action=DUNNO\n\n"
        case .deferIfPermit(let text): "action=DEFER_IF_PERMIT 4.7.1 \(Self.printable(text))\n\n"
        case .defer(let code, let enhanced, let text), .reject(let code, let enhanced, let text):
            "action=\(code) \(enhanced) \(Self.printable(text))\n\n"
        case .prepend(let field): "action=PREPEND \(Self.printable(field, maximum: Self.maximumField))\n\n"
        }
    }

    /// On one line, in printable ASCII, bounded: whatever a client sent may stand in a text without harm.
    static func printable(_ text: String, maximum: Int = maximumText) -> String {
        guard text.utf8.contains(where: { $0 < 0x20 || $0 > 0x7e }) || text.utf8.count > maximum else { return text }
        let bytes = text.utf8.prefix(maximum).map { $0 < 0x20 || $0 > 0x7e ? UInt8(ascii: "?") : $0 }
        return String(decoding: bytes, as: UTF8.self)
    }
}

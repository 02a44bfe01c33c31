import PosternCore

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
        String(unsafeUninitializedCapacity: longestEncoding) { encode(into: UnsafeMutableRawBufferPointer($0)) }
    }

    /// Octets that the encoded reply takes at most.
    public var longestEncoding: Int {
        switch self {
        case .dunno: Self.longestFrame
        case .deferIfPermit(let text), .hold(let text): Self.longestFrame + min(text.utf8.count, Self.maximumText)
        case .defer(_, let enhanced, let text), .reject(_, let enhanced, let text):
            Self.longestFrame + enhanced.utf8.count + min(text.utf8.count, Self.maximumText)
        case .prepend(let field): Self.longestFrame + min(field.utf8.count, Self.maximumField)
        }
    }

    /// Octets of the longest action, or of `action=` with a code, and of what ends the answer.
    private static let longestFrame = 40

    /// Writes what goes over the wire; returns how many octets that took.
    /// - Parameter memory: `longestEncoding` octets or more.
    public func encode(into memory: UnsafeMutableRawBufferPointer) -> Int {
        var line = TextWriter(memory)
        switch self {
        case .dunno: line.add("action=DUNNO")
        case .deferIfPermit(let text):
            line.add("action=DEFER_IF_PERMIT 4.7.1 ")
            line.add(printable: text, maximum: Self.maximumText)
        case .defer(let code, let enhanced, let text), .reject(let code, let enhanced, let text):
            line.add("action=")
            line.add(decimal: Int64(code))
            line.add(" ")
            line.add(enhanced)
            line.add(" ")
            line.add(printable: text, maximum: Self.maximumText)
        case .hold(let text):
            line.add("action=HOLD ")
            line.add(printable: text, maximum: Self.maximumText)
        case .prepend(let field):
            line.add("action=PREPEND ")
            line.add(printable: field, maximum: Self.maximumField)
        }
        line.add("\n\n")
        return line.count
    }
}

extension TextWriter {
    /// On one line, in printable ASCII, bounded: whatever a client sent may stand in a text without harm.
    fileprivate mutating func add(printable text: String, maximum: Int) {
        var text = text
        text.withUTF8 { octets in
            let octets = UnsafeBufferPointer(rebasing: octets.prefix(maximum))
            if octets.arePrintable {
                add(octets)
            } else {
                for octet in octets { add(octet >= 0x20 && octet <= 0x7e ? octet : UInt8(ascii: "?")) }
            }
        }
    }
}

/// Local parts of mailboxes (RFC 5321 §4.1.2), as they are compared.
public enum LocalPart {
    /// One and the same text for all ways to write a local part: without quotes where it needs none, else a quoted string in which
    /// nothing but quotes and backslashes has a backslash before it. Case is kept.
    static func canonical(_ text: String) -> String {
        var text = text
        guard let octets = text.withUTF8({ $0.allSatisfy(isPlain) ? nil : Array($0) }) else { return text }
        // Without sound quotes around it, it is the name itself: an MTA may hand it over unquoted.
        return written(quotedContent(octets) ?? octets)
    }

    /// What stands between the quotes of a local part that is the same without them: RFC 5321 §4.1.2 has `"postmaster"` and
    /// `"post\master"` for the mailbox `postmaster`. `nil` where there are none, or they are needed.
    static func unquoted(_ octets: UnsafeBufferPointer<UInt8>) -> String? {
        guard octets.first == UInt8(ascii: "\""), let content = quotedContent(octets) else { return nil }
        // Dot-string = Atom *("." Atom)
        let isDotString = content.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).allSatisfy { atom in
            !atom.isEmpty && atom.allSatisfy { isAtext($0) || $0 >= 0x80 }
        }
        return isDotString ? String(decoding: content, as: UTF8.self) : nil
    }

    /// Reads what a person has typed, into its canonical form in lower case: letters, digits and what else stands without quotes, or a
    /// quoted string. `nil` for all else, also for a `*` without quotes: whoever types that means a pattern.
    public static func typed(_ text: some StringProtocol) -> String? {
        let octets = Array(text.utf8)
        guard !octets.isEmpty, !text.unicodeScalars.contains("\u{fffd}") else { return nil }
        if octets.first == UInt8(ascii: "\"") {
            guard let content = quotedContent(octets), !content.isEmpty else { return nil }
            return written(content).lowercasedASCII
        }
        return octets.allSatisfy(isPlain) ? String(text).lowercasedASCII : nil
    }

    /// What stands without quotes: atext, dots and what is not ASCII. Dots may stand anywhere: some providers have such mailboxes. But
    /// for the `*`, which is atext, too: in quotes, nobody takes it for a pattern.
    private static func isPlain(_ octet: UInt8) -> Bool {
        octet >= 0x80 || octet == UInt8(ascii: ".") || isAtext(octet) && octet != UInt8(ascii: "*")
    }

    /// RFC 5321 §4.1.2 Atom, RFC 5322 §3.2.3 atext.
    @inlinable
    public static func isAtext(_ octet: UInt8) -> Bool {
        switch octet {
        case 0x61...0x7a, 0x41...0x5a, 0x30...0x39: true
        case UInt8(ascii: "!"), UInt8(ascii: "#"), UInt8(ascii: "$"), UInt8(ascii: "%"), UInt8(ascii: "&"), UInt8(ascii: "'"),
            UInt8(ascii: "*"), UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "/"), UInt8(ascii: "="), UInt8(ascii: "?"),
            UInt8(ascii: "^"), UInt8(ascii: "_"), UInt8(ascii: "`"), UInt8(ascii: "{"), UInt8(ascii: "|"), UInt8(ascii: "}"),
            UInt8(ascii: "~"):
            true
        default: false
        }
    }

    /// What a quoted string says: `nil` for what is none. quoted-string = DQUOTE *( qtextSMTP / quoted-pairSMTP ) DQUOTE
    private static func quotedContent(_ octets: some BidirectionalCollection<UInt8>) -> [UInt8]? {
        guard octets.count >= 2, octets.first == UInt8(ascii: "\""), octets.last == UInt8(ascii: "\"") else { return nil }
        var content: [UInt8] = []
        var isEscaped = false
        for octet in octets.dropFirst().dropLast() {
            guard octet >= 0x20, octet != 0x7f else { return nil }
            if isEscaped {
                content.append(octet)
                isEscaped = false
            } else if octet == UInt8(ascii: "\\") {
                isEscaped = true
            } else {
                guard octet != UInt8(ascii: "\"") else { return nil }
                content.append(octet)
            }
        }
        return isEscaped ? nil : content
    }

    private static func written(_ content: [UInt8]) -> String {
        guard content.isEmpty || !content.allSatisfy(isPlain) else { return String(decoding: content, as: UTF8.self) }
        var written = [UInt8(ascii: "\"")]
        for octet in content {
            if octet == UInt8(ascii: "\"") || octet == UInt8(ascii: "\\") { written.append(UInt8(ascii: "\\")) }
            written.append(octet)
        }
        return String(decoding: written + [UInt8(ascii: "\"")], as: UTF8.self)
    }
}

import PosternCore

/// What `log.redact` leaves of those who write and are written to: their domain.
public enum Redaction {
    /// Of a mailbox, or of several with commas between; the null sender stays what it is.
    public static func mailboxes(_ text: String) -> String {
        guard !text.isEmpty else { return "" }
        return text.split(separator: ",", omittingEmptySubsequences: false).map { part in
            let space = part.prefix { $0 == " " }
            let mailbox = part.dropFirst(space.count)
            return space + "…" + (mailbox.lastIndex(of: "@").map { mailbox[$0...] } ?? "")
        }.joined(separator: ",")
    }

    public static func account(_ text: String) -> String { text.isEmpty ? "" : "…" }

    /// Of a sentence: every word that is a mailbox, and whatever somebody authenticated as.
    public static func sentence(_ text: String) -> String {
        var out: [Substring] = []
        var words = text.split(separator: " ", omittingEmptySubsequences: false)[...]
        func endsQuoted(_ word: Substring) -> Bool { word.contains("\"@") }
        let lastQuoted = words.lastIndex(where: endsQuoted) ?? words.startIndex
        while let word = words.popFirst() {
            if out.suffix(2) == ["authenticated", "as"] {
                out.append(word.hasSuffix(";") ? "…;" : "…")
            } else if word.hasPrefix("\""), !endsQuoted(word), words.startIndex <= lastQuoted {
                // A local part in quotes may hold spaces.
                words = words.drop { !endsQuoted($0) }
            } else if let at = word.lastIndex(of: "@") {
                out.append("…" + word[at...])
            } else {
                out.append(word)
            }
        }
        return out.joined(separator: " ")
    }
}

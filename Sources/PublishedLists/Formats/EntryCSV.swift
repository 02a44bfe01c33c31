/// Lines of CSV (RFC 4180 §2) as `ListTable` reads them.
public enum EntryCSV {
    /// Columns with which an entry means the same to who reads it back: `as` says what it is of.
    public static let columns = ["entry", "list", "expires", "reason", "source", "as"]

    /// With the end of the line. No field may hold one.
    public static func line(_ fields: [String]) -> String { fields.map(quoted).joined(separator: ",") + "\n" }

    /// A text that a spreadsheet would take for a formula is kept from being one; one that our own reader would trim, or take for a
    /// comment, stands in quotes.
    private static func quoted(_ text: String) -> String {
        let text = looksLikeFormula(text[...]) ? "'" + text : text
        let isTrimmed = text.first?.isWhitespace == true || text.last?.isWhitespace == true
        guard isTrimmed || text.utf8.first == UInt8(ascii: "#") || text.unicodeScalars.contains(where: { $0 == "," || $0 == "\"" }) else {
            return text
        }
        return "\"" + text.unicodeScalars.map { $0 == "\"" ? "\"\"" : String($0) }.joined() + "\""
    }

    /// The text of such a field.
    static func unquoted(_ text: String) -> String {
        text.hasPrefix("'") && looksLikeFormula(text.dropFirst()) ? String(text.dropFirst()) : text
    }

    /// One that is kept from being one does, too: so it comes back as it was.
    private static func looksLikeFormula(_ text: Substring) -> Bool {
        text.unicodeScalars.first { $0 != "'" }.map { "=+-@".unicodeScalars.contains($0) } == true
    }
}

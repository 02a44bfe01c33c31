/// Lines of CSV (RFC 4180 §2) as `ListTable` reads them.
public enum EntryCSV {
    /// Columns with which an entry means the same to who reads it back: `as` says what it is of.
    public static let columns = ["entry", "list", "expires", "reason", "source", "as"]

    /// With the end of the line. No field may hold one.
    public static func line(_ fields: [String]) -> String { fields.map(quoted).joined(separator: ",") + "\n" }

    /// A text that a spreadsheet would take for a formula is kept from being one.
    private static func quoted(_ text: String) -> String {
        let text = looksLikeFormula(text) ? "'" + text : text
        guard text.contains(where: { ",\"".contains($0) }) else { return text }
        return "\"" + text.replacing("\"", with: "\"\"") + "\""
    }

    /// The text of such a field.
    static func unquoted(_ text: String) -> String {
        text.first == "'" && looksLikeFormula(text.dropFirst()) ? String(text.dropFirst()) : text
    }

    private static func looksLikeFormula(_ text: some StringProtocol) -> Bool { text.first.map { "=+-@".contains($0) } == true }
}

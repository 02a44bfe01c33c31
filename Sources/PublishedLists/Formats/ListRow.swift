import PosternCore
import PosternEngine
import PosternReplay

/// One line of a list that is read: what a text file, a CSV file or a subscription says of one entry.
public struct ListRow: Equatable, Sendable {
    public enum End: Equatable, Sendable {
        case never
        /// By the wall clock.
        case at(WallTime)
        /// From now.
        case after(WallTime.Span)
    }

    public var entry: String
    /// `black`, `block`, `white`, `allow`…; empty where the line does not say.
    public var list: String
    public var end: End
    public var reason: String
    /// `client`, `sender` or `recipient`; empty where the line does not say.
    public var kind: String

    public init(entry: String, list: String = "", end: End = .never, reason: String = "", kind: String = "") {
        self.kind = kind
        self.entry = entry
        self.list = list
        self.end = end
        self.reason = reason
    }

    /// `block` and `allow` are other words for black and white.
    public static func colour(_ word: some StringProtocol) -> ListColour? {
        switch word.lowercased() {
        case "block": .black
        case "allow": .white
        case let word: ListColour(rawValue: word)
        }
    }

    // MARK: - Text

    /// One entry a line, and behind it the reason; `#` and `;`, at the entry or behind white space, begin a comment. One that stands where
    /// the reason should is the reason. `nil` for a line without an entry.
    public static func text(_ line: Substring) -> ListRow? {
        let ends: (Character) -> Bool = { $0 == "#" || $0 == ";" || $0.isWhitespace }
        let line = line.drop(while: \.isWhitespace)
        let entry = line.prefix { !ends($0) }
        guard !entry.isEmpty else { return nil }
        let tail = line[entry.endIndex...].drop(while: \.isWhitespace)
        var rest = tail.drop(while: ends)
        if rest.startIndex == tail.startIndex { rest = rest.withoutComment }
        while rest.last?.isWhitespace == true { rest.removeLast() }
        return ListRow(entry: String(entry), reason: String(rest))
    }
}

extension Substring {
    /// Without what stands behind a `#` or `;` that follows white space.
    fileprivate var withoutComment: Substring {
        var isAfterSpace = false
        for index in indices {
            let character = self[index]
            if isAfterSpace, character == "#" || character == ";" { return self[..<index] }
            isAfterSpace = character.isWhitespace
        }
        return self
    }
}

/// Reads CSV lines (RFC 4180): `entry,list,expires,reason`, with a header that names the columns (`as`, too) or without. A tab or a semicolon may
/// stand for the comma.
public struct ListTable: Sendable {
    private var columns: [String] = ["entry", "list", "expires", "reason"]
    /// Whichever comes first in the first line that has one; `nil` until then.
    private var delimiter: Unicode.Scalar?
    private var isFirst = true
    /// Whether a header has named a column of reasons: where one is empty, there is none.
    public private(set) var namesReasons = false

    public init() {}

    public enum Line: Equatable, Sendable {
        /// Empty, a comment, or the header.
        case nothing
        case row(ListRow)
        case bad(String)
    }

    public mutating func read(_ line: Substring) -> Line {
        guard line.contains(where: { !$0.isWhitespace }), line.first != "#" else { return .nothing }
        if delimiter == nil { delimiter = Self.delimiter(of: line) }
        guard let fields = Self.fields(line, delimiter ?? ",") else {
            return .bad("a quote is not closed, or stands in the middle of a field")
        }
        if isFirst {
            isFirst = false
            let words = fields.map { $0.lowercased() }
            if words.contains("entry") {
                columns = words
                namesReasons = words.contains { $0 == "reason" || $0 == "note" }
                return .nothing
            }
        }
        func field(_ names: String...) -> String {
            for name in names {
                if let index = columns.firstIndex(of: name), index < fields.count { return fields[index] }
            }
            return ""
        }
        let entry = EntryCSV.unquoted(field("entry"))
        guard !entry.isEmpty else { return .bad("the line names no entry") }
        guard let end = Self.end(field("expires")) else {
            return .bad("'\(field("expires"))' is neither a time (RFC 3339, or Unix seconds) nor a duration such as 4d")
        }
        return .row(
            ListRow(
                entry: entry, list: field("list"), end: end, reason: EntryCSV.unquoted(field("reason", "note")),
                kind: field("as").lowercased()))
    }

    private static func end(_ text: String) -> ListRow.End? {
        if text.isEmpty || text == "never" || text == "0" { return .never }
        if let span = WallTime.Span(text) { return .after(span) }
        return (unixSeconds(text) ?? WallTime(iso: text)).map { .at($0) }
    }

    /// Seconds since 1970, with a fraction or without, of which three digits count.
    private static func unixSeconds(_ text: String) -> WallTime? {
        func isNumber(_ text: Substring) -> Bool {
            !text.isEmpty && text.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        }
        let parts = text.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        guard let whole = parts.first, parts.allSatisfy(isNumber), let seconds = Int64(whole) else { return nil }
        let fraction = parts.count == 2 ? Int64((parts[1] + "000").prefix(3)) ?? 0 : 0
        return WallTime(seconds: seconds) + .milliseconds(fraction)
    }

    /// The first scalar that may stand between fields, outside of quotes.
    private static func delimiter(of line: Substring) -> Unicode.Scalar? {
        var isQuoted = false
        for scalar in line.unicodeScalars {
            if scalar == "\"" { isQuoted.toggle() }
            if !isQuoted, scalar == "," || scalar == ";" || scalar == "\t" { return scalar }
        }
        return nil
    }

    private static func fields(_ line: Substring, _ delimiter: Unicode.Scalar) -> [String]? {
        if let fields = quotedFields(line, delimiter) { return fields }
        // Programs that write tabs seldom write quotes: what encloses no field is text.
        guard delimiter == "\t" else { return nil }
        return line.unicodeScalars.split(separator: delimiter, omittingEmptySubsequences: false).map { trimmed(String($0)) }
    }

    /// `nil` where the quotes are wrong. A field within quotes cannot hold the end of a line here.
    private static func quotedFields(_ line: Substring, _ delimiter: Unicode.Scalar) -> [String]? {
        var fields: [String] = []
        var field = ""
        var isQuoted = false
        var wasQuoted = false
        var index = line.unicodeScalars.startIndex
        let scalars = line.unicodeScalars
        while index < scalars.endIndex {
            let scalar = scalars[index]
            index = scalars.index(after: index)
            if isQuoted {
                if scalar == "\"" {
                    if index < scalars.endIndex, scalars[index] == "\"" {
                        field.unicodeScalars.append(scalar)
                        index = scalars.index(after: index)
                    } else {
                        isQuoted = false
                        wasQuoted = true
                    }
                } else {
                    field.unicodeScalars.append(scalar)
                }
            } else if scalar == delimiter {
                fields.append(wasQuoted ? field : trimmed(field))
                field = ""
                wasQuoted = false
            } else if scalar == "\"", !wasQuoted, trimmed(field).isEmpty {
                field = ""
                isQuoted = true
            } else if wasQuoted {
                guard scalar == " " || scalar == "\t" || scalar == "\r" else { return nil }
            } else {
                field.unicodeScalars.append(scalar)
            }
        }
        guard !isQuoted else { return nil }
        fields.append(wasQuoted ? field : trimmed(field))
        return fields
    }

    private static func trimmed(_ text: String) -> String {
        var text = Substring(text)
        while let first = text.first, first.isWhitespace { text.removeFirst() }
        while let last = text.last, last.isWhitespace { text.removeLast() }
        return String(text)
    }
}

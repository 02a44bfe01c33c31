import PosternCore
import PosternEngine
import Yams

/// A value being read. The reading methods report what is wrong and then return `nil`.
struct Value {
    let node: Node
    /// The key it belongs to, as messages name it.
    let path: String
    let mark: Position
    let report: Report

    func error(_ message: String) { report.error(mark, "\(path): \(message)") }

    /// Something wrong with this value and another together; the message names both.
    func conflict(_ message: String) { report.error(mark, message) }

    func warning(_ message: String) { report.warning(mark, "\(path): \(message)") }

    func wants(_ what: String) { error("\(found) where \(what) is wanted") }

    /// What stands there, in words for a message.
    private var found: String {
        switch node {
        case .mapping: "a mapping"
        case .sequence: "a list"
        case .alias: "an alias"
        case .scalar(let scalar) where isNull: scalar.string.isEmpty ? "nothing" : "'\(scalar.string.shortened)'"
        case .scalar(let scalar): "'\(scalar.string.shortened)'"
        }
    }

    private var isNull: Bool { node.null != nil && isPlain }

    private var isPlain: Bool { node.scalar?.style == .plain || node.scalar?.style == .any }

    private func isTagged(_ name: Tag.Name) -> Bool { isPlain && node.tag == Tag(name) }

    /// The characters of a scalar, whatever YAML takes them for.
    private func characters(wanted: String) -> String? {
        guard case .scalar(let scalar) = node, !isNull else {
            wants(wanted)
            return nil
        }
        return scalar.string
    }

    // MARK: - Scalars

    /// Text that is not empty and holds no control character. What YAML reads as a number or a truth must be quoted.
    func text(_ wanted: String = "a text") -> String? {
        guard let text = characters(wanted: wanted) else { return nil }
        if isTagged(.bool) || isTagged(.int) || isTagged(.float) {
            error("'\(text.shortened)' where \(wanted) is wanted; if it is meant, write it in quotes")
            return nil
        }
        guard !text.isEmpty else {
            error("must not be empty")
            return nil
        }
        guard !text.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value == 0x7f }) else {
            error("holds a control character")
            return nil
        }
        return text
    }

    func duration(_ range: ClosedRange<WallTime.Span>) -> WallTime.Span? {
        guard let text = characters(wanted: "a duration such as 3m") else { return nil }
        guard let span = WallTime.Span(text) else {
            error(
                "'\(text.shortened)' is not a duration; write a whole number and one of ms, s, m, h, d, such as 250ms or 3m, at most 3653d")
            return nil
        }
        guard range.contains(span) else {
            error("\(span) is out of range, \(range.lowerBound) to \(range.upperBound)")
            return nil
        }
        return span
    }

    func integer(_ range: ClosedRange<Int>) -> Int? {
        guard let text = characters(wanted: "a number") else { return nil }
        // YAML 1.1 would read 010 as eight and 1_000 as a thousand.
        let digits = text.hasPrefix("-") ? text.dropFirst() : text[...]
        guard isPlain, !digits.isEmpty, digits.utf8.allSatisfy({ $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }),
            digits.count == 1 || digits.first != "0"
        else {
            error("'\(text.shortened)' is not a whole number in plain digits" + (isPlain ? "" : "; leave out the quotes"))
            return nil
        }
        guard let value = Int(text), range.contains(value) else {
            error("\(text.shortened) is out of range, \(range.lowerBound) to \(range.upperBound)")
            return nil
        }
        return value
    }

    /// A number such as `2`, `-1.5`.
    func decimal(_ range: ClosedRange<Double>) -> Double? {
        guard let text = characters(wanted: "a number") else { return nil }
        let digits = text.hasPrefix("-") ? text.dropFirst() : text[...]
        let parts = digits.split(separator: ".", omittingEmptySubsequences: false)
        guard isPlain, (1...2).contains(parts.count), let value = Double(text),
            parts.allSatisfy({ !$0.isEmpty && $0.utf8.allSatisfy { $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") } }),
            parts[0].count == 1 || parts[0].first != "0"
        else {
            error("'\(text.shortened)' is not a number in plain digits" + (isPlain ? "" : "; leave out the quotes"))
            return nil
        }
        guard range.contains(value) else {
            error("\(text.shortened) is out of range, \(range.lowerBound.plain) to \(range.upperBound.plain)")
            return nil
        }
        return value
    }

    /// `true` or `false`; YAML 1.1 has `on`, `yes`, `off` and `no` for them too.
    func boolean() -> Bool? {
        guard let text = characters(wanted: "true or false") else { return nil }
        guard isPlain, let value = node.bool else {
            error("'\(text.shortened)' is neither true nor false" + (isPlain ? "" : "; leave out the quotes"))
            return nil
        }
        return value
    }

    /// One of a set of words; bare or in quotes is the same.
    func choice<Choice: CaseIterable & RawRepresentable>(_: Choice.Type) -> Choice? where Choice.RawValue == String {
        let words = Choice.allCases.map(\.rawValue)
        guard let text = characters(wanted: "one of \(words.joined(separator: ", "))") else { return nil }
        guard let choice = Choice(rawValue: text) else {
            unknownWord(text, among: words)
            return nil
        }
        return choice
    }

    /// A mode. YAML 1.1 reads a bare `on` or `off` as a truth, and tools that rewrite YAML may turn it into `true` or
    /// `false`: those are accepted as well.
    func mode() -> Mode? {
        if isPlain, let on = node.bool { return on ? .on : .off }
        return choice(Mode.self)
    }

    func unknownWord(_ text: String, among words: [String]) {
        let suggestion = Suggestion.words(for: text, among: words)
        error("'\(text.shortened)' is not one of \(words.joined(separator: ", "))\(suggestion)")
    }

    // MARK: - Lists

    /// The elements of a list, each with its own position.
    func list(of what: String) -> [Value]? {
        guard case .sequence(let sequence) = node else {
            wants("a list of \(what), such as [a, b],")
            return nil
        }
        return sequence.map { Value(node: $0, path: path, mark: Position($0.mark) ?? mark, report: report) }
    }
}

extension Double {
    /// Without a fraction where it has none.
    var plain: String { self == rounded() && abs(self) < 1e9 ? String(Int(self)) : description }
}

extension String {
    /// For a message: never a page of somebody's file, nor the password in an address.
    var shortened: String {
        let text = withoutCredentials
        return text.count <= 60 ? text : text.prefix(57) + "..."
    }

    /// With dots for what may be a user and a password (RFC 3986 §3.2.1): a mailbox has no colon before its `@`.
    private var withoutCredentials: String {
        guard let at = lastIndex(of: "@"), let colon = firstIndex(of: ":"), colon < at else { return self }
        let start = firstRange(of: "://").map(\.upperBound) ?? startIndex
        return "\(self[..<min(start, at)])...\(self[at...])"
    }
}

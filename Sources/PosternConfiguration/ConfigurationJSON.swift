import Yams

extension Configuration {
    /// The whole configuration as JSON, with the keys of the file. A mode is a word, never a truth.
    public var json: String {
        guard let node = try? compose(commentedYAML) else { return "{}" }
        return Self.json(node, indent: "")
    }

    private static func json(_ node: Node, indent: String) -> String {
        let inner = indent + "  "
        switch node {
        case .scalar(let scalar):
            return scalar.style == .plain && isLiteral(scalar.string) ? scalar.string : quoted(scalar.string)
        case .sequence(let sequence):
            guard !sequence.isEmpty else { return "[]" }
            return "[\n" + sequence.map { inner + json($0, indent: inner) }.joined(separator: ",\n") + "\n\(indent)]"
        case .mapping(let mapping):
            guard !mapping.isEmpty else { return "{}" }
            let members = mapping.map { "\(inner)\(quoted($0.key.string ?? "")): \(json($0.value, indent: inner))" }
            return "{\n" + members.joined(separator: ",\n") + "\n\(indent)}"
        case .alias:
            return "null"
        }
    }

    /// What JSON writes as it stands: the numbers and truths that `commentedYAML` writes bare.
    private static func isLiteral(_ text: String) -> Bool {
        ["true", "false"].contains(text) || text.first?.isNumber == true && Double(text) != nil || text.first == "-" && Double(text) != nil
    }

    /// RFC 8259 §7.
    private static func quoted(_ text: String) -> String {
        var out = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\": out += "\\\(scalar)"
            case "\0"..."\u{1f}": out += "\\u" + String(scalar.value, radix: 16).leftPadded(to: 4)
            default: out.unicodeScalars.append(scalar)
            }
        }
        return out + "\""
    }
}

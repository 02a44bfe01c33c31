/// Metrics as Prometheus reads them: its text format, version 0.0.4.
public struct Exposition {
    public static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    public enum Kind: String, Sendable {
        case counter
        case gauge
        case histogram
    }

    public private(set) var text = ""
    private var families: Set<String> = []

    public init() {}

    /// Begins a family. One that was begun before is not begun again, since a name may stand only once.
    @discardableResult
    public mutating func family(_ name: String, _ kind: Kind, _ help: String) -> Bool {
        guard families.insert(name).inserted else { return false }
        text += "# HELP \(name) "
        for character in help.unicodeScalars {
            switch character {
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            default: text.unicodeScalars.append(character)
            }
        }
        text += "\n# TYPE \(name) \(kind.rawValue)\n"
        return true
    }

    public mutating func sample(_ name: String, _ labels: [(String, String)] = [], _ value: Double) {
        text += name
        if !labels.isEmpty {
            text += "{"
            for (index, label) in labels.enumerated() {
                if index > 0 { text += "," }
                text += "\(label.0)=\""
                for character in label.1.unicodeScalars {
                    switch character {
                    case "\\": text += "\\\\"
                    case "\"": text += "\\\""
                    case "\n": text += "\\n"
                    default: text.unicodeScalars.append(character)
                    }
                }
                text += "\""
            }
            text += "}"
        }
        text += " \(Self.number(value))\n"
    }

    /// A family of one sample.
    public mutating func single(_ name: String, _ kind: Kind, _ help: String, _ value: Double) {
        family(name, kind, help)
        sample(name, [], value)
    }

    /// As Go's ParseFloat reads it.
    static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
        if let whole = Int64(exactly: value) { return String(whole) }
        return "\(value)"
    }
}

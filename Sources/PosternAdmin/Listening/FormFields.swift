/// Names and values as a form or a query string has them (application/x-www-form-urlencoded, WHATWG URL §5.1).
struct FormFields: Sendable {
    /// Of names; what comes after is left out.
    static let maximum = 100

    private var values: [String: String] = [:]

    init(_ text: some StringProtocol) {
        for pair in text.utf8.split(separator: UInt8(ascii: "&")).prefix(Self.maximum) {
            let parts = Array(pair).split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = parts.first.map({ Self.decoded($0) }), !name.isEmpty, values[name] == nil else { continue }
            values[name] = parts.count > 1 ? Self.decoded(parts[1]) : ""
        }
    }

    /// Without the spaces around it; `nil` where it is missing or empty.
    subscript(name: String) -> String? {
        guard let value = values[name] else { return nil }
        var text = value[...]
        while text.first?.isWhitespace == true { text.removeFirst() }
        while text.last?.isWhitespace == true { text.removeLast() }
        return text.isEmpty ? nil : String(text)
    }

    private static func decoded(_ octets: ArraySlice<UInt8>) -> String {
        var out: [UInt8] = []
        var rest = octets
        while let octet = rest.popFirst() {
            switch octet {
            case UInt8(ascii: "+"): out.append(UInt8(ascii: " "))
            case UInt8(ascii: "%"):
                let digits = rest.prefix(2).compactMap { Character(Unicode.Scalar($0)).hexDigitValue }
                if digits.count == 2 {
                    out.append(UInt8(digits[0] << 4 | digits[1]))
                    rest = rest.dropFirst(2)
                } else {
                    out.append(octet)
                }
            default: out.append(octet)
            }
        }
        return String(decoding: out, as: UTF8.self)
    }

    /// A text as it may stand in a query string.
    static func encoded(_ text: String) -> String {
        var out = ""
        for octet in text.utf8 {
            switch octet {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "~"):
                out.unicodeScalars.append(Unicode.Scalar(octet))
            default:
                let digits = String(octet, radix: 16, uppercase: true)
                out += "%" + (digits.count < 2 ? "0" : "") + digits
            }
        }
        return out
    }
}

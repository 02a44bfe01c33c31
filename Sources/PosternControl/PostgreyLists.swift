import PosternCore
import PosternEngine

/// Reads postgrey's `whitelist_clients` and `whitelist_recipients`, by the rules of postgrey 1.37.
///
/// What is said here means the same there, but for three things: an exact host in a regular expression also stands for
/// what lies below it; a bare `.` in one stands for a dot; and a recipient's extension (`user+tag@`) is an address of its own.
public enum PostgreyLists {
    public enum Kind: Sendable {
        case clients
        case recipients
    }

    /// What a line becomes.
    public enum Line: Equatable, Sendable {
        /// Empty, or a comment.
        case nothing
        case entry(EntryDraft)
        /// It cannot be said here; why.
        case skipped(String)
    }

    public static func read(_ line: some StringProtocol, _ kind: Kind, note: String = "") -> Line {
        // postgrey: everything from `#` on is a comment, also behind an entry.
        let text = String(line.prefix { $0 != "#" }.trimmed)
        guard !text.isEmpty else { return .nothing }
        guard !text.contains(where: \.isWhitespace) else { return .skipped("it holds a space, which postgrey does not take either") }
        switch kind {
        case .clients: return client(text).asLine(kind: .client, note: note)
        case .recipients: return recipient(text).asLine(kind: .recipient, note: note)
        }
    }

    private enum Meaning {
        case pattern(String)
        case none(String)

        func asLine(kind: ListEntry.Kind, note: String) -> Line {
            switch self {
            case .pattern(let text): .entry(EntryDraft(list: .allow, kind: kind, pattern: text, note: note))
            case .none(let reason): .skipped(reason)
            }
        }
    }

    private static func client(_ text: String) -> Meaning {
        if let body = regularExpression(text) { return client(regularExpression: body) }
        if text.utf8.allSatisfy({ $0.isDigit || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "/") }) { return network(text) }
        if text.contains(":") {
            guard let prefix = lenientPrefix(text), prefix.address.family == .v6 else {
                return .none("it is not an IPv6 address or network")
            }
            return .pattern(prefix.description)
        }
        return domain(text)
    }

    /// Four numbers are an address, with or without a length; three are its /24. Two are meant as a /16, says postgrey's
    /// comment, though 1.37 reads them as something else.
    private static func network(_ text: String) -> Meaning {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        let numbers = parts[0].split(separator: ".", omittingEmptySubsequences: false)
        let full = (numbers + Array(repeating: "0", count: max(0, 4 - numbers.count))).joined(separator: ".")
        switch (numbers.count, parts.count) {
        case (4, 1), (4, 2):
            guard let prefix = lenientPrefix(text) else { return .none("it is not an address or network") }
            return .pattern(prefix.description)
        case (2, 1), (3, 1):
            guard let address = IPAddress(full) else { return .none("it is not a part of an address") }
            return .pattern(Prefix(address, length: numbers.count * 8).description)
        default:
            return .none("it is neither an address nor a name")
        }
    }

    /// Bits beyond the length are cleared, as postgrey does.
    private static func lenientPrefix(_ text: String) -> Prefix? {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let address = IPAddress(parts[0]) else { return nil }
        guard parts.count == 2 else { return Prefix(address, length: address.family.bits) }
        guard let length = Int(parts[1]), (0...address.family.bits).contains(length) else { return nil }
        return Prefix(address, length: length)
    }

    private static func domain(_ text: String) -> Meaning {
        guard case .domain(let name)? = Pattern(text) else { return .none("it is not a domain name with a dot in it") }
        return .pattern(name.text)
    }

    private static func recipient(_ text: String) -> Meaning {
        if let body = regularExpression(text) { return recipient(regularExpression: body) }
        switch Pattern(text) {
        case .domain(let name)?: return .pattern(name.text)
        case .mailbox(let text)?, .localPart(let text)?: return .pattern(text)
        case .prefix?, nil: return .none("it is not a mailbox, 'user@' or domain")
        }
    }

    // MARK: - Regular expressions

    private static let tooMuch = "it is a regular expression that is more than a fixed end; allow its network or its domain instead"

    private static func regularExpression(_ text: String) -> Substring? {
        guard text.utf8.count > 2, text.first == "/", text.last == "/" else { return nil }
        return text.dropFirst().dropLast()
    }

    /// `/\.example\.com$/`, `/(^|\.)example\.com$/`, `/^.*\.example\.com$/`, `/^mail\.example\.com$/`.
    private static func client(regularExpression body: Substring) -> Meaning {
        guard body.last == "$" else { return .none(tooMuch) }
        var rest = body.dropLast()
        for start in ["(?:^|\\.)", "(^|\\.)", "(?:.*\\.)?", "(.*\\.)?", "^.*?", "^.*", "^.+", ".*", "^"] where rest.hasPrefix(start) {
            rest = rest.dropFirst(start.count)
            break
        }
        guard let literal = literal(rest) else { return .none(tooMuch) }
        return domain(literal.first == "." ? String(literal.dropFirst()) : literal)
    }

    /// `/@example\.com$/`, `/^user@example\.com$/`, `/^user@/`, `/[@.]example\.com$/`.
    private static func recipient(regularExpression body: Substring) -> Meaning {
        if body.last == "$" {
            var rest = body.dropLast()
            for start in ["(?:\\@|\\.)", "(\\@|\\.)", "(@|\\.)", "[@.]", "^.*@", "^.*\\@", ".*@", "@", "\\@"] where rest.hasPrefix(start) {
                rest = rest.dropFirst(start.count)
                guard let literal = literal(rest), !literal.contains("@") else { return .none(tooMuch) }
                return domain(literal)
            }
            guard rest.first == "^", let literal = literal(rest.dropFirst()), literal.contains("@") else { return .none(tooMuch) }
            return recipient(literal)
        }
        guard body.first == "^", body.last == "@", let literal = literal(body.dropFirst()), literal.dropLast().allSatisfy({ $0 != "@" })
        else {
            return .none(tooMuch)
        }
        return recipient(literal)
    }

    /// The text that a part without operators stands for; `nil` where there are any.
    private static func literal(_ text: Substring) -> String? {
        var result = ""
        var isEscaped = false
        for character in text {
            if isEscaped {
                // Escaped letters and digits are classes.
                guard !character.isLetter, !character.isNumber else { return nil }
                result.append(character)
                isEscaped = false
            } else if character == "\\" {
                isEscaped = true
            } else {
                guard character.isLetter || character.isNumber || "-_.@".contains(character) else { return nil }
                result.append(character)
            }
        }
        return isEscaped || result.isEmpty ? nil : result
    }
}

extension UInt8 {
    fileprivate var isDigit: Bool { self >= UInt8(ascii: "0") && self <= UInt8(ascii: "9") }
}

extension StringProtocol {
    fileprivate var trimmed: SubSequence {
        var slice = self[...]
        while slice.first?.isWhitespace == true { slice = slice.dropFirst() }
        while slice.last?.isWhitespace == true { slice = slice.dropLast() }
        return slice
    }
}

/// A domain name as mail sees it: lower case, without the final dot.
///
/// Names are compared by octets after lower-casing ASCII letters (RFC 4343); a U-label is kept as it came, since both
/// forms reach us only from parties that use one consistently.
public struct DomainName: Hashable, Sendable {
    public let text: String

    /// RFC 1035 §3.1: 253 octets in text form, RFC 2181 §11 leaves the octets of a label free; here no white space,
    /// no control characters, no `@`, no empty label. An underscore is let through: it stands in many reverse names.
    public init?(_ text: some StringProtocol) {
        var lowered = String(text).lowercasedASCII
        lowered.dropFinalDot()
        guard !lowered.isEmpty, lowered.utf8.count <= 253 else { return nil }
        guard lowered.withUTF8(Self.isWellFormed) else { return nil }
        self.text = lowered
    }

    private static func isWellFormed(_ octets: UnsafeBufferPointer<UInt8>) -> Bool {
        var label = 0
        for octet in octets {
            if octet == UInt8(ascii: ".") {
                guard label > 0 else { return false }
                label = 0
            } else {
                guard octet > 0x20, octet != 0x7f, octet != UInt8(ascii: "@") else { return false }
                label += 1
                guard label <= 63 else { return false }
            }
        }
        return label > 0
    }

    /// Split by octets, not by characters: a dot before a combining mark is a dot.
    public var labels: [Substring] { text.utf8.split(separator: UInt8(ascii: ".")).map { Substring($0) } }

    /// Whether this name is `other` or lies below it: `mail.example.org` and `example.org`, but not `badexample.org`.
    public func isWithin(_ other: DomainName) -> Bool {
        let mine = text.utf8
        let theirs = other.text.utf8
        guard mine.count >= theirs.count else { return false }
        guard mine.count > theirs.count else { return self == other }
        let start = mine.index(mine.endIndex, offsetBy: -theirs.count)
        return mine[start...].elementsEqual(theirs) && mine[mine.index(before: start)] == UInt8(ascii: ".")
    }

    /// The name without its first label, or `nil` for a name of one label.
    public var parent: DomainName? {
        guard let dot = text.utf8.firstIndex(of: UInt8(ascii: ".")) else { return nil }
        return DomainName(Substring(text.utf8[text.utf8.index(after: dot)...]))
    }
}

extension DomainName: CustomStringConvertible {
    public var description: String { text }
}

extension String {
    /// With ASCII letters in lower case and all else untouched.
    public var lowercasedASCII: String {
        var text = self
        return text.withUTF8 { octets in
            guard octets.contains(where: Self.isUpperCase) else { return nil }
            return String(decoding: octets.lazy.map { Self.isUpperCase($0) ? $0 | 0x20 : $0 }, as: UTF8.self)
        } ?? self
    }

    private static func isUpperCase(_ octet: UInt8) -> Bool { octet >= UInt8(ascii: "A") && octet <= UInt8(ascii: "Z") }

    /// Takes off one final dot, and the dot only: as a character it may be one with what stands before it.
    mutating func dropFinalDot() {
        guard utf8.last == UInt8(ascii: ".") else { return }
        self = String(decoding: utf8.dropLast(), as: UTF8.self)
    }
}

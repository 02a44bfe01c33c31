/// A domain name as mail sees it: lower case, without the final dot, internationalised labels as A-labels.
///
/// So names are compared by octets (RFC 4343, RFC 5890 §2.3.2.4). Only a label that is too long for an A-label stays as it came.
public struct DomainName: Hashable, Sendable {
    public let text: String

    /// RFC 1035 §3.1: 253 octets in text form, RFC 2181 §11 leaves the octets of a label free; here no white space,
    /// no control characters, no `@`, no empty label. An underscore is let through: it stands in many reverse names.
    public init?(_ text: String) {
        self.init(lowered: text.lowercasedASCII)
    }

    public init?(_ text: some StringProtocol) {
        self.init(String(text))
    }

    /// The same from octets; what is not UTF-8 becomes U+FFFD.
    public init?(octets: UnsafeBufferPointer<UInt8>) {
        self.init(lowered: String(loweringASCII: octets))
    }

    private init?(lowered: consuming String) {
        var lowered = lowered.comparedAsDomain
        guard !lowered.isEmpty, lowered.utf8.count <= 253 else { return nil }
        guard lowered.withUTF8(Self.isWellFormed) else { return nil }
        text = lowered
    }

    private static func isWellFormed(_ octets: UnsafeBufferPointer<UInt8>) -> Bool {
        let label = 1...63
        var start = 0
        for place in octets.indices {
            let octet = octets[place]
            if octet == UInt8(ascii: ".") {
                guard label.contains(place - start) else { return false }
                start = place + 1
            } else {
                guard octet > 0x20, octet != 0x7f, octet != UInt8(ascii: "@") else { return false }
            }
        }
        return label.contains(octets.count - start)
    }

    /// Split by octets, not by characters: a dot before a combining mark is a dot.
    public var labels: [Substring] { text.utf8.split(separator: UInt8(ascii: ".")).map { Substring($0) } }

    /// Whether a label begins or ends with a hyphen: no host has such a name (RFC 5321 §4.1.2, RFC 1123 §2.1).
    public var hasHyphenAtLabelEnd: Bool {
        let (hyphen, dot) = (UInt8(ascii: "-"), UInt8(ascii: "."))
        var previous = dot
        for octet in text.utf8 {
            if octet == hyphen && previous == dot || octet == dot && previous == hyphen { return true }
            previous = octet
        }
        return previous == hyphen
    }

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
        let lowered: String?? = utf8.withContiguousStorageIfAvailable { $0.holdsUpperCase ? String(loweringASCII: $0) : nil }
        if let lowered { return lowered ?? self }
        var text = self
        return text.withUTF8 { String(loweringASCII: $0) }
    }

    /// Takes off one final dot, and the dot only: as a character it may be one with what stands before it.
    mutating func dropFinalDot() {
        let isFinal = utf8.withContiguousStorageIfAvailable { $0.last == UInt8(ascii: ".") } ?? (utf8.last == UInt8(ascii: "."))
        guard isFinal else { return }
        self = String(decoding: utf8.dropLast(), as: UTF8.self)
    }
}

import PosternCore

/// A name to ask the DNS for: lower case, without the final dot, of labels of 1 to 63 octets and at most 253 in all.
///
/// What macros and records yield need not be a host name: `foo:bar/baz.example.com`, `jo@example.org.spf.example.net`
/// and even spaces are names to the DNS. Every octet is printable ASCII and stands for itself; a dot always separates
/// labels. Whoever hands the name to a library that takes a backslash for an escape has to double each backslash.
public struct QueryName: Hashable, Sendable, CustomStringConvertible {
    public let text: String

    public var description: String { text }

    /// `nil` for what is no such name.
    public init?(_ text: some StringProtocol) {
        self.init(octets: Array(text.utf8))
    }

    init?(octets: [UInt8]) {
        var octets = octets
        if octets.last == UInt8(ascii: ".") { octets.removeLast() }
        guard !octets.isEmpty, octets.count <= SPFLimits.nameOctets else { return nil }
        var label = 0
        for index in octets.indices {
            if octets[index] == UInt8(ascii: ".") {
                guard label > 0 else { return nil }
                label = 0
            } else {
                guard octets[index] >= 0x20, octets[index] <= 0x7e else { return nil }
                octets[index] = octets[index].lowered
                label += 1
                guard label <= SPFLimits.labelOctets else { return nil }
            }
        }
        guard label > 0 else { return nil }
        text = String(decoding: octets, as: UTF8.self)
    }

    /// From what a macro string yields: labels are taken off from the left until the rest fits (RFC 7208 §7.3).
    init?(expanded: [UInt8]) {
        var octets = expanded[...]
        if octets.last == UInt8(ascii: ".") { octets = octets.dropLast() }
        while octets.count > SPFLimits.nameOctets {
            guard let dot = octets.firstIndex(of: UInt8(ascii: ".")) else { return nil }
            octets = octets[(dot + 1)...]
        }
        self.init(octets: Array(octets))
    }

    /// RFC 7208 §4.3: a domain to check has more than one label.
    var hasSeveralLabels: Bool { text.utf8.contains(UInt8(ascii: ".")) }

    /// Whether this is `other` or lies below it.
    func isWithin(_ other: QueryName) -> Bool {
        self == other || isBelow(other)
    }

    func isBelow(_ other: QueryName) -> Bool {
        let mine = text.utf8
        let theirs = other.text.utf8
        guard mine.count > theirs.count else { return false }
        let start = mine.index(mine.endIndex, offsetBy: -theirs.count)
        return mine[start...].elementsEqual(theirs) && mine[mine.index(before: start)] == UInt8(ascii: ".")
    }
}

import PosternCore

/// A domain name as DNS sees it: labels of any octets, compared without regard to ASCII case (RFC 4343).
///
/// Held as on the wire (RFC 1035 §3.1), in lower case: each label after its length, the root's empty label last.
public struct DNSName: Sendable {
    /// 1 to 255 octets (RFC 1035 §2.3.4).
    public let wire: [UInt8]

    public static let root = DNSName(trusted: [0])
    /// Octets of a label (RFC 1035 §2.3.4).
    public static let longestLabel = 63
    /// Octets of a name on the wire, the root's label among them.
    public static let longestName = 255

    /// Only for octets that are known to be a name in lower case.
    init(trusted wire: [UInt8]) {
        self.wire = wire
    }

    /// From text in which a dot ends a label and every other octet stands for itself; one final dot is allowed, and a dot
    /// alone is the root. `nil` for an empty label, and beyond the limits of RFC 1035 §2.3.4.
    public init?(_ text: some StringProtocol) {
        let octets = text.utf8
        if octets.count == 1, octets.first == UInt8(ascii: ".") {
            self = .root
            return
        }
        guard !octets.isEmpty, octets.count <= Self.longestName else { return nil }
        var wire: [UInt8] = [0]
        wire.reserveCapacity(octets.count + 2)
        var start = 0
        for octet in octets {
            if octet == UInt8(ascii: ".") {
                let length = wire.count - start - 1
                guard length > 0 else { return nil }
                wire[start] = UInt8(length)
                start = wire.count
                wire.append(0)
            } else {
                guard wire.count - start <= Self.longestLabel else { return nil }
                wire.append(octet.lowercasedASCII)
            }
        }
        let length = wire.count - start - 1
        wire[start] = UInt8(length)
        if length > 0 { wire.append(0) }
        guard wire.count <= Self.longestName else { return nil }
        self.wire = wire
    }

    /// Every domain name of mail is one of DNS: at most 253 octets, labels of 1 to 63.
    public init(_ name: DomainName) {
        var wire: [UInt8] = []
        wire.reserveCapacity(name.text.utf8.count + 2)
        for label in name.labels {
            wire.append(UInt8(label.utf8.count))
            wire.append(contentsOf: label.utf8)
        }
        wire.append(0)
        self.wire = wire
    }

    /// From labels, the leftmost first. `nil` beyond the limits, and for an empty label.
    public init?(labels: some Sequence<some Collection<UInt8>>) {
        var wire: [UInt8] = []
        for label in labels {
            guard !label.isEmpty, label.count <= Self.longestLabel else { return nil }
            wire.append(UInt8(label.count))
            for octet in label { wire.append(octet.lowercasedASCII) }
        }
        wire.append(0)
        guard wire.count <= Self.longestName else { return nil }
        self.wire = wire
    }

    public var isRoot: Bool { wire.count == 1 }

    /// The labels without the root's, the leftmost first.
    public var labels: [ArraySlice<UInt8>] {
        var labels: [ArraySlice<UInt8>] = []
        var index = 0
        while wire[index] != 0 {
            let end = index + 1 + Int(wire[index])
            labels.append(wire[index + 1..<end])
            index = end
        }
        return labels
    }

    /// The name without its first label; `nil` for the root.
    public var parent: DNSName? {
        isRoot ? nil : DNSName(trusted: Array(wire[(1 + Int(wire[0]))...]))
    }

    /// Whether this name is `other` or lies below it.
    public func isWithin(_ other: DNSName) -> Bool {
        guard wire.count >= other.wire.count else { return false }
        let start = wire.count - other.wire.count
        // The tail counts only where a label begins.
        var index = 0
        while index < start { index += 1 + Int(wire[index]) }
        return index == start && wire[start...].elementsEqual(other.wire)
    }

    /// This name's labels followed by those of `other`; `nil` where that is too long.
    public func followed(by other: DNSName) -> DNSName? {
        let count = wire.count - 1 + other.wire.count
        guard count <= Self.longestName else { return nil }
        return DNSName(trusted: wire.dropLast() + other.wire)
    }

    /// As a name of mail; `nil` where a label holds what no such name does, and for the root.
    public var domainName: DomainName? {
        var text: [UInt8] = []
        for label in labels {
            guard !label.contains(UInt8(ascii: ".")) else { return nil }
            if !text.isEmpty { text.append(UInt8(ascii: ".")) }
            text += label
        }
        return String(validating: text, as: UTF8.self).flatMap { DomainName($0) }
    }
}

extension DNSName: Hashable {
    public static func == (a: DNSName, b: DNSName) -> Bool { a.wire == b.wire }

    public func hash(into hasher: inout Hasher) {
        // At once: an array would feed its octets one by one.
        wire.withUnsafeBytes { hasher.combine(bytes: $0) }
    }
}

extension DNSName: CustomStringConvertible {
    /// Without the final dot, a dot for the root; a dot or backslash inside a label is escaped, and what does not print is
    /// `\DDD` (RFC 1035 §5.1).
    public var description: String {
        guard !isRoot else { return "." }
        return labels.map { label in
            var text = ""
            for octet in label {
                switch octet {
                case UInt8(ascii: "."), UInt8(ascii: "\\"):
                    text += "\\"
                    text.unicodeScalars.append(Unicode.Scalar(octet))
                case 0x21...0x7e: text.unicodeScalars.append(Unicode.Scalar(octet))
                default:
                    let digits = String(octet)
                    text += "\\" + String(repeating: "0", count: 3 - digits.count) + digits
                }
            }
            return text
        }.joined(separator: ".")
    }
}

extension UInt8 {
    /// With an ASCII letter in lower case and all else untouched.
    @inlinable
    public var lowercasedASCII: UInt8 { self >= UInt8(ascii: "A") && self <= UInt8(ascii: "Z") ? self | 0x20 : self }
}

// Normalisation form C is in the standard library, for the use of Foundation and of whoever asks for it by this name.
@_spi(_Unicode) import Swift

extension DomainName {
    /// The name as the DNS knows it; `nil` where a label of it can be no A-label, being longer than 63 octets.
    public var asciiForm: DomainName? { text.isASCII ? self : nil }
}

extension String {
    /// A domain's text with A-labels in place of U-labels (RFC 5890 §2.3.2.1), so that both spellings are one: RFC 6531 §3.2
    /// lets a client write either. ASCII is left as it is, and so is a label of which no A-label can be made: it would be
    /// longer than 63 octets.
    ///
    /// What people type is mapped before (RFC 5895 §2): letters to lower case, all to normalisation form C, and the full stops
    /// of East Asian scripts to the dot. That the result is a valid U-label is not looked at: what is none, nobody has.
    public var withALabels: String {
        guard !isASCII, utf8.count <= Self.longestUnicodeName else { return self }
        var mapped = String.UnicodeScalarView()
        for scalar in lowercased()._nfc {
            switch scalar {
            case "\u{3002}", "\u{ff0e}", "\u{ff61}": mapped.append(".")
            default: mapped.append(scalar)
            }
        }
        return String(mapped).utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).map { label in
            let label = String(Substring(label))
            // Lower case alone may have made ASCII of it: U+212A is a k.
            guard !label.isASCII, let encoded = Punycode.encode(label), encoded.utf8.count <= 59 else { return label }
            return "xn--" + encoded
        }.joined(separator: ".")
    }

    /// As mailboxes and accounts are compared: in lower case, the domain behind the last `@` with A-labels.
    public var foldedMailbox: String {
        let lowered = lowercasedASCII
        guard !lowered.isASCII, let at = lowered.utf8.lastIndex(of: UInt8(ascii: "@")) else { return lowered }
        // By octets: as a character the `@` may be one with a combining mark behind it.
        let domain = lowered.utf8.index(after: at)
        return String(lowered[..<domain]) + String(lowered[domain...]).withALabels
    }

    /// Octets: four for each of the characters that 253 octets of A-labels can hold.
    private static let longestUnicodeName = 1012

    /// Of a domain's text in lower case: with A-labels, and without a final dot.
    var comparedAsDomain: String {
        var name = withALabels
        name.dropFinalDot()
        return name
    }

    var isASCII: Bool {
        utf8.withContiguousStorageIfAvailable { $0.areASCII } ?? utf8.allSatisfy { $0 < 0x80 }
    }
}

/// RFC 3492: text as letters, digits and hyphens.
enum Punycode {
    private static let base = 36
    private static let tMin = 1
    private static let tMax = 26

    /// `nil` where the result would be longer than any label may be, or a sum would overflow (RFC 3492 §6.3, §6.4).
    static func encode(_ text: String) -> String? {
        let scalars = text.unicodeScalars.map { Int($0.value) }
        var output = scalars.filter { $0 < 0x80 }.map { UInt8($0) }
        let basicCount = output.count
        if basicCount > 0 { output.append(UInt8(ascii: "-")) }
        var n = 0x80
        var delta = 0
        var bias = 72
        var handled = basicCount
        while handled < scalars.count {
            guard let next = scalars.lazy.filter({ $0 >= n }).min() else { return nil }
            let (increase, overflow) = (next - n).multipliedReportingOverflow(by: handled + 1)
            guard !overflow else { return nil }
            delta += increase
            n = next
            for scalar in scalars {
                if scalar < n { delta += 1 }
                guard scalar == n else { continue }
                var q = delta
                var k = base
                while true {
                    let t = min(max(k - bias, tMin), tMax)
                    guard q >= t else { break }
                    output.append(digit(t + (q - t) % (base - t)))
                    q = (q - t) / (base - t)
                    k += base
                }
                output.append(digit(q))
                guard output.count <= 63 else { return nil }
                bias = adapted(delta, count: handled + 1, first: handled == basicCount)
                delta = 0
                handled += 1
            }
            delta += 1
            n += 1
        }
        return String(decoding: output, as: UTF8.self)
    }

    private static func digit(_ value: Int) -> UInt8 {
        value < 26 ? UInt8(ascii: "a") + UInt8(value) : UInt8(ascii: "0") + UInt8(value - 26)
    }

    /// RFC 3492 §6.1.
    private static func adapted(_ delta: Int, count: Int, first: Bool) -> Int {
        var delta = first ? delta / 700 : delta / 2
        delta += delta / count
        var k = 0
        while delta > (base - tMin) * tMax / 2 {
            delta /= base - tMin
            k += base
        }
        return k + (base - tMin + 1) * delta / (delta + 38)
    }
}

extension DomainName {
    /// The name as the DNS knows it: U-labels turned into A-labels (RFC 5890 §2.3.2.1), all else as it is.
    /// `nil` where an A-label would be longer than 63 octets, or the name than 253.
    ///
    /// Letters are lowered, and nothing else is mapped: what is not in normalisation form C is no U-label (RFC 5891 §5.3),
    /// and merely becomes a name that does not exist.
    public var asciiForm: DomainName? {
        guard text.utf8.contains(where: { $0 >= 0x80 }) else { return self }
        var converted: [String] = []
        for label in labels {
            guard label.utf8.contains(where: { $0 >= 0x80 }) else {
                converted.append(String(label))
                continue
            }
            guard let encoded = Punycode.encode(String(label).lowercased()) else { return nil }
            converted.append("xn--" + encoded)
        }
        // Its lengths are judged again: a name grows by this.
        return DomainName(converted.joined(separator: "."))
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

import PosternCore

/// xtext of RFC 3461 §4: printable ASCII, in which `+`, `=` and all else are written as `+` and two hexadecimal digits.
public enum XText {
    /// Decodes; `nil` where the octets are not xtext. Lower-case hexadecimal digits are let through, as most servers do.
    public static func decode(_ text: some Collection<UInt8>) -> [UInt8]? {
        var result: [UInt8] = []
        result.reserveCapacity(text.count)
        var rest = text.makeIterator()
        while let octet = rest.next() {
            switch octet {
            case Octet.plus:
                guard let high = rest.next()?.hexDigitValue, let low = rest.next()?.hexDigitValue else { return nil }
                result.append(high << 4 | low)
            case Octet.equals: return nil
            case 0x21...0x7e: result.append(octet)
            default: return nil
            }
        }
        return result
    }

    /// Encodes any octets.
    public static func encode(_ octets: some Sequence<UInt8>) -> [UInt8] {
        let digits = Array("0123456789ABCDEF".utf8)
        var result: [UInt8] = []
        for octet in octets {
            if octet >= 0x21, octet <= 0x7e, octet != Octet.plus, octet != Octet.equals {
                result.append(octet)
            } else {
                result += [Octet.plus, digits[Int(octet >> 4)], digits[Int(octet & 15)]]
            }
        }
        return result
    }
}

/// Base64 as SASL's exchanges use it (RFC 4648 §4): with padding, and without anything else between.
enum Base64 {
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    private static let pad = UInt8(ascii: "=")

    static func encode(_ octets: some Collection<UInt8>, to line: inout [UInt8]) {
        var word: UInt32 = 0
        var held = 0
        for octet in octets {
            word = word << 8 | UInt32(octet)
            held += 1
            guard held == 3 else { continue }
            for shift in [18, 12, 6, 0] as [UInt32] { line.append(alphabet[Int(word >> shift & 0x3f)]) }
            (word, held) = (0, 0)
        }
        guard held > 0 else { return }
        word <<= held == 1 ? 16 : 8
        line.append(alphabet[Int(word >> 18 & 0x3f)])
        line.append(alphabet[Int(word >> 12 & 0x3f)])
        line.append(held == 1 ? pad : alphabet[Int(word >> 6 & 0x3f)])
        line.append(pad)
    }

    /// `nil` for what is not base64: another octet (RFC 4648 §3.3), padding that is missing or elsewhere, or bits that are
    /// not zero where nothing is left (§3.5).
    static func decode(_ text: some RandomAccessCollection<UInt8>) -> Secret? {
        guard text.count % 4 == 0 else { return nil }
        var octets: [UInt8] = []
        octets.reserveCapacity(text.count / 4 * 3)
        defer { Secret.wipe(&octets) }
        let padding = text.suffix(2).reversed().prefix { $0 == pad }.count
        var word: UInt32 = 0
        var held = 0
        for digit in text.dropLast(padding) {
            guard let value = value(of: digit) else { return nil }
            word = word << 6 | UInt32(value)
            held += 1
            guard held == 4 else { continue }
            octets.append(UInt8(truncatingIfNeeded: word >> 16))
            octets.append(UInt8(truncatingIfNeeded: word >> 8))
            octets.append(UInt8(truncatingIfNeeded: word))
            (word, held) = (0, 0)
        }
        switch held {
        case 2:
            guard word & 0xf == 0 else { return nil }
            octets.append(UInt8(truncatingIfNeeded: word >> 4))
        case 3:
            guard word & 0x3 == 0 else { return nil }
            octets.append(UInt8(truncatingIfNeeded: word >> 10))
            octets.append(UInt8(truncatingIfNeeded: word >> 2))
        default: break
        }
        return Secret(octets)
    }

    private static func value(of digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): digit - UInt8(ascii: "A")
        case UInt8(ascii: "a")...UInt8(ascii: "z"): digit - UInt8(ascii: "a") + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0") + 52
        case UInt8(ascii: "+"): 62
        case UInt8(ascii: "/"): 63
        default: nil
        }
    }
}

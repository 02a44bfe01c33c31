import EngineTestSupport
import PosternCore
import Testing

@testable import PosternEngine

@Suite("Generic reverse names beside their plain definition")
struct GenericNameEquivalenceTests {
    private static let separators = [".", ".", "-", "", "_"]

    @Test func saysTheSame() throws {
        var random = Seeded(seed: 7)
        var matched = 0
        let words = GenericName.consumerWords + GenericName.mailWords + ["mail", "smtp", "mx", "webmail", "a", "averyveryverylongword"]
        for _ in 0..<20_000 {
            let octets = (0..<4).map { _ in UInt8(random.below(256)) }
            let v4 = try #require(IPAddress(octets: octets))
            let v6 = IPAddress(v6High: 0x2001_0db8 << 32 | UInt64(random.below(1 << 16)), low: random.next() >> UInt64(random.below(64)))
            let hex = octets.map { $0 < 16 ? "0" + String($0, radix: 16) : String($0, radix: 16) }
            let padded = octets.map { String(repeating: "0", count: 3 - String($0).count) + String($0) }
            var text = ""
            for _ in 0...random.below(6) {
                switch random.below(8) {
                case 0, 1: text += random.pick(words)
                case 2: text += String(random.pick(octets))
                case 3: text += octets.dropFirst(random.below(2)).map { String($0) }.joined(separator: random.pick(Self.separators))
                case 4:
                    text += octets.reversed().dropFirst(random.below(2)).map { String($0) }.joined(separator: random.pick(Self.separators))
                case 5: text += String(random.below(2000))
                case 6: text += (random.chance(50) ? hex : hex.reversed()).joined()
                default:
                    text += random.chance(50) ? padded.joined() : v6.description.split(separator: ":").joined(separator: "-")
                }
                text += random.pick(Self.separators)
            }
            guard let name = DomainName(text + random.pick(["", ".example.net", ".net", ".example"])) else { continue }
            for address in [v4, v6] {
                let plain = PlainGenericName.matches(name, address: address)
                #expect(GenericName.matches(name, address: address) == plain, "\(name) \(address)")
                if plain { matched += 1 }
            }
        }
        #expect((5000...25_000).contains(matched))
    }
}

/// The same rules written down plainly, on arrays and sets.
private enum PlainGenericName {
    private static let packedConsumerWords = Set(GenericName.consumerWords.compactMap { Word($0.utf8) })
    private static let packedMailWords = Set(GenericName.mailWords.compactMap { Word($0.utf8) })

    static func matches(_ name: DomainName, address: IPAddress) -> Bool {
        let text = Array(name.text.utf8)
        let octets = address.octets
        guard address.family == .v4 else { return bearsV6(text, address, octets) || hasConsumerWord(text) && isNumbered(text) }

        let reversed = [UInt8](octets.reversed())
        let numbers = numbers(in: text)
        if bears(numbers, octets, run: 3) || bears(numbers, reversed, run: 3) { return true }
        if longestRun(in: text, where: { $0.hexDigitValue != nil }) >= 8 {
            if contains(text, octets.flatMap(hexPair)) || contains(text, reversed.flatMap(hexPair)) { return true }
            // Octets padded to three digits and run together: 010020030040.
            if contains(text, octets.flatMap(threeDigits)) || contains(text, reversed.flatMap(threeDigits)) { return true }
        }
        guard hasConsumerWord(text) else { return false }
        return isNumbered(text) || numbers.count >= 4 || bears(numbers, octets, run: 2) || bears(numbers, reversed, run: 2)
    }

    // MARK: - Addresses in names

    /// The decimal numbers of a name up to 255, in order.
    private static func numbers(in text: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        var value = 0
        var digits = 0
        for octet in text + [UInt8(ascii: ".")] {
            if isDigit(octet) {
                digits += 1
                if digits <= 3 { value = value * 10 + Int(octet - UInt8(ascii: "0")) }
            } else {
                if digits > 0, digits <= 3, value <= 255 { result.append(UInt8(value)) }
                (value, digits) = (0, 0)
            }
        }
        return result
    }

    /// Whether `run` neighbouring octets stand side by side in `numbers`.
    private static func bears(_ numbers: [UInt8], _ octets: [UInt8], run: Int) -> Bool {
        guard numbers.count >= run else { return false }
        return (0...(octets.count - run)).contains { start in
            (0...(numbers.count - run)).contains { offset in (0..<run).allSatisfy { numbers[offset + $0] == octets[start + $0] } }
        }
    }

    /// Whether the name bears the last 64 bits of an IPv6 address, or the whole of it in its short form.
    private static func bearsV6(_ text: [UInt8], _ address: IPAddress, _ octets: [UInt8]) -> Bool {
        // The shortest spelling of what is not all zeros has no fewer hexadecimal digits than this.
        guard text.count(where: { $0.hexDigitValue != nil }) >= 4 else { return false }
        if octets[0] != 0, text.contains(UInt8(ascii: "-")) {
            let short = address.description.utf8.map { $0 == UInt8(ascii: ":") ? UInt8(ascii: "-") : $0 }
            if contains(text, short) { return true }
        }
        let tail = octets.suffix(8).flatMap(hexPair)
        // Such as ::1, which says nothing.
        guard Set(tail).count > 2 else { return false }
        if contains(text.filter { $0.hexDigitValue != nil }, tail) { return true }
        let parts = text.split { $0.hexDigitValue == nil }
        let padded = parts.flatMap { [UInt8](repeating: UInt8(ascii: "0"), count: max(0, 4 - $0.count)) + $0 }
        if contains(padded, tail) { return true }
        // Nibble by nibble, the last one first, as in ip6.arpa (RFC 3596 §2.5).
        return contains(parts.filter { $0.count == 1 }.joined().reversed(), tail)
    }

    private static func contains(_ text: [UInt8], _ wanted: [UInt8]) -> Bool {
        guard let first = wanted.first, text.count >= wanted.count else { return false }
        return (0...(text.count - wanted.count)).contains { start in
            text[start] == first && wanted.indices.allSatisfy { text[start + $0] == wanted[$0] }
        }
    }

    private static func longestRun(in text: [UInt8], where belongs: (UInt8) -> Bool) -> Int {
        var longest = 0
        var run = 0
        for octet in text {
            run = belongs(octet) ? run + 1 : 0
            longest = max(longest, run)
        }
        return longest
    }

    private static func hexPair(_ octet: UInt8) -> [UInt8] {
        [octet >> 4, octet & 15].map { $0 + ($0 < 10 ? UInt8(ascii: "0") : UInt8(ascii: "a") - 10) }
    }

    private static func threeDigits(_ octet: UInt8) -> [UInt8] {
        [octet / 100, octet / 10 % 10, octet % 10].map { $0 + UInt8(ascii: "0") }
    }

    private static func isDigit(_ octet: UInt8) -> Bool { octet >= UInt8(ascii: "0") && octet <= UInt8(ascii: "9") }

    // MARK: - Words

    /// Up to sixteen octets as one number, so that looking a word up costs no string.
    private struct Word: Hashable {
        static let longest = 16

        let packed: UInt128

        init?(_ octets: some Collection<UInt8>) {
            guard octets.count <= Self.longest else { return nil }
            packed = octets.reduce(0) { $0 << 8 | UInt128($1) }
        }
    }

    /// Whether a consumer's word stands in front of the domain, and nothing in the first label says mail server.
    private static func hasConsumerWord(_ text: [UInt8]) -> Bool {
        let labels = text.split(separator: UInt8(ascii: "."))
        guard labels.count > 2, !words(of: labels[0]).contains(where: isMailWord) else { return false }
        return labels.dropLast(2).contains { label in
            words(of: label).contains { Word($0).map(packedConsumerWords.contains) ?? false }
        }
    }

    private static func words(of label: ArraySlice<UInt8>) -> [ArraySlice<UInt8>] {
        label.split { $0 < UInt8(ascii: "a") || $0 > UInt8(ascii: "z") }
    }

    /// `mail`, `webmail`, `mailout`, `smtp`, `mx`, `mta`, `relay` and their like.
    private static func isMailWord(_ word: ArraySlice<UInt8>) -> Bool {
        word.starts(with: "mail".utf8) || word.suffix(4).elementsEqual("mail".utf8) || word.starts(with: "smtp".utf8)
            || word.suffix(4).elementsEqual("smtp".utf8) || word.suffix(2).elementsEqual("mx".utf8)
            || (Word(word).map(packedMailWords.contains) ?? false)
    }

    /// Whether the first label has a number, as names given out one by one have: `dyn-7`, `aazd112`.
    private static func isNumbered(_ text: [UInt8]) -> Bool {
        text.prefix { $0 != UInt8(ascii: ".") }.contains(where: isDigit)
    }
}

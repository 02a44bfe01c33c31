import EngineTestSupport
import PosternCore
import Testing

@testable import PosternEngine

@Suite("Sender normalisation beside its plain definition")
struct SenderNormalisationEquivalenceTests {
    /// What marks are made of, and what comes close to them.
    private static let pieces = [
        "prvs=", "btv1==", "msprvs1=", "srs0=", "SRS0+", "srs0-", "srs1=", "srs1+", "=", "==", "=+", "+", "-", "/", ".", "_", "a", "user",
        "bounce", "Example", "1", "42", "1985", "deadbeef", "0a1b2c3d", "a1b2c3d4e5f6g7", "550e8400-e29b-41d4-a716-446655440000",
        "550e8400-e29b-41d4-a716-44665544000", "tt", "example.com", "é", "\u{301}", "\u{0}", "@",
    ]

    @Test func saysTheSame() {
        var random = Seeded(seed: 20_261)
        var levelled = 0
        for _ in 0..<30_000 {
            let local = (0..<random.below(10)).map { _ in random.pick(Self.pieces) }.joined()
            let domain = random.pick(["e.org", "", "[192.0.2.1]", "a.very.long.domain.example.net", "é.example"])
            let mailbox = Mailbox(localPart: local, domain: domain)
            let plain = PlainNormalisation.levelled(local.lowercasedASCII)
            #expect(ReversePath.mailbox(mailbox).normalised == plain + "@" + mailbox.domain, "\(local)")
            if plain != local.lowercasedASCII { levelled += 1 }
        }
        #expect(levelled > 5000)
        #expect(ReversePath.null.normalised.isEmpty)
    }
}

/// The same rules written down plainly, on arrays.
private enum PlainNormalisation {
    private typealias Octets = ArraySlice<UInt8>

    /// `localPart` in lower case.
    static func levelled(_ localPart: String) -> String {
        let octets = Array(localPart.utf8)
        // Every mark has one of these in it; most people's names do not.
        guard octets.contains(where: { isDigit($0) || $0 == UInt8(ascii: "=") || $0 == UInt8(ascii: "+") }) else {
            return localPart
        }
        let plain = withoutTag(withoutSRS(withoutBATV(octets[...])))
        // A number that is the whole name is a person's (QQ and telephone numbers), not a mark.
        let digits = plain.first == UInt8(ascii: "+") ? plain.dropFirst() : plain
        if digits.allSatisfy(isDigit) { return String(decoding: plain, as: UTF8.self) }
        return String(decoding: levelledTokens(plain), as: UTF8.self)
    }

    private static func withoutBATV(_ text: Octets) -> Octets {
        if text.starts(with: "prvs=".utf8) {
            let rest = text.dropFirst(5)
            // prvs=0123abcdef=user, and the older prvs=user/0123abcdef.
            if let equals = rest.firstIndex(of: UInt8(ascii: "=")) { return rest[(equals + 1)...] }
            if let slash = rest.lastIndex(of: UInt8(ascii: "/")) { return rest[..<slash] }
            return rest
        }
        if text.starts(with: "btv1==".utf8) {
            // btv1==0123abcdef==user.
            let rest = text.dropFirst(6)
            let end = rest.indices.dropLast().first { rest[$0] == UInt8(ascii: "=") && rest[$0 + 1] == UInt8(ascii: "=") }
            return end.map { rest[($0 + 2)...] } ?? text
        }
        if text.starts(with: "msprvs1=".utf8) {
            let rest = text.dropFirst(8)
            return rest.firstIndex(of: UInt8(ascii: "=")).map { rest[($0 + 1)...] } ?? text
        }
        return text
    }

    /// What stays of SRS is the forwarder, the domain and the user; of its first separator there are three (`=+-`), and
    /// a second forwarder keeps that of the first: SRS0=hash=tt=domain=user, SRS1=hash=forwarder==hash=tt=domain=user,
    /// SRS1=hash=forwarder=+hash=tt=domain=user.
    private static func withoutSRS(_ text: Octets) -> Octets {
        let first = text.starts(with: "srs0".utf8)
        guard first || text.starts(with: "srs1".utf8), let separator = text.dropFirst(4).first, "=+-".utf8.contains(separator) else {
            return text
        }
        let fields = text.dropFirst(5).split(separator: UInt8(ascii: "="), omittingEmptySubsequences: false)
        func joined(_ prefix: String, _ kept: [Octets]) -> Octets {
            (Array(prefix.utf8) + kept.joined(separator: [UInt8(ascii: "=")]))[...]
        }
        if first { return fields.count >= 4 ? joined("srs0=", Array(fields[2...])) : text }
        guard fields.count >= 3 else { return text }
        // With `=` kept, the field behind the forwarder is empty.
        let domain = fields[2].isEmpty ? 5 : 4
        return fields.count >= domain + 2 ? joined("srs1=", [fields[1]] + fields[domain...]) : text
    }

    private static func withoutTag(_ text: Octets) -> Octets {
        guard let plus = text.dropFirst().firstIndex(of: UInt8(ascii: "+")) else { return text }
        return text[..<plus]
    }

    /// UUIDs, numbers set off from letters, hexadecimal runs of eight or more with a digit among them, and long words
    /// in which letters and digits take turns become `#`.
    private static func levelledTokens(_ text: Octets) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(text.count)
        var index = text.startIndex
        while index < text.endIndex {
            guard isWordOctet(text[index]) else {
                result.append(text[index])
                index += 1
                continue
            }
            if let end = endOfUUID(in: text[index...]) {
                result.append(UInt8(ascii: "#"))
                index = end
                continue
            }
            let end = text[index...].firstIndex { !isWordOctet($0) } ?? text.endIndex
            if isToken(text[index..<end]) { result.append(UInt8(ascii: "#")) } else { result += text[index..<end] }
            index = end
        }
        return result
    }

    /// Shorter than this, letters and digits that take turns may be somebody's name.
    private static let shortestMixedToken = 12
    /// How often letters and digits take turns in a token at least.
    private static let fewestTurns = 4

    private static func isToken(_ word: Octets) -> Bool {
        let digits = word.count(where: isDigit)
        if digits == 0 { return false }
        if digits == word.count { return true }
        if word.count >= 8, word.allSatisfy({ $0.hexDigitValue != nil }) { return true }
        guard word.count >= shortestMixedToken else { return false }
        let turns = zip(word, word.dropFirst()).count { isDigit($0.0) != isDigit($0.1) }
        return turns >= fewestTurns
    }

    /// Where a UUID at the start of `text` ends (RFC 9562 §4: 8-4-4-4-12 hexadecimal digits), when one stands there as a word.
    private static func endOfUUID(in text: Octets) -> Int? {
        var index = text.startIndex
        for (part, length) in [8, 4, 4, 4, 12].enumerated() {
            if part > 0 {
                guard index < text.endIndex, text[index] == UInt8(ascii: "-") else { return nil }
                index += 1
            }
            guard text.endIndex - index >= length, text[index..<index + length].allSatisfy({ $0.hexDigitValue != nil }) else { return nil }
            index += length
        }
        return index == text.endIndex || !isWordOctet(text[index]) ? index : nil
    }

    private static func isDigit(_ octet: UInt8) -> Bool { octet >= UInt8(ascii: "0") && octet <= UInt8(ascii: "9") }

    private static func isWordOctet(_ octet: UInt8) -> Bool {
        isDigit(octet) || octet >= UInt8(ascii: "a") && octet <= UInt8(ascii: "z") || octet >= 0x80
    }
}

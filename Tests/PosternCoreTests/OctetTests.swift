import EngineTestSupport
import Glibc
import Testing

@testable import PosternCore

/// Octets of every length up to 40, most of them of `common`.
private func samples(_ common: String, count: Int = 5_000) -> [[UInt8]] {
    var generator = Seeded(seed: 4711)
    let common = Array(common.utf8)
    return (0..<count).map { number in
        (0..<number % 41).map { _ in
            Int.random(in: 0..<24, using: &generator) == 0
                ? UInt8.random(in: 0...255, using: &generator) : common.randomElement(using: &generator)!
        }
    }
}

private func isEscapedInJSON(_ octet: UInt8) -> Bool { octet < 0x20 || octet == 0x7f || octet == 0x22 || octet == 0x5c }

private func isBareInLogfmt(_ octet: UInt8) -> Bool { octet > 0x20 && octet < 0x7f && !"\"\\=".utf8.contains(octet) }

@Suite("Octets looked at by words")
struct OctetScanTests {
    @Test("say the same as octets looked at one by one")
    func asOneByOne() {
        for octets in samples("abz019.-_ ~") {
            octets.withUnsafeBufferPointer { buffer in
                #expect(buffer.arePrintable == octets.allSatisfy { $0 >= 0x20 && $0 <= 0x7e }, "\(octets)")
                #expect(buffer.holdsUpperCase == octets.contains { $0 >= 0x41 && $0 <= 0x5a }, "\(octets)")
                #expect(buffer.areASCII == octets.allSatisfy { $0 < 0x80 }, "\(octets)")
                #expect(buffer.holdEscapesOfJSON == octets.contains(where: isEscapedInJSON), "\(octets)")
                #expect(buffer.areLogfmtWord == (!octets.isEmpty && octets.allSatisfy(isBareInLogfmt)), "\(octets)")
                let raw = UnsafeRawBufferPointer(buffer)
                let ends = (0...octets.count).map { raw.firstLineFeedOrNUL(from: $0) }
                let plain = (0...octets.count).map { start in octets[start...].firstIndex { $0 == 0 || $0 == 10 } ?? octets.count }
                #expect(ends == plain, "\(octets)")
            }
        }
    }

    @Test("know every octet at every place")
    func everyOctet() {
        for octet in UInt8.min...UInt8.max {
            let isPrintable = octet >= 0x20 && octet <= 0x7e
            let isUpper = octet >= 0x41 && octet <= 0x5a
            let wrong = (1...20).flatMap { count in (0..<count).map { (count, $0) } }.filter { count, place in
                var octets = [UInt8](repeating: UInt8(ascii: "m"), count: count)
                octets[place] = octet
                return octets.withUnsafeBufferPointer {
                    $0.arePrintable != isPrintable || $0.holdsUpperCase != isUpper || $0.holdEscapesOfJSON != isEscapedInJSON(octet)
                        || $0.areLogfmtWord != isBareInLogfmt(octet)
                }
            }
            #expect(wrong.isEmpty, "\(octet): \(wrong)")
        }
    }

    @Test("are compared wherever they differ, and no further than they go")
    func comparing() {
        for count in 0...30 {
            let octets = (0..<40).map { UInt8($0) }
            octets.withUnsafeBytes { raw in
                for offset in 0...12 {
                    let other = Array(octets[min(offset, 40)..<min(offset + count, 40)])
                    #expect(other.withUnsafeBytes { raw.holds($0, at: offset) })
                    for place in other.indices {
                        var changed = other
                        changed[place] ^= 0x80
                        #expect(!changed.withUnsafeBytes { raw.holds($0, at: offset) })
                    }
                }
                #expect(!(other(count).withUnsafeBytes { raw.holds($0, at: 41 - count) }))
            }
        }
        Array("abc".utf8).withUnsafeBytes { octets in
            #expect(octets.equals("abc"))
            #expect(!octets.equals("ab"))
            #expect(!octets.equals("abcd"))
            #expect(!octets.holds(octets, at: 1))
            #expect(!octets.holds(octets, at: -1))
        }
    }

    private func other(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: 41 - count + $0) } }
}

@Suite("Names and mailboxes from octets")
struct OctetParsingTests {
    @Test("are those of the same text")
    func asText() {
        for octets in samples("abcXYZ.@-0") {
            let text = String(decoding: octets, as: UTF8.self)
            octets.withUnsafeBufferPointer { buffer in
                #expect(DomainName(octets: buffer) == DomainName(text), "\(octets)")
                #expect(Mailbox(octets: buffer) == Mailbox(text), "\(octets)")
            }
            #expect(text.lowercasedASCII == plainLower(text))
            guard let mailbox = Mailbox(text) else {
                #expect(text.isEmpty)
                continue
            }
            #expect(mailbox.description == (mailbox.domain.isEmpty ? mailbox.localPart : "\(mailbox.localPart)@\(mailbox.domain)"))
            // In quotes where it needs them (`MailboxTests`).
            let local = plainLower(LocalPart.canonical(mailbox.localPart))
            #expect(mailbox.folded == (mailbox.domain.isEmpty ? local : "\(local)@\(mailbox.domain)"))
            let split = plainSplit(octets)
            #expect(mailbox.localPart == split.local)
            // What is not ASCII is mapped.
            if split.domain.utf8.allSatisfy({ $0 < 0x80 }) {
                #expect(mailbox.domain == split.domain)
            } else {
                #expect(mailbox.domain.isASCII)
            }
        }
    }

    @Test("are well-formed by their labels, whatever their length")
    func labels() {
        for lengths in [
            [63], [64], [63, 63], [63, 64], [1, 63], [64, 1], [63, 63, 63, 61], [63, 63, 63, 62], [0], [1, 0], [0, 1], [1, 0, 1],
        ] {
            let text = lengths.map { String(repeating: "x", count: $0) }.joined(separator: ".")
            let isOne = lengths.allSatisfy { (1...63).contains($0) } && text.utf8.count <= 253
            // One final dot is taken off.
            #expect((DomainName(text) != nil) == (isOne || lengths == [1, 0]), "\(lengths)")
            #expect(DomainName(text) == Array(text.utf8).withUnsafeBufferPointer { DomainName(octets: $0) })
        }
        for octet in UInt8.min...0x7f {
            let isOne = octet > 0x20 && octet != 0x7f && octet != UInt8(ascii: "@")
            #expect((DomainName("a" + String(UnicodeScalar(octet)) + "b") != nil) == isOne, "\(octet)")
        }
    }

    private func plainLower(_ text: String) -> String {
        String(decoding: text.utf8.map { $0 >= 0x41 && $0 <= 0x5a ? $0 + 32 : $0 }, as: UTF8.self)
    }

    private func plainSplit(_ octets: [UInt8]) -> (local: String, domain: String) {
        guard let at = octets.lastIndex(of: UInt8(ascii: "@")) else { return (String(decoding: octets, as: UTF8.self), "") }
        var domain = octets[(at + 1)...]
        if domain.last == UInt8(ascii: ".") { domain.removeLast() }
        return (String(decoding: octets[..<at], as: UTF8.self), plainLower(String(decoding: domain, as: UTF8.self)))
    }

    @Test("addresses are read as the system reads them")
    func addresses() {
        var generator = Seeded(seed: 815)
        for number in 0..<20_000 {
            var text = number % 3 == 0 ? "1.22.133.4" : number % 3 == 1 ? "2001:db8::f00:1" : "1:2:3:4:5:6:7:8"
            // A few changes, so that many are still addresses.
            for _ in 0..<Int.random(in: 0...4, using: &generator) {
                let place = text.index(text.startIndex, offsetBy: Int.random(in: 0...text.count, using: &generator))
                if Bool.random(using: &generator) {
                    text.insert("0123456789abcdefABg.:::".randomElement(using: &generator)!, at: place)
                } else if place < text.endIndex {
                    text.remove(at: place)
                }
            }
            #expect(IPAddress(text) == bySystem(text), "\(text)")
        }
    }

    private func bySystem(_ text: String) -> IPAddress? {
        var octets = [UInt8](repeating: 0, count: 16)
        if inet_pton(AF_INET, text, &octets) == 1 { return IPAddress(octets: octets.prefix(4)) }
        return inet_pton(AF_INET6, text, &octets) == 1 ? IPAddress(octets: octets) : nil
    }
}

@Suite("Texts put together")
struct TextWriterTests {
    @Test("hold their pieces, short and long, and numbers as they are printed")
    func pieces() {
        let pieces = ["", "a", "grüße", String(repeating: "long ", count: 30), "\u{0}"]
        for number in [0, 1, 9, 10, 99, 100, 12_345, -1, -10, .max, .max - 1, .min, 1_000_000_000_000_000_000, 999_999_999_999_999_999]
            as [Int64]
        {
            let expected = pieces.joined() + number.description + "!"
            let text = String(octets: expected.utf8.count) { text in
                for piece in pieces { text.add(piece) }
                text.add(decimal: number)
                text.add(UInt8(ascii: "!"))
            }
            #expect(text == expected)
        }
        #expect(String(octets: 0) { _ in } == "")
    }
}

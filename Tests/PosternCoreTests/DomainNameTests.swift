import PosternCore
import Testing

@Suite("Domain names")
struct DomainNameTests {
    @Test(
        "lose their final dot and the case of ASCII letters",
        arguments: [
            ("Example.ORG", "example.org"), ("example.org.", "example.org"), ("localhost", "localhost"),
            ("_dmarc.Example.org", "_dmarc.example.org"),
            ("xn--mnchen-3ya.de", "xn--mnchen-3ya.de"), ("1.2.3.4.in-addr.arpa", "1.2.3.4.in-addr.arpa"),
            ("münchen.DE", "xn--mnchen-3ya.de"),
        ])
    func canonical(text: String, printed: String) {
        #expect(DomainName(text)?.text == printed)
    }

    @Test(
        "that are malformed are refused",
        arguments: [
            "", ".", "..", ".example.org", "example..org", "example.org..", "exa mple.org", "example.org\n", "example\t.org",
            "a@example.org",
            "example\u{7f}.org", "\0", String(repeating: "a", count: 64) + ".org", "a." + String(repeating: "b", count: 64),
            Array(repeating: String(repeating: "a", count: 49), count: 6).joined(separator: "."),
        ])
    func malformed(text: String) {
        #expect(DomainName(text) == nil)
    }

    @Test("have 63 octets in a label and 253 in all at most (RFC 1035 §2.3.4)")
    func bounds() {
        let label = String(repeating: "a", count: 63)
        #expect(DomainName(label) != nil)
        let longest = [label, label, label, String(repeating: "b", count: 61)].joined(separator: ".")
        #expect(longest.utf8.count == 253)
        #expect(DomainName(longest) != nil)
        #expect(DomainName(longest + ".") != nil)
        #expect(DomainName(longest + "b") == nil)
        // A label without an A-label is counted as it is: a letter of two octets is two.
        #expect(DomainName("ü" + String(repeating: "a", count: 61)) != nil)
        #expect(DomainName("ü" + String(repeating: "a", count: 62)) == nil)
    }

    @Test("lie within themselves and what is above them, never within a name that merely ends alike")
    func within() throws {
        let parent = try #require(DomainName("example.org"))
        #expect(try #require(DomainName("example.org")).isWithin(parent))
        #expect(try #require(DomainName("mail.example.org")).isWithin(parent))
        #expect(try #require(DomainName("a.b.example.ORG.")).isWithin(parent))
        for other in ["badexample.org", "example.org.evil.net", "org", "example.com", "ample.org", "xexample.org"] {
            #expect(try #require(DomainName(other)).isWithin(parent) == false, "\(other)")
        }
    }

    @Test("have labels and a parent, up to the last label")
    func parents() throws {
        let name = try #require(DomainName("a.b.example.org"))
        #expect(name.labels == ["a", "b", "example", "org"])
        var walked: [String] = []
        var current: DomainName? = name
        while let here = current {
            walked.append(here.text)
            current = here.parent
        }
        #expect(walked == ["a.b.example.org", "b.example.org", "example.org", "org"])
    }

    @Test("are split by octets, so that a combining mark hides no dot")
    func combiningMarks() throws {
        // In Swift a dot and the combining mark behind it are one character.
        let name = try #require(DomainName("a.\u{0301}b.example.org"))
        #expect(name.labels.count == 4)
        #expect(name.parent?.parent?.text == "example.org")
        // A prepended mark and the final dot behind it are one character too; only the dot goes.
        #expect(DomainName("a\u{0600}.")?.text == DomainName("a\u{0600}")?.text)
        #expect(DomainName("a\u{0600}.")?.text.utf8.last != UInt8(ascii: "."))
    }
}

import Testing

@testable import PosternCore

struct InternationalNameTests {
    /// RFC 3492 §7.1, with letters lowered, and names in use.
    @Test(arguments: [
        (
            "\u{644}\u{64a}\u{647}\u{645}\u{627}\u{628}\u{62a}\u{643}\u{644}\u{645}\u{648}\u{634}\u{639}\u{631}\u{628}\u{64a}\u{61f}",
            "egbpdaj6bu4bxfgehfvwxn"
        ),
        ("\u{4ed6}\u{4eec}\u{4e3a}\u{4ec0}\u{4e48}\u{4e0d}\u{8bf4}\u{4e2d}\u{6587}", "ihqwcrb4cv8a8dqg056pqjye"),
        (
            "\u{306a}\u{305c}\u{307f}\u{3093}\u{306a}\u{65e5}\u{672c}\u{8a9e}\u{3092}\u{8a71}\u{3057}\u{3066}\u{304f}\u{308c}\u{306a}\u{3044}\u{306e}\u{304b}",
            "n8jok5ay5dzabd5bym9f0cm5685rrjetr6pdxa"
        ),
        ("3\u{5e74}b\u{7d44}\u{91d1}\u{516b}\u{5148}\u{751f}", "3b-ww4c5e180e575a65lsy2b"),
        ("maji\u{3067}koi\u{3059}\u{308b}5\u{79d2}\u{524d}", "majikoi5-783gue6qz075azm5e"),
        ("b\u{fc}cher", "bcher-kva"), ("fu\u{df}ball", "fuball-cta"), ("\u{1f4a9}", "ls8h"),
    ])
    func punycode(text: String, expected: String) {
        #expect(Punycode.encode(text) == expected)
    }

    @Test(arguments: [
        ("example.org", "example.org"), ("Mail.B\u{dc}CHER.example.", "mail.xn--bcher-kva.example"),
        ("\u{4f8b}\u{3048}.\u{30c6}\u{30b9}\u{30c8}", "xn--r8jz45g.xn--zckzah"), ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ])
    func names(text: String, expected: String) {
        #expect(DomainName(text)?.asciiForm?.text == expected)
    }

    /// RFC 5895 §2: what people type.
    @Test(arguments: [
        ("bu\u{308}cher.example", "xn--bcher-kva.example"), ("BU\u{308}CHER.example", "xn--bcher-kva.example"),
        ("b\u{fc}cher\u{3002}example", "xn--bcher-kva.example"), ("b\u{fc}cher\u{ff0e}example\u{ff61}", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"), ("\u{41f}\u{420}\u{418}.\u{440}\u{444}", "xn--h1and.xn--p1ai"),
        // Lower case alone makes ASCII of a Kelvin sign.
        ("\u{212a}.example", "k.example"), ("\u{212a}\u{fc}.example", "xn--k-eha.example"),
    ])
    func spellingsAreOne(text: String, expected: String) throws {
        let name = try #require(DomainName(text))
        #expect(name.text == expected && name.asciiForm == name)
        let mailbox = try #require(Mailbox("J\u{fc}rgen@" + text))
        #expect(mailbox.domain == expected && mailbox.domainName == name, "\(mailbox)")
        // A local part is its domain's own matter.
        #expect(mailbox.description == "J\u{fc}rgen@" + expected)
        #expect(Mailbox(localPart: "u", domain: text) == Mailbox("u@" + expected))
        #expect(ReversePath("u@" + text) == ReversePath("u@" + expected))
    }

    @Test(arguments: [
        ("User@B\u{dc}CHER.example", "user@xn--bcher-kva.example"), ("User@Example.ORG", "user@example.org"),
        ("J\u{dc}rgen", "j\u{dc}rgen"), ("a@b@B\u{dc}CHER.", "a@b@xn--bcher-kva."), ("u@\u{301}b", "u@xn--b-wbb"), ("", ""), ("@", "@"),
    ])
    func mailboxesAndAccounts(text: String, expected: String) {
        #expect(text.foldedMailbox == expected && expected.foldedMailbox == expected)
    }

    @Test func lengthsAreThoseOfALabels() throws {
        let label = "\u{fc}" + String(repeating: "a", count: 50)
        #expect(try #require(DomainName("\(label).org")).asciiForm != nil)
        // What can be no A-label stays as it is.
        let tooLong = "\u{fc}" + String(repeating: "a", count: 58) + ".org"
        let name = try #require(DomainName(tooLong))
        #expect(name.asciiForm == nil && name.text == tooLong)
        #expect(Mailbox("u@" + tooLong)?.domain == tooLong)
        // 18 names of 16 octets with 17 dots: it grows beyond 253.
        #expect(DomainName(Array(repeating: "\u{fc}\u{fc}aaaaaaaa", count: 18).joined(separator: ".")) == nil)
        // 84 octets that make an A-label of fewer than 63.
        let short = String(repeating: "\u{65e5}", count: 28)
        #expect(try #require(DomainName(short)).asciiForm?.text.utf8.count ?? 99 <= 63)
        let endless = String(repeating: "\u{fc}.", count: 100_000)
        #expect(endless.withALabels == endless && DomainName(endless) == nil)
        // As far apart as scalars are.
        #expect(Punycode.encode(String(repeating: "\u{80}\u{10ffff}", count: 40)) == nil)
    }
}

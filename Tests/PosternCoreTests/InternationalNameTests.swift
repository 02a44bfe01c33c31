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

    @Test func lengthsAreJudgedAgain() throws {
        let label = "\u{fc}" + String(repeating: "a", count: 50)
        #expect(try #require(DomainName("\(label).org")).asciiForm != nil)
        #expect(try #require(DomainName("\u{fc}" + String(repeating: "a", count: 58) + ".org")).asciiForm == nil)
        let long = Array(repeating: "\u{fc}\u{fc}aaaaaaaa", count: 18).joined(separator: ".")
        #expect(try #require(DomainName(long)).asciiForm == nil)
        // As far apart as scalars are.
        #expect(Punycode.encode(String(repeating: "\u{80}\u{10ffff}", count: 40)) == nil)
    }
}

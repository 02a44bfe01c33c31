import PosternCore
import Testing

@testable import SPF

/// What may stand in a record (RFC 7208 §4.5, §4.6, §12).
struct RecordTests {
    private func parse(_ text: String) throws(SPFSyntaxError) -> SPFRecord { try SPFRecord(parsing: Array(text.utf8)) }

    private func flaw(_ term: String) -> SPFSyntaxError.Flaw? {
        do throws(SPFSyntaxError) {
            _ = try parse("v=spf1 ip4:192.0.2.1 \(term) -all")
            return nil
        } catch {
            return error.flaw
        }
    }

    @Test func mechanismsAndModifiers() throws {
        let record = try parse(
            "V=SPF1  +A mx:mail.example.org/24//64 ?PTR ~ip4:192.0.2.7/24 ip6:2001:DB8::/32 -exists:%{ir}.sbl.example.org "
                + "include:_spf.%{d2} Redirect=_r.example.org EXP=why.%{o} op=auth x.y-z_9=%{t}/:= -ALL  ")
        #expect(record.directives.map(\.qualifier) == [.pass, .pass, .neutral, .softfail, .pass, .fail, .pass, .fail])
        #expect(record.directives[0].mechanism == .a(nil, PrefixLengths()))
        let mail = try MacroString(domainSpec: Array("mail.example.org".utf8)[...])
        #expect(record.directives[1].mechanism == .mx(mail, PrefixLengths(v4: 24, v6: 64)))
        #expect(record.directives[2].mechanism == .ptr(nil))
        #expect(record.directives[3].mechanism == .ip4(try #require(Prefix("192.0.2.0/24"))))
        #expect(record.directives[4].mechanism == .ip6(Prefix("2001:db8::/32")))
        #expect(record.directives[7].mechanism == .all)
        #expect(record.directives[1].text == "mx:mail.example.org/24//64")
        #expect(record.redirect != nil && record.explanation != nil)
    }

    @Test(
        arguments: [
            ("moo", .unknownMechanism), ("-", .unknownMechanism), ("++a", .unknownMechanism), ("a.", .unknownMechanism),
            ("redirect:example.org", .unknownMechanism), ("ipv4:192.0.2.1", .unknownMechanism), ("v=spf1:", nil),
            ("all:", .argument), ("all/0", .argument), ("all:example.org", .argument),
            ("include", .domainMissing), ("include:", .domainMissing), ("exists", .domainMissing), ("ptr:", .domainMissing),
            ("a:", .domainMissing), ("mx:/24", .domainMissing), ("redirect=", .domainMissing), ("exp=", .domainMissing),
            ("include/24", .prefixLength), ("ptr/24", .prefixLength), ("include:example.org/24", .domainEnd),
            ("a:museum", .domainEnd), ("a:museum.", .domainEnd), ("a:example.-com", .domainEnd), ("a:example.com-", .domainEnd),
            ("a:example.org..", .domainEnd), ("a:%{d}org", .domainEnd), ("exists:foo.%{d}.", .domainEnd),
            ("exists:%{i}.7", .domainEnd), ("a:.", .domainEnd), ("a:example.12", .domainEnd), ("redirect=-all", .domainEnd),
            ("a:192.0.2.1", .addressForName), ("mx:192.0.2.1/24", .addressForName), ("a:example.org:25", .domainEnd),
            ("a:.org", nil), ("a:example.1-2", nil), ("a:example.xn--zckzah.", nil), ("a:a/b.example.org/24", nil), ("a:%{d}.org", nil),
            ("exists:%%", nil), ("exists:x%_", nil), ("exists:%-", nil),
            ("a/33", .prefixLength), ("a/032", .prefixLength), ("a/", .prefixLength), ("a//129", .prefixLength), ("a/24/64", .prefixLength),
            ("a///64", .prefixLength), ("a/1234", .prefixLength), ("a//00", .prefixLength), ("a:example.org/24/64", .prefixLength),
            ("a:example.org/24/24", .domainEnd),
            ("a/0//0", nil),
            ("ip4", .address), ("ip4:", .address), ("ip4:192.0.2", .address), ("ip4:192.0.2.01", .address), ("ip4:192.0.2.1:25", .address),
            ("ip4:::ffff:192.0.2.1", .address), ("ip4:192.0.2.256", .address), ("ip4:192.0.2.1/33", .prefixLength),
            ("ip4:192.0.2.1/", .prefixLength), ("ip4:192.0.2.1//32", .prefixLength), ("ip4:192.0.2.1/+8", .prefixLength),
            ("ip6:192.0.2.1", .address), ("ip6::1::2", .address), ("ip6:fe80::1%eth0", .address), ("ip6:::1/129", .prefixLength),
            ("ip6:::1//64", .prefixLength), ("ip6:::1.2.3.4/96", nil),
            ("exists:%{x}.org", .macroLetter), ("exists:%{c}.org", .macroLetter), ("exists:%{r}.org", .macroLetter),
            ("exp=%{t}.org", .macroLetter), ("x=%{t}.org", nil), ("x=%{a}", .macroLetter),
            ("exists:%{d0}.org", .macro), ("exists:%{d00}.org", .macro), ("exists:%{d99999999999999999999r.-+,/_=}.org", nil),
            ("exists:%{dr2}.org", .macro), ("exists:%{d:}.org", .macro), ("exists:%{}.org", .macro), ("exists:%{d.org", .macro),
            ("exists:%d.org", .macro), ("exists:x.org%", .macro), ("x=%", .macro), ("x=", nil),
            ("1x=y", .modifierName), ("=y", .modifierName), ("-redirect=example.org", .modifierName), ("x!=y", .modifierName),
            ("x=y\u{7f}", .octet), ("a\tmx", .octet), ("a:\u{fc}.example.org", .octet), ("a:example.org\0", .octet), ("x=a\rb", .octet),
            ("redirect=a.org redirect=b.org", .twice), ("exp=a.org EXP=a.org", .twice), ("x=1 x=2", nil),
        ] as [(String, SPFSyntaxError.Flaw?)])
    func grammar(term: String, expected: SPFSyntaxError.Flaw?) {
        #expect(flaw(term) == expected)
    }

    @Test(arguments: [
        ("v=spf1", true), ("v=SPF1 ", true), ("v=spf10", false), ("v=spf1\t-all", false), (" v=spf1", false), ("v=spf", false), ("", false),
        ("spf1", false), ("v=spf2.0/pra a", false),
    ])
    func versions(text: String, isRecord: Bool) {
        #expect(SPFRecord.isRecord(Array(text.utf8)) == isRecord)
    }

    @Test func whatIsNoRecord() {
        #expect(throws: SPFSyntaxError.self) { try SPFRecord(parsing: Array("v=DKIM1 a".utf8)) }
    }

    /// RFC 7208 §5: IPv4-mapped addresses are IPv4, so a network of them has nobody in it, and a wider one has others.
    @Test(
        arguments: [
            ("ip6:::ffff:192.0.2.1", nil), ("ip6:::ffff:0:0/96", nil), ("ip6:::ffff:192.0.2.1/90", "::ffc0:0:0/90"),
            ("ip6:::ffff:192.0.2.1/64", "::/64"), ("ip6:::ffff:192.0.2.1/0", "::/0"),
        ] as [(String, String?)])
    func mappedNetworks(term: String, expected: String?) throws {
        let record = try parse("v=spf1 \(term)")
        #expect(record.directives.first?.mechanism == .ip6(expected.flatMap { Prefix($0) }))
    }

    @Test func termsAreBounded() throws {
        let most = "v=spf1" + String(repeating: " a", count: SPFLimits.terms)
        #expect(try parse(most).directives.count == SPFLimits.terms)
        #expect(throws: SPFSyntaxError(term: "mx", flaw: .tooManyTerms)) { try parse(most + " mx") }
    }

    @Test func longTermsAreQuotedInPart() throws {
        let name = String(repeating: "x", count: 5000)
        let error = #expect(throws: SPFSyntaxError.self) { try parse("v=spf1 \(name)") }
        #expect(error?.description == "\(name.prefix(SPFLimits.quotedOctets))...: there is no such mechanism")
        let record = try parse("v=spf1 exists:\(name).org")
        #expect(record.directives.first?.text.utf8.count == SPFLimits.quotedOctets + 3)
    }

    @Test(
        arguments: [
            ("Example.ORG.", "example.org"), ("a b%c.d:e/f@g.org", "a b%c.d:e/f@g.org"), ("a", "a"),
            (String(repeating: "a", count: 63), "="),
            (String(repeating: "a", count: 64), nil), ("", nil), (".", nil), ("a..b", nil), (".a", nil), ("a..", nil), ("a\tb.org", nil),
            ("b\u{fc}cher.org", nil), (Array(repeating: "abcdefghi", count: 25).joined(separator: ".") + ".xyz", "="),
            (Array(repeating: "abcdefghi", count: 25).joined(separator: ".") + ".xyz1", nil),
        ] as [(String, String?)])
    func queryNames(text: String, expected: String?) {
        #expect(QueryName(text)?.text == (expected == "=" ? text : expected))
    }
}

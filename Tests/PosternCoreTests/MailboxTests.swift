import PosternCore
import Testing

@Suite("Mailboxes")
struct MailboxTests {
    @Test(
        "are split at the last @",
        arguments: [
            ("user@example.org", "user", "example.org"), ("User@Example.ORG.", "User", "example.org"),
            ("a@b@example.org", "a@b", "example.org"),
            ("postmaster", "postmaster", ""), ("user@", "user", ""), ("@example.org", "", "example.org"), ("@", "", ""),
            ("user@[192.0.2.1]", "user", "[192.0.2.1]"), ("user@[IPv6:2001:DB8::1]", "user", "[ipv6:2001:db8::1]"),
            ("\"john smith\"@example.org", "\"john smith\"", "example.org"),
            // RFC 5321 §4.1.2: quotes that change nothing.
            ("\"postmaster\"@example.org", "postmaster", "example.org"), ("\"post\\master\"", "postmaster", ""),
            ("\"a.b\"@example.org", "a.b", "example.org"), ("\"a..b\"@example.org", "\"a..b\"", "example.org"),
            ("\"a.\"@example.org", "\"a.\"", "example.org"), ("\"a@b\"@example.org", "\"a@b\"", "example.org"),
            ("\"\"@example.org", "\"\"", "example.org"), ("\"a\\\"@example.org", "\"a\\\"", "example.org"),
            ("\"a\\\"b\"@example.org", "\"a\\\"b\"", "example.org"), ("\"\u{fc}\"@example.org", "\u{fc}", "example.org"),
            ("user@\u{0301}example.org", "user", "xn--example-sge.org"),
        ])
    func split(text: String, local: String, domain: String) throws {
        let mailbox = try #require(Mailbox(text))
        #expect(Array(mailbox.localPart.utf8) == Array(local.utf8))
        #expect(Array(mailbox.domain.utf8) == Array(domain.utf8))
    }

    @Test("of no text at all are none")
    func empty() {
        #expect(Mailbox("") == nil)
        #expect(ReversePath("") == .null)
        #expect(ReversePath("").mailbox == nil)
        #expect(ReversePath("").description == "")
        #expect(ReversePath("a@example.org").mailbox?.domain == "example.org")
    }

    @Test("keep the case of the local part, and fold it for look-ups")
    func folding() throws {
        let mailbox = try #require(Mailbox("John.Doe@Example.org"))
        #expect(mailbox.description == "John.Doe@example.org")
        #expect(mailbox.folded == "john.doe@example.org")
        #expect(mailbox != Mailbox("john.doe@example.org"))
        #expect(mailbox.canonical == "John.Doe@example.org")
        let quoted = try #require(Mailbox(#""John\ Doe"@Example.org"#))
        #expect(quoted.canonical == #""John Doe"@example.org"# && quoted.description == #""John\ Doe"@example.org"#)
        #expect(Mailbox("PostMaster")?.folded == "postmaster")
        #expect(Mailbox("PostMaster")?.description == "PostMaster")
        #expect(Mailbox("JÖRG@example.org")?.folded == "jÖrg@example.org")
    }

    @Test(
        "are compared by what their local part means: in quotes where it needs them, and nowhere else",
        arguments: [
            (#""John"@example.org"#, "john@example.org"), (#""a\b"@x.y"#, "ab@x.y"), (#""a b"@x.y"#, #""a b"@x.y"#),
            (#""a\ b"@x.y"#, #""a b"@x.y"#), ("a b@x.y", #""a b"@x.y"#), (#""a@b"@x.y"#, #""a@b"@x.y"#), ("a@b@x.y", #""a@b"@x.y"#),
            (#""q\"\\"@x.y"#, #""q\"\\"@x.y"#), (#"q"\@x.y"#, #""q\"\\"@x.y"#), (#""open@x.y"#, #""\"open"@x.y"#),
            (#""a"b"@x.y"#, #""\"a\"b\""@x.y"#), (#""end\"@x.y"#, #""\"end\\\""@x.y"#), ("\"\"@x.y", "\"\"@x.y"),
            ("a..b@x.y", "a..b@x.y"), (#""a..b"@x.y"#, "a..b@x.y"), ("*@x.y", #""*"@x.y"#), (#""*"@x.y"#, #""*"@x.y"#),
            ("!#$%&'+-/=?^_`{|}~@x.y", "!#$%&'+-/=?^_`{|}~@x.y"), ("@x.y", "@x.y"),
        ])
    func meaning(text: String, folded: String) throws {
        let mailbox = try #require(Mailbox(text))
        #expect(mailbox.folded == folded)
        #expect(Mailbox(folded)?.folded == folded, "what it is folded to is folded already")
    }

    @Test("have a domain name unless the domain is a literal, empty or malformed")
    func domainNames() {
        #expect(Mailbox("a@Example.org")?.domainName?.text == "example.org")
        for text in ["a@[192.0.2.1]", "a", "a@", "a@exa mple.org", "a@example..org"] {
            #expect(Mailbox(text)?.domainName == nil, "\(text)")
        }
    }

    @Test("lose one final dot of the domain, not more")
    func finalDot() {
        #expect(Mailbox(localPart: "a", domain: "example.org.").domain == "example.org")
        #expect(Mailbox(localPart: "a", domain: "example.org..").domain == "example.org.")
        #expect(Mailbox(localPart: "a", domain: ".").domain == "")
    }
}

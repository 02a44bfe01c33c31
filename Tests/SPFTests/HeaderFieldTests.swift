import PosternCore
import SPF
import Testing

/// `Received-SPF` (RFC 7208 §9.1) and the words of RFC 8601, whatever strangers put into them.
struct HeaderFieldTests {
    private let resolver = ZoneResolver(
        texts: [
            "example.org": "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -ip4:203.0.113.1 ~ip4:203.0.113.2 ?all", "broken.org": "v=spf1 moo",
            "mail.example.org": "v=spf1 -all",
        ], ["late.org": [.timeout]])

    @Test func aPass() async throws {
        let outcome = try await check(resolver)
        #expect(
            outcome.receivedSPF
                == "Received-SPF: pass (mx.example.net: domain of example.org designates 192.0.2.1 as permitted sender) client-ip=192.0.2.1; "
                + "envelope-from=\"jo@example.org\"; helo=mail.example.org; receiver=mx.example.net; identity=mailfrom; "
                + "mechanism=\"ip4:192.0.2.0/24\"")
        #expect(outcome.authenticationResult == "spf=pass smtp.mailfrom=jo@example.org")
    }

    @Test func overIPv6AndWithoutAReceiver() async throws {
        let outcome = try await check(ip: "2001:db8::1", receiver: "", resolver)
        #expect(
            outcome.receivedSPF.hasPrefix(
                "Received-SPF: pass (domain of example.org designates 2001:db8::1 as permitted sender) client-ip=\"2001:db8::1\"; "))
        #expect(!outcome.receivedSPF.contains("receiver="))
    }

    @Test(arguments: [
        ("203.0.113.1", "jo@example.org", "fail", "domain of example.org does not designate 203.0.113.1 as permitted sender"),
        (
            "203.0.113.2", "jo@example.org", "softfail",
            "domain of transitioning example.org does not designate 203.0.113.2 as permitted sender"
        ),
        ("203.0.113.3", "jo@example.org", "neutral", "203.0.113.3 is neither permitted nor denied by domain of example.org"),
        ("192.0.2.1", "jo@none.org", "none", "domain of none.org does not publish an SPF record"),
        ("192.0.2.1", "jo", "none", "no domain to check"),
        ("192.0.2.1", "jo@late.org", "temperror", "error in processing the record of late.org, which may pass"),
        ("192.0.2.1", "jo@broken.org", "permerror", "the record of broken.org cannot be interpreted"),
    ])
    func eachResult(ip: String, sender: String, result: String, words: String) async throws {
        let outcome = try await check(ip: ip, from: sender, resolver)
        #expect(outcome.summary == words)
        #expect(outcome.receivedSPF.hasPrefix("Received-SPF: \(result) (mx.example.net: \(words)) client-ip="))
        #expect(outcome.authenticationResult.hasPrefix("spf=\(result) smtp.mailfrom="))
    }

    @Test func problemsAreTold() async throws {
        let broken = try await check(from: "jo@broken.org", resolver)
        #expect(broken.receivedSPF.hasSuffix("; mechanism=default; problem=\"broken.org: moo: there is no such mechanism\""))
        let late = try await check(from: "jo@late.org", resolver)
        #expect(late.receivedSPF.hasSuffix("; problem=\"the DNS gave no answer to late.org TXT\""))
    }

    @Test func theNullSender() async throws {
        let outcome = try await check(from: "", resolver)
        #expect(outcome.result == .fail && !outcome.receivedSPF.contains("envelope-from"))
        #expect(outcome.authenticationResult == "spf=fail smtp.helo=mail.example.org")
        #expect(try await check(from: "", helo: "", resolver).authenticationResult == "spf=none")
        let address = try #require(IPAddress("192.0.2.1"))
        let helo = await SPFCheck.helo("mail.example.org", address: address, receiver: "", time: WallTime(seconds: 0), resolver: resolver)
        #expect(helo.receivedSPF.contains("; identity=helo; ") && helo.authenticationResult == "spf=fail smtp.helo=mail.example.org")
    }

    /// No octet of a stranger's ends a line, a comment or a quoted string.
    @Test(arguments: [
        "x\r\nX-Evil: yes", "x) y(", "x\" ; spf=pass", "x\\", "x\\\"", "\u{0}\u{7f}\u{1b}[2J", "\u{202e}abc", "a;b=c", "(((", "\"\"",
        String(repeating: "\\", count: 2000), String(repeating: "\"", count: 2000), String(repeating: "\u{fc}", count: 2000),
        "a" + String(repeating: "\u{301}", count: 5000),
    ])
    func injection(text: String) async throws {
        for (sender, helo, receiver) in [
            ("\(text)@example.org", text, text), ("jo@\(text)", "h", "r"), ("", text, "r"), (text, text, ""),
            ("\(text)@" + text, "\(text).org", "mx.example.net"),
        ] {
            let outcome = try await check(from: sender, helo: helo, receiver: receiver, resolver)
            expectSound(outcome)
        }
    }

    @Test func aLocalPartThatNeedsQuoting() async throws {
        #expect(
            try await check(from: "j o\"e@example.org", resolver).authenticationResult == "spf=pass smtp.mailfrom=\"j o\\\"e@example.org\"")
        #expect(try await check(from: "j\u{fc}@example.org", resolver).authenticationResult == "spf=pass smtp.mailfrom=example.org")
        let long = String(repeating: "x", count: 400)
        #expect(try await check(from: "\(long)@example.org", resolver).authenticationResult == "spf=pass smtp.mailfrom=example.org")
    }

    /// What would make the line too long is left out, and the rest stays.
    @Test func longValues() async throws {
        let local = String(repeating: "x", count: 900)
        let outcome = try await check(from: "\(local)@example.org", helo: String(repeating: "h", count: 700), resolver)
        let line = outcome.receivedSPF
        #expect(line.utf8.count <= 998 && line.contains("client-ip=192.0.2.1;") && !line.contains("envelope-from"))
        #expect(line.contains("mechanism=\"ip4:192.0.2.0/24\"") && line.contains("helo=hhh"))
    }
}

/// Header fields of any outcome: one line, printable, bounded, and with quotes and comments that end where they should.
func expectSound(_ outcome: SPFOutcome, sourceLocation: SourceLocation = #_sourceLocation) {
    let line = outcome.receivedSPF
    #expect(line.utf8.count <= SPFOutcome.lineOctets, sourceLocation: sourceLocation)
    #expect(line.utf8.allSatisfy { $0 >= 0x20 && $0 <= 0x7e }, "\(line)", sourceLocation: sourceLocation)
    let prefix = "Received-SPF: \(outcome.result.rawValue) "
    #expect(line.hasPrefix(prefix), sourceLocation: sourceLocation)
    var rest = Array(line.utf8)[prefix.utf8.count...]
    var isSound = rest.skipComment() && rest.skip(" ")
    while isSound {
        isSound = rest.skipKey() && rest.skip("=") && rest.skipValue()
        guard rest.skip("; ") else { break }
    }
    #expect(isSound && rest.isEmpty, "\(line)", sourceLocation: sourceLocation)

    let result = outcome.authenticationResult
    #expect(result.utf8.count <= SPFOutcome.lineOctets, sourceLocation: sourceLocation)
    var words = Array(result.utf8)[...]
    isSound = words.skip("spf=\(outcome.result.rawValue)")
    if isSound, !words.isEmpty {
        isSound = words.skip(" smtp.mailfrom=") || words.skip(" smtp.helo=")
        if words.first == UInt8(ascii: "\"") {
            isSound = isSound && words.skipQuoted() && words.isEmpty
        } else {
            isSound = isSound && words.allSatisfy { $0 > 0x20 && $0 < 0x7f && !Array("()<>,;:\\\"[]".utf8).contains($0) }
        }
    }
    #expect(isSound, "\(result)", sourceLocation: sourceLocation)
    for text in [outcome.explanation, outcome.problem?.description] {
        #expect(text?.utf8.allSatisfy { $0 >= 0x20 && $0 <= 0x7e } != false, sourceLocation: sourceLocation)
    }
}

/// A reader of the grammar of RFC 7208 §9.1, apart from what writes it.
extension ArraySlice<UInt8> {
    fileprivate mutating func skip(_ text: String) -> Bool {
        guard starts(with: text.utf8) else { return false }
        self = dropFirst(text.utf8.count)
        return true
    }

    fileprivate mutating func skipKey() -> Bool {
        let key = prefix { $0 == UInt8(ascii: "-") || $0 >= UInt8(ascii: "a") && $0 <= UInt8(ascii: "z") }
        self = dropFirst(key.count)
        return !key.isEmpty
    }

    fileprivate mutating func skipComment() -> Bool {
        guard skip("(") else { return false }
        while let octet = popFirst() {
            if octet == UInt8(ascii: ")") { return true }
            if octet == UInt8(ascii: "(") { return false }
            if octet == UInt8(ascii: "\\"), popFirst() == nil { return false }
        }
        return false
    }

    fileprivate mutating func skipQuoted() -> Bool {
        guard skip("\"") else { return false }
        while let octet = popFirst() {
            if octet == UInt8(ascii: "\"") { return true }
            if octet == UInt8(ascii: "\\"), popFirst() == nil { return false }
        }
        return false
    }

    fileprivate mutating func skipValue() -> Bool {
        if first == UInt8(ascii: "\"") { return skipQuoted() }
        let value = prefix { $0 > 0x20 && !Array("()<>@,;:\\\"[]".utf8).contains($0) }
        self = dropFirst(value.count)
        return !value.isEmpty && value.first != UInt8(ascii: ".") && value.last != UInt8(ascii: ".")
    }
}

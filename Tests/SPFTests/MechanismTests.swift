import PosternCore
import SPF
import Testing

/// What matches, and what a match through it is worth.
struct MechanismTests {
    private static let zone: [String: [ZoneResolver.Record]] = [
        "a.example.org": .at("192.0.2.1", "2001:db8:1::1"),
        "mx.example.org": [.exchanger("other.example.org"), .exchanger("a.example.org.")],
        "other.example.org": .at("198.51.100.1", "2001:db8:2::1"),
        "1.2.0.192.in-addr.arpa": [.pointer("mail.example.org")], "mail.example.org": .at("192.0.2.1"),
        "near.example.org": .at("192.0.200.77", "2001:db8:ffff::1"), "late.example.org": [.timeout],
        "alias.example.org": [.alias("A.Example.org")], "loop.example.org": [.alias("loop.example.org")],
        "192.0.2.1.x.org": .at("127.0.0.2"), "192.0.2.1.a.org": .at("192.0.2.1"), "jo.a.org": .at("192.0.2.1"),
        "192.0.2.1.i.org": [.text("v=spf1 ip4:192.0.2.1")],
        "good.example.org": [.text("v=spf1 ip4:192.0.2.0/24 -all exp=why.example.org")],
        "everybody.example.org": [.text("v=spf1 +all")], "wide.example.org": [.text("v=spf1 ip4:192.0.0.0/15")],
        "deep.example.org": [.text("v=spf1 -ip4:203.0.113.1 include:wide.example.org")],
        "broken.example.org": [.text("v=spf1 moo")], "why.example.org": [.text("go away")],
        "soft.example.org": [.text("v=spf1 ~ip4:192.0.2.1")],
    ]

    private func outcome(_ record: String, ip: String = "192.0.2.1") async throws -> SPFOutcome {
        try await check(ip: ip, ZoneResolver(texts: ["example.org": "v=spf1 \(record)"], Self.zone))
    }

    @Test(
        arguments: [
            ("ip4:192.0.2.1", "192.0.2.1", SPFResult.pass), ("ip4:192.0.2.9/29", "192.0.2.15", .pass),
            ("ip4:192.0.2.9/29", "192.0.2.16", .neutral),
            ("ip4:0.0.0.0/0", "2001:db8::1", .neutral), ("ip6:::/0", "192.0.2.1", .neutral),
            ("ip6:::ffff:192.0.2.1", "192.0.2.1", .neutral),
            ("ip6:2001:db8::/32", "2001:db8:ffff::1", .pass), ("ip4:192.0.2.1", "::ffff:192.0.2.1", .pass),
            ("-a:a.example.org", "192.0.2.1", .fail), ("~a:A.EXAMPLE.ORG", "2001:db8:1::1", .softfail),
            ("a:other.example.org", "192.0.2.1", .neutral),
            ("a:near.example.org/16", "192.0.2.1", .pass), ("a:near.example.org/24", "192.0.2.1", .neutral),
            ("a:near.example.org//32", "2001:db8:1::1", .pass), ("a:near.example.org/0", "2001:db8:1::1", .neutral),
            ("a:alias.example.org", "192.0.2.1", .pass), ("a:loop.example.org", "192.0.2.1", .temperror),
            ("mx:mx.example.org", "192.0.2.1", .pass), ("mx:mx.example.org//128", "2001:db8:1::1", .pass),
            ("mx:a.example.org", "192.0.2.1", .neutral),
            ("mx:mx.example.org/24", "198.51.100.200", .pass), ("mx:late.example.org", "192.0.2.1", .temperror),
            ("ptr", "192.0.2.1", .pass), ("ptr:mail.example.org", "192.0.2.1", .pass), ("ptr:ail.example.org", "192.0.2.1", .neutral),
            ("ptr:example.net", "192.0.2.1", .neutral), ("exists:%{i}.x.org", "192.0.2.1", .pass),
            ("exists:%{i}.x.org", "192.0.2.2", .neutral),
            ("exists:a.example.org", "2001:db8::9", .pass), ("exists:late.example.org", "192.0.2.1", .temperror),
            ("?include:good.example.org -all", "192.0.2.1", .neutral), ("include:soft.example.org -all", "192.0.2.1", .fail),
            ("include:late.example.org", "192.0.2.1", .temperror), ("include:broken.example.org", "192.0.2.1", .permerror),
            ("include:none.example.org", "192.0.2.1", .permerror), ("include:org", "192.0.2.1", .permerror),
            ("redirect=good.example.org", "192.0.2.1", .pass), ("redirect=good.example.org ?all", "192.0.2.1", .neutral),
            ("redirect=none.example.org", "192.0.2.1", .permerror), ("redirect=late.example.org", "192.0.2.1", .temperror),
            ("redirect=soft.example.org", "192.0.2.7", .neutral), ("", "192.0.2.1", .neutral),
        ] as [(String, String, SPFResult)])
    func results(record: String, ip: String, expected: SPFResult) async throws {
        let outcome = try await outcome(record, ip: ip)
        #expect(outcome.result == expected, "\(outcome)")
        #expect((outcome.problem?.result ?? expected) == expected)
    }

    @Test(
        arguments: [
            ("ip4:192.0.2.0/24", "192.0.2.1", nil), ("ip4:192.0.0.0/16", "192.0.2.1", nil), ("ip4:192.0.0.0/15", "192.0.2.1", .wideNetwork),
            ("ip4:0.0.0.0/0", "192.0.2.1", .wideNetwork), ("ip6:2001:db8::/32", "2001:db8::1", nil),
            ("ip6:2001:db8::/31", "2001:db8::1", .wideNetwork),
            ("a:a.example.org", "192.0.2.1", nil), ("a:a.example.org/16", "192.0.2.1", nil),
            ("a:a.example.org/15", "192.0.2.1", .wideNetwork),
            // The other family's length is of no weight.
            ("a:a.example.org/8", "2001:db8:1::1", nil), ("a:a.example.org/8//31", "2001:db8:1::1", .wideNetwork),
            ("mx:mx.example.org", "192.0.2.1", nil), ("mx:mx.example.org/8", "192.0.2.1", .wideNetwork),
            ("+all", "192.0.2.1", .all), ("-ip4:203.0.113.9 all", "192.0.2.1", .all), ("ptr", "192.0.2.1", .ptr),
            ("exists:%{i}.x.org", "192.0.2.1", .exists), ("exists:a.example.org", "192.0.2.1", .exists),
            ("include:good.example.org", "192.0.2.1", nil), ("include:everybody.example.org", "192.0.2.1", .all),
            ("include:wide.example.org", "192.0.2.1", .wideNetwork), ("include:deep.example.org", "192.0.2.1", .wideNetwork),
            ("redirect=good.example.org", "192.0.2.1", nil), ("redirect=everybody.example.org", "192.0.2.1", .all),
            ("redirect=deep.example.org", "192.0.2.1", .wideNetwork),
            // The first match decides, as it decides the result.
            ("ip4:192.0.2.1 +all", "192.0.2.1", nil), ("include:soft.example.org ip4:192.0.2.1", "192.0.2.1", nil),
            // Whose name is asked for is the client's choice, or anything can be answered to it.
            ("a:%{h}", "192.0.2.1", .namedByClient), ("a:%{p}", "192.0.2.1", .namedByClient), ("a:%{i}.a.org", "192.0.2.1", .namedByClient),
            ("a:%{l}.a.org", "192.0.2.1", .namedByClient), ("include:%{i}.i.org", "192.0.2.1", .namedByClient),
            ("redirect=%{i}.i.org", "192.0.2.1", .namedByClient), ("a:a.%{d}", "192.0.2.1", nil), ("include:good.%{o}", "192.0.2.1", nil),
        ] as [(String, String, SPFWeakness?)])
    func whatAPassRestsOn(record: String, ip: String, expected: SPFWeakness?) async throws {
        let outcome = try await outcome(record, ip: ip)
        #expect(outcome.result == .pass && outcome.weakness == expected && outcome.givesIdentity == (expected == nil), "\(outcome)")
    }

    @Test func widthsAreSettings() async throws {
        var settings = SPFSettings()
        settings.identityPrefixes = PrefixLengths(v4: 24, v6: 48)
        for (record, expected) in [("ip4:192.0.2.0/24", nil), ("ip4:192.0.2.0/23", SPFWeakness.wideNetwork)] {
            let resolver = ZoneResolver(texts: ["example.org": "v=spf1 \(record)"])
            #expect(try await check(settings: settings, resolver).weakness == expected)
        }
    }

    @Test func onlyAPassGivesAnIdentity() async throws {
        for record in ["-ip4:192.0.2.1", "~ip4:192.0.2.1", "?ip4:192.0.2.1", "", "moo", "-all"] {
            let outcome = try await outcome(record)
            #expect(!outcome.givesIdentity && outcome.weakness == nil)
        }
        #expect(!(try await check(ZoneResolver([:])).givesIdentity))
    }

    @Test func theTermsThatLedThere() async throws {
        #expect(
            try await outcome("a:other.example.org include:deep.example.org -all").terms == [
                .init(domain: "example.org", text: "include:deep.example.org"),
                .init(domain: "deep.example.org", text: "include:wide.example.org"),
                .init(domain: "wide.example.org", text: "ip4:192.0.0.0/15"),
            ])
        #expect(
            try await outcome("redirect=good.example.org").terms == [
                .init(domain: "example.org", text: "redirect=good.example.org"),
                .init(domain: "good.example.org", text: "ip4:192.0.2.0/24"),
            ])
        #expect(try await outcome("-ALL").mechanism == "-ALL")
        let nothing = try await outcome("redirect=soft.example.org", ip: "192.0.2.7")
        #expect(nothing.terms.isEmpty && nothing.mechanism == "default")
    }

    // MARK: - Explanations

    @Test(
        arguments: [
            ("-all exp=why.example.org", "go away"), ("-all", nil), ("~all exp=why.example.org", nil), ("+all exp=why.example.org", nil),
            ("include:good.example.org -all", nil), ("-include:everybody.example.org exp=why.example.org", "go away"),
            ("redirect=good.example.org", "go away"), ("redirect=good.example.org exp=none.example.org", "go away"),
            ("-all exp=none.example.org", nil), ("-all exp=late.example.org", nil), ("-all exp=a..b.org", nil), ("-all exp=%{h}", nil),
        ] as [(String, String?)])
    func explanations(record: String, expected: String?) async throws {
        #expect(try await outcome(record, ip: "203.0.113.7").explanation == expected)
    }

    @Test(
        arguments: [
            ("%{i} is not %{d}'s 100%%%_sure%-%{L}", "192.0.2.1 is not example.org's 100% sure%20jo%2Fx"),
            ("%{c} at %{t} on %{r}, %{R}", "192.0.2.1 at 1795161600 on mx.example.net, mx.example.net"),
            ("%{h}", "ev?il??"), ("ends in a dot.", "ends in a dot."), ("%{x}", nil), ("50%", nil), ("tab\there", nil), ("", nil),
            ("\u{fc}ber", nil), ("%{p}", "unknown"),
        ] as [(String, String?)])
    func explanationTexts(text: String, expected: String?) async throws {
        let resolver = ZoneResolver(texts: ["example.org": "v=spf1 -all exp=why.example.org", "why.example.org": text])
        #expect(try await check(from: "jo/x@example.org", helo: "ev\u{7}il\r\n", resolver).explanation == expected)
    }

    @Test func explanationsOfSeveralRecordsAndStrings() async throws {
        func text(_ records: [ZoneResolver.Record]) async throws -> String? {
            try await check(ZoneResolver(["example.org": [.text("v=spf1 -all exp=why.example.org")], "why.example.org": records]))
                .explanation
        }
        #expect(try await text([.text([Array("go ".utf8), Array("away".utf8)])]) == "go away")
        #expect(try await text([.text("go"), .text("away")]) == nil)
        #expect(try await text([.text(String(repeating: "x", count: 3000))])?.utf8.count == SPFLimits.explanationOctets)
        #expect(try await text([.text(String(repeating: "x", count: SPFLimits.recordOctets + 1))]) == nil)
    }

    @Test func explanationsCanBeLeftOut() async throws {
        var settings = SPFSettings()
        settings.explains = false
        let resolver = ZoneResolver(texts: ["example.org": "v=spf1 -all exp=why.example.org", "why.example.org": "go away"])
        let outcome = try await check(settings: settings, resolver)
        #expect(outcome.result == .fail && outcome.explanation == nil && resolver.questions == ["example.org TXT"])
    }

    // MARK: - Who is checked

    @Test func identities() async throws {
        let resolver = ZoneResolver(texts: ["mail.example.org": "v=spf1 ip4:192.0.2.1 -all", "example.org": "v=spf1 -all"])
        let null = try await check(from: "", helo: "Mail.Example.ORG.", resolver)
        #expect(null.result == .pass && null.identity == .mailFrom && null.domain?.text == "mail.example.org" && null.sender == .null)
        #expect(try await check(from: "jo@example.org", helo: "mail.example.org", resolver).result == .fail)
        let address = try #require(IPAddress("192.0.2.1"))
        let helo = await SPFCheck.helo(
            "mail.example.org", address: address, receiver: "mx.example.net", time: WallTime(seconds: 0), resolver: resolver)
        #expect(helo.result == .pass && helo.identity == .helo && helo.domain?.text == "mail.example.org")
    }

    @Test(arguments: [
        ("jo@localhost", "x"), ("jo@[192.0.2.1]", "x"), ("jo", "x"), ("jo@192.0.2.1", "x"), ("jo@a..b.org", "x"), ("", ""),
        ("", "localhost"),
        ("", "[192.0.2.1]"), ("", "[IPv6:2001:db8::1]"), ("", "192.0.2.1"), ("", "two words.example.org"), ("jo@example .org", "x"),
        ("jo@" + String(repeating: "a", count: 64) + ".org", "x"), ("jo@" + String(repeating: "a.", count: 127) + "org", "x"),
        ("jo@\u{fc}" + String(repeating: "a", count: 60) + ".org", "x"),
    ])
    func whatIsNoDomain(sender: String, helo: String) async throws {
        let resolver = ZoneResolver([:])
        let outcome = try await check(from: sender, helo: helo, resolver)
        #expect(outcome.result == .none && outcome.domain == nil && outcome.problem == nil && resolver.questions.isEmpty)
    }

    @Test func internationalDomains() async throws {
        let resolver = ZoneResolver(texts: ["xn--bcher-kva.example": "v=spf1 ip4:192.0.2.1 -all"])
        for sender in ["jo@b\u{fc}cher.example", "jo@B\u{dc}CHER.example", "jo@xn--bcher-kva.example"] {
            let outcome = try await check(from: sender, resolver)
            #expect(outcome.result == .pass && outcome.domain?.text == "xn--bcher-kva.example")
        }
    }
}

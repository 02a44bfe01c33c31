import PosternCore
import SPF
import Testing

/// Macros, seen by the questions that they lead to (RFC 7208 §7).
struct MacroTests {
    /// What `exists:` asks for; `nil` where it asks for nothing.
    private func expansion(
        _ spec: String, from sender: String = "strong-bad@email.example.com", ip: String = "192.0.2.3", helo: String = "mail.example.org",
        others: [String: [ZoneResolver.Record]] = [:]
    ) async throws -> String? {
        let domain = ReversePath(sender).mailbox?.domainName?.asciiForm?.text ?? helo
        let resolver = ZoneResolver(texts: [domain: "v=spf1 exists:\(spec) -all"], others)
        let outcome = try await check(ip: ip, from: sender, helo: helo, resolver)
        #expect(outcome.result == .fail, "\(outcome)")
        // `%{p}` asks for addresses too.
        let asked = resolver.questions.filter { $0.hasSuffix(" A") && (!spec.contains("%{p}") || $0.hasSuffix("x.org A")) }
        return asked.last.map { String($0.dropLast(2)) }
    }

    /// RFC 7208 §7.4.
    @Test(
        arguments: [
            ("%{s}", "strong-bad@email.example.com"), ("%{o}", "email.example.com"), ("%{d}", "email.example.com"),
            ("%{d4}", "email.example.com"), ("%{d3}", "email.example.com"), ("%{d2}", "example.com"), ("%{d1}", "com"),
            ("%{dr}", "com.example.email"), ("%{d2r}", "example.email"), ("%{l}", "strong-bad"), ("%{l-}", "strong.bad"),
            ("%{lr}", "strong-bad"), ("%{lr-}", "bad.strong"), ("%{l1r-}", "strong"),
            ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"), ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
            ("%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"),
            ("%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"),
            ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
            ("%{h}", "mail.example.org"), ("%{i2}", "2.3"), ("%{D127}", "email.example.com"), ("%{S}", "strong-bad%40email.example.com"),
            ("a%%b%_c%-d.org", "a%b c%20d.org"),
        ])
    func examplesOfTheRFC(spec: String, expected: String) async throws {
        #expect(try await expansion(spec) == expected)
    }

    @Test func addressesOfIPv6() async throws {
        #expect(
            try await expansion("%{ir}.%{v}._spf.%{d2}", ip: "2001:db8::cb01")
                == "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com")
        #expect(try await expansion("%{i}.x.org", ip: "::ffff:192.0.2.3") == "192.0.2.3.x.org")
    }

    @Test func partsAndDelimiters() async throws {
        #expect(try await expansion("%{l2r+-}.x.org", from: "a-b+c@example.com") == "b.a.x.org")
        #expect(try await expansion("%{l+}.x.org", from: "a.b+c@example.com") == "a.b.c.x.org")
        #expect(try await expansion("%{lr/=_,}.x.org", from: "a=b/c_d@example.com") == "d.c.b.a.x.org")
        // Empty parts are parts, and what they make is no name.
        #expect(try await expansion("%{l-}.x.org", from: "a--b@example.com") == nil)
        #expect(try await expansion("%{l1-}.x.org", from: "a--b@example.com") == "b.x.org")
    }

    @Test func withoutALocalPart() async throws {
        #expect(try await expansion("%{l}.%{o}.x.org", from: "", helo: "mx.example.com") == "postmaster.mx.example.com.x.org")
        #expect(try await expansion("%{s}", from: "@example.com") == "postmaster@example.com")
    }

    /// RFC 7208 §7.3: labels go from the left until 253 octets are left.
    @Test func longNamesAreCutFromTheLeft() async throws {
        let label = String(repeating: "y", count: 49)
        let spec = Array(repeating: label, count: 5).joined(separator: ".")
        #expect(spec.utf8.count == 249)
        #expect(try await expansion("%{l}.\(spec).org", from: "abcd.efg@example.com") == "\(spec).org")
        #expect(try await expansion("%{l}.\(spec)%{d1}.org", from: "a.b@example.z") == "\(label).\(label).\(label).\(label)z.org")
        let exact = "\(spec).org"
        #expect(exact.utf8.count == 253)
        #expect(try await expansion("x.\(exact).") == exact)
        let longTail =
            "a." + String(repeating: "b", count: 60) + "." + Array(repeating: "c234567890", count: 30).joined(separator: ".") + ".org"
        let cut = try await expansion(longTail)
        #expect(cut.map { longTail.hasSuffix("." + $0) && (243...253).contains($0.utf8.count) } == true)
        // One label that is all of the name cannot be cut.
        #expect(try await expansion(String(repeating: "d", count: 300) + ".%{l}", from: "x@example.com") == "x")
        #expect(try await expansion(String(repeating: "%{l}", count: 300), from: "x@example.com") == nil)
    }

    /// RFC 7208 §7.3: the domain, else one below, else any; only confirmed ones; else "unknown".
    @Test func confirmedNames() async throws {
        let pointers: [ZoneResolver.Record] = ["forged.example.com", "other.example.net", "mail.Example.COM.", "example.com"].map {
            .pointer($0)
        }
        var zone: [String: [ZoneResolver.Record]] = [
            "3.2.0.192.in-addr.arpa": pointers, "forged.example.com": .at("192.0.2.9"), "other.example.net": .at("192.0.2.3"),
            "mail.example.com": .at("192.0.2.8", "192.0.2.3"),
        ]
        let spec = "%{p}.x.org"
        #expect(try await expansion(spec, from: "jo@example.com", others: zone) == "mail.example.com.x.org")
        zone["mail.example.com"] = nil
        #expect(try await expansion("y.%{p}.x.org", from: "jo@example.com", others: zone) == "y.other.example.net.x.org")
        zone["example.com"] = .at("192.0.2.3")
        #expect(try await expansion(spec, from: "jo@example.com", others: zone) == "example.com.x.org")
        #expect(try await expansion(spec, from: "jo@example.com") == "unknown.x.org")
        zone["3.2.0.192.in-addr.arpa"] = [.timeout]
        #expect(try await expansion(spec, from: "jo@example.com", others: zone) == "unknown.x.org")
    }

    /// RFC 8616 §4: such a local part matches nothing, and U-labels become A-labels.
    @Test func internationalMail() async throws {
        #expect(try await expansion("%{l}.x.org", from: "j\u{fc}rgen@example.com") == nil)
        #expect(try await expansion("%{s}", from: "j\u{fc}rgen@example.com") == nil)
        #expect(try await expansion("%{o}.x.org", from: "j\u{fc}rgen@B\u{fc}cher.example") == "xn--bcher-kva.example.x.org")
        // As an include matches nothing, it is no error either.
        let resolver = ZoneResolver(texts: ["example.org": "v=spf1 include:%{l}.example.org ~all"])
        #expect(try await check(from: "j\u{fc}@example.org", resolver).result == .softfail)
    }

    @Test func strangeNamesMatchNothing() async throws {
        for helo in [
            "", "a..b", "tab\there", "b\u{fc}cher.example", String(repeating: "h", count: 64), String(repeating: "h.", count: 600),
        ] {
            #expect(try await expansion("x.%{h}", helo: helo) == (helo.hasPrefix("h.") ? nil : helo.isEmpty ? "x" : nil), "\(helo)")
        }
        for domain in ["a:%{h}", "mx:%{h}", "ptr:%{h}"] {
            let resolver = ZoneResolver(texts: ["example.org": "v=spf1 \(domain) ~all"])
            let outcome = try await check(helo: "a..b", resolver)
            #expect(outcome.result == .softfail && resolver.questions.count == 1 && outcome.lookups == 1 && outcome.voidLookups == 0)
        }
        for term in ["include:%{h}", "redirect=%{h}"] {
            let outcome = try await check(helo: "a..b", ZoneResolver(texts: ["example.org": "v=spf1 \(term)"]))
            #expect(outcome.result == .permerror)
        }
    }

    @Test func whatIsOfThisMessageOnly() async throws {
        for (record, expected) in [
            ("a -all", false), ("exists:%{i}.%{v}.%{d}.%{o}.%{p}.x.org -all", false), ("exists:%{l}.x.org -all", true),
            ("exists:%{s} -all", true), ("a:%{h} -all", true), ("-all exp=why.example.org", true), ("-all exp=%{h}.example.org", true),
            ("?all exists:%{l}.x.org", false),
        ] {
            let resolver = ZoneResolver(texts: ["example.org": "v=spf1 \(record)", "why.example.org": "%{t}"])
            #expect(try await check(resolver).isOfThisMessageOnly == expected, "\(record)")
        }
    }
}

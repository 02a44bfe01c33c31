import PosternCore
import Testing

@testable import MailExchangers

private func host(_ text: String, _ behaviour: Behaviour?) throws -> Host {
    let address = try #require(IPAddress(text))
    return Host(address, special: SpecialNetworks.kind(of: address), behaviour: behaviour)
}

private func exchanger(
    _ preference: UInt16, _ name: String, _ address: String = "9.9.9.1", _ behaviour: Behaviour? = .accepts, own: Bool = true
) throws
    -> Exchanger
{
    Exchanger(preference: preference, name: name, addresses: [try host(address, behaviour)], isOwn: own)
}

private let deferring = Behaviour.defers(.rcpt, code: 451, text: "later")
private let rejecting = Behaviour.rejects(.rcpt, code: 550, text: "never")

@Suite struct JudgementTests {
    private func survey(_ exchangers: Exchanger..., connected: Bool = true) throws -> Survey {
        Survey(domain: try #require(DomainName("a.example")), records: .exchangers, exchangers: exchangers, connected: connected)
    }

    private func codes(_ survey: Survey) -> [String] { survey.pitfalls.map { "\($0.severity) \($0.code.rawValue)" } }

    @Test func whatShouldBeIsNotAnError() throws {
        let plan = try survey(
            exchanger(10, "mx0", "9.9.9.1", .refuses), exchanger(20, "mx1", "9.9.9.2"), exchanger(90, "mx9", "9.9.9.3", deferring))
        #expect(codes(plan) == ["note nolisting", "note fake-last"])
        let advice = try #require(plan.pitfalls.first?.advice)
        #expect(advice.contains("JavaMail") && advice.contains("qmail"))
        #expect(try codes(survey(exchanger(10, "mx"))) == ["note single"])
    }

    @Test func aHostInSeveralRecordsIsToldOfOnce() throws {
        func alias(_ preference: UInt16) throws -> Exchanger {
            var alias = try exchanger(preference, "mx.a.example", "192.0.2.1", nil)
            alias.alias = "host.example"
            return alias
        }
        let twice = try survey(alias(10), alias(20), exchanger(30, "mx3", "9.9.9.3", nil), connected: false)
        #expect(codes(twice) == ["error alias", "error special-address", "warning repeated-host"])
        #expect(twice.pitfalls.last?.text == "mx.a.example stands in 2 MX records (10, 20)")
        let rejected = try survey(
            exchanger(10, "mx1"), exchanger(20, "mx2", "9.9.9.2", rejecting), exchanger(30, "mx2", "9.9.9.2", rejecting),
            exchanger(40, "mx9", "9.9.9.9", deferring))
        #expect(codes(rejected) == ["warning repeated-host", "error rejects", "note fake-last"])
    }

    @Test func aPlanSaysWhoIsOnlyPublished() throws {
        let domain = try #require(DomainName("a.example"))
        func purpose(_ plan: MXPlan) -> String? { plan.records.first { $0.value == "20 mx.a.example." }?.purpose }
        let named = MXPlan(domain: domain, real: ["mx.a.example"], closed: nil, trap: nil)
        let published = MXPlan(domain: domain, real: ["mx.a.example"], isPublished: true, closed: nil, trap: nil)
        #expect(purpose(named) == "takes the mail")
        #expect(purpose(published) == "published now; name those that take mail with --real")
        #expect(published.warnings.count == named.warnings.count + 1)
    }

    @Test func theFirstMustRefuseAtOnceOrTakeMail() throws {
        let second = try exchanger(20, "mx1", "9.9.9.2")
        for (behaviour, code) in [
            (Behaviour.timesOut, "error first-times-out"), (.unreachable("no route to host"), "error first-times-out"),
            (deferring, "error first-defers"), (.defers(.greeting, code: 421, text: "busy"), "error first-defers"),
            (rejecting, "error first-rejects"),
            (.silent(after: .connect), "error first-is-silent"), (.drips(after: .connect), "error first-is-silent"),
            (.hangsUp(after: .ehlo), "error first-is-silent"),
            (.notSMTP("SSH-2.0"), "error first-is-silent"), (.defers(.rcpt, code: 450, text: "Greylisted, see"), "warning first-defers"),
        ] {
            #expect(try codes(survey(exchanger(10, "mx0", "9.9.9.1", behaviour), second)).first == code, "\(behaviour)")
        }
    }

    @Test func theLastMustDeferNeverReject() throws {
        let first = try exchanger(10, "mx1", "9.9.9.1")
        for (behaviour, code) in [
            (rejecting, "error last-rejects"), (.rejects(.greeting, code: 554, text: "no"), "error last-rejects"),
            (deferring, "note fake-last"),
            (.accepts, "note last-accepts"), (.refuses, "note down"), (.timesOut, "warning down"),
            (.silent(after: .connect), "warning down"), (.drips(after: .ehlo), "note tarpit"),
        ] as [(Behaviour, String)] {
            #expect(try codes(survey(first, exchanger(90, "mx9", "9.9.9.9", behaviour))).last == code, "\(behaviour)")
        }
    }

    @Test func aHostOfSomebodyElsesThatDefersIsWarnedOf() throws {
        let first = try exchanger(10, "mx1", "9.9.9.1")
        #expect(
            try codes(survey(first, exchanger(90, "tarbaby.example.com", "9.9.9.9", deferring, own: false))).contains(
                "warning foreign-fake"))
        // Up to RCPT one that defers at DATA looks like one that takes mail.
        #expect(
            try codes(survey(first, exchanger(90, "tarbaby.example.com", "9.9.9.9", own: false)))
                == ["note last-accepts", "warning foreign-fake"])
        // Where all are a provider's, so is the last.
        #expect(
            try codes(
                survey(exchanger(10, "mx1.provider.example", own: false), exchanger(90, "mx2.provider.example", "9.9.9.9", own: false)))
                == ["note last-accepts"])
    }

    @Test func whoAloneTakesMailMayBeAFakeOne() throws {
        let closed = try survey(exchanger(10, "mx0", "9.9.9.1", .refuses), exchanger(90, "mx9", "9.9.9.9"))
        #expect(codes(closed) == ["note nolisting", "note last-accepts"])
        #expect(closed.pitfalls.last?.advice.contains("--data") == true && closed.pitfalls.last?.text.contains("no other does") == true)
        let atData = Behaviour.defers(.data, code: 451, text: "stand-in")
        #expect(
            try codes(survey(exchanger(10, "mx0", "9.9.9.1", .refuses), exchanger(90, "mx9", "9.9.9.9", atData)))
                == ["error nobody-accepts", "note nolisting", "note fake-last"])
    }

    @Test func ofSeveralAddressesTheWorstCounts() throws {
        func host(_ preference: UInt16, _ behaviours: Behaviour...) throws -> Exchanger {
            let hosts = try behaviours.enumerated().map { index, behaviour in
                Host(try #require(IPAddress("9.9.\(preference).\(index)")), special: nil, behaviour: behaviour)
            }
            return Exchanger(preference: preference, name: "mx\(preference)", addresses: hosts, isOwn: true)
        }
        let real = try host(20, .accepts)
        #expect(try codes(survey(real, host(90, deferring, rejecting))) == ["warning mixed-addresses", "error last-rejects"])
        #expect(try codes(survey(host(10, .accepts, rejecting), real)).prefix(2) == ["warning mixed-addresses", "error first-rejects"])
        #expect(
            try codes(survey(host(10, .refuses, .silent(after: .connect)), real)).prefix(2)
                == ["warning mixed-addresses", "error first-is-silent"])
        #expect(try codes(survey(host(10, .accepts, .timesOut), real)).prefix(2) == ["warning mixed-addresses", "error first-times-out"])
        // A machine without IPv6 finds no way to such addresses; and a sender goes past a closed one.
        #expect(try codes(survey(host(10, .accepts, .unreachable("no route")), real)) == ["warning mixed-addresses", "note last-accepts"])
        #expect(try codes(survey(host(10, .accepts, .refuses), real)) == ["warning mixed-addresses", "note last-accepts"])
        #expect(try codes(survey(host(10, .accepts, .timesOut))) == ["warning mixed-addresses", "warning down", "note single"])
    }

    @Test func namesAndAddresses() throws {
        var alias = try exchanger(10, "mx.a.example")
        alias.alias = "host.example"
        #expect(try codes(survey(alias, connected: false)) == ["error alias"])
        #expect(try codes(survey(Exchanger(preference: 10, name: "192.0.2.1", isOwn: false), connected: false)) == ["error literal"])
        #expect(try codes(survey(Exchanger(preference: 10, name: "mx", isOwn: true), connected: false)) == ["error no-address"])
        #expect(
            try codes(survey(Exchanger(preference: 10, name: "mx", failure: "timeout", isOwn: true), connected: false))
                == ["error lookup-failed"])
        #expect(
            try codes(survey(exchanger(10, "mx"), Exchanger(preference: 0, name: "", isOwn: true), connected: false))
                == ["error null-mx-beside-others"])
        #expect(try codes(survey(exchanger(10, "a"), exchanger(20, "b"), connected: false)) == ["warning shared-address"])
        #expect(try codes(survey(exchanger(10, "mx", "2a00::1"), connected: false)) == ["warning no-ipv4"])
    }

    @Test func whereNobodyIsThere() throws {
        #expect(
            try codes(survey(exchanger(10, "a", "9.9.9.1", .timesOut), exchanger(20, "b", "9.9.9.2", .refuses))) == ["error nobody-answers"]
        )
        #expect(try codes(survey(exchanger(10, "a", "9.9.9.1", rejecting))) == ["error nobody-accepts", "error rejects"])
        #expect(
            try codes(survey(exchanger(10, "a", "9.9.9.1", .refuses), exchanger(10, "b", "9.9.9.2"), exchanger(20, "c", "9.9.9.3")))
                == ["note nolisting", "warning dead-beside-living", "note last-accepts"])
        var mixed = try exchanger(10, "a", "9.9.9.1", .refuses)
        mixed.addresses.append(try host("9.9.9.2", .accepts))
        #expect(try codes(survey(mixed)) == ["warning mixed-addresses", "note single"])
    }

    @Test(arguments: [
        (Survey.Records.null, "note null-mx"), (.none, "error no-mail"), (.noSuchDomain, "error no-such-domain"),
        (.unknown("timeout"), "error lookup-failed"),
    ])
    func domainsWithoutExchangers(records: Survey.Records, code: String) throws {
        #expect(codes(Survey(domain: try #require(DomainName("a.example")), records: records, connected: true)) == [code])
    }

    @Test(arguments: [
        ("10.1.2.3", "RFC 1918"), ("172.31.0.1", "RFC 1918"), ("192.168.9.9", "RFC 1918"), ("192.0.2.1", "RFC 5737"),
        ("198.51.100.1", "RFC 5737"),
        ("203.0.113.255", "RFC 5737"), ("169.254.1.1", "RFC 3927"), ("127.0.0.1", "RFC 1122 §3.2.1.3"), ("0.1.2.3", "RFC 791 §3.2"),
        ("100.64.0.1", "RFC 6598"), ("224.0.0.1", "RFC 5771"), ("255.255.255.255", "RFC 1112 §4"), ("198.19.255.1", "RFC 2544"),
        ("::1", "RFC 4291 §2.5.3"), ("fe80::1", "RFC 4291 §2.5.6"), ("fd00::1", "RFC 4193"), ("2001:db8::1", "RFC 3849"),
        ("4000::1", "RFC 4291 §2.4"), ("2002::1", "RFC 7526"), ("::ffff:10.0.0.1", "RFC 1918"),
    ])
    func addressesThatAreNotPublic(text: String, source: String) throws {
        #expect(SpecialNetworks.kind(of: try #require(IPAddress(text)))?.source == source)
    }

    @Test(arguments: ["8.8.8.8", "172.32.0.1", "192.0.3.1", "100.128.0.1", "2a00:1450::1", "2606:4700::1111", "198.20.0.1", "11.0.0.1"])
    func publicAddresses(text: String) throws {
        #expect(SpecialNetworks.kind(of: try #require(IPAddress(text))) == nil)
    }

    @Test func thePlan() throws {
        let plan = MXPlan(
            domain: try #require(DomainName("a.example")), real: ["one.a.example", "two.example"], closed: nil, trap: IPAddress("9.9.9.9"))
        #expect(
            plan.records.map { "\($0.name) \($0.type) \($0.value)" } == [
                "a.example. MX 10 mx0.a.example.", "mx0.a.example. A ADDRESS-WITH-PORT-25-CLOSED", "a.example. MX 20 one.a.example.",
                "a.example. MX 30 two.example.", "a.example. MX 110 mx9.a.example.", "mx9.a.example. A 9.9.9.9",
            ])
        #expect(plan.records.filter(\.isOptional).count == 2 && plan.warnings.contains { $0.contains("JavaMail") })
        #expect(plan.zoneFile[0].hasPrefix("a.example.     3600 IN MX 10 mx0.a.example.  ; optional, nolisting"), "\(plan.zoneFile)")
    }
}

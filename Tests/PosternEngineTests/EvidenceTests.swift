import EngineTestSupport
import PosternCore
import PosternEngine
import Testing

/// A site that looks things up.
private func site(_ change: (inout EngineSettings) -> Void = { _ in }) -> Site {
    Site {
        $0.looksUp = true
        $0.ourDomains = [DomainName("example.net")!]
        change(&$0)
    }
}

private func spf(_ result: SPFFinding.Result, _ domain: String = "example.org", identifies: Bool = true) -> SPFFinding {
    SPFFinding(result, domain: DomainName(domain), identifies: identifies)
}

private func clean() -> Findings {
    var findings = Findings()
    findings.spf = spf(.pass)
    findings.listsAnswered = 1
    return findings
}

@Suite("Evidence")
struct EvidenceTests {
    // MARK: Profiles

    @Test("a clean first-timer is held for seconds in selective, and deferred in classic")
    func profiles() {
        var selective = site()
        selective.findings = clean()
        let verdict = selective.rcpt()
        #expect(verdict.action == .hold(.seconds(5)) && verdict.word == "clean")
        var classic = site { $0.profile = .classic }
        classic.findings = clean()
        #expect(classic.rcpt().action == .defer)
    }

    @Test("whoever passed as clean is known from then on, and nothing is looked up")
    func cleanIsRemembered() {
        var site = site()
        site.findings = clean()
        _ = site.rcpt()
        site.wait(.hours(1))
        site.findings = Findings()
        #expect(site.rcpt().word == "known")
        #expect(site.lookUps == 1)
    }

    @Test("where an address is registered counts where nobody asks the DNS, and nothing is asked where that adds nothing")
    func countriesWithoutResolvers() {
        for country in [true, false] {
            var site = Site {
                if country { $0.countries = ["ZZ": 20] } else { $0.networkOwners = [64_500: 20] }
            }
            site.findings.country = "ZZ"
            site.findings.network = NetworkOwner(number: 64_500, name: "")
            let verdict = site.rcpt()
            #expect(verdict.action == .reject && site.lookUps == 1)
        }
        var indifferent = Site { _ in }
        indifferent.findings.country = "ZZ"
        #expect(indifferent.rcpt().action == .defer && indifferent.lookUps == 0)
    }

    enum Lacking: CaseIterable, Sendable {
        case nobodyVouches, passThroughAll, noListAnswered, listed, aboveTheBand
    }

    @Test("clean needs evidence", arguments: Lacking.allCases)
    func cleanNeedsEvidence(lacking: Lacking) {
        var site = site()
        site.findings = clean()
        switch lacking {
        case .nobodyVouches: site.findings.spf = spf(.none)
        case .passThroughAll: site.findings.spf = spf(.pass, identifies: false)
        case .noListAnswered: site.findings.listsAnswered = 0
        case .listed: site.findings.listings = [Listing(list: "bl.example", score: 3, reply: "127.0.0.2")]
        case .aboveTheBand: site.findings.senderDomain = .none
        }
        #expect(site.rcpt().action == .defer)
    }

    @Test("a confirmed name vouches as SPF does, unless it is a provider's for the address")
    func confirmedName() {
        var site = site()
        site.findings.listsAnswered = 1
        site.findings.reverseName = .confirmed(DomainName("mail.example.org")!)
        #expect(site.rcpt().word == "clean")
        site.findings.reverseName = .confirmed(DomainName("192-0-2-9.dsl.example.org")!)
        #expect(site.rcpt(from: "carol@example.org", address: "192.0.2.9").action == .defer)
    }

    @Test("where nothing is looked up the unknown are greylisted in both profiles", arguments: Profile.allCases)
    func nothingLookedUp(profile: Profile) {
        var site = Site { $0.profile = profile }
        #expect(site.rcpt(name: "mail.example.org").action == .defer)
    }

    @Test("a list of the good spares from greylisting in both profiles", arguments: Profile.allCases)
    func listOfTheGood(profile: Profile) {
        var site = site { $0.profile = profile }
        site.findings.listings = [Listing(list: "wl.example", score: -4, reply: "127.0.9.2")]
        #expect(site.rcpt().word == "well-listed")
    }

    // MARK: Refusals

    @Test("a score in the highest band is refused, with every check named")
    func refused() {
        var site = site()
        site.findings.listings = [
            Listing(list: "a.example", score: 6, reply: "127.0.0.2"), Listing(list: "b.example", score: 4, reply: "127.0.0.4"),
        ]
        let verdict = site.rcpt()
        #expect(verdict.action == .reject)
        #expect(verdict.causes.map(\.description).contains("dns-lists (b.example 127.0.0.4) adds 4.0"))
        #expect(site.rows.triplets.isEmpty)
    }

    @Test("postmaster is reached, the admin's allowed and the proven pass, whatever the lists say")
    func spared() {
        var site = site { $0.greylist.provenAfter = 1 }
        site.findings.listings = [Listing(list: "a.example", score: 20, reply: "127.0.0.2")]
        #expect(site.rcpt("postmaster@example.net").action == .accept)
        site.engine.lists.insert(ListEntry(.allow, .client, .prefix(Prefix(IPAddress("198.51.100.0")!, length: 24)), added: site.now))
        #expect(site.rcpt(address: "198.51.100.7").action == .accept)
        site.findings = clean()
        #expect(site.rcpt(address: "203.0.113.5").word == "clean")
        site.findings.listings = [Listing(list: "a.example", score: 20, reply: "127.0.0.2")]
        #expect(site.rcpt("else@example.net", from: "x@example.org", address: "203.0.113.5").word == "proven")
    }

    @Test("a triplet that passed is judged anew after a day")
    func judgedAnew() {
        var site = site { $0.greylist.provenAfter = 0 }
        site.findings = clean()
        _ = site.rcpt()
        site.findings.listings = [Listing(list: "a.example", score: 20, reply: "127.0.0.2")]
        site.wait(.hours(23))
        #expect(site.rcpt().word == "known")
        site.wait(.hours(25))
        #expect(site.rcpt().action == .reject)
    }

    @Test("in shadow a check is shown and adds nothing; switched off it is not even shown", arguments: Mode.allCases)
    func modes(mode: Mode) {
        var site = site { $0.checks[.dnsLists] = CheckSetting(mode: mode, score: 0) }
        site.findings.listings = [Listing(list: "a.example", score: 20, reply: "127.0.0.2")]
        let verdict = site.rcpt()
        #expect((verdict.action == .reject) == (mode == .on))
        #expect(verdict.causes.contains { $0.word == "dns-lists" } == (mode != .off))
    }

    // MARK: Single checks

    @Test(
        "what a client calls itself",
        arguments: [
            ("192.0.2.1", [Check.heloSyntax, .heloIsAddress]), ("my_pc", [.heloSyntax]), ("my-pc", []), ("[192.0.2.1]", [.heloIsAddress]),
            ("[IPv6:2001:db8::1]", [.heloIsAddress]),
            ("mx.example.net", [.heloIsOurs]), ("EXAMPLE.NET", [.heloIsOurs]), ("mail.example.org", []), ("", []),
            ("[192.0.2.1", [.heloSyntax, .heloIsAddress]), ("[no address]", [.heloSyntax]),
        ] as [(String, [Check])])
    func helo(name: String, checks: [Check]) {
        var site = site()
        #expect(site.rcpt(helo: name).checks == checks)
    }

    @Test("a client on this machine may greet with its name")
    func heloOfThisMachine() {
        var site = site()
        site.findings.helo = .none
        #expect(site.rcpt(address: "127.0.0.9", helo: "mx.example.net").checks == [])
    }

    @Test("each finding has its check")
    func findings() {
        let cases: [((inout Findings) -> Void, [Check])] = [
            ({ $0.helo = .none }, [.heloUnresolvable]), ({ $0.helo = .elsewhere }, [.heloMismatch]), ({ $0.helo = .client }, []),
            ({ $0.reverseName = .none }, [.noReverseName]),
            ({ $0.reverseName = .unconfirmed(DomainName("mail.example.com")!) }, [.unconfirmedName]),
            ({ $0.reverseName = .unconfirmed(DomainName("192-0-2-1.dsl.example.com")!) }, [.unconfirmedName, .genericName]),
            ({ $0.senderDomain = .none }, [.senderDomain]), ({ $0.senderDomain = .nullMX }, [.senderNullMX]),
            ({ $0.spf = spf(.fail) }, [.spfFail]), ({ $0.spf = spf(.softfail) }, [.spfSoftfail]),
            ({ $0.spf = spf(.permerror) }, [.spfPermerror]), ({ $0.spf = spf(.temperror) }, []), ({ $0.spf = spf(.neutral) }, []),
            ({ $0.country = "XX" }, [.country]), ({ $0.country = "YY" }, []),
            ({ $0.network = NetworkOwner(number: 64_500, name: "EXAMPLE") }, [.asNumber]),
            ({ $0.network = NetworkOwner(number: 64_501, name: "OTHER") }, []),
        ]
        for (find, checks) in cases {
            var site = site {
                $0.countries = ["XX": 2]
                $0.networkOwners = [64_500: 3]
            }
            find(&site.findings)
            #expect(site.rcpt().checks == checks)
        }
    }

    // MARK: Identities

    @Test("a pool that retries from another network passes by its SPF domain; without SPF it waits anew")
    func pool() {
        var site = site { $0.profile = .classic }
        site.findings.spf = spf(.pass, "bounces.example.org")
        #expect(site.rcpt(address: "192.0.2.1").action == .defer)
        site.wait(.minutes(5))
        #expect(site.rcpt(address: "2001:db8::1").word == "passed")
        site.findings.spf = spf(.none)
        #expect(site.rcpt("carol@example.net", address: "192.0.2.1").action == .defer)
        site.wait(.minutes(5))
        #expect(site.rcpt("carol@example.net", address: "203.0.113.1").word == "new")
    }

    @Test("a DNS time-out at the first attempt or at the retry changes nothing")
    func timeOut() {
        for timesOutFirst in [true, false] {
            var site = site { $0.profile = .classic }
            if !timesOutFirst { site.findings.spf = spf(.pass) }
            _ = site.rcpt()
            site.findings.spf = timesOutFirst ? spf(.pass) : spf(.temperror)
            site.wait(.minutes(5))
            #expect(site.rcpt().word == "passed")
        }
    }

    @Test("an SPF pass that rests on all is no identity")
    func passThroughAll() {
        var site = site { $0.profile = .classic }
        site.findings.spf = spf(.pass, identifies: false)
        _ = site.rcpt(address: "192.0.2.1")
        site.wait(.minutes(5))
        #expect(site.rcpt(address: "203.0.113.1").word == "new")
    }

    @Test("allowing a sender counts with an SPF pass, and with nothing less", arguments: SPFFinding.Result.allCases)
    func allowedSender(result: SPFFinding.Result) {
        var site = site { $0.profile = .classic }
        site.engine.lists.insert(ListEntry(.allow, .sender, .domain(DomainName("example.org")!), added: site.now))
        site.findings.spf = spf(result)
        #expect(site.rcpt().word == (result == .pass ? "allowed" : "new"))
    }

    @Test("an allowed sender within a blocked domain is blocked where SPF does not vouch for it", arguments: SPFFinding.Result.allCases)
    func allowedSenderOfABlockedDomain(result: SPFFinding.Result) throws {
        var site = site { $0.profile = .classic }
        func add(_ list: ListEntry.List, _ text: String) throws {
            site.engine.lists.insert(ListEntry(list, .sender, try #require(Pattern(text)), added: site.now))
        }
        try add(.block, "example.org")
        try add(.allow, "mail.example.org")
        try add(.allow, "alice@example.org")
        site.findings.spf = spf(result)
        for sender in ["alice@example.org", "bob@mail.example.org"] {
            #expect(site.rcpt(from: sender).word == (result == .pass ? "allowed" : result == .temperror ? "new" : "blocked"))
        }
        #expect(site.rcpt(from: "bob@example.org").word == "blocked")
    }

    @Test("who is known already is asked about where an allow lifts a block")
    func knownSenderOfABlockedDomain() throws {
        var site = site { $0.profile = .classic }
        site.findings.spf = spf(.neutral)
        _ = site.rcpt(from: "alice@example.org")
        site.wait(.minutes(5))
        #expect(site.rcpt(from: "alice@example.org").word == "passed")
        for (list, text) in [(ListEntry.List.block, "example.org"), (.allow, "alice@example.org")] {
            site.engine.lists.insert(ListEntry(list, .sender, try #require(Pattern(text)), added: site.now))
        }
        #expect(site.rcpt(from: "alice@example.org").word == "blocked")
    }

    // MARK: Known correspondents

    @Test("the answer to a user's mail is not greylisted, from whoever SPF says may send it")
    func correspondents() {
        for result in [SPFFinding.Result.pass, .fail, .none] {
            var site = site { $0.profile = .classic }
            _ = site.rcpt("ann@mail.example.org", from: "joe@example.net", address: "192.0.2.77", account: "joe")
            site.wait(.hours(2))
            site.findings.spf = spf(result, "mail.example.org")
            let answer = site.rcpt("joe@example.net", from: "ann@mail.example.org", address: "203.0.113.4")
            #expect((answer.action == .accept) == (result == .pass))
            #expect(site.rcpt("eve@example.net", from: "ann@mail.example.org", address: "203.0.113.4").action == .defer)
        }
    }

    @Test("opted out of greylisting, or with greylisting off, a bad score is still refused")
    func optedOut() {
        var off = site { $0.greylist.mode = .off }
        off.findings.listings = [Listing(list: "a.example", score: 20, reply: "127.0.0.2")]
        #expect(off.rcpt().action == .reject)
        off.findings = Findings()
        #expect(off.rcpt().word == "greylist-off")
        var optedOut = site { $0.greylist.optOut = [.domain(DomainName("example.net")!)] }
        #expect(optedOut.rcpt().word == "opted-out")
        optedOut.findings.listings = [Listing(list: "a.example", score: 20, reply: "127.0.0.2")]
        #expect(optedOut.rcpt().action == .reject)
    }

    /// Of the null sender, whichever of its recipients came first.
    @Test(
        "a message without a sender to whom is opted out is judged by its score, at DATA",
        arguments: [["x@example.net"], ["x@example.net", "y@example.net"], ["postmaster@example.net", "x@example.net"]], [Mode.on, .off])
    func optedOutNullSender(recipients: [String], mode: Mode) {
        for recipients in [recipients, recipients.reversed()] {
            var site = site {
                $0.greylist.mode = mode
                $0.greylist.optOut = [.localPart("x@"), .localPart("y@")]
            }
            func data(_ instance: String) -> Verdict {
                for recipient in recipients { #expect(site.rcpt(recipient, from: "", instance: instance).action == .accept) }
                return site.data(recipients.count == 1 ? recipients[0] : nil, count: recipients.count, instance: instance)
            }
            #expect(data("a").word == (mode == .on ? "opted-out" : "greylist-off"))
            site.findings.listings = [Listing(list: "a.example", score: 20, reply: "127.0.0.2")]
            #expect(data("b").action == .reject)
        }
    }

    @Test("postmaster and abuse together are reachable at DATA, whatever the score", arguments: [Mode.on, .off])
    func postmasterAndAbuse(mode: Mode) {
        var site = site { $0.greylist.mode = mode }
        site.findings.listings = [Listing(list: "a.example", score: 20, reply: "127.0.0.2")]
        for recipient in ["postmaster@example.net", "abuse@example.net"] { _ = site.rcpt(recipient, from: "", instance: "a") }
        #expect(site.data(count: 2, instance: "a").word == "always-reachable")
    }

    @Test("a sum of scores reaches the band that it is written to reach")
    func sums() {
        var site = site { $0.bands.reject = 0.8 }
        site.findings.listings = [0.7, 0.1].map { Listing(list: "\($0).example", score: $0, reply: "127.0.0.2") }
        #expect(site.rcpt().action == .reject)
        var bands = Bands()
        bands.reject = 0.8
        #expect(bands.band(of: 0.7 + 0.1) == bands.band(of: 0.8))
    }

    @Test("a conversation with a bad score is refused where greylisting is off")
    func conversation() {
        var site = Site { $0.greylist.mode = .off }
        var attempt = Attempt(
            stage: .rcpt, client: Client(address: IPAddress("192.0.2.1"), helo: "x.example"), sender: ReversePath("a@example.org"),
            recipient: Mailbox("b@example.net"))
        attempt.isConversation = true
        attempt.signals = [.nonSMTP: 1]
        #expect(site.ask(attempt).action == .reject)
    }
}

extension Verdict {
    /// The checks that fired, in their order.
    fileprivate var checks: [Check] {
        causes.compactMap { if case .scored(let check, _, _, _) = $0 { check } else { nil } }
    }
}

import EngineTestSupport
import PosternCore
import PosternEngine
import Testing

@Suite("Exemptions and the admin's entries")
struct ExemptionTests {
    private func entry(
        _ list: ListEntry.List, _ kind: ListEntry.Kind, _ pattern: String, expires: WallTime? = nil
    ) throws -> ListEntry {
        ListEntry(list, kind, try #require(Pattern(pattern)), expires: expires, added: WallTime(seconds: 0))
    }

    private func prefixes(_ texts: String...) throws -> PrefixSet { PrefixSet(try texts.map { try #require(Prefix($0)) }) }

    // MARK: What somebody is

    @Test(
        "postmaster and abuse are always reachable, at any domain and in any case (RFC 5321 §4.5.1, RFC 2142 §4)",
        arguments: [
            "postmaster", "Postmaster", "POSTMASTER@example.net", "postmaster@any.example", "abuse@example.net", "ABUSE@Example.NET",
            "abuse",
            "postmaster@[192.0.2.1]", "\"postmaster\"@example.net", "\"post\\master\"@example.net", "\"Abuse\"@example.net",
        ])
    func alwaysReachable(recipient: String) throws {
        var site = Site()
        for pattern in ["192.0.2.0/24", "example.org", "example.net"] {
            for kind in ListEntry.Kind.allCases { site.engine.lists.insert(try entry(.block, kind, pattern)) }
        }
        let verdict = site.rcpt(recipient)
        #expect(verdict.action == .accept && verdict.word == "always-reachable")
        #expect(site.rcpt(recipient, from: "").word == "always-reachable")
    }

    @Test(
        "a name that only looks like postmaster is not",
        arguments: ["postmaster2@example.net", "xabuse@example.net", "abuse+x@example.net", "user@postmaster.example"])
    func notReachable(recipient: String) {
        var site = Site()
        #expect(site.rcpt(recipient).word == "new")
    }

    @Test("authenticated clients are never greylisted, and neither are local ones, forwarders and our own backup MXs")
    func exempt() throws {
        let local = try prefixes("10.0.0.0/8", "2001:db8:1::/48")
        let forwarders = try prefixes("198.51.100.0/24")
        let backup = try prefixes("203.0.113.7")
        var site = Site {
            $0.networks.local = local
            $0.networks.forwarders = forwarders
            $0.networks.backupMX = backup
        }
        #expect(site.rcpt(account: "alice").causes == [.authenticated(account: "alice")])
        #expect(site.rcpt(address: "10.1.2.3").word == "local")
        #expect(site.rcpt(address: "::ffff:10.1.2.3").word == "local")
        #expect(site.rcpt(address: "2001:db8:1:ffff::1").word == "local")
        #expect(site.rcpt(address: "2001:db8:2::1").word == "new")
        #expect(site.rcpt(address: "11.0.0.1").word == "new")
        #expect(site.rcpt(address: "198.51.100.200").word == "forwarder")
        #expect(site.rcpt(address: "203.0.113.7").word == "backup-mx")
        #expect(site.rcpt(address: "203.0.113.8").word == "new")
        // At DATA as well, where the null sender is judged.
        #expect(site.data("bob@example.net", address: "198.51.100.200").word == "forwarder")
    }

    @Test("a request without a client address passes")
    func noAddress() {
        var site = Site()
        let attempt = Attempt(
            stage: .rcpt, client: Client(address: nil), sender: ReversePath("a@b.example"), recipient: Mailbox("c@d.example"))
        #expect(site.ask(attempt).word == "no-client-address")
        #expect(site.rows.triplets.isEmpty)
    }

    @Test("nothing is deferred before RCPT, and nothing of a message with a sender after it", arguments: Stage.allCases)
    func stages(stage: Stage) {
        var site = Site()
        let verdict = site.ask(
            Attempt(
                stage: stage, client: Client(address: IPAddress("192.0.2.1"), helo: "x.example"), sender: ReversePath("alice@example.org"),
                recipient: stage == .rcpt || stage == .vrfy ? Mailbox("bob@example.net") : nil, recipientCount: stage == .data ? 1 : 0))
        #expect(verdict.action == (stage == .rcpt ? .defer : .accept))
        #expect(
            site.ask(Attempt(stage: stage, client: Client(address: IPAddress("192.0.2.1")))).action == (stage == .data ? .defer : .accept))
    }

    // MARK: Order

    @Test("each exemption gives way to the one before it")
    func order() throws {
        let everybody = try prefixes("192.0.2.0/24")
        var site = Site {
            $0.greylist.optOut = [.mailbox("bob@example.net")]
        }
        // From the last to the first: each step adds one more, which wins.
        #expect(site.rcpt().word == "opted-out")
        site.engine.settings.greylist.mode = .off
        #expect(site.rcpt().word == "greylist-off")
        site.engine.lists.insert(Release(recipient: "bob@example.net", expires: site.now + .minutes(10)))
        #expect(site.rcpt().word == "released")
        site.engine.lists.insert(try entry(.allow, .recipient, "bob@example.net"))
        #expect(site.rcpt().word == "allowed")
        site.engine.lists.insert(try entry(.allow, .client, "192.0.2.0/24"))
        let network = try entry(.allow, .client, "192.0.2.0/24")
        #expect(site.rcpt().causes == [.allowed(network)])
        site.engine.settings.networks.backupMX = everybody
        #expect(site.rcpt().word == "backup-mx")
        site.engine.settings.networks.forwarders = everybody
        #expect(site.rcpt().word == "forwarder")
        site.engine.settings.networks.local = everybody
        #expect(site.rcpt().word == "local")
        site.engine.lists.insert(try entry(.block, .sender, "example.org"))
        let domain = try entry(.block, .sender, "example.org")
        #expect(site.rcpt().causes == [.blocked(domain)])
        site.engine.lists.insert(try entry(.block, .client, "192.0.2.1"))
        let blocked = site.rcpt()
        let address = try entry(.block, .client, "192.0.2.1")
        #expect(blocked.action == .reject && blocked.causes == [.blocked(address)])
        #expect(site.rcpt(account: "alice").word == "authenticated")
        #expect(site.rcpt("abuse@example.net", account: "alice").word == "always-reachable")
    }

    @Test func aBounceToPostmasterPassesAtDataWhoeverSendsIt() throws {
        for mode in [Mode.on, .off] {
            var site = Site()
            site.engine.settings.greylist.mode = mode
            site.engine.lists.insert(try entry(.block, .client, "192.0.2.1"))
            func attempt(_ stage: Stage, _ recipient: String?) -> Attempt {
                Attempt(
                    stage: stage, client: Client(address: IPAddress("192.0.2.1")), recipient: recipient.flatMap { Mailbox($0) },
                    recipientCount: recipient == nil ? 2 : 0, instance: "1")
            }
            func ask(_ attempt: Attempt, _ memory: inout MessageMemory) throws -> Verdict {
                guard case .decided(let decision) = site.engine.begin(attempt, memory: memory, now: WallTime(seconds: 1_000_000)) else {
                    throw Undecided()
                }
                memory = decision.memory
                return decision.verdict
            }
            var memory = MessageMemory()
            for recipient in ["postmaster@example.net", "abuse@example.net"] {
                #expect(try ask(attempt(.rcpt, recipient), &memory).action == .accept)
            }
            #expect(try ask(attempt(.rcpt, "bob@example.net"), &memory).action == .reject)
            #expect(try ask(attempt(.data, nil), &memory).causes == [.alwaysReachable])
            var other = MessageMemory()
            #expect(try ask(attempt(.data, "bob@example.net"), &other).action == .reject)
        }
    }

    private struct Undecided: Error {}

    @Test("a policy service that is asked only behind RCPT refuses what is blocked", arguments: [Stage.data, .endOfMessage])
    func blockBehindRcpt(stage: Stage) throws {
        func attempt(_ recipient: String?, count: Int = 1, from sender: String = "alice@example.org", account: String? = nil) -> Attempt {
            Attempt(
                stage: stage, client: Client(address: IPAddress("192.0.2.1"), confirmedName: DomainName("mail.example.com")),
                sender: ReversePath(sender), recipient: recipient.flatMap { Mailbox($0) }, recipientCount: count, instance: "1",
                account: account)
        }
        for (kind, pattern) in [
            (ListEntry.Kind.client, "192.0.2.1"), (.client, "192.0.2.0/24"), (.client, "example.com"), (.sender, "example.org"),
        ] {
            var site = Site()
            let blocked = try entry(.block, kind, pattern)
            site.engine.lists.insert(blocked)
            #expect(site.ask(attempt("bob@example.net")) == Verdict(.reject, [.blocked(blocked)]), "\(pattern)")
            #expect(site.ask(attempt(nil, count: 2)).action == .reject)
            // Postmaster and abuse stay reachable, and nobody knows who a recipient is that is not named.
            #expect(site.ask(attempt("Postmaster@example.net")).causes == [.stageHasNoCheck])
            #expect(site.ask(attempt(nil)).causes == [.stageHasNoCheck])
            #expect(site.ask(attempt(nil, count: 0)).causes == [.stageHasNoCheck])
            #expect(site.ask(attempt("bob@example.net", account: "carol")).causes == [.stageHasNoCheck])
            // A gateway has asked about each recipient.
            var conversation = attempt("bob@example.net")
            conversation.isConversation = true
            #expect(site.ask(conversation).causes == [.stageHasNoCheck])
            // What is allowed more narrowly is.
            site.engine.lists.insert(try entry(.allow, kind, kind == .sender ? "alice@example.org" : "192.0.2.1"))
            #expect(site.ask(attempt("bob@example.net")).action == .accept)
        }
        var site = Site()
        site.engine.lists.insert(try entry(.block, .client, "192.0.2.1"))
        for recipient in ["postmaster@example.net", "abuse@example.net"] { #expect(site.rcpt(recipient, instance: "1").action == .accept) }
        #expect(site.ask(attempt(nil, count: 2)).causes == [.stageHasNoCheck])
        site.engine.lists.remove(.block, .client, try #require(Pattern("192.0.2.1")))
        site.messages = [:]
        #expect(site.ask(attempt(nil, count: 2)).causes == [.stageHasNoCheck])
    }

    @Test("nobody is refused while the recipient is not known; whoever asks for none may be", arguments: Stage.allCases)
    func blockWithoutRecipient(stage: Stage) throws {
        var site = Site()
        site.engine.lists.insert(try entry(.block, .client, "192.0.2.1"))
        let verdict = site.ask(Attempt(stage: stage, client: Client(address: IPAddress("192.0.2.1")), sender: ReversePath("a@b.example")))
        #expect((verdict.action == .reject) == [.rcpt, .vrfy, .etrn].contains(stage))
        guard stage == .vrfy else { return }
        let client = Client(address: IPAddress("192.0.2.1"))
        #expect(site.ask(Attempt(stage: stage, client: client, recipient: Mailbox("postmaster@example.net"))).action == .accept)
    }

    @Test("a block works in every mode")
    func blockInEveryMode() throws {
        for mode in Mode.allCases {
            var site = Site { $0.greylist.mode = mode }
            site.engine.lists.insert(try entry(.block, .sender, "alice@example.org"))
            #expect(site.rcpt(from: "Alice@Example.org").action == .reject)
            site.engine.lists.insert(try entry(.block, .recipient, "bob@example.net"))
            #expect(site.rcpt(from: "carol@example.org").action == .reject)
        }
    }

    @Test("an allow entry for a sender does not let mail pass: a sender is easily forged")
    func allowedSender() throws {
        var site = Site()
        site.engine.lists.insert(try entry(.allow, .sender, "example.org"))
        #expect(site.rcpt().word == "new")
        // It narrows a block, however.
        site.engine.lists.insert(try entry(.block, .sender, "org.example"))
        site.engine.lists.insert(try entry(.allow, .sender, "good@org.example"))
        #expect(site.rcpt(from: "bad@org.example").action == .reject)
        #expect(site.rcpt(from: "good@org.example").word == "new")
    }

    // MARK: Releases

    @Test("a release lets the next messages through until it ends, and only those it is about")
    func releases() {
        var site = Site()
        site.engine.lists.insert(
            Release(
                recipient: "Bob@Example.net", sender: "Alice@example.org", client: Prefix(IPAddress(v4: 0xc000_0200), length: 24),
                expires: site.now + .minutes(10)))
        #expect(site.rcpt("BOB@example.NET", from: "ALICE@example.org").word == "released")
        #expect(site.rcpt(address: "192.0.3.1").word == "new")
        #expect(site.rcpt(from: "carol@example.org").word == "new")
        #expect(site.rcpt("carol@example.net").word == "new")
        site.wait(.minutes(10) - .milliseconds(1))
        #expect(site.rcpt().causes == [.released(until: site.now + .milliseconds(1))])
        site.wait(.milliseconds(1))
        #expect(site.rcpt().word == "new")
    }

    @Test("a release for the null sender names it by an empty text")
    func releasedBounce() {
        var site = Site()
        site.engine.lists.insert(Release(recipient: "bob@example.net", sender: "", expires: site.now + .minutes(10)))
        #expect(site.rcpt(from: "").word == "released")
        #expect(site.rcpt().word == "new")
        site.engine.lists.insert(Release(recipient: "bob@example.net", expires: site.now + .minutes(10)))
        #expect(site.rcpt().word == "released")
    }

    @Test("of several releases the longest counts; one like it takes its place")
    func severalReleases() {
        var site = Site()
        site.engine.lists.insert(Release(recipient: "bob@example.net", expires: site.now + .minutes(5)))
        site.engine.lists.insert(Release(recipient: "bob@example.net", sender: "alice@example.org", expires: site.now + .minutes(20)))
        #expect(site.rcpt().causes == [.released(until: site.now + .minutes(20))])
        site.engine.lists.insert(Release(recipient: "bob@example.net", sender: "alice@example.org", expires: site.now + .minutes(1)))
        #expect(site.rcpt().causes == [.released(until: site.now + .minutes(5))])
        site.wait(.minutes(5))
        site.engine.lists.removeExpired(at: site.now)
        #expect(site.rcpt().word == "new")
    }

    // MARK: Opting in and out

    @Test("with nobody opted in, all are greylisted but those opted out")
    func optOut() throws {
        let out = try Set(["free@example.net", "quiet.example", "sales@"].map { try #require(Pattern($0)) })
        var site = Site { $0.greylist.optOut = out }
        for recipient in ["free@example.net", "FREE@EXAMPLE.NET", "any@quiet.example", "any@sub.quiet.example", "Sales@example.com"] {
            #expect(site.rcpt(recipient).word == "opted-out", "\(recipient)")
        }
        for recipient in ["freed@example.net", "free@example.com", "any@notquiet.example", "salesman@example.com", "bob"] {
            #expect(site.rcpt(recipient).word == "new", "\(recipient)")
        }
    }

    @Test("with somebody opted in, only those are, and the narrower word counts")
    func optIn() throws {
        func set(_ texts: String...) throws -> Set<Pattern> { try Set(texts.map { try #require(Pattern($0)) }) }
        let (optIn, optOut) = try (
            set("example.net", "strict@open.example", "boss@"), set("free@example.net", "open.example", "sub.example.net")
        )
        var site = Site {
            $0.greylist.optIn = optIn
            $0.greylist.optOut = optOut
        }
        for (recipient, word) in [
            ("any@example.net", "new"), ("any@deep.example.net", "new"), ("free@example.net", "opted-out"),
            ("any@sub.example.net", "opted-out"),
            ("any@deep.sub.example.net", "opted-out"), ("strict@open.example", "new"), ("any@open.example", "opted-out"),
            ("any@elsewhere.example", "opted-out"), ("boss@elsewhere.example", "new"), ("boss@open.example", "new"),
            ("nobody", "opted-out"),
        ] { #expect(site.rcpt(recipient).word == word, "\(recipient)") }
    }

    @Test("whoever is in both is opted out")
    func optedInAndOut() {
        var site = Site {
            $0.greylist.optIn = [.mailbox("bob@example.net")]
            $0.greylist.optOut = [.mailbox("bob@example.net")]
        }
        #expect(site.rcpt().word == "opted-out")
    }
}

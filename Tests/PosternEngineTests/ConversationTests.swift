import EngineTestSupport
import PosternCore
import PosternEngine
import Testing

/// What the engine decides for a front that speaks with the client itself.
@Suite("Conversations: scores and pauses")
struct ConversationTests {
    private func attempt(
        _ stage: Stage = .rcpt, to recipient: String = "bob@example.net", from sender: String = "alice@example.org",
        address: String = "192.0.2.1", account: String? = nil, signals: [Check: Int] = [:]
    ) -> Attempt {
        var attempt = Attempt(
            stage: stage, client: Client(address: IPAddress(address), helo: "mail.example.org"), sender: ReversePath(sender),
            recipient: stage == .rcpt ? Mailbox(recipient) : nil, account: account)
        attempt.isConversation = true
        attempt.signals = signals
        return attempt
    }

    private struct Undecided: Error {}

    /// 11 with the default scores: over the band in which recipients are refused.
    private let bad: [Check: Int] = [.nonSMTP: 1, .badOrder: 2]

    private static let sites: [(name: String, change: @Sendable (inout EngineSettings) -> Void)] = [
        ("greylisting on", { _ in }),
        ("in shadow", { $0.greylist.mode = .shadow }),
        ("off", { $0.greylist.mode = .off }),
        ("the recipient opted out", { $0.greylist.optOut = [Pattern("example.net")].compactMap { $0 }.reduce(into: []) { $0.insert($1) } }),
        ("others opted in", { $0.greylist.optIn = [Pattern("example.com")].compactMap { $0 }.reduce(into: []) { $0.insert($1) } }),
    ]

    @Test("a score in the band of refusals refuses, whomever the greylist spares", arguments: sites.indices)
    func rejectBand(_ index: Int) {
        var site = Site(Self.sites[index].change)
        let verdict = site.ask(attempt(signals: bad))
        #expect(verdict.action == .reject, "\(Self.sites[index].name)")
        #expect(verdict.causes.map(\.word) == ["score", "non-smtp", "bad-order"])
        #expect(site.ask(attempt(from: "", signals: bad)).action == .reject, "\(Self.sites[index].name), null sender")
        #expect(site.ask(attempt(signals: [.badOrder: 1])).action != .reject)
    }

    @Test("postmaster, accounts, the allowed, local clients, forwarders and backup MXs are never scored", arguments: sites.indices)
    func neverScored(_ index: Int) throws {
        let prefix = PrefixSet([try #require(Prefix("10.0.0.0/8"))])
        for networks in [\Networks.local, \.forwarders, \.backupMX] {
            var site = Site {
                Self.sites[index].change(&$0)
                $0.networks[keyPath: networks] = prefix
            }
            #expect(site.ask(attempt(address: "10.1.2.3", signals: bad)).action == .accept)
        }
        var site = Site(Self.sites[index].change)
        #expect(site.ask(attempt(to: "postmaster@example.net", signals: bad)).action == .accept)
        #expect(site.ask(attempt(to: "abuse@example.net", signals: bad)).action == .accept)
        #expect(site.ask(attempt(account: "alice", signals: bad)).action == .accept)
        site.engine.lists.insert(ListEntry(.allow, .client, try #require(Pattern("192.0.2.0/24")), added: WallTime(seconds: 0)))
        #expect(site.ask(attempt(signals: bad)).action == .accept)
        // What is blocked is refused as blocked.
        site = Site(Self.sites[index].change)
        site.engine.lists.insert(ListEntry(.block, .client, try #require(Pattern("192.0.2.0/24")), added: WallTime(seconds: 0)))
        #expect(site.ask(attempt(signals: bad)).causes.first?.word == "blocked")
    }

    @Test("checks in shadow or off add nothing", arguments: sites.indices)
    func shadow(_ index: Int) {
        var site = Site {
            Self.sites[index].change(&$0)
            $0.checks[.nonSMTP] = CheckSetting(mode: .shadow, score: 10)
            $0.checks[.badOrder] = CheckSetting(mode: .off, score: 10)
        }
        #expect(site.ask(attempt(signals: bad)).action != .reject)
    }

    @Test("the suspected are answered slowly and everyone after the stage's pause, whomever the greylist spares", arguments: sites.indices)
    func paced(_ index: Int) {
        var site = Site {
            Self.sites[index].change(&$0)
            $0.delays.stage = .seconds(2)
        }
        let suspected: [Check: Int] = [.earlyTalk: 1]
        for stage in [Stage.ehlo, .helo, .mail, .rcpt] {
            let verdict = site.ask(attempt(stage, signals: suspected))
            #expect(verdict.stutters && verdict.delay == .seconds(2), "\(stage) \(Self.sites[index].name)")
            #expect(!site.ask(attempt(stage)).stutters)
        }
        #expect(site.ask(attempt(from: "", signals: suspected)).stutters, "null sender, \(Self.sites[index].name)")
        let refused = site.ask(attempt(signals: bad))
        #expect(refused.action == .reject && refused.stutters && refused.delay == .seconds(2), "\(Self.sites[index].name)")
        // Postmaster is for everyone.
        let verdict = site.ask(attempt(to: "postmaster@example.net", signals: suspected))
        #expect(!verdict.stutters && verdict.delay == .zero)
    }

    @Test("a policy service, which cannot pause, never gets a pause")
    func policyRequests() {
        var site = Site {
            $0.greylist.mode = .off
            $0.delays.stage = .seconds(2)
        }
        var request = attempt()
        request.isConversation = false
        let verdict = site.ask(request)
        #expect(verdict.action == .accept && verdict.delay == .zero && !verdict.stutters)
    }

    @Test("who was deferred waits before it first passes, and in shadow nobody was", arguments: [Mode.on, .shadow])
    func firstPass(mode: Mode) {
        var site = Site {
            $0.greylist.mode = mode
            $0.delays.firstPass = .seconds(5)
        }
        _ = site.ask(attempt())
        site.wait(.minutes(5))
        let verdict = site.ask(attempt())
        #expect(verdict.word == "passed")
        #expect(verdict.delay == (mode == .on ? .seconds(5) : .zero))
    }

    @Test("a message counts when it is taken, by the first recipient that the mail server took")
    func countsWhenTaken() throws {
        var site = Site { $0.harvest.mode = .off }
        func ask(_ memory: MessageMemory) throws -> MessageMemory {
            guard case .needs(let inquiry) = site.engine.begin(attempt(), memory: memory, now: site.now) else {
                throw Undecided()
            }
            let decision = site.engine.conclude(inquiry, evidence: site.rows.evidence(inquiry.needs), now: site.now)
            site.rows.apply(decision.changes)
            return decision.memory
        }
        let network = try Identity.network(#require(Prefix("192.0.2.0/24")))
        #expect(try ask(MessageMemory()) == MessageMemory())
        site.wait(.minutes(5))
        var memory = try ask(MessageMemory())
        #expect(memory.counted && memory.countsFor == [network])
        memory.withdrawRecipient()
        #expect(!memory.counted && memory.countsFor.isEmpty, "the mail server refused it")
        memory = try ask(memory)
        memory.recipientTaken()
        memory.withdrawRecipient()
        #expect(memory.counted && memory.countsFor == [network], "it refused another")
        #expect(try ask(memory) == memory)
        #expect(site.rows.identities.isEmpty)

        for count in UInt32(1)...5 {
            var changes = Changes()
            let evidence = site.rows.evidence(Needs(identities: memory.countsFor))
            changes.identities = site.engine.counted(memory.countsFor, evidence: evidence, now: site.now)
            site.rows.apply(changes)
            #expect(site.rows.identities[network]?.passes == count)
        }
        memory = try ask(MessageMemory())
        #expect(memory.counted && memory.countsFor.isEmpty, "proven, and renewed not long ago")
    }

    @Test("the greeting waits for strangers, not for the proven, and whoever talks in that time is dropped")
    func greeting() {
        var site = Site { $0.greylist.provenAfter = 2 }
        #expect(site.ask(attempt(.connect)).delay == .seconds(5))
        #expect(site.ask(attempt(.connect, signals: [.earlyTalk: 1])).action == .drop)
        _ = site.rcpt()
        site.wait(.minutes(5))
        for number in 0..<3 { _ = site.rcpt("user\(number)@example.net", instance: "\(number)") }
        site.wait(.minutes(5))
        for number in 0..<3 { _ = site.rcpt("user\(number)@example.net", instance: "again \(number)") }
        #expect(site.ask(attempt(.connect)).delay == .zero)
    }
}

import EngineTestSupport
import PosternCore
import PosternEngine
import Testing

@Suite("Mail that was deferred and passes for another reason than that it waited")
struct EndOfWaitTests {
    private static let bob = "alice@example.org>bob@example.net"

    /// Ways to let somebody through who waits.
    enum Way: CaseIterable {
        case release, allowedClient, allowedRecipient, optOut, off, forwarder, local, backupMX, trusted

        func open(_ site: inout Site) throws {
            func entry(_ kind: ListEntry.Kind, _ text: String) throws -> ListEntry {
                ListEntry(.allow, kind, try #require(Pattern(text)), added: site.now)
            }
            let here = PrefixSet([try #require(Prefix("192.0.2.1"))])
            switch self {
            case .release: site.engine.lists.insert(Release(recipient: "bob@example.net", expires: site.now + .minutes(10)))
            case .allowedClient: site.engine.lists.insert(try entry(.client, "192.0.2.1"))
            case .allowedRecipient: site.engine.lists.insert(try entry(.recipient, "bob@example.net"))
            case .optOut: site.engine.settings.greylist.optOut = [.mailbox("bob@example.net")]
            case .off: site.engine.settings.greylist.mode = .off
            case .forwarder: site.engine.settings.networks.forwarders = here
            case .local: site.engine.settings.networks.local = here
            case .backupMX: site.engine.settings.networks.backupMX = here
            case .trusted: site.engine.settings.trusted.addresses = here
            }
        }
    }

    @Test("waits no longer, and says once how long it had", arguments: Way.allCases, [false, true])
    func eachWay(way: Way, looksUp: Bool) throws {
        var site = Site { $0.looksUp = looksUp }
        #expect(site.rcpt(name: "mx.example.org").word == "new")
        #expect(site.rcpt("carol@example.net").word == "new")
        site.wait(.minutes(1))
        try way.open(&site)
        let verdict = site.rcpt(name: "mx.example.org")
        #expect(verdict.action == .accept && verdict.word != "passed")
        #expect(site.waiting == ["alice@example.org>carol@example.net"] && site.waited == .minutes(1))
        #expect(site.rcpt(name: "mx.example.org").action == .accept && site.waited == nil)
    }

    @Test("a client that is proven meanwhile, or found good, waits no longer either")
    func provenAndGood() {
        var site = Site { $0.greylist.provenAfter = 1 }
        _ = site.rcpt("carol@example.net")
        site.wait(.minutes(2))
        _ = site.rcpt()
        site.wait(.minutes(1))
        #expect(site.rcpt("carol@example.net").word == "passed")
        let proven = site.rcpt()
        #expect(proven.word == "proven" && proven.causes.last == .waited(.minutes(1)) && site.waiting.isEmpty)

        var listed = Site { $0.looksUp = true }
        _ = listed.rcpt()
        listed.wait(.seconds(30))
        listed.findings.listings = [Listing(list: "good.example", score: -20, reply: "127.0.0.2")]
        let good = listed.rcpt()
        #expect(good.word == "well-listed" && good.causes.contains(.waited(.seconds(30))) && listed.waiting.isEmpty)
    }

    @Test("greylisting learns nothing of it: afterwards all is as if it had not been let through")
    func nothingIsLearnt() {
        var site = Site()
        _ = site.rcpt()
        site.wait(.minutes(1))
        site.engine.lists.insert(Release(recipient: "bob@example.net", expires: site.now + .seconds(30)))
        #expect(site.rcpt().word == "released" && site.waiting.isEmpty)
        site.wait(.seconds(30))
        // Another message, and it waits.
        #expect(site.rcpt().word == "early" && site.waiting == [Self.bob])
        site.wait(.minutes(2))
        #expect(site.rcpt().word == "passed" && site.waiting.isEmpty)
    }

    @Test("who is refused, or comes when its window has closed, has not passed")
    func whatDoesNotPass() throws {
        var site = Site { $0.looksUp = true }
        _ = site.rcpt()
        site.engine.settings.greylist.optOut = [.mailbox("bob@example.net")]
        site.findings.listings = [Listing(list: "bad.example", score: 20, reply: "127.0.0.2")]
        #expect(site.rcpt().action == .reject && site.waiting == [Self.bob])
        site.findings.listings = []
        site.wait(.hours(24))
        #expect(site.rcpt().word == "opted-out" && site.waited == nil)

        var known = Site()
        _ = known.rcpt()
        known.wait(.minutes(3))
        #expect(known.rcpt().word == "passed")
        known.engine.lists.insert(Release(recipient: "bob@example.net", expires: known.now + .minutes(10)))
        #expect(known.rcpt().word == "released" && known.waited == nil)
    }

    @Test("a bounce that was deferred at DATA")
    func bounces() throws {
        var site = Site()
        _ = site.rcpt(from: "", instance: "a")
        #expect(site.data("bob@example.net", instance: "a").word == "new" && site.waiting == [">bob@example.net"])
        site.wait(.minutes(1))
        site.engine.lists.insert(Release(recipient: "bob@example.net", expires: site.now + .minutes(10)))
        #expect(site.rcpt(from: "", instance: "b").word == "released" && site.waited == .minutes(1) && site.waiting.isEmpty)

        // Where only DATA is asked about, and of several recipients nothing is known.
        var several = Site()
        #expect(several.data(count: 2).word == "new" && several.waiting == [">*"])
        several.engine.lists.insert(ListEntry(.allow, .client, try #require(Pattern("192.0.2.1")), added: several.now))
        #expect(several.data(count: 2).word == "allowed" && several.waiting.isEmpty)

        var out = Site()
        _ = out.rcpt(from: "", instance: "a")
        _ = out.data("bob@example.net", instance: "a")
        out.engine.settings.greylist.optOut = [.mailbox("bob@example.net")]
        #expect(out.rcpt(from: "", instance: "b").word == "opted-out" && out.waiting.isEmpty)
    }

    @Test("accounts, and whoever is always reachable, never waited")
    func neverWaited() {
        let site = Site()
        func overtaken(_ recipient: String, account: String? = nil) -> [TripletKey]? {
            let attempt = Attempt(
                stage: .rcpt, client: Client(address: IPAddress("192.0.2.1")), sender: ReversePath("alice@example.org"),
                recipient: Mailbox(recipient), account: account)
            guard case .decided(let decision) = site.engine.begin(attempt, now: site.now) else { return nil }
            return decision.overtaken
        }
        #expect(overtaken("postmaster@example.net") == [] && overtaken("bob@example.net", account: "carol") == [])
    }

    @Test("what people read has the wall clock's time, whatever the engine's is")
    func wallTime() {
        let verdict = Verdict(
            .defer, [.released(until: WallTime(seconds: 100)), .greylistNew], passesAt: WallTime(seconds: 200))
        let shown = verdict.shown { $0 + .hours(1) }
        #expect(shown.passesAt == WallTime(seconds: 3800) && shown.causes == [.released(until: WallTime(seconds: 3700)), .greylistNew])
    }
}

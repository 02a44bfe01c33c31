import DNSProtocol
import EngineTestSupport
import PosternCore
import PosternEngine
import Testing

@testable import PosternReplay

/// Small scripted traffic whose outcome is known.
struct ReplayTests {
    private let heading = "time,client_address,client_name,helo,sender,recipient,label,spf,bytes,result\n"

    private func rows(_ rows: String...) -> [InputFile] { [file(heading + rows.map { $0 + "\n" }.joined())] }

    @Test func honestMailComesBackByTheModel() async throws {
        let report = try await replay(rows("0,192.0.2.1,mx.example.org,h,a@example.org,b@example.net,,,3000,"))
        let result = report.policies[0]
        #expect(result.all.deliveries == 1 && result.all.delayed == 1 && result.all.delay?.median == 300)
        #expect(result.attempts.decided == 2 && result.attempts.deferred == 1 && result.attempts.made == 1)
        #expect(result.reasons == [.init(reason: "new", attempts: 1), .init(reason: "passed", attempts: 1)])
        #expect(result.whitepaper.tripletsSeen == 1 && result.whitepaper.tripletsPassed == 1 && result.whitepaper.mailsDelayed == 1)
        #expect(result.bandwidth.saved == 0 && result.bandwidth.wasted == 500)
        #expect(result.suffering.deliveries == 1 && result.suffering.lost == 0 && result.suffering.late == 0)
        #expect(report.input.counts.attempts == 1 && report.input.from == "1970-01-01T00:00:00.000Z")
    }

    @Test func aLongerDelayMeansALaterRetry() async throws {
        let report = try await replay(
            rows("0,192.0.2.1,mx.example.org,h,a@example.org,b@example.net,,,3000,"),
            [{ $0.greylist.delay = .minutes(3) }, { $0.greylist.delay = .hours(1) }])
        #expect(report.policies.map(\.all.delay?.median) == [300, 4800])
        #expect(report.policies[1].attempts.deferred == 5 && report.policies[1].bandwidth.wasted == 2500)
        // It came early at 5, 10, 20 and 40 minutes.
        let sufferer = try #require(report.policies[1].suffering.senders.first)
        #expect(
            sufferer.client == "example.org" && sufferer.late == 1 && sufferer.longestDelay == 4800
                && sufferer.remedy == "greylist.delay: 40m")
        #expect(report.changes?.same == 1, "delayed is delayed")
    }

    @Test func spamDoesNotComeBackUnlessItIsToldTo() async throws {
        let files = rows("0,192.0.2.1,,h,a@example.org,b@example.net,spam,,7000,")
        let report = try await replay(files)
        #expect(
            report.policies[0].spam?.blocked == 1 && report.policies[0].ham?.deliveries == 0
                && report.policies[0].bandwidth.savedKnown == 7000)
        #expect(report.policies[0].suffering.deliveries == 0)
        var model = RetryModel()
        model.spamShare = 1
        let stubborn = try await replay(files, model: model)
        #expect(stubborn.policies[0].spam?.delayed == 1 && stubborn.policies[0].spam?.tripletsInTime == 1)
    }

    /// Another message by the same triplet is as good as a retry.
    @Test func spamThatComesAgainByTheSameTriplet() async throws {
        let report = try await replay(
            rows(
                "0,192.0.2.1,,h,a@example.org,b@example.net,spam,,,", "60,192.0.2.1,,h,a@example.org,b@example.net,spam,,,",
                "7200,192.0.2.9,,h,a@example.org,b@example.net,spam,,,", "7300,192.0.2.9,,h,a@example.org,b@example.net,spam,,,"))
        let spam = try #require(report.policies[0].spam)
        #expect(spam.blocked == 2 && spam.atOnce == 2 && spam.newTriplets == 1 && spam.tripletsInTime == 1)
        #expect(report.policies[0].whitepaper.mailsPassedWithoutSingles == 2)
    }

    @Test func theLogsOwnRetriesAreUsed() async throws {
        // postgrey deferred it for 5 minutes; the sender came back after 4, 8 and 30 minutes.
        let files = rows(
            "0,192.0.2.1,mx.example.org,h,a@example.org,b@example.net,,,1,deferred",
            "240,192.0.2.1,mx.example.org,h,a@example.org,b@example.net,,,1,deferred",
            "480,192.0.3.1,mx2.example.org,h,a@example.org,b@example.net,,,1,accepted")
        let report = try await replay(files, [{ _ in }, { $0.greylist.delay = .minutes(6) }])
        // With 3 minutes it passes at 4, and the attempt at 8 is not needed.
        #expect(
            report.policies[0].all.delay?.median == 240 && report.policies[0].attempts.spared == 1 && report.policies[0].attempts.made == 0)
        #expect(report.policies[1].all.delay?.median == 480 && report.policies[1].attempts.spared == 0)
        // With an hour the log ends too early, and the model goes on where the log stops.
        let late = try await replay(files, [{ $0.greylist.delay = .hours(1) }])
        #expect(late.policies[0].all.delay?.median == 4800 && late.policies[0].attempts.made == 4)
    }

    @Test func whatNeverCameBackIsBlockedOrStillOpen() async throws {
        let day: Int64 = 86_400
        let report = try await replay(
            rows(
                "0,192.0.2.1,,h,bot@example.org,b@example.net,,,,deferred",
                "\(day * 3),192.0.2.2,mx.example.com,h,last@example.com,b@example.net,,,,deferred"))
        let all = report.policies[0].all
        #expect(all.blocked == 1 && all.open == 1 && all.deliveries == 2)
        #expect(report.policies[0].bandwidth.blockedOfUnknownSize == 1 && report.policies[0].bandwidth.saved == 5000)
        #expect(report.policies[0].suffering.deliveries == 0, "nobody says that they were honest")
    }

    @Test func aWindowThatIsTooShort() async throws {
        let report = try await replay(
            rows(
                "0,192.0.2.1,mx.example.org,h,a@example.org,b@example.net,ham,,,deferred",
                "90000,192.0.2.1,mx.example.org,h,a@example.org,b@example.net,ham,,,deferred"))
        let sufferer = try #require(report.policies[0].suffering.senders.first)
        #expect(sufferer.lost == 1 && sufferer.remedy == "greylist.window: 25h" && sufferer.why.contains("window"))
    }

    @Test func aSenderThatChangesEverything() async throws {
        let report = try await replay(
            rows(
                "0,192.0.2.1,,h,a@example.org,b@example.net,ham,,,deferred", "600,192.0.77.1,,h,a@example.org,b@example.net,ham,,,deferred",
                "300000,192.0.99.1,,h,z@example.org,b@example.net,spam,,,"))
        let sufferer = try #require(report.policies[0].suffering.senders.first)
        #expect(
            sufferer.client == "192.0.2.0/24" && sufferer.why.contains("another network")
                && sufferer.remedy == "postern allow add 192.0.2.0/24 --as client")
    }

    @Test func aPoolComesBackFromItsOtherAddresses() async throws {
        var text = heading
        for index in 0..<7 {
            text += "\(index * 10),192.0.\(index).1,out\(index).outlook.com,h,p\(index)@example.org,b@example.net,ham,,,\n"
        }
        let report = try await replay([file(text)])
        #expect(report.policies[0].ham?.delayed == 7 && report.policies[0].ham?.delay?.longest == 184, "the name is the same sender")
        // Without names each address is somebody else, until the pool has come by each twice.
        let nameless = text.replacing(/out[0-9]\.outlook\.com/, with: "")
        #expect(try await replay([file(nameless)]).policies[0].ham?.delay?.longest == 300)
    }

    @Test func recipientsOfOneMessageCountOnceTowardsProof() async throws {
        let several = (0..<5).map { "0,192.0.2.1,mx.example.org,h,a@example.org,b\($0)@example.net,ham,,,," }
        let table = "time,client_address,client_name,helo,sender,recipient,label,spf,bytes,result,queue_id\n"
        func file(_ queue: (Int) -> String) -> [InputFile] {
            let rows = several.enumerated().map { "\($0.element)\(queue($0.offset))\n" }.joined()
            return [PosternReplayTests.file(table + rows + "90000,192.0.2.1,mx.example.org,h,new@example.org,c@example.net,ham,,,,x\n")]
        }
        // Five messages prove the client, so the sixth passes; one message to five recipients does not.
        #expect(try await replay(file { "q\($0)" }).policies[0].ham?.atOnce == 1)
        #expect(try await replay(file { _ in "q" }).policies[0].ham?.atOnce == 0)
    }

    @Test func bouncesAreJudgedAtData() async throws {
        let report = try await replay(
            rows("0,192.0.2.1,mx.example.org,h,<>,b@example.net,,,,", "5,192.0.2.1,mx.example.org,h,<>,postmaster@example.net,,,,"))
        #expect(report.policies[0].all.delayed == 1 && report.policies[0].all.atOnce == 1)
        #expect(report.policies[0].domains.map(\.domain) == ["<>"])
        #expect(report.policies[0].reasons.map(\.reason).sorted() == ["always-reachable", "new", "passed"])
    }

    @Test func bouncesThatAreNotGreylistedAreJudgedAtDataToo() async throws {
        let files = [file("time,client_address,helo,sender,recipient,spf\n0,192.0.2.1,h.example,<>,b@example.net,fail\n")]
        for reject in [3.0, 30] {
            let report = try await replay(
                files,
                [
                    {
                        $0.looksUp = true
                        $0.bands.reject = reject
                        $0.greylist.mode = .off
                    },
                    {
                        $0.looksUp = true
                        $0.bands.reject = reject
                        $0.greylist.optOut = [.mailbox("b@example.net")]
                    },
                ])
            #expect(report.policies.map(\.all.refused) == (reject == 3 ? [1, 1] : [0, 0]))
            #expect(report.policies.map(\.all.atOnce) == (reject == 3 ? [0, 0] : [1, 1]))
        }
    }

    @Test func evidenceSpeaksForAClient() async throws {
        let files = rows("0,192.0.2.1,mx.example.org,mx.example.org,a@example.org,b@example.net,ham,pass,,")
        let selective: (inout EngineSettings) -> Void = {
            $0.profile = .selective
            $0.looksUp = true
        }
        // An SPF pass alone is not enough: a list must have been asked.
        #expect(try await replay(files, [selective]).policies[0].ham?.delayed == 1)
        let asked = "time,client_address,client_name,helo,sender,recipient,label,spf,dnsbl\n"
        let clean = asked + "0,192.0.2.1,mx.example.org,mx.example.org,a@example.org,b@example.net,ham,pass,none\n"
        let listed = asked + "0,192.0.2.1,mx.example.org,mx.example.org,a@example.org,b@example.net,spam,pass,zen.example=127.0.0.2\n"
        let report = try await replay([file(clean)], [selective])
        #expect(report.policies[0].ham?.atOnce == 1 && report.policies[0].reasons == [.init(reason: "clean", attempts: 1)])
        #expect(report.input.attemptsWithEvidence == 1)
        let weighed = RecordedFindings(lists: RecordedLists(["zen.example": ListFilters([.init(filter: nil, weight: 12)])]))
        let refused = try await replay([file(listed)], [selective], findings: weighed)
        #expect(
            refused.policies[0].spam?.refused == 1 && refused.policies[0].checks.contains { $0.check == "dns-lists" && $0.firedSpam == 1 })
        // A list without a weight says nothing; nobody looks anything up where that is off.
        #expect(try await replay([file(listed)], [selective]).policies[0].spam?.atOnce == 1)
        #expect(try await replay([file(clean)], [{ $0.profile = .selective }]).policies[0].ham?.delayed == 1)
    }

    @Test func aTableOfEvidenceBesideALog() async throws {
        let table = try EvidenceTable(
            file(
                "client_address,sender_domain,spf,dnsbl,country\n192.0.2.1,,,zen.example=127.0.0.4,DE\n192.0.2.1,example.org,fail,,\n192.0.2.2,x,maybe,,\n",
                name: "evidence.csv"))
        #expect(table.count == 2 && table.problems.count == 1)
        let attempt = LoggedAttempt(
            time: WallTime(seconds: 0), client: Client(address: IPAddress("192.0.2.1")), sender: ReversePath("a@Example.org"),
            recipient: Mailbox(localPart: "b", domain: "example.net"))
        let source = RecordedFindings(table: table, lists: RecordedLists(["zen.example": ListFilters([.init(filter: nil, weight: 4)])]))
        let findings = source.findings(for: attempt, client: attempt.client)
        #expect(
            findings.spf?.result == .fail && findings.country == "DE" && findings.listsAnswered == 1
                && findings.listings.map(\.score) == [4])
        #expect(source.knows(attempt) && source.name.contains("evidence.csv"))
        #expect(throws: InputFailure.self) { try EvidenceTable(file("a,b\n", name: "x")) }
        #expect(throws: InputFailure.self) { try EvidenceTable(file("", name: "x")) }
    }

    /// As the daemon judges a zone: each of its entries counts once, and a reply that speaks of the one who asks is none.
    @Test(arguments: [
        ("bl.example=127.0.0.2", "3.0 127.0.0.2"), ("bl.example=127.0.0.2;bl.example=127.0.0.4", "3.0 127.0.0.2,127.0.0.4"),
        ("bl.example=127.0.0.2;bl.example=127.0.1.9", "8.0 127.0.0.2,127.0.1.9"), ("bl.example", "3.0 "),
        ("my-list=127.0.0.2", "3.0 127.0.0.2"),
        ("bl.example=127.0.0.2;my-list=127.0.0.2", "3.0 127.0.0.2"), ("bl.example=127.255.255.254", nil), ("bl.example=10.0.0.1", nil),
        ("bl.example=2001:db8::1", nil), ("bl.example=127.0.0.2;bl.example=127.255.255.254", nil), ("other.example=127.255.255.252", nil),
        ("other.example=127.0.0.2", ""), ("other.example=127.0.0.2;bl.example=127.255.255.254", ""), ("none", ""),
    ])
    func listsAreJudgedByAllOfTheirReplies(recorded: String, expected: String?) throws {
        let table = try EvidenceTable(file("client_address,dnsbl\n192.0.2.1,\(recorded)\n", name: "x"))
        #expect(table.problems.count == 0)
        let entries = [ListFilters.Entry(filter: nil, weight: 3), .init(filter: try ListSpecification("a.b=127.0.1.9").filter, weight: 5)]
        let lists = RecordedLists(["bl.example": ListFilters(entries)], names: [("My=List", "bl.example"), ("bl.example", "bl.example")])
        let attempt = LoggedAttempt(
            time: WallTime(seconds: 0), client: Client(address: IPAddress("192.0.2.1")), sender: .null,
            recipient: Mailbox(localPart: "b", domain: "example.net"))
        let findings = RecordedFindings(table: table, lists: lists).findings(for: attempt, client: attempt.client)
        #expect(findings.listsAnswered == (expected == nil ? 0 : 1))
        #expect(findings.listings.map { "\($0.score) \($0.reply)" }.joined(separator: "; ") == expected ?? "")
    }

    /// postscreen counts such replies where its lists have no filters.
    @Test func aRankOfErrorsIsNone() {
        func findings(_ listings: [RecordedListing]?) -> Findings {
            var evidence = AttemptEvidence()
            evidence.dnsRank = 3
            evidence.listings = listings
            let attempt = LoggedAttempt(
                time: WallTime(seconds: 0), client: Client(address: IPAddress("192.0.2.1")), sender: .null,
                recipient: Mailbox(localPart: "b", domain: "example.net"), evidence: evidence)
            return RecordedFindings().findings(for: attempt, client: attempt.client)
        }
        #expect(findings(nil).listings.map(\.score) == [3])
        #expect(findings([RecordedListing(zone: "zen.example", reply: IPAddress("127.255.255.254"))]) == Findings())
    }

    /// What one replay looked up, the next one reads.
    @Test func findingsAreKeptAndReadAgain() throws {
        let address = try #require(IPAddress("192.0.2.1"))
        func attempt(_ sender: String, _ helo: String) -> LoggedAttempt {
            LoggedAttempt(
                time: WallTime(seconds: 0), client: Client(address: address, helo: helo), sender: ReversePath(sender),
                recipient: Mailbox(localPart: "b", domain: "example.net"))
        }
        var first = Findings()
        first.reverseName = .unconfirmed(try #require(DomainName("liar.example")))
        first.helo = .elsewhere
        first.senderDomain = .nullMX
        first.spf = SPFFinding(.pass, domain: DomainName("example.org"), identifies: false)
        first.listings = [
            Listing(list: "zen.example", score: 3, reply: "127.0.0.2,127.0.0.4"), Listing(list: "dbl.example", score: 1, reply: ""),
        ]
        first.listsAnswered = 1
        first.country = "DE"
        first.network = NetworkOwner(number: 64_500, name: "")
        var second = Findings()
        second.reverseName = .none
        second.helo = .client
        second.senderDomain = .reachable
        second.spf = SPFFinding(.none, domain: DomainName("h.example"))
        second.listsAnswered = 1
        let rows = [
            first.recordedRow(address: address, senderDomain: "example.org", helo: "a\tb"),
            second.recordedRow(address: address, senderDomain: "", helo: "h.example"),
        ]
        let table = try EvidenceTable(file(([Findings.recordedHeading] + rows).joined(separator: "\n"), name: "kept"))
        #expect(table.count == 2 && table.problems.count == 0, "\(table.problems)")
        let source = RecordedFindings(
            table: table,
            lists: RecordedLists([
                "zen.example": ListFilters([.init(filter: nil, weight: 3)]), "dbl.example": ListFilters([.init(filter: nil, weight: 1)]),
            ]))
        let one = attempt("x@example.org", "a?b")
        #expect(source.findings(for: one, client: one.client) == first)
        let two = attempt("", "h.example")
        #expect(source.findings(for: two, client: two.client) == second)
        let three = attempt("x@example.com", "other")
        #expect(source.findings(for: three, client: three.client) == Findings())
        #expect(try EvidenceTable(file("client_address,reverse\n192.0.2.1,bad name\n", name: "x")).problems.count == 1)
    }

    @Test func aGatewaySeesWhatAPolicyServiceDoesNot() async throws {
        let files = [
            file(
                "time,client_address,helo,sender,recipient,signals\n0,192.0.2.1,h,a@example.org,b@example.net,early-talk\n1,192.0.2.2,h,a@example.org,b@example.net,non-smtp\n"
            )
        ]
        #expect(try await replay(files).policies[0].all.refused == 0)
        let gateway = try await replay(files, isConversation: true).policies[0]
        #expect(gateway.all.refused == 2 && gateway.checks.contains { $0.check == "early-talk" && $0.decided == 1 })
    }

    @Test func listsAndShadow() async throws {
        var lists = Lists()
        lists.insert(ListEntry(.block, .client, .prefix(Prefix(IPAddress(v4: 0xc000_0209), length: 32)), added: WallTime(seconds: 0)))
        let files = rows("0,192.0.2.9,,h,a@example.org,b@example.net,ham,,,", "1,192.0.2.8,,h,a@example.org,b@example.net,ham,,,")
        let report = try await replay(files, [{ $0.greylist.mode = .shadow }], lists: lists).policies[0]
        #expect(report.ham?.refused == 1 && report.ham?.delayed == 1, "shadow is replayed as on")
        #expect(report.suffering.senders.first?.why == "it was refused")
        #expect(try await replay(files, [{ $0.greylist.mode = .off }]).policies[0].ham?.atOnce == 2)
    }

    @Test func whatChanges() async throws {
        var text = heading
        for index in 0..<30 { text += "\(index * 100),192.0.2.1,mx.example.org,h,a\(index)@example.org,b@example.net,ham,,,\n" }
        for index in 0..<10 { text += "\(index * 100 + 4000),198.51.\(index).9,,h,s\(index)@example.com,b@example.net,spam,,,\n" }
        let report = try await replay([file(text)], [{ _ in }, { $0.greylist.mode = .off }])
        let changes = try #require(report.changes)
        #expect(changes.changes.map { "\($0.from) \($0.to) \($0.deliveries) \($0.ham) \($0.spam)" }.contains("blocked atOnce 10 0 10"))
        #expect(changes.same + changes.changes.reduce(0) { $0 + $1.deliveries } == 40)
        #expect(
            changes.examples.count <= changes.changes.count * Comparison.examples
                && changes.examples.contains { $0.sender == "s0@example.com" })
    }

    @Test func onePolicyComesOutTheSameTwice() async throws {
        var text = heading
        for index in 0..<500 {
            text +=
                "\(index * 37),192.0.\(index % 50).\(index % 7),mx\(index % 9).example\(index % 40).org,h,a\(index % 60)@example\(index % 40).org,b\(index % 5)@example.net,\(index % 3 == 0 ? "spam" : "ham"),,\(index),\n"
        }
        var model = RetryModel()
        model.spamShare = 0.3
        let once = try await replay([file(text)], model: model)
        #expect(try await replay([file(text, pieces: 77)], model: model) == once)
        let twice = try await replay([file(text)], [{ _ in }, { _ in }], model: model)
        #expect(twice.policies[0].all == twice.policies[1].all && twice.changes?.changes.isEmpty == true && twice.changes?.same == 500)
        // Nothing is lost on the way.
        let all = once.policies[0].all
        #expect(all.atOnce + all.delayed + all.blocked + all.refused + all.open == 500)
        #expect(all.deliveries == (once.policies[0].ham?.deliveries ?? 0) + (once.policies[0].spam?.deliveries ?? 0))
        #expect(once.policies[0].domains.reduce(0) { $0 + $1.deliveries } <= 500)
    }

    /// Months of mail from ever new senders: what is held is what is alive.
    @Test func memoryIsBoundedByWhatIsAlive() async {
        var settings = EngineSettings()
        settings.profile = .classic
        let replay = Replay(
            policies: [ReplayPolicy(name: "p", engine: Engine(settings: settings, domains: LastTwoLabels()))], domains: LastTwoLabels())
        var most = 0
        for day in 0..<60 as Range<Int64> {
            var batch: [LoggedAttempt] = []
            for index in 0..<600 as Range<Int64> {
                batch.append(
                    LoggedAttempt(
                        time: WallTime(seconds: day * 86_400 + index * 140),
                        client: Client(address: IPAddress(v4: UInt32(truncatingIfNeeded: day * 7919 + index * 65_537))),
                        sender: ReversePath("s\(day)x\(index)@example.org"), recipient: Mailbox(localPart: "b", domain: "example.net"),
                        outcome: .deferred))
            }
            await replay.take(batch)
            most = max(most, replay.held)
        }
        // A triplet lives a day, a chain of retries two. The sweep begins at 16,384 rows, and of 36,000 never more are held.
        #expect(most > 3000 && most < 20_000 && replay.held < 20_000, "\(most)")
    }
}

import PosternControl
import PosternCore
import PosternEngine
import PosternStorage
import Testing

struct HandlerTests {
    private let store = MemoryStore()
    private let state = TestState()
    private var handler: ControlHandler { ControlHandler(store: store, state: state) }

    private func ask(_ request: ControlRequest) async throws -> ControlReply { try await handler.handle(request).get() }

    /// The failure of a request that must fail.
    private func failure(_ request: ControlRequest) async -> ControlFailure? {
        if case .failure(let failure) = await handler.handle(request) { failure } else { nil }
    }

    private func explain(_ question: Question) async throws -> Explanation {
        guard case .explanation(let explanation) = try await ask(.explain(question)) else { throw Unexpected() }
        return explanation
    }

    private struct Unexpected: Error {}

    private let question = Question(
        address: "192.0.2.7", name: "mail.example.org", helo: "mail.example.org", sender: "a+tag@example.org", recipient: "B@example.net")

    /// As a front does it: engine, store, record.
    @discardableResult
    private func attempt(_ question: Question, reference: Int64) async throws -> Verdict {
        let engine = state.engine()
        let moment = state.now()
        let attempt = Attempt(
            stage: .rcpt,
            client: Client(address: IPAddress(question.address), confirmedName: DomainName(question.name), helo: question.helo),
            sender: ReversePath(question.sender), recipient: Mailbox(question.recipient))
        guard case .needs(let inquiry) = engine.begin(attempt, now: moment.steady) else { throw Unexpected() }
        return try await withCheckedThrowingContinuation { continuation in
            store.submit(
                BlockTransaction(
                    needs: inquiry.needs,
                    decide: {
                        let decision = engine.conclude(inquiry, evidence: $0, now: moment.steady)
                        let record = DecisionRecord(
                            reference: Reference(value: reference), time: moment.wall, listener: "policy", attempt: attempt,
                            verdict: decision.verdict, triplets: inquiry.needs.triplets)
                        return (decision, record)
                    },
                    completion: { continuation.resume(with: $0.map(\.0.verdict).mapError { $0 }) }))
        }
    }

    // MARK: - Traps and the listed

    @Test func aDomainOfOursAsATrapMustBeMeant() async throws {
        state.set { $0.ourDomains = [DomainName("lists.example.net")!, DomainName("example.org")!] }
        for name in ["example.net", "lists.example.net", "example.org"] {
            let refused = await failure(.add(entries: [EntryDraft(list: .trap, pattern: name)]))
            #expect(refused?.code == .badData && refused?.message.contains("--force") == true, "\(name)")
        }
        var forced = EntryDraft(list: .trap, pattern: "example.net")
        forced.force = true
        let others = ["spare.example.org", "old@example.org", "old@"].map { EntryDraft(list: .trap, pattern: $0) }
        _ = try await ask(.add(entries: [forced, EntryDraft(list: .block, pattern: "example.org")] + others))
    }

    @Test func whomTheAdminBlocksDoesNotSpendItsOneRemoval() async throws {
        let request = ControlRequest.removeItself(address: "192.0.2.7", requester: "192.0.2.7")
        #expect(await failure(request)?.code == .unavailable)
        _ = try await ask(.add(entries: [EntryDraft(list: .block, pattern: "192.0.2.0/24")]))
        #expect(await failure(request)?.code == .noPermission)
    }

    // MARK: - Explain

    @Test func explainTellsANewTripletAndChangesNothing() async throws {
        for _ in 0..<2 {
            let e = try await explain(question)
            #expect(e.verdict == "defer" && e.stage == "RCPT")
            #expect(e.causes.map(\.word) == ["new"] && e.causes.map(\.check) == ["greylist"])
            #expect(e.passesInSeconds == 180)
            #expect(e.passesAt == (state.now().wall + .minutes(3)).description)
            #expect(e.triplets.map(\.identity) == ["name:example.org", "net:192.0.2.0/24"])
            #expect(e.triplets.allSatisfy { !$0.isKnown && $0.sender == "a@example.org" && $0.recipient == "b@example.net" })
            #expect(e.identities.map(\.passes) == [0, 0] && e.identities.map(\.provenAfter) == [5, 5])
        }
        #expect(try await store.statistics().triplets == 0)
    }

    @Test func explainTellsOfTheHoldQueue() async throws {
        let limit = Limit(.account, .messages, 2, per: .hours(1))
        state.setThrottled(Throttled(.refuseAccount, limit, count: 3, allowance: 2, until: state.now().steady + .hours(1)))
        let question = Question(address: "192.0.2.7", sender: "a@example.org", recipient: "b@example.net", account: "ann")
        for (action, verdict) in [(AccountSettings.Action.reject, "reject"), (.hold, "hold")] {
            state.set { $0.accounts.action = action }
            let e = try await explain(question)
            #expect(e.verdict == verdict && e.causes.first?.word == "account-limit")
            #expect(e.causes.first?.text.contains("hold queue") == (action == .hold))
        }
    }

    @Test func explainFollowsATripletFromWaitingToKnown() async throws {
        try await attempt(question, reference: 1)
        state.advance(.minutes(1))
        var e = try await explain(question)
        #expect(e.verdict == "defer" && e.causes.map(\.word) == ["early"] && e.passesInSeconds == 120)
        #expect(e.triplets.allSatisfy { $0.isKnown && $0.deferrals == 1 && $0.passes == 0 && $0.passedAt == nil })
        state.advance(.minutes(2))
        e = try await explain(question)
        #expect(e.verdict == "accept" && e.causes.map(\.word) == ["passed"] && e.passesAt == nil)
        #expect(e.header?.contains("delayed 180 seconds") == true)
        try await attempt(question, reference: 2)
        e = try await explain(question)
        #expect(e.causes.map(\.word) == ["known"])
        #expect(e.triplets.allSatisfy { $0.passes == 1 && $0.passedAt == state.now().wall.description })
        #expect(e.identities.map(\.passes) == [1, 1])
    }

    @Test func theNullSenderIsExplainedAtData() async throws {
        var question = question
        question.sender = ""
        let e = try await explain(question)
        #expect(e.verdict == "defer" && e.stage == "DATA" && e.causes.map(\.word) == ["new"])
        #expect(e.triplets.allSatisfy { $0.sender == "" && $0.recipient == "b@example.net" })
        question.recipient = "postmaster@example.net"
        #expect(try await explain(question).causes.map(\.word) == ["always-reachable"])

        // Not greylisted, it is judged by the checks all the same.
        question.recipient = "b@example.net"
        question.helo = "my_pc"
        for spare in [{ $0.greylist.mode = .off }, { $0.greylist.optOut = [.mailbox("b@example.net")] }] as [(inout EngineSettings) -> Void]
        {
            state.set {
                $0.greylist = GreylistSettings()
                $0.bands.reject = 2
                spare(&$0)
            }
            let e = try await explain(question)
            #expect(e.verdict == "reject" && e.stage == "DATA" && e.score == 2)
        }
    }

    @Test func explainKnowsListsNetworksAndAccounts() async throws {
        _ = try await ask(.add(entries: [EntryDraft(list: .block, pattern: "192.0.2.0/25")]))
        var e = try await explain(question)
        #expect(e.verdict == "reject" && e.causes.map(\.text) == ["blocked: client 192.0.2.0/25"] && e.triplets.isEmpty)
        var withAccount = question
        withAccount.account = "anna"
        e = try await explain(withAccount)
        #expect(e.verdict == "accept" && e.causes.map(\.text) == ["authenticated as anna"])
    }

    @Test(arguments: Mode.allCases)
    func checksAreShownWhateverTheGreylistDoes(_ mode: Mode) async throws {
        state.set { $0.greylist.mode = mode }
        var question = question
        question.helo = "my_pc"
        let e = try await explain(question)
        #expect(e.verdict == (mode == .on ? "defer" : "accept") && e.score == 2)
        #expect(e.checks.count == Check.allCases.count)
        #expect(e.checks.filter(\.fired).map { "\($0.check) \($0.added) \($0.evidence)" } == ["helo-syntax 2.0 my_pc"])
        #expect(e.causes.last?.check == "helo-syntax")
    }

    @Test(arguments: [
        (Question(address: "192.0.2", sender: "a@b.example", recipient: "c@d.example"), "'192.0.2' is not an IP address"),
        (Question(address: "192.0.2.1", name: "a..b", sender: "", recipient: "c@d.example"), "'a..b' is not a host name"),
        (Question(address: "192.0.2.1", sender: "", recipient: ""), "a recipient must be named, such as user@example.org"),
        (
            Question(address: "192.0.2.1", sender: "<a@b.example>", recipient: "c@d.example"),
            "'<a@b.example>' is not a mailbox; leave out the angle brackets"
        ),
        (
            Question(address: "192.0.2.1", sender: "b.example", recipient: "c@d.example"),
            "the sender 'b.example' is not a mailbox such as user@example.org"
        ),
        (
            Question(address: "192.0.2.1", sender: "", recipient: "@d.example"),
            "the recipient '@d.example' is not a mailbox such as user@example.org"
        ),
    ])
    func aQuestionThatMakesNoSense(question: Question, message: String) async {
        #expect(await failure(.explain(question)) == ControlFailure(.badData, message))
    }

    /// As Postfix tells of `MAIL FROM:<root>`.
    @Test func aLocalPartAloneIsExplainedAsItIsJudged() async throws {
        var bare = question
        bare.sender = "root"
        bare.recipient = "u"
        #expect(try await explain(bare).causes.map(\.word) == ["new"])
        try await attempt(bare, reference: 1)
        let e = try await explain(bare)
        #expect(e.causes.map(\.word) == ["early"] && e.triplets.allSatisfy { $0.recipient == "u" })
        // The button beside the decision lets through what a person would have to type in full.
        let pass = ActionDraft(reference: Reference(value: 1).description, action: .pass)
        guard case .acted(let report) = try await ask(.act(pass)) else { throw Unexpected() }
        #expect(try await explain(bare).causes.map(\.word) == ["released"])
        _ = try await ask(.undo(change: try #require(report.change)))
        #expect(try await explain(bare).causes.map(\.word) == ["early"])
    }

    // MARK: - Entries

    @Test func entriesAreAddedListedAndRemoved() async throws {
        let added = try await ask(
            .add(entries: [
                EntryDraft(list: .block, pattern: "192.0.2.0/24", for: .days(4), note: "spam run"),
                EntryDraft(list: .block, pattern: "Example.ORG"), EntryDraft(list: .block, pattern: "User@Example.org"),
                EntryDraft(list: .allow, pattern: "2001:db8::1"), EntryDraft(list: .allow, kind: .client, pattern: "example.com"),
                EntryDraft(list: .allow, kind: .recipient, pattern: "noc@"),
            ]))
        let now = state.now().wall
        guard case .added(let reports) = added else { throw Unexpected() }
        #expect(reports.map(\.kind) == [.client, .sender, .sender, .client, .client, .recipient])
        #expect(reports.map(\.entry) == ["192.0.2.0/24", "example.org", "user@example.org", "2001:db8::1", "example.com", "noc@"])
        #expect(reports[0].expires == (now + .days(4)).description && reports[1].expires == nil && reports[0].added == now.description)

        guard case .entries(let blocked) = try await ask(.entries(list: .block)) else { throw Unexpected() }
        #expect(blocked.map(\.entry) == ["192.0.2.0/24", "example.org", "user@example.org"])
        #expect(blocked.first?.note == "spam run")
        for (named, kind, wanted) in [
            ("192.0.2.7", nil, ["192.0.2.0/24"]), ("192.0.2.0/25", .client, ["192.0.2.0/24"]), ("192.0.0.0/16", nil, []),
            ("USER@Example.org", nil, ["example.org", "user@example.org"]), ("mail.example.org", nil, ["example.org"]),
            ("example.org", .client, []), (nil, .sender, ["example.org", "user@example.org"]),
        ] as [(String?, ListEntry.Kind?, [String])] {
            let reply = try await ask(.entries(list: .block, named: named, kind: kind))
            guard case .entries(let found) = reply else { throw Unexpected() }
            #expect(found.map(\.entry) == wanted, "\(named ?? "") \(kind?.rawValue ?? "")")
        }
        #expect(await failure(.entries(list: .block, named: "*.example.org"))?.code == .badData)
        guard case .entries(let desks) = try await ask(.entries(list: .allow, named: "noc@mx.example.net", kind: .recipient)) else {
            throw Unexpected()
        }
        #expect(desks.map(\.entry) == ["noc@"])
        #expect(state.engine().lists.count == 6, "the engine decides with them at once")

        guard case .removed(let removed) = try await ask(.remove(EntryName(list: .block, pattern: "example.org"))) else {
            throw Unexpected()
        }
        #expect(removed.kind == .sender)
        #expect(state.engine().lists.count == 5)
        let again = await failure(.remove(EntryName(list: .block, pattern: "example.org")))
        #expect(again == ControlFailure(.badData, "there is no block entry for the sender example.org"))
        #expect(
            await failure(.remove(EntryName(list: .allow, pattern: "example.com")))?.message
                == "there is no allow entry for the sender example.com; there is one as client: say --as client")
    }

    @Test func whoseASubscriptionsEntryIsIsTold() async throws {
        var lists = Lists()
        lists.subscribed = [
            SubscribedList(
                name: "drop", table: .empty, domains: [try #require(DomainName("spam.example")): .init(mark: 0, length: 0, expires: 0)],
                statements: [PublishedStatement(.black, reason: "")], checked: state.now().steady)
        ]
        state.listsChanged(lists)
        #expect(
            await failure(.remove(EntryName(list: .block, pattern: "spam.example")))?.message
                == "there is no block entry for the sender spam.example; there is one from the subscription drop: allow add overrules it")
        #expect(
            await failure(.remove(EntryName(list: .block, pattern: "mail.spam.example")))?.message
                == "there is no block entry for the sender mail.spam.example")
    }

    @Test func anEntryEndsWhenItsTimeIsUp() async throws {
        _ = try await ask(.add(entries: [EntryDraft(list: .block, pattern: "192.0.2.7", for: .hours(1))]))
        #expect(try await explain(question).verdict == "reject")
        state.advance(.hours(1))
        #expect(try await explain(question).verdict == "defer")
        #expect(try await ask(.entries(list: .block)) == .entries([]))
    }

    @Test func allowingASenderIsRefused() async throws {
        for draft in [
            EntryDraft(list: .allow, pattern: "example.org"), EntryDraft(list: .allow, pattern: "a@example.org"),
            EntryDraft(list: .allow, pattern: "a@"), EntryDraft(list: .allow, kind: .sender, pattern: "example.org"),
        ] {
            let failure = await failure(.add(entries: [EntryDraft(list: .allow, pattern: "192.0.2.1"), draft]))
            #expect(failure?.code == .badData && failure?.message.contains("SPF") == true)
        }
        #expect(try await store.entries().isEmpty, "one that is refused stops the others")
    }

    @Test(arguments: [
        (EntryDraft(list: .block, pattern: "192.0.2.1/24"), "is not an address"),
        (EntryDraft(list: .block, pattern: "localhost"), "is not an address"),
        (EntryDraft(list: .block, pattern: ""), "is not an address"),
        (EntryDraft(list: .block, kind: .sender, pattern: "192.0.2.1"), "192.0.2.1 is an address; a sender is"),
        (EntryDraft(list: .block, kind: .recipient, pattern: "192.0.2.1"), "192.0.2.1 is an address; a recipient is"),
        (EntryDraft(list: .block, kind: .client, pattern: "a@example.org"), "a@example.org is a mailbox; a client is"),
        (EntryDraft(list: .block, pattern: "192.0.2.1", for: .zero), "a time must be longer than nothing"),
        (EntryDraft(list: .block, pattern: "192.0.2.1", for: .days(3654)), "and at most 3653d"),
        (EntryDraft(list: .block, pattern: "192.0.2.1", note: "two\nlines"), "a note is one line"),
        (EntryDraft(list: .block, pattern: "192.0.2.1", note: String(repeating: "n", count: 1001)), "of at most 1000 octets"),
    ])
    func anEntryThatMakesNoSense(draft: EntryDraft, words: String) async throws {
        let failure = await failure(.add(entries: [draft]))
        #expect(failure?.code == .badData)
        #expect(failure?.message.contains(words) == true, "\(failure?.message ?? "")")
    }

    @Test func aBatchHasABound() async throws {
        let drafts = (0..<1001).map { EntryDraft(list: .block, pattern: "10.0.\($0 / 256).\($0 % 256)") }
        #expect(await failure(.add(entries: drafts))?.code == .badData)
        #expect(await failure(.add(entries: []))?.code == .badData)
        _ = try await ask(.add(entries: Array(drafts.dropLast())))
        #expect(state.engine().lists.count == 1000)
    }

    /// In force at the end, though the last part brings nothing new; and undone, what was known is as it was.
    @Test func anImportIsUndoneWithoutWhatWasKnown() async throws {
        _ = try await ask(.add(entries: [EntryDraft(list: .block, pattern: "192.0.2.1", note: "mine")]))
        let drafts = ["192.0.2.1", "192.0.2.2"].map { EntryDraft(list: .block, pattern: $0, for: .days(4), note: "imported") }
        let one = handler
        #expect(try await one.handle(.takeOver(entries: drafts, more: true)).get() == .tookOver(entries: 1, known: 1))
        #expect(state.engine().lists.count == 1)
        #expect(try await one.handle(.takeOver(entries: drafts)).get() == .tookOver(entries: 0, known: 2))
        #expect(state.engine().lists.count == 2)
        guard case .changes(let changes) = try await ask(.changes(before: nil, limit: 10)) else { throw Unexpected() }
        #expect(changes.count == 2)
        _ = try await ask(.undo(change: try #require(changes.first?.id)))
        #expect(try await store.entries().map(\.note) == ["mine"])
    }

    @Test func partsOfAnImportComeIntoForceTogether() async throws {
        let one = handler
        let began = ContinuousClock.now
        for part in 0..<5 {
            let drafts = (0..<200).map { EntryDraft(list: .block, pattern: "10.0.\(part).\($0)") }
            _ = try await one.handle(.add(entries: drafts, more: part < 4)).get()
            #expect(try await store.entries().count == (part + 1) * 200, "each part is kept at once")
        }
        // Once at the end, and once more for each five seconds that a busy machine took.
        let patiences = Int((ContinuousClock.now - began).components.seconds / 5)
        #expect((1...1 + patiences).contains(state.listChanges))
        #expect(state.engine().lists.count == 1000)
    }

    /// Whoever began an import may be gone before its end.
    @Test func whatWasAddedComesIntoForceWithoutAnEnd() async throws {
        _ = try await ask(.add(entries: [EntryDraft(list: .block, pattern: "192.0.2.7")], more: true))
        #expect(state.engine().lists.count == 0)
        for _ in 0..<1000 where state.listChanges == 0 { try await Task.sleep(for: .milliseconds(20)) }
        #expect(state.engine().lists.count == 1 && state.listChanges == 1)
    }

    @Test func anAccountIsExplainedAsItLogsIn() async throws {
        state.setLoginDomain("example.net")
        var asked = question
        asked.account = "Ann"
        let explanation = try await explain(asked)
        #expect(explanation.causes.first?.text.contains("ann@example.net") == true, "\(explanation.causes)")
    }

    @Test func listsOfManyChangesAtOnceAreNeverStale() async throws {
        let handler = handler
        await withTaskGroup(of: Void.self) { group in
            for n in 0..<50 {
                group.addTask { _ = await handler.handle(.add(entries: [EntryDraft(list: .block, pattern: "10.0.0.\(n)")])) }
            }
        }
        #expect(state.engine().lists.count == 50)
    }

    // MARK: - Internationalised domains

    @Test func aListedDomainHasTwoSpellings() async throws {
        var ascii = question
        ascii.sender = "u@xn--bcher-kva.example"
        var unicode = question
        unicode.sender = "u@B\u{dc}CHER.example"
        _ = try await ask(.add(entries: [EntryDraft(list: .block, pattern: "b\u{fc}cher.example")]))
        for question in [ascii, unicode] { #expect(try await explain(question).verdict == "reject", "\(question.sender)") }
        _ = try await ask(.remove(EntryName(list: .block, pattern: "xn--bcher-kva.example")))
        for question in [ascii, unicode] { #expect(try await explain(question).verdict == "defer", "\(question.sender)") }
    }

    @Test func greylistingKeepsOneKeyForBothSpellings() async throws {
        var ascii = question
        ascii.sender = "u@xn--bcher-kva.example"
        ascii.recipient = "b@xn--mnchen-3ya.example"
        // Without a name there is one identity, and one triplet.
        ascii.name = ""
        var unicode = ascii
        unicode.sender = "u@b\u{fc}cher.example"
        unicode.recipient = "b@M\u{dc}NCHEN.example"
        try await attempt(unicode, reference: 1)
        state.advance(.minutes(10))
        for question in [ascii, unicode] { #expect(try await explain(question).verdict == "accept", "\(question.sender)") }
        // Both find the one decision.
        for search in [
            Search(sender: "u@b\u{fc}cher.example"), Search(sender: "xn--bcher-kva"), Search(sender: "B\u{dc}CHER.example"),
            Search(recipient: "m\u{fc}nchen.example"),
        ] {
            guard case .decisions(let found) = try await ask(.decisions(search)) else { throw Unexpected() }
            #expect(found.count == 1, "\(search)")
        }
        #expect(try await ask(.forget(Search(recipient: "b@m\u{fc}nchen.example"))) == .forgotten(1))
    }

    @Test func aReleaseIsForBothSpellings() async throws {
        var ascii = question
        ascii.recipient = "b@xn--mnchen-3ya.example"
        _ = try await ask(.release(ReleaseDraft(recipient: "b@m\u{fc}nchen.example", for: .minutes(10))))
        #expect(try await explain(ascii).causes.map(\.word) == ["released"])
    }

    // MARK: - Greylist, releases, decisions

    @Test func whatWaitsIsListedAndForgotten() async throws {
        try await attempt(question, reference: 1)
        state.advance(.minutes(1))
        var other = question
        other.address = "198.51.100.1"
        other.name = ""
        other.sender = "other@example.com"
        try await attempt(other, reference: 2)

        guard case .waiting(let all) = try await ask(.waiting(Search())) else { throw Unexpected() }
        #expect(all.map(\.decision.sender) == ["other@example.com", "a+tag@example.org"])
        #expect(all.map(\.passesInSeconds) == [180, 120] && all.map(\.deferrals) == [1, 1])
        #expect(all[1].expires == (state.now().wall + .hours(24) - .minutes(1)).description)
        guard case .waiting(let one) = try await ask(.waiting(Search(sender: "OTHER"))) else { throw Unexpected() }
        #expect(one.count == 1)

        // What is whole is no part of anything else; a network is what is in it.
        for search in [
            Search(address: "198.51.100.1"), Search(address: "198.51.100.0/24"), Search(address: "51.100"),
            Search(sender: "<other@EXAMPLE.com>"),
            Search(sender: "other@"), Search(sender: "@example.com"),
        ] {
            guard case .waiting(let found) = try await ask(.waiting(search)) else { throw Unexpected() }
            #expect(found.map(\.decision.address) == ["198.51.100.1"], "\(search)")
        }
        for search in [
            Search(address: "198.51.100.10"), Search(address: "98.51.100.1"), Search(address: "198.51.101.0/24"),
            Search(sender: "her@example.com"),
            Search(sender: "other@example.co"), Search(sender: "<>"),
        ] {
            #expect(try await ask(.forget(search)) == .forgotten(0), "\(search)")
        }
        #expect(await failure(.forget(Search(address: "nonsense")))?.message.contains("no address, network or part") == true)

        #expect(await failure(.forget(Search()))?.message.hasPrefix("say what to forget") == true)
        #expect(try await ask(.forget(Search(sender: "other@example.com"))) == .forgotten(1))
        guard case .waiting(let left) = try await ask(.waiting(Search())) else { throw Unexpected() }
        #expect(left.map(\.decision.sender) == ["a+tag@example.org"])

        state.advance(.minutes(5))
        guard case .waiting(let due) = try await ask(.waiting(Search())) else { throw Unexpected() }
        #expect(due.map(\.passesInSeconds) == [0])
    }

    /// RFC 5321 §4.1.2: what Postfix hands over without quotes is the mailbox that a gateway's client has written with them.
    @Test(arguments: ["J D@example.org", #""J D"@example.org"#, #""J\ D"@example.org"#])
    func aQuotedLocalPartIsFoundInEverySpelling(_ asked: String) async throws {
        var quoted = question
        quoted.sender = asked
        quoted.recipient = #""x, y"@example.net"#
        try await attempt(quoted, reference: 1)
        guard case .decisions(let all) = try await ask(.decisions(Search())) else { throw Unexpected() }
        #expect(all.map(\.sender) == [#""J D"@example.org"#] && all.map(\.recipient) == [#""x, y"@example.net"#])
        for text in ["j d@example.org", #""J D"@EXAMPLE.org"#, #""j\ d"@example.org"#, "j d"] {
            guard case .waiting(let found) = try await ask(.waiting(Search(sender: text))) else { throw Unexpected() }
            #expect(found.count == 1, "\(text)")
            guard case .decisions(let anywhere) = try await ask(.decisions(Search(anywhere: text))) else { throw Unexpected() }
            #expect(anywhere.count == 1, "\(text)")
        }
        for search in [Search(sender: "d@example.org"), Search(recipient: "y@example.net")] {
            #expect(try await ask(.forget(search)) == .forgotten(0), "\(search)")
        }
        guard case .forgotten(let count) = try await ask(.forget(Search(recipient: "x, y@example.net"))) else { throw Unexpected() }
        #expect(count > 0)
    }

    @Test func aReleaseLetsTheNextAttemptPass() async throws {
        let reply = try await ask(.release(ReleaseDraft(recipient: "B@Example.net", for: .minutes(10))))
        guard case .released(let report) = reply else { throw Unexpected() }
        #expect(report.recipient == "b@example.net" && report.sender == nil)
        #expect(report.expires == (state.now().wall + .minutes(10)).description)
        #expect(try await explain(question).causes.map(\.word) == ["released"])
        state.advance(.minutes(10))
        #expect(try await explain(question).causes.map(\.word) == ["new"])
    }

    @Test func aReleaseMayBeNarrow() async throws {
        _ = try await ask(
            .release(ReleaseDraft(recipient: "b@example.net", sender: "x@example.org", client: "192.0.2.0/24", for: .hours(1))))
        #expect(try await explain(question).causes.map(\.word) == ["new"])
        var fitting = question
        fitting.sender = "X@example.org"
        #expect(try await explain(fitting).causes.map(\.word) == ["released"])
        fitting.address = "192.0.3.1"
        #expect(try await explain(fitting).causes.map(\.word) == ["new"])
        for draft in [
            ReleaseDraft(recipient: "example.net", for: .hours(1)),
            ReleaseDraft(recipient: "b@example.net", sender: "example.org", for: .hours(1)),
            ReleaseDraft(recipient: "b@example.net", client: "somewhere", for: .hours(1)),
            ReleaseDraft(recipient: "b@example.net", for: .zero),
        ] {
            #expect(await failure(.release(draft))?.code == .badData)
        }
    }

    @Test func decisionsAreFound() async throws {
        try await attempt(question, reference: 1)
        state.advance(.hours(2))
        try await attempt(question, reference: 2)
        guard case .decisions(let all) = try await ask(.decisions(Search())) else { throw Unexpected() }
        #expect(all.map(\.verdict) == ["accept", "defer"])
        #expect(all.last?.helo == "mail.example.org" && all.last?.name == "mail.example.org" && all.last?.passesAt != nil)
        guard case .decisions(let recent) = try await ask(.decisions(Search(age: .hours(1)))) else { throw Unexpected() }
        #expect(recent.count == 1)
        guard case .decisions(let named) = try await ask(.decisions(Search(reference: all.last?.reference))) else { throw Unexpected() }
        #expect(named.map(\.verdict) == ["defer"])
        for search in [Search(reference: "?"), Search(sender: ""), Search(limit: 0), Search(limit: 10_001), Search(age: .zero)] {
            #expect(await failure(.decisions(search))?.code == .badData)
        }
    }

    @Test func untilWhenMailIsReleasedIsToldByTheWallClock() async throws {
        // The engine's time is three hours ahead of it.
        state.stepWallClock(-.hours(3))
        guard
            case .released(let report) = try await ask(
                .release(ReleaseDraft(recipient: question.recipient, for: .minutes(10))))
        else { throw Unexpected() }
        let until = state.now().wall + .minutes(10)
        #expect(report.expires == until.description)
        #expect(try await explain(question).causes.map(\.text) == ["released until \(until)"])
        // Somebody sets the clock: the release lasts as long as it did, and so it is told.
        state.stepWallClock(.hours(1))
        #expect(try await explain(question).causes.map(\.text) == ["released until \(until + .hours(1))"])
    }

    // MARK: - Lessons

    @Test func whatAnotherGreylisterKnewIsKnown() async throws {
        let now = state.now().wall.milliseconds / 1000
        let lessons = Lessons(
            triplets: [
                .init(
                    address: "192.0.2.0", sender: "a@example.org", recipient: "b@example.net", firstSeen: now - 9000, lastSeen: now - 100,
                    passed: true),
                .init(
                    address: "192.0.2.0", sender: "w@example.org", recipient: "b@example.net", firstSeen: now - 60, lastSeen: now - 60,
                    passed: false),
                .init(address: "192.0.2.0", sender: "old@example.org", recipient: "b@example.net", firstSeen: 1, lastSeen: 2, passed: true),
                .init(
                    address: "nonsense", sender: "a@example.org", recipient: "b@example.net", firstSeen: now, lastSeen: now, passed: true),
            ],
            clients: [
                .init(address: "198.51.100.9", passes: 7, lastSeen: now - 3600), .init(address: "198.51.100.10", passes: 2, lastSeen: now),
                .init(address: "203.0.113.1", passes: 9, lastSeen: 5),
            ])
        #expect(try await ask(.learn(lessons)) == .learnt(LessonReport(triplets: 2, clients: 2, skipped: 3)))

        #expect(try await explain(question).causes.map(\.word) == ["known"])
        var waiting = question
        waiting.sender = "w@example.org"
        let e = try await explain(waiting)
        #expect(e.causes.map(\.word) == ["early"] && e.passesInSeconds == 120)
        var proven = question
        proven.address = "198.51.100.200"
        proven.name = ""
        proven.sender = "new@example.com"
        let p = try await explain(proven)
        #expect(p.causes.map(\.word) == ["proven"] && p.identities.map(\.passes) == [7])

        // Learning the same again changes nothing, and never takes away what is known here.
        let known = LessonReport(skipped: 3, known: 4)
        #expect(try await ask(.tryToLearn(lessons)) == .learnt(known))
        #expect(try await ask(.learn(lessons)) == .learnt(known))
        #expect(try await explain(proven).identities.map(\.passes) == [7])
        _ = try await ask(.learn(Lessons(clients: [.init(address: "198.51.100.9", passes: 1, lastSeen: now - 9)])))
        #expect(try await explain(proven).identities.map(\.passes) == [7])
        #expect(try await explain(question).causes.map(\.word) == ["known"])
    }

    @Test func whatIsTriedIsNotLearnt() async throws {
        let now = state.now().wall.milliseconds / 1000
        let lessons = Lessons(
            triplets: [
                .init(
                    address: "192.0.2.0", sender: "a@example.org", recipient: "b@example.net", firstSeen: now - 9000, lastSeen: now - 100,
                    passed: true)
            ], clients: [.init(address: "198.51.100.9", passes: 7, lastSeen: now - 3600)],
            correspondents: [.init(correspondent: "c@example.com", user: "b@example.net", lastWritten: now - 60)])
        for _ in 0..<2 {
            #expect(try await ask(.tryToLearn(lessons)) == .learnt(LessonReport(triplets: 1, clients: 1, correspondents: 1)))
        }
        #expect(try await explain(question).causes.map(\.word) == ["new"])
        #expect(try await ask(.learn(lessons)) == .learnt(LessonReport(triplets: 1, clients: 1, correspondents: 1)))
        #expect(try await ask(.tryToLearn(lessons)) == .learnt(LessonReport(known: 3)))
    }

    @Test func lessonsHaveABound() async throws {
        let client = Lessons.Client(address: "192.0.2.1", passes: 1, lastSeen: state.now().wall.milliseconds / 1000)
        #expect(await failure(.learn(Lessons(clients: Array(repeating: client, count: 1001))))?.code == .badData)
        _ = try await ask(.learn(Lessons(clients: Array(repeating: client, count: 1000))))
        _ = try await ask(.learn(Lessons(clients: [.init(address: "192.0.2.1", passes: 1, lastSeen: .max)])))
        _ = try await ask(.learn(Lessons(clients: [.init(address: "192.0.2.1", passes: 1, lastSeen: .min)])))
    }

    // MARK: - Others

    @Test func statusTellsOfTheStore() async throws {
        try await attempt(question, reference: 1)
        guard case .status(let report) = try await ask(.status) else { throw Unexpected() }
        #expect(report.store?.state == "ok" && report.store?.triplets == 2 && report.store?.decisions == 1)
        await store.close()
        guard case .status(let closed) = try await ask(.status) else { throw Unexpected() }
        #expect(closed.store?.state != "ok")
        #expect(await failure(.entries(list: .block))?.code == .unavailable)
    }

    @Test func aCopyNeedsAWholePath() async {
        #expect(await failure(.backup(path: "copy.db"))?.code == .badData)
        #expect(await failure(.backup(path: "/tmp/\0"))?.code == .badData)
    }

    @Test func timesAreShownByTheWallClock() async throws {
        state.stepWallClock(.hours(3))
        try await attempt(question, reference: 1)
        let wall = state.now().wall
        let e = try await explain(question)
        #expect(e.passesAt == (wall + .minutes(3)).description)
        #expect(e.triplets.first?.firstSeen == wall.description)
        guard case .waiting(let waiting) = try await ask(.waiting(Search())) else { throw Unexpected() }
        #expect(waiting.first?.passesAt == (wall + .minutes(3)).description)
    }
}

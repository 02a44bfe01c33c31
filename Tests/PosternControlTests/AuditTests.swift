import PosternControl
import PosternCore
import PosternEngine
import PosternStorage
import Testing

/// The log of changes and its undo, what a button does, and the history.
struct AuditTests {
    private let store = MemoryStore()
    private let state = TestState()
    private let handler: ControlHandler

    init() { handler = ControlHandler(store: store, state: state) }

    private struct Unexpected: Error {}

    private func ask(_ request: ControlRequest) async throws -> ControlReply { try await handler.handle(request, by: "test").get() }

    private func act(_ draft: ActionDraft) async throws -> ActionReport {
        guard case .acted(let report) = try await ask(.act(draft)) else { throw Unexpected() }
        return report
    }

    private func changes() async throws -> [ChangeReport] {
        guard case .changes(let changes) = try await ask(.changes(before: nil, limit: 100)) else { throw Unexpected() }
        return changes
    }

    private func undo(_ change: Int64?) async throws {
        guard let change, case .acted = try await ask(.undo(change: change)) else { throw Unexpected() }
    }

    private func patterns(_ list: ListEntry.List) async throws -> [String] {
        guard case .entries(let entries) = try await ask(.entries(list: list)) else { throw Unexpected() }
        return entries.map { "\($0.kind.rawValue) \($0.entry)\($0.note.isEmpty ? "" : " (\($0.note))")" }
    }

    /// A deferral as a front records it: where there are several recipients, in reply to DATA.
    private func defer_(
        _ reference: Int64, sender: String = "a@example.org", recipients: [String] = ["b@example.net"]
    ) async throws -> String {
        let client = Client(address: IPAddress("192.0.2.7"), helo: "mail.example.org")
        let isAtData = recipients.count > 1
        let attempt = Attempt(
            stage: isAtData ? .data : .rcpt, client: client, sender: ReversePath(sender), recipient: isAtData ? nil : Mailbox(recipients[0])
        )
        let network = Identity.network(Prefix(IPAddress(v4: 0xc000_0200), length: 24))
        let keys = recipients.map { TripletKey(identity: network, sender: sender, recipient: $0) }
        let now = state.now()
        var changes = Changes()
        let row = TripletRow(firstSeen: now.steady, lastSeen: now.steady, deferrals: 1, passes: 0, expires: now.steady + .hours(24))
        changes.triplets = keys.map { .init(key: $0, row: row) }
        let decision = Decision(verdict: Verdict(.defer, [.greylistNew], passesAt: now.wall + .minutes(3)), changes: changes)
        let record = DecisionRecord(
            reference: Reference(value: reference), time: now.wall, listener: "policy", attempt: attempt, verdict: decision.verdict,
            triplets: keys)
        _ = await withCheckedContinuation { continuation in
            store.submit(
                BlockTransaction(
                    needs: Needs(triplets: keys), decide: { _ in (decision, record) }, completion: { continuation.resume(returning: $0) }))
        }
        return Reference(value: reference).description
    }

    @Test func buttonsBesideADecisionKnowQuotedMailboxes() async throws {
        let reference = try await defer_(7, sender: #""s t"@example.org"#, recipients: [#""a, b"@example.net"#, "c@example.net"])
        let passed = try await act(ActionDraft(reference: reference, action: .pass))
        #expect(passed.summary.contains(#"to "a, b"@example.net, c@example.net passes"#), "\(passed.summary)")
        #expect(try await store.releases().map(\.recipient).sorted() == [#""a, b"@example.net"#, "c@example.net"])
        let blocked = try await act(ActionDraft(reference: reference, action: .block, subject: .sender))
        #expect(try await patterns(.block) == [#"sender "s t"@example.org (decision \#(reference))"#])
        try await undo(blocked.change)
        #expect(try await patterns(.block).isEmpty)
    }

    @Test func aBounceToSeveralIsFoundAndForgottenByEachOfThem() async throws {
        _ = try await defer_(7, sender: "", recipients: ["u1@r.example", "u2@r.example"])
        for (text, count) in [
            ("u1@r.example", 1), ("<U2@R.example>", 1), ("u1@r.example, u2@r.example", 1), ("u1@", 1), ("1@r.example", 0),
            ("u3@r.example", 0),
        ] {
            guard case .decisions(let found) = try await ask(.decisions(Search(recipient: text))),
                case .waiting(let waiting) = try await ask(.waiting(Search(recipient: text)))
            else { throw Unexpected() }
            #expect(found.count == count && waiting.count == count, "\(text)")
        }
        // What waits is the bounce, and with it all of them.
        #expect(try await ask(.forget(Search(recipient: "u2@r.example"))) == .forgotten(2))
    }

    @Test func whatWasAddedIsTakenBackAndWhatItReplacedComesBack() async throws {
        _ = try await ask(.add(entries: [EntryDraft(list: .block, pattern: "192.0.2.0/24", note: "old")]))
        _ = try await ask(.add(entries: [EntryDraft(list: .block, pattern: "192.0.2.0/24", for: .days(1), note: "new")]))
        #expect(try await patterns(.block) == ["client 192.0.2.0/24 (new)"])
        var log = try await changes()
        #expect(log.count == 2 && log.allSatisfy { $0.who == "test" && $0.canBeUndone && $0.undoneAt == nil })
        #expect(log[0].what.hasPrefix("Added to the block list: the client 192.0.2.0/24, until "))
        try await undo(log[0].id)
        #expect(try await patterns(.block) == ["client 192.0.2.0/24 (old)"])
        log = try await changes()
        #expect(log.count == 3 && !log[0].canBeUndone && log[0].what.hasPrefix("Undone: Added"))
        #expect(log[1].undoneAt != nil && !log[1].canBeUndone)
        await #expect(throws: ControlFailure.self) { try await undo(log[1].id) }
        await #expect(throws: ControlFailure.self) { try await undo(999) }
        try await undo(log[2].id)
        #expect(try await patterns(.block).isEmpty)
    }

    @Test func whatWasRemovedComesBackAsItWas() async throws {
        _ = try await ask(.add(entries: [EntryDraft(list: .allow, kind: .client, pattern: "mail.example.org", note: "partner")]))
        _ = try await ask(.remove(EntryName(list: .allow, kind: .client, pattern: "mail.example.org")))
        #expect(try await patterns(.allow).isEmpty)
        try await undo(try await changes().first?.id)
        #expect(try await patterns(.allow) == ["client mail.example.org (partner)"])
    }

    @Test func aMessageIsLetThroughByItsReferenceAndThatIsTakenBack() async throws {
        let reference = try await defer_(77)
        let report = try await act(ActionDraft(reference: reference, action: .pass))
        #expect(report.summary == "The next attempt from a@example.org to b@example.net passes, for 24 h from now.")
        #expect(try await store.releases().map(\.recipient) == ["b@example.net"])
        let question = Question(address: "192.0.2.7", sender: "a@example.org", recipient: "b@example.net")
        func verdict() async throws -> String? {
            if case .explanation(let explanation) = try await ask(.explain(question)) { explanation.verdict } else { nil }
        }
        #expect(try await verdict() == "accept", "it counts at once")
        try await undo(report.change)
        #expect(try await store.releases().isEmpty)
        #expect(try await verdict() == "defer")
        await #expect(throws: ControlFailure.self) { try await act(ActionDraft(reference: "1K4X0M7Q0A0", action: .pass)) }
    }

    @Test func whatWasForgottenIsRememberedAgain() async throws {
        let reference = try await defer_(78)
        let report = try await act(ActionDraft(reference: reference, action: .forget))
        #expect(try await store.statistics().triplets == 0 && report.canBeUndone)
        try await undo(report.change)
        #expect(try await store.statistics().triplets == 1)
        _ = try await act(ActionDraft(reference: reference, action: .forget))
        let nothing = try await act(ActionDraft(reference: reference, action: .forget))
        #expect(nothing.change == nil && !nothing.canBeUndone)
    }

    @Test func aClientOrSenderIsAllowedOrBlockedByADecision() async throws {
        let reference = try await defer_(79)
        _ = try await act(ActionDraft(reference: reference, action: .allow))
        _ = try await act(ActionDraft(reference: reference, action: .block, subject: .sender, for: .days(2)))
        #expect(try await patterns(.allow) == ["client 192.0.2.7 (decision \(reference))"])
        #expect(try await patterns(.block) == ["sender a@example.org (decision \(reference))"])
    }

    @Test func oneTextIsLookedForEverywhere() async throws {
        let first = try await defer_(1 << 40, sender: "anna@example.org", recipients: ["b@example.net"])
        let second = try await defer_(2 << 40, sender: "c@example.org", recipients: ["Anna@example.net"])
        func find(_ text: String) async throws -> [String] {
            guard case .decisions(let found) = try await ask(.decisions(Search(anywhere: text))) else { throw Unexpected() }
            return found.map(\.reference)
        }
        #expect(try await find("ANNA@") == [second, first])
        #expect(try await find("192.0.2.7") == [second, first])
        #expect(try await find(first.lowercased()) == [first])
        #expect(try await find("nobody").isEmpty)
    }

    @Test func theHistoryIsGroupedAndBounded() async throws {
        let now = HistoryMinute.minute(of: state.now().wall)
        for ago in Int64(0)..<30 {
            var minute = HistoryMinute(minute: now - ago)
            minute.deferred = 2
            minute.delayMilliseconds = 90_000
            try await store.record(minute)
        }
        guard case .history(let history) = try await ask(.history(HistoryDraft(age: .minutes(20), step: 10))) else { throw Unexpected() }
        #expect(history.stepMinutes == 10 && history.groups.allSatisfy { $0.seconds % 600 == 0 })
        #expect(history.from <= history.groups[0].seconds && history.groups.last.map { $0.seconds < history.to } == true)
        #expect(history.groups.reduce(0) { $0 + $1.deferred } >= 40)
        await #expect(throws: ControlFailure.self) { try await ask(.history(HistoryDraft(age: .minutes(20), step: 0))) }
    }

    @Test(arguments: [
        ("a@example.org", "…@example.org"), ("", ""), ("a@example.org, b@example.net", "…@example.org, …@example.net"), ("odd", "…"),
    ])
    func redactionLeavesDomains(given: String, expected: String) { #expect(Redaction.mailboxes(given) == expected) }

    @Test func redactionOfASentenceLeavesDomains() {
        #expect(
            Redaction.sentence("allowed: sender anna@example.org; authenticated as berta; first attempt")
                == "allowed: sender …@example.org; authenticated as …; first attempt")
        #expect(Redaction.sentence("blocked: recipient info@") == "blocked: recipient …@")
        #expect(Redaction.sentence("authenticated as berta") == "authenticated as …")
        #expect(Redaction.sentence(#"sender "anna b c"@example.org; "x" "y""#) == #"sender …@example.org; "x" "y""#)
    }
}

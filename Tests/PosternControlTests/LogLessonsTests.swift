import PosternControl
import PosternCore
import PosternEngine
import PosternReplay
import PosternStorage
import Testing

/// What logs teach, and what the record tells.
struct LogLessonsTests {
    private let store = MemoryStore()
    private let state = TestState()
    private var handler: ControlHandler { ControlHandler(store: store, state: state) }

    private func ask(_ request: ControlRequest) async throws -> ControlReply { try await handler.handle(request).get() }

    private var now: Int64 { state.now().wall.milliseconds / 1000 }

    @Test func aNameProvesItsDomain() async throws {
        let lessons = Lessons(
            triplets: [
                .init(
                    address: "192.0.2.1", name: "mx.example.org", sender: "a@example.org", recipient: "B@example.net",
                    firstSeen: now - 90_000,
                    lastSeen: now - 60, passed: true)
            ],
            clients: [
                .init(address: "198.51.100.9", name: "mx.example.com", passes: 5, lastSeen: now - 60),
                .init(address: "203.0.113.77", name: "dyn-203-0-113-77.example.info", passes: 50, lastSeen: now - 60),
                .init(address: "203.0.113.78", name: "not a name", passes: 50, lastSeen: now - 60),
            ])
        #expect(try await ask(.learn(lessons)) == .learnt(LessonReport(triplets: 1, clients: 2, skipped: 1)))

        func word(_ address: String, _ name: String, _ sender: String) async throws -> String? {
            let question = Question(address: address, name: name, sender: sender, recipient: "b@example.net")
            guard case .explanation(let explanation) = try await ask(.explain(question)) else { return nil }
            return explanation.causes.first?.word
        }
        #expect(try await word("192.0.2.77", "", "a@example.org") == "known", "by its network")
        #expect(try await word("100.64.0.1", "other.example.org", "a@example.org") == "known", "by its name")
        #expect(try await word("100.64.0.1", "out.example.com", "anybody@example.com") == "proven")
        #expect(try await word("198.51.100.1", "", "anybody@example.com") == "proven")
        #expect(try await word("100.64.0.1", "dyn-203-0-113-77.example.info", "a@example.info") == "new", "a consumer's line proves nobody")
    }

    @Test func correspondentsAreAwaitedFromWhoeverSPFLetsSend() async throws {
        let lessons = Lessons(correspondents: [
            .init(correspondent: "Friend@mail.example.org", user: "Bob@example.net", lastWritten: now - 3600),
            .init(correspondent: "old@example.org", user: "bob@example.net", lastWritten: now - 40 * 86_400),
            .init(correspondent: "nobody", user: "bob@example.net", lastWritten: now),
        ])
        #expect(try await ask(.learn(lessons)) == .learnt(LessonReport(correspondents: 1, skipped: 2)))
        let domain = try #require(DomainName("example.org"))
        let key = TripletKey(identity: .spfDomain(domain), sender: "friend@mail.example.org", recipient: "bob@example.net")
        let row = try await store.read(Needs(triplets: [key])).triplets[0]
        #expect(row?.passedAt == WallTime(seconds: now - 3600) && row?.expires == WallTime(seconds: now - 3600) + .days(36))
        let many = Array(repeating: Lessons.Correspondent(correspondent: "a@b.example", user: "c@d.example", lastWritten: now), count: 1001)
        guard case .failure(let failure) = await handler.handle(.learn(Lessons(correspondents: many))) else {
            return #expect(Bool(false), "too many at once")
        }
        #expect(failure.code == .badData)
    }

    /// More decisions than are read at once, over the socket's own encoding.
    @Test func theReportReadsAllOfTheRecord() async throws {
        let engine = state.engine()
        let start = state.now().wall
        for number in 0..<25_000 as Range<Int64> {
            let attempt = Attempt(
                stage: .rcpt, client: Client(address: IPAddress(v4: UInt32(number / 2 << 8 | 1))),
                sender: ReversePath("a@d\(number / 2 % 10).example.org"),
                recipient: Mailbox("b@example.net"))
            let verdict =
                number % 2 == 0 ? Verdict(.defer, [.greylistNew]) : Verdict(.accept, [.greylistPassed(waited: .minutes(5))])
            let time = start - .hours(20) + .seconds(number / 2) + (number % 2 == 0 ? .zero : .minutes(5))
            let record = DecisionRecord(
                reference: Reference(time: time, counter: UInt16(number % 4096)), time: time, listener: "policy",
                attempt: attempt, verdict: verdict, triplets: [])
            store.submit(BlockTransaction(needs: Needs(), decide: { _ in (Decision(verdict: verdict), record) }, completion: { _ in }))
        }
        _ = engine
        guard case .report(let report) = try await ask(.report(ReportDraft(age: .days(7), rows: 3))) else {
            return #expect(Bool(false), "another answer")
        }
        #expect(report.input.counts.lines == 25_000)
        #expect(report.policies[0].attempts.deferred == 12_500 && report.policies[0].all.deliveries >= 12_500)
        #expect(report.policies[0].domains.count == 1 && report.policies[0].policy == "localhost")
        guard case .report(let short) = try await ask(.report(ReportDraft(age: .hours(17)))) else {
            return #expect(Bool(false), "another answer")
        }
        #expect(short.input.counts.lines < 25_000 && short.input.counts.lines > 0)
        for draft in [ReportDraft(age: .zero), ReportDraft(age: .days(1), rows: 0)] {
            guard case .failure(let failure) = await handler.handle(.report(draft)) else { return #expect(Bool(false), "\(draft)") }
            #expect(failure.code == .badData)
        }
    }
}

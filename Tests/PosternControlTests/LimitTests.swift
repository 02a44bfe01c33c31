import PosternControl
import PosternCore
import PosternEngine
import PosternStorage
import Testing

/// What an admin does about those who are limited, suspended or trapped, and how that is taken back.
struct LimitTests {
    private let store = MemoryStore()
    private let state = TestState()
    private let handler: ControlHandler

    init() { handler = ControlHandler(store: store, state: state) }

    private struct Unexpected: Error {}

    private func ask(_ request: ControlRequest) async throws -> ControlReply { try await handler.handle(request, by: "test").get() }

    private func near() async throws -> [NearLimitReport] {
        guard case .limits(let limits) = try await ask(.limits(limit: 100)) else { throw Unexpected() }
        return limits
    }

    private func act(_ request: ControlRequest) async throws -> ActionReport {
        guard case .acted(let report) = try await ask(request) else { throw Unexpected() }
        return report
    }

    private func undo(_ change: Int64?) async throws { _ = try await act(.undo(change: try #require(change))) }

    @Test func countsAreForgottenAndComeBack() async throws {
        state.attempt("192.0.2.7", 12)
        let one = try #require(try await near().first)
        #expect(one.subject == "192.0.2.7" && one.state == "held" && one.used == 12 && one.left == 0 && one.holdSeconds != nil)
        let report = try await act(.actOnLimited(LimitedDraft(id: one.id, action: .forget)))
        #expect(report.summary == "Forgot the counts of 192.0.2.7" && report.canBeUndone)
        #expect(try await near().isEmpty)
        #expect(try await act(.actOnLimited(LimitedDraft(id: one.id, action: .forget))).change == nil)
        try await undo(report.change)
        #expect(try await near().first?.used == 12)
    }

    @Test func aClientIsLetThroughOrTrusted() async throws {
        state.attempt("192.0.2.7", 12)
        let id = try #require(try await near().first).id
        let pass = try await act(.actOnLimited(LimitedDraft(id: id, action: .pass)))
        #expect(pass.summary == "Allowed: the client 192.0.2.7, for 24 h.")
        let trust = try await act(.actOnLimited(LimitedDraft(id: id, action: .trust)))
        #expect(trust.summary == "Allowed: the client 192.0.2.7, for good.")
        #expect(try await store.entries().map(\.pattern.description) == ["192.0.2.7"])
        try await undo(trust.change)
        #expect(try await store.entries().first?.expires != nil, "as it was before")
        for nonsense in ["", "1-0-0", "nobody"] {
            await #expect(throws: ControlFailure.self) { try await act(.actOnLimited(LimitedDraft(id: nonsense, action: .trust))) }
        }
        await #expect(throws: ControlFailure.self) { try await ask(.limits(limit: 0)) }
    }

    @Test func anAccountIsReleasedByNameOrIdAndStoppedAgain() async throws {
        let suspension = Suspension(account: "ann@example.net", since: state.now().steady, reason: "account recipients 600/1h: 601")
        try await store.insert(suspension)
        state.suspend(suspension)
        guard case .accounts(let accounts) = try await ask(.accounts), let account = accounts.first else { throw Unexpected() }
        #expect(accounts.map(\.account) == ["ann@example.net"])
        for name in ["Ann@example.net", account.id] {
            guard case .accountReleased(let report) = try await ask(.releaseAccount(name: name)) else { throw Unexpected() }
            #expect(try await store.suspensions().isEmpty && state.suspensions().isEmpty)
            try await undo(report.change)
            #expect(try await store.suspensions() == [suspension] && state.suspensions() == [suspension])
        }
        await #expect(throws: ControlFailure.self) { try await ask(.releaseAccount(name: "berta@example.net")) }
    }

    @Test func anEntryOfTheTrapsStaysLongerComesOffAndIsPutBack() async throws {
        let now = state.now().steady
        let prefix = try #require(Prefix("192.0.2.7"))
        let entry = HarvestEntry(
            prefix: prefix, colour: .black, reason: "wrote to a trap", listeners: ["mx"], evidence: 3, added: now, expires: now + .days(4))
        state.beginHarvest([entry])
        guard case .entries(let entries) = try await ask(.harvest) else { throw Unexpected() }
        #expect(entries.map(\.colour) == [.black] && entries.first?.evidence == 3 && entries.first?.seenAt == ["mx"])
        let extended = try await act(.actOnHarvest(HarvestDraft(entry: "192.0.2.7", action: .extend)))
        #expect(state.harvested()?.first?.expires == now + .days(30))
        try await undo(extended.change)
        #expect(state.harvested() == [entry])
        _ = try await ask(.add(entries: [EntryDraft(list: .block, pattern: "192.0.2.7", note: "by hand")]))
        let removed = try await act(.actOnHarvest(HarvestDraft(entry: "192.0.2.7", action: .remove)))
        #expect(state.harvested() == [] && removed.summary.contains("black"))
        #expect(try await store.entries().count == 1, "what the admin has said stays")
        await #expect(throws: ControlFailure.self) { try await act(.actOnHarvest(HarvestDraft(entry: "192.0.2.7", action: .extend))) }
        try await undo(removed.change)
        #expect(state.harvested() == [entry])
        await #expect(throws: ControlFailure.self) { try await act(.actOnHarvest(HarvestDraft(entry: "nobody", action: .remove))) }
    }
}

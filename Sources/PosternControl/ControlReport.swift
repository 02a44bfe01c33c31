import PosternCore
import PosternEngine
import PosternReplay

// The tables of what the daemon has decided.

extension ControlHandler {
    /// Decisions that are read at once.
    private static let step = 10_000

    func report(_ draft: ReportDraft) async throws(ControlFailure) -> TrafficReport {
        guard (1...1000).contains(draft.rows) else { throw ControlFailure(.badData, "rows are 1 to 1000, not \(draft.rows)") }
        let moment = state.now()
        let since = moment.wall - (try span(draft.age))
        let engine = state.engine()
        var assumptions = Assumptions()
        assumptions.rows = draft.rows
        var traffic = RecordedTraffic(
            greylist: engine.settings.greylist, assumptions: assumptions, domains: engine.organisationalDomains, now: moment.wall)
        var before: Reference?
        while true {
            let filter = DecisionFilter(since: since, before: before, limit: Self.step)
            let decisions = try await stored { () async throws(StoreFailure) in try await store.decisions(filter) }
            for decision in decisions { traffic.take(decision) }
            guard decisions.count == Self.step, let last = decisions.last else { break }
            before = last.reference
            // Others are served in between.
            await Task.yield()
        }
        return traffic.report(policy: engine.settings.hostname, since: since)
    }
}

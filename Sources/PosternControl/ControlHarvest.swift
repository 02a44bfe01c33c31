import PosternCore
import PosternEngine

/// What an admin wants done about an address that traps have put on a list.
public struct HarvestDraft: Codable, Equatable, Sendable {
    public enum Action: String, Codable, CaseIterable, Sendable {
        /// It stays listed for longer.
        case extend
        /// It comes off, and does not come back for as long as `harvest.keep_off` says.
        case remove
    }

    /// An address or network, as it is listed.
    public var entry: String
    public var action: Action
    /// How long it is to stay from now on, in milliseconds; `nil` for 30 days.
    public var milliseconds: Int64?

    public init(entry: String, action: Action, for span: WallTime.Span? = nil) {
        self.entry = entry
        self.action = action
        milliseconds = span?.milliseconds
    }
}

extension ControlHandler {
    /// How long an entry stays that is extended without saying for how long.
    static let extensionSpan = WallTime.Span.days(30)

    /// All colours, the ones listed last first.
    func harvestEntries() async throws(ControlFailure) -> [EntryReport] {
        let moment = state.now()
        return try await harvestRows().filter { moment.steady < $0.expires }
            .sorted { ($1.added, $0.prefix.description) < ($0.added, $1.prefix.description) }.map { EntryReport($0, at: moment) }
    }

    func harvestRows() async throws(ControlFailure) -> [HarvestEntry] {
        if let entries = state.harvested() { return entries }
        let store = store
        return try await stored { () async throws(StoreFailure) in try await store.harvest() }.entries
    }

    func act(_ draft: HarvestDraft, by who: String) async throws(ControlFailure) -> ActionReport {
        guard let prefix = Prefix(draft.entry) else {
            throw ControlFailure(.badData, "'\(draft.entry.shortened)' is not an address or network")
        }
        guard let entry = try await harvestRows().first(where: { $0.prefix == prefix }) else {
            throw ControlFailure(.badData, "\(prefix) is not listed any more")
        }
        let summary: String
        switch draft.action {
        case .remove:
            if state.harvested() != nil {
                // An entry of the admin's own for the same address stays.
                guard state.removeHarvested(prefix) != nil else { throw ControlFailure(.badData, "\(prefix) is not listed any more") }
            } else {
                _ = try await remove(EntryName(list: entry.colour == .white ? .allow : .block, kind: .client, pattern: draft.entry))
            }
            summary = "Took \(prefix) off the \(entry.colour.rawValue) list of the traps; it does not come back by itself soon."
        case .extend:
            let moment = state.now()
            let span = try span(draft.milliseconds ?? Self.extensionSpan.milliseconds)
            guard let extended = state.extendHarvested(prefix, until: moment.steady + span) else {
                throw ControlFailure(.unavailable, "no daemon runs that could keep \(prefix) listed")
            }
            summary = "Keeps \(prefix) on the \(entry.colour.rawValue) list of the traps until \(moment.shown(extended.expires))."
        }
        let change = await note(who, summary, undo: .harvest(Undo.Harvested(entry)))
        return ActionReport(summary: summary, change: change, canBeUndone: true)
    }
}

import PosternCore
import PosternEngine

/// Answers requests on a store and the state of the running program. The same handler serves the daemon's socket, and
/// the command line where no daemon runs.
public actor ControlHandler {
    let store: any Store
    let state: any DaemonState
    /// Counts the readings of the lists, so that an older one never replaces a newer.
    private var listReadings = 0
    private var listsInForce = 0
    /// Whether entries are kept that are not in force yet.
    private var isRefreshDue = false

    public init(store: any Store, state: any DaemonState) {
        self.store = store
        self.state = state
    }

    /// `who` is the way by which it is asked for, as the log of changes tells it.
    public func handle(_ request: ControlRequest, by who: String = "command line") async -> Result<ControlReply, ControlFailure> {
        do throws(ControlFailure) {
            return .success(try await answer(request, by: who))
        } catch {
            return .failure(error)
        }
    }

    private func answer(_ request: ControlRequest, by who: String) async throws(ControlFailure) -> ControlReply {
        switch request {
        case .status: .status(try await status())
        case .explain(let question): .explanation(try await explain(question))
        case .add(let drafts, let more): .added(try await noted(add: drafts, more: more ?? false, by: who).0)
        case .takeOver(let drafts, let more, let isTrial):
            try await takeOver(drafts, more: more ?? false, isTrial: isTrial ?? false, by: who)
        case .remove(let name): .removed(try await noted(remove: name, by: who).0)
        case .removeItself(let address, let requester): .removed(try removeItself(address, requester))
        case .entries(let list, let named, let kind): .entries(try await entries(of: list, named: named, kind: kind))
        case .waiting(let search): .waiting(try await waiting(search).map { $0.shown(redacted: state.redacts) })
        case .forget(let search): .forgotten(try await noted(forget: search, by: who).0)
        case .release(let draft): .released(try await noted(release: draft, by: who))
        case .backup(let path): .backedUp(path: try await backup(path))
        case .decisions(let search): .decisions(try await decisions(search).map { $0.shown(redacted: state.redacts) })
        case .reload: .reloaded(try await reload(by: who))
        case .learn(let lessons): .learnt(try await learn(lessons))
        case .tryToLearn(let lessons): .learnt(try await learn(lessons, isTrial: true))
        case .report(let draft): .report(try await report(draft))
        case .act(let draft): .acted(try await act(draft, by: who))
        case .changes(let before, let limit): .changes(try await changes(before: before, limit: limit))
        case .undo(let change): .acted(try await undo(change, by: who))
        case .history(let draft): .history(try await history(draft))
        case .export(let draft): .exported(try await state.export(draft))
        case .accounts: .accounts(try await accounts())
        case .releaseAccount(let name): .accountReleased(try await releaseAccount(name, by: who))
        case .limits(let limit): .limits(try nearLimits(limit))
        case .actOnLimited(let draft): .acted(try await act(draft, by: who))
        case .harvest: .entries(try await harvestEntries())
        case .actOnHarvest(let draft): .acted(try await act(draft, by: who))
        }
    }

    /// Carries out what a store may refuse.
    func stored<Value: Sendable>(_ work: () async throws(StoreFailure) -> Value) async throws(ControlFailure) -> Value {
        do throws(StoreFailure) {
            return try await work()
        } catch {
            throw ControlFailure(error)
        }
    }

    /// How long entries of an import wait at most to come into force, where the end of it does not come.
    static let refreshPatience = Duration.seconds(5)

    /// Sets entries in force that are kept, soon where more of them follow.
    func refreshLists(more: Bool, hasChange: Bool) async throws(ControlFailure) {
        guard hasChange || isRefreshDue else { return }
        if more { refreshListsSoon() } else { try await refreshLists() }
    }

    /// As `refreshLists`, once for all that is added within `refreshPatience`.
    func refreshListsSoon() {
        guard !isRefreshDue else { return }
        isRefreshDue = true
        Task {
            try? await Task.sleep(for: Self.refreshPatience)
            // Where the store fails that is told elsewhere, and the next change brings these entries with it.
            if isRefreshDue { try? await refreshLists() }
        }
    }

    /// Makes the engine decide with the lists as the store has them.
    func refreshLists() async throws(ControlFailure) {
        isRefreshDue = false
        listReadings += 1
        let reading = listReadings
        let store = store
        let lists = try await stored { () async throws(StoreFailure) in
            Lists(entries: try await store.entries(), releases: try await store.releases())
        }
        // Another request may have read the store while we waited: what was read last stays.
        guard reading > listsInForce else { return }
        listsInForce = reading
        state.listsChanged(lists)
    }

    // MARK: - Small requests

    private func reload(by who: String) async throws(ControlFailure) -> ReloadReport {
        let report = try await state.reload()
        await note(who, "Read the configuration again.")
        return report
    }

    private func status() async throws(ControlFailure) -> StatusReport {
        var report = try state.status()
        do throws(StoreFailure) {
            let numbers = try await store.statistics()
            report.store = .init(
                state: "ok", triplets: numbers.triplets, identities: numbers.identities, decisions: numbers.decisions,
                entries: numbers.entries, bytes: numbers.bytes)
        } catch {
            // A store that is down is what somebody who asks for the state wants to read.
            report.store = .init(state: error.message)
        }
        return report
    }

    private func backup(_ path: String) async throws(ControlFailure) -> String {
        guard path.hasPrefix("/"), !path.utf8.contains(0), path.utf8.count < 4096 else {
            throw ControlFailure(.badData, "the copy needs an absolute path, not '\(path.shortened)'")
        }
        let store = store
        do throws(StoreFailure) {
            try await store.backup(to: path)
        } catch {
            // What is in the way, or a folder that may not be written, is a matter of the copy and not of the store.
            let code: ControlFailure.Code = [.other, .denied].contains(error.kind) ? .cannotCreate : ControlFailure(error).code
            throw ControlFailure(code, error.message)
        }
        return path
    }

    func release(_ draft: ReleaseDraft) async throws(ControlFailure) -> ReleaseReport {
        let recipient = try mailbox(draft.recipient, as: "recipient")
        let sender = try draft.sender.map { (text) throws(ControlFailure) in text.isEmpty ? "" : try mailbox(text, as: "sender") }
        var client: Prefix?
        if let text = draft.client {
            guard let prefix = Prefix(text) else { throw ControlFailure(.badData, "'\(text.shortened)' is not an address or network") }
            client = prefix
        }
        let moment = state.now()
        let span = try span(draft.milliseconds)
        let release = Release(recipient: recipient, sender: sender, client: client, expires: moment.steady + span)
        try await insert(release)
        return ReleaseReport(
            recipient: recipient, sender: sender, client: client?.description, expires: moment.shown(release.expires))
    }

    func insert(_ release: Release) async throws(ControlFailure) {
        try await stored { () async throws(StoreFailure) in try await store.insert(release) }
        try await refreshLists()
    }

    private func mailbox(_ text: String, as role: String) throws(ControlFailure) -> String {
        guard case .mailbox(let mailbox)? = Pattern(text) else {
            throw ControlFailure(
                .badData, "the \(role) '\(text.shortened)' is not a mailbox such as user@example.org\(Pattern.hint(text.shortened))")
        }
        return mailbox
    }

    /// A length of time that somebody asks for: longer than nothing, and not longer than any setting may be.
    func span(_ milliseconds: Int64) throws(ControlFailure) -> WallTime.Span { try Self.span(milliseconds) }

    static func span(_ milliseconds: Int64) throws(ControlFailure) -> WallTime.Span {
        guard milliseconds > 0, milliseconds <= WallTime.Span.longestSetting.milliseconds else {
            throw ControlFailure(.badData, "a time must be longer than nothing and at most \(WallTime.Span.longestSetting)")
        }
        return WallTime.Span(milliseconds: milliseconds)
    }
}

extension String {
    /// For a message.
    var shortened: String { count <= 80 ? self : prefix(77) + "..." }
}

import Foundation
import PosternCore
import PosternEngine

// Who is near a limit or past it, accounts that are suspended, and what an admin does about either.

/// Somebody who is near a limit, or past it.
public struct NearLimitReport: Codable, Equatable, Sendable {
    /// Names it in requests.
    public var id: String
    /// What is counted: `address`, `identity`, `account`, `account-domain`, `recipient-domain`.
    public var key: String
    /// An address, the network that is counted as one, a domain, an account; under `log.redact` an account's domain alone. Of domains
    /// and accounts nothing but a hash is kept: those that were not met since the start have no name here.
    public var subject: String
    /// What its next message meets: nothing as yet (`near`), or it is `held`, `deferred`, `refused`.
    public var state: String
    /// The limit that is nearest, or that decides, as it is configured.
    public var limit: String
    /// In the limit's unit.
    public var used: Double
    /// Less than the limit where its neighbours are loud.
    public var allowance: Double
    public var left: Double
    /// How long a reply waits, in seconds.
    public var holdSeconds: Double?
    /// When it will do again if nothing more is done.
    public var until: String?

    init(_ near: NearLimit, at moment: Moment, redacted: Bool) {
        id = near.place.description
        key = near.key.rawValue
        subject = redacted && near.key == .account && near.isNamed ? Redaction.mailboxes(near.subject) : near.subject
        state = near.state.rawValue
        limit = near.limit.description
        used = near.used
        allowance = near.allowance
        left = near.left
        holdSeconds = near.hold.map { Double($0.milliseconds) / 1000 }
        until = near.until.map(moment.shown)
    }
}

/// What an admin wants done about somebody who is near a limit.
public struct LimitedDraft: Codable, Equatable, Sendable {
    public enum Action: String, Codable, CaseIterable, Sendable {
        /// A client is allowed for a day.
        case pass
        /// A client is allowed for good.
        case trust
        /// What it has to its name is forgotten.
        case forget
    }

    /// As `NearLimitReport.id`.
    public var id: String
    public var action: Action

    public init(id: String, action: Action) {
        self.id = id
        self.action = action
    }
}

extension ControlHandler {
    /// Rows that one reading hands over at most.
    static let maximumNear = 1000

    func nearLimits(_ limit: Int) throws(ControlFailure) -> [NearLimitReport] {
        guard (1...Self.maximumNear).contains(limit) else {
            throw ControlFailure(.badData, "a limit is 1 to \(Self.maximumNear), not \(limit)")
        }
        let moment = state.now()
        return state.nearLimits().prefix(limit).map { NearLimitReport($0, at: moment, redacted: state.redacts) }
    }

    func act(_ draft: LimitedDraft, by who: String) async throws(ControlFailure) -> ActionReport {
        guard let place = LimitPlace(draft.id) else { throw ControlFailure(.badData, "'\(draft.id.shortened)' names nobody") }
        var report: ActionReport
        switch draft.action {
        case .forget: report = try await forget(place, by: who)
        case .pass, .trust:
            guard let near = state.nearLimits().first(where: { $0.place == place }) else {
                throw ControlFailure(.badData, "it is near no limit any more; nothing was changed")
            }
            guard near.key == .address || near.key == .identity else {
                throw ControlFailure(.badData, "only clients can be let through; an account's limits stand under accounts")
            }
            guard near.isNamed else {
                throw ControlFailure(.badData, "it was not met since the start, and its name is not kept; nothing was changed")
            }
            let span = draft.action == .pass ? Self.passSpan : nil
            let until = span.map { ", for \($0.spoken)" } ?? ", for good"
            let summary = "Allowed: the client \(near.subject)\(until)."
            let entry = EntryDraft(list: .allow, kind: .client, pattern: near.subject, for: span, note: "was past \(near.limit)")
            let (_, change) = try await noted(add: [entry], by: who, what: summary)
            report = ActionReport(summary: summary, change: change, canBeUndone: true)
        }
        if state.redacts { report.summary = Redaction.sentence(report.summary) }
        return report
    }

    private func forget(_ place: LimitPlace, by who: String) async throws(ControlFailure) -> ActionReport {
        guard let (subject, had) = state.forgetCounts(place) else { return ActionReport(summary: "Nothing was counted of it.") }
        let whose = place.isAccount ? "whoever authenticated as \(subject)" : subject
        let summary = "Forgot the counts of \(whose)"
        let undo = Undo.counts(place: place.description, data: Data(had))
        return ActionReport(summary: summary, change: await note(who, summary, undo: undo), canBeUndone: true)
    }

    // MARK: - Accounts

    func accounts() async throws(ControlFailure) -> [AccountReport] {
        let moment = state.now()
        let redacts = state.redacts
        return try await suspensions().map {
            var report = AccountReport($0, at: moment)
            if redacts { report.account = Redaction.mailboxes(report.account) }
            return report
        }
    }

    private func suspensions() async throws(ControlFailure) -> [Suspension] {
        let store = store
        // The daemon knows of one that could not be kept, the store of one that the daemon is not running for.
        var suspensions = try await stored { () async throws(StoreFailure) in try await store.suspensions() }
        for suspension in state.suspensions() where !suspensions.contains(where: { $0.account == suspension.account }) {
            suspensions.append(suspension)
        }
        return suspensions.sorted { $0.account < $1.account }
    }

    func releaseAccount(_ name: String, by who: String) async throws(ControlFailure) -> AccountReport {
        let names = [name.foldedMailbox, state.account(name)]
        let all = try await suspensions()
        // By its id, where its name is not told (log.redact).
        let ids = all.filter { AccountReport.id(of: $0) == name }
        guard let found = names.lazy.compactMap({ name in all.first { $0.account == name } }).first ?? (ids.count == 1 ? ids.first : nil)
        else {
            throw ControlFailure(.badData, "the account '\(name.shortened)' is not suspended")
        }
        let store = store
        _ = try await stored { () async throws(StoreFailure) in try await store.removeSuspension(of: found.account) }
        _ = state.releaseAccount(found.account)
        var report = AccountReport(found, at: state.now())
        if state.redacts { report.account = Redaction.mailboxes(report.account) }
        let undo = Undo.suspension(account: found.account, since: found.since.milliseconds, reason: found.reason)
        report.change = await note(who, "Released the account authenticated as \(found.account); it may send again.", undo: undo)
        return report
    }
}

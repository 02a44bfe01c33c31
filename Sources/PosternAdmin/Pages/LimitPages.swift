import HummingbirdCore
import PosternControl
import PosternCore

// What limits on strangers and accounts have come to: who is near one, and what to do about it.

extension AdminSite {
    /// Rows of a table of limits.
    static let limitRows = 200

    // MARK: - Throttled

    func throttled() async throws(ControlFailure) -> Content {
        guard let limits = try await status().limits else {
            return Content(
                title: "Throttled",
                html: Template.render("message", ["title": "Throttled", "text": "Nobody is limited here: throttle.mode is off."]))
        }
        let now = live.now
        let tiles = [
            liveTile(
                "Made to wait", "throttled_sessions", now.throttledSessions, "sessions now, of \(Shown.count(limits.heldAtMost))", "wait"),
            liveTile("Refused at connect", "refused_clients", now.refusedClients, "clients now", "bad"),
            liveTile("Held", "throttle_held", limits.held &+ limits.accountsHeld, "recipients since the start", "wait"),
            liveTile("Deferred", "throttle_deferred", limits.deferred, "recipients since the start", "wait"),
            liveTile("Refused", "throttle_refused", limits.refused &+ limits.accountsRefused, "recipients since the start", "bad"),
        ]
        let facts: [[String: Any]] = [
            ("Strangers", limits.throttleMode), ("Accounts", limits.accountsMode),
            ("Counted", "\(Shown.count(limits.rows)) networks, domains and accounts, \(Shown.bytes(Int64(limits.bytes)))"),
            ("Gave way for want of room", Shown.count(limits.evicted)),
            ("Deferred since too many waited", Shown.count(limits.holdsDenied)),
        ].map { ["name": $0.0, "value": $0.1] }
        return Content(
            title: "Throttled",
            html: Template.render(
                "throttled",
                [
                    "tiles": tiles, "facts": facts, "limits": limits.limits.map { ["text": $0] }, "hasLimits": !limits.limits.isEmpty,
                    "table": try await throttledTable(),
                ]))
    }

    /// The part of the page that is fetched again by itself.
    func throttledTable() async throws(ControlFailure) -> String {
        Template.render("throttledTable", nearTable(try await near { $0.key != "account" && $0.key != "account-domain" }))
    }

    private func near(_ isWanted: (NearLimitReport) -> Bool) async throws(ControlFailure) -> [NearLimitReport] {
        guard case .limits(let limits) = try await ask(.limits(limit: 1000)) else { throw Self.unexpected }
        return limits.filter(isWanted)
    }

    private func nearTable(_ found: [NearLimitReport]) -> [String: Any] {
        let rows: [[String: Any]] = found.prefix(Self.limitRows).map { near in
            [
                "id": near.id, "subject": near.subject, "state": near.state == "near" ? "near" : near.state, "tone": Self.tone(near.state),
                "limit": near.limit,
                "used": "\(Shown.count(Int64(near.used.rounded()))) of \(Shown.count(Int64(near.allowance.rounded())))",
                "left": Shown.count(Int64(near.left.rounded(.down))), "until": Self.until(near), "token": formToken,
                "isClient": near.key == "address" || near.key == "identity", "kind": Self.kind(near.key),
            ]
        }
        var values: [String: Any] = ["rows": rows, "hasRows": !rows.isEmpty]
        if found.count > Self.limitRows {
            values["more"] = "These are the \(Self.limitRows) that are furthest past; there are \(found.count)."
        }
        return values
    }

    private static func tone(_ state: String) -> String {
        switch state {
        case "near": ""
        case "held", "deferred": "wait"
        default: "bad"
        }
    }

    private static func kind(_ key: String) -> String {
        switch key {
        case "identity": "all of a sender’s domain"
        case "recipient-domain": "all mail to a domain"
        case "account-domain": "all accounts of a domain"
        case "account": "account"
        default: "address"
        }
    }

    private static func until(_ near: NearLimitReport) -> String {
        if let until = near.until { return Shown.time(until) }
        if let hold = near.holdSeconds { return "each reply waits \(Shown.decimal(hold)) s" }
        return "nothing happens to it as yet"
    }

    func liveTile(_ name: String, _ key: String, _ value: some BinaryInteger, _ unit: String, _ tone: String = "") -> [String: Any] {
        ["name": name, "key": key, "value": Shown.count(value), "unit": unit, "tone": tone]
    }

    func actOnLimited(_ fields: FormFields) async -> Response {
        let isAccount = fields["page"] == "accounts"
        let shown: Page = isAccount ? .accounts : .throttled
        do throws(ControlFailure) {
            guard let id = fields["id"], let action = fields["do"].flatMap(LimitedDraft.Action.init) else {
                throw ControlFailure(.badData, "the form names nobody, or nothing to do")
            }
            guard case .acted(let report) = try await ask(.actOnLimited(LimitedDraft(id: id, action: action))) else {
                throw Self.unexpected
            }
            return .seeOther("\(shown.rawValue)?\(report.change.map { "change=\($0)" } ?? "nothing=1")")
        } catch {
            return await page(shown, failed: error.message) { () async throws(ControlFailure) in
                isAccount ? try await accounts() : try await throttled()
            }
        }
    }

    // MARK: - Accounts

    func suspendedAccounts() async throws(ControlFailure) -> [AccountReport] {
        guard case .accounts(let accounts) = try await ask(.accounts) else { throw Self.unexpected }
        return accounts
    }

    func accounts() async throws(ControlFailure) -> Content {
        let limits = try await status().limits
        let now = live.now
        var values: [String: Any] = [
            "tiles": [
                liveTile("Suspended", "suspended_accounts", now.suspendedAccounts, "accounts now", "bad"),
                liveTile("Refused", "throttle_refused", now.throttleRefused, "recipients since the start, of clients too", "bad"),
            ],
            "table": try await accountsTable(),
        ]
        if limits?.accountsMode == "off" || limits == nil { values["off"] = "Accounts are not limited here: accounts.mode is off." }
        if limits?.accountsMode == "shadow" { values["off"] = "accounts.mode is shadow: what would be done is told, and not done." }
        return Content(title: "Accounts", html: Template.render("accounts", values))
    }

    /// The part of the page that is fetched again by itself.
    func accountsTable() async throws(ControlFailure) -> String {
        let rows: [[String: Any]] = try await suspendedAccounts().map {
            ["id": $0.id, "account": $0.account, "since": Shown.time($0.since), "reason": $0.reason, "token": formToken]
        }
        let near = nearTable(try await near { $0.key == "account" || $0.key == "account-domain" })
        return Template.render(
            "accountsTable",
            ["suspended": rows, "hasSuspended": !rows.isEmpty, "near": near["rows"] ?? [], "hasNear": near["hasRows"] ?? false])
    }

    func releaseAccount(_ fields: FormFields) async -> Response {
        do throws(ControlFailure) {
            guard let id = fields["id"] else { throw ControlFailure(.badData, "the form names no account") }
            guard case .accountReleased(let report) = try await ask(.releaseAccount(name: id)) else { throw Self.unexpected }
            return .seeOther("/accounts\(report.change.map { "?change=\($0)" } ?? "")")
        } catch {
            return await page(.accounts, failed: error.message) { () async throws(ControlFailure) in try await accounts() }
        }
    }
}

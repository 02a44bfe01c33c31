import Foundation
import HummingbirdCore
import PosternControl
import PosternCore
import PosternEngine

extension AdminSite {
    /// Rows on one page.
    static let findRows = 100

    func find(_ query: String?) async throws(ControlFailure) -> Content {
        guard case .decisions(let decisions) = try await ask(.decisions(Search(anywhere: query, limit: Self.findRows))) else {
            throw Self.unexpected
        }
        let rows: [[String: Any]] = decisions.map { decision in
            [
                "reference": decision.reference, "time": Shown.time(decision.time), "verdict": Shown.verdict(decision.verdict),
                "tone": Shown.tone(decision.verdict), "sender": Shown.sender(decision.sender), "recipient": decision.recipient,
                "client": decision.name.isEmpty ? decision.address : "\(decision.address) (\(decision.name))",
                "why": RecordedCause.phrases(ofReason: decision.reason).first ?? "",
            ]
        }
        var values: [String: Any] = [
            "query": query ?? "", "rows": rows, "hasRows": !rows.isEmpty,
            "heading": query == nil ? "The latest decisions" : "Found",
            "nothing": query == nil ? "Nothing was decided yet." : "Nothing that is still kept matches.",
        ]
        if let query, query.utf8.count < ControlHandler.shortText {
            values["more"] =
                "So short a text is looked for in the latest \(Shown.count(ControlHandler.newest)) decisions; type \(ControlHandler.shortText) characters to search all."
        }
        if rows.count == Self.findRows { values["more"] = "These are the latest \(Self.findRows); search for more to see fewer." }
        return Content(title: "Find", html: Template.render("find", values))
    }

    func decision(_ reference: String) async throws(ControlFailure) -> Content {
        guard case .decisions(let found) = try await ask(.decisions(Search(reference: reference, limit: 1))), let decision = found.first
        else {
            let text = "There is no decision \(reference) any more: it was too long ago, or never was."
            return Content(
                title: Page.find.name, html: Template.render("message", ["title": Page.find.name, "text": text]), status: .notFound)
        }
        guard case .waiting(let waiting) = try await ask(.waiting(Search(reference: reference, limit: 1))) else { throw Self.unexpected }
        var facts: [[String: Any]] = []
        func fact(_ name: String, _ value: String) { if !value.isEmpty { facts.append(["name": name, "value": value]) } }
        fact("Time", Shown.time(decision.time))
        fact("From", Shown.sender(decision.sender))
        fact("To", decision.recipient)
        fact("Client", decision.address)
        fact("Its confirmed name", decision.name)
        fact("It calls itself", decision.helo)
        fact("Account", decision.account)
        fact("Asked by", "\(decision.listener), at \(decision.stage)")
        var values: [String: Any] = [
            "reference": decision.reference, "verdict": Shown.verdict(decision.verdict), "tone": Shown.tone(decision.verdict),
            "outlook": outlook(decision, waiting.first), "facts": facts, "causes": RecordedCause.phrases(ofReason: decision.reason),
            "actions": actions(on: decision), "token": formToken,
        ]
        do throws(ControlFailure) {
            if let explained = try await explained(decision) { values["explained"] = explained }
        } catch {
            values["unexplained"] = "What would happen now cannot be told: \(error.message)."
        }
        return Content(title: "Decision \(decision.reference)", html: Template.render("decision", values))
    }

    /// When it will pass, or passed.
    private func outlook(_ decision: DecisionReport, _ waiting: WaitingReport?) -> String {
        guard decision.verdict == "defer" else { return "" }
        guard let waiting else {
            return decision.passesAt.map {
                "A retry could pass from \(Shown.time($0)) on. Nothing of it waits any more: it passed, expired, or was forgotten."
            }
                ?? ""
        }
        let tries = waiting.deferrals == 1 ? "one attempt" : "\(waiting.deferrals) attempts"
        if waiting.passesInSeconds > 0 {
            return
                "It waits after \(tries). A retry passes from \(Shown.time(waiting.passesAt)) on, in \(Shown.span(seconds: waiting.passesInSeconds))."
        }
        return "It waits after \(tries). A retry passes now, until \(Shown.time(waiting.expires)): it is the sender’s turn."
    }

    private func actions(on decision: DecisionReport) -> [[String: Any]] {
        var actions: [[String: Any]] = []
        func add(_ action: ActionDraft.Action, _ subject: String, _ label: String, _ hint: String, _ tone: String = "") {
            actions.append(["action": action.rawValue, "subject": subject, "label": label, "hint": hint, "tone": tone])
        }
        if !decision.recipient.isEmpty, decision.verdict != "accept" {
            add(.pass, "", "Let the next attempt through", "this sender to this recipient, for a day", "main")
        }
        if !decision.address.isEmpty {
            add(.allow, "client", "Allow the client", decision.address)
            add(.block, "client", "Block the client", decision.address, "danger")
        }
        if !decision.sender.isEmpty {
            add(.allow, "sender", "Allow the sender", "\(decision.sender), where SPF passes")
            add(.block, "sender", "Block the sender", decision.sender, "danger")
        }
        if decision.verdict == "defer" || decision.verdict == "accept" {
            add(.forget, "", "Forget it", "the next attempt is a first one again", "danger")
        }
        return actions
    }

    /// Every check as it stands now; `nil` where the decision does not say enough to ask again.
    private func explained(_ decision: DecisionReport) async throws(ControlFailure) -> [String: Any]? {
        guard !decision.address.isEmpty, !decision.recipient.isEmpty else { return nil }
        guard case .explanation(let explanation) = try await ask(.explain(Question(reference: decision.reference))) else {
            throw Self.unexpected
        }
        let checks: [[String: Any]] = explanation.checks.sorted { $0.fired && !$1.fired }.map {
            [
                "check": $0.check, "mode": $0.mode, "fired": $0.fired, "added": $0.fired ? Shown.decimal($0.added) : "",
                "evidence": $0.evidence,
            ]
        }
        var outlook = explanation.causes.map(\.text).joined(separator: "; ")
        if let seconds = explanation.passesInSeconds {
            outlook += seconds > 0 ? "; passes in \(Shown.span(seconds: seconds))" : "; passes now"
        }
        return [
            "verdict": Shown.verdict(explanation.verdict), "tone": Shown.tone(explanation.verdict), "outlook": outlook, "checks": checks,
            "score": explanation.score.map { Shown.decimal($0) } ?? "–", "hasFacts": !explanation.facts.isEmpty,
            "facts": explanation.facts.map { ["name": $0.fact, "value": $0.value] }, "hasLimits": !explanation.limits.isEmpty,
            "limits": explanation.limits.map { limit in
                [
                    "subject": limit.subject, "limit": limit.limit,
                    "used": Shown.count(Int64(limit.used.rounded())), "left": Shown.count(Int64(limit.left.rounded(.down))),
                ]
            },
        ]
    }

    func act(_ fields: FormFields) async -> Response {
        guard let reference = fields["reference"], let action = fields["action"].flatMap(ActionDraft.Action.init) else {
            return .text("The form names no decision, or nothing to do.", status: .badRequest)
        }
        let draft = ActionDraft(reference: reference, action: action, subject: fields["subject"].flatMap(ListEntry.Kind.init))
        do throws(ControlFailure) {
            guard case .acted(let report) = try await ask(.act(draft)) else { throw Self.unexpected }
            return .seeOther("/find/\(FormFields.encoded(reference))?\(report.change.map { "change=\($0)" } ?? "nothing=1")")
        } catch {
            return await page(.find, failed: error.message) { () async throws(ControlFailure) in try await decision(reference) }
        }
    }
}

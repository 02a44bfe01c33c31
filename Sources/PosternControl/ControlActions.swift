import PosternCore
import PosternEngine

/// What an admin wants done about one decision: the buttons beside it.
public struct ActionDraft: Codable, Equatable, Sendable {
    public enum Action: String, Codable, CaseIterable, Sendable {
        /// The next attempt with this sender and these recipients passes.
        case pass
        case allow
        case block
        /// What is remembered of its triplets is forgotten.
        case forget
    }

    /// The decision's.
    public var reference: String
    public var action: Action
    /// Whom to allow or block; a client where `nil`.
    public var subject: ListEntry.Kind?
    /// How long it holds, in milliseconds; `nil` for a day (pass), or for ever (allow, block).
    public var milliseconds: Int64?
    public var note: String

    public init(
        reference: String, action: Action, subject: ListEntry.Kind? = nil, for span: WallTime.Span? = nil, note: String = ""
    ) {
        self.reference = reference
        self.action = action
        self.subject = subject
        milliseconds = span?.milliseconds
        self.note = note
    }
}

public struct ActionReport: Codable, Equatable, Sendable {
    /// What was done, as a sentence.
    public var summary: String
    /// Its number in the log of changes; `nil` where nothing was changed.
    public var change: Int64?
    public var canBeUndone: Bool

    public init(summary: String, change: Int64? = nil, canBeUndone: Bool = false) {
        self.summary = summary
        self.change = change
        self.canBeUndone = canBeUndone
    }
}

extension ControlHandler {
    /// How long a message that is let pass may take to come back: the slowest large senders need hours.
    static let passSpan = WallTime.Span.days(1)

    func act(_ draft: ActionDraft, by who: String) async throws(ControlFailure) -> ActionReport {
        let report = try await carryOut(draft, by: who)
        guard state.redacts else { return report }
        var shown = report
        shown.summary = Redaction.sentence(report.summary)
        return shown
    }

    private func carryOut(_ draft: ActionDraft, by who: String) async throws(ControlFailure) -> ActionReport {
        guard let decision = try await decisions(Search(reference: draft.reference, limit: 1)).first else {
            throw ControlFailure(
                .badData, "there is no decision \(draft.reference.shortened) any more; decisions.keep says how long they are kept")
        }
        switch draft.action {
        case .pass: return try await pass(decision, draft, by: who)
        case .allow, .block: return try await enter(decision, draft, by: who)
        case .forget:
            let (count, change) = try await noted(forget: Search(reference: draft.reference), by: who)
            guard count > 0 else { return ActionReport(summary: "Nothing was remembered of it.") }
            return ActionReport(summary: "Forgotten: the next attempt is a first one.", change: change, canBeUndone: true)
        }
    }

    private func pass(_ decision: DecisionReport, _ draft: ActionDraft, by who: String) async throws(ControlFailure) -> ActionReport {
        let recipients = Self.mailboxes(decision.recipient)
        guard !recipients.isEmpty else {
            throw ControlFailure(.badData, "the decision names no recipient, so it is not known whose mail to let pass; allow the client")
        }
        // Whatever the client has named, where a person would have to type a whole mailbox.
        let folded = Mailbox(decision.sender)?.folded ?? ""
        let span = try span(draft.milliseconds ?? Self.passSpan.milliseconds)
        let expires = state.now().steady + span
        for recipient in recipients { try await insert(Release(recipient: recipient, sender: folded, expires: expires)) }
        let sender = decision.sender.isEmpty ? "the null sender" : decision.sender
        let summary = "The next attempt from \(sender) to \(recipients.joined(separator: ", ")) passes, for \(span.spoken) from now."
        let undo = Undo.releases(recipients.map { .init(recipient: $0, sender: folded, client: nil) })
        return ActionReport(summary: summary, change: await note(who, summary, undo: undo), canBeUndone: true)
    }

    /// The recipients of a decision, as a person would type them. A comma within quotes is no end of one.
    static func mailboxes(_ text: String) -> [String] {
        var parts: [String] = [""]
        var isQuoted = false
        var isEscaped = false
        for scalar in text.unicodeScalars {
            if scalar == ",", !isQuoted {
                parts.append("")
                continue
            }
            if scalar == "\"", !isEscaped { isQuoted.toggle() }
            isEscaped = scalar == "\\" && isQuoted && !isEscaped
            parts[parts.count - 1].unicodeScalars.append(scalar)
        }
        return parts.compactMap { part in
            let ends = part.drop(while: \.isWhitespace)
            guard let last = ends.lastIndex(where: { !$0.isWhitespace }) else { return nil }
            return Mailbox(ends[...last])?.folded
        }
    }

    private func enter(_ decision: DecisionReport, _ draft: ActionDraft, by who: String) async throws(ControlFailure) -> ActionReport {
        let kind = draft.subject ?? .client
        let pattern =
            switch kind {
            case .client: decision.address
            case .sender: Mailbox(decision.sender)?.folded ?? ""
            case .recipient: Mailbox(decision.recipient)?.folded ?? ""
            }
        guard !pattern.isEmpty else { throw ControlFailure(.badData, "the decision names no \(kind.rawValue)") }
        let span = draft.milliseconds.map { WallTime.Span(milliseconds: $0) }
        let list: ListEntry.List = draft.action == .allow ? .allow : .block
        let note = draft.note.isEmpty ? "decision \(decision.reference)" : draft.note
        let until = span.map { ", for \($0.spoken)" } ?? ""
        let summary = "\(list == .allow ? "Allowed" : "Blocked"): the \(kind.rawValue) \(pattern)\(until)."
        let entry = EntryDraft(list: list, kind: kind, pattern: pattern, for: span, note: note)
        let (_, change) = try await noted(add: [entry], by: who, what: summary)
        return ActionReport(summary: summary, change: change, canBeUndone: true)
    }
}

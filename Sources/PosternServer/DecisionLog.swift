import PosternCore
import PosternEngine

/// Writes one line for each decision, with all that is needed to explain it.
public final class DecisionLog: Sendable {
    private let writer: LogWriter
    private let isEnabled: Bool

    /// `isEnabled` is false where the level is above `info`.
    public init(writer: LogWriter, isEnabled: Bool) {
        self.writer = writer
        self.isEnabled = isEnabled
    }

    /// Whether names of persons are left out.
    var redacts: Bool { writer.redacts }

    /// Writes a line of a front's own.
    ///
    /// - Parameter what: What has happened, in one word.
    func write(_ what: StaticString, at time: WallTime, _ fill: (inout LogLine) -> Void) {
        guard isEnabled else { return }
        var line = LogLine(writer.format)
        line.begin(what, at: time)
        fill(&line)
        writer.write(line, now: false)
    }

    /// Writes what is kept of a decision.
    func write(_ ruling: Ruling) {
        guard isEnabled, let record = ruling.record else { return }
        let attempt = record.attempt
        let redacts = writer.redacts
        func person(_ mailbox: Mailbox) -> String { redacts ? "…@\(mailbox.domain)" : mailbox.canonical }

        var line = LogLine(writer.format)
        line.begin("decision", at: record.time)
        line.add("verdict", record.verdict.action.name)
        line.add("reason", record.verdict.causes.first?.word ?? "")
        line.add("ref", record.reference)
        line.add("listener", record.listener)
        line.add("stage", attempt.stage.rawValue)
        if let address = attempt.client.address { line.add("client", address) } else { line.add("client", "") }
        line.add(nonEmpty: "name", attempt.client.confirmedName?.text ?? "")
        line.add(nonEmpty: "helo", redacts ? Redaction.sentence(attempt.client.helo) : attempt.client.helo)
        line.add("from", attempt.sender.mailbox.map(person) ?? "<>")
        line.add(nonEmpty: "to", attempt.recipient.map(person) ?? "")
        line.add(nonEmpty: "account", attempt.account.map { redacts ? "…" : $0 } ?? "")
        let causes = record.verdict.causes
        let detail = causes.count == 1 ? causes[0].description : causes.map { $0.description }.joined(separator: "; ")
        line.add("detail", redacts ? Redaction.sentence(detail) : detail)
        if let passesAt = record.verdict.passesAt { line.add("passes_at", passesAt) }
        writer.write(line, now: false)
    }
}

import Foundation
import HummingbirdCore
import PosternControl
import PosternCore
import PosternEngine
import PublishedLists

extension AdminSite {
    func lists() async throws(ControlFailure) -> Content {
        var sections: [[String: Any]] = []
        for list in ListEntry.List.allCases {
            let entries = try await entries(of: list)
            sections.append([
                "list": list.rawValue, "heading": Self.heading(list), "hasRows": !entries.isEmpty, "token": formToken,
                "count": Shown.count(entries.count),
                "rows": entries.prefix(Self.listRows).map { entry -> [String: Any] in
                    var row: [String: Any] = [
                        "kind": entry.kind.rawValue, "entry": entry.entry, "added": Shown.time(entry.added),
                        "until": entry.expires.map(Shown.time) ?? "for good", "note": entry.note, "list": list.rawValue, "token": formToken,
                        // A subscription's entries are its keeper's to change.
                        "canChange": entry.source == nil || entry.source == "harvest",
                    ]
                    if let source = entry.source { row["source"] = source }
                    return row
                },
                "more": entries.count > Self.listRows
                    ? "These are the first \(Self.listRows); the export has all of them." : "",
            ])
        }
        return Content(title: "Lists", html: Template.render("lists", ["sections": sections, "token": formToken]))
    }

    private static func heading(_ list: ListEntry.List) -> String {
        switch list {
        case .allow: "Allowed"
        case .block: "Blocked"
        case .trap: "Traps"
        }
    }

    /// Entries shown of one list.
    static let listRows = 500

    func entries(of list: ListEntry.List) async throws(ControlFailure) -> [EntryReport] {
        guard case .entries(let entries) = try await ask(.entries(list: list)) else { throw Self.unexpected }
        return entries
    }

    /// As `postern export csv --source own` writes them, so that `postern import csv` makes the same of them elsewhere.
    func export(_ list: ListEntry.List) async throws(ControlFailure) -> Response {
        var text = EntryCSV.line(EntryCSV.columns)
        for entry in try await entries(of: list) {
            text += EntryCSV.line([
                entry.entry, list.rawValue, entry.expires ?? "", entry.note, entry.source ?? "own", entry.kind.rawValue,
            ])
        }
        return .csv(text, name: list.rawValue)
    }

    /// What a form of the page asks for: an entry added, extended or removed.
    func changeLists(_ fields: FormFields) async -> Response {
        do throws(ControlFailure) {
            guard let list = fields["list"].flatMap(ListEntry.List.init), let entry = fields["entry"] else {
                throw ControlFailure(.badData, "name the entry, and the list it is for")
            }
            let kind = fields["kind"].flatMap(ListEntry.Kind.init)
            if fields["do"] == "remove" {
                _ = try await ask(.remove(EntryName(list: list, kind: kind, pattern: entry)))
            } else {
                var span: WallTime.Span?
                if let text = fields["for"], text != "ever" {
                    span = WallTime.Span(text)
                    if span == nil { throw ControlFailure(.badData, "'\(text)' is not a length of time such as 4d") }
                }
                let note = fields["note"] ?? ""
                _ = try await ask(.add(entries: [EntryDraft(list: list, kind: kind, pattern: entry, for: span, note: note)]))
            }
            return .seeOther("/lists\(await latestChange().map { "?change=\($0)" } ?? "")")
        } catch {
            return await page(.lists, failed: error.message) { () async throws(ControlFailure) in try await lists() }
        }
    }

    /// The number of what was done last from here, for the button that takes it back.
    private func latestChange() async -> Int64? {
        guard case .changes(let found)? = try? await ask(.changes(before: nil, limit: 1)), let change = found.first,
            change.who == "dashboard"
        else { return nil }
        return change.id
    }

    // MARK: - The log of changes

    static let changeRows = 200

    func changes() async throws(ControlFailure) -> Content {
        guard case .changes(let changes) = try await ask(.changes(before: nil, limit: Self.changeRows)) else { throw Self.unexpected }
        let rows: [[String: Any]] = changes.map { change in
            var row: [String: Any] = [
                "id": String(change.id), "time": Shown.time(change.time), "who": change.who, "what": change.what, "token": formToken,
                "can": change.canBeUndone,
            ]
            if let undone = change.undoneAt { row["undone"] = "undone \(Shown.time(undone))" }
            return row
        }
        return Content(title: "Changes", html: Template.render("changes", ["rows": rows, "hasRows": !rows.isEmpty]))
    }

    func undo(_ fields: FormFields) async -> Response {
        do throws(ControlFailure) {
            guard let change = fields["change"].flatMap({ Int64($0) }) else { throw ControlFailure(.badData, "the form names no change") }
            guard case .acted(let report) = try await ask(.undo(change: change)) else { throw Self.unexpected }
            return .seeOther("/changes\(report.change.map { "?change=\($0)" } ?? "")")
        } catch {
            return await page(.changes, failed: error.message) { () async throws(ControlFailure) in try await changes() }
        }
    }

    // MARK: - What waits

    func waiting() async throws(ControlFailure) -> Content {
        guard case .waiting(let waiting) = try await ask(.waiting(Search(limit: Self.findRows))) else { throw Self.unexpected }
        let rows: [[String: Any]] = waiting.map { one in
            [
                "reference": one.decision.reference, "sender": Shown.sender(one.decision.sender), "recipient": one.decision.recipient,
                "client": one.decision.name.isEmpty ? one.decision.address : one.decision.name, "since": Shown.time(one.firstSeen),
                "tries": Shown.count(one.deferrals), "token": formToken,
                "passes": one.passesInSeconds > 0 ? "in \(Shown.span(seconds: one.passesInSeconds))" : "at the next attempt",
                "tone": one.passesInSeconds > 0 ? "wait" : "good",
            ]
        }
        var values: [String: Any] = ["rows": rows, "hasRows": !rows.isEmpty]
        if rows.count == Self.findRows { values["more"] = "These are the latest \(Self.findRows)." }
        return Content(title: "Waiting", html: Template.render("waiting", values))
    }
}

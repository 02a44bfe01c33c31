import HummingbirdCore
import PosternControl
import PosternCore
import PosternEngine
import PublishedLists

// What traps have cost their clients, and whom they have put on lists.

extension AdminSite {
    /// Entries of the harvest that are shown; the export has all.
    static let harvestRows = 500

    func harvested() async throws(ControlFailure) -> [EntryReport] {
        guard case .entries(let entries) = try await ask(.harvest) else { throw Self.unexpected }
        return entries
    }

    func traps(_ query: String? = nil) async throws(ControlFailure) -> Content {
        let status = try await status()
        let rows: [[String: Any]] = status.traps.map { trap in
            [
                "name": trap.name, "mode": trap.mode, "deferred": Shown.count(trap.deferred), "rude": Shown.count(trap.withoutQuit),
                "discarded": Shown.count(trap.discarded), "now": Shown.count(trap.heldNow), "ever": Shown.count(trap.heldEver),
                "hours": Shown.decimal(trap.hoursWasted), "bytes": Shown.bytes(Int64(clamping: trap.bytesSent)),
                "rate": Shown.decimal(trap.secondsPerByte), "shed": Shown.count(trap.shed), "gone": Shown.count(trap.letGo),
            ]
        }
        let now = live.now
        let tiles = [
            liveTile("Trapped", "trapped", now.trapped, "clients now", "wait"),
            [
                "name": "Senders’ time wasted", "key": "hours_wasted", "value": Shown.decimal(now.hoursWasted),
                "unit": "hours since the start",
                "tone": "good",
            ],
        ]
        let all = try await harvested()
        let found =
            query.map { text in all.filter { $0.entry.contains(text.lowercased()) || $0.colour?.rawValue == text.lowercased() } } ?? all
        let entries: [[String: Any]] = found.prefix(Self.harvestRows).map { entry in
            [
                "entry": entry.entry, "colour": entry.colour?.rawValue ?? "", "tone": Self.tone(entry.colour), "why": entry.note,
                "evidence": Shown.count(entry.evidence ?? 0), "seen": (entry.seenAt ?? []).joined(separator: ", "),
                "added": Shown.time(entry.added), "until": entry.expires.map(Shown.time) ?? "", "token": formToken,
            ]
        }
        var values: [String: Any] = [
            "rows": rows, "hasRows": !rows.isEmpty, "tiles": tiles, "entries": entries, "hasEntries": !entries.isEmpty,
            "count": Shown.count(all.count), "query": query ?? "", "isSearched": !all.isEmpty,
            "nothing": all.isEmpty ? "Nobody is listed." : "None of those listed matches.",
        ]
        if found.count > Self.harvestRows {
            values["more"] = "These are the \(Self.harvestRows) listed last of \(Shown.count(found.count))."
        }
        return Content(title: "Traps", html: Template.render("traps", values))
    }

    private static func tone(_ colour: ListColour?) -> String {
        switch colour {
        case .white: "good"
        case .black: "bad"
        case .yellow, .brown: "wait"
        case nil: ""
        }
    }

    func exportHarvest() async throws(ControlFailure) -> Response { .csv(Self.csv(ofHarvest: try await harvested()), name: "harvest") }

    /// White entries are allowed and black ones blocked, as `postern import csv` reads them; yellow and brown ones, which it leaves out,
    /// are for people alone.
    static func csv(ofHarvest entries: [EntryReport]) -> String {
        var text = EntryCSV.line(["entry", "list", "expires", "reason", "colour", "evidence", "seen_at"])
        for entry in entries {
            let list: String
            switch entry.colour {
            case .yellow?: list = ListColour.yellow.rawValue
            case .brown?: list = ListColour.brown.rawValue
            case .white?, .black?, nil: list = entry.list.rawValue
            }
            text += EntryCSV.line([
                entry.entry, list, entry.expires ?? "", entry.note, entry.colour?.rawValue ?? "", "\(entry.evidence ?? 0)",
                (entry.seenAt ?? []).joined(separator: " "),
            ])
        }
        return text
    }

    func actOnHarvest(_ fields: FormFields) async -> Response {
        do throws(ControlFailure) {
            guard let entry = fields["entry"], let action = fields["do"].flatMap(HarvestDraft.Action.init) else {
                throw ControlFailure(.badData, "the form names no address, or nothing to do")
            }
            guard case .acted(let report) = try await ask(.actOnHarvest(HarvestDraft(entry: entry, action: action))) else {
                throw Self.unexpected
            }
            return .seeOther("/traps\(report.change.map { "?change=\($0)" } ?? "")")
        } catch {
            return await page(.traps, failed: error.message) { () async throws(ControlFailure) in try await traps() }
        }
    }
}

import Foundation
import PosternCore
import PosternEngine

/// A change that was made, as the log of changes tells it.
public struct ChangeReport: Codable, Equatable, Sendable {
    public var id: Int64
    public var time: String
    /// By which way it was asked for: `dashboard`, `command line`.
    public var who: String
    public var what: String
    public var canBeUndone: Bool
    public var undoneAt: String?
}

/// How a change is taken back.
enum Undo: Codable {
    struct Entry: Codable {
        var list: ListEntry.List
        var kind: ListEntry.Kind
        var pattern: String
        /// Milliseconds since 1970 by the steady clock.
        var expires: Int64?
        var added: Int64
        var note: String

        init(_ entry: ListEntry) {
            list = entry.list
            kind = entry.kind
            pattern = entry.pattern.description
            expires = entry.expires?.milliseconds
            added = entry.added.milliseconds
            note = entry.note
        }

        var entry: ListEntry? {
            Pattern(pattern).map {
                ListEntry(
                    list, kind, $0, expires: expires.map(WallTime.init(milliseconds:)), note: note, added: WallTime(milliseconds: added))
            }
        }
    }

    struct Released: Codable {
        var recipient: String
        var sender: String?
        var client: String?
    }

    struct Harvested: Codable {
        var prefix: String
        var colour: ListColour
        var reason: String
        var listeners: [String]
        var evidence: Int
        /// Milliseconds since 1970 by the steady clock.
        var added: Int64
        var expires: Int64

        init(_ entry: HarvestEntry) {
            prefix = entry.prefix.description
            colour = entry.colour
            reason = entry.reason
            listeners = entry.listeners
            evidence = entry.evidence
            added = entry.added.milliseconds
            expires = entry.expires.milliseconds
        }

        var entry: HarvestEntry? {
            Prefix(prefix).map {
                HarvestEntry(
                    prefix: $0, colour: colour, reason: reason, listeners: listeners, evidence: evidence,
                    added: WallTime(milliseconds: added), expires: WallTime(milliseconds: expires))
            }
        }
    }

    /// What was added is removed, what was replaced or removed comes back.
    case entries(remove: [EntryName], restore: [Entry])
    case releases([Released])
    case rows(count: Int, data: Data)
    case counts(place: String, data: Data)
    /// An account is stopped again.
    case suspension(account: String, since: Int64, reason: String)
    case harvest(Harvested)
}

extension ControlHandler {
    /// Changes that one reading hands over at most.
    static let maximumChanges = 1000

    /// Puts a change into the log; its number there. What was done stays done where the log cannot be written.
    @discardableResult
    func note(_ who: String, _ what: String, undo: Undo? = nil) async -> Int64? {
        let words = undo.flatMap { try? JSONEncoder().encode($0) }.map { String(decoding: $0, as: UTF8.self) }
        do throws(StoreFailure) {
            return try await store.append(AuditEntry(time: state.now().wall, who: who, what: what, undo: words))
        } catch {
            return nil
        }
    }

    func changes(before: Int64?, limit: Int) async throws(ControlFailure) -> [ChangeReport] {
        guard (1...Self.maximumChanges).contains(limit) else {
            throw ControlFailure(.badData, "a limit is 1 to \(Self.maximumChanges), not \(limit)")
        }
        let entries = try await stored { () async throws(StoreFailure) in try await store.audit(before: before, limit: limit) }
        let redacts = state.redacts
        return entries.map {
            ChangeReport(
                id: $0.id, time: $0.time.description, who: $0.who, what: redacts ? Redaction.sentence($0.what) : $0.what,
                canBeUndone: $0.undo != nil, undoneAt: $0.undoneAt?.description)
        }
    }

    /// Takes a change back, once.
    func undo(_ id: Int64, by who: String) async throws(ControlFailure) -> ActionReport {
        let found = try await stored { () async throws(StoreFailure) in
            try await store.audit(before: id == .max ? id : id + 1, limit: 1)
        }
        guard let entry = found.first, entry.id == id else { throw ControlFailure(.badData, "there is no change \(id) any more") }
        guard entry.undoneAt == nil else { throw ControlFailure(.badData, "that was undone already") }
        guard let words = entry.undo, let undo = try? JSONDecoder().decode(Undo.self, from: Data(words.utf8)) else {
            throw ControlFailure(.badData, "that cannot be undone")
        }
        try await carryOut(undo)
        let now = state.now().wall
        _ = try await stored { () async throws(StoreFailure) in try await store.markUndone(id, at: now) }
        let summary = "Undone: \(entry.what)"
        let number = await note(who, summary)
        return ActionReport(summary: state.redacts ? Redaction.sentence(summary) : summary, change: number, canBeUndone: false)
    }

    private func carryOut(_ undo: Undo) async throws(ControlFailure) {
        switch undo {
        case .entries(let names, let entries):
            for name in names {
                let (kind, pattern) = try Self.kindAndPattern(name.pattern, kind: name.kind, list: name.list)
                _ = try await stored { () async throws(StoreFailure) in try await store.remove(name.list, kind, pattern) }
            }
            let back = entries.compactMap(\.entry)
            if !back.isEmpty { try await stored { () async throws(StoreFailure) in try await store.insert(back) } }
            try await refreshLists()
        case .releases(let releases):
            for released in releases {
                let release = Release(
                    recipient: released.recipient, sender: released.sender, client: released.client.flatMap { Prefix($0) },
                    expires: WallTime(milliseconds: 0))
                _ = try await stored { () async throws(StoreFailure) in try await store.remove(release) }
            }
            try await refreshLists()
        case .rows(let count, let data):
            let rows = ForgottenRows(count: count, data: Array(data))
            _ = try await stored { () async throws(StoreFailure) in try await store.restore(rows) }
        case .counts(let place, let data):
            guard let place = LimitPlace(place), state.giveBackCounts(place, Array(data)) else {
                throw ControlFailure(.badData, "what was counted cannot be given back: nobody counts")
            }
        case .suspension(let account, let since, let reason):
            let suspension = Suspension(account: account, since: WallTime(milliseconds: since), reason: reason)
            try await stored { () async throws(StoreFailure) in try await store.insert(suspension) }
            state.suspend(suspension)
        case .harvest(let kept):
            guard let entry = kept.entry, state.now().steady < entry.expires else {
                throw ControlFailure(.badData, "that entry would have expired by now")
            }
            guard state.putBackHarvested(entry) else { throw ControlFailure(.unavailable, "nobody harvests") }
        }
    }

    // MARK: - Changes that are noted

    func noted(
        add drafts: [EntryDraft], more: Bool = false, by who: String, what: String? = nil
    ) async throws(ControlFailure) -> ([EntryReport], Int64?) {
        let (added, replaced) = try await add(drafts, more: more)
        return (added, await note(who, added: added, replaced: replaced, what: what))
    }

    /// Undone, what was added is gone and what it replaced is back.
    @discardableResult
    func note(_ who: String, added: [EntryReport], replaced: [ListEntry], what: String? = nil) async -> Int64? {
        let names = added.map { EntryName(list: $0.list, kind: $0.kind, pattern: $0.entry) }
        return await note(who, what ?? Self.words(added), undo: .entries(remove: names, restore: replaced.map(Undo.Entry.init)))
    }

    func noted(remove name: EntryName, by who: String) async throws(ControlFailure) -> (EntryReport, Int64?) {
        let before = try await stored { () async throws(StoreFailure) in try await store.entries() }
        let removed = try await remove(name)
        let old = before.filter {
            $0.list == removed.list && $0.kind == removed.kind && $0.pattern.description == removed.entry
        }
        let what = "Removed from the \(removed.list.rawValue) list: the \(removed.kind.rawValue) \(removed.entry)."
        return (removed, await note(who, what, undo: old.isEmpty ? nil : .entries(remove: [], restore: old.map(Undo.Entry.init))))
    }

    func noted(forget search: Search, by who: String) async throws(ControlFailure) -> (Int, Int64?) {
        let filter = try forgetFilter(search)
        let rows = try await stored { () async throws(StoreFailure) in try await store.forgetReversibly(filter) }
        guard rows.count > 0 else { return (0, nil) }
        let what = "Forgot \(rows.count == 1 ? "one triplet" : "\(rows.count) triplets")\(Self.words(search, redacts: state.redacts))."
        let undo = rows.data.map { Undo.rows(count: rows.count, data: Data($0)) }
        return (rows.count, await note(who, what, undo: undo))
    }

    func noted(release draft: ReleaseDraft, by who: String) async throws(ControlFailure) -> ReleaseReport {
        let report = try await release(draft)
        let from = report.sender.map { $0.isEmpty ? " from the null sender" : " from \($0)" } ?? ""
        let client = report.client.map { " by \($0)" } ?? ""
        await note(
            who, "Let mail\(from) to \(report.recipient)\(client) through, until \(report.expires).",
            undo: .releases([.init(recipient: report.recipient, sender: report.sender, client: report.client)]))
        return report
    }

    private static func words(_ added: [EntryReport]) -> String {
        guard let first = added.first, added.count == 1 else {
            return "Added \(added.count) entries to the lists."
        }
        let until = first.expires.map { ", until \($0)" } ?? ""
        return "Added to the \(first.list.rawValue) list: the \(first.kind.rawValue) \(first.entry)\(until)."
    }

    /// Part of a mailbox need not look like one, so it is redacted before it is noted, for good.
    private static func words(_ search: Search, redacts: Bool) -> String {
        func shown(_ mailbox: String) -> String { redacts ? Redaction.mailboxes(mailbox) : mailbox }
        var words = ""
        if let reference = search.reference { words += " of decision \(reference)" }
        if let address = search.address { words += " of clients with \(address)" }
        if let sender = search.sender { words += " from \(shown(sender))" }
        if let recipient = search.recipient { words += " to \(shown(recipient))" }
        if let age = search.age { words += " not older than \(WallTime.Span(milliseconds: age).spoken)" }
        return words
    }
}

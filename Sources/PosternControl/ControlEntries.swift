import PosternCore
import PosternEngine

// The admin's allow and block entries.

extension ControlHandler {
    func add(_ drafts: [EntryDraft]) async throws(ControlFailure) -> [EntryReport] {
        guard (1...ControlRequest.maximumBatch).contains(drafts.count) else {
            throw ControlFailure(.badData, "\(drafts.count) entries at once; 1 to \(ControlRequest.maximumBatch) can be added")
        }
        let moment = state.now()
        var entries: [ListEntry] = []
        // All or none: a wrong one stops the others too.
        for draft in drafts { entries.append(try entry(draft, added: moment.steady)) }
        let added = entries
        try await stored { () async throws(StoreFailure) in try await store.insert(added) }
        try await refreshLists()
        return added.map { EntryReport($0, at: moment) }
    }

    func remove(_ name: EntryName) async throws(ControlFailure) -> EntryReport {
        let (kind, pattern) = try Self.kindAndPattern(name.pattern, kind: name.kind)
        let all = try await stored { () async throws(StoreFailure) in try await store.entries() }
        let same = all.filter { $0.list == name.list && $0.pattern == pattern }
        guard let entry = same.first(where: { $0.kind == kind }) else {
            let hint = same.first.map { "; there is one as \($0.kind.rawValue): say --as \($0.kind.rawValue)" } ?? ""
            throw ControlFailure(.badData, "there is no \(name.list.rawValue) entry for the \(kind.rawValue) \(pattern)\(hint)")
        }
        _ = try await stored { () async throws(StoreFailure) in try await store.remove(name.list, kind, pattern) }
        try await refreshLists()
        return EntryReport(entry, at: state.now())
    }

    /// Entries of a subscription that are shown; an export has them all.
    static let mostShown = 1000

    /// Live entries, sorted by kind and text; then those of subscriptions, at most `mostShown` of each.
    func entries(of list: ListEntry.List) async throws(ControlFailure) -> [EntryReport] {
        let moment = state.now()
        let all = try await stored { () async throws(StoreFailure) in try await store.entries() }
        let own = all.filter { $0.list == list && $0.isLive(at: moment.steady) }
            .map { EntryReport($0, at: moment) }
            .sorted { ($0.kind.rawValue, $0.entry) < ($1.kind.rawValue, $1.entry) }
        return own
            + state.engine().lists.subscribed.flatMap { subscribed in
                subscribed.entries(of: list, at: moment.steady, limit: Self.mostShown).map { entry in
                    var report = EntryReport(entry, at: moment)
                    report.source = subscribed.name
                    return report
                }
            }
    }

    private func entry(_ draft: EntryDraft, added: WallTime) throws(ControlFailure) -> ListEntry {
        let (kind, pattern) = try Self.kindAndPattern(draft.pattern, kind: draft.kind)
        if draft.list == .allow, kind == .sender, !state.engine().settings.looksUp {
            throw ControlFailure(
                .badData,
                "allowing the sender \(pattern) counts only with an SPF pass, and look-ups are off (dns.resolvers is []): it would never count."
                    + " Allow the client instead, by its address or by its confirmed name with --as client")
        }
        guard draft.note.utf8.count <= EntryDraft.maximumNote, !draft.note.unicodeScalars.contains(where: { $0.value < 0x20 }) else {
            throw ControlFailure(.badData, "a note is one line of at most \(EntryDraft.maximumNote) octets")
        }
        let expires = try draft.milliseconds.map { (milliseconds) throws(ControlFailure) in added + (try span(milliseconds)) }
        return ListEntry(draft.list, kind, pattern, expires: expires, note: draft.note, added: added)
    }

    /// What a text means. Without a kind an address is a client, a domain or mailbox a sender.
    static func kindAndPattern(_ text: String, kind: ListEntry.Kind?) throws(ControlFailure) -> (ListEntry.Kind, Pattern) {
        guard let pattern = Pattern(text) else {
            throw ControlFailure(
                .badData, "'\(text.shortened)' is not an address, network (with no bits beyond its length), domain, mailbox or 'user@'")
        }
        switch (pattern, kind) {
        case (.prefix, nil): return (.client, pattern)
        case (_, nil): return (.sender, pattern)
        case (.prefix, .sender?), (.prefix, .recipient?):
            throw ControlFailure(.badData, "\(pattern) is an address; a \(kind?.rawValue ?? "") is a domain, a mailbox or 'user@'")
        case (.mailbox, .client?), (.localPart, .client?):
            throw ControlFailure(.badData, "\(pattern) is a mailbox; a client is an address, a network or a domain that its name lies in")
        case (_, let kind?): return (kind, pattern)
        }
    }
}

extension EntryReport {
    init(_ entry: ListEntry, at moment: Moment) {
        self.init(
            list: entry.list, kind: entry.kind, entry: entry.pattern.description, added: moment.shown(entry.added),
            expires: entry.expires.map(moment.shown), note: entry.note)
    }
}

import PosternCore
import PosternEngine

// The admin's allow, block and trap entries, and what traps have put on lists.

extension ControlHandler {
    /// What was added, and what that replaced. It costs what these entries are, however many there are, but for setting them in force.
    func add(_ drafts: [EntryDraft], more: Bool) async throws(ControlFailure) -> (added: [EntryReport], replaced: [ListEntry]) {
        let moment = state.now()
        let added = try entries(drafts, at: moment)
        let replaced = try await stored { () async throws(StoreFailure) in
            let replaced = try await store.entries(like: added)
            try await store.insert(added)
            return replaced
        }
        try await refreshLists(more: more, hasChange: true)
        return (added.map { EntryReport($0, at: moment) }, replaced)
    }

    /// All or none: a wrong one stops the others too.
    private func entries(_ drafts: [EntryDraft], at moment: Moment) throws(ControlFailure) -> [ListEntry] {
        guard (1...ControlRequest.maximumBatch).contains(drafts.count) else {
            throw ControlFailure(.badData, "\(drafts.count) entries at once; 1 to \(ControlRequest.maximumBatch) can be added")
        }
        let settings = state.engine().settings
        var entries: [ListEntry] = []
        for draft in drafts { entries.append(try draft.entry(added: moment, settings)) }
        return entries
    }

    /// Takes what an import brings and is not known here already.
    func takeOver(_ drafts: [EntryDraft], more: Bool, isTrial: Bool, by who: String) async throws(ControlFailure) -> ControlReply {
        let moment = state.now()
        let brought = try entries(drafts, at: moment)
        let kept = try await stored { () async throws(StoreFailure) in try await store.entries(like: brought) }
        let fresh = Self.fresh(brought, beside: kept, at: moment.steady)
        if !isTrial, !fresh.isEmpty {
            try await stored { () async throws(StoreFailure) in try await store.insert(fresh) }
            let names = Set(fresh.map(\.key))
            await note(who, added: fresh.map { EntryReport($0, at: moment) }, replaced: kept.filter { names.contains($0.key) })
        }
        if !isTrial { try await refreshLists(more: more, hasChange: !fresh.isEmpty) }
        return .tookOver(entries: fresh.count, known: drafts.count - fresh.count)
    }

    /// What entries of an import change, each once: those that nobody knows, and those that count for longer than before.
    private static func fresh(_ brought: [ListEntry], beside kept: [ListEntry], at now: WallTime) -> [ListEntry] {
        var known: [ListEntry.Key: ListEntry] = [:]
        for entry in kept where entry.isLive(at: now) { known[entry.key] = entry }
        var changed: [ListEntry.Key] = []
        var seen: Set<ListEntry.Key> = []
        for entry in brought {
            let name = entry.key
            if var longer = known[name] {
                guard !longer.lasts(asLongAs: entry) else { continue }
                longer.expires = entry.expires
                known[name] = longer
            } else {
                known[name] = entry
            }
            if seen.insert(name).inserted { changed.append(name) }
        }
        return changed.compactMap { known[$0] }
    }

    func remove(_ name: EntryName) async throws(ControlFailure) -> EntryReport {
        let (kind, pattern) = try Self.kindAndPattern(name.pattern, kind: name.kind, list: name.list)
        let harvested = try await removeHarvested(kind, pattern, from: name.list)
        let all = try await stored { () async throws(StoreFailure) in try await store.entries() }
        let same = all.filter { $0.list == name.list && $0.pattern == pattern }
        guard let entry = same.first(where: { $0.kind == kind }) else {
            if let harvested { return harvested }
            let hint =
                same.first.map { "; there is one as \($0.kind.rawValue): say --as \($0.kind.rawValue)" }
                ?? subscription(with: name.list, kind, pattern).map {
                    "; there is one from the subscription \($0): \(name.list == .block ? "allow" : "block") add overrules it"
                } ?? ""
            throw ControlFailure(.badData, "there is no \(name.list.rawValue) entry for the \(kind.rawValue) \(pattern)\(hint)")
        }
        _ = try await stored { () async throws(StoreFailure) in try await store.remove(name.list, kind, pattern) }
        try await refreshLists()
        return EntryReport(entry, at: state.now())
    }

    /// The first subscription that has this very entry.
    private func subscription(with list: ListEntry.List, _ kind: ListEntry.Kind, _ pattern: Pattern) -> String? {
        let now = state.now().steady
        return state.engine().lists.subscribed.first { subscribed in
            !subscribed.entries(of: list, at: now, limit: 1) { $0 == kind && $1 == pattern }.isEmpty
        }?.name
    }

    /// Entries of a subscription that are shown; an export has them all.
    static let mostShown = 1000

    /// Live entries, sorted by kind and text; then those of subscriptions, at most `mostShown` of each.
    ///
    /// - Parameters:
    ///   - named: only this entry, whatever its kind, and those that hold it.
    ///   - kind: only entries of this kind.
    func entries(
        of list: ListEntry.List, named: String? = nil, kind: ListEntry.Kind? = nil
    ) async throws(ControlFailure) -> [EntryReport] {
        let wanted = try named.map { (text) throws(ControlFailure) in try Self.kindAndPattern(text, kind: kind, list: list).1 }
        func isWanted(_ itsKind: ListEntry.Kind, _ pattern: Pattern) -> Bool {
            (kind == nil || kind == itsKind) && wanted.map(pattern.holds) ?? true
        }
        let moment = state.now()
        let all = try await stored { () async throws(StoreFailure) in try await store.entries() }
        let admins = all.filter { $0.list == list && $0.isLive(at: moment.steady) && isWanted($0.kind, $0.pattern) }
            .map { EntryReport($0, at: moment) }
        let harvested = try await harvestedEntries(on: list, moment).filter { isWanted(.client, .prefix($0.prefix)) }
        let own = (admins + harvested.map { EntryReport($0, at: moment) })
            .sorted { ($0.kind.rawValue, $0.entry) < ($1.kind.rawValue, $1.entry) }
        return own
            + state.engine().lists.subscribed.flatMap { subscribed in
                subscribed.entries(of: list, at: moment.steady, limit: Self.mostShown, where: isWanted).map { entry, colour in
                    var report = EntryReport(entry, at: moment)
                    (report.source, report.colour) = (subscribed.name, colour)
                    return report
                }
            }
    }

    // MARK: - The harvest

    /// White entries stand beside the admin's allow entries, all others beside the blocks.
    private func harvestedEntries(on list: ListEntry.List, _ moment: Moment) async throws(ControlFailure) -> [HarvestEntry] {
        guard list != .trap else { return [] }
        return try await harvestRows().filter { moment.steady < $0.expires && $0.list == list }
    }

    /// `nil` where it is not listed.
    private func removeHarvested(
        _ kind: ListEntry.Kind, _ pattern: Pattern, from list: ListEntry.List
    ) async throws(ControlFailure) -> EntryReport? {
        guard list != .trap, kind == .client, case .prefix(let named) = pattern else { return nil }
        let moment = state.now()
        // Whoever names one address of a /64 means what is listed for it.
        let prefix = named.length == named.address.family.bits ? Harvest.prefix(of: named.address) : named
        if state.harvested() != nil { return state.removeHarvested(prefix).map { EntryReport($0, at: moment) } }
        let image = try await stored { () async throws(StoreFailure) in try await store.harvest() }
        guard let entry = image.entries.first(where: { $0.prefix == prefix && $0.list == list }) else { return nil }
        let bySelf = image.removals.first { $0.prefix == prefix }?.bySelf ?? false
        let until = moment.steady + state.engine().settings.harvest.keepOff
        var changes = HarvestChanges()
        changes.entries[prefix] = .some(nil)
        changes.sightings[prefix] = .some(nil)
        changes.removals[prefix] = HarvestRemoval(prefix: prefix, keptOffUntil: until, bySelf: bySelf, expires: until)
        let final = changes
        try await stored { () async throws(StoreFailure) in try await store.keep(final) }
        return EntryReport(entry, at: moment)
    }

    /// For a web page that the listed can reach: `requester` is the address that it was asked from.
    func removeItself(_ address: String, _ requester: String) throws(ControlFailure) -> EntryReport {
        guard let address = IPAddress(address), let requester = IPAddress(requester) else {
            throw ControlFailure(.badData, "the listed and the requester are IP addresses")
        }
        // What it may do once is not to be spent on what changes nothing.
        guard state.engine().standing(of: Client(address: address), now: state.now().steady) != .blocked else {
            throw ControlFailure(
                .noPermission, "\(address) is blocked by the operator, or by a list that is subscribed to; write to postmaster")
        }
        switch state.removeItself(address, requester: requester) {
        case .removed(let entry)?: return EntryReport(entry, at: state.now())
        case .notListed?: throw ControlFailure(.badData, "\(address) is not listed")
        case .notYours?: throw ControlFailure(.noPermission, "\(requester) cannot speak for \(address): ask from that address")
        case .onlyOnce?:
            throw ControlFailure(.noPermission, "\(address) has removed itself before and was listed again; write to postmaster")
        case .tooMany?: throw ControlFailure(.temporary, "too many removals within the last hour; try again later")
        case nil: throw ControlFailure(.unavailable, "no daemon runs")
        }
    }

    /// What a text means. Without a kind an address is a client, a domain or mailbox a sender; of traps all are recipients.
    static func kindAndPattern(
        _ text: String, kind: ListEntry.Kind?, list: ListEntry.List = .block
    ) throws(ControlFailure) -> (ListEntry.Kind, Pattern) {
        guard let pattern = Pattern(text) else {
            throw ControlFailure(
                .badData,
                "'\(text.shortened)' is not an address, network (with no bits beyond its length), domain, mailbox or 'user@'"
                    + Pattern.hint(text.shortened))
        }
        if list == .trap {
            guard kind == nil || kind == .recipient else {
                throw ControlFailure(.badData, "a trap is a recipient; to keep a \(kind?.rawValue ?? "") out use block")
            }
            if case .prefix = pattern {
                throw ControlFailure(.badData, "\(pattern) is an address; a trap is a mailbox, a domain or 'user@'")
            }
            return (.recipient, pattern)
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

extension EntryDraft {
    /// The entry that it is to become: what a daemon takes, and what an import may hand to it. Throws for one that would never
    /// count, or is most likely a slip.
    public func entry(added moment: Moment, _ settings: EngineSettings) throws(ControlFailure) -> ListEntry {
        let (kind, pattern) = try ControlHandler.kindAndPattern(self.pattern, kind: self.kind, list: list)
        if list == .allow, kind == .sender, !settings.looksUp {
            throw ControlFailure(
                .badData,
                "allowing the sender \(pattern) counts only with an SPF pass, and look-ups are off (dns.resolvers is []): it would never count."
                    + " Allow the client instead, by its address or by its confirmed name with --as client")
        }
        if list == .trap, force != true, case .domain(let name) = pattern,
            let ours = settings.ourDomains.first(where: { $0.isWithin(name) })
        {
            throw ControlFailure(
                .badData,
                "\(name) covers \(ours == name ? "a domain" : "\(ours), a domain") that we receive for (domains): each stranger who writes to any mailbox of it would be listed as black at once. Name the mailbox that is a trap, or say --force"
            )
        }
        guard note.utf8.count <= Self.maximumNote, !note.unicodeScalars.contains(where: { $0.value < 0x20 }) else {
            throw ControlFailure(.badData, "a note is one line of at most \(Self.maximumNote) octets")
        }
        let left = until.map { (WallTime(milliseconds: $0) - moment.wall).milliseconds } ?? milliseconds
        let expires = try left.map { (left) throws(ControlFailure) in moment.steady + (try ControlHandler.span(left)) }
        return ListEntry(list, kind, pattern, expires: expires, note: note, added: moment.steady)
    }
}

extension ListEntry {
    /// To the second: times are told by two clocks.
    fileprivate func lasts(asLongAs other: ListEntry) -> Bool {
        guard let expires else { return true }
        return other.expires.map { $0 <= expires + .seconds(1) } ?? false
    }
}

extension HarvestEntry {
    fileprivate var list: ListEntry.List { colour == .white ? .allow : .block }
}

extension EntryReport {
    init(_ entry: HarvestEntry, at moment: Moment) {
        self.init(
            list: entry.list, kind: .client, entry: entry.prefix.description, added: moment.shown(entry.added),
            expires: moment.shown(entry.expires), note: entry.reason, source: "harvest", colour: entry.colour, evidence: entry.evidence,
            seenAt: entry.listeners)
    }

    init(_ entry: ListEntry, at moment: Moment) {
        self.init(
            list: entry.list, kind: entry.kind, entry: entry.pattern.description, added: moment.shown(entry.added),
            expires: entry.expires.map(moment.shown), note: entry.note)
    }
}

import PosternCore

/// The admin's entries, indexed so that a look-up costs a handful of hash probes however many there are.
public struct Lists: Sendable {
    private var entries: [ListEntry.Key: ListEntry] = [:]
    /// How many client entries there are of each prefix length: only lengths in use are probed.
    private var lengths: [IPAddress.Family: [Int: Int]] = [:]
    private var releases: [String: [Release]] = [:]
    /// What others keep: asked where the admin has said nothing. The first that says something counts.
    public var subscribed: [SubscribedList] = []
    /// How many entries there are of each list.
    private var counts: [ListEntry.List: Int] = [:]

    public init() {}

    public init(entries: some Sequence<ListEntry>, releases: some Sequence<Release> = []) {
        for entry in entries { insert(entry) }
        for release in releases { insert(release) }
    }

    public var count: Int { entries.count }
    public var hasTraps: Bool { counts[.trap, default: 0] > 0 }
    /// Whether anybody may be blocked: where not, a stage at which nothing else is checked costs no look-up.
    var mayBlock: Bool { counts[.block, default: 0] > 0 || !subscribed.isEmpty }

    /// Every entry, in no order.
    public var allEntries: some Collection<ListEntry> { entries.values }

    /// Adds an entry, in place of one of the same list, kind and pattern.
    public mutating func insert(_ entry: ListEntry) {
        let replaced = entries.updateValue(entry, forKey: entry.key)
        if replaced == nil { counts[entry.list, default: 0] += 1 }
        if replaced == nil, case .prefix(let prefix) = entry.pattern {
            lengths[prefix.address.family, default: [:]][prefix.length, default: 0] += 1
        }
    }

    /// Removes an entry; `false` when there was none.
    @discardableResult
    public mutating func remove(_ list: ListEntry.List, _ kind: ListEntry.Kind, _ pattern: Pattern) -> Bool {
        guard entries.removeValue(forKey: .init(kind: kind, pattern: pattern, list: list)) != nil else { return false }
        counts[list, default: 0] -= 1
        if case .prefix(let prefix) = pattern, let count = lengths[prefix.address.family]?[prefix.length] {
            lengths[prefix.address.family]?[prefix.length] = count > 1 ? count - 1 : nil
        }
        return true
    }

    public mutating func insert(_ release: Release) {
        releases[release.recipient, default: []].removeAll { $0.sender == release.sender && $0.client == release.client }
        releases[release.recipient, default: []].append(release)
    }

    /// Drops what has expired; entries also lose their force without this.
    public mutating func removeExpired(at now: WallTime) {
        for (key, entry) in entries where !entry.isLive(at: now) { remove(key.list, key.kind, key.pattern) }
        for (recipient, list) in releases {
            let live = list.filter { now < $0.expires }
            releases[recipient] = live.isEmpty ? nil : live
        }
    }

    // MARK: - Look-ups

    /// What is said of a client: the longest matching prefix decides, then its confirmed name, the longest first; of an
    /// allow and a block that are equally narrow the allow wins.
    func client(_ client: Client, at now: WallTime) -> ListEntry? {
        if let address = client.address, let lengths = lengths[address.family] {
            for length in lengths.keys.sorted(by: >) {
                if let entry = entry(.client, .prefix(Prefix(address, length: length)), at: now) { return entry }
            }
        }
        if let entry = client.confirmedName.flatMap({ domain(.client, $0, at: now) }) { return entry }
        guard !subscribed.isEmpty else { return nil }
        if let address = client.address {
            for list in subscribed {
                if let entry = list.client(address, at: now) { return entry }
            }
        }
        return nil
    }

    /// What subscribed lists say of a client that neither refuses nor admits it: the first that says something counts.
    public func suspicion(of client: Client, at now: WallTime) -> Suspicion? {
        guard !subscribed.isEmpty, let address = client.address else { return nil }
        for list in subscribed {
            if let suspicion = list.suspicion(of: address, at: now) { return suspicion }
        }
        return nil
    }

    /// What is said of a sender or recipient: its mailbox, then its local part, then its domain, the longest first.
    ///
    /// - Parameter blocksOnly: as if there were no allow entries.
    func mailbox(_ kind: ListEntry.Kind, _ mailbox: Mailbox, at now: WallTime, blocksOnly: Bool = false) -> ListEntry? {
        guard !entries.isEmpty || !subscribed.isEmpty else { return nil }
        return entry(kind, .mailbox(mailbox.folded), at: now, blocksOnly: blocksOnly)
            ?? entry(kind, .localPart(mailbox.foldedLocalPart + "@"), at: now, blocksOnly: blocksOnly)
            ?? mailbox.domainName.flatMap { domain(kind, $0, at: now, blocksOnly: blocksOnly) }
            ?? (kind == .sender ? mailbox.domainName.flatMap { subscribedDomain(kind, $0, at: now, blocksOnly: blocksOnly) } : nil)
    }

    /// The block that an allow of a sender lifts: to be looked for where the allow does not count.
    func liftedBlock(_ sender: Mailbox, at now: WallTime) -> ListEntry? {
        guard mayBlock, mailbox(.sender, sender, at: now)?.list == .allow else { return nil }
        return mailbox(.sender, sender, at: now, blocksOnly: true)
    }

    private func subscribedDomain(_ kind: ListEntry.Kind, _ name: DomainName, at now: WallTime, blocksOnly: Bool) -> ListEntry? {
        for list in subscribed {
            if let entry = list.domain(kind, name, at: now, blocksOnly: blocksOnly) { return entry }
        }
        return nil
    }

    /// The trap that a recipient is, if it is one.
    public func trap(_ recipient: Mailbox, at now: WallTime) -> ListEntry? {
        guard hasTraps else { return nil }
        func live(_ pattern: Pattern) -> ListEntry? {
            let entry = entries[.init(kind: .recipient, pattern: pattern, list: .trap)]
            return entry?.isLive(at: now) == true ? entry : nil
        }
        if let entry = live(.mailbox(recipient.folded)) ?? live(.localPart(recipient.foldedLocalPart + "@")) { return entry }
        var domain = recipient.domainName
        while let current = domain {
            if let entry = live(.domain(current)) { return entry }
            domain = current.parent
        }
        return nil
    }

    private func domain(_ kind: ListEntry.Kind, _ name: DomainName, at now: WallTime, blocksOnly: Bool = false) -> ListEntry? {
        guard !entries.isEmpty else { return nil }
        var candidate: DomainName? = name
        while let current = candidate {
            if let entry = entry(kind, .domain(current), at: now, blocksOnly: blocksOnly) { return entry }
            candidate = current.parent
        }
        return nil
    }

    private func entry(_ kind: ListEntry.Kind, _ pattern: Pattern, at now: WallTime, blocksOnly: Bool = false) -> ListEntry? {
        for list in [ListEntry.List.allow, .block] where list == .block || !blocksOnly {
            if let entry = entries[.init(kind: kind, pattern: pattern, list: list)], entry.isLive(at: now) { return entry }
        }
        return nil
    }

    /// Whether some mail of a client's in this network may be let through by a release.
    public func mayRelease(_ network: Prefix, at now: WallTime) -> Bool {
        releases.values.contains { $0.contains { now < $0.expires && $0.client?.overlaps(network) ?? true } }
    }

    /// Until when this attempt is let through by a release, if it is.
    func release(for attempt: Attempt, at now: WallTime) -> WallTime? {
        guard !releases.isEmpty, let recipient = attempt.recipient else { return nil }
        return releases[recipient.folded]?.filter { now < $0.expires && $0.covers(attempt) }.map(\.expires).max()
    }
}

import PosternCore

/// What clients do at traps, and the lists that come of it. Pure: the time is an argument, rows and what is published leave as
/// changes to be taken.
///
/// A visit at a fake MX is not judged when it ends, but `HarvestSettings.settle` later: until then the client may still try the
/// primary, and the primary show that it lived. Memory is bounded everywhere, and where a bound is reached somebody is not
/// harvested.
public struct Harvest: Sendable {
    public private(set) var settings: HarvestSettings
    private var watch: PrimaryWatch
    private var touches: TouchMemory
    private var entries: [Prefix: HarvestEntry] = [:]
    private var sightings: [Prefix: HarvestSighting] = [:]
    private var removals: [Prefix: HarvestRemoval] = [:]
    /// Sightings in the order in which they began; some of them may be gone.
    private var order: [Prefix] = []
    private var oldest = 0
    /// Messages of addresses that are still to be counted.
    private var messages: [Prefix: UInt32] = [:]
    private var pending: [Pending] = []
    private var firstPending = 0
    /// When somebody removed itself, within the last hour.
    private var selfRemovals: [WallTime] = []
    private var changes = HarvestChanges()
    private var published: [PublishedChange] = []
    public private(set) var totals = HarvestTotals()

    private struct Pending: Sendable {
        var visit: FakeMXVisit
        var isForeign: Bool
        /// The primary lived when it came.
        var primaryLived: Bool
    }

    /// - Parameters:
    ///   - seesPrimary: whether mail for the primary comes by this process.
    ///   - seed: random; used where `image` has none.
    public init(settings: HarvestSettings, image: HarvestImage = HarvestImage(), seesPrimary: Bool, seed: UInt64, now: WallTime) {
        self.settings = settings
        watch = PrimaryWatch(isSeen: seesPrimary, startedAt: now)
        let kept = image.touches.flatMap { TouchMemory(image: $0) }
        touches = kept ?? TouchMemory(seed: seed, at: now)
        for entry in image.entries where now < entry.expires { entries[entry.prefix] = entry }
        for removal in image.removals where now < removal.expires { removals[removal.prefix] = removal }
        for sighting in image.sightings {
            // Where it is not known who tried the primary before, what was seen before counts for nothing.
            if image.isComplete, kept != nil, now < sighting.expires {
                sightings[sighting.prefix] = sighting
                order.append(sighting.prefix)
            } else {
                changes.sightings[sighting.prefix] = .some(nil)
            }
        }
        changes.isComplete = false
    }

    /// What one client is by: its IPv4 address, or its IPv6 /64.
    public static func prefix(of address: IPAddress) -> Prefix { Prefix(address, length: address.family == .v4 ? 32 : 64) }

    /// From here on these count. Who publishes no more, or begins to, says so to its readers.
    public mutating func take(_ new: HarvestSettings, now: WallTime) {
        let before = settings.mode == .on
        settings = new
        guard before != (new.mode == .on) else { return }
        for entry in entries.values where now < entry.expires {
            published.append(before ? .remove(entry.prefix) : .put(entry.published))
        }
    }

    // MARK: - The primary

    /// A client came to a listener that takes mail.
    public mutating func primaryTouched(by address: IPAddress, listener: String, now: WallTime) {
        watch.sawLife(now)
        let prefix = Self.prefix(of: address)
        touches.insert(prefix)
        guard var sighting = sightings[prefix] else { return }
        guard !sighting.triedPrimary || sighting.listeners.last != listener else { return }
        sighting.came(to: listener)
        sighting.triedPrimary = true
        keep(sighting)
    }

    /// Looked at now and then: whether the mail server behind a gateway is well; `nil` where there is no gateway.
    public mutating func primaryIsWell(_ isWell: Bool?, now: WallTime) {
        guard let isWell else { return }
        if isWell { watch.sawLife(now) }
        watch.isOut(!isWell, now)
    }

    // MARK: - Traps

    /// A visit at a fake MX is over. `isForeign`: none of the domains is one that we receive for.
    public mutating func visited(_ visit: FakeMXVisit, isForeign: Bool, now: WallTime) {
        totals.visits += 1
        guard settings.mode != .off, visit.deferrals > 0, visit.end != .notByClient else { return }
        guard pending.count - firstPending < HarvestSettings.maximumPending else {
            totals.forgotten += 1
            return
        }
        let isQuiet = !watch.isSettled(now, quiet: settings.quiet)
        guard !isQuiet, isForeign || watch.isSeen else { return }
        pending.append(
            Pending(visit: visit, isForeign: isForeign, primaryLived: watch.livedBefore(now, within: settings.settle)))
    }

    /// Judges the visits that are old enough; those whose clients are to be listed come back, for somebody to see whether they are
    /// known as senders of wanted mail, and then for `list`.
    public mutating func judge(now: WallTime) -> [HarvestCandidate] {
        var candidates: [HarvestCandidate] = []
        while firstPending < pending.count, now - pending[firstPending].visit.at >= settings.settle {
            if let candidate = judge(pending[firstPending], now) { candidates.append(candidate) }
            firstPending += 1
        }
        if firstPending == pending.count || firstPending > 4096 {
            pending.removeFirst(firstPending)
            firstPending = 0
        }
        return candidates
    }

    private mutating func judge(_ pending: Pending, _ now: WallTime) -> HarvestCandidate? {
        let visit = pending.visit
        let prefix = Self.prefix(of: visit.address)
        // It tried the primary: before, or since.
        guard !touches.contains(prefix), sightings[prefix]?.triedPrimary != true else { return nil }
        if !pending.isForeign { guard pending.primaryLived, watch.livedOn(after: visit.at) else { return nil } }
        guard !isKeptOff(prefix, now) else { return nil }

        var sighting =
            sightings[prefix] ?? HarvestSighting(prefix: prefix, lastVisit: visit.at - settings.apart, expires: now + settings.memory)
        sighting.came(to: visit.listener)
        sighting.expires = now + settings.memory
        defer { keep(sighting) }
        if visit.end == .hungUp, sighting.lastHangUp.map({ visit.at - $0 >= settings.apart }) ?? true {
            sighting.hangUps += 1
            sighting.lastHangUp = visit.at
        }
        if pending.isForeign { return judgeForeign(visit, &sighting) }

        if visit.at - sighting.lastVisit >= settings.apart {
            sighting.visits += 1
            sighting.lastVisit = visit.at
        }
        // A day on which it hung up on others alone is none on which it left our primary out.
        if sighting.hangUps >= 2, sighting.visits >= 2 {
            // Only what adds to it is new evidence.
            guard visit.end == .hungUp else { return nil }
            return HarvestCandidate(visit, .black, .onlyFakeMX(days: sighting.hangUps), sighting.listeners)
        }
        guard sighting.visits >= 2 else { return nil }
        return HarvestCandidate(visit, .brown, .neverThePrimary(days: sighting.visits), sighting.listeners)
    }

    private func judgeForeign(_ visit: FakeMXVisit, _ sighting: inout HarvestSighting) -> HarvestCandidate? {
        guard visit.end == .hungUp else { return nil }
        for domain in visit.domains where !sighting.domains.contains(domain) && sighting.domains.count < FakeMXVisit.maximumDomains {
            sighting.domains.append(domain)
        }
        // What one session does may be an accident, however many domains it names.
        guard sighting.domains.count >= settings.foreignDomains, sighting.hangUps >= 2 else { return nil }
        return HarvestCandidate(visit, .brown, .hungUpOn(domains: sighting.domains.count), sighting.listeners)
    }

    /// A stranger wrote to an address that exists for nothing else. `isKnown` as for `list`.
    public mutating func wroteToTrap(_ address: IPAddress, listener: String, isKnown: Bool, now: WallTime) {
        totals.trapMail += 1
        guard settings.mode != .off else { return }
        list(HarvestCandidate(address: address, colour: .black, reason: .wroteToTrap, listeners: [listener]), isKnown: isKnown, now: now)
    }

    /// A message of this address has passed, and was taken: to be counted where that may change what it is listed as.
    public mutating func taken(from address: IPAddress, now: WallTime) {
        let prefix = Self.prefix(of: address)
        guard isCounted(prefix, now), messages.count < HarvestSettings.maximumCounted || messages[prefix] != nil else { return }
        messages[prefix, default: 0] += 1
    }

    /// How many messages there were since the last time, to be added to those before.
    public mutating func takeMessages() -> [Prefix: UInt32] {
        defer { messages = [:] }
        return messages
    }

    private func isCounted(_ prefix: Prefix, _ now: WallTime) -> Bool {
        guard settings.mode != .off, settings.whiteAfter > 0, !isKeptOff(prefix, now) else { return false }
        // The last quarter is kept for those that somebody must be warned of.
        guard let entry = entries[prefix] else { return entries.count < settings.capacity / 4 * 3 }
        // A write for each message would be too many.
        return entry.colour == .black || entry.colour == .brown || entry.expires - now < .milliseconds(settings.lifetime.milliseconds / 2)
    }

    /// So many messages of an address have passed, and were taken.
    public mutating func vouched(for address: IPAddress, messages: UInt32, now: WallTime) {
        let prefix = Self.prefix(of: address)
        guard messages >= UInt32(clamping: settings.whiteAfter), isCounted(prefix, now) else { return }
        if let entry = entries[prefix], entry.colour != .white {
            put(entry, as: .yellow, .both, [], now)
        } else {
            put(entries[prefix], prefix, as: .white, .sends(settings.whiteAfter), [], now)
        }
    }

    // MARK: - Entries

    /// Lists a client, or finds more evidence for what it is listed as. `isKnown`: it has sent wanted mail, as a proven sender
    /// does.
    public mutating func list(_ candidate: HarvestCandidate, isKnown: Bool, now: WallTime) {
        let prefix = Self.prefix(of: candidate.address)
        guard !isKeptOff(prefix, now) else { return }
        let entry = entries[prefix].flatMap { now < $0.expires ? $0 : nil }
        if isKnown || entry?.colour == .white || entry?.colour == .yellow {
            return put(entry, prefix, as: .yellow, .both, candidate.listeners, now)
        }
        // Less evidence does not make more of more.
        if entry?.colour == .black, candidate.colour == .brown { return }
        guard entry != nil || entries.count < settings.capacity else {
            totals.overflowed += 1
            return
        }
        put(entry, prefix, as: candidate.colour, candidate.reason, candidate.listeners, now)
    }

    private mutating func put(
        _ entry: HarvestEntry?, _ prefix: Prefix? = nil, as colour: ListColour, _ reason: HarvestReason, _ listeners: [String],
        _ now: WallTime
    ) {
        guard let prefix = prefix ?? entry?.prefix else { return }
        var new =
            entry ?? HarvestEntry(prefix: prefix, colour: colour, reason: "", evidence: 0, added: now, expires: now + settings.lifetime)
        new.colour = colour
        new.reason = reason.text
        for listener in listeners where !new.listeners.contains(listener) && new.listeners.count < HarvestSettings.maximumListeners {
            new.listeners.append(listener)
        }
        new.evidence += 1
        new.expires = max(new.expires, now + settings.lifetime)
        entries[prefix] = new
        changes.entries[prefix] = .some(new)
        if settings.mode == .on { published.append(.put(new.published)) }
        if entry == nil { totals.listed += 1 }
    }

    private mutating func drop(_ prefix: Prefix) {
        guard entries.removeValue(forKey: prefix) != nil else { return }
        changes.entries[prefix] = .some(nil)
        if settings.mode == .on { published.append(.remove(prefix)) }
    }

    /// The live entry that covers an address, whatever the mode.
    public func entry(of address: IPAddress, now: WallTime) -> HarvestEntry? {
        guard !entries.isEmpty, let entry = entries[Self.prefix(of: address)], now < entry.expires else { return nil }
        return entry
    }

    /// What everybody may know of an address; nothing in shadow.
    public func published(of address: IPAddress, now: WallTime) -> PublishedEntry? {
        settings.mode == .on ? entry(of: address, now: now)?.published : nil
    }

    /// The live ones, in no order.
    public func allEntries(now: WallTime) -> [HarvestEntry] { entries.values.filter { now < $0.expires } }
    public func allPublished(now: WallTime) -> [PublishedEntry] { settings.mode == .on ? allEntries(now: now).map(\.published) : [] }
    public var count: Int { entries.count }
    /// Clients at fake MXs that are remembered.
    public var sightingCount: Int { sightings.count }
    /// What is remembered of one; for those who want to know why it is not listed.
    public func sighting(of address: IPAddress) -> HarvestSighting? { sightings[Self.prefix(of: address)] }

    // MARK: - Off the lists

    /// From here on nobody in these networks, nor in a /64 that has one of them, is listed; what was seen of them is forgotten.
    public mutating func spare(_ networks: SparedNetworks) {
        guard !networks.isEmpty else { return }
        for prefix in entries.keys.filter(networks.contains) { drop(prefix) }
        for prefix in sightings.keys.filter(networks.contains) { forget(prefix) }
    }

    /// The admin takes an address off, for good: it does not come back for `HarvestSettings.keepOff`. `false` where it was not
    /// listed.
    public mutating func remove(_ prefix: Prefix, now: WallTime) -> HarvestEntry? {
        guard let entry = entries[prefix] else { return nil }
        drop(prefix)
        forget(prefix)
        let until = now + settings.keepOff
        let bySelf = removals[prefix]?.bySelf ?? false
        keep(HarvestRemoval(prefix: prefix, keptOffUntil: until, bySelf: bySelf, expires: max(until, removals[prefix]?.expires ?? until)))
        return entry
    }

    /// Whether the admin took it off, not long ago.
    private func isKeptOff(_ prefix: Prefix, _ now: WallTime) -> Bool { removals[prefix]?.keptOffUntil.map { now < $0 } ?? false }

    /// The admin wants an address to stay listed until then; `nil` where it is not listed.
    public mutating func extend(_ prefix: Prefix, until: WallTime, now: WallTime) -> HarvestEntry? {
        guard var entry = entries[prefix], now < entry.expires else { return nil }
        entry.expires = max(entry.expires, until)
        restore(entry)
        return entry
    }

    /// Puts an entry back as it was, and lets it come back on new evidence.
    public mutating func putBack(_ entry: HarvestEntry, now: WallTime) {
        guard now < entry.expires else { return }
        if let removal = removals[entry.prefix] {
            removals[entry.prefix] = nil
            changes.removals[entry.prefix] = .some(nil)
            if removal.bySelf, now < removal.expires {
                keep(HarvestRemoval(prefix: entry.prefix, keptOffUntil: nil, bySelf: true, expires: removal.expires))
            }
        }
        restore(entry)
    }

    private mutating func restore(_ entry: HarvestEntry) {
        entries[entry.prefix] = entry
        changes.entries[entry.prefix] = .some(entry)
        if settings.mode == .on { published.append(.put(entry.published)) }
    }

    /// What became of a wish to be taken off.
    public enum SelfRemoval: Equatable, Sendable {
        case removed(HarvestEntry)
        /// There is nothing to remove.
        case notListed
        /// An address may only speak for itself.
        case notYours
        /// It has done so before: from here on a person must decide.
        case onlyOnce
        /// Too many at once; later.
        case tooMany
    }

    /// The listed asks for its own removal, over a connection from `requester`. It may come back on new evidence, and cannot remove
    /// itself again then.
    public mutating func removeItself(_ address: IPAddress, requester: IPAddress, now: WallTime) -> SelfRemoval {
        let prefix = Self.prefix(of: address)
        guard prefix.contains(requester) else { return .notYours }
        guard let entry = entry(of: address, now: now) else { return .notListed }
        if let removal = removals[prefix], removal.bySelf, now < removal.expires { return .onlyOnce }
        selfRemovals.removeAll { now - $0 >= .hours(1) || now < $0 }
        guard selfRemovals.count < settings.selfRemovalsPerHour, removals.count < HarvestSettings.maximumRemovals else { return .tooMany }
        selfRemovals.append(now)
        drop(prefix)
        forget(prefix)
        keep(
            HarvestRemoval(
                prefix: prefix, keptOffUntil: removals[prefix]?.keptOffUntil, bySelf: true, expires: now + HarvestSettings.selfRemovalMemory
            ))
        totals.selfRemoved += 1
        return .removed(entry)
    }

    // MARK: - Upkeep

    /// Lets go what has expired. Cheap enough for once a second.
    public mutating func expire(now: WallTime) {
        touches.rotate(now, memory: settings.memory)
        for (prefix, entry) in entries where entry.expires <= now { drop(prefix) }
        for (prefix, sighting) in sightings where sighting.expires <= now { forget(prefix) }
        for (prefix, removal) in removals where removal.expires <= now {
            removals[prefix] = nil
            changes.removals[prefix] = .some(nil)
        }
    }

    /// What the store is to change, since the last time.
    public mutating func takeChanges() -> HarvestChanges {
        defer { changes = HarvestChanges() }
        return changes
    }

    /// What readers are to be told, since the last time.
    public mutating func takePublished() -> [PublishedChange] {
        defer { published.removeAll(keepingCapacity: published.capacity <= 4096) }
        return published
    }

    /// Who tried the primary, to be kept: now and then, and with `isComplete` when the process ends.
    public mutating func keepTouches(isComplete: Bool) {
        if touches.isChanged || isComplete { changes.touches = touches.image() }
        if isComplete { changes.isComplete = true }
    }

    private mutating func keep(_ sighting: HarvestSighting) {
        if sightings.updateValue(sighting, forKey: sighting.prefix) == nil {
            order.append(sighting.prefix)
            while sightings.count > HarvestSettings.maximumSightings, oldest < order.count {
                oldest += 1
                forget(order[oldest - 1])
            }
            if order.count > 2 * HarvestSettings.maximumSightings {
                order = order[oldest...].filter { sightings[$0] != nil }
                oldest = 0
            }
        }
        changes.sightings[sighting.prefix] = .some(sighting)
    }

    private mutating func forget(_ prefix: Prefix) {
        if sightings.removeValue(forKey: prefix) != nil { changes.sightings[prefix] = .some(nil) }
    }

    private mutating func keep(_ removal: HarvestRemoval) {
        removals[removal.prefix] = removal
        changes.removals[removal.prefix] = .some(removal)
    }
}

/// What the harvest has done since the start.
public struct HarvestTotals: Equatable, Sendable {
    /// At fake MXs.
    public var visits: UInt64 = 0
    /// To trap mailboxes and sinks, by strangers.
    public var trapMail: UInt64 = 0
    public var listed: UInt64 = 0
    public var selfRemoved: UInt64 = 0
    /// Visits that were not judged, and clients that were not listed, since there were too many.
    public var forgotten: UInt64 = 0
    public var overflowed: UInt64 = 0

    public init() {}
}

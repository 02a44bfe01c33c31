import PosternCore

/// An entry as it is kept, with what it rests on.
public struct HarvestEntry: Equatable, Sendable {
    public var prefix: Prefix
    public var colour: ListColour
    /// As `PublishedEntry.reason`.
    public var reason: String
    /// Where it was seen, in the order in which it came there.
    public var listeners: [String]
    /// Pieces of evidence.
    public var evidence: Int
    public var added: WallTime
    public var expires: WallTime

    public init(
        prefix: Prefix, colour: ListColour, reason: String, listeners: [String] = [], evidence: Int = 1, added: WallTime, expires: WallTime
    ) {
        self.prefix = prefix
        self.colour = colour
        self.reason = reason
        self.listeners = listeners
        self.evidence = evidence
        self.added = added
        self.expires = expires
    }

    public var published: PublishedEntry {
        PublishedEntry(prefix: prefix, colour: colour, reason: reason, added: added, expires: expires)
    }
}

/// What is remembered of a client that came to a fake MX.
public struct HarvestSighting: Equatable, Sendable {
    public var prefix: Prefix
    /// The listeners that it came to, primaries too, in that order; the same one twice in a row stands once.
    public var listeners: [String]
    /// Domains of others that it hung up on, at most `FakeMXVisit.maximumDomains`.
    public var domains: [String] = []
    /// Visits that ended in a deferral, as far apart as counts, and when the last of them was.
    public var visits = 0
    public var lastVisit: WallTime
    /// Those of them that ended without QUIT.
    public var hangUps = 0
    public var lastHangUp: WallTime?
    /// It tried the primary after all: nothing of this counts any more.
    public var triedPrimary = false
    public var expires: WallTime

    public init(prefix: Prefix, listeners: [String] = [], lastVisit: WallTime, expires: WallTime) {
        self.prefix = prefix
        self.listeners = listeners
        self.lastVisit = lastVisit
        self.expires = expires
    }

    mutating func came(to listener: String) {
        if listeners.last != listener, listeners.count < HarvestSettings.maximumListeners { listeners.append(listener) }
    }
}

/// An address that was taken off the lists.
public struct HarvestRemoval: Equatable, Sendable {
    public var prefix: Prefix
    /// Until then it is not listed again; `nil` where new evidence may list it.
    public var keptOffUntil: WallTime?
    /// Whether it has removed itself: once is all it may.
    public var bySelf: Bool
    /// From here on the removal is forgotten.
    public var expires: WallTime

    public init(prefix: Prefix, keptOffUntil: WallTime?, bySelf: Bool, expires: WallTime) {
        self.prefix = prefix
        self.keptOffUntil = keptOffUntil
        self.bySelf = bySelf
        self.expires = expires
    }
}

/// All that a store keeps for the harvest.
public struct HarvestImage: Equatable, Sendable {
    public var entries: [HarvestEntry] = []
    public var sightings: [HarvestSighting] = []
    public var removals: [HarvestRemoval] = []
    /// Who tried the primary, as `TouchMemory` writes it; `nil` before it was ever kept.
    public var touches: [UInt8]?
    /// Whether the process before this one has ended as it should, with `touches` complete.
    public var isComplete = false

    public init() {}
}

/// What a store is to change, all at once.
public struct HarvestChanges: Equatable, Sendable {
    /// Each in place of what was there for its prefix; `nil` removes that.
    public var entries: [Prefix: HarvestEntry?] = [:]
    public var sightings: [Prefix: HarvestSighting?] = [:]
    public var removals: [Prefix: HarvestRemoval?] = [:]
    /// `nil` leaves it as it is.
    public var touches: [UInt8]?
    public var isComplete: Bool?

    public init() {}

    public var isEmpty: Bool { entries.isEmpty && sightings.isEmpty && removals.isEmpty && touches == nil && isComplete == nil }

    /// What was to be changed before, and has not been, with this on top.
    public mutating func add(_ later: HarvestChanges) {
        entries.merge(later.entries) { $1 }
        sightings.merge(later.sightings) { $1 }
        removals.merge(later.removals) { $1 }
        touches = later.touches ?? touches
        isComplete = later.isComplete ?? isComplete
    }
}

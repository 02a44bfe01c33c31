import PosternCore

/// What one triplet is keyed by. Stores keep only a keyed hash of it.
public struct TripletKey: Hashable, Sendable {
    public var identity: Identity
    /// Normalised; empty for the null sender.
    public var sender: String
    /// In lower case; `*` for all recipients of a null-sender message whose recipients are not known.
    public var recipient: String

    public init(identity: Identity, sender: String, recipient: String) {
        self.identity = identity
        self.sender = sender
        self.recipient = recipient
    }
}

/// What is remembered of one triplet.
public struct TripletRow: Hashable, Sendable {
    public var firstSeen: WallTime
    /// Up to a hundredth of the lifetime behind, once it has passed.
    public var lastSeen: WallTime
    /// When it first passed; `nil` while it waits.
    public var passedAt: WallTime?
    /// How often it was deferred.
    public var deferrals: UInt32
    /// How often it was noted to have passed: passes that follow one another closely are noted once. Of one that has not come back
    /// in time: whether it has passed for another reason since it was last deferred.
    public var passes: UInt32
    /// From here on the row may be thrown away.
    public var expires: WallTime

    /// Whether it was deferred, and its retry has not been let through since, for whatever reason.
    public var isWaiting: Bool { passedAt == nil && passes == 0 }

    public init(firstSeen: WallTime, lastSeen: WallTime, passedAt: WallTime? = nil, deferrals: UInt32, passes: UInt32, expires: WallTime) {
        self.firstSeen = firstSeen
        self.lastSeen = lastSeen
        self.passedAt = passedAt
        self.deferrals = deferrals
        self.passes = passes
        self.expires = expires
    }
}

/// What is remembered of one identity.
public struct IdentityRow: Hashable, Sendable {
    /// Messages that passed greylisting.
    public var passes: UInt32
    public var lastSeen: WallTime
    /// From here on the row may be thrown away.
    public var expires: WallTime

    public init(passes: UInt32, lastSeen: WallTime, expires: WallTime) {
        self.passes = passes
        self.lastSeen = lastSeen
        self.expires = expires
    }

    /// With so many messages more than `row` has, which count for as long as no `lifetime` goes by without one.
    public init(adding messages: UInt32, to row: IdentityRow?, lifetime: WallTime.Span, now: WallTime) {
        let (sum, isTooMuch) = (row?.passes(within: lifetime, now: now) ?? 0).addingReportingOverflow(messages)
        self.init(passes: isTooMuch ? .max : sum, lastSeen: now, expires: now + lifetime)
    }

    /// Messages that count: none where the last of them is `lifetime` ago.
    public func passes(within lifetime: WallTime.Span, now: WallTime) -> UInt32 { now - lastSeen < lifetime ? passes : 0 }
}

/// What the engine wants to know before it can conclude. Empty means: nothing.
public struct Needs: Equatable, Sendable {
    public var triplets: [TripletKey] = []
    public var identities: [Identity] = []

    public init(triplets: [TripletKey] = [], identities: [Identity] = []) {
        self.triplets = triplets
        self.identities = identities
    }

    public var isEmpty: Bool { triplets.isEmpty && identities.isEmpty }
}

/// The answers to `Needs`, in its order; `nil` where there is no row.
public struct Evidence: Equatable, Sendable {
    public var triplets: [TripletRow?] = []
    public var identities: [IdentityRow?] = []

    public init(triplets: [TripletRow?] = [], identities: [IdentityRow?] = []) {
        self.triplets = triplets
        self.identities = identities
    }
}

/// Rows to write, each in place of what was there.
public struct Changes: Equatable, Sendable {
    public struct Triplet: Equatable, Sendable {
        public var key: TripletKey
        public var row: TripletRow

        public init(key: TripletKey, row: TripletRow) {
            self.key = key
            self.row = row
        }
    }

    public struct IdentityCount: Equatable, Sendable {
        public var identity: Identity
        public var row: IdentityRow

        public init(identity: Identity, row: IdentityRow) {
            self.identity = identity
            self.row = row
        }
    }

    public var triplets: [Triplet] = []
    public var identities: [IdentityCount] = []

    public init() {}

    public var isEmpty: Bool { triplets.isEmpty && identities.isEmpty }
}

/// The engine's answer: what to do, what to write, what the front should remember of the message.
public struct Decision: Equatable, Sendable {
    public var verdict: Verdict
    public var changes: Changes
    public var memory: MessageMemory
    /// Triplets that may have been deferred before and pass now, whatever their rows say: `Engine.endOfWait` says what that
    /// changes. Nobody need wait for it.
    public var overtaken: [TripletKey]
}

// Beside the struct, as those of `Attempt`.
extension Decision {
    public init(verdict: consuming Verdict, memory: consuming MessageMemory, overtaken: consuming [TripletKey]) {
        self.init(verdict: verdict, changes: Changes(), memory: memory, overtaken: overtaken)
    }

    public init(verdict: consuming Verdict, changes: consuming Changes = Changes(), memory: consuming MessageMemory = MessageMemory()) {
        self.init(verdict: verdict, changes: changes, memory: memory, overtaken: [])
    }
}

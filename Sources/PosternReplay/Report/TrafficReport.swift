/// What a replay, or the daemon's own record, comes to. All of it goes to `--json` in snake case: the fields are listed in
/// docs/commands.md. Lengths of time are in seconds, sizes in octets.
public struct TrafficReport: Codable, Equatable, Sendable {
    public var input: InputReport
    /// One policy, or two where they were compared.
    public var policies: [PolicyReport]
    public var changes: ChangesReport?
    /// What follows from it, in sentences.
    public var advice: [String] = []

    public init(input: InputReport, policies: [PolicyReport], changes: ChangesReport? = nil, advice: [String] = []) {
        self.input = input
        self.policies = policies
        self.changes = changes
        self.advice = advice
    }
}

/// What was read, and what was assumed.
public struct InputReport: Codable, Equatable, Sendable {
    public var files: [String]
    public var from: String?
    public var to: String?
    public var counts: LogCounts
    public var problems: InputProblems
    /// Where evidence came from.
    public var evidence: String
    /// Attempts for which something is known beyond client and envelope.
    public var attemptsWithEvidence: Int
    /// Who comes back where the log does not show it.
    public var retryModel: String
    public var notes: [String]

    public init(
        files: [String], from: String?, to: String?, counts: LogCounts, problems: InputProblems, evidence: String,
        attemptsWithEvidence: Int,
        retryModel: String, notes: [String] = []
    ) {
        self.files = files
        self.from = from
        self.to = to
        self.counts = counts
        self.problems = problems
        self.evidence = evidence
        self.attemptsWithEvidence = attemptsWithEvidence
        self.retryModel = retryModel
        self.notes = notes
    }
}

/// What one policy did.
public struct PolicyReport: Codable, Equatable, Sendable {
    /// The configuration's file, or `built-in defaults`.
    public var policy: String
    public var all: GroupReport
    public var ham: GroupReport?
    public var spam: GroupReport?
    /// What carries no label, where anything does.
    public var unlabelled: GroupReport?
    public var attempts: AttemptsReport
    public var reasons: [ReasonReport]
    public var checks: [CheckReport]
    public var domains: [DomainReport]
    public var suffering: SufferingReport
    public var whitepaper: WhitepaperReport
    public var bandwidth: BandwidthReport
}

/// Deliveries (a message for one recipient each) and what became of them.
public struct GroupReport: Codable, Equatable, Sendable {
    public var deliveries = 0
    public var atOnce = 0
    public var delayed = 0
    public var blocked = 0
    public var refused = 0
    /// Waiting when the input ended.
    public var open = 0
    /// Deliveries that were deferred at least once.
    public var deferred = 0
    /// Of those that were delayed.
    public var delay: DelayReport?
    /// First attempts by a triplet that was not known.
    public var newTriplets = 0
    /// Such triplets that came back in time.
    public var tripletsInTime = 0

    public init() {}
}

public struct DelayReport: Codable, Equatable, Sendable {
    public var median: Int64
    public var p90: Int64
    public var p95: Int64
    public var p99: Int64
    public var longest: Int64
    public var mean: Int64
}

public struct AttemptsReport: Codable, Equatable, Sendable {
    /// Attempts that were decided.
    public var decided = 0
    public var deferred = 0
    /// Of those decided, retries that the model made.
    public var made = 0
    /// Attempts of the log that would not have been needed.
    public var spared = 0
    /// Answers that were held back, and for how long altogether.
    public var held = 0
    public var heldSeconds: Int64 = 0

    public init() {}
}

/// How often a reason decided an attempt.
public struct ReasonReport: Codable, Equatable, Sendable {
    public var reason: String
    public var attempts: Int
}

/// What a check did.
public struct CheckReport: Codable, Equatable, Sendable {
    public var check: String
    /// Attempts that it decided.
    public var decided: Int
    /// Attempts that it had a word in.
    public var fired: Int
    public var firedHam: Int
    public var firedSpam: Int
}

public struct DomainReport: Codable, Equatable, Sendable {
    /// The organisational domain of senders; `<>` for the null sender.
    public var domain: String
    public var deliveries: Int
    public var atOnce: Int
    public var delayed: Int
    public var blocked: Int
    public var refused: Int
    public var open: Int
    public var meanDelay: Int64?
    public var longestDelay: Int64?
}

/// Honest senders that would suffer, and what would spare them.
public struct SufferingReport: Codable, Equatable, Sendable {
    public struct Sender: Codable, Equatable, Sendable {
        /// The domain of the clients' names, or their network.
        public var client: String
        /// Of all honest deliveries from there.
        public var deliveries: Int
        public var lost: Int
        /// Delayed longer than `late`.
        public var late: Int
        public var longestDelay: Int64?
        /// A delivery that suffered.
        public var sender: String
        public var recipient: String
        public var why: String
        /// The settings, or commands, that would have spared it.
        public var remedy: String
    }

    /// Honest deliveries.
    public var deliveries = 0
    /// Of them blocked or refused.
    public var lost = 0
    /// A longer delay counts as suffering.
    public var lateAfter: Int64 = 0
    public var late = 0
    /// The worst first.
    public var senders: [Sender] = []

    public init() {}
}

/// The tables of "Greylisting: The Next Step in the Spam Control War" (Harris, 2003).
public struct WhitepaperReport: Codable, Equatable, Sendable {
    public var tripletsSeen = 0
    public var tripletsPassed = 0
    public var tripletsBlocked = 0
    /// Of the triplets seen, in percent.
    public var effectiveness: Double?
    public var mailsPassed = 0
    public var mailsDelayed = 0
    public var delayedPercent: Double?
    /// The same without triplets that passed but one message, such as mailing lists make with a sender for each.
    public var mailsPassedWithoutSingles = 0
    public var mailsDelayedWithoutSingles = 0
    public var delayedPercentWithoutSingles: Double?

    public init() {}
}

public struct BandwidthReport: Codable, Equatable, Sendable {
    /// Octets of messages that were not received, as far as they are known.
    public var savedKnown: Int64 = 0
    /// Messages not received whose size is not known.
    public var blockedOfUnknownSize = 0
    /// What each of those is taken for.
    public var assumedMessage: Int64 = 0
    /// Deferrals, and what each costs.
    public var deferrals = 0
    public var assumedDeferral: Int64 = 0
    public var saved: Int64 = 0
    public var wasted: Int64 = 0

    public init() {}
}

/// What changes from the first policy to the second.
public struct ChangesReport: Codable, Equatable, Sendable {
    public struct Change: Codable, Equatable, Sendable {
        public var from: DeliveryResult
        public var to: DeliveryResult
        public var deliveries: Int
        public var ham: Int
        public var spam: Int
    }

    public struct Example: Codable, Equatable, Sendable {
        public var from: DeliveryResult
        public var to: DeliveryResult
        public var time: String
        public var client: String
        public var sender: String
        public var recipient: String
        public var label: String?
    }

    /// Deliveries that came out the same.
    public var same = 0
    /// The most frequent first.
    public var changes: [Change] = []
    /// The first of each change.
    public var examples: [Example] = []

    public init() {}
}

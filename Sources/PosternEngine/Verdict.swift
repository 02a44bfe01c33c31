import PosternCore

/// What to do, and everything that explains it: log line, reply, `explain` and dashboard all come from this value.
public struct Verdict: Equatable, Sendable {
    public enum Action: Equatable, Sendable {
        case accept
        /// Accept, but answer only after this long, or let the mail server keep the message (`holdsMessage`).
        case hold(WallTime.Span)
        /// 4xx: the client is to come back.
        case `defer`
        /// 5xx.
        case reject
        case tarpit
        case drop

        /// One word for logs and columns.
        public var name: String {
            switch self {
            case .accept: "accept"
            case .hold: "hold"
            case .defer: "defer"
            case .reject: "reject"
            case .tarpit: "tarpit"
            case .drop: "drop"
            }
        }
    }

    public var action: Action
    /// Why, the deciding cause first. Never empty.
    public var causes: [Cause]
    /// When a deferral will pass: a retry at this moment or later is let through.
    public var passesAt: WallTime?
    /// A header field to put on the message, at most once a message; it names no recipient.
    public var header: String?
    /// How long a gateway waits before it answers. A policy service never waits.
    public var delay: WallTime.Span
    /// Whether a gateway sends its answer byte by byte.
    public var stutters: Bool
    /// Whether the client goes straight through by the admin's word on its domain, or by lists of good senders; `nil` where that was not
    /// looked up, or where look-ups did not tell.
    public var isTrusted: Bool?
    /// Where it is held: whether that is for the mail server that asks, which keeps the message in its hold queue until somebody lets
    /// it go.
    public var holdsMessage: Bool
}

// Beside the struct, as those of `Attempt`.
extension Verdict {
    public init(_ action: Action, _ causes: consuming [Cause], passesAt: WallTime? = nil, header: consuming String? = nil) {
        self.init(
            action: action, causes: causes, passesAt: passesAt, header: header, delay: .zero, stutters: false, isTrusted: nil,
            holdsMessage: false)
    }

    /// The same as people read it, who have another time than the engine.
    ///
    /// - Parameter shown: a time of the engine by the wall clock.
    public func shown(by shown: (WallTime) -> WallTime) -> Verdict {
        var verdict = self
        if let passesAt { verdict.passesAt = shown(passesAt) }
        for index in causes.indices {
            if case .released(let until) = causes[index] { verdict.causes[index] = .released(until: shown(until)) }
        }
        return verdict
    }
}

extension Verdict {
    /// Whether it lets a null sender's message by at RCPT only to be judged in reply to DATA.
    public var leavesNullSenderToData: Bool {
        guard action == .accept, let cause = causes.first else { return false }
        return cause == .nullSenderAwaitsData || cause.sparesGreylistingOnly
    }
}

/// One thing that bore on a verdict. What is large and seldom is indirect, so that causes stay small.
public enum Cause: Equatable, Sendable {
    // Exempt by what they are.
    case stageHasNoCheck
    case authenticated(account: String)
    case localClient
    case forwarder
    case backupMX
    case alwaysReachable
    case noClientAddress
    case greylistOff
    case recipientOptedOut
    // By the admin's word.
    indirect case allowed(ListEntry)
    indirect case blocked(ListEntry)
    case released(until: WallTime)
    /// The admin trusts the address, or the domain that SPF passes for.
    case trusted
    /// Past a limit.
    indirect case overLimit(Throttled)
    // Greylisting.
    /// Seen for the first time, or again after its window had closed.
    case greylistNew
    /// Back before the delay had passed; its first attempt was this long ago.
    case greylistEarly(waited: WallTime.Span)
    /// Back in time; it waited this long since its first attempt.
    case greylistPassed(waited: WallTime.Span)
    /// A triplet that passed before.
    case greylistKnown
    /// It was deferred this long ago, and passes now for the reason given before, not since it waited.
    case waited(WallTime.Span)
    /// The identity has sent this many messages that passed.
    case proven(Identity, messages: UInt32)
    /// A null sender is judged in reply to DATA, so that callouts never meet a deferral.
    case nullSenderAwaitsData
    /// In shadow mode: what would have been done.
    case shadow(wouldBe: String)
    /// A check that fired, so often, and on what.
    case scored(Check, CheckSetting, count: Int, evidence: String)
    /// The score of all checks reached the band in which recipients are refused.
    case scoreTooHigh(Double)
    /// A first message from a client for whom the evidence speaks: it is not greylisted.
    case clean
    /// The score is so low that the unknown are not greylisted.
    case wellListed(Double)
    /// The store failed; the mail passes (fail open).
    case storeUnavailable

    /// Whether it keeps a recipient from greylisting, and not from the checks.
    var sparesGreylistingOnly: Bool { self == .greylistOff || self == .recipientOptedOut }

    /// The check's name, as configuration and reports know it.
    public var check: String {
        switch self {
        case .stageHasNoCheck: "stage"
        case .authenticated: "authenticated"
        case .localClient: "local"
        case .forwarder: "forwarder"
        case .backupMX: "backup-mx"
        case .alwaysReachable: "always-reachable"
        case .noClientAddress: "no-client-address"
        case .greylistOff, .recipientOptedOut, .greylistNew, .greylistEarly, .greylistPassed, .greylistKnown, .waited,
            .nullSenderAwaitsData, .shadow:
            "greylist"
        case .allowed: "allow"
        case .blocked: "block"
        case .released: "release"
        case .trusted: "trusted"
        case .overLimit(let throttled): throttled.limit.key == .account || throttled.limit.key == .accountDomain ? "accounts" : "throttle"
        case .proven: "proven"
        case .scored(let check, _, _, _): check.rawValue
        case .scoreTooHigh, .clean, .wellListed: "score"
        case .storeUnavailable: "store"
        }
    }
}

extension Cause: CustomStringConvertible {
    /// A phrase for the admin.
    public var description: String {
        switch self {
        case .stageHasNoCheck: "nothing is checked at this stage"
        case .authenticated(let account): "authenticated as \(account)"
        case .localClient: "client is in networks.local"
        case .forwarder: "client is in networks.forwarders"
        case .backupMX: "client is in networks.backup_mx"
        case .alwaysReachable: "postmaster and abuse are always reachable"
        case .noClientAddress: "the request names no client address"
        case .greylistOff: "greylisting is off"
        case .recipientOptedOut: "recipient is not greylisted"
        case .allowed(let entry): "allowed: \(entry.kind.rawValue) \(entry.pattern)\(entry.source == nil ? "" : ", \(entry.note)")"
        case .blocked(let entry): "blocked: \(entry.kind.rawValue) \(entry.pattern)\(entry.source == nil ? "" : ", \(entry.note)")"
        case .released(let until): "released until \(until)"
        case .trusted: "client is trusted"
        case .overLimit(let throttled): throttled.description
        case .greylistNew: "first attempt"
        case .greylistEarly(let waited): "back too early, after \(waited.spokenElapsed)"
        case .greylistPassed(let waited): "back in time, after \(waited.spokenElapsed)"
        case .greylistKnown: "passed before"
        case .waited(let span): "deferred before, \(span.spokenElapsed) ago"
        case .proven(let identity, let messages): "\(identity) is proven by \(messages) messages"
        case .nullSenderAwaitsData: "null sender is judged at DATA"
        case .shadow(let wouldBe): "shadow: would \(wouldBe)"
        case .scored(let check, let setting, let count, let evidence): Self.phrase(check, setting, count, evidence)
        case .scoreTooHigh(let score): "the score is \(score)"
        case .clean: "first message, and the evidence speaks for the client"
        case .wellListed(let score): "the score is as low as \(score)"
        case .storeUnavailable: "the store is unavailable"
        }
    }

    /// Put together piece by piece: it is in nearly every record.
    private static func phrase(_ check: Check, _ setting: CheckSetting, _ count: Int, _ evidence: String) -> String {
        var phrase = check.rawValue
        if !evidence.isEmpty {
            phrase += " ("
            phrase += evidence
            phrase += ")"
        }
        if count > 1 { phrase += " (\(count) times)" }
        phrase += setting.mode == .shadow ? " in shadow, would add " : " adds "
        phrase += setting.score.description
        return phrase
    }

    /// One word for the log line's `reason=` and for reports: bounded in number, free of anything personal.
    public var word: String {
        switch self {
        case .stageHasNoCheck: "stage"
        case .authenticated: "authenticated"
        case .localClient: "local"
        case .forwarder: "forwarder"
        case .backupMX: "backup-mx"
        case .alwaysReachable: "always-reachable"
        case .noClientAddress: "no-client-address"
        case .greylistOff: "greylist-off"
        case .recipientOptedOut: "opted-out"
        case .allowed: "allowed"
        case .blocked: "blocked"
        case .released: "released"
        case .trusted: "trusted"
        case .overLimit(let throttled): throttled.word
        case .greylistNew: "new"
        case .greylistEarly: "early"
        case .greylistPassed: "passed"
        case .greylistKnown: "known"
        case .waited: "waited"
        case .proven: "proven"
        case .nullSenderAwaitsData: "null-sender"
        case .shadow(let wouldBe): "shadow-\(wouldBe)"
        case .scored(let check, _, _, _): check.rawValue
        case .scoreTooHigh: "score"
        case .clean: "clean"
        case .wellListed: "well-listed"
        case .storeUnavailable: "store-unavailable"
        }
    }
}

import PosternCore

/// Whether a check acts, is merely counted and shown, or is not asked.
public enum Mode: String, CaseIterable, Sendable {
    case off
    case shadow
    case on
}

/// What a deferral looks like in a policy reply.
public enum DeferralReply: String, CaseIterable, Sendable {
    /// `DEFER_IF_PERMIT`: a later restriction may still reject for good. The code is Postfix's `access_map_defer_code`.
    case deferIfPermit = "defer_if_permit"
    /// `451 4.7.1`, at once.
    case plain = "451"
}

public struct GreylistSettings: Sendable, Equatable {
    public var mode = Mode.on
    /// A retry sooner than this after the first attempt is deferred again. Measured first retries of large senders
    /// lie between 1 and 6.5 minutes (Pagani et al., DSN 2016).
    public var delay = WallTime.Span.minutes(3)
    /// A retry this long after the first attempt, or later, is a first attempt again; must be longer than `delay`, or
    /// nothing ever passes. 98.7 % of real retries come within a day.
    public var window = WallTime.Span.hours(24)
    /// What has passed is remembered this long after it was last seen: 36 days, so that a monthly letter is known (Harris 2003).
    /// Sightings are noted when a hundredth of it has gone by since the last, so it may be one part in a hundred shorter.
    public var lifetime = WallTime.Span.days(36)
    /// Messages that must have passed before an identity is no longer greylisted; 0 for never.
    public var provenAfter: UInt32 = 5
    public var widths = IdentityWidths()
    /// Whether a message that was delayed gets an `X-Greylist` header.
    public var header = true
    /// A triplet that passed is not judged anew for this long.
    public var recheck = WallTime.Span.hours(24)
    public var reply = DeferralReply.deferIfPermit
    /// Where not empty, only these recipients (mailboxes, domains) are greylisted.
    public var optIn: Set<Pattern> = []
    /// Recipients (mailboxes, domains) that are never greylisted.
    public var optOut: Set<Pattern> = []

    public init() {}
}

/// Whom the greylist is for.
public enum Profile: String, CaseIterable, Sendable {
    /// Every unknown sender.
    case classic
    /// Unknown senders for whom the evidence does not speak; a clean one is merely held for some seconds.
    case selective
}

/// A header field that tells what SPF said of a message's sender.
public enum SPFHeader: String, CaseIterable, Sendable {
    case none
    /// RFC 7208 §9.1.
    case receivedSPF = "received-spf"
    /// RFC 8601.
    case authenticationResults = "authentication-results"
}

/// All that the engine is told by configuration.
public struct EngineSettings: Sendable, Equatable {
    /// Our name, in headers and texts.
    public var hostname = "localhost" {
        didSet { ownName = DomainName(hostname) }
    }
    /// The same as a name, where it is one.
    private(set) var ownName = DomainName("localhost")
    public var networks = Networks()
    /// Domains that we receive for, and addresses of ours: a client that greets with one of them lies.
    public var ourDomains: Set<DomainName> = []
    public var ourAddresses: Set<IPAddress> = []
    public var profile = Profile.selective
    /// Whether anybody is there to ask the DNS: where not, it is not asked.
    public var looksUp = false
    /// Whether anything can be found out about a client: from the DNS, or where its address is registered.
    public var gathers: Bool { looksUp || !countries.isEmpty || !networkOwners.isEmpty }
    /// What a country adds (ISO 3166-1, two capitals), -100...100.
    public var countries: [String: Double] = [:]
    /// What an autonomous system adds, -100...100.
    public var networkOwners: [UInt32: Double] = [:]
    /// Whether messages get a field that tells what SPF said of their sender.
    public var spfHeader = SPFHeader.none
    public var greylist = GreylistSettings()
    /// What differs from `Check.defaultSetting`.
    public var checks: [Check: CheckSetting] = [:]
    public var bands = Bands()
    public var delays = DelaySettings()
    public var harvest = HarvestSettings()
    public var trusted = Trusted()
    public var throttle = ThrottleSettings()
    public var accounts = AccountSettings()
    /// Whether a DNS list may say of a client that it is good.
    public var hasAllowlists = false

    /// Messages that must have passed before a client counts as a sender of wanted mail at a trap: where nobody is ever proven, as many
    /// as make one white; `nil` for never.
    public var knownAfter: UInt32? {
        if greylist.provenAfter > 0 { return greylist.provenAfter }
        return harvest.mode == .off || harvest.whiteAfter <= 0 ? nil : UInt32(clamping: harvest.whiteAfter)
    }

    public init() {}
}

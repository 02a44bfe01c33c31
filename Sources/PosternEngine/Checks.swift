import PosternCore

/// A check that adds to a client's score. Raw values are the names under `checks:`.
public enum Check: String, CaseIterable, Hashable, Sendable {
    /// It talked before it was greeted (RFC 5321 §3.1: the client waits for the greeting).
    case earlyTalk = "early-talk"
    /// It sent commands ahead of a reply that it had to wait for (RFC 2920 §3.1).
    case pipelining
    /// Its HELO name is neither a domain nor an address literal (RFC 5321 §4.1.1.1).
    case heloSyntax = "helo-syntax"
    /// It spoke something that is not SMTP, such as HTTP.
    case nonSMTP = "non-smtp"
    /// It ended a line with a bare LF or CR (RFC 5321 §2.3.8).
    case bareLineEnding = "bare-line-ending"
    /// It sent a command where that command has no place (RFC 5321 §4.1.4).
    case badOrder = "bad-order"
    /// It wrote a path without its angle brackets, or with a space before it (RFC 5321 §4.1.2).
    case pathSyntax = "path-syntax"
    /// It sent octets above 127 in the envelope without SMTPUTF8 (RFC 6531 §3).
    case eightBitEnvelope = "eight-bit-envelope"
    /// It sent commands that no mail server knows.
    case unknownCommand = "unknown-command"
    /// It writes to many mailboxes that do not exist.
    case unknownRecipients = "unknown-recipients"
    // What it calls itself.
    /// Its HELO name is an address, bare or in brackets.
    case heloIsAddress = "helo-is-address"
    /// Its HELO name is ours, or a domain that we receive for.
    case heloIsOurs = "helo-is-ours"
    /// Its HELO name has no address (RFC 5321 §4.1.4).
    case heloUnresolvable = "helo-unresolvable"
    /// Its HELO name leads to another address.
    case heloMismatch = "helo-mismatch"
    // Its reverse name.
    /// Its address has no name.
    case noReverseName = "no-reverse-name"
    /// Its name does not lead back to it.
    case unconfirmedName = "unconfirmed-name"
    /// Its name is one that a provider gives to lines of consumers.
    case genericName = "generic-name"
    // The sender.
    /// The sender's domain has neither MX nor address: nobody could answer (RFC 5321 §5.1).
    case senderDomain = "sender-domain"
    /// The sender's domain says that it takes no mail (RFC 7505 §4.2).
    case senderNullMX = "sender-null-mx"
    case spfFail = "spf-fail"
    case spfSoftfail = "spf-softfail"
    case spfPermerror = "spf-permerror"
    // Lists and registries.
    /// DNS lists: each zone has a weight of its own, this check's mode is for all of them.
    case dnsLists = "dns-lists"
    /// Countries: each has a weight of its own.
    case country
    /// Network owners: each has a weight of its own.
    case asNumber = "as-number"
    // Our own harvest.
    /// It touched only what no mail server would, or wrote to a trap.
    case harvestedBlack = "harvested-black"
    /// It behaves oddly at traps.
    case harvestedBrown = "harvested-brown"
    /// It sends wanted mail, and mail to traps.
    case harvestedYellow = "harvested-yellow"
    /// It sends wanted mail, again and again.
    case harvestedWhite = "harvested-white"

    /// What it adds by default, and why that much. 5 and more is slowed, 10 and more refused (`Bands`).
    public var defaultSetting: CheckSetting {
        switch self {
        // No mail server does this; a few appliances do.
        case .earlyTalk: CheckSetting(score: 5)
        // Real, rare, and mostly old in-house senders.
        case .pipelining: CheckSetting(score: 4)
        // Many honest but badly set up hosts greet with an odd name.
        case .heloSyntax: CheckSetting(score: 2)
        case .nonSMTP: CheckSetting(score: 10)
        // Some home-grown senders do it; smuggling begins with it.
        case .bareLineEnding: CheckSetting(score: 2)
        case .badOrder: CheckSetting(score: 1)
        case .pathSyntax: CheckSetting(score: 1)
        case .eightBitEnvelope: CheckSetting(score: 2)
        case .unknownCommand: CheckSetting(score: 1)
        // Counted from the third on: a person may mistype two.
        case .unknownRecipients: CheckSetting(score: 3)
        // Mail servers have names; so do most appliances. RFC 5321 §4.1.3 allows a literal where there is none. Measured: docs/tuning.md.
        case .heloIsAddress: CheckSetting(score: 3)
        // Nobody but us is us; a well-known trick to look local.
        case .heloIsOurs: CheckSetting(score: 5)
        // Common among honest but badly set up hosts.
        case .heloUnresolvable: CheckSetting(score: 1)
        // Hosts behind several addresses do it all the time.
        case .heloMismatch: CheckSetting(score: 0.5)
        // Large receivers refuse such clients outright, so few mail servers are left that have none.
        case .noReverseName: CheckSetting(score: 2)
        case .unconfirmedName: CheckSetting(score: 1)
        // Most bots; some small businesses' own servers.
        case .genericName: CheckSetting(score: 2)
        case .senderDomain: CheckSetting(score: 3)
        case .senderNullMX: CheckSetting(score: 4)
        // Forwarders that do not rewrite break SPF, so it cannot weigh as much as a listing.
        case .spfFail: CheckSetting(score: 3)
        case .spfSoftfail: CheckSetting(score: 1)
        case .spfPermerror: CheckSetting(score: 0.5)
        // Slowed and greylisted, and refused with any other bad sign; never alone: addresses change hands.
        case .harvestedBlack: CheckSetting(score: 7)
        // Suspected: greylisted.
        case .harvestedBrown: CheckSetting(score: 2)
        // Its address says nothing of a message.
        case .harvestedYellow: CheckSetting(score: 0)
        // Not as much as a list of the good, since it says nothing of this sender.
        case .harvestedWhite: CheckSetting(score: -2)
        // Nothing of their own.
        case .dnsLists, .country, .asNumber: CheckSetting(score: 0)
        }
    }
}

/// How one check acts.
public struct CheckSetting: Equatable, Sendable {
    public var mode: Mode
    /// -100...100.
    public var score: Double

    public init(mode: Mode = .on, score: Double) {
        self.mode = mode
        self.score = score
    }
}

/// What a score leads to.
public struct Bands: Equatable, Sendable {
    /// Up to here, as on a list of the good, the unknown are not greylisted in either profile.
    public var pass = -3.0
    /// From here on `selective` greylists the unknown; below it they are clean, where there is evidence for them.
    public var greylist = 1.0
    /// From here on replies are sent byte by byte.
    public var slow = 5.0
    /// From here on recipients are refused with 554.
    public var reject = 10.0

    public init() {}

    /// Which band a score lies in, from the kindest, 0, up: two scores of one band lead to one verdict.
    public func band(of score: Double) -> Int {
        let score = score.asScore
        if score <= pass { return 0 }
        return 1 + [greylist, slow, reject].count { score >= $0 }
    }
}

extension Double {
    /// A sum of scores, to a millionth: 0.7 and 0.1 are 0.8, and not what binary fractions make of them.
    public var asScore: Double { (self * 1_000_000).rounded() / 1_000_000 }
}

/// Pauses that cost a person nothing and a bot much. A policy service never makes one: it would pin a process of the
/// mail server. All stay far below the client timeouts of RFC 5321 §4.5.3.2.
public struct DelaySettings: Equatable, Sendable {
    public enum Greeting: Equatable, Sendable {
        case fixed(WallTime.Span)
        /// As long as things are quiet, up to `DelaySettings.longestGreeting`; shorter the more sessions there are.
        case auto
    }

    public static let longestGreeting = WallTime.Span.seconds(20)

    /// Before the greeting. Whoever talks in that time is dropped. None for proven, allowed and local clients.
    public var greeting = Greeting.fixed(.seconds(5))
    /// Before each reply to HELO, MAIL and RCPT.
    public var stage = WallTime.Span.zero
    /// Before each deferral.
    public var deferral = WallTime.Span.zero
    /// Before the first acceptance of a sender that was deferred.
    public var firstPass = WallTime.Span.zero
    /// Before the acceptance of a clean client's first message (profile `selective`).
    public var clean = WallTime.Span.seconds(5)
    /// Between two bytes of a reply to a suspected client.
    public var stutter = WallTime.Span.milliseconds(500)

    public init() {}
}

import PosternCore
import PosternEngine

/// An answer of a DNS list, as a log or a table has it.
public struct RecordedListing: Hashable, Sendable {
    public var zone: String
    /// `nil` where it is only known that there was one.
    public var reply: IPAddress?

    public init(zone: String, reply: IPAddress? = nil) {
        self.zone = zone
        self.reply = reply
    }
}

/// What a log or a table tells of an attempt beyond client and envelope, as it was when the attempt was made. What is not
/// known is `nil` or empty, and that is not the same as an answer "no".
public struct AttemptEvidence: Equatable, Sendable {
    /// What SPF made of the sender, or of HELO for the null sender.
    public var spf: SPFFinding.Result?
    /// Whether an SPF pass tells who sends; `nil` where that is not known, and then it is taken to.
    public var spfIdentifies: Bool?
    /// What the reverse tree said, beside the client's confirmed name.
    public var reverseName: Findings.ReverseName?
    /// Where the HELO name led.
    public var helo: Findings.Resolution?
    /// Whether the sender's domain could take an answer.
    public var senderDomain: Findings.MailDomain?
    /// DNS lists that list the client; `nil` where none was asked, empty where some were asked and none lists it.
    public var listings: [RecordedListing]?
    /// postscreen's sum of the weights of DNS lists; 0 where it was asked for and stayed below the threshold.
    public var dnsRank: Int?
    /// ISO 3166-1 alpha-2, in upper case.
    public var country: String?
    /// The number of the autonomous system.
    public var network: UInt32?
    /// What the client did against the protocol, and how often.
    public var signals: [Check: Int] = [:]

    public init() {}

    public var isEmpty: Bool {
        spf == nil && listings == nil && dnsRank == nil && country == nil && network == nil && reverseName == nil && helo == nil
            && senderDomain == nil && signals.isEmpty
    }

    /// With what `other` knows beyond it.
    public func completed(by other: AttemptEvidence) -> AttemptEvidence {
        var result = self
        if spf == nil {
            result.spf = other.spf
            result.spfIdentifies = other.spfIdentifies
        }
        result.reverseName = reverseName ?? other.reverseName
        result.helo = helo ?? other.helo
        result.senderDomain = senderDomain ?? other.senderDomain
        result.listings = listings ?? other.listings
        result.dnsRank = dnsRank ?? other.dnsRank
        result.country = country ?? other.country
        result.network = network ?? other.network
        result.signals.merge(other.signals) { mine, _ in mine }
        return result
    }
}

extension SPFFinding.Result {
    /// In either case; `nil` for another word.
    init?(_ bytes: Span<UInt8>, _ piece: Piece) {
        guard (4...9).contains(piece.count) else { return nil }
        self.init(rawValue: bytes.text(piece).lowercasedASCII)
    }
}

/// A cause as it is read back from the words of a recorded decision.
public struct RecordedCause: Equatable, Sendable {
    /// As `Cause.word`.
    public var word: String
    /// As `Cause.check`.
    public var check: String

    public init(_ word: String, _ check: String) {
        self.word = word
        self.check = check
    }

    public init(_ cause: Cause) {
        self.init(cause.word, cause.check)
    }

    /// The causes of a decision, the deciding one first, from the phrases that were recorded, joined by `; `. A phrase that is not
    /// known is `other`.
    public static func causes(ofReason reason: String) -> [RecordedCause] {
        pieces(ofReason: reason).map { RecordedCause(phrase: $0) }
    }

    /// The phrases that were recorded, the deciding one first.
    public static func phrases(ofReason reason: String) -> [String] { pieces(ofReason: reason).map(String.init) }

    private static func pieces(ofReason reason: String) -> [Substring] {
        var pieces: [Substring] = []
        var rest = reason[...]
        while !rest.isEmpty {
            let end = rest.firstRange(of: "; ")
            pieces.append(end.map { rest[..<$0.lowerBound] } ?? rest)
            rest = end.map { rest[$0.upperBound...] } ?? ""
        }
        return pieces
    }

    private static let beginnings: [(phrase: String, word: String, check: String)] = [
        ("first attempt", "new", "greylist"), ("back too early", "early", "greylist"), ("back in time", "passed", "greylist"),
        ("passed before", "known", "greylist"), ("deferred before, ", "waited", "greylist"),
        ("null sender is judged", "null-sender", "greylist"),
        ("nothing is checked", "stage", "stage"), ("authenticated as ", "authenticated", "authenticated"),
        ("client is in networks.local", "local", "local"), ("client is in networks.forwarders", "forwarder", "forwarder"),
        ("client is in networks.backup_mx", "backup-mx", "backup-mx"), ("postmaster and abuse", "always-reachable", "always-reachable"),
        ("the request names no client", "no-client-address", "no-client-address"), ("greylisting is off", "greylist-off", "greylist"),
        ("recipient is not greylisted", "opted-out", "greylist"), ("allowed: ", "allowed", "allow"), ("blocked: ", "blocked", "block"),
        ("released until ", "released", "release"), ("the score is as low", "well-listed", "score"), ("the score is ", "score", "score"),
        ("first message, and the evidence", "clean", "score"),
        ("client is trusted", "trusted", "trusted"), ("the account is suspended", "account-suspended", "accounts"),
        ("past account", "account-limit", "accounts"), ("past ", "throttle", "throttle"),
        ("shadow: would hold, past", "shadow-throttle", "throttle"), ("shadow: would defer, past", "shadow-throttle", "throttle"),
        ("shadow: would refuse at connect, past", "shadow-throttle", "throttle"),
        ("shadow: would reject, past", "shadow-throttle", "accounts"),
        ("the store is unavailable", "store-unavailable", "store"),
    ]

    init(phrase: some StringProtocol) {
        if let known = Self.beginnings.first(where: { phrase.hasPrefix($0.phrase) }) {
            self.init(known.word, known.check)
        } else if phrase.hasPrefix("shadow: would ") {
            self.init("shadow-\(phrase.dropFirst(14))", "greylist")
        } else if phrase.hasSuffix(" messages"), phrase.firstRange(of: " is proven by ") != nil {
            self.init("proven", "proven")
        } else if let check = Check(rawValue: String(phrase.prefix { $0 != " " })) {
            self.init(check.rawValue, check.rawValue)
        } else {
            self.init("other", "other")
        }
    }
}

/// One thing that is wrong with a domain's MX records, or worth knowing.
public struct Pitfall: Equatable, Sendable {
    public enum Severity: String, Comparable, CaseIterable, Sendable {
        case note
        /// Some senders have trouble with it, or something is gained by mending it.
        case warning
        /// Mail is lost or delayed.
        case error

        private var rank: Int { Self.allCases.firstIndex(of: self) ?? 0 }

        public static func < (a: Severity, b: Severity) -> Bool { a.rank < b.rank }
    }

    /// A word that stays the same from version to version.
    public enum Code: String, CaseIterable, Sendable {
        case lookupFailed = "lookup-failed"
        case noSuchDomain = "no-such-domain"
        case noMail = "no-mail"
        case implicit = "no-mx"
        case nullMX = "null-mx"
        case nullBesideOthers = "null-mx-beside-others"
        case tooMany = "too-many"
        case alias
        case literal
        case noAddress = "no-address"
        case specialAddress = "special-address"
        case noIPv4 = "no-ipv4"
        case sharedAddress = "shared-address"
        case repeatedHost = "repeated-host"
        case nobodyAnswers = "nobody-answers"
        case nobodyAccepts = "nobody-accepts"
        case firstTimesOut = "first-times-out"
        case firstDefers = "first-defers"
        case firstRejects = "first-rejects"
        case firstIsSilent = "first-is-silent"
        case sharedPreference = "dead-beside-living"
        case nolisting
        case down
        case lastRejects = "last-rejects"
        case lastAccepts = "last-accepts"
        case tarpit
        case fakeLast = "fake-last"
        case rejects
        case defers
        case foreignFake = "foreign-fake"
        case mixedAddresses = "mixed-addresses"
        case single
    }

    public var severity: Severity
    public var code: Code
    /// The MX record that it is about: its host; empty for the domain itself.
    public var host: String
    /// What is found.
    public var text: String
    /// What to do.
    public var advice: String

    public init(_ severity: Severity, _ code: Code, host: String = "", _ text: String, advice: String) {
        self.severity = severity
        self.code = code
        self.host = host
        self.text = text
        self.advice = advice
    }
}

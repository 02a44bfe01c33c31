import PosternCore

/// What was found out about where a domain takes its mail.
public struct Survey: Equatable, Sendable {
    /// What the DNS said to the question for MX records.
    public enum Records: Equatable, Sendable {
        case exchangers
        /// RFC 7505.
        case null
        /// No MX, but an address: that is where mail goes (RFC 5321 §5.1).
        case implicit
        /// Neither MX nor address.
        case none
        case noSuchDomain
        /// Nobody knows; why.
        case unknown(String)
    }

    public var domain: DomainName
    public var records: Records
    /// The most preferred first.
    public var exchangers: [Exchanger]
    /// Exchangers beyond what was looked at.
    public var leftOut = 0
    /// Whether hosts were connected to.
    public var connected: Bool

    public init(domain: DomainName, records: Records, exchangers: [Exchanger] = [], connected: Bool) {
        self.domain = domain
        self.records = records
        self.exchangers = exchangers
        self.connected = connected
    }
}

/// One MX record.
public struct Exchanger: Equatable, Sendable {
    public var preference: UInt16
    /// As the record has it, without the final dot; empty for the root.
    public var name: String
    /// Where an alias leads, if the name is one (RFC 2181 §10.3 forbids that).
    public var alias: String?
    public var addresses: [Host] = []
    /// Why its addresses are not known, where they are not.
    public var failure: String?
    /// Whether it belongs to the domain whose mail it takes: the organisational domains are the same.
    public var isOwn: Bool

    public init(preference: UInt16, name: String, alias: String? = nil, addresses: [Host] = [], failure: String? = nil, isOwn: Bool) {
        self.preference = preference
        self.name = name
        self.alias = alias
        self.addresses = addresses
        self.failure = failure
        self.isOwn = isOwn
    }
}

/// One address of an exchanger, and what answered there.
public struct Host: Equatable, Sendable {
    public var address: IPAddress
    /// What kind of address it is where it is not public.
    public var special: SpecialNetworks.Kind?
    /// `nil` where it was not connected to.
    public var behaviour: Behaviour?

    public init(_ address: IPAddress, special: SpecialNetworks.Kind? = nil, behaviour: Behaviour? = nil) {
        self.address = address
        self.special = special
        self.behaviour = behaviour
    }
}

/// How a host treats a stranger who wants to write to postmaster, up to RCPT, or to DATA where that was tried.
public enum Behaviour: Equatable, Sendable {
    /// The port is closed: the connection was refused at once.
    case refuses
    /// No answer to the connection in time.
    case timesOut
    /// The system says that there is no way there.
    case unreachable(String)
    /// Connected, and no greeting came in time; or a reply later did not.
    case silent(after: Stage)
    /// A reply comes byte by byte and does not end in time, as a tarpit's.
    case drips(after: Stage)
    /// It closed the connection without a reply.
    case hangsUp(after: Stage)
    /// What it said is not SMTP.
    case notSMTP(String)
    /// 4xx.
    case defers(Stage, code: Int, text: String)
    /// 5xx.
    case rejects(Stage, code: Int, text: String)
    /// It would take mail for postmaster.
    case accepts

    /// The command that was answered.
    public enum Stage: String, Equatable, Sendable {
        case connect
        case greeting
        case ehlo
        case mail
        case rcpt
        case data
    }

    /// Whether it takes part in SMTP at all.
    public var answers: Bool {
        switch self {
        case .refuses, .timesOut, .unreachable, .silent, .drips, .hangsUp, .notSMTP: false
        case .defers, .rejects, .accepts: true
        }
    }

    /// For people.
    public var text: String {
        switch self {
        case .refuses: "refuses connections (port closed)"
        case .timesOut: "does not answer: the connection times out"
        case .unreachable(let why): "cannot be reached: \(why)"
        case .silent(let stage):
            stage == .connect ? "takes the connection, but sends no greeting" : "does not reply to \(stage.rawValue.uppercased())"
        case .drips(let stage):
            "answers \(stage == .connect ? "the connection" : stage.rawValue.uppercased()) byte by byte, and without end: a tarpit"
        case .hangsUp(let stage): "hangs up after \(stage == .connect ? "the connection" : stage.rawValue.uppercased())"
        case .notSMTP(let text): "does not speak SMTP: \(text)"
        case .defers(let stage, let code, let text): "defers at \(stage.rawValue): \(code) \(text)"
        case .rejects(let stage, let code, let text): "rejects at \(stage.rawValue): \(code) \(text)"
        case .accepts: "takes mail"
        }
    }

    /// One word.
    public var name: String {
        switch self {
        case .refuses: "refuses"
        case .timesOut: "times-out"
        case .unreachable: "unreachable"
        case .silent: "silent"
        case .drips: "drips"
        case .hangsUp: "hangs-up"
        case .notSMTP: "not-smtp"
        case .defers: "defers"
        case .rejects: "rejects"
        case .accepts: "accepts"
        }
    }
}

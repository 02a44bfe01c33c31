import PosternCore

/// Records to publish, so that bots go astray and mail does not.
public struct MXPlan: Equatable, Sendable {
    public struct Record: Equatable, Sendable {
        public var name: String
        /// `MX`, `A` or `AAAA`.
        public var type: String
        /// As it is written in a zone file.
        public var value: String
        public var purpose: String
        /// Of nolisting, which shuts some senders out.
        public var isOptional: Bool
    }

    public var domain: DomainName
    public var records: [Record]
    public var warnings: [String]
    public var steps: [String]

    /// Who is known to fail where the first MX is closed.
    public static let failingSenders = [
        "programs on JavaMail, and scripts that speak SMTP themselves, try the first MX only",
        "qmail never goes on to the next MX after a 4xx, so that the first must refuse the connection, not answer",
        "monitors and address checkers that connect to the first MX call the domain dead",
        "each honest sender makes one more connection for each message",
    ]

    /// What stands for an address that the admin has to fill in.
    public static let closedPlaceholder = "ADDRESS-WITH-PORT-25-CLOSED"
    public static let trapPlaceholder = "ADDRESS-OF-THE-TRAP"

    static let spacing: UInt16 = 10

    /// - Parameters:
    ///   - real: the hosts that take mail, the most preferred first.
    ///   - isPublished: whether those are only the hosts of the records that the domain has now: whether they take mail nobody knows.
    ///   - closed: a public address of the admin's with port 25 closed.
    ///   - trap: a public address at which Postern's trap listens.
    public init(domain: DomainName, real: [String], isPublished: Bool = false, closed: IPAddress?, trap: IPAddress?) {
        self.domain = domain
        let zone = "\(domain)."
        var records: [Record] = []
        func add(_ name: String, _ type: String, _ value: String, _ purpose: String, optional: Bool = false) {
            records.append(Record(name: name, type: type, value: value, purpose: purpose, isOptional: optional))
        }
        func address(_ host: String, _ address: IPAddress?, _ placeholder: String, _ purpose: String, optional: Bool = false) {
            add(host, address?.family == .v6 ? "AAAA" : "A", address.map { "\($0)" } ?? placeholder, purpose, optional: optional)
        }
        add(zone, "MX", "\(Self.spacing) mx0.\(zone)", "nolisting: most bots try the first only", optional: true)
        address(
            "mx0.\(zone)", closed, Self.closedPlaceholder, "a host of yours that refuses connections to port 25 at once", optional: true)
        for (index, host) in real.enumerated() {
            add(
                zone, "MX", "\(UInt16(index + 2) * Self.spacing) \(host).",
                isPublished ? "published now; name those that take mail with --real" : "takes the mail")
        }
        add(zone, "MX", "\(UInt16(real.count + 9) * Self.spacing) mx9.\(zone)", "fake: defers always; bots try the last first")
        address("mx9.\(zone)", trap, Self.trapPlaceholder, "where a listener with role: trap answers")
        self.records = records
        warnings = Self.failingSenders.map { "nolisting: \($0)" }
        if isPublished {
            warnings.append(
                "the hosts above are those of the MX records that there are now, and nobody was asked whether they take mail: leave out what is closed or fake already (postern mx check \(domain) tells), and name the rest with --real"
            )
        }
        warnings += [
            "the closed host must refuse (TCP reset). One that does not answer costs every sender minutes, and TEST-NET, private or link-local addresses make some sites refuse your mail",
            "never point the fake MX at a host of somebody else's: they would learn who writes to you, and could take or lose the mail",
            "the fake MX must never answer 5xx, and must not be reachable for anybody who submits mail",
        ]
        steps = [
            "lower the time to live of the MX records to an hour, and wait until the old one has passed",
            "start the trap, and see that it defers: swaks --to postmaster@\(domain) --server mx9.\(domain) --quit-after RCPT",
            "publish the fake last MX, and run postern mx check \(domain) from outside your network",
            "after a week without complaints publish the closed first one, if you want it; watch for senders that stay away",
        ]
    }

    /// As lines of a zone file.
    public var zoneFile: [String] {
        let width = records.map(\.name.utf8.count).max() ?? 0
        return records.map { record in
            let line =
                "\(record.name)\(String(repeating: " ", count: width - record.name.utf8.count)) 3600 IN \(record.type) \(record.value)"
            return "\(line)  ; \(record.isOptional ? "optional, " : "")\(record.purpose)"
        }
    }
}

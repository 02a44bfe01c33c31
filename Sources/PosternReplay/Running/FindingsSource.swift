import PosternCore
import PosternEngine

/// Where the findings of an attempt come from: what DNS said of it, and which country it is from.
///
/// Attempts are announced in batches, so that a source which asks others can ask for all of them at once; then each is asked for
/// by itself, and must be answered at once. Live resolvers are one source more.
public protocol FindingsSource: Sendable {
    /// In words, for the report.
    var name: String { get }
    /// Gathers what will be asked for. May take its time.
    func prepare(_ attempts: [LoggedAttempt], for settings: EngineSettings) async
    /// What is known of an attempt. `client` is who makes it: a retry may come from another address. Called for retries too.
    func findings(for attempt: LoggedAttempt, client: Client) -> Findings
    /// Whether anything is known of an attempt.
    func knows(_ attempt: LoggedAttempt) -> Bool
}

extension FindingsSource {
    public func prepare(_ attempts: [LoggedAttempt], for settings: EngineSettings) async {}
}

/// Where addresses are registered, and in whose network they are.
public protocol AddressRegistry: Sendable {
    func country(of address: IPAddress) -> String?
    func owner(of address: IPAddress) -> NetworkOwner?
}

/// What the logs and tables themselves tell, and a table of evidence beside them.
public struct RecordedFindings: FindingsSource {
    private let table: EvidenceTable?
    private let lists: RecordedLists
    /// What is asked for a client's country and network where neither logs nor tables tell them.
    public var registry: (any AddressRegistry)?

    /// `lists` say what a listing adds to the score. Where postscreen's rank is known and none of the lists that make it up has a weight,
    /// the rank is taken for the score.
    public init(table: EvidenceTable? = nil, lists: RecordedLists = RecordedLists()) {
        self.table = table
        self.lists = lists
    }

    public var name: String {
        let own = "columns of the tables, and lines of postscreen, dnsblog and SPF policy services in the logs"
        let told = table.map { "\(own); then \($0.name)" } ?? own
        return registry == nil ? told : "\(told); then countries and networks from geo.databases as they are now"
    }

    /// All that is recorded of an attempt.
    func evidence(for attempt: LoggedAttempt) -> AttemptEvidence {
        table.map { attempt.evidence.completed(by: $0.evidence(for: attempt)) } ?? attempt.evidence
    }

    public func knows(_ attempt: LoggedAttempt) -> Bool { !evidence(for: attempt).isEmpty }

    public func findings(for attempt: LoggedAttempt, client: Client) -> Findings {
        var findings = Findings()
        if let registry, let address = client.address {
            findings.country = registry.country(of: address)
            findings.network = registry.owner(of: address)
        }
        return completed(findings, for: attempt, client: client)
    }

    /// `findings` with what is recorded in place of what they say.
    public func completed(_ findings: Findings, for attempt: LoggedAttempt, client: Client) -> Findings {
        let evidence = evidence(for: attempt)
        guard !evidence.isEmpty else { return findings }
        var findings = findings
        if let result = evidence.spf {
            // RFC 7208 §2.4: HELO stands in for the null sender. What a recorded pass rests on is not known: it is taken to tell who sends.
            let domain = attempt.sender.mailbox.map(\.domainName) ?? DomainName(client.helo)
            findings.spf = SPFFinding(result, domain: domain, identifies: result == .pass && evidence.spfIdentifies ?? true)
        }
        if let name = evidence.reverseName { findings.reverseName = name }
        if let helo = evidence.helo { findings.helo = helo }
        if let domain = evidence.senderDomain { findings.senderDomain = domain }
        if evidence.listings != nil || evidence.dnsRank != nil {
            let word = lists.word(of: evidence.listings ?? [])
            // Lists that refused the question did not answer it, though postscreen may have counted their replies.
            if word.answered > 0 || word.failed == 0 {
                findings.listsAnswered = 1
                findings.listings = word.listings
            }
            if word.listings.isEmpty, word.failed == 0, let rank = evidence.dnsRank, rank != 0 {
                findings.listings = [Listing(list: "postscreen", score: Double(rank), reply: "rank \(rank)")]
            }
        }
        if let country = evidence.country { findings.country = country }
        if let network = evidence.network { findings.network = NetworkOwner(number: network, name: "") }
        return findings
    }
}

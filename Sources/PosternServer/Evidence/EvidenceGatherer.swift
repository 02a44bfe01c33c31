import DNSProtocol
import NIOConcurrencyHelpers
import PosternCore
import PosternEngine
import PosternResolver
import enum SMTPProtocol.XClientValue

/// Whatever is asked about a client of the DNS and of local databases, for one decision at a time.
public final class EvidenceGatherer: EvidenceSource {
    let resolver: Resolver
    public let health: ResolverHealth
    let lists: (any ListAsking)?
    let networks: (any NetworkLookUp)?
    private let recent = RecentFindings(capacity: 65_536, lifetime: .minutes(1))
    private let settings: NIOLockedValueBox<Settings>
    public let counters = EvidenceCounters()

    public struct Settings: Sendable {
        /// For all look-ups of one decision together.
        public var timeout: WallTime.Span
        /// Our name, for SPF's `%{r}`.
        public var hostname: String

        public init(timeout: WallTime.Span, hostname: String) {
            self.timeout = timeout
            self.hostname = hostname
        }
    }

    public init(
        resolver: Resolver, health: ResolverHealth, lists: (any ListAsking)? = nil, networks: (any NetworkLookUp)? = nil,
        settings: Settings
    ) {
        self.resolver = resolver
        self.health = health
        self.lists = lists
        self.networks = networks
        self.settings = NIOLockedValueBox(settings)
    }

    public func update(_ settings: Settings) {
        self.settings.withLockedValue { $0 = settings }
        recent.forget()
    }

    /// Asks, and takes note of whether anybody answers.
    func ask(_ question: Question, deadline: Deadline, completion: @escaping @Sendable (Answer) -> Void) {
        resolver.ask(question, deadline: deadline) { [health] answer in
            health.note(answer)
            completion(answer)
        }
    }

    public func country(of address: IPAddress) -> String? { networks?.country(of: address) }

    /// The reverse name of an address that leads back to it. That there is none is only said where the DNS has said so.
    public func confirmedName(of address: IPAddress) async -> XClientValue<DomainName> {
        guard health.answers else { return .temporarilyUnavailable }
        let deadline = Deadline.after(settings.withLockedValue { $0.timeout })
        return await withCheckedContinuation { continuation in
            ReverseName.find(address, asking: self, deadline: deadline) { name in
                let found: XClientValue<DomainName> =
                    switch name {
                    case .confirmed(let name): .known(name)
                    case .none, .unconfirmed: .unavailable
                    case .unknown: .temporarilyUnavailable
                    }
                continuation.resume(returning: found)
            }
        }
    }

    public func known(_ attempt: Attempt) -> Findings? {
        guard let key = RecentFindings.Key(attempt), let findings = recent.find(key) else { return nil }
        counters.known.increase()
        return findings
    }

    public func gather(_ attempt: Attempt, for engine: EngineSettings, completion: @escaping @Sendable (Findings) -> Void) {
        gather(attempt, for: engine, waitsForAll: false, completion: completion)
    }

    public func gatherAll(_ attempt: Attempt, for engine: EngineSettings, completion: @escaping @Sendable (Findings) -> Void) {
        gather(attempt, for: engine, waitsForAll: true, completion: completion)
    }

    private func gather(
        _ attempt: Attempt, for engine: EngineSettings, waitsForAll: Bool, completion: @escaping @Sendable (Findings) -> Void
    ) {
        guard let address = attempt.client.address else { return completion(Findings()) }
        counters.gathered.increase()
        var findings = Findings()
        if let networks {
            findings.country = networks.country(of: address)
            findings.network = networks.owner(of: address)
        }
        // Where nobody answers nobody waits, nor where the mail server is short of processes.
        guard health.answers, !attempt.stressed else {
            // Where nobody is to be asked, that is all there is.
            if !resolver.servers.isEmpty { counters.partial.increase() }
            return completion(findings)
        }
        let settings = settings.withLockedValue { $0 }
        let gathering = Gathering(
            attempt: attempt, address: address, engine: engine, deadline: .after(settings.timeout), hostname: settings.hostname,
            findings: findings, waitsForAll: waitsForAll
        ) { [recent, counters] findings, isWhole in
            if isWhole, let key = RecentFindings.Key(attempt) { recent.keep(findings, for: key) }
            if !isWhole { counters.partial.increase() }
            completion(findings)
        }
        gathering.start(self)
    }
}

/// DNS lists, as the gatherer asks them.
public protocol ListAsking: Sendable {
    /// Asks every list that is in use. `each` is called once for each question, on any thread, with the question's place in what
    /// is returned: the least and the most that each can add.
    func ask(about subjects: ListSubjects, deadline: Deadline, each: @escaping @Sendable (Int, ListOutcome) -> Void) -> [ClosedRange<
        Double
    >]
}

/// What one list said.
public enum ListOutcome: Equatable, Sendable {
    case listed(Listing)
    case notListed
    /// No answer, or none that can be believed.
    case silent
}

/// Where addresses are registered, and whose they are.
public protocol NetworkLookUp: Sendable {
    func country(of address: IPAddress) -> String?
    func owner(of address: IPAddress) -> NetworkOwner?
}

/// How evidence was come by.
public final class EvidenceCounters: Sendable {
    /// Decisions for which all was known from the last minute.
    public let known = Count()
    /// Decisions for which something was asked.
    public let gathered = Count()
    /// Of those, the ones that were decided without some of it.
    public let partial = Count()

    public final class Count: Sendable {
        private let box = NIOLockedValueBox(UInt64(0))

        public var value: UInt64 { box.withLockedValue { $0 } }
        func increase() { box.withLockedValue { $0 += 1 } }
    }
}

import DNSProtocol
import NIOConcurrencyHelpers
import PosternCore
import PosternEngine
import PosternResolver
import SPF

/// One decision's look-ups while they are under way.
final class Gathering: Sendable {
    /// What may be waited for, beside lists.
    private struct Part: OptionSet {
        let rawValue: UInt8
        static let reverseName = Part(rawValue: 1)
        static let helo = Part(rawValue: 2)
        static let senderDomain = Part(rawValue: 4)
        static let spf = Part(rawValue: 8)
    }

    private struct State {
        var findings: Findings
        var awaited: Part
        /// What each list that has not answered can add.
        var lists: [Int: ClosedRange<Double>] = [:]
        /// Lists that answered before it was known how many there are.
        var early: [Int: ListOutcome] = [:]
        var listsAreAsked = false
        var failed = false
        var completion: (@Sendable (Findings, Bool) -> Void)?
    }

    private let attempt: Attempt
    private let address: IPAddress
    private let engine: EngineSettings
    private let deadline: Deadline
    private let hostname: String
    private let state: NIOLockedValueBox<State>

    /// - Parameter completion: Called once; with `true` where every question was answered.
    init(
        attempt: Attempt, address: IPAddress, engine: EngineSettings, deadline: Deadline, hostname: String, findings: Findings,
        completion: @escaping @Sendable (Findings, Bool) -> Void
    ) {
        self.attempt = attempt
        self.address = address
        self.engine = engine
        self.deadline = deadline
        self.hostname = hostname
        state = NIOLockedValueBox(
            State(findings: findings, awaited: [.reverseName, .helo, .senderDomain, .spf], completion: completion))
    }

    func start(_ gatherer: EvidenceGatherer) {
        findReverseName(gatherer)
        findHelo(gatherer)
        findSenderDomain(gatherer)
        checkSPF(gatherer)
        askLists(gatherer.lists)
    }

    /// Notes something, and ends where nothing is left to wait for.
    private func note(_ part: Part, failed: Bool = false, _ change: (inout Findings) -> Void) {
        finish { state in
            change(&state.findings)
            state.awaited.remove(part)
            if failed { state.failed = true }
        }
    }

    private func finish(_ change: (inout State) -> Void) {
        let end: (() -> Void)? = state.withLockedValue { state in
            guard state.completion != nil else { return nil }
            change(&state)
            guard state.listsAreAsked, state.awaited.isEmpty, state.lists.isEmpty || cannotChange(state) else { return nil }
            guard let completion = state.completion else { return nil }
            state.completion = nil
            let (findings, isWhole) = (state.findings, state.lists.isEmpty && !state.failed)
            return { completion(findings, isWhole) }
        }
        end?()
    }

    /// Whether the lists that have not answered can no longer move the score into another band.
    private func cannotChange(_ state: State) -> Bool {
        // A clean client is one that a list was asked about.
        guard state.findings.listsAnswered > 0 || engine.profile == .classic else { return false }
        guard engine.setting(of: .dnsLists).mode == .on else { return true }
        let score = engine.assess(attempt, state.findings).score
        let least = state.lists.values.reduce(score) { $0 + min($1.lowerBound, 0) }
        let most = state.lists.values.reduce(score) { $0 + max($1.upperBound, 0) }
        return engine.bands.band(of: least) == engine.bands.band(of: most)
    }

    // MARK: - Names

    private func findReverseName(_ gatherer: EvidenceGatherer) {
        let client = attempt.client
        if let name = client.confirmedName { return note(.reverseName) { $0.reverseName = .confirmed(name) } }
        // Whoever asks us has looked already.
        if client.reverseName != .unknown { return note(.reverseName) { $0.reverseName = client.reverseName } }
        ReverseName.find(address, asking: gatherer, deadline: deadline) { [self] name in
            note(.reverseName, failed: name == .unknown) { $0.reverseName = name }
        }
    }

    private func findHelo(_ gatherer: EvidenceGatherer) {
        let helo = attempt.client.helo
        guard let name = DomainName(helo), IPAddress(helo) == nil, helo.utf8.first != UInt8(ascii: "["), let asked = DNSName(helo) else {
            return note(.helo) { _ in }
        }
        if name == attempt.client.confirmedName { return note(.helo) { $0.helo = .client } }
        addresses(of: asked, gatherer) { [self] answer in
            note(.helo, failed: answer == nil) { findings in
                guard let answer else { return }
                findings.helo = answer.isEmpty ? .none : answer.contains(address) ? .client : .elsewhere
            }
        }
    }

    /// Both families' addresses; `nil` where nobody knows.
    private func addresses(of name: DNSName, _ gatherer: EvidenceGatherer, completion: @escaping @Sendable ([IPAddress]?) -> Void) {
        let (own, other): (RecordType, RecordType) = address.family == .v4 ? (.a, .aaaa) : (.aaaa, .a)
        gatherer.ask(Question(name, own), deadline: deadline) { [deadline] first in
            if !first.addresses.isEmpty || first.outcome == .noSuchDomain { return completion(first.addresses) }
            guard first.isConclusive else { return completion(nil) }
            gatherer.ask(Question(name, other), deadline: deadline) { completion($0.isConclusive ? $0.addresses : nil) }
        }
    }

    // MARK: - The sender

    private func findSenderDomain(_ gatherer: EvidenceGatherer) {
        guard let domain = attempt.sender.mailbox?.domainName else { return note(.senderDomain) { _ in } }
        let name = DNSName(domain)
        gatherer.ask(Question(name, .mx), deadline: deadline) { [self] answer in
            switch answer.outcome {
            case .records:
                // RFC 7505 §3: one MX, preference 0, the root.
                let isNull = answer.exchanges.count == 1 && answer.exchanges[0].host.isRoot
                note(.senderDomain) { $0.senderDomain = isNull ? .nullMX : .reachable }
            case .noSuchDomain: note(.senderDomain) { $0.senderDomain = .none }
            case .failure: note(.senderDomain, failed: true) { _ in }
            case .noData:
                // RFC 5321 §5.1: without an MX the address will do.
                addresses(of: name, gatherer) { [self] addresses in
                    note(.senderDomain, failed: addresses == nil) { findings in
                        if let addresses { findings.senderDomain = addresses.isEmpty ? .none : .reachable }
                    }
                }
            }
        }
    }

    private func checkSPF(_ gatherer: EvidenceGatherer) {
        guard attempt.sender.mailbox != nil || DomainName(attempt.client.helo) != nil else { return note(.spf) { _ in } }
        Task { [self] in
            var settings = SPFSettings()
            settings.explains = false
            let outcome = await SPFCheck.mailFrom(
                attempt.sender, helo: attempt.client.helo, address: address, receiver: hostname, time: SystemClocks.wall(),
                settings: settings, resolver: SPFLookups(gatherer.resolver, deadline: deadline))
            note(.spf, failed: outcome.result == .temperror) { $0.spf = SPFFinding(outcome) }
        }
    }

    // MARK: - Lists

    private func askLists(_ lists: (any ListAsking)?) {
        let ranges =
            lists?.ask(about: address, domain: attempt.sender.mailbox?.domainName, deadline: deadline) { [self] index, outcome in
                finish { state in
                    guard state.listsAreAsked else {
                        state.early[index] = outcome
                        return
                    }
                    Self.note(outcome, of: index, &state)
                }
            } ?? []
        finish { state in
            state.listsAreAsked = true
            for (index, range) in ranges.enumerated() { state.lists[index] = range }
            for (index, outcome) in state.early { Self.note(outcome, of: index, &state) }
            state.early = [:]
        }
    }

    private static func note(_ outcome: ListOutcome, of index: Int, _ state: inout State) {
        guard state.lists.removeValue(forKey: index) != nil else { return }
        switch outcome {
        case .listed(let listing):
            state.findings.listsAnswered += 1
            state.findings.listings.append(listing)
        case .notListed: state.findings.listsAnswered += 1
        case .silent:
            state.findings.listsSilent += 1
            state.failed = true
        }
    }
}

/// The reverse name of an address, and whether it leads back (RFC 8601 §3: "iprev").
enum ReverseName {
    /// More names than this are not looked at (RFC 7208 §4.6.4 has the same bound).
    private static let mostNames = 10

    /// Calls `completion` once: by the deadline, with `.unknown` where the DNS did not say.
    static func find(
        _ address: IPAddress, asking gatherer: EvidenceGatherer, deadline: Deadline,
        completion: @escaping @Sendable (Findings.ReverseName) -> Void
    ) {
        gatherer.ask(Question(ListName.pointer(address), .ptr), deadline: deadline) { answer in
            guard answer.isConclusive else { return completion(.unknown) }
            let names = answer.names.prefix(mostNames).compactMap { name in name.domainName.map { (name, $0) } }
            confirm(names[...], failed: false, address, gatherer, deadline, completion)
        }
    }

    /// The first of the names that leads back; one after the other, since hosts with several names are few.
    private static func confirm(
        _ names: ArraySlice<(DNSName, DomainName)>, failed: Bool, _ address: IPAddress, _ gatherer: EvidenceGatherer, _ deadline: Deadline,
        _ completion: @escaping @Sendable (Findings.ReverseName) -> Void
    ) {
        guard let (asked, name) = names.first else { return completion(failed ? .unknown : .none) }
        gatherer.ask(Question(asked, address.family == .v4 ? .a : .aaaa), deadline: deadline) { answer in
            if answer.addresses.contains(address) { return completion(.confirmed(name)) }
            let failed = failed || !answer.isConclusive
            let rest = names.dropFirst()
            if rest.isEmpty { return completion(failed ? .unknown : .unconfirmed(name)) }
            confirm(rest, failed: failed, address, gatherer, deadline, completion)
        }
    }
}

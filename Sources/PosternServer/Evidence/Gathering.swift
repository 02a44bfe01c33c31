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

    /// One question to a list. The second round is about what the first look-ups told.
    private struct ListPlace: Hashable {
        var round: Int
        var index: Int
    }

    private struct State {
        var findings: Findings
        var awaited: Part
        /// What each list that has not answered can add.
        var lists: [ListPlace: ClosedRange<Double>] = [:]
        /// Lists that answered before it was known how many there are.
        var early: [ListPlace: ListOutcome] = [:]
        /// Rounds of questions to lists that are not all put yet.
        var roundsToAsk = 1
        var failed = false
        var completion: (@Sendable (Findings, Bool) -> Void)?
    }

    private let attempt: Attempt
    private let address: IPAddress
    private let engine: EngineSettings
    private let deadline: Deadline
    private let hostname: String
    /// Also for what can no longer change the verdict.
    private let waitsForAll: Bool
    private let state: NIOLockedValueBox<State>

    /// - Parameter completion: Called once; with `true` where every question was answered.
    init(
        attempt: Attempt, address: IPAddress, engine: EngineSettings, deadline: Deadline, hostname: String, findings: Findings,
        waitsForAll: Bool = false, completion: @escaping @Sendable (Findings, Bool) -> Void
    ) {
        self.attempt = attempt
        self.address = address
        self.engine = engine
        self.deadline = deadline
        self.hostname = hostname
        self.waitsForAll = waitsForAll
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
            guard state.roundsToAsk == 0, state.awaited.isEmpty, state.lists.isEmpty || !waitsForAll && cannotChange(state) else {
                return nil
            }
            guard let completion = state.completion else { return nil }
            state.completion = nil
            let (findings, isWhole) = (state.findings, state.lists.isEmpty && !state.failed)
            return { completion(findings, isWhole) }
        }
        end?()
    }

    /// Whether the lists that have not answered can no longer change the verdict's band.
    private func cannotChange(_ state: State) -> Bool {
        guard engine.setting(of: .dnsLists).mode == .on else { return true }
        var findings = state.findings
        let isWithoutList = findings.listsAnswered == 0
        findings.listsAnswered = max(findings.listsAnswered, 1)
        let assessment = engine.assess(attempt, findings)
        let least = state.lists.values.reduce(assessment.score) { $0 + min($1.lowerBound, 0) }
        let most = state.lists.values.reduce(assessment.score) { $0 + max($1.upperBound, 0) }
        guard engine.bands.band(of: least) == engine.bands.band(of: most) else { return false }
        // A clean client is one that a list was asked about: for whoever could be clean, one answer is worth waiting for.
        let couldBeClean =
            engine.profile == .selective && assessment.hasEvidence && assessment.score < engine.bands.greylist
            && assessment.score > engine.bands.pass
        return !(isWithoutList && couldBeClean)
    }

    // MARK: - Names

    private func findReverseName(_ gatherer: EvidenceGatherer) {
        let client = attempt.client
        if let name = client.confirmedName { return noteReverseName(.confirmed(name), gatherer.lists) }
        // Whoever asks us has looked already.
        if client.reverseName != .unknown { return noteReverseName(client.reverseName, gatherer.lists) }
        ReverseName.find(address, asking: gatherer, deadline: deadline) { [self, lists = gatherer.lists] name in
            noteReverseName(name, lists)
        }
    }

    private func noteReverseName(_ name: Findings.ReverseName, _ lists: (any ListAsking)?) {
        // A name that does not lead back may be anybody's: nobody is judged by it.
        if case .confirmed(let name) = name { askListsAboutName(name, lists) }
        note(.reverseName, failed: name == .unknown) { $0.reverseName = name }
    }

    private func findHelo(_ gatherer: EvidenceGatherer) {
        let helo = attempt.client.helo
        guard let name = DomainName(helo), let asked = heloDomain else { return note(.helo) { _ in } }
        if name == attempt.client.confirmedName { return note(.helo) { $0.helo = .client } }
        addresses(of: DNSName(asked), gatherer) { [self] answer in
            note(.helo, failed: answer == nil) { findings in
                guard let answer else { return }
                findings.helo = answer.isEmpty ? .none : answer.contains(address) ? .client : .elsewhere
            }
        }
    }

    /// What the client calls itself, as the DNS would have it.
    private var heloDomain: DomainName? {
        let helo = attempt.client.helo
        guard IPAddress(helo) == nil, helo.utf8.first != UInt8(ascii: "[") else { return nil }
        return DomainName(helo)?.asciiForm
    }

    /// The sender's domain, as the DNS has it (RFC 8616 §4, RFC 6531 §3.2: U-labels are looked up as A-labels).
    private var senderDomain: DomainName? { attempt.sender.mailbox?.domainName?.asciiForm }

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
        guard let domain = senderDomain else { return note(.senderDomain) { _ in } }
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
            let field = engine.spfHeader
            let outcome = await SPFCheck.mailFrom(
                attempt.sender, helo: attempt.client.helo, address: address, receiver: hostname, time: SystemClocks.wall(),
                settings: settings, resolver: SPFLookups(gatherer.resolver, deadline: deadline))
            note(.spf, failed: outcome.result == .temperror) { findings in
                findings.spf = SPFFinding(outcome)
                findings.spfField = outcome.field(field)
            }
        }
    }

    // MARK: - Lists

    private func askLists(_ lists: (any ListAsking)?) {
        var subjects = ListSubjects()
        subjects.address = address
        subjects.domains[.sender] = senderDomain
        subjects.domains[.helo] = heloDomain
        ask(lists, about: subjects, round: 0)
    }

    /// Lists of domains, where they are to be asked about the client's name: it had to be found first.
    private func askListsAboutName(_ name: DomainName, _ lists: (any ListAsking)?) {
        guard let lists else { return }
        var subjects = ListSubjects()
        subjects.domains[.client] = name
        subjects.asked[.sender] = senderDomain
        subjects.asked[.helo] = heloDomain
        finish { $0.roundsToAsk += 1 }
        ask(lists, about: subjects, round: 1)
    }

    private func ask(_ lists: (any ListAsking)?, about subjects: ListSubjects, round: Int) {
        let ranges =
            lists?.ask(about: subjects, deadline: deadline) { [self] index, outcome in
                let place = ListPlace(round: round, index: index)
                finish { state in
                    if state.lists[place] == nil { state.early[place] = outcome } else { Self.note(outcome, of: place, &state) }
                }
            } ?? []
        finish { state in
            state.roundsToAsk -= 1
            for (index, range) in ranges.enumerated() {
                let place = ListPlace(round: round, index: index)
                state.lists[place] = range
                if let outcome = state.early.removeValue(forKey: place) { Self.note(outcome, of: place, &state) }
            }
        }
    }

    private static func note(_ outcome: ListOutcome, of place: ListPlace, _ state: inout State) {
        guard state.lists.removeValue(forKey: place) != nil else { return }
        switch outcome {
        case .listed(let listing):
            state.findings.listsAnswered += 1
            // A list that names several domains of a client counts once, with the weightiest.
            if let index = state.findings.listings.firstIndex(where: { $0.list == listing.list }) {
                if abs(listing.score) > abs(state.findings.listings[index].score) { state.findings.listings[index] = listing }
            } else {
                state.findings.listings.append(listing)
            }
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

import DNSProtocol
import NIOConcurrencyHelpers
import PosternConfiguration
import PosternCore
import PosternEngine
import PosternResolver
import Synchronization

/// All DNS lists, asked together about one subject.
public final class DNSLists: Sendable {
    private let current: NIOLockedValueBox<[ListZone]>
    let resolver: Resolver

    public init(_ lists: [Configuration.DNSList], resolver: Resolver) {
        current = NIOLockedValueBox(lists.map { ListZone($0) })
        self.resolver = resolver
    }

    /// In the order of the configuration.
    public var zones: [ListZone] { current.withLockedValue { $0 } }

    /// Takes up other lists. One that has not changed goes on as it is; a new one is asked once it has passed its test.
    public func update(_ lists: [Configuration.DNSList]) {
        current.withLockedValue { zones in
            zones = lists.map { list in zones.first { $0.list == list } ?? ListZone(list) }
        }
    }

    /// What one of the lists said.
    public struct Reply: Sendable {
        public var zone: ListZone
        public var outcome: ListZone.Outcome
    }

    /// Those that can be asked about a subject of this kind now.
    public func live(for subject: ListSubject) -> [ListZone] {
        zones.filter { $0.isLive && $0.question(subject) != nil }
    }

    /// Asks every list given (`live(for:)`), and calls `each` once for each, at the deadline at the latest: at once on the
    /// caller's thread where the answer is known, else on the resolver's. Whoever has heard enough may stop listening;
    /// the counters take in all of it.
    public func ask(
        _ zones: [ListZone], about subject: ListSubject, deadline: Deadline, each: @escaping @Sendable (Reply) -> Void
    ) {
        let tally = OverlapTally(count: zones.count)
        for zone in zones {
            guard let question = zone.question(subject) else {
                tally.add(zone, isListed: false)
                each(Reply(zone: zone, outcome: .notListed))
                continue
            }
            resolver.ask(question, deadline: deadline) { answer in
                let outcome = zone.outcome(of: answer)
                if case .listed = outcome { tally.add(zone, isListed: true) } else { tally.add(zone, isListed: false) }
                each(Reply(zone: zone, outcome: outcome))
            }
        }
    }

    /// The same for a task: all replies, in the order of the zones.
    public func ask(about subject: ListSubject, deadline: Deadline) async -> [Reply] {
        let zones = live(for: subject)
        guard !zones.isEmpty else { return [] }
        let gathered = NIOLockedValueBox<[Reply]>([])
        await withCheckedContinuation { continuation in
            ask(zones, about: subject, deadline: deadline) { reply in
                let isLast = gathered.withLockedValue {
                    $0.append(reply)
                    return $0.count == zones.count
                }
                if isLast { continuation.resume() }
            }
        }
        let replies = gathered.withLockedValue { $0 }
        return zones.compactMap { zone in replies.first { $0.zone === zone } }
    }

    public var statuses: [ListStatus] { zones.map(\.status) }
}

extension DNSLists: ListAsking {
    public func ask(
        about subjects: ListSubjects, deadline: Deadline, each: @escaping @Sendable (Int, ListOutcome) -> Void
    ) -> [ClosedRange<Double>] {
        var reaches: [ClosedRange<Double>] = []
        func ask(_ zones: [ListZone], _ subject: ListSubject) {
            self.ask(zones, about: subject, deadline: deadline, places: reaches.count, each)
            reaches += zones.map(\.reach)
        }
        if let address = subjects.address { ask(live(for: .address(address)), .address(address)) }
        for (domain, sources) in subjects.grouped {
            let zones = live(for: .domain(domain)).filter { zone in
                !zone.list.about.isDisjoint(with: sources) && !zone.list.about.contains { subjects.asked[$0] == domain }
            }
            ask(zones, .domain(domain))
        }
        return reaches
    }

    /// The same with places instead of zones, the first of them `places`.
    private func ask(
        _ zones: [ListZone], about subject: ListSubject, deadline: Deadline, places: Int,
        _ each: @escaping @Sendable (Int, ListOutcome) -> Void
    ) {
        ask(zones, about: subject, deadline: deadline) { reply in
            guard let place = zones.firstIndex(where: { $0 === reply.zone }) else { return }
            each(places + place, ListOutcome(reply))
        }
    }
}

/// What lists are asked about, for one decision.
public struct ListSubjects: Sendable {
    public var address: IPAddress?
    /// As the DNS has them.
    public var domains: [Configuration.DNSList.DomainSource: DomainName] = [:]
    /// Domains that have been asked about before; a list is asked about none of them twice.
    public var asked: [Configuration.DNSList.DomainSource: DomainName] = [:]

    public init() {}

    /// Each domain once, with all that it is of this client.
    fileprivate var grouped: [(DomainName, Set<Configuration.DNSList.DomainSource>)] {
        var groups: [(DomainName, Set<Configuration.DNSList.DomainSource>)] = []
        for source in Configuration.DNSList.DomainSource.allCases {
            guard let domain = domains[source] else { continue }
            if let index = groups.firstIndex(where: { $0.0 == domain }) {
                groups[index].1.insert(source)
            } else {
                groups.append((domain, [source]))
            }
        }
        return groups
    }
}

extension ListOutcome {
    fileprivate init(_ reply: DNSLists.Reply) {
        switch reply.outcome {
        case .listed(let codes, let weight):
            let codes = codes.map { IPAddress(v4: $0).description }.joined(separator: ",")
            self = .listed(Listing(list: reply.zone.list.name, score: weight, reply: codes))
        case .notListed: self = .notListed
        case .error, .silent: self = .silent
        }
    }
}

/// Counts, once all lists have answered, which listings more than one of them had.
private final class OverlapTally: Sendable {
    private let state: NIOLockedValueBox<(left: Int, listed: [ListZone])>

    init(count: Int) {
        state = NIOLockedValueBox((count, []))
    }

    func add(_ zone: ListZone, isListed: Bool) {
        let listed = state.withLockedValue { state -> [ListZone] in
            state.left -= 1
            if isListed { state.listed.append(zone) }
            return state.left == 0 ? state.listed : []
        }
        guard listed.count > 1 else { return }
        for zone in listed { zone.counters.overlapping.wrappingAdd(1, ordering: .relaxed) }
    }
}

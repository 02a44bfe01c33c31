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
        about address: IPAddress, domain: DomainName?, deadline: Deadline, each: @escaping @Sendable (Int, ListOutcome) -> Void
    ) -> [ClosedRange<Double>] {
        let byAddress = live(for: .address(address))
        ask(byAddress, about: .address(address), deadline: deadline, places: 0, each)
        guard let domain else { return byAddress.map(\.reach) }
        let byDomain = live(for: .domain(domain))
        ask(byDomain, about: .domain(domain), deadline: deadline, places: byAddress.count, each)
        return (byAddress + byDomain).map(\.reach)
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

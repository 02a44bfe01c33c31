import DNSProtocol
import Logging
import NIOConcurrencyHelpers
import PosternConfiguration
import PosternCore
import PosternResolver

/// Tests each DNS list at the start and every few minutes (RFC 5782 §5): what every list lists, and what none may list. A
/// zone that fails is not asked until it passes again, and the admin is told what to do.
public struct ZoneMonitor: Sendable {
    public struct Pace: Equatable, Sendable {
        /// Between two tests of a zone that is well.
        public var well = WallTime.Span.minutes(5)
        /// Between two tests of one that is not, or that has not answered.
        public var ailing = WallTime.Span.seconds(30)
        /// For each question of a test.
        public var patience = WallTime.Span.seconds(5)

        public init() {}
    }

    /// A live zone that does not answer so many tests in a row is disabled: one lost message is no reason.
    static let silences = 3
    /// How often is looked whether a test is due.
    private static let tick = Duration.milliseconds(250)
    /// The same where there is no list.
    private static let idleTick = Duration.seconds(1)

    private let lists: DNSLists
    private let logger: Logger
    private let pace: Pace

    public init(_ lists: DNSLists, logger: Logger, pace: Pace = Pace()) {
        self.lists = lists
        self.logger = logger
        self.pace = pace
    }

    /// Runs until cancelled. The first round of tests ends after `Pace.patience` at the latest.
    public func run() async {
        var records: [ObjectIdentifier: Record] = [:]
        while !Task.isCancelled {
            let now = Deadline.now().milliseconds
            let zones = lists.zones
            let servers = lists.resolver.servers
            let known = Set(zones.map { ObjectIdentifier($0) })
            records = records.filter { known.contains($0.key) }
            let tested = zones.indices.filter { index in
                let zone = zones[index]
                guard zone.list.tests else { return false }
                guard let record = records[ObjectIdentifier(zone)], now < record.due else { return true }
                // Others may reach it.
                if !zone.isLive, record.servers != servers { return true }
                // What looks like trouble is looked into at once, though not again and again.
                let isSuspicious = zone.isLive && zone.suspicious.load(ordering: .relaxed) >= ListZone.suspiciousListings
                return isSuspicious && now >= record.due - pace.well.milliseconds + pace.ailing.milliseconds
            }
            let results = await withTaskGroup(of: (Int, TestResult).self) { group in
                for index in tested { group.addTask { (index, await test(zones[index])) } }
                return await group.reduce(into: [Int: TestResult]()) { $0[$1.0] = $1.1 }
            }
            for (index, result) in results.sorted(by: { $0.key < $1.key }) {
                let zone = zones[index]
                zone.suspicious.store(0, ordering: .relaxed)
                let before = records[ObjectIdentifier(zone)]?.silences ?? 0
                let record = Record(
                    due: Deadline.now().milliseconds + (result == .passed ? pace.well : pace.ailing).milliseconds,
                    silences: result == .failed(.silent) ? before + 1 : 0, servers: servers)
                settle(zone, result, silences: record.silences)
                records[ObjectIdentifier(zone)] = record
            }
            try? await Task.sleep(for: zones.isEmpty ? Self.idleTick : Self.tick)
        }
    }

    /// What is remembered of a zone from test to test.
    private struct Record {
        var due: Int64
        var silences: Int
        /// Who was asked.
        var servers: [ResolverSettings.Server]
    }

    // MARK: - One test

    enum TestResult: Equatable {
        case passed
        case failed(ListZone.Ailment)
    }

    /// RFC 5782 §5: an address list has 127.0.0.2 and not 127.0.0.1; a domain list has TEST and not INVALID.
    private func test(_ zone: ListZone) async -> TestResult {
        let (present, absent): (ListSubject, ListSubject) =
            switch zone.list.kind {
            case .address: (.address(IPAddress(v4: 0x7f00_0002)), .address(IPAddress(v4: 0x7f00_0001)))
            case .domain: (.label("test"), .label("invalid"))
            }
        async let first = ask(zone, present)
        async let second = ask(zone, absent)
        switch (await first, await second) {
        case (.refused(let code), _), (_, .refused(let code)): return .failed(.refuses(code: code))
        case (_, .listed): return .failed(.listsEverything)
        case (.silent, _), (_, .silent): return .failed(.silent)
        case (.listed, .absent): return .passed
        case (.absent, .absent): return .failed(.listsNothing)
        }
    }

    private enum Presence {
        case listed
        case absent
        case refused(UInt32)
        case silent
    }

    /// Whether the zone has the entry at all, whatever its filters make of the reply.
    private func ask(_ zone: ListZone, _ subject: ListSubject) async -> Presence {
        guard let question = zone.question(subject) else { return .absent }
        let answer = await lists.resolver.ask(question, deadline: .after(pace.patience), fresh: true)
        switch answer.outcome {
        case .failure: return .silent
        case .noSuchDomain, .noData: return .absent
        case .records:
            if let code = answer.addresses4.first(where: ListFilters.isError) { return .refused(code) }
            return .listed
        }
    }

    // MARK: - What follows

    private func settle(_ zone: ListZone, _ result: TestResult, silences: Int) {
        let (before, after) = zone.state.withLockedValue { state in
            let before = state
            switch result {
            case .passed: state = .live
            case .failed(.silent) where before != .disabled(.silent) && silences < Self.silences: break
            case .failed(let ailment): state = .disabled(ailment)
            }
            return (before, state)
        }
        guard before != after else { return }
        let name: Logger.Metadata = ["list": "\(zone.list.name)"]
        switch (before, after) {
        case (.untested, .live): logger.debug("DNS list passed its test", metadata: name)
        case (_, .live): logger.notice("DNS list passed its test, it is asked again", metadata: name)
        case (_, .disabled(let ailment)):
            logger.warning(
                "DNS list is not asked for now, it is tested again every \(pace.ailing)",
                metadata: name.merging(["reason": "\(ailment)"]) { $1 })
        case (_, .untested): break
        }
    }
}

import Glibc
import NIOConcurrencyHelpers
import PosternConfiguration
import PosternControl
import PosternCore
import PosternEngine
import PublishedLists

/// What the running daemon tells and does for the other verbs.
struct RunningState: DaemonState {
    private let services: Services
    private let running: RunningListeners
    private let reloader: Reloader
    private let dataDirectory: String
    let redacts: Bool
    private let startedAt: Moment

    init(_ services: Services, _ listeners: RunningListeners, _ reloader: Reloader, dataDirectory: String, redacts: Bool) {
        self.services = services
        running = listeners
        self.reloader = reloader
        self.dataDirectory = dataDirectory
        self.redacts = redacts
        let (steady, wall) = services.clock.now()
        startedAt = Moment(steady: steady, wall: wall)
    }

    var decisions: DecisionService { services.decisions }
    private var limits: LimitService { services.limits }
    /// Whether a listener throttles whatever `throttle.mode` says.
    private var hasThrottle: Bool { running.all.contains { $0.role == .throttle } }
    private var harvest: HarvestService { services.harvest }
    private var publisher: ListPublisher { services.publisher }

    func engine() -> Engine { decisions.engine }

    func now() -> Moment {
        let (steady, wall) = services.clock.now()
        return Moment(steady: steady, wall: wall)
    }

    func listsChanged(_ lists: Lists) {
        decisions.update {
            var lists = lists
            lists.subscribed = $0.lists.subscribed
            $0.lists = lists
        }
        publisher.listsChanged(lists)
    }

    func account(_ name: String) -> String { reloader.live.current.account(name) }

    func status() throws(ControlFailure) -> StatusReport {
        let values = decisions.counters.values
        let settings = decisions.engine.settings
        var report = StatusReport(
            version: PosternVersion.text, processID: getpid(), startedAt: startedAt.wall.description,
            uptimeSeconds: (now().steady - startedAt.steady).milliseconds / 1000, hostname: settings.hostname, dataDirectory: dataDirectory,
            greylistMode: settings.greylist.mode.rawValue,
            listeners: running.all.map { .init(name: $0.name, role: $0.role.rawValue, address: "\($0.address)") },
            counts: StatusReport.Counts(
                accepted: values.accepted, deferred: values.deferred, rejected: values.rejected,
                malformedRequests: values.malformedRequests,
                refusedConnections: values.refusedConnections, connections: values.connections, storeFailures: values.storeFailures),
            lastStoreFailure: values.lastStoreFailure?.message)
        report.counts.held = values.held
        report.counts.tarpitted = values.tarpitted
        report.counts.dropped = values.dropped
        report.counts.delayed = values.delayed
        report.counts.delayedSeconds = values.delayMilliseconds / 1000
        report.traps = running.trapReports
        report.gateways = running.gateways.map(\.report)
        report.checks = decisions.counters.checks.report
        report.note(services.lookUps)
        report.configuration = reloader.live.state
        report.limits = limitsReport(settings)
        report.dnsServices = running.dnsServices.map(\.report)
        report.subscriptions = services.listKeeper.shown.withLockedValue { $0 }
        report.harvest = harvest.report
        return report
    }

    /// Clients that wait at gateways, and those in traps.
    var heldNow: (waiting: Int, trapped: Int) {
        (running.gateways.reduce(0) { $0 + $1.report.held }, running.trapReports.reduce(0) { $0 + $1.heldNow })
    }

    func export(_ draft: ExportDraft) async throws(ControlFailure) -> ExportReport {
        let path = "\(dataDirectory)/export-\(UInt64.random(in: .min ... .max)).tmp"
        let export = try ListExport(
            draft, reloader.live.current, decisions.engine.lists, publisher.sources, ListPublisher.time(services.clock))
        return ExportReport(path: path, format: draft.format, entries: try export.write(to: path))
    }

    private func limitsReport(_ settings: EngineSettings) -> StatusReport.Limits {
        let now = now().steady
        let report = limits.report(now: now)
        let refused = decisions.refusable(limits.refusals(now: now), isThrottle: hasThrottle).count
        let all = settings.throttle.limits + settings.accounts.limits + settings.accounts.suspend
        return StatusReport.Limits(
            throttleMode: settings.throttle.mode.rawValue, accountsMode: settings.accounts.mode.rawValue, limits: all.map(\.description),
            rows: report.rows, bytes: report.bytes, evicted: report.evicted, heldNow: report.heldNow,
            heldAtMost: settings.throttle.heldSessions, refusedNow: refused, suspendedAccounts: report.suspended,
            held: report.numbers.held, deferred: report.numbers.deferred, refused: report.numbers.refused,
            accountsRefused: report.numbers.accountsRefused, accountsHeld: report.numbers.accountsHeld,
            holdsDenied: report.numbers.holdsDenied)
    }

    /// Without limits that nobody here goes by.
    func standing(of attempt: Attempt) async -> (throttled: Throttled?, limits: [LimitStanding]) {
        var (throttled, limits) = await decisions.standing(of: attempt)
        let settings = decisions.engine.settings
        if settings.throttle.mode == .off, !hasThrottle {
            limits.removeAll { settings.throttle.limits.contains($0.limit) }
        }
        if settings.accounts.mode == .off {
            limits.removeAll { settings.accounts.limits.contains($0.limit) || settings.accounts.suspend.contains($0.limit) }
        }
        return (throttled, limits)
    }

    func suspensions() -> [Suspension] { limits.suspensionsInForce }
    func releaseAccount(_ account: String) -> Bool { limits.release(account, now: now().steady) }
    func suspend(_ suspension: Suspension) { limits.suspend(suspension) }
    func nearLimits() -> [NearLimit] {
        let (engine, now) = (decisions.engine, now().steady)
        return limits.nearLimits(refuses: hasThrottle || engine.settings.throttle.mode == .on, now: now) {
            engine.standing(of: Client(address: $0.address), now: now) == .spared
        }
    }
    func forgetCounts(_ place: LimitPlace) -> (subject: String, had: [UInt8])? { limits.forget(place) }

    func giveBackCounts(_ place: LimitPlace, _ had: [UInt8]) -> Bool {
        limits.giveBack(place, had, now: now().steady)
    }

    func findings(for attempt: Attempt) async -> Findings { await decisions.findings(for: attempt) }

    func reload() async throws(ControlFailure) -> ReloadReport {
        do {
            return try await reloader.reload()
        } catch {
            throw ControlFailure(.configuration, "\(error)")
        }
    }

    func harvested() -> [HarvestEntry]? { harvest.entries }
    func harvestedColour(of address: IPAddress) -> ListColour? { harvest.colour(of: address) }
    func removeHarvested(_ prefix: Prefix) -> HarvestEntry? { harvest.remove(prefix) }

    func extendHarvested(_ prefix: Prefix, until: WallTime) -> HarvestEntry? { harvest.extend(prefix, until: until) }
    func putBackHarvested(_ entry: HarvestEntry) -> Bool {
        harvest.putBack(entry)
        return true
    }

    func removeItself(_ address: IPAddress, requester: IPAddress) -> Harvest.SelfRemoval? {
        harvest.removeItself(address, requester: requester)
    }
}

/// The version of this program.
public enum PosternVersion {
    public static let text = "0.1.0"
}

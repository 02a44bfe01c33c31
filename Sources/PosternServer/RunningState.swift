import Glibc
import NIOConcurrencyHelpers
import PosternConfiguration
import PosternControl
import PosternCore
import PosternEngine
import PublishedLists

/// What the running daemon tells and does for the other verbs.
struct RunningState: DaemonState {
    let decisions: DecisionService
    let clock: ServiceClock
    let listeners: [StatusReport.Listener]
    let traps: @Sendable () -> [StatusReport.Trap]
    let gateways: @Sendable () -> [StatusReport.Gateway]
    let lookUps: LookUps?
    let redacts: Bool
    let dnsServices: @Sendable () -> [StatusReport.DNSService]
    let publisher: ListPublisher
    let subscriptions: @Sendable () -> [StatusReport.Subscription]
    /// The configuration in force.
    let current: @Sendable () -> Configuration
    let dataDirectory: String
    let configuration: @Sendable () -> StatusReport.ConfigurationState
    let startedAt: Moment
    /// Reads the configuration anew and puts it in force.
    let reloading: @Sendable () async throws(ControlFailure) -> ReloadReport

    func engine() -> Engine { decisions.engine }

    func now() -> Moment {
        let (steady, wall) = clock.now()
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

    func status() throws(ControlFailure) -> StatusReport {
        let values = decisions.counters.values
        let settings = decisions.engine.settings
        var report = StatusReport(
            version: PosternVersion.text, processID: getpid(), startedAt: startedAt.wall.description,
            uptimeSeconds: (now().steady - startedAt.steady).milliseconds / 1000, hostname: settings.hostname, dataDirectory: dataDirectory,
            greylistMode: settings.greylist.mode.rawValue, listeners: listeners,
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
        report.traps = traps()
        report.gateways = gateways()
        report.checks = decisions.counters.checks.report
        if let lookUps { report.note(lookUps) }
        report.configuration = configuration()
        report.limits = decisions.limits.map { limitsReport($0, settings) }
        report.dnsServices = dnsServices()
        report.subscriptions = subscriptions()
        report.harvest = decisions.harvest?.report
        return report
    }

    func export(_ draft: ExportDraft) async throws(ControlFailure) -> ExportReport {
        let path = "\(dataDirectory)/export-\(UInt64.random(in: .min ... .max)).tmp"
        let export = try ListExport(draft, current(), publisher.sources, ListPublisher.time(clock))
        return ExportReport(path: path, format: draft.format, entries: try export.write(to: path))
    }

    private func limitsReport(_ limits: LimitService, _ settings: EngineSettings) -> StatusReport.Limits {
        let report = limits.report(now: now().steady)
        let all = settings.throttle.limits + settings.accounts.limits + settings.accounts.suspend
        return StatusReport.Limits(
            throttleMode: settings.throttle.mode.rawValue, accountsMode: settings.accounts.mode.rawValue, limits: all.map(\.description),
            rows: report.rows, bytes: report.bytes, evicted: report.evicted, heldNow: report.heldNow,
            heldAtMost: settings.throttle.heldSessions, refusedNow: report.refusedNow, suspendedAccounts: report.suspended,
            held: report.numbers.held, deferred: report.numbers.deferred, refused: report.numbers.refused,
            accountsRefused: report.numbers.accountsRefused, holdsDenied: report.numbers.holdsDenied)
    }

    func standing(of attempt: Attempt) -> (throttled: Throttled?, limits: [LimitStanding]) { decisions.standing(of: attempt) }
    func suspensions() -> [Suspension] { decisions.limits?.suspensionsInForce ?? [] }
    func releaseAccount(_ account: String) -> Bool { decisions.limits?.release(account) ?? false }
    func suspend(_ suspension: Suspension) { decisions.limits?.suspend(suspension) }
    func nearLimits() -> [NearLimit] { decisions.limits?.nearLimits(now: now().steady) ?? [] }
    func forgetCounts(_ place: LimitPlace) -> (subject: String, had: [UInt8])? { decisions.limits?.forget(place) }

    func giveBackCounts(_ place: LimitPlace, _ had: [UInt8]) -> Bool {
        decisions.limits?.giveBack(place, had, now: now().steady) ?? false
    }

    func findings(for attempt: Attempt) async -> Findings { await decisions.findings(for: attempt) }

    func reload() async throws(ControlFailure) -> ReloadReport { try await reloading() }

    func harvested() -> [HarvestEntry]? { decisions.harvest?.entries ?? [] }
    func harvestedColour(of address: IPAddress) -> ListColour? { decisions.harvest?.colour(of: address) }
    func removeHarvested(_ prefix: Prefix) -> HarvestEntry? { decisions.harvest?.remove(prefix) }

    func extendHarvested(_ prefix: Prefix, until: WallTime) -> HarvestEntry? { decisions.harvest?.extend(prefix, until: until) }
    func putBackHarvested(_ entry: HarvestEntry) -> Bool {
        guard let harvest = decisions.harvest else { return false }
        harvest.putBack(entry)
        return true
    }

    func removeItself(_ address: IPAddress, requester: IPAddress) -> Harvest.SelfRemoval? {
        decisions.harvest?.removeItself(address, requester: requester)
    }
}

/// The version of this program.
public enum PosternVersion {
    public static let text = "0.1.0"
}

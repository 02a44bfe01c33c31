import NIOConcurrencyHelpers
import PosternControl
import PosternCore
import PosternEngine

/// A daemon's state whose clock is moved by hand.
final class TestState: DaemonState {
    private struct Values {
        var engine: Engine
        var counts = LimitCounts(throttle: TestState.throttle, accounts: AccountSettings(), seed: (1, 2))
        var harvest: Harvest?
        var listChanges = 0
        var throttled: Throttled?
        var loginDomain = ""
        var moment = Moment(steady: WallTime(seconds: 1_800_000_000), wall: WallTime(seconds: 1_800_000_000))
    }

    private static var throttle: ThrottleSettings {
        var throttle = ThrottleSettings()
        throttle.mode = .on
        throttle.limits = [Limit(.address, .attempts, 10, per: .hours(1))]
        return throttle
    }

    private struct LastTwoLabels: OrganisationalDomains {
        func organisationalDomain(of name: DomainName) -> DomainName? {
            name.labels.count < 2 ? nil : DomainName(name.labels.suffix(2).joined(separator: "."))
        }
    }

    private let values = NIOLockedValueBox(Values(engine: Engine(settings: EngineSettings(), domains: LastTwoLabels())))

    func engine() -> Engine { values.withLockedValue { $0.engine } }
    func set(_ change: (inout EngineSettings) -> Void) { values.withLockedValue { change(&$0.engine.settings) } }
    /// What counts are to mean for whoever is asked about.
    func setThrottled(_ throttled: Throttled?) { values.withLockedValue { $0.throttled = throttled } }
    func standing(of attempt: Attempt) async -> (throttled: Throttled?, limits: [LimitStanding]) {
        (values.withLockedValue { $0.throttled }, [])
    }
    func now() -> Moment { values.withLockedValue { $0.moment } }
    func listsChanged(_ lists: Lists) {
        values.withLockedValue {
            $0.engine.lists = lists
            $0.listChanges += 1
        }
    }
    /// How often lists were set in force.
    var listChanges: Int { values.withLockedValue { $0.listChanges } }

    func setLoginDomain(_ domain: String) { values.withLockedValue { $0.loginDomain = domain } }
    func account(_ name: String) -> String {
        let domain = values.withLockedValue { $0.loginDomain }
        return domain.isEmpty || name.contains("@") ? name.lowercased() : "\(name.lowercased())@\(domain)"
    }

    func status() throws(ControlFailure) -> StatusReport {
        StatusReport(
            version: "0", processID: 1, startedAt: now().wall.description, uptimeSeconds: 0, hostname: "mx.example",
            dataDirectory: "/nowhere",
            greylistMode: "on", listeners: [.init(name: "policy", role: "policy", address: "127.0.0.1:10023")], counts: .init())
    }

    /// A client asks for so many recipients.
    func attempt(_ address: String, _ count: Int) {
        values.withLockedValue { values in
            for _ in 0..<count {
                _ = values.counts.attempted(
                    LimitSubject(address: IPAddress(address)), recipientDomain: nil, at: values.moment.steady)
            }
        }
    }

    func nearLimits() -> [NearLimit] {
        values.withLockedValue { values in
            let now = values.moment.steady
            return values.counts.watched(at: now).compactMap { values.counts.near($0, share: 0.5, at: now) }
        }
    }

    func forgetCounts(_ place: LimitPlace) -> (subject: String, had: [UInt8])? { values.withLockedValue { $0.counts.forget(place) } }

    func giveBackCounts(_ place: LimitPlace, _ had: [UInt8]) -> Bool {
        values.withLockedValue { $0.counts.giveBack(place, had, at: $0.moment.steady) }
    }

    func suspend(_ suspension: Suspension) { values.withLockedValue { $0.counts.suspend(suspension) } }
    func suspensions() -> [Suspension] { values.withLockedValue { Array($0.counts.suspended.values) } }
    func releaseAccount(_ account: String) -> Bool { values.withLockedValue { $0.counts.release(account, at: $0.moment.steady) } }

    /// From here on there is a harvest, with these entries.
    func beginHarvest(_ entries: [HarvestEntry]) {
        values.withLockedValue { values in
            var image = HarvestImage()
            image.entries = entries
            var settings = HarvestSettings()
            settings.mode = .on
            values.harvest = Harvest(settings: settings, image: image, seesPrimary: true, seed: 1, now: values.moment.steady)
        }
    }

    func harvested() -> [HarvestEntry]? { values.withLockedValue { $0.harvest?.allEntries(now: $0.moment.steady) } }
    func removeHarvested(_ prefix: Prefix) -> HarvestEntry? {
        values.withLockedValue { $0.harvest?.remove(prefix, now: $0.moment.steady) ?? nil }
    }
    func extendHarvested(_ prefix: Prefix, until: WallTime) -> HarvestEntry? {
        values.withLockedValue { $0.harvest?.extend(prefix, until: until, now: $0.moment.steady) ?? nil }
    }
    func putBackHarvested(_ entry: HarvestEntry) -> Bool {
        values.withLockedValue { values in
            let now = values.moment.steady
            return values.harvest?.putBack(entry, now: now) != nil
        }
    }

    func reload() async throws(ControlFailure) -> ReloadReport { ReloadReport(needsRestart: ["listeners"]) }

    func advance(_ span: WallTime.Span) {
        values.withLockedValue {
            $0.moment.steady = $0.moment.steady + span
            $0.moment.wall = $0.moment.wall + span
        }
    }

    func stepWallClock(_ span: WallTime.Span) {
        values.withLockedValue { $0.moment.wall = $0.moment.wall + span }
    }
}

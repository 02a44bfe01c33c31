import Glibc
import Logging
import PosternConfiguration
import PosternControl
import PosternCore
import PosternEngine
import PosternTarpit

/// The tarpit: one holds the clients of all listeners with mode `tarpit`.
final class Traps: Sendable {
    private let tarpit: Tarpit

    /// `nil` where the process has no descriptors left.
    init?(decisions: DecisionService, clock: ServiceClock, logger: Logger) {
        let shortages = ShortageLog(logger: logger)
        let tarpit = Tarpit { address in
            decisions.tarpitStanding(of: address, now: clock.now().steady)
        } departed: { visits in
            for visit in visits { decisions.log.write(visit) }
        } isShort: { listener, error in
            shortages.noticed(error, at: listener)
        }
        guard let tarpit else { return nil }
        self.tarpit = tarpit
    }

    /// Starts to hold whoever comes to a listening descriptor, which the tarpit then owns.
    func start(_ name: String, _ address: ListenAddress, descriptor: Int32, _ settings: TarpitSettings) -> TrapListener? {
        let flags = fcntl(descriptor, F_GETFL)
        guard flags >= 0, fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) == 0,
            let source = tarpit.open(name, descriptor: descriptor, settings)
        else { return nil }
        return TrapListener(name: name, address: address, tarpit: tarpit, source: source)
    }

    /// Where a gateway's listed clients go, and who tells of them.
    func divert(
        _ name: String, _ address: ListenAddress, _ settings: TarpitSettings, isListed: @escaping @Sendable (IPAddress) -> Bool
    ) -> (diversion: GatewayDiversion, report: TrapListener)? {
        guard let source = tarpit.open(name, descriptor: nil, settings) else { return nil }
        return (
            GatewayDiversion(tarpit: tarpit, source: source, isListed: isListed),
            TrapListener(name: name, address: address, tarpit: tarpit, source: source)
        )
    }

    func end() { tarpit.end() }
}

extension DecisionService {
    /// What a tarpit thinks of a client: whom the admin blocks or our traps list as black stays as long as it likes.
    func tarpitStanding(of address: IPAddress, now: WallTime) -> TarpitStanding {
        switch engine.standing(of: Client(address: address), now: now) {
        case .spared: .exempt
        case .blocked: .listed
        case .unknown: harvest?.colour(of: address) == .black ? .listed : .unlisted
        }
    }
}

/// A listener with role `trap`, whatever its mode.
protocol TrapRunning: RunningListener {
    /// Takes up what can be changed without a new start.
    func update(_ trap: Configuration.Trap, of configuration: Configuration)
    var report: StatusReport.Trap { get }
}

/// One listener with mode `tarpit`.
final class TrapListener: TrapRunning {
    let name: String
    let address: ListenAddress
    let role = Configuration.Role.trap
    private let tarpit: Tarpit
    private let source: Tarpit.Source

    fileprivate init(name: String, address: ListenAddress, tarpit: Tarpit, source: Tarpit.Source) {
        self.name = name
        self.address = address
        self.tarpit = tarpit
        self.source = source
    }

    func update(_ trap: Configuration.Trap, of configuration: Configuration) {
        guard trap.mode == .tarpit else { return }
        tarpit.update(source, TarpitSettings(trap, hostname: configuration.hostname))
    }

    /// Clients are told to go, and have some seconds for that, whatever `patience` is.
    func drain(patience: WallTime.Span) async { await tarpit.shut(source) }

    var report: StatusReport.Trap {
        let totals = tarpit.totals(of: source)
        return StatusReport.Trap(
            name: name, mode: Configuration.Trap.Mode.tarpit.rawValue, heldNow: totals.heldNow, heldEver: totals.heldEver,
            hoursWasted: Double(totals.millisecondsHeld) / 3_600_000,
            bytesSent: totals.octetsSent, secondsPerByte: totals.secondsPerOctet, shed: totals.shed, letGo: totals.letGo)
    }
}

extension FakeMXListener: TrapRunning {
    var role: Configuration.Role { .trap }

    func update(_ trap: Configuration.Trap, of configuration: Configuration) {
        if let settings = FakeMXSettings(trap, of: configuration) { update(settings) }
    }

    var report: StatusReport.Trap {
        let totals = totals
        let sessions = mx.counters.values
        var report = StatusReport.Trap(
            name: name, mode: mx.settings.mode.name, heldNow: sessions.sessions, heldEver: sessions.sessionsTotal,
            hoursWasted: Double(totals.milliseconds) / 3_600_000, bytesSent: totals.octetsSent,
            secondsPerByte: totals.octetsSent == 0 ? 0 : Double(totals.milliseconds) / 1000 / Double(totals.octetsSent),
            shed: sessions.sessionsShed, letGo: totals.timedOut)
        report.deferred = totals.deferrals
        report.withoutQuit = totals.hungUp
        report.discarded = totals.discarded
        report.bytesDiscarded = totals.octetsDiscarded
        return report
    }
}

extension FakeMXSettings.Mode {
    /// As the configuration has it.
    fileprivate var name: String {
        let mode: Configuration.Trap.Mode =
            switch self {
            case .deferRecipients: .deferRecipients
            case .deferData: .deferData
            case .sink: .sink
            }
        return mode.rawValue
    }
}

extension FakeMXSettings {
    /// `nil` for a tarpit.
    init?(_ trap: Configuration.Trap, of configuration: Configuration) {
        let mode: Mode
        switch trap.mode {
        case .tarpit: return nil
        case .deferRecipients: mode = .deferRecipients
        case .deferData: mode = .deferData
        case .sink: mode = .sink
        }
        self.init(mode: mode, hostname: configuration.hostname)
        capacity = trap.capacity
        hold = trap.hold
        proxies = configuration.networks.proxies
    }
}

extension TarpitSettings {
    init(_ trap: Configuration.Trap, hostname: String) {
        self.init(hostname: hostname)
        pace = trap.pace
        greetingPace = trap.greetingPace
        hold = trap.hold
        capacity = trap.capacity
    }
}

extension DecisionLog {
    /// All that is ever known of a client that was held: its address, and when it came and went.
    fileprivate func write(_ visit: TarpitVisit) {
        write("trapped", at: visit.disconnected) { line in
            line.add("listener", visit.listener)
            line.add("client", visit.address)
            line.add("connected", visit.connected)
            line.add("disconnected", visit.disconnected)
        }
    }
}

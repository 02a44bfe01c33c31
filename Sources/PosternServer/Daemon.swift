import Glibc
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import PolicyProtocol
import PosternConfiguration
import PosternControl
import PosternCore
import PosternEngine
import PosternMetrics
import PosternResolver
import PosternStorage
import PosternTarpit
import PublicSuffix

/// Why the daemon did not start, with the exit code of sysexits(3) that says so.
public struct StartFailure: Error, CustomStringConvertible, Sendable {
    public let code: Int32
    public let description: String
    /// The listener it is about, where it is about one.
    public let listener: String?

    public init(_ code: Int32, _ description: String, listener: String? = nil) {
        self.code = code
        self.description = description
        self.listener = listener
    }

    static let configuration: Int32 = 78
    static let unavailable: Int32 = 69
    static let cannotCreate: Int32 = 73
    static let noPermission: Int32 = 77
}

/// The running program: sockets, store, engine, listeners; what `postern serve` does.
public final class Daemon: Sendable {
    /// How long connections have to finish when the daemon stops.
    static let drainPatience = WallTime.Span.seconds(10)

    private let load: @Sendable () throws -> Configuration
    private let history: NIOLockedValueBox<ReloadHistory>
    private let log: LogWriter
    let logger: Logger
    /// What the tarpit holds of each gateway.
    private let diversions = NIOLockedValueBox<[TrapListener]>([])
    private let admins = NIOLockedValueBox<[AdminRunning]>([])
    /// What is risky in the configuration as it stands now, each with its place and what to do.
    private let review: @Sendable () -> [String]
    private let reviewed = NIOLockedValueBox<Set<String>>([])

    var configurationInForce: Configuration { history.withLockedValue { $0.current } }

    /// `load` reads the configuration anew; it is called at each SIGHUP. `file` is where it stands. `review` says what is risky in
    /// it, a line each, which goes into the log.
    public init(
        load: @escaping @Sendable () throws -> Configuration, configuration: Configuration, file: String? = nil,
        review: @escaping @Sendable () -> [String] = { [] }
    ) {
        self.review = review
        self.load = load
        history = NIOLockedValueBox(ReloadHistory(configuration, file: file, at: SystemClocks.wall()))
        let writer = LogWriter(
            descriptor: STDERR_FILENO, format: configuration.log.format, redact: configuration.log.redact)
        log = writer
        logger = Logger(label: "postern") { _ in
            LineLogHandler(writer: writer, level: Logger.Level(rawValue: configuration.log.level.rawValue) ?? .info)
        }
    }

    /// Runs until SIGTERM or SIGINT, then drains. `announce` is called once everything is ready, with the lines a person
    /// who started it by hand will want.
    public func run(_ configuration: Configuration, announce: @Sendable (String) -> Void) async throws {
        signal(SIGPIPE, SIG_IGN)
        let descriptors = ServiceManners.raiseDescriptorLimit()
        let signals = ProcessSignals([SIGHUP, SIGTERM, SIGINT])
        logReview()

        let sockets = try openSockets(configuration)
        try settleIn(configuration)
        let store = try await openStore(configuration)
        let clock = await startClock(store)
        guard let domains = PublicSuffixList() else {
            throw StartFailure(StartFailure.unavailable, "libpsl has no public suffix list; install Debian's publicsuffix package")
        }
        let lookUps = try await startLookUps(configuration)
        let evidence = lookUps.gatherer
        let registry = MetricRegistry()
        let harvest = await HarvestService.start(
            configuration.harvest, store: store, clock: clock,
            seesPrimary: configuration.listeners.contains { [.gateway, .throttle, .policy].contains($0.role) },
            log: DecisionLog(writer: log, isEnabled: logger.logLevel <= .info), logger: logger)
        let limits = await startLimits(configuration, store, clock)
        let trustedFiles = TrustedFiles(configuration.trustedFiles, logger: logger)
        _ = trustedFiles.refresh()
        let decisions = DecisionService(
            engine: Engine(
                settings: configuration.engineSettings(with: trustedFiles), lists: try await lists(from: store), domains: domains),
            store: store, clock: clock, log: DecisionLog(writer: log, isEnabled: logger.logLevel <= .info), counters: Counters(),
            evidence: evidence, metrics: ServiceMetrics(registry), harvest: harvest, limits: limits)
        let policy = PolicyService(decisions: decisions, hold: configuration.policy.hold)

        let loops = MultiThreadedEventLoopGroup(numberOfThreads: System.coreCount)
        var listeners: [any RunningListener] = []
        let traps = try startTraps(configuration, decisions, clock)
        let publisher = ListPublisher(clock: clock, lists: decisions.engine.lists)
        harvest.follow(publisher)
        publisher.trustChanged(decisions.engine.settings.trusted)
        let listKeeper = ListKeeper(publisher: publisher, decisions: decisions, clock: clock, logger: logger, configuration: configuration)
        await listKeeper.start()
        for socket in sockets where !configuration.isAdmin(socket.name) {
            if let service = try await startDNSService(socket, configuration, on: loops, clock, publisher) {
                listeners.append(service)
                continue
            }
            listeners.append(
                try await start(
                    socket, configuration, on: loops, policy: policy, decisions: decisions, evidence: evidence, traps: traps, clock: clock))
        }
        let gateways = listeners.compactMap { $0 as? GatewayListener }
        let trapListeners = listeners.compactMap { $0 as? any TrapRunning }
        let socketmaps = listeners.compactMap { $0 as? SocketmapListener }
        let dnsServices = listeners.compactMap { $0 as? DNSServiceListener }
        let (steady, wall) = clock.now()
        let state = RunningState(
            decisions: decisions, clock: clock,
            listeners: listeners.map { StatusReport.Listener(name: $0.name, role: $0.role.rawValue, address: "\($0.address)") }
                + sockets.filter { configuration.isAdmin($0.name) }.map {
                    StatusReport.Listener(name: $0.name, role: Configuration.Role.admin.rawValue, address: "\($0.address)")
                },
            traps: { [diversions] in trapListeners.map(\.report) + diversions.withLockedValue { $0 }.map(\.report) },
            gateways: { gateways.map(\.report) }, lookUps: lookUps,
            redacts: configuration.log.redact,
            dnsServices: { dnsServices.map(\.report) }, publisher: publisher,
            subscriptions: { listKeeper.shown.withLockedValue { $0 } }, current: { [history] in history.withLockedValue { $0.current } },
            dataDirectory: configuration.dataDirectory,
            configuration: { [history] in history.withLockedValue { $0.state } },
            startedAt: Moment(steady: steady, wall: wall),
            reloading: { [self] () async throws(ControlFailure) in
                do {
                    return try await reload(decisions, lookUps, gateways, trapListeners, socketmaps, publisher, listKeeper, trustedFiles)
                } catch {
                    history.withLockedValue { $0.fail("\(error)", at: SystemClocks.wall()) }
                    throw ControlFailure(.configuration, "\(error)")
                }
            })
        let handler = ControlHandler(store: store, state: state)
        let control = try startControl(configuration, handler)
        let admin = AdminListeners(
            control: handler, state: state, registry: registry, isServed: configuration.listeners.contains { $0.admin != nil },
            logger: logger)
        for socket in sockets {
            guard let settings = configuration.listeners.first(where: { $0.name == socket.name })?.admin else { continue }
            let started = try await admin.start(
                socket.name, socket.address, descriptor: socket.descriptor, settings, hostname: configuration.hostname, logger: logger)
            admins.withLockedValue { $0.append(started) }
            listeners.append(started)
        }
        let watch = Task { await lookUps.watch() }
        let primaries = gateways.filter { !$0.isSubmission }
        harvest.watch { primaries.isEmpty ? nil : primaries.allSatisfy(\.hasBackend) }
        let gathering = Task { await harvest.run { decisions.engine } }
        let keeper = Task { await HistoryKeeper(store: store, state: state, keep: configuration.history.keep).run() }
        let limitUpkeep = Task { [self] in
            await LimitUpkeep(
                limits: limits, store: store, clock: clock,
                settings: { [history] in
                    let configuration = history.withLockedValue { $0.current }
                    return (configuration.accounts, configuration.firewall, configuration.hostname)
                }, redacts: { [log] in log.redacts }, logger: logger
            ).run()
        }
        let trustWatch = Task { [self] in await self.watch(trustedFiles, decisions, publisher) }
        let upkeep = Task {
            await Upkeep(
                store: store, clock: clock, decisions: decisions, log: log, logger: logger, keepDecisions: configuration.decisions.keep
            ).run()
        }

        logger.info(
            "ready",
            metadata: [
                "listeners": "\(listeners.map { "\($0.name)=\($0.address)" }.joined(separator: ","))",
                "data": "\(configuration.dataDirectory)",
                "max_descriptors": "\(descriptors)",
            ])
        ServiceManners.notify("READY=1")
        announce(Self.welcome(listeners, configuration))

        signals: for await signal in signals.stream {
            switch signal {
            case SIGHUP: await reloadOnSignal(decisions, lookUps, gateways, trapListeners, socketmaps, publisher, listKeeper, trustedFiles)
            default:
                logger.info("stopping", metadata: ["signal": "\(signal == SIGTERM ? "SIGTERM" : "SIGINT")"])
                break signals
            }
        }

        ServiceManners.notify("STOPPING=1")
        await control.stop()
        await withTaskGroup(of: Void.self) { group in
            for listener in listeners { group.addTask { await listener.drain(patience: Self.drainPatience) } }
        }
        traps?.end()
        admin.end()
        await listKeeper.stop()
        watch.cancel()
        keeper.cancel()
        await keeper.value
        trustWatch.cancel()
        limitUpkeep.cancel()
        await limitUpkeep.value
        upkeep.cancel()
        await upkeep.value
        gathering.cancel()
        await gathering.value
        lookUps.close()
        try? await store.keep(clock.anchor())
        await store.close()
        try? await loops.shutdownGracefully()
        logger.info("stopped")
        log.flush()
    }

    // MARK: - Start

    private struct OpenSocket {
        let name: String
        let address: ListenAddress
        let descriptor: Int32
        /// Of a DNS service: the socket for UDP on the same address.
        var datagrams: Int32?
    }

    /// Takes each listener's socket from the service manager where it hands one over, else opens it.
    private func openSockets(_ configuration: Configuration) throws -> [OpenSocket] {
        var inherited = ServiceManners.inheritedSockets()
        var sockets: [OpenSocket] = []
        for listener in configuration.listeners {
            let index = inherited.firstIndex {
                $0.name == listener.name || SocketAddresses.local($0.descriptor)?.description == listener.address.description
            }
            if let index {
                let socket = inherited.remove(at: index)
                let bound = SocketAddresses.local(socket.descriptor)?.description
                if let bound, bound != listener.address.description {
                    logger.warning(
                        "the service manager opened another address than the configuration names; make them the same",
                        metadata: ["listener": "\(listener.name)", "opened": "\(bound)", "configured": "\(listener.address)"])
                }
                var open = OpenSocket(
                    name: listener.name, address: SocketAddresses.local(socket.descriptor) ?? listener.address,
                    descriptor: socket.descriptor)
                if listener.role == .dnsbl { open = try withDatagrams(open, listener, &inherited) }
                sockets.append(open)
                continue
            }
            do throws(ListenFailure) {
                if listener.role == .dnsbl, case .tcp(let host, let port) = listener.address {
                    let (descriptor, datagrams, bound) = try ListeningSocket.openBoth(host, port)
                    sockets.append(OpenSocket(name: listener.name, address: bound, descriptor: descriptor, datagrams: datagrams))
                    continue
                }
                let (descriptor, bound) = try ListeningSocket.open(listener.address)
                sockets.append(OpenSocket(name: listener.name, address: bound, descriptor: descriptor))
            } catch {
                throw StartFailure(StartFailure.configuration, "\(error)", listener: listener.name)
            }
        }
        for left in inherited {
            logger.warning(
                "a socket was handed over that no listener has the name or address of; it is closed", metadata: ["name": "\(left.name)"])
            close(left.descriptor)
        }
        return sockets
    }

    /// Of a DNS service the service manager hands over two sockets, in any order.
    private func withDatagrams(
        _ first: OpenSocket, _ listener: Configuration.Listener, _ inherited: inout [(name: String, descriptor: Int32)]
    ) throws -> OpenSocket {
        let isDatagram = ListeningSocket.isDatagram(first.descriptor)
        let other = inherited.firstIndex {
            ListeningSocket.isDatagram($0.descriptor) != isDatagram
                && SocketAddresses.local($0.descriptor)?.description == first.address.description
        }
        guard let other else {
            throw StartFailure(
                StartFailure.configuration, "the DNS service was handed one socket; it needs ListenStream= and ListenDatagram=",
                listener: listener.name)
        }
        let second = inherited.remove(at: other).descriptor
        let (stream, datagrams) = isDatagram ? (second, first.descriptor) : (first.descriptor, second)
        return OpenSocket(name: first.name, address: first.address, descriptor: stream, datagrams: datagrams)
    }

    /// `nil` where the listener has another role.
    private func startDNSService(
        _ socket: OpenSocket, _ configuration: Configuration, on loops: any EventLoopGroup, _ clock: ServiceClock,
        _ publisher: ListPublisher
    ) async throws -> DNSServiceListener? {
        guard let listener = configuration.listeners.first(where: { $0.name == socket.name }), let datagrams = socket.datagrams,
            let service = publisher.service(listener, of: configuration)
        else { return nil }
        ListeningSocket.prepareForWaiting(datagrams)
        let started = try await DNSServiceListener.start(
            name: socket.name, address: socket.address, descriptor: socket.descriptor, datagramDescriptor: datagrams, group: loops,
            service: service, time: { ListPublisher.time(clock) })
        publisher.add(started, configuration)
        return started
    }

    private func startTraps(_ configuration: Configuration, _ decisions: DecisionService, _ clock: ServiceClock) throws -> Traps? {
        guard configuration.listeners.contains(where: { $0.trap?.mode == .tarpit || $0.gateway?.tarpit == true }) else { return nil }
        guard let traps = Traps(decisions: decisions, clock: clock) else {
            throw StartFailure(StartFailure.unavailable, "the traps have no descriptor to start with")
        }
        return traps
    }

    /// Starts what a listener's role is.
    private func start(
        _ socket: OpenSocket, _ configuration: Configuration, on loops: any EventLoopGroup, policy: PolicyService,
        decisions: DecisionService, evidence: EvidenceGatherer, traps: Traps?, clock: ServiceClock
    ) async throws -> any RunningListener {
        let listener = configuration.listeners.first { $0.name == socket.name }
        if let trap = listener?.trap, let settings = FakeMXSettings(trap, of: configuration) {
            return try await FakeMXListener.start(
                name: socket.name, address: socket.address, descriptor: socket.descriptor, group: loops, settings: settings,
                clock: clock, log: decisions.log, ended: { visit in decisions.harvest?.visited(visit, decisions.engine) })
        }
        if let trap = listener?.trap {
            let settings = TarpitSettings(trap, hostname: configuration.hostname)
            guard let started = traps?.start(socket.name, socket.address, descriptor: socket.descriptor, settings) else {
                throw StartFailure(StartFailure.unavailable, "the trap has no descriptor to start with", listener: socket.name)
            }
            return started
        }
        if let socketmap = listener?.socketmap {
            return try await SocketmapListener.start(
                name: socket.name, address: socket.address, descriptor: socket.descriptor, group: loops,
                service: SocketmapService(socket.name, .init(socketmap, of: configuration), asking: evidence, logger: logger),
                logger: logger)
        }
        guard let gateway = listener?.gateway else {
            return try await PolicyListener.start(
                name: socket.name, address: socket.address, descriptor: socket.descriptor, group: loops, service: policy,
                limits: PolicyServiceLimits(configuration.policy), logger: logger)
        }
        var diversion: GatewayDiversion?
        if gateway.tarpit, let traps {
            var settings = TarpitSettings(hostname: configuration.hostname)
            settings.capacity = gateway.tarpitCapacity
            let isListed = { @Sendable address in decisions.tarpitStanding(of: address, now: clock.now().steady) == .listed }
            guard let (takes, report) = traps.divert(socket.name, socket.address, settings, isListed: isListed) else {
                throw StartFailure(StartFailure.unavailable, "the tarpit has no room for another source", listener: socket.name)
            }
            diversion = takes
            diversions.withLockedValue { $0.append(report) }
        }
        let looksUp = !evidence.resolver.servers.isEmpty
        let clientName: ClientNameLookup = { address in await evidence.confirmedName(of: address) }
        do {
            return try await GatewayListener.start(
                name: socket.name, address: socket.address, descriptor: socket.descriptor, group: loops,
                settings: GatewaySettings(gateway, of: configuration), decisions: decisions,
                clientName: looksUp ? clientName : nil, diversion: diversion, logger: logger)
        } catch let error as GatewaySettingsError {
            throw StartFailure(StartFailure.configuration, "\(error)", listener: socket.name)
        }
    }

    /// Makes the data folder and leaves root behind.
    private func settleIn(_ configuration: Configuration) throws {
        do throws(SettlingFailure) {
            try configuration.settleIn(makingFolder: true)
        } catch {
            throw StartFailure(error.code, error.description)
        }
        guard geteuid() == 0, configuration.user == nil else { return }
        logger.warning("running as root: name an account in `user:` and Postern will become it once its sockets are open")
    }

    private func openStore(_ configuration: Configuration) async throws -> any Store {
        do throws(StoreFailure) {
            return try configuration.openStore()
        } catch {
            let code: Int32 =
                switch error.kind {
                case .locked: 75
                case .denied: StartFailure.noPermission
                case .newer: StartFailure.configuration
                default: StartFailure.unavailable
                }
            throw StartFailure(code, "cannot open the store: \(error)")
        }
    }

    /// Goes on with the time that the store was left with, and leaves a mark at once, so that even a process that lives
    /// for a second is followed by one with the same time.
    private func startClock(_ store: any Store) async -> ServiceClock {
        do throws(StoreFailure) {
            let clock = ServiceClock(after: try await store.anchor())
            try await store.keep(clock.anchor())
            return clock
        } catch {
            logger.warning(
                "the store does not say what time it was left with; this start believes the wall clock", metadata: ["error": "\(error)"])
            return ServiceClock(after: nil)
        }
    }

    private func startLookUps(_ configuration: Configuration) async throws -> LookUps {
        do throws(ResolverStartFailure) {
            return try await LookUps.start(configuration, logger: logger, patience: ResolverHealth.patienceAtStart)
        } catch {
            throw StartFailure(StartFailure.unavailable, "cannot start the resolver: \(error)")
        }
    }

    private func lists(from store: any Store) async throws -> Lists {
        do throws(StoreFailure) {
            return Lists(entries: try await store.entries(), releases: try await store.releases())
        } catch {
            throw StartFailure(StartFailure.unavailable, "cannot read the store: \(error)")
        }
    }

    private func startControl(_ configuration: Configuration, _ handler: ControlHandler) throws -> ControlSocketServer {
        do throws(ControlFailure) {
            return try ControlSocketServer(path: configuration.controlSocketPath, handler: handler)
        } catch {
            throw StartFailure(StartFailure.unavailable, "cannot open the control socket: \(error)")
        }
    }

    /// What a person wants to see: addresses, and lines to paste.
    private static func welcome(_ listeners: [any RunningListener], _ configuration: Configuration) -> String {
        var lines = listeners.map { listener in
            let what =
                switch listener.role {
                case .policy: "policy service"
                case .gateway: "gateway"
                case .trap: "trap"
                case .admin: "dashboard"
                case .socketmap: "socketmap"
                case .dnsbl: "DNS service"
                case .inner: "inner door"
                case .throttle: "throttle"
                case .submission: "submission"
                }
            return "Postern is ready: \(what) on \(listener.address) (\(listener.name))"
        }
        lines.append("Its memory is in \(configuration.dataDirectory). Stop it with Ctrl-C.")
        if let first = listeners.first(where: { $0.role == .policy }) {
            lines += ["", Snippets.postfix(first.address), "", Snippets.exim(first.address)]
        }
        return lines.joined(separator: "\n")
    }

    /// What is risky in the configuration, once until it changes.
    private func logReview() {
        let findings = review()
        let known = reviewed.withLockedValue { reviewed in
            defer { reviewed = Set(findings) }
            return reviewed
        }
        for finding in findings where !known.contains(finding) { logger.warning("\(finding)") }
    }

    // MARK: - Reload

    private func reloadOnSignal(
        _ decisions: DecisionService, _ lookUps: LookUps, _ gateways: [GatewayListener], _ traps: [any TrapRunning],
        _ socketmaps: [SocketmapListener], _ publisher: ListPublisher, _ keeper: ListKeeper,
        _ trustedFiles: TrustedFiles
    ) async {
        ServiceManners.notify("RELOADING=1\nMONOTONIC_USEC=\(SystemClocks.monotonicMicroseconds())")
        do {
            try await reload(decisions, lookUps, gateways, traps, socketmaps, publisher, keeper, trustedFiles)
        } catch {
            history.withLockedValue { $0.fail("\(error)", at: SystemClocks.wall()) }
            logger.error("the configuration was not reloaded, the old one stays in force", metadata: ["error": "\(error)"])
        }
        ServiceManners.notify("READY=1")
    }

    @discardableResult
    private func reload(
        _ decisions: DecisionService, _ lookUps: LookUps, _ gateways: [GatewayListener], _ traps: [any TrapRunning],
        _ socketmaps: [SocketmapListener], _ publisher: ListPublisher, _ keeper: ListKeeper,
        _ trustedFiles: TrustedFiles
    )
        async throws
        -> ReloadReport
    {
        let configuration = try load()
        // The certificates, too: where one cannot be read all stays as it was.
        let renewals = try admins.withLockedValue { $0 }.compactMap { admin in
            try configuration.listeners.first { $0.name == admin.name }?.admin.map {
                try admin.renewal($0, hostname: configuration.hostname)
            }
        }
        for gateway in gateways {
            guard let listener = configuration.listeners.first(where: { $0.name == gateway.name }), let settings = listener.gateway else {
                continue
            }
            try await gateway.update(GatewaySettings(settings, of: configuration))
        }
        for renew in renewals { renew() }
        for trap in traps {
            guard let settings = configuration.listeners.first(where: { $0.name == trap.name })?.trap else { continue }
            trap.update(settings, of: configuration)
        }
        for listener in socketmaps {
            guard let socketmap = configuration.listeners.first(where: { $0.name == listener.name })?.socketmap else { continue }
            listener.service.update(.init(socketmap, of: configuration))
        }
        let report = history.withLockedValue { $0.reload(configuration, at: SystemClocks.wall()) }
        trustedFiles.update(configuration.trustedFiles)
        _ = trustedFiles.refresh()
        decisions.limits?.update(throttle: configuration.throttle, accounts: configuration.accounts, now: decisions.steadyTime)
        decisions.update { $0.settings = configuration.engineSettings(with: trustedFiles) }
        publisher.trustChanged(decisions.engine.settings.trusted)
        publisher.update(configuration)
        await keeper.update(configuration)
        lookUps.update(configuration)
        report.log(to: logger)
        logReview()
        return report
    }
}

/// A listener that accepts connections, whatever it does with them.
protocol RunningListener: Sendable {
    var name: String { get }
    var address: ListenAddress { get }
    var role: Configuration.Role { get }
    /// Stops accepting, lets what is under way finish, and waits for that at most `patience`.
    func drain(patience: WallTime.Span) async
}

extension PolicyListener: RunningListener {
    var role: Configuration.Role { .policy }
}

extension GatewayListener: RunningListener {
    var role: Configuration.Role { isSubmission ? .submission : isInner ? .inner : isThrottle ? .throttle : .gateway }
}

extension Configuration {
    fileprivate func isAdmin(_ name: String) -> Bool { listeners.contains { $0.name == name && $0.admin != nil } }

    /// The store that the configuration names, for the daemon and for a command that runs without one.
    public func openStore() throws(StoreFailure) -> any PosternEngine.Store {
        var settings = SQLiteSettings()
        settings.sync = store.sync == .full ? .full : .normal
        return try SQLiteStore(path: databasePath, keyPath: keyPath, settings: settings)
    }
}

extension EvidenceGatherer.Settings {
    init(_ configuration: Configuration) {
        self.init(timeout: configuration.dns.timeout, hostname: configuration.hostname)
    }
}

extension PolicyServiceLimits {
    init(_ policy: Configuration.Policy) {
        self.init()
        requests = PolicyLimits(line: policy.maxLineLength, attributes: policy.maxAttributes, request: policy.maxRequestSize)
        idle = policy.idleTimeout
        connections = policy.maxConnections
    }
}

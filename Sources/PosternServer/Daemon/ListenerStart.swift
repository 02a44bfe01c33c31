import Logging
import NIOCore
import PosternConfiguration
import PosternCore
import PosternEngine
import PosternTarpit

/// Starts listeners on sockets that are open, each as its role has it.
struct ListenerStart {
    let configuration: Configuration
    let services: Services
    let loops: any EventLoopGroup
    let logger: Logger
    let policy: PolicyService
    /// The tarpit, where any listener has a use for it.
    let traps: Traps?

    init(_ configuration: Configuration, _ services: Services, on loops: any EventLoopGroup, logger: Logger) throws {
        self.configuration = configuration
        self.services = services
        self.loops = loops
        self.logger = logger
        policy = PolicyService(decisions: services.decisions, hold: configuration.policy.hold)
        guard configuration.listeners.contains(where: { $0.trap?.mode == .tarpit || $0.gateway?.tarpit == true }) else {
            traps = nil
            return
        }
        guard let traps = Traps(decisions: services.decisions, clock: services.clock, logger: logger) else {
            throw StartFailure(StartFailure.unavailable, "the traps have no descriptor to start with")
        }
        self.traps = traps
    }

    /// Starts all but the admin listeners, which tell of the others.
    func start(_ sockets: [OpenSocket], into running: RunningListeners) async throws {
        for socket in sockets {
            guard let listener = configuration.listener(socket.name), listener.admin == nil else { continue }
            running.add(try await start(socket, listener, running))
        }
    }

    private func start(
        _ socket: OpenSocket, _ listener: Configuration.Listener, _ running: RunningListeners
    ) async throws -> any RunningListener {
        if let service = try await startDNSService(socket, listener) { return service }
        if let trap = listener.trap { return try await startTrap(socket, trap) }
        if let socketmap = listener.socketmap {
            let service = SocketmapService(
                socket.name, .init(socketmap, of: configuration), asking: services.lookUps.gatherer, logger: logger)
            return try await SocketmapListener.start(
                name: socket.name, address: socket.address, descriptor: socket.descriptor, group: loops, service: service, logger: logger)
        }
        if let gateway = listener.gateway { return try await startGateway(socket, gateway, running) }
        return try await PolicyListener.start(
            name: socket.name, address: socket.address, descriptor: socket.descriptor, group: loops, service: policy,
            limits: PolicyServiceLimits(configuration.policy), logger: logger)
    }

    /// `nil` where the listener has another role.
    private func startDNSService(_ socket: OpenSocket, _ listener: Configuration.Listener) async throws -> DNSServiceListener? {
        let (publisher, clock) = (services.publisher, services.clock)
        guard let datagrams = socket.datagrams, let service = publisher.service(listener, of: configuration) else { return nil }
        ListeningSocket.prepareForWaiting(datagrams)
        let started = try await DNSServiceListener.start(
            name: socket.name, address: socket.address, descriptor: socket.descriptor, datagramDescriptor: datagrams, group: loops,
            service: service, time: { ListPublisher.time(clock) }, logger: logger)
        publisher.add(started, configuration)
        return started
    }

    private func startTrap(_ socket: OpenSocket, _ trap: Configuration.Trap) async throws -> any RunningListener {
        let decisions = services.decisions
        if let settings = FakeMXSettings(trap, of: configuration) {
            return try await FakeMXListener.start(
                name: socket.name, address: socket.address, descriptor: socket.descriptor, group: loops, settings: settings,
                clock: services.clock, log: decisions.log, logger: logger,
                allows: { decisions.engine.allows(sender: $0, now: decisions.steadyTime) },
                ended: { visit in decisions.harvest?.visited(visit, decisions.engine) })
        }
        let settings = TarpitSettings(trap, hostname: configuration.hostname)
        guard let started = traps?.start(socket.name, socket.address, descriptor: socket.descriptor, settings) else {
            throw StartFailure(StartFailure.unavailable, "the trap has no descriptor to start with", listener: socket.name)
        }
        return started
    }

    private func startGateway(
        _ socket: OpenSocket, _ gateway: Configuration.Gateway, _ running: RunningListeners
    ) async throws -> GatewayListener {
        let evidence = services.lookUps.gatherer
        let looksUp = !evidence.resolver.servers.isEmpty
        let clientName: ClientNameLookup = { address in await evidence.confirmedName(of: address) }
        do {
            return try await GatewayListener.start(
                name: socket.name, address: socket.address, descriptor: socket.descriptor, group: loops,
                settings: GatewaySettings(gateway, of: configuration), decisions: services.decisions,
                clientName: looksUp ? clientName : nil, diversion: try diversion(of: socket, gateway, running), logger: logger)
        } catch let error as GatewaySettingsError {
            throw StartFailure(StartFailure.configuration, "\(error)", listener: socket.name, key: error.setting(of: gateway))
        }
    }

    /// Where the gateway hands clients to the tarpit: the way there.
    private func diversion(
        of socket: OpenSocket, _ gateway: Configuration.Gateway, _ running: RunningListeners
    ) throws -> GatewayDiversion? {
        guard gateway.tarpit, let traps else { return nil }
        let (decisions, clock) = (services.decisions, services.clock)
        var settings = TarpitSettings(hostname: configuration.hostname)
        settings.capacity = gateway.tarpitCapacity
        let isListed = { @Sendable address in decisions.tarpitStanding(of: address, now: clock.now().steady) == .listed }
        guard let (takes, report) = traps.divert(socket.name, socket.address, settings, isListed: isListed) else {
            throw StartFailure(StartFailure.unavailable, "the tarpit has no room for another source", listener: socket.name)
        }
        running.add(diversion: report)
        return takes
    }
}

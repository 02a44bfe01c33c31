import Glibc
import Logging
import NIOCore
import NIOPosix
import PosternConfiguration
import PosternControl
import PosternCore

/// The running program: sockets, store, engine, listeners; what `postern serve` does.
public final class Daemon: Sendable {
    /// How long connections have to finish when the daemon stops; a gateway's messages have longer (`GatewayListener.answerPatience`).
    static let drainPatience = WallTime.Span.seconds(10)

    private let live: LiveConfiguration
    private let log: LogWriter
    private let logger: Logger

    /// `load` reads the configuration anew; it is called at each SIGHUP. `file` is where it stands. `review` says what is risky in
    /// it, a line each, which goes into the log.
    public init(
        load: @escaping @Sendable () throws -> Configuration, configuration: Configuration, file: String? = nil,
        review: @escaping @Sendable () -> [String] = { [] }
    ) {
        live = LiveConfiguration(configuration, file: file, load: load, review: review)
        let writer = LogWriter(
            descriptor: STDERR_FILENO, format: configuration.log.format, redact: configuration.log.redact)
        log = writer
        logger = Logger(label: "postern") { _ in
            LineLogHandler(writer: writer, level: Logger.Level(rawValue: configuration.log.level.rawValue) ?? .info)
        }
    }

    /// Runs until SIGTERM or SIGINT, then drains. `announce` is called once everything is ready.
    public func run(announce: @Sendable (Welcome) throws -> Void) async throws {
        let configuration = live.current
        signal(SIGPIPE, SIG_IGN)
        let descriptors = ServiceManners.raiseDescriptorLimit()
        try DescriptorNeed(loops: System.coreCount, listeners: configuration.listeners.count).check(limit: descriptors)
        let signals = ProcessSignals([SIGHUP, SIGTERM, SIGINT])
        live.logReview(to: logger)

        let sockets = try OpenSocket.all(of: configuration, logger: logger)
        try settleIn(configuration)
        let services = try await Services.start(configuration, log: log, logger: logger)
        let loops = MultiThreadedEventLoopGroup(numberOfThreads: System.coreCount)
        let start = try ListenerStart(configuration, services, on: loops, logger: logger)
        let listeners = RunningListeners()
        try await start.start(sockets, into: listeners)

        let reloader = Reloader(live: live, services: services, listeners: listeners, logger: logger)
        let state = RunningState(
            services, listeners, reloader, dataDirectory: configuration.dataDirectory, redacts: configuration.log.redact)
        let handler = ControlHandler(store: services.store, state: state)
        let control = try startControl(configuration, handler)
        let admin = AdminListeners(
            control: handler, state: state, registry: services.registry, isServed: configuration.listeners.contains { $0.admin != nil },
            logger: logger)
        for socket in sockets {
            guard let settings = configuration.listener(socket.name)?.admin else { continue }
            listeners.add(
                try await admin.start(
                    socket.name, socket.address, descriptor: socket.descriptor, settings, hostname: configuration.hostname, logger: logger))
        }
        let background = BackgroundWork(services, listeners, state, live, configuration, log: log, logger: logger)

        logger.info(
            "ready",
            metadata: [
                "listeners": "\(listeners.all.map { "\($0.name)=\($0.address)" }.joined(separator: ","))",
                "data": "\(configuration.dataDirectory)",
                "max_descriptors": "\(descriptors)",
            ])
        ServiceManners.notify("READY=1")
        try announce(Welcome(listeners.all, configuration))

        signals: for await signal in signals.stream {
            switch signal {
            case SIGHUP: await reloader.reloadOnSignal()
            default:
                logger.info("stopping", metadata: ["signal": "\(signal == SIGTERM ? "SIGTERM" : "SIGINT")"])
                break signals
            }
        }

        ServiceManners.notify("STOPPING=1")
        // Nobody finds the way to them any more.
        for socket in sockets { socket.file?.remove() }
        await control.stop()
        await listeners.drain(patience: Self.drainPatience)
        start.traps?.end()
        admin.end()
        await services.listKeeper.stop()
        await background.end()
        await services.end()
        try? await loops.shutdownGracefully()
        logger.info("stopped")
        log.finish()
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

    private func startControl(_ configuration: Configuration, _ handler: ControlHandler) throws -> ControlSocketServer {
        let shortages = ShortageLog(logger: logger)
        do throws(ControlFailure) {
            return try ControlSocketServer(
                path: configuration.controlSocketPath, handler: handler, isShort: { shortages.noticed($0, at: "control.sock") })
        } catch {
            throw StartFailure(error.code.rawValue, "cannot open the control socket: \(error)")
        }
    }
}

import Logging
import PosternConfiguration
import PosternControl
import PosternCore

/// What the daemon does beside its listeners, until it stops.
struct BackgroundWork {
    private var tasks: [Task<Void, Never>] = []

    mutating func add(_ work: @escaping @Sendable () async -> Void) { tasks.append(Task(operation: work)) }

    /// Ends it all, and waits until each has written down what it had; the last that was added ends first.
    func end() async {
        for task in tasks.reversed() {
            task.cancel()
            await task.value
        }
    }

    /// Starts what a daemon with these services needs.
    init(
        _ services: Services, _ listeners: RunningListeners, _ state: RunningState, _ live: LiveConfiguration,
        _ configuration: Configuration, log: LogWriter, logger: Logger
    ) {
        let (store, clock, decisions) = (services.store, services.clock, services.decisions)
        add { await log.keepFlushing() }
        add { await services.lookUps.watch() }
        let primaries = listeners.gateways.filter { !$0.isSubmission }
        services.harvest.watch { primaries.isEmpty ? nil : primaries.allSatisfy(\.isWell) }
        add { await services.harvest.run { decisions.engine } }
        add {
            await Upkeep(
                store: store, clock: clock, decisions: decisions, logger: logger, keepDecisions: configuration.decisions.keep
            ).run()
        }
        let isThrottle = configuration.listeners.contains { $0.role == .throttle }
        add {
            await LimitUpkeep(
                limits: services.limits, store: store, clock: clock,
                settings: { (live.current.accounts, live.current.firewall, live.current.hostname) },
                refusable: { decisions.refusable($0, isThrottle: isThrottle) }, revision: { decisions.revision },
                redacts: { log.redacts }, logger: logger
            ).run()
        }
        add { await services.watchTrusted(live, logger) }
        add { await HistoryKeeper(store: store, state: state, keep: configuration.history.keep).run() }
    }
}

extension Services {
    /// Runs until cancelled: files of trusted senders that have changed are read again.
    fileprivate func watchTrusted(_ live: LiveConfiguration, _ logger: Logger) async {
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(2))
            guard trustedFiles.refresh() else { continue }
            let trusted = live.current.trusted(with: trustedFiles)
            decisions.update { $0.settings.trusted = trusted }
            publisher.trustChanged(trusted)
            logger.info("trusted senders were read anew")
        }
    }
}

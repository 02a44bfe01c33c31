import Logging
import PosternConfiguration
import PosternControl
import PosternCore

/// Reads the configuration anew and puts it in force, as far as that needs no restart.
struct Reloader: Sendable {
    let live: LiveConfiguration
    let services: Services
    let listeners: RunningListeners
    let logger: Logger

    /// As SIGHUP wants it, with the service manager told.
    func reloadOnSignal() async {
        ServiceManners.notify("RELOADING=1\nMONOTONIC_USEC=\(SystemClocks.monotonicMicroseconds())")
        _ = try? await reload()
        ServiceManners.notify("READY=1")
    }

    /// Throws where the new configuration cannot be used; then the old one stays in force, whole.
    @discardableResult
    func reload() async throws -> ReloadReport {
        do {
            return try await take(live.read())
        } catch {
            live.fail(error)
            logger.error("the configuration was not reloaded, the old one stays in force", metadata: ["error": "\(error)"])
            throw error
        }
    }

    private func take(_ configuration: Configuration) async throws -> ReloadReport {
        // The certificates, too: where one cannot be read all stays as it was.
        let renewals = try listeners.admins.compactMap { admin in
            try configuration.listener(admin.name)?.admin.map { try admin.renewal($0, hostname: configuration.hostname) }
        }
        for gateway in listeners.gateways {
            guard let settings = configuration.listener(gateway.name)?.gateway else { continue }
            try await gateway.update(GatewaySettings(settings, of: configuration))
        }
        for renew in renewals { renew() }
        for trap in listeners.traps {
            guard let settings = configuration.listener(trap.name)?.trap else { continue }
            trap.update(settings, of: configuration)
        }
        for listener in listeners.socketmaps {
            guard let socketmap = configuration.listener(listener.name)?.socketmap else { continue }
            listener.service.update(.init(socketmap, of: configuration))
        }
        let report = live.take(configuration)
        let (decisions, publisher, files) = (services.decisions, services.publisher, services.trustedFiles)
        files.update(configuration.trustedFiles)
        _ = files.refresh()
        services.limits.update(throttle: configuration.throttle, accounts: configuration.accounts, now: decisions.steadyTime)
        decisions.update { $0.settings = configuration.engineSettings(with: files) }
        publisher.trustChanged(decisions.engine.settings.trusted)
        publisher.update(configuration)
        await services.listKeeper.update(configuration)
        services.lookUps.update(configuration)
        report.log(to: logger)
        live.logReview(to: logger)
        return report
    }
}

import Glibc
import Logging
import NIOSSL
import PosternAdmin
import PosternConfiguration
import PosternControl
import PosternCore
import PosternMetrics

/// The admin listeners, which share one site.
final class AdminListeners: Sendable {
    let registry: MetricRegistry
    private let site: AdminSite
    private let live: LiveNumbers
    private let sampling: Task<Void, Never>?

    /// `isServed`: there is a listener that somebody may look at; else no numbers are taken.
    init(control: ControlHandler, state: any DaemonState, registry: MetricRegistry, isServed: Bool, logger: Logger) {
        self.registry = registry
        let live = LiveNumbers(state)
        self.live = live
        site = AdminSite(control: control, registry: registry, live: live, logger: logger)
        sampling = isServed ? Task { await live.run() } : nil
    }

    /// Starts to serve on a listening descriptor, which the listener then owns.
    func start(
        _ name: String, _ address: ListenAddress, descriptor: Int32, _ admin: Configuration.Admin, hostname: String, logger: Logger
    ) async throws -> AdminRunning {
        let settings: AdminSettings
        do throws(AdminStartFailure) {
            settings = try AdminSettings(admin, address: address, hostname: hostname)
        } catch {
            throw StartFailure(StartFailure.configuration, error.description, listener: name)
        }
        do {
            let listener = try await AdminListener.start(
                descriptor: descriptor, settings: settings, site: site, logger: logger,
                prepare: AcceptPause.adding(name, ShortageLog(logger: logger)))
            return AdminRunning(name: name, address: address, listener: listener, hasToken: settings.token != nil)
        } catch {
            throw StartFailure(StartFailure.unavailable, "the admin listener cannot start: \(error)", listener: name)
        }
    }

    func end() { sampling?.cancel() }
}

/// One listener with role `admin`.
struct AdminRunning: RunningListener {
    let name: String
    let address: ListenAddress
    let role = Configuration.Role.admin
    fileprivate let listener: AdminListener
    /// Whether it began with a token: it is not to be left open by a file of settings that has lost it.
    fileprivate let hasToken: Bool

    /// Reads token and certificate anew, and says how they are taken up. Throws where one cannot be used.
    func renewal(_ admin: Configuration.Admin, hostname: String) throws -> @Sendable () -> Void {
        let settings = try AdminSettings(admin, address: address, hostname: hostname)
        guard !hasToken || settings.token != nil else { return {} }
        return try listener.renewal(settings)
    }

    func drain(patience: WallTime.Span) async {
        await listener.drain(patience: min(patience, .seconds(2)))
    }
}

/// Why an admin listener's settings cannot be taken: a file that cannot be read, or a token that is too short.
struct AdminStartFailure: Error, CustomStringConvertible {
    let description: String
}

extension AdminSettings {
    init(_ admin: Configuration.Admin, address: ListenAddress, hostname: String) throws(AdminStartFailure) {
        var hosts: Set<String> = ["localhost", "127.0.0.1", "[::1]", hostname.lowercased()]
        if case .tcp(let host, _) = address { hosts.insert(host.family == .v4 ? "\(host)" : "[\(host)]") }
        for name in admin.hosts { hosts.insert(IPAddress(name)?.family == .v6 ? "[\(name)]" : name) }
        self.init(hosts: hosts)
        if case .tcp(let host, _) = address { takesAnyAddress = ["0.0.0.0", "::"].contains("\(host)") }
        if let path = admin.tokenFile {
            do throws(AdminToken.Failure) {
                token = try AdminToken.read(path)
            } catch {
                throw AdminStartFailure(description: "token_file: \(error)")
            }
        }
        guard let chain = admin.certificate, let key = admin.key else { return }
        do throws(GatewaySettingsError) {
            tls = TLSConfiguration.makeServerConfiguration(
                certificateChain: try CertificateFile.chain(chain).map { .certificate($0) },
                privateKey: .privateKey(try CertificateFile.key(key)))
            tls?.minimumTLSVersion = .tlsv12
        } catch {
            throw AdminStartFailure(description: "\(error)")
        }
    }
}

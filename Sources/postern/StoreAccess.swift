import Foundation
import PosternConfiguration
import PosternControl
import PosternCore
import PosternEngine
import PosternServer
import PosternStorage
import PublicSuffix

/// The way to the store: through the daemon where one runs, else by opening it.
final class StoreAccess {
    fileprivate enum Way {
        case daemon(ControlClient)
        case direct(ControlHandler, any Store)
    }

    private let way: Way

    enum Purpose {
        /// Where there is no store yet, nothing is known; none is made.
        case reading
        /// Makes the store where there is none.
        case writing
        /// Only a running daemon can do it.
        case daemonOnly
        /// The same, and what is wrong with the configuration the daemon says by itself: it logs that, and `status` shows it.
        case reloading
    }

    /// How long a daemon that holds the store and does not answer is waited for: it starts, or ends.
    private static let patience = Duration.seconds(3)

    static func open(_ configuration: Configuration, for purpose: Purpose) async throws(ControlFailure) -> StoreAccess {
        let until = ContinuousClock.now + patience
        while true {
            if let client = try ControlClient.connect(to: configuration.controlSocketPath) { return StoreAccess(.daemon(client)) }
            if purpose == .daemonOnly || purpose == .reloading {
                var advice = "start `postern serve`, or name its configuration with --config"
                if purpose == .reloading {
                    advice += ". Where data_directory is another now, SIGHUP reloads the rest, and the next start moves the daemon there"
                }
                throw ControlFailure(.unavailable, "no daemon answers on \(configuration.controlSocketPath); \(advice)")
            }
            do throws(ControlFailure) {
                return try await open(try store(configuration, purpose), configuration)
            } catch {
                guard error.code == .temporary, ContinuousClock.now < until else { throw error }
            }
            try? await Task.sleep(for: .milliseconds(50))
        }
    }

    /// The way to a store that was opened here.
    private static func open(_ store: any Store, _ configuration: Configuration) async throws(ControlFailure) -> StoreAccess {
        Output.note("no daemon runs; this is the store in \(configuration.dataDirectory)")
        guard let domains = PublicSuffixList() else {
            throw ControlFailure(.unavailable, "libpsl has no public suffix list; install Debian's publicsuffix package")
        }
        do throws(StoreFailure) {
            let lists = Lists(entries: try await store.entries(), releases: try await store.releases())
            let state = DirectState(
                engine: Engine(settings: configuration.engineSettings, lists: lists, domains: domains), store: store,
                clock: ServiceClock(after: try await store.anchor()), configuration: configuration)
            return StoreAccess(.direct(ControlHandler(store: store, state: state), store))
        } catch {
            throw ControlFailure(error)
        }
    }

    fileprivate init(_ way: Way) {
        self.way = way
    }

    func send(_ request: ControlRequest) async throws(ControlFailure) -> ControlReply {
        switch way {
        case .daemon(let client): try client.send(request)
        case .direct(let handler, _): try await handler.handle(request).get()
        }
    }

    /// Waits until all is on disk.
    func close() async {
        if case .direct(_, let store) = way { await store.close() }
    }

    // MARK: - Without a daemon

    private static func store(_ configuration: Configuration, _ purpose: Purpose) throws(ControlFailure) -> any Store {
        do throws(SettlingFailure) {
            try configuration.settleIn(makingFolder: purpose == .writing)
        } catch {
            throw ControlFailure(ControlFailure.Code(rawValue: error.code) ?? .unavailable, error.description)
        }
        if purpose == .reading, !FileManager.default.fileExists(atPath: configuration.databasePath) {
            guard access(configuration.dataDirectory, X_OK) == 0 || errno != EACCES else {
                throw ControlFailure(
                    .noPermission, "you may not look into \(configuration.dataDirectory); use the daemon's account or root")
            }
            return MemoryStore()
        }
        do throws(StoreFailure) {
            return try configuration.openStore(for: .command)
        } catch {
            let found = error.kind == .locked ? "no daemon answers on \(configuration.controlSocketPath)" : "no daemon runs"
            throw ControlFailure(ControlFailure(error).code, "\(found), and the store cannot be opened: \(error.message)")
        }
    }
}

/// The state of a command that has opened the store by itself.
private final class DirectState: DaemonState {
    private let fixed: Engine
    private let store: any Store
    private let clock: ServiceClock
    private let configuration: Configuration
    var redacts: Bool { configuration.log.redact }

    init(engine: Engine, store: any Store, clock: ServiceClock, configuration: Configuration) {
        fixed = engine
        self.store = store
        self.clock = clock
        self.configuration = configuration
    }

    func engine() -> Engine { fixed }

    func now() -> Moment {
        let (steady, wall) = clock.now()
        return Moment(steady: steady, wall: wall)
    }

    // One command, one request: nobody decides with the lists any more.
    func listsChanged(_ lists: Lists) {}

    func account(_ name: String) -> String { configuration.account(name) }

    func status() throws(ControlFailure) -> StatusReport { throw Self.noDaemon }

    func reload() async throws(ControlFailure) -> ReloadReport { throw Self.noDaemon }

    /// As the daemon would look things up; nothing where nobody answers.
    func findings(for attempt: Attempt) async -> Findings {
        guard let (lookUps, watch) = try? await LookUps.started(configuration) else { return Findings() }
        defer {
            watch.cancel()
            lookUps.close()
        }
        return await withCheckedContinuation { continuation in
            lookUps.gatherer.gather(attempt, for: fixed.settings) { continuation.resume(returning: $0) }
        }
    }

    func export(_ draft: ExportDraft) async throws(ControlFailure) -> ExportReport {
        let harvest: [HarvestEntry]
        do throws(StoreFailure) {
            harvest = try await store.harvest().entries
        } catch {
            throw ControlFailure(error)
        }
        return try await OfflineExport.write(draft, configuration, fixed.lists, harvest: harvest, clock)
    }

    private static let noDaemon = ControlFailure(.unavailable, "no daemon runs")
}

extension CommonOptions {
    /// Loads the configuration, finds the store, carries out `body`; a failure becomes a message and an exit code.
    func withStore(for purpose: StoreAccess.Purpose, _ body: (StoreAccess) async throws -> Void) async throws {
        do {
            let access = try await access(for: purpose)
            do {
                try await body(access)
            } catch {
                await access.close()
                throw error
            }
            await access.close()
        } catch let failure as ControlFailure {
            throw Output.exit(failure)
        }
    }

    /// A daemon that runs is asked though its file has become wrong since: it goes on with what that said before, and whoever mends the
    /// file must be able to see, block and release meanwhile.
    private func access(for purpose: StoreAccess.Purpose) async throws -> StoreAccess {
        let configuration: Configuration
        do throws(ConfigurationFailure) {
            configuration = try file.load().configuration
        } catch {
            guard let path = error.controlSocketPath, let client = try ControlClient.connect(to: path) else { throw refused(error) }
            if purpose != .reloading {
                for diagnostic in error.diagnostics { Output.diagnostic(diagnostic) }
                Output.note("the daemon that runs goes on with what this file said before")
            }
            return StoreAccess(.daemon(client))
        }
        return try await StoreAccess.open(configuration, for: purpose)
    }

    /// The common shape: one request, its answer printed.
    func ask(_ request: ControlRequest, for purpose: StoreAccess.Purpose, print: (ControlReply) throws -> Void) async throws {
        try await withStore(for: purpose) { try print(try await $0.send(request)) }
    }
}

/// An answer of another kind than was asked for: daemon and command are of different versions.
func unexpected(_ reply: ControlReply) -> ControlFailure {
    ControlFailure(.protocolMismatch, "the daemon answered something else than was asked; restart it, so that both are of the same version")
}

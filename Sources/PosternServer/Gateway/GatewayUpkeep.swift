import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOSSL
import PosternCore
import SMTPProtocol

/// What a gateway does beside its sessions: learns what its backends offer, sees whether those that are out are back, reads
/// certificates that have changed, and lets idle connections go.
final class GatewayUpkeep: Sendable {
    static let tick = Duration.seconds(1)
    /// Ticks between looks at the certificate's files.
    private static let certificateTicks = 5

    private let gateway: Gateway
    private let loops: GatewayLoops
    private let task = NIOLockedValueBox<Task<Void, Never>?>(nil)

    init(_ gateway: Gateway, loops: GatewayLoops) {
        self.gateway = gateway
        self.loops = loops
    }

    func start() {
        task.withLockedValue { $0 = Task { await run() } }
    }

    func stop() async {
        let running = task.withLockedValue { task in
            defer { task = nil }
            return task
        }
        running?.cancel()
        await running?.value
    }

    /// Connections to backends are kept no longer.
    func closePools() {
        for loop in loops.loops { loop.execute { [loops] in loops[loop].pool.close() } }
    }

    private func run() async {
        var ticks = 0
        while !Task.isCancelled {
            try? await Task.sleep(for: Self.tick)
            ticks += 1
            let now = NIODeadline.now()
            for loop in loops.loops {
                loop.execute { [loops] in
                    loops[loop].prober.tidy(now)
                    loops[loop].pool.tidy(now)
                }
            }
            for address in gateway.directory.due(gateway.settings.health, now: now) { _ = ask(address) }
            if ticks % Self.certificateTicks == 0 { rereadCertificates() }
        }
    }

    /// Asks every backend that is not known what it offers, and waits a little for the answers.
    func learn(within patience: TimeAmount) async {
        guard let loop = loops.loops.first else { return }
        let asked = gateway.directory.due(gateway.settings.health, now: .now()).map { ask($0) }
        guard !asked.isEmpty else { return }
        let promise = loop.makePromise(of: Void.self)
        let all = EventLoopFuture.andAllComplete(asked, on: loop)
        let timeout = loop.scheduleTask(in: patience) { promise.succeed() }
        all.whenComplete { _ in
            timeout.cancel()
            promise.succeed()
        }
        try? await promise.futureResult.get()
    }

    /// Succeeds once the backend has answered, or has failed to.
    private func ask(_ address: ListenAddress) -> EventLoopFuture<Void> {
        guard let loop = loops.loops.first else { preconditionFailure("a group has at least one loop") }
        let promise = loop.makePromise(of: Void.self)
        promise.futureResult.whenComplete { [gateway] _ in gateway.directory.asked(address) }
        loop.execute { [gateway, loops] in
            let current = gateway.current
            var settings = gateway.backendSettings(for: address, current.settings)
            // Nobody's mail is at stake here, and a backend that takes this long is not well.
            settings.timeouts.shorten(to: current.settings.health.patience)
            let connection = BackendConnection(
                address, settings: settings, client: nil, tls: current.backendTLS, gate: loops[loop], user: BackendInquiry(promise))
            connection.connect(timeout: .milliseconds(current.settings.connectTimeout.milliseconds))
        }
        return promise.futureResult
    }

    private func rereadCertificates() {
        let current = gateway.current
        guard current.filesHaveChanged else { return }
        do {
            gateway.update(try Gateway.Current(reading: current.settings))
            gateway.logger.notice("certificates were read anew", metadata: ["listener": "\(gateway.name)"])
        } catch {
            gateway.seldom.log(
                .error, "changed certificates cannot be used, the old ones stay in force",
                metadata: ["listener": "\(gateway.name)", "error": "\(error)"])
        }
    }
}

extension BackendTimeouts {
    /// Waits at most this long for each answer that opens a session.
    mutating func shorten(to longest: WallTime.Span) {
        greeting = min(greeting, longest)
        command = min(command, longest)
        handshake = min(handshake, longest)
    }
}

/// Opens a connection to hear what the backend offers, and leaves.
private final class BackendInquiry: BackendUser {
    private let promise: EventLoopPromise<Void>
    private var isDone = false

    init(_ promise: EventLoopPromise<Void>) {
        self.promise = promise
    }

    func backendReady(_ connection: BackendConnection, _ learnt: Extensions?) { isDone = true }
    func backend(_ connection: BackendConnection, failed failure: BackendFailure) { isDone = true }

    func backendTurnEnded(_ connection: BackendConnection) {
        guard isDone else { return }
        promise.succeed()
        connection.leave()
    }
}

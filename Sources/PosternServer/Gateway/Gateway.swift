import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOSSL
import PosternCore
import SMTPProtocol

/// Looks up the forward-confirmed name of a client, or why there is none.
public typealias ClientNameLookup = @Sendable (IPAddress) async -> XClientValue<DomainName>

/// What all sessions of one gateway listener share.
final class Gateway: Sendable {
    /// Settings with what was read from the files that they name.
    final class Current: Sendable {
        let settings: GatewaySettings
        let tls: NIOSSLContext?
        let backendTLS: NIOSSLContext?
        /// Of an inner door: certificates that are nodes'.
        let nodes: Set<NIOSSLCertificate>
        let files: FileState

        init(settings: GatewaySettings, tls: NIOSSLContext?, backendTLS: NIOSSLContext?, nodes: Set<NIOSSLCertificate>, files: FileState) {
            self.settings = settings
            self.tls = tls
            self.backendTLS = backendTLS
            self.nodes = nodes
            self.files = files
        }
    }

    let name: String
    let decisions: DecisionService
    let logger: Logger
    let counters = GatewayCounters()
    let sessions: SessionTable
    let directory: BackendDirectory
    let mailboxes = MailboxCache()
    let clients = ClientRecipients()
    let clientName: ClientNameLookup?
    private let diversion: GatewayDiversion?
    /// For a listener with role `inner`.
    let door: InnerDoor?
    private let box: NIOLockedValueBox<Current>
    private let lastTurnedAway = NIOLockedValueBox<NIODeadline?>(nil)
    /// For what a stranger could make us say too often.
    let seldom: RateLimitedLog

    init(
        name: String, current: Current, decisions: DecisionService, clientName: ClientNameLookup?, diversion: GatewayDiversion?,
        logger: Logger
    ) {
        self.name = name
        self.decisions = decisions
        self.logger = logger
        self.clientName = clientName
        self.diversion = diversion
        sessions = SessionTable(counters: counters)
        door = current.settings.inner == nil ? nil : InnerDoor(name: name, counters: counters, logger: logger)
        directory = BackendDirectory(current.settings.allBackends)
        box = NIOLockedValueBox(current)
        seldom = RateLimitedLog(logger: logger, interval: .minutes(1))
    }

    /// Whether the tarpit has taken a client, about whom nothing is known but the address: its channel is to be closed.
    func diverts(_ channel: any Channel, from address: IPAddress) -> Bool {
        guard let diversion, diversion.takes(channel, from: address) else { return false }
        counters.count { $0.diverted += 1 }
        return true
    }

    var current: Current { box.withLockedValue { $0 } }
    var settings: GatewaySettings { current.settings }

    /// From here on new sessions go by these.
    func update(_ current: Current) {
        box.withLockedValue { $0 = current }
        directory.update(current.settings.allBackends)
    }

    // MARK: - Backends

    /// How a connection to a backend is to be opened.
    func backendSettings(for address: ListenAddress, _ settings: GatewaySettings) -> BackendSettings {
        var mode = settings.backendTLS.mode
        if mode == .opportunistic, directory.failsTLS(address) { mode = .never }
        var backend = BackendSettings(
            hostname: settings.hostname, clientInformation: settings.clientInformation, tls: mode, timeouts: settings.backendTimeouts)
        backend.requiresLogIn = settings.submission != nil
        return backend
    }

    /// - Parameter own: what it has just said in our own name; `nil` where it has said nothing.
    func backendAnswered(_ address: ListenAddress, _ own: Extensions?, readHeader: Bool) {
        if readHeader { directory.tookHeader(address, true) }
        if directory.answered(address, own, now: .now()) {
            logger.notice("backend is back", metadata: ["listener": "\(name)", "backend": "\(address)"])
        }
    }

    func backendFailed(_ address: ListenAddress, _ failure: BackendFailure, wasReady: Bool, namedClient: Bool) {
        counters.count { $0.backendFailures += 1 }
        // What a client can bring about says nothing of the backend's health: content refused, or a greeting refused that
        // was its own, or slow to come for its sake (a look-up of its name); nor does an idle connection that the backend has closed.
        let says: Bool =
            switch failure.reason {
            case .contentRefused: false
            case .refusedUs, .notUnderstood, .closing: !wasReady && !namedClient
            case .clientInformationNotNegotiated, .notLoggedIn: false
            case .connectionLost: !wasReady
            case .timedOut: wasReady || !namedClient
            case .notConnected, .nonsense, .tlsUnavailable, .handshakeFailed, .plaintextAfterStartTLS: true
            }
        let information = settings.clientInformation
        switch failure.reason {
        case .clientInformationNotNegotiated:
            seldom.log(
                .error, "backend does not let us say who the client is: nothing is forwarded to it (\(information.advice))",
                metadata: ["listener": "\(name)", "backend": "\(address)"])
        case .notUnderstood(let reply):
            if information == .proxyV2 { directory.tookHeader(address, false) }
            let what = information == .proxyV2 ? "the PROXY header" : "the EHLO or HELO"
            seldom.log(
                .error, "backend does not understand \(what) that Postern begins with: nothing is forwarded to it (\(information.advice))",
                metadata: ["listener": "\(name)", "backend": "\(address)", "reply": "\(reply)"])
        case .timedOut where !wasReady: directory.doubted(address)
        default: break
        }
        guard says, directory.failed(address, settings.health, now: .now()) else { return }
        var metadata: Logger.Metadata = ["listener": "\(name)", "backend": "\(address)", "reason": "\(failure.reason.words)"]
        switch failure.reason {
        case .notConnected(let error), .handshakeFailed(let error): metadata["error"] = "\(error)"
        case .refusedUs(let reply), .notUnderstood(let reply), .closing(let reply): metadata["reply"] = "\(reply)"
        default: break
        }
        logger.warning("backend is out", metadata: metadata)
    }

    /// Whether a backend's refusal of a connection behind a PROXY header is its word to the client. Else the header may be what it
    /// refuses, and the client must not return its mail for that.
    func isForClient(_ refusal: Reply, behindHeaderTo address: ListenAddress) -> Bool {
        if refusal.isAboutPolicy || directory.readsHeaders(address) { return true }
        seldom.log(
            .error,
            "backend refuses a connection, perhaps for its PROXY header, which it is not known to read: the client is told to try later (\(BackendSettings.ClientInformation.proxyV2.advice))",
            metadata: ["listener": "\(name)", "backend": "\(address)", "reply": "\(refusal)"])
        return false
    }

    // MARK: - Sessions

    /// Somebody came and was told to come back later. It tried, which nobody may hold against it; and whoever goes on to another
    /// exchanger now has reason to. `client`: where it is known.
    func turnedAway(_ client: IPAddress?) {
        lastTurnedAway.withLockedValue { $0 = .now() }
        if let client { decisions.met(client, at: name) }
    }

    /// Whether somebody was, just now.
    var isTurningAway: Bool {
        lastTurnedAway.withLockedValue { last in last.map { NIODeadline.now() - $0 < Self.turningAway } ?? false }
    }

    /// For so long nobody takes it for a listener that can be reached: longer than it takes whoever wants to know to look again.
    private static let turningAway = TimeAmount.seconds(5)

    /// What EHLO offers a client, by what the backends offer it and what we can do.
    func extensions(_ current: Current, for client: IPAddress) -> Extensions {
        // While no backend has ever been heard: RFC 6531 §3.5 has a sender return mail for want of an extension that may well be
        // there. A message that needs what a backend then lacks is put off (`BackendSession`), and the next EHLO tells the truth.
        let isNamed = current.settings.clientInformation != .none
        let offered =
            directory.offered(to: isNamed ? client : nil, now: .now()) ?? Extensions(eightBitMIME: true, smtpUTF8: true, dsn: true)
        return offered.offered(limit: current.settings.limits.content.octets, startTLS: current.tls != nil)
    }

    /// What is left of a delay under the load of now.
    func shortened(_ delay: WallTime.Span, automatic: Bool, _ current: Current) -> WallTime.Span {
        guard delay > .zero else { return delay }
        let factor = Self.delayFactor(open: sessions.open, automatic: automatic, current.settings)
        guard factor < 1 else { return delay }
        counters.count { $0.delaysShortened += 1 }
        return WallTime.Span(milliseconds: Int64(Double(delay.milliseconds) * factor))
    }

    /// 1 while there is room, falling to 0 from `busyPercent` to `nearlyFullPercent`; `greeting: auto` falls from the start.
    static func delayFactor(open: Int, automatic: Bool, _ settings: GatewaySettings) -> Double {
        let load = Double(open) * 100 / Double(max(settings.maxSessions, 1))
        let full = Double(settings.nearlyFullPercent)
        let busy = automatic ? 0 : min(Double(settings.busyPercent), full)
        guard load > busy else { return 1 }
        return load >= full ? 0 : (full - load) / (full - busy)
    }
}

/// What the sessions of one gateway listener on one event loop share.
final class GatewayLoop {
    let gateway: Gateway
    let loop: any EventLoop
    let wheel: TimerWheel
    let reads: ReadBuffers
    let writes = WriteBuffers()
    /// Octets that clients have sent unasked, of all sessions (`MemorySettings.unreadTogether`).
    var unread = 0
    private(set) lazy var prober = MailboxProber(gate: self)
    private(set) lazy var pool = BackendPool(gate: self)

    init(_ gateway: Gateway, loop: any EventLoop) {
        self.gateway = gateway
        self.loop = loop
        wheel = TimerWheel(loop: loop)
        reads = ReadBuffers(size: gateway.settings.memory.read)
    }

    /// How sockets of sessions and of backends are read and written. Set at once, without a future for each.
    func setOptions(of channel: any Channel) throws {
        let memory = gateway.settings.memory
        guard let options = channel.syncOptions else { return }
        try options.setOption(.maxMessagesPerRead, value: 1)
        try options.setOption(.recvAllocator, value: reads.allocator(on: loop))
        try options.setOption(.writeBufferWaterMark, value: .init(low: memory.lowWater, high: memory.highWater))
    }
}

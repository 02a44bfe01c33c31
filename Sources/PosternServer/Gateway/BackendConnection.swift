import Glibc
import NIOCore
import NIOPosix
import NIOSSL
import NIOTLS
import PosternCore
import SMTPProtocol

/// What a backend connection is made for. Calls come on its event loop; what is called notes them and acts at
/// `backendTurnEnded`.
protocol BackendUser: AnyObject {
    func backendReady(_ connection: BackendConnection, _ learnt: Extensions?)
    func backend(_ connection: BackendConnection, replied reply: Reply, to step: BackendStep)
    func backend(_ connection: BackendConnection, probed outcome: ProbeOutcome)
    func backend(_ connection: BackendConnection, authenticated outcome: AuthenticationOutcome)
    func backend(_ connection: BackendConnection, failed failure: BackendFailure)
    /// All that one event brought has been told.
    func backendTurnEnded(_ connection: BackendConnection)
    /// The connection takes more again, or no more for now.
    func backendWritabilityChanged(_ connection: BackendConnection)
}

extension BackendUser {
    func backendReady(_ connection: BackendConnection, _ learnt: Extensions?) {}
    func backend(_ connection: BackendConnection, replied reply: Reply, to step: BackendStep) {}
    func backend(_ connection: BackendConnection, probed outcome: ProbeOutcome) {}
    func backend(_ connection: BackendConnection, authenticated outcome: AuthenticationOutcome) {}
    func backendWritabilityChanged(_ connection: BackendConnection) {}
}

/// One connection to a backend: performs what `BackendSession` says.
///
/// It is of one client at a time (`BackendSession.client`), or of our own for questions. Everything happens on the event
/// loop of its user.
final class BackendConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    let address: ListenAddress
    /// Its address, for the log.
    let name: String
    /// Whether it was opened: commands of the client may have reached the backend.
    private(set) var isReady = false
    private(set) var session: BackendSession
    private let gate: GatewayLoop
    let tls: NIOSSLContext?
    private var user: (any BackendUser)?
    private var context: ChannelHandlerContext?
    private var actions: [BackendAction] = []
    /// Those that are being performed, the next one last.
    private var performing: [BackendAction] = []
    private var isPerforming = false
    private var hasEnded = false
    /// What is to be written at the end of this turn.
    private var out: ByteBuffer?
    private let writer = SocketWriter()
    private var ticket: TimerWheel.Ticket?
    private var deadline: BackendDeadline?
    /// Octets of content sent on, as the backend receives them.
    private(set) var octets: UInt64 = 0
    /// Messages that were begun.
    private(set) var messages = 0
    /// Whether it has come from another client.
    private var wasKept = false
    /// Which backend settings the TLS failed under, if it did.
    private var isHandshaking = false
    /// How long the greeting is waited for, where that is less than the settings have it.
    private var greetingPatience: WallTime.Span?
    /// When what the backend is measured by began: its connection, or the end of a message's content.
    private var began = ServiceMetrics.now()

    init(
        _ address: ListenAddress, settings: BackendSettings, client: BackendClient?, tls: NIOSSLContext?, gate: GatewayLoop,
        user: any BackendUser
    ) {
        self.address = address
        name = address.description
        self.gate = gate
        self.tls = tls
        self.user = user
        session = BackendSession(settings: settings, client: client)
    }

    // MARK: - Connecting

    /// - Parameter greetingWithin: for the greeting, where another backend can be tried after that; a failure like any other.
    func connect(timeout: TimeAmount, greetingWithin: WallTime.Span? = nil) {
        greetingPatience = greetingWithin
        let bound = NIOLoopBound(self, eventLoop: gate.loop)
        let bootstrap = ClientBootstrap(group: gate.loop)
            .connectTimeout(timeout)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let connection = bound.value
                    try connection.gate.setOptions(of: channel)
                    try channel.pipeline.syncOperations.addHandler(connection)
                }
            }
        let connecting =
            switch address {
            case .tcp(let host, let port):
                SocketAddresses.nio(host, port).map { bootstrap.connect(to: $0) }
            case .unix(let path, _, _): bootstrap.connect(unixDomainSocketPath: path)
            }
        guard let connecting else { return perform { $0.notConnected("No such address", into: &$1) } }
        connecting.whenFailure { error in
            let reason = Self.reason(error)
            bound.value.perform { $0.notConnected(reason, into: &$1) }
        }
    }

    /// Why no connection could be made, in the system's words.
    private static func reason(_ error: any Error) -> String {
        if let error = error as? IOError { return String(cString: strerror(error.errnoCode)) }
        if let error = error as? ChannelError, case .connectTimeout = error { return String(cString: strerror(ETIMEDOUT)) }
        return "\(error)"
    }

    func channelActive(context: ChannelHandlerContext) {
        self.context = context
        // It may have been given up while it was being made.
        guard !hasEnded else { return context.close(promise: nil) }
        writer.open(context)
        perform { $0.connected(into: &$1) }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        writer.close()
        isWritable = true
        perform { $0.closed(into: &$1) }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let buffer = unwrapInboundIn(data)
        perform { session, actions in buffer.withUnsafeReadableBytes { session.received($0, into: &actions) } }
        gate.reads.giveBack(buffer)
    }

    // Nobody behind us wants to know.
    func channelReadComplete(context: ChannelHandlerContext) {}

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        isWritable = context.channel.isWritable
        user?.backendWritabilityChanged(self)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .handshakeCompleted? = event as? TLSUserEvent {
            isHandshaking = false
            perform { $0.tlsEstablished(into: &$1) }
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if isHandshaking {
            isHandshaking = false
            // Done without from here on, where TLS is only a wish.
            gate.gateway.directory.failedTLS(address)
            let reason = CertificateFile.words(error)
            perform { $0.handshakeFailed(reason, into: &$1) }
        }
        context.close(promise: nil)
    }

    // MARK: - What its user wants

    /// Whether content flows, and none is waiting.
    private(set) var isWritable = true

    func recipient(_ recipient: RecipientCommand, of mail: MailCommand) {
        perform { $0.recipient(recipient, of: mail, into: &$1) }
    }

    func authenticate(_ credentials: Credentials) {
        perform { $0.authenticate(credentials, into: &$1) }
    }

    func beginContent() {
        octets = 0
        messages += 1
        perform { $0.beginContent(into: &$1) }
    }

    func content(_ pieces: [ContentPiece], of input: ByteBuffer) {
        perform(input) { session, actions in
            input.withUnsafeReadableBytes { session.content(pieces, of: $0, into: &actions) }
        }
    }

    /// Octets of our own ahead of the content: whole header lines.
    func header(_ line: String) {
        write { $0.writeString(line) }
    }

    private func write(_ body: (inout ByteBuffer) -> Void) {
        var buffer = out.take() ?? gate.writes.take()
        body(&buffer)
        out = buffer
    }

    func endContent() {
        began = ServiceMetrics.now()
        perform { $0.endContent(into: &$1) }
    }

    func reset() { perform { $0.reset(into: &$1) } }
    func probe(_ mailbox: RecipientCommand, of mail: MailCommand? = nil) { perform { $0.probe(mailbox, of: mail, into: &$1) } }

    /// From here on it is another client's.
    func serve(_ client: BackendClient, user: any BackendUser) {
        self.user = user
        wasKept = true
        perform { $0.serve(client, into: &$1) }
    }

    /// Lets it go: to another client where that can be, else to its end. Its user hears no more of it.
    func leave() {
        user = nil
        if gate.pool.keep(self) {
            user = gate.pool
        } else {
            end()
        }
    }

    /// Ends it, with QUIT where it is between transactions.
    func end() {
        user = nil
        perform { $0.quit(into: &$1) }
    }

    /// Lets it go at once: content under way stays without its end.
    func abort() {
        user = nil
        perform { $0.abort(into: &$1) }
    }

    /// Writes what has gathered.
    func flush() {
        guard out != nil, let context, let buffer = out.take() else { return }
        writer.write(buffer, context)
        gate.writes.giveBack(buffer)
    }

    // MARK: - Actions

    private func perform(_ input: ByteBuffer? = nil, _ event: (inout BackendSession, inout [BackendAction]) -> Void) {
        event(&session, &actions)
        guard !isPerforming else { return }
        isPerforming = true
        // As with a session's actions, those that come meanwhile are behind.
        while !actions.isEmpty {
            swap(&actions, &performing)
            performing.turnRound()
            while let action = performing.popLast() { perform(action, input) }
        }
        isPerforming = false
        if input == nil { flush() }
        user?.backendTurnEnded(self)
        if hasEnded { release() }
    }

    private func perform(_ action: consuming BackendAction, _ input: ByteBuffer?) {
        switch consume action {
        case .send(let bytes): write { $0.writeBytes(bytes) }
        case .sendSecret(let secret): write { out in secret.withUnsafeBytes { _ = out.writeBytes($0) } }
        case .forward(.insert(let insertion)): write { $0.writeBytes(insertion.bytes) }
        case .forward(.input(let range)):
            guard let input else { preconditionFailure("content comes with its input") }
            octets += UInt64(range.count)
            // Copied: a slice would keep the whole of what was read from being used again.
            write { out in input.withUnsafeReadableBytes { _ = out.writeBytes(UnsafeRawBufferPointer(rebasing: $0[range])) } }
        case .startTLS: startTLS()
        case .ready(let learnt):
            if !wasKept { gate.gateway.decisions.metrics?.backendConnected(since: began) }
            isReady = true
            // Of a connection that has come from another client the word in our own name is an old one, unless all is one.
            let own = wasKept && session.settings.clientInformation != .none ? nil : session.toldUs
            gate.gateway.backendAnswered(address, own, readHeader: session.settings.clientInformation == .proxyV2)
            noteOffer()
            user?.backendReady(self, learnt)
        case .replied(let reply, let step):
            // However long ago this session was opened: what it lacks is not offered again.
            if reply.code == 451, reply == .notOfferedNow { noteOffer() }
            if step == .endContent { gate.gateway.decisions.metrics?.backendAnsweredMessage(since: began) }
            user?.backend(self, replied: reply, to: step)
        case .authenticated(let outcome): user?.backend(self, authenticated: outcome)
        case .probed(let outcome): user?.backend(self, probed: outcome)
        case .idle: break
        case .failed(let failure):
            told(failure)
            user?.backend(self, failed: failure)
        case .deadline(let deadline): wait(for: deadline)
        case .close: close()
        }
    }

    /// What the backend offers this client is kept for the next time that it comes.
    private func noteOffer() {
        guard let client = session.client, let extensions = session.toldClient else { return }
        gate.gateway.directory.offered(address, extensions, to: client.source.address, now: .now())
    }

    private func startTLS() {
        flush()
        writer.close()
        guard let context, let tls else { return close() }
        isHandshaking = true
        do {
            try context.pipeline.syncOperations.addHandler(
                NIOSSLClientHandler(context: tls, serverHostname: nil), position: .first)
        } catch {
            close()
        }
    }

    /// What a failure says of the backend. One that ends a connection without a client is none.
    private func told(_ failure: BackendFailure) {
        if user === gate.pool { return }
        if wasKept, failure.reason == .clientInformationNotNegotiated { return gate.gateway.directory.refusedAnother(address) }
        gate.gateway.backendFailed(address, failure, wasReady: isReady, namedClient: session.hasNamedClient)
    }

    private func close() {
        hasEnded = true
        context?.close(promise: nil)
    }

    /// It waits for nothing any more. Its user stays until it lets go: whatever it still asks has an answer, such as the refusal with
    /// which the backend has turned the client away.
    private func release() {
        if let ticket { gate.wheel.remove(ticket) }
        ticket = nil
    }
}

// MARK: - Time

extension BackendConnection: Timed {
    private func wait(for deadline: BackendDeadline?) {
        self.deadline = deadline
        guard !hasEnded, deadline != nil || ticket != nil else { return }
        let ticket = ticket ?? gate.wheel.add(self)
        self.ticket = ticket
        gate.wheel.set(ticket, deadline.map { .roughlyNow() + .milliseconds(patience(for: $0).milliseconds) } ?? .distantFuture)
    }

    private func patience(for deadline: BackendDeadline) -> WallTime.Span {
        let patience = session.settings.timeouts[deadline]
        guard deadline == .greeting, let greetingPatience else { return patience }
        return min(patience, greetingPatience)
    }

    func timeCame(_ now: NIODeadline) {
        guard let deadline, !hasEnded else { return }
        // RFC 5321 §4.5.3.2.5 is about content that the backend does not take. While it takes all, we wait for the client.
        if deadline == .content, isWritable { return wait(for: deadline) }
        perform { $0.timerFired(deadline, into: &$1) }
    }
}

import NIOCore
import NIOSSL
import NIOTLS
import PosternCore
import PosternEngine
import SMTPProtocol

/// One SMTP session with a client: performs what `ServerSession` says.
///
/// Everything that happens goes through `pump`: what was answered, or what the client sent, is handed to the machine, its
/// actions are performed, and what they lead to at once is handed in again, until there is nothing more to do. Then all
/// that was written leaves together. Nothing calls the machine while its actions are being performed.
///
/// **What it holds.** One read of the client at most: while the machine waits for someone nothing more is read than what
/// shows that the client talks out of turn, and none while the backend or the client does not take what was written.
final class SessionHandler: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    let gate: GatewayLoop
    /// The settings when it began: they stay with it.
    let current: Gateway.Current
    /// When what the session's backends say of mailboxes is of use: until a reload.
    let mailboxEpoch: UInt64
    let id: ObjectIdentifier
    var context: ChannelHandlerContext?
    var machine: ServerSession?
    var actions: [ServerAction] = []
    /// Those that are being performed, the next one last.
    private var performing: [ServerAction] = []
    private var isPumping = false
    /// The client has gone, or we have closed the connection.
    private(set) var isGone = false
    let startedAt = NIODeadline.now()

    // What was received and not consumed.
    var held: ByteBuffer?
    private var readIsWithheld = false
    /// A read was asked for, and its octets have not all come.
    private var readIsOpen = false
    /// Octets that came although nothing was asked for: the client has closed its side.
    private var unread = 0
    /// The client sends no more, and may still be reading.
    private(set) var isHalfClosed = false
    /// Whether a PROXY header must come first.
    private var awaitsProxyHeader = false

    // Who the client is.
    var client = SessionClient() {
        didSet { relay.knowsClient = false }
    }
    /// What it is to an inner door, once it is known.
    var guest: InnerDoor.Guest?

    // What the machine waits for.
    var ready: Ready?
    var backendFailure: Reply?
    var question = SessionQuestion()

    // What is written.
    var output = SessionOutput()
    let writer = SocketWriter()
    /// Whether what was written has been taken, as far as the channel has said.
    private var isWritable = true

    // The backend.
    var backend: BackendConnection?
    var relay = SessionRelay()

    // The message and the session, for the log.
    var message: SessionMessage?
    var violations: ViolationSet = []
    var signals: [Check: Int] = [:]
    /// Kept for one message.
    var memory = MessageMemory()
    /// What the client was listed as when it first named a trap in this session.
    var beforeTrap: MessageMemory.BeforeTrap?

    // Moments.
    private var ticket: TimerWheel.Ticket?
    private var waitsUntil = NIODeadline.distantFuture
    private var deadline: ServerDeadline?
    private var deadlineAt = NIODeadline.distantFuture
    private var sessionEndsAt = NIODeadline.distantFuture
    private var proxyHeaderBy = NIODeadline.distantFuture
    /// Where the connection begins with TLS.
    private var handshakeBy = NIODeadline.distantFuture

    /// What the machine can go on with.
    enum Ready {
        case decision(SMTPProtocol.Decision)
        /// `inVain` where it is a recipient's, whose mailbox it does not tell of.
        case reply(Reply, inVain: Bool = false)
        case logIn(Reply)
    }

    init(gate: GatewayLoop, channel: any Channel) {
        self.gate = gate
        mailboxEpoch = gate.gateway.mailboxes.epoch
        current = gate.gateway.current
        id = ObjectIdentifier(channel)
    }

    var gateway: Gateway { gate.gateway }

    // MARK: - Beginning

    func channelActive(context: ChannelHandlerContext) {
        self.context = context
        writer.open(context)
        ticket = gate.wheel.add(self)
        let now = startedAt
        sessionEndsAt = now + .milliseconds(current.settings.timeouts.session.milliseconds)
        guard let peer = context.remoteAddress.flatMap(Endpoint.init), let local = context.localAddress.flatMap(Endpoint.init) else {
            return context.close(promise: nil)
        }
        client.source = peer
        client.destination = local
        if current.settings.proxies.contains(peer.address) {
            awaitsProxyHeader = true
            proxyHeaderBy = now + .milliseconds(current.settings.proxyTimeout.milliseconds)
            updateTimer()
        } else {
            secureOrBegin()
        }
    }

    /// RFC 8314 §3: TLS comes before everything.
    private func secureOrBegin() {
        guard current.settings.submission?.isImplicitlySecured == true else { return begin() }
        handshakeBy = .now() + .milliseconds(current.settings.timeouts.handshake.milliseconds)
        let early = held.map { ByteBuffer(bytes: $0.readableBytesView) }
        held = nil
        startTLS()
        if let early { context?.pipeline.fireChannelRead(early) }
        updateTimer()
    }

    /// The client is known by address.
    private func begin() {
        let settings = current.settings
        if settings.submission == nil { gateway.decisions.met(client.source.address, at: gateway.name) }
        var extensions = gateway.extensions(current, for: client.source.address)
        if settings.xclient.contains(client.source.address) { extensions.xclient = Set(XClientAttributes.Name.allCases) }
        var server = ServerSettings(
            hostname: settings.hostname, banner: settings.banner, extensions: extensions, leniency: settings.leniency,
            framing: settings.framing, synchronization: settings.synchronization, limits: settings.limits,
            timeouts: settings.timeouts)
        settings.submission?.apply(to: &server)
        // Never a 5xx: a node that is not recognised keeps its mail.
        if let inner = settings.inner { server.xclientRefusal = Reply(450, "4.7.0", inner.advice) }
        machine = ServerSession(settings: server, isSecured: client.isSecured)
        lookUpName()
        if !question.awaitsName { greet() }
    }

    func greet() {
        handle { $0.connected(into: &$1) }
    }

    // MARK: - Input

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !output.discardsInput else { return }
        var buffer = unwrapInboundIn(data)
        if !readIsOpen, !mayRead {
            unread += buffer.readableBytes
            gate.unread += buffer.readableBytes
            let memory = current.settings.memory
            guard unread <= memory.unread || gate.unread <= memory.unreadTogether else { return context.close(promise: nil) }
        }
        if held == nil {
            held = buffer
        } else {
            held?.writeBuffer(&buffer)
        }
        if awaitsProxyHeader { takeProxyHeader() }
        pump()
        releaseRead(buffer)
    }

    /// What was read into is for the next read, whosever it is: what could not be consumed is kept by itself.
    private func releaseRead(_ buffer: ByteBuffer) {
        if let rest = held, gate.reads.owns(rest) { held = ByteBuffer(bytes: rest.readableBytesView) }
        gate.reads.giveBack(buffer)
    }

    private func takeProxyHeader() {
        guard let input = held else { return }
        do throws(ProxyHeaderError) {
            let parsed = input.withUnsafeReadableBytes { bytes in Result { () throws(ProxyHeaderError) in try ProxyHeader.parse(bytes) } }
            guard let (header, length) = try parsed.get() else { return }
            awaitsProxyHeader = false
            proxyHeaderBy = .distantFuture
            consume(length)
            if case .proxied(let source, let destination) = header {
                client.source = source
                client.destination = destination
                if let context, gateway.diverts(context.channel, from: source.address) {
                    held = nil
                    return context.close(promise: nil)
                }
            }
            secureOrBegin()
        } catch {
            refuseProxy("\(error)")
        }
    }

    /// proxy-protocol.txt: whoever may send a header and sends something else is dropped without an answer.
    private func refuseProxy(_ reason: String) {
        gateway.counters.count { $0.proxyErrors += 1 }
        gateway.seldom.warning(
            "connection dropped: it is from networks.proxies and has no proper PROXY header",
            metadata: ["listener": "\(gateway.name)", "peer": "\(client.source.address)", "error": "\(reason)"])
        held = nil
        context?.close(promise: nil)
    }

    private func consume(_ count: Int) {
        held?.moveReaderIndex(forwardBy: count)
        if held?.readableBytes == 0 { held = nil }
    }

    /// Whether more may be read: nothing is held, and whatever was written has been taken.
    private var mayRead: Bool {
        if output.discardsInput || awaitsProxyHeader { return true }
        return held == nil && isWritable && (backend?.isWritable ?? true)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        readIsOpen = false
    }

    func read(context: ChannelHandlerContext) {
        guard mayRead else {
            readIsWithheld = true
            return
        }
        readIsOpen = true
        context.read()
    }

    private func resumeReading() {
        guard readIsWithheld, mayRead, let context else { return }
        readIsWithheld = false
        readIsOpen = true
        // Until now the client could send nothing.
        if deadline == .content { beginDeadline() }
        context.read()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        isWritable = context.channel.isWritable
        resumeReading()
        context.fireChannelWritabilityChanged()
    }

    func backendWritabilityChanged(_ connection: BackendConnection) {
        resumeReading()
    }

    // MARK: - The pump

    func pump() {
        guard !isPumping, !isGone else { return }
        isPumping = true
        while step() {}
        backend?.flush()
        writeOutput()
        isPumping = false
        if isGone { return leave() }
        if isHalfClosed, !isAnswering { endHalfClosed() }
        updateTimer()
        resumeReading()
    }

    /// Something has happened that is neither input nor an answer.
    private func handle(_ event: (inout ServerSession, inout [ServerAction]) -> Void) {
        guard machine != nil, !isGone else { return }
        let isNested = isPumping
        isPumping = true
        if var session = machine.take() {
            event(&session, &actions)
            machine = session
        }
        // Within the pump they are behind those that are being performed.
        guard !isNested else { return }
        perform(nil)
        isPumping = false
        pump()
    }

    /// Whether something was done that may have made more possible.
    private func step() -> Bool {
        guard !isGone, machine != nil, !output.isBusy else { return false }
        // What the backend has said counts, whatever became of its connection after that.
        if let ready = ready.take() {
            switch ready {
            case .decision(let decision): machine?.decided(decision, into: &actions)
            case .reply(let reply, let inVain):
                if isPutOff { question.backendsWord = reply }
                machine?.backendReplied(reply, namesMailbox: !inVain, into: &actions)
            case .logIn(let reply): machine?.authenticated(reply, into: &actions)
            }
            perform(nil)
            question.backendsWord = nil
            return true
        }
        if let failure = backendFailure {
            backendFailure = nil
            machine?.backendFailed(failure, into: &actions)
            perform(nil)
            return true
        }
        if tellOfLostLogIn() { return true }
        guard let input = held else { return false }
        let consumed = input.withUnsafeReadableBytes { machine?.received($0, into: &actions) ?? $0.count }
        consume(consumed)
        perform(input)
        return consumed > 0 || ready != nil || backendFailure != nil
    }

    /// Performs the actions that an event has led to, and behind them those that come meanwhile. Ranges in them refer to `input`.
    /// From the end of the list, turned round, each is taken without a copy.
    func perform(_ input: ByteBuffer?) {
        while !actions.isEmpty {
            swap(&actions, &performing)
            performing.turnRound()
            while let action = performing.popLast() {
                if case .forward(let piece) = action {
                    forward(piece, input)
                } else {
                    perform(action)
                }
            }
        }
    }

    private func perform(_ action: consuming ServerAction) {
        switch consume action {
        case .write(let said):
            let reply = isPutOff && said != question.backendsWord ? said.softened : said
            write(reply)
            // The transaction's last word, where it has ended.
            if message?.ended != nil { finishMessage(reply) }
        case .ask(let question):
            // Whom it is for and what the backends have may both be known better by now.
            if case .helo = question { machine?.offer(gateway.extensions(current, for: client.source.address)) }
            ask(question)
        case .relay(let relay): hand(relay)
        case .forward: preconditionFailure("content is forwarded with its input")
        case .abandonContent:
            message?.octets = backend?.octets ?? 0
            backend?.abort()
            backend = nil
        case .endTransaction(let end): endTransaction(end)
        case .authenticate(let credentials): logIn(credentials)
        case .startTLS: startTLS()
        case .clientInformation(let attributes): adopt(attributes)
        case .violation(let violation): note(violation)
        case .deadline(let deadline):
            self.deadline = deadline
            beginDeadline()
        case .close: close()
        }
    }

    /// Hands on a run of pieces at once.
    private func forward(_ first: ContentPiece, _ input: ByteBuffer?) {
        var pieces = [first]
        while case .forward(let piece)? = performing.last {
            performing.removeLast()
            pieces.append(piece)
        }
        if let input { relayContent(pieces, of: input) }
    }

    // MARK: - Endings

    func channelInactive(context: ChannelHandlerContext) {
        isGone = true
        writer.close()
        if !isPumping { leave() }
        context.fireChannelInactive()
    }

    /// The client is gone: nothing of it is kept, and what was under way at the backend ends without its end.
    private func leave() {
        guard let ticket else { return }
        gate.unread -= unread
        unread = 0
        machine?.closed(into: &actions)
        perform(nil)
        backend?.leave()
        backend = nil
        relay.credentials = nil
        leaveHold()
        logEnd()
        gate.wheel.remove(ticket)
        self.ticket = nil
        gateway.sessions.departed(id)
        held = nil
        context = nil
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        // A channel that was closed before it was active has no other end.
        isGone = true
        if !isPumping { leave() }
        self.context = nil
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case ChannelEvent.inputClosed:
            isHalfClosed = true
            pump()
        case is ShedEvent:
            output.hurry()
            handle { $0.shed(into: &$1) }
        case is DrainEvent:
            if machine == nil { context.close(promise: nil) }
            output.hurry()
            endPause()
            handle { $0.shuttingDown(into: &$1) }
        case is LastCallEvent:
            if machine == nil { context.close(promise: nil) }
            output.hurry()
            handle { $0.lastCall(into: &$1) }
        case let event as TLSUserEvent:
            if case .handshakeCompleted = event {
                client.isSecured = true
                handshakeBy = .distantFuture
                if machine == nil { begin() }
                recogniseNode()
                handle { $0.tlsEstablished(into: &$1) }
            }
        default: break
        }
        context.fireUserInboundEventTriggered(event)
    }

    /// What the client has sent is all there will be. Commands that are queued have their answers, and so has content whose end
    /// has come; the rest is worth nothing, and content without its end is given up. Whether the client only waits for its answers
    /// or has gone shows when it is written to: so nobody is kept for a pause of our own.
    private var isAnswering: Bool { !question.isPaused && !output.isSlow && machine?.awaitsAnswer == true }

    private func endHalfClosed() {
        output.dropSlow()
        close()
        writeOutput()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // A client of TLS that has closed its side without a word: every command and every message has an end of its own, so what
        // was cut off is not taken for whole (RFC 8446 §6.1).
        if let error = error as? NIOSSLError, case .uncleanShutdown = error, !isGone { return }
        gateway.logger.debug(
            "session failed",
            metadata: ["listener": "\(gateway.name)", "client": "\(client.source.address)", "error": "\(error)"])
        context.close(promise: nil)
    }

    private func startTLS() {
        guard let tls = current.tls, let context else { return close() }
        // Its 220 leaves in the clear, and at once, however slow other replies are (RFC 3207 §4).
        output.hurry()
        gateway.sessions.release(id)
        writeOutput()
        writer.close()
        do {
            try context.pipeline.syncOperations.addHandler(tlsHandler(tls), position: .first)
        } catch {
            context.close(promise: nil)
        }
    }
}

// MARK: - Time

extension SessionHandler: Timed {
    /// Waits for the first of all moments.
    func updateTimer() {
        guard let ticket else { return }
        let first = min(min(deadlineAt, sessionEndsAt), min(proxyHeaderBy, handshakeBy), min(question.nextMoment, output.nextMoment))
        guard first != waitsUntil else { return }
        waitsUntil = first
        gate.wheel.set(ticket, first)
    }

    func timeCame(_ now: NIODeadline) {
        waitsUntil = .distantFuture
        if proxyHeaderBy <= now {
            proxyHeaderBy = .distantFuture
            return refuseProxy("none came in time")
        }
        if handshakeBy <= now {
            context?.close(promise: nil)
            return
        }
        outputTimeCame(now)
        questionTimeCame(now)
        if sessionEndsAt <= now {
            sessionEndsAt = .distantFuture
            handle { $0.sessionTimedOut(into: &$1) }
        } else if deadlineAt <= now, let deadline {
            if deadline == .content, waitsForBackend {
                beginDeadline()
            } else {
                deadlineAt = .distantFuture
                handle { $0.timerFired(deadline, into: &$1) }
            }
        }
        pump()
        updateTimer()
    }

    private func beginDeadline() {
        deadlineAt = deadline.map { .roughlyNow() + .milliseconds(current.settings.timeouts[$0].milliseconds) } ?? .distantFuture
    }

    /// The client is not read because the backend takes nothing, for which the backend's connection has a limit of its own.
    private var waitsForBackend: Bool { readIsWithheld && backend?.isWritable == false }
}

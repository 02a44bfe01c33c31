import Glibc
import NIOCore
import PosternCore
import PosternEngine
import SMTPProtocol

/// One session at a fake MX: performs what `ServerSession` says, and answers its questions at once. No backend, no store.
final class FakeMXHandler: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// How long an ended session waits for the client to take the last reply and close.
    private static let lingering = TimeAmount.seconds(2)

    private let loop: FakeMXLoop
    private let id: ObjectIdentifier
    private let settings: FakeMXSettings
    private let reference: Reference
    private let replies: FakeMXReplies
    private var machine: ServerSession
    private var actions: [ServerAction] = []
    private var context: ChannelHandlerContext?
    private var peer = Endpoint(address: IPAddress(v4: 0), port: 0)
    private let startedAt = NIODeadline.now()

    // Input and output.
    private var awaitsProxyHeader = false
    private var proxyHeader: [UInt8] = []
    private var output = ByteBuffer()
    private var readIsWithheld = false
    private var isPumping = false
    private var closes = false
    private var isClosing = false

    // What the machine goes on with.
    private enum Ready {
        case decision(SMTPProtocol.Decision)
        case reply(Reply)
    }
    private var ready: Ready?

    // What is known of the visit.
    private var domains: [String] = []
    /// Written by now, and known to have left.
    private var deferrals = 0
    private var deferralsSent = 0
    private var discarded = 0
    /// Those of strangers: with a sender, and one whom the admin does not allow.
    private var discardedMail = 0
    private var isOfStranger = false
    /// A recipient of this message was put off: nothing more is said of it that is final.
    private var hasPutOff = false
    private var octets: UInt64 = 0
    private var saidQuit = false
    /// The end was our doing, or the network's.
    private var wasEnded = false
    private var isOver = false

    // Moments.
    private var ticket: TimerWheel.Ticket?
    private var deadline: ServerDeadline?
    private var deadlineAt = NIODeadline.distantFuture
    private var sessionEndsAt = NIODeadline.distantFuture

    init(_ loop: FakeMXLoop, channel: any Channel) {
        self.loop = loop
        id = ObjectIdentifier(channel)
        settings = loop.mx.settings
        reference = loop.mx.reference()
        replies = FakeMXReplies(hostname: settings.hostname, reference: reference)
        machine = ServerSession(settings: settings.server)
    }

    // MARK: - Beginning

    func channelActive(context: ChannelHandlerContext) {
        self.context = context
        ticket = loop.wheel.add(self)
        sessionEndsAt = startedAt + .milliseconds(settings.hold.milliseconds)
        guard let peer = context.remoteAddress.flatMap(Endpoint.init) else { return context.close(promise: nil) }
        self.peer = peer
        if settings.proxies.contains(peer.address) {
            awaitsProxyHeader = true
            deadlineAt = startedAt + .milliseconds(FakeMXSettings.proxyTimeout.milliseconds)
            updateTimer()
        } else {
            begin()
        }
    }

    private func begin() {
        machine.connected(into: &actions)
        pump()
    }

    // MARK: - Input

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var buffer = unwrapInboundIn(data)
        defer { loop.reads.giveBack(buffer) }
        guard !closes else { return }
        if awaitsProxyHeader { guard takeProxyHeader(&buffer) else { return } }
        // Every answer is at hand, so all of it is consumed.
        while buffer.readableBytes > 0, !machine.hasEnded {
            let consumed = buffer.withUnsafeReadableBytes { machine.received($0, into: &actions) }
            buffer.moveReaderIndex(forwardBy: consumed)
            perform()
            guard consumed > 0 || ready != nil else { break }
            proceed()
        }
        pump()
    }

    /// `false` while it is not whole, or wrong: whoever may send one and sends something else is dropped without an answer.
    private func takeProxyHeader(_ buffer: inout ByteBuffer) -> Bool {
        proxyHeader += buffer.readableBytesView
        do throws(ProxyHeaderError) {
            let parsed = proxyHeader.withUnsafeBytes { bytes in Result { () throws(ProxyHeaderError) in try ProxyHeader.parse(bytes) } }
            guard let (header, length) = try parsed.get() else { return false }
            awaitsProxyHeader = false
            deadlineAt = .distantFuture
            if case .proxied(let source, _) = header { peer = source }
            buffer = ByteBuffer(bytes: proxyHeader[length...])
            proxyHeader = []
            begin()
            return true
        } catch {
            wasEnded = true
            context?.close(promise: nil)
            return false
        }
    }

    func read(context: ChannelHandlerContext) {
        guard context.channel.isWritable || closes else {
            readIsWithheld = true
            return
        }
        context.read()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if readIsWithheld, context.channel.isWritable {
            readIsWithheld = false
            context.read()
        }
        context.fireChannelWritabilityChanged()
    }

    // MARK: - The machine

    private func pump() {
        guard !isPumping else { return }
        isPumping = true
        perform()
        proceed()
        isPumping = false
        flush()
        updateTimer()
    }

    /// Until nothing is at hand.
    private func proceed() {
        while let next = ready {
            ready = nil
            switch next {
            case .decision(let decision): machine.decided(decision, into: &actions)
            case .reply(let reply): machine.backendReplied(reply, into: &actions)
            }
            perform()
        }
    }

    private func perform() {
        let due = actions
        actions.removeAll(keepingCapacity: true)
        for action in due { perform(action) }
    }

    private func perform(_ action: ServerAction) {
        switch action {
        case .write(let reply): write(reply)
        case .ask(let question): ready = .decision(decision(on: question))
        case .relay(let relay): ready = .reply(reply(to: relay))
        case .forward(let piece): octets += UInt64(piece.count)
        case .deadline(let deadline):
            self.deadline = deadline
            deadlineAt = deadline.map { .now() + .milliseconds(machine.settings.timeouts[$0].milliseconds) } ?? .distantFuture
        case .close: closes = true
        case .endTransaction: hasPutOff = false
        // Nothing is kept that could be given up, TLS, AUTH and XCLIENT are not offered, and no breach is punished.
        case .abandonContent, .authenticate, .startTLS, .clientInformation, .violation: break
        }
    }

    private func decision(on question: Question) -> SMTPProtocol.Decision {
        switch question {
        case .connect, .helo, .mail: return .accept
        case .recipient(let recipient, _):
            note(recipient.mailbox.domain)
            // Mail to these must never be destroyed (RFC 5321 §4.5.1, RFC 2142 §4): somebody else takes it.
            let mayDiscard = !recipient.mailbox.isAlwaysReachable
            guard settings.mode == .deferRecipients || (settings.mode == .sink && !mayDiscard) else { return .accept }
            deferrals += 1
            hasPutOff = true
            return .defer(replies.deferral)
        case .content:
            guard settings.mode == .deferData else { return .accept }
            deferrals += 1
            return .defer(replies.deferral)
        }
    }

    private func reply(to relay: Relay) -> Reply {
        switch relay {
        case .recipient(let mail, _):
            isOfStranger = mail.reversePath.mailbox.map { !loop.mx.allows($0) } ?? false
            return FakeMXReplies.recipient
        case .beginContent: return FakeMXReplies.startInput
        case .endContent:
            discarded += 1
            if isOfStranger { discardedMail += 1 }
            return FakeMXReplies.taken
        }
    }

    private func note(_ domain: String) {
        guard !domain.isEmpty, domains.count < FakeMXVisit.maximumDomains, !domains.contains(domain) else { return }
        domains.append(domain)
    }

    // MARK: - Output

    private func write(_ reply: Reply) {
        if reply.code == 221 { saidQuit = true }
        output.writeBytes((settings.mode == .sink && !hasPutOff ? reply : reply.softened).wire)
    }

    private func flush() {
        guard let context else { return }
        if output.readableBytes > 0 {
            let count = UInt64(output.readableBytes)
            loop.mx.count { $0.octetsSent += count }
            let buffer = output
            output = ByteBuffer()
            if deferralsSent < deferrals {
                let written = deferrals
                let bound = NIOLoopBound(self, eventLoop: loop.loop)
                let promise = context.eventLoop.makePromise(of: Void.self)
                promise.futureResult.whenSuccess { bound.value.deferralsSent = written }
                context.writeAndFlush(wrapOutboundOut(buffer), promise: promise)
            } else {
                context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
            }
        }
        guard closes, !isClosing else { return }
        isClosing = true
        // A socket that is closed with unread input is reset, and the client may never see our last reply: where we end the
        // session its input is read to the end, for a little while.
        guard !saidQuit else { return context.close(promise: nil) }
        wasEnded = true
        context.close(mode: .output, promise: nil)
        deadlineAt = .distantFuture
        sessionEndsAt = .now() + Self.lingering
    }

    // MARK: - Endings

    func channelInactive(context: ChannelHandlerContext) {
        leave()
        context.fireChannelInactive()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        // A channel that was closed before it was active has no other end.
        if !isOver { loop.mx.sessions.departed(id) }
        isOver = true
        self.context = nil
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // A client may well reset its connection; a network that loses it says nothing of the client.
        if let error = error as? IOError, error.errnoCode != ECONNRESET, error.errnoCode != EPIPE { wasEnded = true }
        context.close(promise: nil)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case is ShedEvent:
            machine.shed(into: &actions)
            pump()
        case is DrainEvent:
            machine.shuttingDown(into: &actions)
            // Nothing is lost with a transaction that is deferred anyway.
            if !machine.hasEnded { machine.shed(into: &actions) }
            pump()
        default: break
        }
        context.fireUserInboundEventTriggered(event)
    }

    private func leave() {
        guard !isOver, let ticket else { return }
        isOver = true
        loop.wheel.remove(ticket)
        self.ticket = nil
        loop.mx.sessions.departed(id)
        let end: FakeMXVisit.End = saidQuit ? .quit : wasEnded || awaitsProxyHeader ? .notByClient : .hungUp
        let (steady, wall) = loop.mx.clock.now()
        let milliseconds = max((NIODeadline.now() - startedAt).nanoseconds / 1_000_000, 0)
        let visit = FakeMXVisit(
            listener: loop.mx.name, address: peer.address, domains: domains, deferrals: deferralsSent, discarded: discardedMail, end: end,
            at: steady)
        loop.mx.count { totals in
            totals.deferrals += UInt64(deferrals)
            totals.discarded += UInt64(discarded)
            totals.octetsDiscarded += octets
            totals.milliseconds += UInt64(milliseconds)
            if end == .hungUp, deferralsSent > 0 { totals.hungUp += 1 }
        }
        log(visit, wall, milliseconds)
        context = nil
        if !awaitsProxyHeader { loop.mx.finished(visit) }
    }

    private func log(_ visit: FakeMXVisit, _ wall: WallTime, _ milliseconds: Int64) {
        loop.mx.log.write(settings.mode == .sink ? "sink" : "fake-mx", at: wall) { line in
            line.add("ref", reference)
            line.add("listener", visit.listener)
            line.add("client", visit.address)
            line.add("deferred", visit.deferrals)
            if settings.mode == .sink {
                line.add("discarded", discarded)
                line.add("bytes", octets)
            }
            line.add("left", visit.end == .quit ? "quit" : visit.end == .hungUp ? "hung-up" : "let-go")
            line.add("ms", milliseconds)
        }
    }
}

// MARK: - Time

extension FakeMXHandler: Timed {
    private func updateTimer() {
        guard let ticket else { return }
        loop.wheel.set(ticket, min(deadlineAt, sessionEndsAt))
    }

    func timeCame(_ now: NIODeadline) {
        if awaitsProxyHeader {
            wasEnded = true
            context?.close(promise: nil)
            return
        }
        guard !isClosing else {
            context?.close(mode: .all, promise: nil)
            return
        }
        if sessionEndsAt <= now {
            loop.mx.count { $0.timedOut += 1 }
            machine.sessionTimedOut(into: &actions)
        } else if deadlineAt <= now, let deadline {
            deadlineAt = .distantFuture
            machine.timerFired(deadline, into: &actions)
        }
        pump()
    }
}

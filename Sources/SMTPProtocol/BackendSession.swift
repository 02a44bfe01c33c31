import PosternCore

/// The sending side of one SMTP connection to a backend, as a machine without I/O.
///
/// It says who the client is before anything else, and forwards nothing where that could not be said. Commands that are
/// given before the session is open wait; with PIPELINING they leave together. Replies come back in order, one
/// `replied` for each `recipient`, `beginContent` and `endContent`, word for word.
///
/// A `failed` action ends it all: the runtime hands its reply to the server session and drops the connection.
public struct BackendSession: Sendable {
    public let settings: BackendSettings
    /// `nil` for a connection of our own, which can probe and do nothing else.
    public private(set) var client: BackendClient?
    /// What may be used with the backend now: nothing after HELO.
    public internal(set) var extensions = Extensions()
    /// What the backend said to the last EHLO while it had not been told who the client is; nothing where it refused our own. `nil`
    /// while only HELO was said, for a client of HELO: that tells nothing of what the backend has.
    public private(set) var toldUs: Extensions?
    /// What it said to the last EHLO when it knew the client, which may be for that client alone. `nil` as above.
    public private(set) var toldClient: Extensions?
    /// What it said to the last EHLO, by whomever.
    public var learnt: Extensions? { toldClient ?? toldUs }
    public internal(set) var isSecured = false
    /// Why the session failed, once it has.
    public internal(set) var failure: BackendFailure?
    /// Whether the backend has refused anything: servers count that, and grow slow.
    var hasRefused = false
    /// Whether the client has logged in: the backend takes its mail to everywhere.
    public internal(set) var isLoggedIn = false
    /// Somebody has tried to log in: the connection is never another's.
    var isOfOneClient = false
    /// Clients that the backend was told of after the first.
    var furtherClients = 0

    var phase = Phase.fresh
    var decoder: ReplyDecoder
    /// Whether the backend knows who the client is.
    var isIntroduced = false
    /// XCLIENT commands still to be sent.
    var introductions: ArraySlice<[UInt8]> = []
    /// Commands that have not been sent.
    var outbox: [BackendCommand] = []
    /// Commands that were sent and not answered.
    var expected: [BackendCommand] = []
    /// The answer to all recipients: MAIL was refused.
    var transactionRefusal: Reply?
    /// The answer to all that comes: the backend refused this client.
    var sessionRefusal: Reply?
    /// MAIL was given in this transaction.
    var hasMail = false
    var content = ContentPhase.none
    var encoder = DataEncoder()
    var deadline: BackendDeadline?
    var waitsAnew = false

    enum Phase: Hashable, Sendable {
        case fresh
        case greeting
        /// EHLO or HELO was sent, as ourselves or as the client.
        case hello(extended: Bool, asClient: Bool)
        case startTLS
        case handshake
        case introducing
        case open
        case quitting
        case ended
    }

    enum ContentPhase: Hashable, Sendable {
        case none
        /// Flows by DATA.
        case data
        /// Flows by BDAT.
        case chunks
        /// Its end was sent.
        case ending
    }

    public init(settings: BackendSettings, client: BackendClient?) {
        self.settings = settings
        self.client = client
        self.decoder = ReplyDecoder(limits: settings.replies)
    }

    /// Whether the connection is open, between transactions, with nothing unanswered.
    public var isIdle: Bool { phase == .open && outbox.isEmpty && expected.isEmpty && !hasMail && content == .none }

    /// Clients that a backend is told of on one connection after the first: Exim takes 10 commands that are no mail.
    public static let mostFurtherClients = 8

    /// Whether the session may go over to some other client: nothing is open, nothing went wrong, and the backend can be told
    /// of another.
    public var maySpeakForAnother: Bool {
        isIdle && client != nil && !hasRefused && !isOfOneClient && !settings.requiresLogIn && mayTellOfAnother
    }

    /// Whether the backend would hear who comes next. With XCLIENT it must have offered that in its last word: Postfix judges the
    /// right to say it by the address that was told last, and so lets hardly anybody say it twice. To a HELO it says nothing of it.
    private var mayTellOfAnother: Bool {
        switch settings.clientInformation {
        case .none: true
        case .xclient: extensions.xclient.contains(.address)
        // The header is the connection's own.
        case .proxyV2: false
        }
    }

    /// Whether the session may go over to this client.
    public func mayServe(_ client: BackendClient) -> Bool {
        maySpeakForAnother && (knows(client) || furtherClients < Self.mostFurtherClients)
    }

    /// Whether the backend needs not be told anything of this client.
    public func knows(_ other: BackendClient) -> Bool {
        guard let client else { return false }
        return settings.clientInformation == .none ? client.helo == other.helo : client == other
    }

    /// Whether the backend has been told who the client is: what it says then may be about the client alone.
    public private(set) var hasNamedClient = false

    /// Whether the connection is of no more use.
    public var hasEnded: Bool { phase == .ended }

    // MARK: - Events of the connection

    /// The connection is made.
    public mutating func connected(into actions: inout [BackendAction]) {
        guard phase == .fresh else { return }
        if settings.clientInformation == .proxyV2 {
            let header = client.map { ProxyHeader.proxied(source: $0.source, destination: $0.destination) } ?? .local
            actions.append(.send(header.encodedV2()))
            isIntroduced = client != nil
            hasNamedClient = isIntroduced
        }
        enter(.greeting)
        settle(&actions)
    }

    /// Bytes of the backend; all are consumed.
    public mutating func received(_ input: UnsafeRawBufferPointer, into actions: inout [BackendAction]) {
        var position = 0
        while position < input.count, phase != .ended {
            if phase == .handshake {
                fail(BackendFailure(.plaintextAfterStartTLS), &actions)
                break
            }
            do throws(ReplyFlaw) {
                guard let reply = try decoder.decode(input, at: &position) else { break }
                take(reply, &actions)
            } catch {
                fail(BackendFailure(.nonsense), &actions)
            }
        }
        settle(&actions)
    }

    /// The TLS handshake is done. What was learnt before it is void (RFC 3207 §4.2).
    public mutating func tlsEstablished(into actions: inout [BackendAction]) {
        guard phase == .handshake else { return }
        isSecured = true
        extensions = Extensions()
        toldUs = nil
        toldClient = nil
        sayHello(extended: true, &actions)
        settle(&actions)
    }

    /// The TLS handshake failed.
    ///
    /// - Parameter reason: why, in words.
    public mutating func handshakeFailed(_ reason: String, into actions: inout [BackendAction]) {
        guard phase == .handshake else { return }
        fail(BackendFailure(.handshakeFailed(reason)), &actions)
        settle(&actions)
    }

    /// The connection could not be made.
    ///
    /// - Parameter reason: why not, in the system's words.
    public mutating func notConnected(_ reason: String, into actions: inout [BackendAction]) {
        guard phase == .fresh else { return closed(into: &actions) }
        fail(BackendFailure(.notConnected(reason)), &actions)
        settle(&actions)
    }

    /// The connection ended.
    public mutating func closed(into actions: inout [BackendAction]) {
        guard phase != .ended else { return }
        if phase == .quitting || sessionRefusal != nil {
            end(&actions)
        } else {
            fail(BackendFailure(.connectionLost), &actions)
        }
        settle(&actions)
    }

    /// A deadline that was started has passed.
    public mutating func timerFired(_ fired: BackendDeadline, into actions: inout [BackendAction]) {
        guard phase != .ended, fired == deadline else { return }
        if phase == .quitting || sessionRefusal != nil {
            end(&actions)
        } else {
            fail(BackendFailure(.timedOut), &actions)
        }
        settle(&actions)
    }

    // MARK: - Opening

    /// The session goes over to another client, which `mayServe` has agreed to. The backend is told who it is before
    /// anything else, as if the connection were new.
    public mutating func serve(_ next: BackendClient, into actions: inout [BackendAction]) {
        guard mayServe(next) else { return fail(BackendFailure(.clientInformationNotNegotiated), &actions) }
        let isKnown = knows(next)
        client = next
        guard !isKnown else { return }
        furtherClients += 1
        switch settings.clientInformation {
        case .none: sayHello(extended: true, &actions)
        case .xclient:
            isIntroduced = false
            extensions = learnt ?? Extensions()
            toldClient = nil
            introduce(&actions)
        case .proxyV2: break
        }
        settle(&actions)
    }

    /// A reply to something that opens the session, or to a command.
    private mutating func take(_ reply: Reply, _ actions: inout [BackendAction]) {
        waitsAnew = true
        // RFC 5321 §3.8: 421 may come at any point, and the connection is gone.
        if reply.code == 421, phase != .quitting {
            // In a transaction it is worth telling; but the client's own connection stays open, so not as 421.
            let told: Reply? = phase != .open ? nil : hasMail ? reply.puttingOff : .backendLost
            return fail(BackendFailure(.closing(reply), reply: told), &actions)
        }
        switch phase {
        case .fresh, .handshake, .ended: break
        case .greeting:
            guard reply.code == 220 else {
                return settings.clientInformation == .proxyV2 && reply.mayBeAboutHeader
                    ? notUnderstood(reply, &actions) : fail(BackendFailure(.refusedUs(reply)), &actions)
            }
            sayHello(extended: true, &actions)
        case .hello(let extended, let asClient): greeted(reply, extended: extended, asClient: asClient, &actions)
        case .startTLS:
            guard reply.code == 220 else {
                guard settings.tls == .opportunistic, !reply.isPositive else {
                    return fail(BackendFailure(.tlsUnavailable), &actions)
                }
                return introduce(&actions)
            }
            phase = .handshake
            waitsAnew = true
            actions.append(.startTLS)
        case .introducing:
            guard reply.code == 220 else { return notIntroduced(reply, &actions) }
            introduceFurther(&actions)
        case .open: answered(reply, &actions)
        case .quitting: end(&actions)
        }
    }

    /// EHLO as ourselves where XCLIENT or STARTTLS is still to come, else as the client.
    private mutating func sayHello(extended: Bool, _ actions: inout [BackendAction]) {
        let asClient = client != nil && (settings.clientInformation != .xclient || isIntroduced)
        let name = asClient ? client?.heloArgument ?? settings.hostname : settings.hostname
        // A client of HELO is passed on as one, where the backend is told of it and there is nothing more to learn.
        let isOurOwn = !asClient || settings.clientInformation == .none
        let extended = extended && (isOurOwn || client?.isExtended != false || (settings.tls != .never && !isSecured))
        actions.append(.send(Array("\(extended ? "EHLO" : "HELO") \(name)\r\n".utf8)))
        enter(.hello(extended: extended, asClient: asClient))
    }

    private mutating func greeted(_ reply: Reply, extended: Bool, asClient: Bool, _ actions: inout [BackendAction]) {
        guard reply.isPositive else {
            guard reply.isTransient || reply.isPermanent else { return fail(BackendFailure(.nonsense), &actions) }
            // Before any fall back: this may answer the header, and what follows would be taken for the answer to the next command.
            if settings.clientInformation == .proxyV2, reply.mayBeAboutHeader { return notUnderstood(reply, &actions) }
            // RFC 5321 §3.2: fall back to HELO when EHLO is not known.
            if extended, reply.code == 500 || reply.code == 502 { return sayHello(extended: false, &actions) }
            guard asClient else { return fail(BackendFailure(.refusedUs(reply)), &actions) }
            if reply.isAboutCommand {
                // Some servers say 504 of a name: a client must not be able to make them look ill.
                hasNamedClient = true
                return notUnderstood(reply, &actions)
            }
            return refuseSession(reply, &actions)
        }
        // RFC 5321 §4.3.2. Another 2xx is the answer to something else.
        guard reply.code == 250 else { return fail(BackendFailure(.nonsense), &actions) }
        // RFC 5321 §2.2.1: after HELO there are no extensions.
        extensions = extended ? Extensions(ehloReply: reply) : Extensions()
        if asClient, hasNamedClient {
            // HELO in the name of a client of EHLO: that was refused, and what the backend offers us is not this client's.
            if extended || client?.isExtended == true { toldClient = extensions }
        } else if extended || !asClient {
            toldUs = extensions
        }
        if settings.tls != .never, !isSecured {
            if extensions.startTLS {
                actions.append(.send(Array("STARTTLS\r\n".utf8)))
                return enter(.startTLS)
            }
            guard settings.tls == .opportunistic else { return fail(BackendFailure(.tlsUnavailable), &actions) }
        }
        introduce(&actions)
    }

    /// Tells who the client is, if that is still to be done, and opens the session.
    private mutating func introduce(_ actions: inout [BackendAction]) {
        guard let client, settings.clientInformation == .xclient, !isIntroduced else { return open(&actions) }
        guard extensions.xclient.contains(.address) else {
            return fail(BackendFailure(.clientInformationNotNegotiated), &actions)
        }
        introductions = client.attributes.commands(offered: extensions.xclient)[...]
        introduceFurther(&actions)
    }

    /// One XCLIENT command at a time: each takes the session back to its greeting.
    private mutating func introduceFurther(_ actions: inout [BackendAction]) {
        if let command = introductions.popFirst() {
            hasNamedClient = introductions.isEmpty
            actions.append(.send(command))
            enter(.introducing)
        } else {
            isIntroduced = true
            sayHello(extended: true, &actions)
        }
    }

    /// XCLIENT_README: the reply is 220; 501, 503 or 550 where the command itself is refused; and all else is what a
    /// greeting of that client would be. That is about the client only where the command had its address: the last.
    private mutating func notIntroduced(_ reply: Reply, _ actions: inout [BackendAction]) {
        let isAboutClient =
            reply.isTransient || (reply.isPermanent && !(500...504).contains(reply.code) && reply.code != 550 && reply.code != 555)
        guard introductions.isEmpty, isAboutClient else {
            return fail(BackendFailure(.clientInformationNotNegotiated), &actions)
        }
        refuseSession(reply, &actions)
    }

    /// What we say ourselves, ahead of all that is the client's, is not what the backend expects.
    private mutating func notUnderstood(_ reply: Reply, _ actions: inout [BackendAction]) {
        let told: Reply = settings.clientInformation == .proxyV2 ? .clientInformationNotNegotiated : .backendUnavailable
        fail(BackendFailure(.notUnderstood(reply), reply: told), &actions)
    }

    private mutating func open(_ actions: inout [BackendAction]) {
        phase = .open
        actions.append(.ready(learnt))
        pump(&actions)
    }

    /// The backend will not talk to this client: every recipient has that for an answer.
    private mutating func refuseSession(_ reply: Reply, _ actions: inout [BackendAction]) {
        sessionRefusal = reply
        let waiting = outbox
        outbox = []
        for command in waiting {
            if case .recipient = command { actions.append(.replied(reply, to: .recipientInVain)) }
            if case .probeRecipient = command { actions.append(.probed(.inconclusive(reply))) }
            if case .authenticate = command { actions.append(.authenticated(.answered(reply))) }
        }
        actions.append(.send(Array("QUIT\r\n".utf8)))
        enter(.quitting)
    }

    // MARK: - Shared

    mutating func enter(_ next: Phase) {
        phase = next
        waitsAnew = true
    }

    mutating func fail(_ failure: BackendFailure, _ actions: inout [BackendAction]) {
        answerInVain(&actions)
        self.failure = failure
        actions.append(.failed(failure))
        end(&actions)
    }

    mutating func end(_ actions: inout [BackendAction]) {
        phase = .ended
        outbox = []
        expected = []
        hasMail = false
        content = .none
        actions.append(.close)
    }

    /// At the end of every event: starts or stops the deadline.
    mutating func settle(_ actions: inout [BackendAction]) {
        let wanted: BackendDeadline? =
            switch phase {
            case .fresh, .ended: nil
            case .greeting: .greeting
            case .hello, .startTLS, .introducing: .command
            case .handshake: .handshake
            case .quitting: .quit
            case .open: openDeadline
            }
        if wanted != deadline || (wanted != nil && waitsAnew) { actions.append(.deadline(wanted)) }
        deadline = wanted
        waitsAnew = false
    }

    private var openDeadline: BackendDeadline? {
        switch content {
        case .ending: .endOfData
        case .data, .chunks: .content
        case .none:
            switch expected.first {
            case .none: nil
            case .some(.data): .dataStart
            case .some: .command
            }
        }
    }
}

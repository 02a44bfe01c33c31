/// The receiving side of one SMTP session (RFC 5321), as a machine without I/O: events in, actions out.
///
/// **Input.** `received` consumes as much as it can act upon and returns how much that was. While a question or a relay
/// is open it consumes nothing; the runtime keeps what is left, stops reading, and hands it in again after the answer,
/// together with what has come since. So the machine itself never holds more than one command line.
///
/// **Waiting for others.** `ask` is answered by `decided`, `relay` by `backendReplied` or `backendFailed`, `authenticate` by
/// `authenticated`, `startTLS` by `tlsEstablished`. Answers that come after the session has ended are ignored.
///
/// **Content** flows as `forward` actions whose ranges refer to the input of the very call that returned them.
public struct ServerSession: Sendable {
    public private(set) var settings: ServerSettings
    var state = State.fresh
    var lines: LineDecoder
    /// The argument of the last HELO or EHLO that was accepted.
    public internal(set) var helo: HeloName?
    /// Whether the session was opened by EHLO.
    public internal(set) var isExtended = false
    /// Whether TLS is active.
    public internal(set) var isSecured = false
    public internal(set) var transaction: Transaction?
    /// The name that the client has logged in with, as it was given.
    public internal(set) var account: String?
    /// Log-ins that were refused for good.
    public internal(set) var failedLogIns = 0
    /// The log-in is of no more use.
    var isStranded = false
    /// Messages that were answered.
    public internal(set) var messages = 0
    /// Command lines received.
    public internal(set) var commands = 0
    /// Commands that the machine itself refused.
    public internal(set) var errors = 0
    /// Recipients in a row that were refused for good, while their message had none.
    var refusedInARow = 0
    /// What XCLIENT commands in a row have told.
    var introduction: XClientAttributes?
    /// What is to be offered from the next EHLO on.
    private var renewed: Extensions?
    /// Lines that were no command known to us.
    var unknownCommands = 0
    var wasRefused = false
    /// The last MAIL was refused, and what was pipelined behind it may still come.
    var mailWasRefused = false
    var isDraining = false
    /// With what the session ends once the message that the backend is asked to take has its answer.
    var farewell: Reply?
    /// Kinds of out-of-step talk that were reported already.
    var reported: ViolationSet = []
    var deadline: ServerDeadline?
    /// Whether a new wait of the same kind has begun, so that its deadline starts anew.
    var waitsAnew = false

    enum State: Hashable, Sendable {
        case fresh
        case asking(Pending)
        case relaying(PendingRelay)
        /// A command line is awaited.
        case command
        /// Content after DATA.
        case data
        /// Content of a BDAT chunk.
        case chunk(last: Bool)
        /// Content of a BDAT chunk that is refused: octets still to come, and the reply.
        case refusedChunk(UInt64, last: Bool, isOurs: Bool, Reply)
        case handshake
        /// A line is awaited that answers a challenge.
        case authenticating(AuthenticationStep)
        /// `authenticated` is awaited.
        case checkingCredentials(name: String)
        case ended
    }

    enum Pending: Hashable, Sendable {
        case connect(again: Bool)
        case helo(HeloName, extended: Bool)
        case mail(MailCommand)
        case recipient(RecipientCommand)
        case data
        case chunk(size: UInt64, last: Bool)
    }

    enum PendingRelay: Hashable, Sendable {
        case recipient
        case data
        case chunk(size: UInt64, last: Bool)
        case endOfData
    }

    /// - Parameter isSecured: whether the connection began with TLS (RFC 8314 §3).
    public init(settings: ServerSettings, isSecured: Bool = false) {
        self.settings = settings
        self.isSecured = isSecured
        self.lines = LineDecoder(limits: settings.limits.line)
    }

    /// Whether the session is over: nothing that comes now has any effect.
    public var hasEnded: Bool { state == .ended }

    /// Whether a transaction is under way or someone is being waited for: shutting down lets it finish first.
    public var isBusy: Bool {
        switch state {
        case .command, .fresh, .ended, .authenticating: transaction != nil
        default: true
        }
    }

    /// Whether an answer to what the client has sent is being waited for. The greeting answers nothing.
    public var awaitsAnswer: Bool {
        switch state {
        case .asking(let pending): pending != .connect(again: false)
        case .relaying, .checkingCredentials: true
        case .fresh, .command, .data, .chunk, .refusedChunk, .handshake, .authenticating, .ended: false
        }
    }

    /// From the next EHLO on the client may say by XCLIENT whom it speaks for: it has shown who it is.
    public mutating func permitXClient() { settings.extensions.xclient = Set(XClientAttributes.Name.allCases) }

    /// What the answer to the next EHLO or HELO offers, or to the one that is being asked about; until then what was offered holds.
    /// What is not the backend's (STARTTLS, XCLIENT, AUTH) stays as it is.
    public mutating func offer(_ extensions: Extensions) { renewed = extensions }

    /// The client hears what is offered from here on.
    mutating func renewOffer() {
        guard var next = renewed.take() else { return }
        next.startTLS = settings.extensions.startTLS
        next.xclient = settings.extensions.xclient
        next.authentication = settings.extensions.authentication
        settings.extensions = next
    }

    var mayPipeline: Bool { isExtended && settings.extensions.pipelining }

    /// A line that announces a greeting without being one, for a runtime that makes clients wait before it (RFC 5321 §4.2.1).
    public var teaser: [UInt8] { Array("220-\(settings.hostname) \(settings.banner)\r\n".utf8) }

    // MARK: - Events

    /// A client connected.
    public mutating func connected(into actions: inout [ServerAction]) {
        guard state == .fresh else { return }
        state = .asking(.connect(again: false))
        actions.append(.ask(.connect))
        settle(&actions)
    }

    /// Bytes of the client are at hand: those it has sent now, behind those that were not consumed before.
    ///
    /// - Returns: how many were consumed.
    public mutating func received(_ input: UnsafeRawBufferPointer, into actions: inout [ServerAction]) -> Int {
        var position = 0
        consuming: while position < input.count {
            switch state {
            case .fresh: break consuming
            case .asking, .relaying, .checkingCredentials:
                talkedEarly(&actions)
                break consuming
            case .authenticating(let step): takeResponse(input, &position, step, &actions)
            case .command: takeLine(input, &position, &actions)
            case .data: takeData(input, &position, &actions)
            case .chunk(let last): takeChunk(input, &position, last: last, &actions)
            case .refusedChunk(let remaining, let last, let isOurs, let reply):
                let count = Int(min(remaining, UInt64(input.count - position)))
                position += count
                refuseChunk(remaining - UInt64(count), last: last, reply, isOurs: isOurs, &actions)
            case .handshake:
                // Bytes in the clear behind STARTTLS: the runtime should have fed them to TLS (RFC 3207 §4.2).
                actions.append(.violation(.plaintextAfterStartTLS))
                end(nil, &actions)
            case .ended: position = input.count
            }
        }
        settle(&actions)
        return position
    }

    /// The answer to the open question.
    public mutating func decided(_ decision: Decision, into actions: inout [ServerAction]) {
        guard case .asking(let pending) = state else { return }
        if case .drop(let reply) = decision {
            end(reply, &actions)
        } else {
            proceed(pending, decision, &actions)
        }
        settle(&actions)
    }

    /// The backend's reply to what was relayed, to go to the client word for word.
    ///
    /// - Parameter namesMailbox: whether a recipient's refusal is about that very mailbox.
    public mutating func backendReplied(_ reply: Reply, namesMailbox: Bool = true, into actions: inout [ServerAction]) {
        guard case .relaying(let pending) = state else { return }
        proceed(pending, reply, namesMailbox: namesMailbox, &actions)
        settle(&actions)
    }

    /// The backend connection is lost. What is relayed, and all that follows of the transaction, is answered with `reply`, a 4xx;
    /// where nothing is relayed and the backend had none of its recipients, nothing is lost.
    public mutating func backendFailed(_ reply: Reply, into actions: inout [ServerAction]) {
        guard let open = transaction else { return }
        if open.recipients == 0, state != .relaying(.recipient) { return }
        transaction?.failure = reply
        transaction?.contentOpen = false
        if case .relaying(let pending) = state { proceed(pending, reply, namesMailbox: false, &actions) }
        settle(&actions)
    }

    /// The TLS handshake is done. All that was known of the client is forgotten (RFC 3207 §4.2).
    public mutating func tlsEstablished(into actions: inout [ServerAction]) {
        guard state == .handshake else { return }
        isSecured = true
        forgetClient()
        expect(.command)
        settle(&actions)
    }

    /// A deadline that was started has passed.
    public mutating func timerFired(_ fired: ServerDeadline, into actions: inout [ServerAction]) {
        guard fired == deadline, state != .ended else { return }
        end(state == .handshake ? nil : .timedOut, &actions)
        settle(&actions)
    }

    /// The time for the whole session is up.
    public mutating func sessionTimedOut(into actions: inout [ServerAction]) { cutShort(.timedOut, &actions) }

    /// The client has gone.
    public mutating func closed(into actions: inout [ServerAction]) {
        guard state != .ended else { return }
        endTransaction(.aborted, &actions)
        state = .ended
        settle(&actions)
    }

    /// There are too many sessions, and this one must go (RFC 5321 §3.8: 421 at any point).
    public mutating func shed(into actions: inout [ServerAction]) { cutShort(.overloaded, &actions) }

    /// The service shuts down: at once between transactions, else when the one under way has its answer.
    public mutating func shuttingDown(into actions: inout [ServerAction]) {
        guard state != .ended else { return }
        isDraining = true
        if !isBusy { end(.shuttingDown, &actions) }
        settle(&actions)
    }

    /// The service shuts down, and what is under way has had its time.
    public mutating func lastCall(into actions: inout [ServerAction]) { cutShort(.shuttingDown, &actions) }

    /// Ends the session wherever it is, but between the end of a message and its answer: the backend may have taken it, and whoever is
    /// not told so sends it again (RFC 5321 §4.5.3.2.6). There the end comes behind the answer, for which the runtime has its own limit.
    private mutating func cutShort(_ reply: Reply, _ actions: inout [ServerAction]) {
        guard state != .ended else { return }
        if state == .relaying(.endOfData) {
            farewell = reply
        } else {
            end(state == .handshake ? nil : reply, &actions)
        }
        settle(&actions)
    }

    // MARK: - Shared

    /// Waits for the client.
    mutating func expect(_ next: State) {
        state = next
        waitsAnew = true
    }

    /// At the end of every event: drains, and starts or stops the deadline.
    mutating func settle(_ actions: inout [ServerAction]) {
        if let farewell, state == .command { end(farewell, &actions) }
        if isDraining, state == .command, transaction == nil { end(.shuttingDown, &actions) }
        if isStranded, state == .command, transaction == nil { end(.logInLost, &actions) }
        let wanted: ServerDeadline? =
            switch state {
            case .command, .authenticating: .command
            case .data, .chunk, .refusedChunk: .content
            case .handshake: .handshake
            case .fresh, .asking, .relaying, .checkingCredentials, .ended: nil
            }
        if wanted != deadline || (wanted != nil && waitsAnew) { actions.append(.deadline(wanted)) }
        deadline = wanted
        waitsAnew = false
    }

    /// Ends the session from our side.
    mutating func end(_ reply: Reply?, _ actions: inout [ServerAction]) {
        endTransaction(.aborted, &actions)
        if let reply { actions.append(.write(reply)) }
        actions.append(.close)
        state = .ended
    }

    mutating func endTransaction(_ end: TransactionEnd, _ actions: inout [ServerAction]) {
        guard let contentIsOpen = transaction?.contentOpen else { return }
        if contentIsOpen { actions.append(.abandonContent) }
        transaction = nil
        actions.append(.endTransaction(end))
    }

    /// Refuses a command on our own account, and counts it; at the limit the session ends instead.
    mutating func refuse(_ reply: Reply, _ violation: Violation? = nil, _ actions: inout [ServerAction]) {
        if let violation { actions.append(.violation(violation)) }
        errors += 1
        guard errors < settings.limits.errors, unknownCommands < settings.limits.unknownCommands else {
            actions.append(.violation(.overLimit))
            return end(.tooManyErrors, &actions)
        }
        actions.append(.write(reply))
        expect(.command)
    }

    mutating func answer(_ reply: Reply, _ actions: inout [ServerAction]) {
        actions.append(.write(reply))
        expect(.command)
    }

    /// RFC 3207 §4.2, XCLIENT_README: back to how it was before the greeting.
    mutating func forgetClient() {
        helo = nil
        isExtended = false
        account = nil
        isStranded = false
        introduction = nil
        lines.reset()
    }
}

/// One message on its way (RFC 5321 §3.3): from MAIL to its answer.
public struct Transaction: Sendable {
    public let mail: MailCommand
    /// Recipients that the backend accepted.
    public internal(set) var recipients = 0
    /// Recipients that were refused, by whomever.
    public internal(set) var refusedRecipients = 0
    /// Set when the backend is lost: the answer to all that follows.
    var failure: Reply?
    /// The backend takes content, and has not had its end.
    var contentOpen = false
    /// What a chunk was refused with: RFC 3030 §2 leaves only RSET.
    var chunkRefusal: Reply?
    var data: DataDecoder?
    var chunks: ChunkDecoder?
    var reportedFlaws: ViolationSet = []

    init(mail: MailCommand) {
        self.mail = mail
    }
}

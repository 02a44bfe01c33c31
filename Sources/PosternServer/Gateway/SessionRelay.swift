import NIOCore
import PosternCore
import SMTPProtocol

/// A session's way to a backend.
struct SessionRelay {
    /// What the backend has been handed and has not answered.
    var open: Relay?
    /// What a connection is wanted for, until the backend has answered it.
    fileprivate var errand: Errand?
    /// Where else to try, while nothing of the transaction has been accepted.
    var candidates: ArraySlice<ListenAddress> = []
    /// A connection that was kept from the message before may have been closed by the backend meanwhile.
    fileprivate var wasReused = false
    /// Whom the connection was introduced as.
    var client: BackendClient?
    /// Nothing of the client but its HELO can have changed since then.
    var knowsClient = false
    /// Of a client that logs in, until it has its answer.
    var credentials: Credentials?
    /// Header fields to put on the message, without the last CRLF, until its first octet comes.
    var header: String?
    /// The servers that this transaction's recipients are for.
    fileprivate(set) var route: [ListenAddress] = []
    /// Servers of which none could be had in this transaction, and what its recipients are told.
    fileprivate var lostRoutes: [[ListenAddress]: Reply] = [:]
}

/// What a recipient brings a backend.
private struct Errand {
    let mail: MailCommand
    let recipient: RecipientCommand
    /// Whether it is only asked for its word, and the mail comes later or never.
    let isInquiry: Bool

    func begin(on connection: BackendConnection) {
        if isInquiry {
            connection.probe(recipient, of: mail)
        } else {
            connection.recipient(recipient, of: mail)
        }
    }
}

extension SessionHandler: BackendUser {
    // MARK: - To the backend

    func hand(_ relayed: Relay) {
        relay.open = relayed
        switch relayed {
        case .recipient(let mail, let recipient): relayRecipient(recipient, of: mail)
        case .beginContent:
            guard let backend else { return lost(.backendUnavailable) }
            backend.beginContent()
        case .endContent:
            guard let backend else { return lost(.backendUnavailable) }
            putHeader(before: nil)
            backend.endContent()
        }
    }

    private func relayRecipient(_ recipient: RecipientCommand, of mail: MailCommand) {
        if current.settings.submission != nil {
            // The connection on which the client has logged in, and no other.
            guard let backend else { return lost(.backendUnavailable) }
            return backend.recipient(recipient, of: mail)
        }
        begin(Errand(mail: mail, recipient: recipient, isInquiry: false))
    }

    /// Whether a backend can be asked what it says of a recipient, without it being one: while it has none of this mail.
    var mayInquire: Bool { current.settings.submission == nil && message?.recipients ?? 0 == 0 && backendClient != nil }

    /// Asks a backend whether it takes this mail for a mailbox. Answered by `inquiryEnded`.
    func inquire(_ recipient: RecipientCommand, of mail: MailCommand) {
        // A recipient before this one was refused.
        backend?.reset()
        begin(Errand(mail: mail, recipient: recipient, isInquiry: true))
    }

    /// It takes too long; whoever waits for it goes on without.
    func giveUpInquiry() {
        relay.errand = nil
        backend?.leave()
        backend = nil
        inquiryEnded(nil)
    }

    /// On a connection on which the backend knows the client: the session's own, one that was kept, or a new one.
    private func begin(_ errand: Errand) {
        relay.errand = errand
        guard isIntroduced || introduce() else { return lost(.clientInformationNotNegotiated) }
        if !current.settings.routes.isEmpty {
            let route = current.settings.route(to: errand.recipient.mailbox) ?? []
            if message?.recipients ?? 0 == 0, relay.route != route {
                relay.route = route
                backend?.leave()
                backend = nil
            }
            if let reply = relay.lostRoutes[route] {
                guard !errand.isInquiry else {
                    relay.errand = nil
                    return inquiryEnded(nil)
                }
                return lost(reply)
            }
        }
        if let backend {
            relay.wasReused = message?.recipients ?? 0 == 0
            errand.begin(on: backend)
        } else {
            relay.candidates = candidates
            if let address = relay.candidates.first, let client = relay.client,
                let kept = gate.pool.take(
                    address, gateway.backendSettings(for: address, current.settings), tls: current.backendTLS, for: client)
            {
                relay.wasReused = true
                backend = kept
                kept.serve(client, user: self)
                errand.begin(on: kept)
            } else {
                relay.wasReused = false
                connect()
            }
        }
    }

    /// Whether a backend would be told the same of the client as before.
    private var isIntroduced: Bool {
        relay.knowsClient && relay.client?.helo == machine?.helo && relay.client?.isExtended == machine?.isExtended
    }

    /// - Returns: false where the client has said no HELO.
    private func introduce() -> Bool {
        guard let wanted = backendClient else { return false }
        if backend != nil, relay.client != wanted {
            // A new HELO, TLS or XCLIENT: the backend knows this client as another.
            backend?.leave()
            backend = nil
        }
        relay.client = wanted
        relay.knowsClient = true
        return true
    }

    private var candidates: ArraySlice<ListenAddress> {
        current.settings.routes.isEmpty
            ? gateway.directory.candidates()[...] : gateway.directory.candidates(among: relay.route)[...]
    }

    /// To the next backend that may be well; false where there is none.
    @discardableResult
    private func connect() -> Bool {
        guard let errand = relay.errand, let address = relay.candidates.popFirst() else { return false }
        let connection = BackendConnection(
            address, settings: gateway.backendSettings(for: address, current.settings), client: relay.client, tls: current.backendTLS,
            gate: gate,
            user: self)
        backend = connection
        errand.begin(on: connection)
        open(connection)
        return true
    }

    /// A backend that does not greet keeps nobody waiting for long, where there is another one.
    func open(_ connection: BackendConnection) {
        connection.connect(
            timeout: .milliseconds(current.settings.connectTimeout.milliseconds),
            greetingWithin: relay.candidates.isEmpty ? nil : current.settings.health.patience)
    }

    var backendClient: BackendClient? {
        guard let machine, let helo = machine.helo else { return nil }
        return BackendClient(
            source: client.source, destination: client.destination, name: client.confirmedName.compactMap { $0.text },
            reverseName: client.reverseName, helo: helo, isExtended: machine.isExtended, login: client.login)
    }

    /// The answer to what is open, and to all that follows of the transaction; but where domains have servers of their own, and none
    /// has accepted a recipient yet, only to the recipients of these servers.
    func lost(_ reply: Reply) {
        let open = relay.open
        relay.open = nil
        relay.errand = nil
        if case .recipient? = open {
            memory.withdrawRecipient()
            if !current.settings.routes.isEmpty, message?.recipients ?? 0 == 0 {
                relay.lostRoutes[relay.route] = reply
                ready = .reply(reply)
                return
            }
        }
        backendFailure = reply
    }

    // MARK: - Content

    /// Hands on a run of pieces.
    func relayContent(_ pieces: [ContentPiece], of input: ByteBuffer) {
        guard let backend else { return }
        if relay.header != nil,
            let first = input.withUnsafeReadableBytes({ bytes in pieces.lazy.compactMap { $0.first(of: bytes) }.first })
        {
            putHeader(before: first)
        }
        backend.content(pieces, of: input)
    }

    /// Puts our fields on the message, ahead of its first octet; `nil` where it has none. Content that begins with white space would
    /// continue our last field (RFC 5322 §2.2.3), and any sender could write on in our name: there an empty line ends the header, as
    /// Postfix ends it before a line that is no field.
    private func putHeader(before first: UInt8?) {
        guard let header = relay.header else { return }
        relay.header = nil
        let continues = first == UInt8(ascii: " ") || first == UInt8(ascii: "\t")
        backend?.header("\(header)\r\n\(continues ? "\r\n" : "")")
    }

    // MARK: - From the backend

    func backend(_ connection: BackendConnection, replied reply: Reply, to step: BackendStep) {
        guard connection === backend, let open = relay.open.take() else { return }
        relay.errand = nil
        ready = .reply(reply, inVain: step == .recipientInVain)
        switch (step, open) {
        case (.recipient, .recipient(let mail, let recipient)), (.recipientInVain, .recipient(let mail, let recipient)):
            answered(recipient, of: mail, reply)
        case (.beginContent, _):
            guard reply.code == 354 else { return }
            message?.hasContent = true
        case (.endContent, _):
            message?.octets = connection.octets
            message?.backend = connection.name
            output.isPrompt = true
        case (.recipient, _), (.recipientInVain, _): break
        }
    }

    private func answered(_ recipient: RecipientCommand, of mail: MailCommand, _ reply: Reply) {
        if message == nil { message = SessionMessage(startedAt: .now()) }
        if reply.isPositive {
            message?.recipients += 1
            memory.recipientTaken()
            gateway.clients.count(client.source.address, unknown: false, capacity: current.settings.probe.clients, now: .roughlyNow())
            if current.settings.probe.isOn { knowsMailbox(recipient.mailbox) }
        } else {
            message?.refused += 1
            memory.withdrawRecipient()
            if reply.isPermanent, current.settings.submission != nil { gateway.decisions.recipientRefused(client) }
        }
    }

    func backend(_ connection: BackendConnection, probed outcome: ProbeOutcome) {
        guard connection === backend, relay.errand?.isInquiry == true else { return }
        relay.errand = nil
        inquiryEnded(outcome)
    }

    func backend(_ connection: BackendConnection, failed failure: BackendFailure) {
        guard connection === backend else { return }
        backend = nil
        if current.settings.submission != nil { return logInFailed(on: connection, failure) }
        if let errand = relay.errand, message?.recipients ?? 0 == 0 {
            // A greeting that is the client's own is its answer, word for word.
            if !errand.isInquiry, case .refusedUs(let reply) = failure.reason, current.settings.clientInformation == .proxyV2,
                reply.isPermanent,
                gateway.isForClient(reply, behindHeaderTo: connection.address)
            {
                relay.open = nil
                memory.withdrawRecipient()
                relay.errand = nil
                ready = .reply(reply, inVain: true)
                return
            }
            // Nothing was accepted: another one may do, or a new connection in place of one that had grown old.
            if !connection.isReady || relay.wasReused {
                if relay.wasReused {
                    relay.wasReused = false
                    relay.candidates = candidates
                }
                if connect() { return }
            }
            if errand.isInquiry {
                relay.errand = nil
                return inquiryEnded(nil)
            }
        }
        lost(failure.reply)
    }

    func backendTurnEnded(_ connection: BackendConnection) {
        if connection === backend, connection.session.hasEnded, ready == nil { endedSilently(connection) }
        pump()
    }

    /// Nobody waits for a connection that is no more, however it came to its end.
    private func endedSilently(_ connection: BackendConnection) {
        if relay.credentials != nil {
            backend = nil
            logInFailed(on: connection, BackendFailure(.connectionLost))
        } else if relay.errand?.isInquiry == true {
            giveUpInquiry()
        } else if relay.open != nil {
            backend = nil
            lost(BackendFailure(.connectionLost).reply)
        }
    }

    // MARK: - The end of a transaction

    func endTransaction(_ end: TransactionEnd) {
        message?.ended = end
        message?.counts = memory.counts
        message?.pending = memory.pending
        message?.hasPassed = memory.counted
        message?.countsFor = memory.countsFor
        memory = .init()
        relay.errand = nil
        relay.lostRoutes = [:]
        switch end {
        case .completed: break
        case .reset: backend?.reset()
        case .aborted:
            backend?.leave()
            backend = nil
            finishMessage(nil)
        }
    }
}

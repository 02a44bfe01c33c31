/// What is sent to a backend and has a reply.
enum BackendCommand: Hashable, Sendable {
    case mail(MailCommand)
    case recipient(RecipientCommand)
    case data
    case authenticate(Credentials)
    /// A step of a log-in that was sent.
    case logIn(BackendSession.LogIn)
    /// A BDAT chunk before the last; written as it comes.
    case chunk
    /// The end of content, by dot or by `BDAT 0 LAST`.
    case endOfContent
    case reset
    case probeMail(MailCommand)
    /// The mailbox, without brackets.
    case probeRecipient(String)
    case probeReset

    /// Whether nothing may be sent before its reply (RFC 2920 §3.1, RFC 4954 §4).
    fileprivate var endsGroup: Bool {
        switch self {
        case .data, .logIn: true
        default: false
        }
    }
}

extension Array {
    /// As `removeFirst`, which is a general replacement: dear where, as nearly always, there is but one.
    fileprivate mutating func takeFirst() -> Element { count == 1 ? removeLast() : removeFirst() }
}

extension BackendSession {
    // MARK: - A transaction

    /// RCPT, with MAIL before it where this transaction has none yet. Answered by `replied(_, to: .recipient)`.
    public mutating func recipient(_ recipient: RecipientCommand, of mail: MailCommand, into actions: inout [BackendAction]) {
        guard isUsable(&actions) else { return }
        // Never an open relay: a connection of our own carries no one's mail.
        if case nil = client { return fail(BackendFailure(.clientInformationNotNegotiated), &actions) }
        guard isLoggedIn || !settings.requiresLogIn else { return fail(BackendFailure(.notLoggedIn), &actions) }
        if let refusal = sessionRefusal ?? transactionRefusal {
            actions.append(.replied(refusal, to: .recipientInVain))
        } else {
            if !hasMail {
                hasMail = true
                outbox.append(.mail(mail))
            }
            outbox.append(.recipient(recipient))
            pump(&actions)
        }
        settle(&actions)
    }

    /// DATA, or what stands for it. Answered by `replied(_, to: .beginContent)`: 354 when content may flow.
    public mutating func beginContent(into actions: inout [BackendAction]) {
        guard isUsable(&actions) else { return }
        guard phase == .open, hasMail, transactionRefusal == nil, content == .none else {
            actions.append(.replied(sessionRefusal ?? transactionRefusal ?? .badSequence, to: .beginContent))
            return settle(&actions)
        }
        encoder = DataEncoder()
        // Without PIPELINING every chunk would wait for the reply to the one before.
        if settings.usesChunking, extensions.chunking, extensions.pipelining, outbox.isEmpty, expected.isEmpty {
            content = .chunks
            waitsAnew = true
            actions.append(.replied(.startInput, to: .beginContent))
        } else {
            outbox.append(.data)
            pump(&actions)
        }
        settle(&actions)
    }

    /// Pieces of content, which refer to `input`; one call for each input makes the fewest chunks.
    public mutating func content(
        _ pieces: [ContentPiece], of input: UnsafeRawBufferPointer, into actions: inout [BackendAction]
    ) {
        switch content {
        case .none, .ending: return
        case .data:
            var encoded: [ContentPiece] = []
            for piece in pieces { encoder.encode(piece, of: input, into: &encoded) }
            for piece in encoded { actions.append(.forward(piece)) }
        case .chunks:
            let size = pieces.reduce(0) { $0 + $1.count }
            guard size > 0 else { return }
            expected.append(.chunk)
            actions.append(.send(Array("BDAT \(size)\r\n".utf8)))
            for piece in pieces { actions.append(.forward(piece)) }
        }
        waitsAnew = true
        settle(&actions)
    }

    /// The end of the content. Answered by `replied(_, to: .endContent)`.
    public mutating func endContent(into actions: inout [BackendAction]) {
        switch content {
        case .none, .ending:
            guard isUsable(&actions) else { return }
            actions.append(.replied(.badSequence, to: .endContent))
        case .data:
            actions.append(.forward(.insert(encoder.finish())))
            expectEnd()
        case .chunks:
            actions.append(.send(Array("BDAT 0 LAST\r\n".utf8)))
            expectEnd()
        }
        settle(&actions)
    }

    private mutating func expectEnd() {
        expected.append(.endOfContent)
        content = .ending
        waitsAnew = true
    }

    /// Takes the transaction back: RSET between commands, and `idle` after its reply. In the midst of something the
    /// connection closes instead, without the final dot.
    public mutating func reset(into actions: inout [BackendAction]) {
        guard phase != .ended else { return }
        // It is being taken back already.
        if phase == .open, !hasMail, outbox.isEmpty, expected == [.reset] || expected == [.probeReset] { return }
        if content != .none || !expected.isEmpty {
            end(&actions)
        } else if phase == .open, hasMail {
            hasMail = false
            transactionRefusal = nil
            outbox.append(.reset)
            pump(&actions)
        } else {
            outbox = []
            hasMail = false
            transactionRefusal = nil
        }
        settle(&actions)
    }

    /// Closes the connection at once: without QUIT, and without the final dot of content under way.
    public mutating func abort(into actions: inout [BackendAction]) {
        guard phase != .ended else { return }
        end(&actions)
        settle(&actions)
    }

    /// Ends an idle session with QUIT; one in the midst of something closes at once.
    public mutating func quit(into actions: inout [BackendAction]) {
        guard phase != .ended, phase != .quitting else { return }
        if phase == .open, outbox.isEmpty, expected.isEmpty, content == .none {
            actions.append(.send(Array("QUIT\r\n".utf8)))
            enter(.quitting)
        } else {
            end(&actions)
        }
        settle(&actions)
    }

    /// Asks whether the backend takes mail for a mailbox: MAIL, RCPT, RSET. Answered by `probed`. Only between transactions.
    ///
    /// - Parameter mail: the client's mail; `nil` to ask for nobody, with the null sender.
    public mutating func probe(_ mailbox: RecipientCommand, of mail: MailCommand? = nil, into actions: inout [BackendAction]) {
        guard isUsable(&actions) else { return }
        // As with `recipient`.
        if mail != nil, client == nil { return fail(BackendFailure(.clientInformationNotNegotiated), &actions) }
        guard !hasMail, content == .none, sessionRefusal == nil else {
            actions.append(.probed(.inconclusive(sessionRefusal ?? .badSequence)))
            return settle(&actions)
        }
        // RFC 6531 §3.4: a path beyond ASCII needs SMTPUTF8 in the MAIL before it.
        let mail = mail ?? MailCommand(.null, isSMTPUTF8: !mailbox.wirePath.utf8.allSatisfy { $0 < 0x80 })
        outbox += [.probeMail(mail), .probeRecipient(mailbox.wirePath), .probeReset]
        pump(&actions)
        settle(&actions)
    }

    /// Whether the connection lives; says why not otherwise.
    mutating func isUsable(_ actions: inout [BackendAction]) -> Bool {
        if sessionRefusal != nil || phase != .ended { return true }
        let known = failure ?? BackendFailure(.connectionLost)
        failure = known
        actions.append(.failed(known))
        return false
    }

    // MARK: - Commands out, replies in

    /// Sends what may be sent: everything with PIPELINING, else one command at a time (RFC 2920 §3.1).
    mutating func pump(_ actions: inout [BackendAction]) {
        guard phase == .open, !outbox.isEmpty else { return }
        var bytes: [UInt8] = []
        while !outbox.isEmpty, expected.isEmpty || (extensions.pipelining && expected.last?.endsGroup != true) {
            let command = outbox.takeFirst()
            switch command {
            case .mail(let mail):
                if mail.unsupportedParameter(by: carried) != nil {
                    refuseTransaction(.notOfferedNow, &actions)
                    continue
                }
                mail.encode(for: extensions, into: &bytes)
            case .recipient(let recipient):
                if recipient.unsupportedParameter(by: carried) != nil {
                    actions.append(.replied(.notOfferedNow, to: .recipient))
                    continue
                }
                recipient.encode(for: extensions, into: &bytes)
            case .data: bytes.append("DATA\r\n")
            case .reset, .probeReset: bytes.append("RSET\r\n")
            case .probeMail(let mail):
                if mail.unsupportedParameter(by: carried) != nil {
                    // What goes with it is not sent either.
                    outbox.removeFirst(2)
                    actions.append(.probed(.inconclusive(.notOfferedNow)))
                    actions.append(.idle)
                    continue
                }
                mail.encode(for: extensions, into: &bytes)
            case .probeRecipient(let mailbox): bytes.append("RCPT TO:<\(mailbox)>\r\n")
            case .authenticate(let credentials):
                if !bytes.isEmpty { actions.append(.send(bytes)) }
                bytes = []
                beginLogIn(credentials, &actions)
                continue
            case .chunk, .endOfContent, .logIn: preconditionFailure("content and log-ins under way are not queued")
            }
            expected.append(command)
            waitsAnew = true
        }
        if !bytes.isEmpty { actions.append(.send(bytes)) }
    }

    /// What a message may ask for. The client was offered what the backends offered when they were last heard, which may have
    /// changed since; nothing that it asks for is silently left out, but for SIZE and AUTH, which are ours.
    private var carried: Extensions {
        var offered = learnt ?? Extensions()
        offered.size = offered.size ?? 0
        // Never handed on.
        offered.authentication = .plain
        return offered
    }

    /// MAIL was refused: recipients that were not sent are answered with that, and so are those to come.
    private mutating func refuseTransaction(_ reply: Reply, _ actions: inout [BackendAction]) {
        transactionRefusal = reply
        let waiting = outbox
        outbox = []
        for command in waiting {
            if case .recipient = command {
                actions.append(.replied(reply, to: .recipientInVain))
            } else {
                outbox.append(command)
            }
        }
    }

    /// MAIL was refused, and the replies to what was sent with it will not come: the refusal answers that too.
    mutating func answerInVain(_ actions: inout [BackendAction]) {
        guard let refusal = transactionRefusal else { return }
        for command in expected {
            switch command {
            case .recipient: actions.append(.replied(refusal, to: .recipientInVain))
            case .probeRecipient: actions.append(.probed(.inconclusive(refusal)))
            default: break
            }
        }
    }

    /// A reply while the session is open.
    mutating func answered(_ reply: Reply, _ actions: inout [BackendAction]) {
        guard !expected.isEmpty else {
            // Before the end of the content only a refusal makes sense, and it ends the connection.
            guard content == .data, reply.isTransient || reply.isPermanent else { return fail(BackendFailure(.nonsense), &actions) }
            return fail(BackendFailure(.contentRefused, reply: reply), &actions)
        }
        let command = expected.takeFirst()
        if case .logIn(let step) = command {
            logInAnswered(step, reply, &actions)
            return pump(&actions)
        }
        if reply.isTransient || reply.isPermanent { hasRefused = true }
        let isFinal = reply.isPositive || reply.isTransient || reply.isPermanent
        guard isFinal || command == .data else {
            expected.insert(command, at: 0)
            return fail(BackendFailure(.nonsense), &actions)
        }
        switch command {
        case .authenticate, .logIn: break
        case .mail:
            if !reply.isPositive { refuseTransaction(reply, &actions) }
        case .recipient:
            actions.append(transactionRefusal.map { .replied($0, to: .recipientInVain) } ?? .replied(reply, to: .recipient))
        case .data:
            guard reply.code == 354 || reply.isTransient || reply.isPermanent else { return fail(BackendFailure(.nonsense), &actions) }
            if reply.code == 354 { content = .data }
            actions.append(.replied(reply, to: .beginContent))
        case .chunk:
            // RFC 3030 §2: a refused chunk fails the message.
            guard reply.isPositive else { return fail(BackendFailure(.contentRefused, reply: reply), &actions) }
        case .endOfContent:
            content = .none
            hasMail = false
            transactionRefusal = nil
            actions.append(.replied(reply, to: .endContent))
        case .reset:
            guard reply.isPositive else { return fail(BackendFailure(.nonsense), &actions) }
            actions.append(.idle)
        case .probeMail:
            if !reply.isPositive { transactionRefusal = reply }
        case .probeRecipient:
            if let refusal = transactionRefusal {
                actions.append(.probed(.inconclusive(refusal)))
            } else {
                actions.append(.probed(reply.isPositive ? .accepted(reply) : reply.isPermanent ? .refused(reply) : .inconclusive(reply)))
            }
        case .probeReset:
            transactionRefusal = nil
            guard reply.isPositive else { return fail(BackendFailure(.nonsense), &actions) }
            actions.append(.idle)
        }
        pump(&actions)
    }
}

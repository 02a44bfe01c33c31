/// Commands of a server session: each is checked, then decided elsewhere, then proceeds.
extension ServerSession {
    // MARK: - Lines

    mutating func takeLine(_ input: UnsafeRawBufferPointer, _ position: inout Int, _ actions: inout [ServerAction]) {
        // A TLS ClientHello, RDP, SMB and their like begin with a control octet, and may never send a CRLF.
        if lines.isAtLineStart, (0x00...0x08).contains(input[position]) || (0x0e...0x1f).contains(input[position]) {
            position = input.count
            return speaksAnotherProtocol(&actions)
        }
        let outcome = lines.decode(input, at: &position)
        for flaw in lines.takeFlaws().members { actions.append(.violation(flaw)) }
        // Also before the line's end: it may end its lines otherwise, and would be waited for in vain.
        if OtherProtocol.begins(lines.line) { return speaksAnotherProtocol(&actions) }
        guard outcome != .needsMore else { return }
        waitsAnew = true
        commands += 1
        guard commands <= settings.limits.commands else {
            actions.append(.violation(.overLimit))
            return end(.tooManyCommands, &actions)
        }
        let more = input.count - position
        switch outcome {
        case .needsMore: break
        case .line: takeCommand(more, &actions)
        case .flawed:
            unknownCommands += 1
            refuse(.lineFlawed, nil, &actions)
        case .tooLong: refuse(.lineTooLong, .overlongLine, &actions)
        }
    }

    private mutating func speaksAnotherProtocol(_ actions: inout [ServerAction]) {
        actions.append(.violation(.nonSMTP))
        end(.notSMTP, &actions)
    }

    private mutating func takeCommand(_ more: Int, _ actions: inout [ServerAction]) {
        var violations: ViolationSet = []
        let parsed = Result { () throws(CommandError) in
            try Command.parse(
                lines.line, leniency: settings.leniency, allowUTF8: transaction?.mail.isSMTPUTF8 ?? false, violations: &violations)
        }
        switch parsed {
        case .success(let command):
            for violation in violations.members { actions.append(.violation(violation)) }
            if outOfStep(behind: command, more, &actions) { return }
            run(command, more, &actions)
        case .failure(let error):
            for violation in violations.members where violation != error.violation { actions.append(.violation(violation)) }
            if more > 0, !mayPipeline, notInStep(.pipeliningNotOffered, &actions) { return }
            failed(error, &actions)
        }
    }

    private mutating func failed(_ error: CommandError, _ actions: inout [ServerAction]) {
        switch error {
        case .unknownVerb, .notACommand: unknownCommands += 1
        case .badChunk:
            // Octets of unknown number follow: the conversation cannot be kept in step (RFC 3030 §2). RFC 5321 §3.8: 421 tells so.
            actions.append(.violation(error.violation))
            return end(error.reply, &actions)
        default: break
        }
        let verb = lines.line.prefix(4)
        if verb.equalsIgnoringCase("MAIL") {
            mailWasRefused = transaction == nil
        } else if verb.equalsIgnoringCase("RCPT") {
            transaction?.refusedRecipients += 1
        }
        refuse(error.reply, error.violation, &actions)
    }

    // MARK: - Keeping step (RFC 2920 §3.1)

    /// Whether bytes that came with a command break the step, and the session ended over it.
    private mutating func outOfStep(behind command: Command, _ more: Int, _ actions: inout [ServerAction]) -> Bool {
        guard more > 0 else { return false }
        switch command {
        case .quit, .startTLS: return false
        case .chunk(let size, _) where size >= UInt64(more): return false
        default: break
        }
        if !mayPipeline { return notInStep(.pipeliningNotOffered, &actions) }
        guard command.verb.endsGroup else { return false }
        switch command.verb {
        // Nothing changes hands over these: told, but not punished.
        case .noop, .vrfy, .expn:
            report(.pipelinedPastReply, &actions)
            return false
        default: return notInStep(.pipelinedPastReply, &actions)
        }
    }

    /// Bytes have come while someone else is being waited for.
    mutating func talkedEarly(_ actions: inout [ServerAction]) {
        switch state {
        case .asking(.connect(again: false)): report(.earlyTalk, &actions)
        case .asking(.helo), .asking(.data), .relaying(.data), .checkingCredentials:
            _ = notInStep(mayPipeline ? .pipelinedPastReply : .pipeliningNotOffered, &actions)
        case .asking(.mail), .asking(.recipient), .relaying(.recipient):
            if !mayPipeline { _ = notInStep(.pipeliningNotOffered, &actions) }
        case .relaying(.endOfData):
            // The message has been handed over: its answer is not thrown away for this.
            if !mayPipeline { report(.pipeliningNotOffered, &actions) }
        // The chunk itself, or what may be pipelined behind XCLIENT.
        case .asking(.chunk), .relaying(.chunk), .asking(.connect(again: true)): break
        case .fresh, .command, .data, .chunk, .refusedChunk, .handshake, .authenticating, .ended: break
        }
    }

    mutating func notInStep(_ violation: Violation, _ actions: inout [ServerAction]) -> Bool {
        report(violation, &actions)
        guard settings.synchronization == .enforce else { return false }
        end(.outOfStep, &actions)
        return true
    }

    /// Each kind once per session.
    mutating func report(_ violation: Violation, _ actions: inout [ServerAction]) {
        guard !reported.contains(violation) else { return }
        reported.insert(violation)
        actions.append(.violation(violation))
    }

    // MARK: - Check

    private mutating func run(_ command: Command, _ more: Int, _ actions: inout [ServerAction]) {
        // RFC 5321 §3.1: after a 554 greeting, 503 to everything but QUIT.
        if wasRefused, command != .quit {
            if case .chunk(let size, let last) = command { return refuseChunk(size, last: last, .refusedEarlier, isOurs: true, &actions) }
            return refuse(.refusedEarlier, nil, &actions)
        }
        if needsLogIn(command) {
            let refusal = isSecured || !settings.extensions.startTLS ? Reply.authenticationRequired : .startTLSFirst
            if case .chunk(let size, let last) = command { return refuseChunk(size, last: last, refusal, isOurs: true, &actions) }
            return refuse(refusal, nil, &actions)
        }
        if case .xclient = command {} else { introduction = nil }
        switch command {
        case .helo(let name): ask(.helo(name, extended: false), .helo(name, extended: false), &actions)
        case .ehlo(let name): ask(.helo(name, extended: true), .helo(name, extended: true), &actions)
        case .mail(let mail): check(mail, &actions)
        case .recipient(let recipient): check(recipient, &actions)
        case .data: checkData(&actions)
        case .chunk(let size, let last): checkChunk(size, last: last, &actions)
        case .reset:
            endTransaction(.reset, &actions)
            mailWasRefused = false
            answer(.ok, &actions)
        case .noop: answer(.ok, &actions)
        case .quit:
            endTransaction(.reset, &actions)
            end(.goodbye, &actions)
        case .verify: answer(.cannotVerify, &actions)
        case .expand, .etrn: refuse(.notImplemented, nil, &actions)
        case .authenticate(let mechanism, let response): authenticate(mechanism, response, &actions)
        case .help: answer(help, &actions)
        case .startTLS: startTLS(more, &actions)
        case .xclient(let attributes): xclient(attributes, &actions)
        }
    }

    /// RFC 5321 §4.1.1.8: the commands that do something here and now. Those that are known and refused, as EXPN is, are none.
    private var help: Reply {
        let offered = settings.extensions
        var verbs: [Verb] = [.helo, .ehlo, .mail, .rcpt, .data]
        if offered.chunking { verbs.append(.bdat) }
        verbs += [.rset, .noop, .vrfy, .help]
        if offered.startTLS, !isSecured { verbs.append(.starttls) }
        if !offered.authentication.isEmpty, isSecured { verbs.append(.auth) }
        if !offered.xclient.isEmpty { verbs.append(.xclient) }
        verbs.append(.quit)
        return Reply(214, "2.0.0", "Commands: \(verbs.map(\.rawValue).joined(separator: " "))")
    }

    private mutating func ask(_ pending: Pending, _ question: Question, _ actions: inout [ServerAction]) {
        state = .asking(pending)
        actions.append(.ask(question))
    }

    /// What a message may ask for. A client of HELO has no extensions at all (RFC 5321 §2.2.1), and nor has what goes on to the backend
    /// in its name; but several send SIZE all the same, which is ours.
    private var usable: Extensions { isExtended ? settings.extensions : Extensions(size: settings.extensions.size) }

    private mutating func check(_ mail: MailCommand, _ actions: inout [ServerAction]) {
        guard helo != nil else { return refuse(.heloFirst, .badOrder, &actions) }
        guard transaction == nil else { return refuse(.nestedMail, .badOrder, &actions) }
        // Until it is accepted.
        mailWasRefused = true
        guard messages < settings.limits.messages else { return end(.tooManyMessages, &actions) }
        guard !isDraining else { return end(.shuttingDown, &actions) }
        guard !isStranded else { return end(.logInLost, &actions) }
        // RFC 5321 §4.1.1.11.
        guard mail.unsupportedParameter(by: usable) == nil else {
            return refuse(CommandError.unsupportedParameter(.mail).reply, .commandSyntax, &actions)
        }
        // RFC 1870 §6.1.
        let limit = contentLimit
        if let size = mail.size, limit > 0, size > limit { return refuse(.tooLarge, nil, &actions) }
        ask(.mail(mail), .mail(mail), &actions)
    }

    private mutating func check(_ recipient: RecipientCommand, _ actions: inout [ServerAction]) {
        guard helo != nil else { return refuse(.heloFirst, .badOrder, &actions) }
        guard let taken = transaction?.recipients else { return withoutMail(&actions) }
        guard transaction?.chunks == nil else { return refuse(.badSequence, .badOrder, &actions) }
        if let failure = transaction?.failure { return answer(failure, &actions) }
        guard recipient.unsupportedParameter(by: usable) == nil else {
            transaction?.refusedRecipients += 1
            return refuse(CommandError.unsupportedParameter(.rcpt).reply, .commandSyntax, &actions)
        }
        // RFC 5321 §4.5.3.1.10: the client sends the rest in another transaction.
        guard taken < settings.limits.recipients else { return answer(.tooManyRecipients, &actions) }
        // Whoever guesses at names. Each before had its true answer, so a message with many old addresses gets on with every session.
        guard refusedInARow < settings.limits.errors else {
            actions.append(.violation(.overLimit))
            return end(.tooManyRefused, &actions)
        }
        ask(.recipient(recipient), .recipient(recipient, count: taken), &actions)
    }

    private mutating func checkData(_ actions: inout [ServerAction]) {
        guard helo != nil else { return refuse(.heloFirst, .badOrder, &actions) }
        guard let (taken, refused) = transaction.map({ ($0.recipients, $0.refusedRecipients) }) else {
            return withoutMail(&actions)
        }
        // RFC 3030 §2: not both in one transaction.
        guard transaction?.chunks == nil, transaction?.chunkRefusal == nil else { return refuse(.badSequence, .badOrder, &actions) }
        if let failure = transaction?.failure { return answer(failure, &actions) }
        // RFC 5321 §3.3: 503 or 554. A pipelining client sends DATA before it knows that no recipient was accepted.
        guard taken > 0 else {
            guard refused > 0 else { return refuse(.recipientFirst, .badOrder, &actions) }
            return answer(.noValidRecipients, &actions)
        }
        ask(.data, .content(recipients: taken), &actions)
    }

    /// RCPT or DATA without a MAIL that was accepted. Who pipelines has sent it before it could know that its MAIL was refused
    /// (RFC 2920 §3.1).
    private mutating func withoutMail(_ actions: inout [ServerAction]) {
        if mailWasRefused { answer(.mailFirst, &actions) } else { refuse(.mailFirst, .badOrder, &actions) }
    }

    /// A chunk follows its command whatever we answer, so even a refused one is read to its end (RFC 3030 §2).
    private mutating func checkChunk(_ size: UInt64, last: Bool, _ actions: inout [ServerAction]) {
        func badOrder(_ reply: Reply) {
            actions.append(.violation(.badOrder))
            refuseChunk(size, last: last, reply, isOurs: true, &actions)
        }
        guard settings.extensions.chunking else { return refuseChunk(size, last: last, .notImplemented, isOurs: true, &actions) }
        guard helo != nil else { return badOrder(.heloFirst) }
        guard let open = transaction else {
            return mailWasRefused ? refuseChunk(size, last: last, .mailFirst, isOurs: false, &actions) : badOrder(.mailFirst)
        }
        if let refusal = open.chunkRefusal {
            // What was put off is put off whole: a client that goes by its last chunk must not return the message.
            return refuseChunk(size, last: last, refusal.isPermanent ? .badSequence : refusal, isOurs: false, &actions)
        }
        if let failure = open.failure { return refuseChunk(size, last: last, failure, isOurs: false, &actions) }
        guard open.recipients > 0 else {
            guard open.refusedRecipients > 0 else { return badOrder(.recipientFirst) }
            return refuseChunk(size, last: last, .noValidRecipients, isOurs: false, &actions)
        }
        let limit = contentLimit
        if limit > 0, size > limit || (open.chunks?.octets ?? 0) > limit - size {
            return refuseChunk(size, last: last, ContentFault.tooLarge.reply, isOurs: true, &actions)
        }
        if open.chunks == nil {
            ask(.chunk(size: size, last: last), .content(recipients: open.recipients), &actions)
        } else {
            beginChunk(size, last: last, &actions)
        }
    }

    /// RFC 3207 §4.
    private mutating func startTLS(_ more: Int, _ actions: inout [ServerAction]) {
        guard !isSecured else { return refuse(.alreadySecured, .badOrder, &actions) }
        guard settings.extensions.startTLS else { return refuse(.notImplemented, nil, &actions) }
        guard transaction == nil else { return refuse(.transactionInProgress, .badOrder, &actions) }
        // CVE-2011-0411: what came in the clear must not be taken for what comes by TLS.
        guard more == 0 else {
            actions.append(.violation(.plaintextAfterStartTLS))
            return end(.outOfStep, &actions)
        }
        actions.append(.write(.readyForTLS))
        actions.append(.startTLS)
        state = .handshake
    }

    private mutating func xclient(_ attributes: XClientAttributes, _ actions: inout [ServerAction]) {
        guard !settings.extensions.xclient.isEmpty else { return refuse(settings.xclientRefusal, nil, &actions) }
        guard transaction == nil else { return refuse(.transactionInProgress, .badOrder, &actions) }
        // XCLIENT_README note 1: what does not fit one command goes in several, and only together they are the client.
        var attributes = attributes
        if var told = introduction, !attributes.areOfAnother(than: told) {
            told.add(attributes)
            attributes = told
        }
        introduction = attributes
        actions.append(.clientInformation(attributes))
        // XCLIENT_README: back to the greeting, but for what was told on the way there.
        account = nil
        isStranded = false
        refusedInARow = 0
        helo = attributes.helo?.value.map { HeloName($0) }
        isExtended = helo != nil && attributes.proto == .esmtp
        ask(.connect(again: true), .connect, &actions)
    }

    // MARK: - Proceed

    mutating func proceed(_ pending: Pending, _ decision: Decision, _ actions: inout [ServerAction]) {
        let refusal: Reply?
        switch decision {
        case .accept: refusal = nil
        case .defer(let reply), .reject(let reply), .drop(.some(let reply)): refusal = reply
        case .drop(nil): refusal = .overloaded
        }
        if let refusal { return turnDown(pending, refusal, &actions) }
        switch pending {
        case .connect: answer(Reply(220, nil, "\(settings.hostname) \(settings.banner)"), &actions)
        case .helo(let name, let extended):
            // RFC 5321 §4.1.4: as if by RSET.
            endTransaction(.reset, &actions)
            mailWasRefused = false
            helo = name
            isExtended = extended
            renewOffer()
            let keywords = extended ? settings.extensions.keywords(secured: isSecured) : []
            answer(Reply(250, nil, texts: [settings.hostname] + keywords), &actions)
        case .mail(let mail):
            mailWasRefused = false
            transaction = Transaction(mail: mail)
            answer(.senderAccepted, &actions)
        case .recipient(let recipient):
            guard let mail = transaction?.mail else { preconditionFailure("a recipient is decided within a transaction") }
            if let failure = transaction?.failure { return answer(failure, &actions) }
            state = .relaying(.recipient)
            actions.append(.relay(.recipient(mail, recipient)))
        case .data:
            if let failure = transaction?.failure { return answer(failure, &actions) }
            state = .relaying(.data)
            actions.append(.relay(.beginContent))
        case .chunk(let size, let last):
            if let failure = transaction?.failure { return refuseChunk(size, last: last, failure, isOurs: false, &actions) }
            state = .relaying(.chunk(size: size, last: last))
            actions.append(.relay(.beginContent))
        }
    }

    private mutating func turnDown(_ pending: Pending, _ reply: Reply, _ actions: inout [ServerAction]) {
        switch pending {
        case .connect:
            // RFC 5321 §3.1 knows 220, 554 and, as everywhere, 421.
            guard reply.isPermanent else { return end(reply, &actions) }
            wasRefused = true
            answer(reply, &actions)
        case .recipient:
            recipientRefused(reply, namesMailbox: true, &actions)
        case .chunk(let size, let last): refuseChunk(size, last: last, reply, isOurs: false, &actions)
        case .helo, .mail, .data: answer(reply, &actions)
        }
    }

    mutating func recipientRefused(_ reply: Reply, namesMailbox: Bool, _ actions: inout [ServerAction]) {
        transaction?.refusedRecipients += 1
        if namesMailbox, reply.namesUnknownMailbox { actions.append(.violation(.unknownRecipient)) }
        if !reply.isPermanent {
            refusedInARow = 0
        } else if account == nil, transaction?.recipients == 0 {
            refusedInARow += 1
        }
        answer(reply, &actions)
    }
}

extension Reply {
    /// Whether it says that a mailbox does not exist: 550, 551 or 553 (RFC 5321 §4.2.3), with X.1.1 to X.1.3, X.1.6 or
    /// X.1.10 (RFC 3463 §3.2) where it has an enhanced code.
    public var namesUnknownMailbox: Bool {
        guard code == 550 || code == 551 || code == 553 else { return false }
        guard let enhanced = enhancedCode else { return true }
        return enhanced.subject == 1 && [1, 2, 3, 6, 10].contains(enhanced.detail)
    }
}

/// What other protocols send first to the port they take this one for.
enum OtherProtocol {
    /// HTTP methods (RFC 9110 §9), HTTP/2's preface, SSH's banner.
    private static let openings: [[UInt8]] = [
        "GET ", "POST ", "HEAD ", "PUT ", "DELETE ", "OPTIONS ", "CONNECT ", "TRACE ", "PATCH ", "PRI * ", "SSH-",
    ].map { Array($0.utf8) }

    static func begins(_ line: [UInt8]) -> Bool {
        switch (line.first ?? 0) & 0xdf {
        case UInt8(ascii: "G"), UInt8(ascii: "P"), UInt8(ascii: "H"), UInt8(ascii: "D"), UInt8(ascii: "O"), UInt8(ascii: "C"),
            UInt8(ascii: "T"), UInt8(ascii: "S"):
            break
        default: return false
        }
        return openings.contains { opening in
            line.count >= opening.count && zip(line, opening).allSatisfy { ($0 >= 0x61 && $0 <= 0x7a ? $0 & 0xdf : $0) == $1 }
        }
    }
}

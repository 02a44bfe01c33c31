/// AUTH of a server session (RFC 4954): the exchange with the client is ours, the decision somebody else's.
extension ServerSession {
    /// What the client's next line answers.
    enum AuthenticationStep: Hashable, Sendable {
        case plain
        case loginName
        case loginPassword(name: String)

        var challenge: Reply {
            switch self {
            case .plain: .emptyChallenge
            case .loginName: .nameChallenge
            case .loginPassword: .passwordChallenge
            }
        }
    }

    /// The backend's answer to the credentials that `authenticate` handed out, to go to the client word for word: 235, or a
    /// refusal of 4xx or 5xx. A 421 ends the session.
    public mutating func authenticated(_ reply: Reply, into actions: inout [ServerAction]) {
        guard case .checkingCredentials(let name) = state else { return }
        if reply.code == 235 {
            account = name
            answer(reply, &actions)
        } else if reply.code == 421 {
            end(reply, &actions)
        } else {
            if reply.isPermanent { failedLogIns += 1 }
            answer(reply.isTransient || reply.isPermanent ? reply : .authenticationUnavailable, &actions)
        }
        settle(&actions)
    }

    /// What the client has logged in with is gone, and nobody remembers its password: the session ends once no message is under
    /// way, and the client logs in anew.
    public mutating func accountLost(into actions: inout [ServerAction]) {
        guard account != nil, state != .ended else { return }
        isStranded = true
        settle(&actions)
    }

    // MARK: - The command

    /// Whether somebody who has not logged in must not use a command (RFC 4954 §6: 530 to all but these).
    func needsLogIn(_ command: Command) -> Bool {
        guard settings.requiresAuthentication, account == nil else { return false }
        return switch command {
        case .authenticate, .ehlo, .helo, .noop, .reset, .quit, .startTLS, .xclient: false
        case .mail, .recipient, .data, .chunk, .verify, .expand, .help, .etrn: true
        }
    }

    mutating func authenticate(_ mechanism: String, _ response: Secret?, _ actions: inout [ServerAction]) {
        defer { lines.wipe() }
        guard !settings.extensions.authentication.isEmpty else { return refuse(.notImplemented, nil, &actions) }
        // RFC 4954 §3: it is an extension, so there is none after HELO.
        guard helo != nil, isExtended else { return refuse(.ehloFirst, .badOrder, &actions) }
        // RFC 4954 §4: a server that wants TLS says 538; what was given in clear is not looked at.
        guard isSecured else { return refuse(.encryptionRequired, nil, &actions) }
        guard account == nil else { return refuse(.alreadyAuthenticated, .badOrder, &actions) }
        guard transaction == nil else { return refuse(.transactionInProgress, .badOrder, &actions) }
        guard let known = AuthenticationMechanisms(mechanism.utf8), settings.extensions.authentication.contains(known) else {
            return refuse(.unknownMechanism, nil, &actions)
        }
        guard failedLogIns < settings.limits.failedLogIns else {
            actions.append(.violation(.overLimit))
            return end(.tooManyFailedLogIns, &actions)
        }
        let step = known == .plain ? AuthenticationStep.plain : .loginName
        guard let response else { return challenge(step, &actions) }
        // RFC 4954 §4: `=` stands for an initial response that is empty.
        guard let decoded = response.withUnsafeBytes({ $0.elementsEqual([Octet.equals]) ? Secret([]) : Base64.decode($0) }) else {
            return refuse(.undecodableResponse, .commandSyntax, &actions)
        }
        take(decoded, step, &actions)
    }

    private mutating func challenge(_ step: AuthenticationStep, _ actions: inout [ServerAction]) {
        actions.append(.write(step.challenge))
        expect(.authenticating(step))
    }

    // MARK: - The client's responses

    mutating func takeResponse(
        _ input: UnsafeRawBufferPointer, _ position: inout Int, _ step: AuthenticationStep, _ actions: inout [ServerAction]
    ) {
        let outcome = lines.decode(input, at: &position, isResponse: true)
        for flaw in lines.takeFlaws().members { actions.append(.violation(flaw)) }
        guard outcome != .needsMore else { return }
        waitsAnew = true
        defer { lines.wipe() }
        // RFC 4954 §4: each response waits for its reply, so nothing may follow it.
        if input.count > position, notInStep(.pipelinedPastReply, &actions) { return }
        switch outcome {
        case .needsMore: break
        case .flawed: refuse(.undecodableResponse, .commandSyntax, &actions)
        // RFC 4954 §4: 12288 octets.
        case .tooLong: refuse(.responseTooLong, .overlongLine, &actions)
        case .line:
            // RFC 4954 §4: the client gives up.
            if lines.line == [UInt8(ascii: "*")] { return refuse(.authenticationCancelled, nil, &actions) }
            guard let response = Base64.decode(lines.line) else { return refuse(.undecodableResponse, .commandSyntax, &actions) }
            take(response, step, &actions)
        }
    }

    private mutating func take(_ response: Secret, _ step: AuthenticationStep, _ actions: inout [ServerAction]) {
        switch step {
        case .plain:
            switch Credentials.plain(response) {
            case .credentials(let credentials): hand(credentials, &actions)
            // RFC 4616 §2: who may act for whom is the server's affair; here nobody may, since each answers for itself.
            case .forAnother: refuse(.notForAnother, nil, &actions)
            case .malformed: refuse(.undecodableResponse, .commandSyntax, &actions)
            }
        case .loginName:
            guard let name = response.withUnsafeBytes({ Credentials.name($0) }) else {
                return refuse(.undecodableResponse, .commandSyntax, &actions)
            }
            challenge(.loginPassword(name: name), &actions)
        case .loginPassword(let name):
            // Some directories take a log-in without a password for one of nobody, and say yes.
            guard !response.isEmpty, !response.withUnsafeBytes({ $0.contains(Octet.nul) }) else {
                return refuse(.undecodableResponse, .commandSyntax, &actions)
            }
            hand(Credentials(name: name, password: response), &actions)
        }
    }

    private mutating func hand(_ credentials: Credentials, _ actions: inout [ServerAction]) {
        state = .checkingCredentials(name: credentials.name)
        actions.append(.authenticate(credentials))
    }
}

import NIOCore
import PosternCore
import SMTPProtocol

// A client logs in: at a backend, which alone knows passwords, on a connection that is the client's from then on.

extension SessionHandler {
    /// Nothing is asked before a log-in, and of whoever has logged in only what it may send: whoever comes from a dial-up line is no
    /// stranger for that. `nil` for what goes on as at any gateway.
    func answerOfSubmission(_ asked: Question) -> SMTPProtocol.Decision? {
        guard current.settings.submission != nil else { return nil }
        return switch asked {
        case .connect, .helo, .mail, .content: .accept
        case .recipient: nil
        }
    }

    // MARK: - To the backend

    func logIn(_ credentials: Credentials) {
        guard let submission = current.settings.submission else { return answerLogIn(.authenticationUnavailable) }
        let account = submission.account(credentials.name)
        if let refusal = gateway.decisions.refusalOfLogIn(account, client) {
            gateway.counters.count { $0.logInsRefused += 1 }
            relay.credentials = credentials
            return answerLogIn(refusal)
        }
        relay.credentials = credentials
        // Tried again after a refusal.
        if let backend, !backend.session.hasEnded { return backend.authenticate(credentials) }
        backend = nil
        guard let wanted = backendClient else { return answerLogIn(.authenticationUnavailable) }
        relay.client = wanted
        relay.candidates = gateway.directory.candidates()[...]
        if !connectToLogIn() { unanswered() }
    }

    /// To the next backend; false where there is none.
    private func connectToLogIn() -> Bool {
        guard let credentials = relay.credentials, let address = relay.candidates.popFirst() else { return false }
        let connection = BackendConnection(
            address, settings: gateway.backendSettings(for: address, current.settings), client: relay.client, tls: current.backendTLS,
            gate: gate, user: self)
        backend = connection
        connection.authenticate(credentials)
        open(connection)
        return true
    }

    // MARK: - From the backend

    func backend(_ connection: BackendConnection, authenticated outcome: AuthenticationOutcome) {
        guard connection === backend, let credentials = relay.credentials else { return }
        let account = current.settings.submission?.account(credentials.name) ?? credentials.name
        switch outcome {
        case .answered(let reply):
            if reply.code == 235 {
                client.login = account
                gateway.counters.count { $0.logIns += 1 }
            } else if reply.meansWrongCredentials {
                gateway.counters.count { $0.logInsFailed += 1 }
                gateway.decisions.logInFailed(account, client)
            }
            answerLogIn(reply)
        case .notOffered:
            gateway.seldom.log(
                .error,
                "backend offers neither AUTH PLAIN nor LOGIN: nobody can log in (Postfix: smtpd_sasl_auth_enable = yes; where smtpd_tls_auth_only = yes, backend_tls: required here)",
                metadata: ["listener": "\(gateway.name)", "backend": "\(connection.address)"])
            unanswered()
        }
    }

    /// The connection is lost: another backend may do while nobody has logged in; else the client has to do so again.
    func logInFailed(on connection: BackendConnection, _ failure: BackendFailure) {
        guard relay.credentials != nil else { return lost(failure.reply) }
        // One that is ready has heard the password, and may have counted it.
        if !connection.isReady, connectToLogIn() { return }
        unanswered()
    }

    private func unanswered() {
        gateway.counters.count { $0.logInsUnanswered += 1 }
        answerLogIn(.authenticationUnavailable)
    }

    private func answerLogIn(_ reply: Reply) {
        let account = relay.credentials.flatMap { current.settings.submission?.account($0.name) }
        // From here on nobody holds the password.
        relay.credentials = nil
        ready = .logIn(reply)
        gateway.decisions.log.writeLogIn(account ?? "", result: reply.code, listener: gateway.name, client: client.source.address)
    }

    // MARK: - The end of it

    /// Tells the machine that its client's log-in is of no more use. Whether there was something to tell.
    func tellOfLostLogIn() -> Bool {
        guard current.settings.submission != nil, client.login != nil, backend?.session.hasEnded ?? true else { return false }
        client.login = nil
        machine?.accountLost(into: &actions)
        perform(nil)
        return true
    }

    /// Whoever has logged in is not whom XCLIENT tells of.
    func leaveLogIn() {
        guard current.settings.submission != nil else { return }
        client.login = nil
        backend?.leave()
        backend = nil
    }
}

extension Reply {
    /// Whether a refusal of AUTH is for the name or the password (RFC 4954 §6), rather than for how it was asked. Some servers say 550
    /// or 554 of an account that may not log in.
    fileprivate var meansWrongCredentials: Bool { code == 535 || code == 550 || code == 554 }
}

extension DecisionLog {
    /// Of a log-in: never the password, and of failed ones the name only where names are logged.
    func writeLogIn(_ account: String, result: UInt16, listener: String, client: IPAddress) {
        write("log-in", at: SystemClocks.wall()) { line in
            line.add("listener", listener)
            line.add("client", client)
            line.add("account", redacts ? "…" : account)
            line.add("result", result)
        }
    }
}

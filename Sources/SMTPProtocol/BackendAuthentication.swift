/// Logging in at a backend on a client's behalf (RFC 4954).
extension BackendSession {
    /// Where a log-in stands.
    enum LogIn: Hashable, Sendable {
        /// `AUTH PLAIN` was sent; the credentials where they go only in reply to a challenge.
        case plain(Credentials?)
        /// `AUTH LOGIN` was sent.
        case name(Credentials)
        case password(Credentials)
        /// All has been said.
        case last
        case cancelled
    }

    /// RFC 4954 §4 lets a command with an initial response have 12288 octets; what passes the usual 512 goes by itself.
    private static let longestCommand = 512

    /// Logs in, on a connection that has told who its client is. Answered by `authenticated`. The connection is this client's
    /// alone from here on.
    public mutating func authenticate(_ credentials: Credentials, into actions: inout [BackendAction]) {
        guard isUsable(&actions) else { return }
        guard client != nil else { return fail(BackendFailure(.clientInformationNotNegotiated), &actions) }
        isOfOneClient = true
        if let refusal = sessionRefusal {
            actions.append(.authenticated(.answered(refusal)))
        } else {
            outbox.append(.authenticate(credentials))
            pump(&actions)
        }
        settle(&actions)
    }

    /// Begins with what the backend offers: PLAIN, or LOGIN where there is only that.
    mutating func beginLogIn(_ credentials: Credentials, _ actions: inout [BackendAction]) {
        if extensions.authentication.contains(.plain) {
            let line = credentials.plainLine("AUTH PLAIN ")
            if line.count <= Self.longestCommand {
                actions.append(.sendSecret(line))
                expected.append(.logIn(.plain(nil)))
            } else {
                actions.append(.send(Array("AUTH PLAIN\r\n".utf8)))
                expected.append(.logIn(.plain(credentials)))
            }
        } else if extensions.authentication.contains(.login) {
            actions.append(.send(Array("AUTH LOGIN\r\n".utf8)))
            expected.append(.logIn(.name(credentials)))
        } else {
            return actions.append(.authenticated(.notOffered))
        }
        waitsAnew = true
    }

    mutating func logInAnswered(_ step: LogIn, _ reply: Reply, _ actions: inout [BackendAction]) {
        if reply.code == 334 {
            switch step {
            case .plain(let credentials?): goOn(credentials.plainLine(""), .last, &actions)
            case .name(let credentials): goOn(credentials.nameLine, .password(credentials), &actions)
            case .password(let credentials): goOn(credentials.passwordLine, .last, &actions)
            // It wants what we do not have.
            case .plain(nil), .last: goOn(Secret(Array("*\r\n".utf8)), .cancelled, &actions)
            case .cancelled: fail(BackendFailure(.nonsense), &actions)
            }
            return
        }
        guard reply.isTransient || reply.isPermanent || reply.code == 235, step != .cancelled || reply.code != 235 else {
            return fail(BackendFailure(.nonsense), &actions)
        }
        if reply.code == 235 { isLoggedIn = true }
        actions.append(.authenticated(.answered(step == .cancelled ? .authenticationUnavailable : reply)))
    }

    private mutating func goOn(_ line: Secret, _ next: LogIn, _ actions: inout [BackendAction]) {
        actions.append(.sendSecret(line))
        expected.insert(.logIn(next), at: 0)
        waitsAnew = true
    }
}

/// What became of a log-in at a backend.
public enum AuthenticationOutcome: Hashable, Sendable {
    /// The backend's word: 235, or a refusal.
    case answered(Reply)
    /// It offers neither PLAIN nor LOGIN.
    case notOffered
}

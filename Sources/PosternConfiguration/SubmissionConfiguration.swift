import PosternCore

extension Configuration {
    /// What a listener with role `submission` has beside all that a gateway has.
    public struct Submission: Equatable, Sendable {
        /// How connections come to TLS (RFC 8314 §3).
        public enum TLS: String, CaseIterable, Sendable {
            /// They begin with it.
            case implicit
            case starttls
        }

        public var tls = TLS.starttls
        /// Follows the names of accounts that have no domain.
        public var loginDomain: DomainName?

        public init() {}

        /// The account that a name stands for: what is counted, limited and suspended, however it is written. A name that has no domain
        /// of its own gets this one.
        public static func account(_ name: String, in loginDomain: DomainName?) -> String {
            let name = name.foldedMailbox
            guard let loginDomain, !name.utf8.contains(UInt8(ascii: "@")) else { return name }
            return "\(name)@\(loginDomain.text)"
        }
    }

    /// RFC 8314 §7.3: the port where TLS comes first.
    static let submissionsPort: UInt16 = 465
    /// RFC 6409 §3.1.
    static let submissionPort: UInt16 = 587
}

extension Configuration {
    /// The account that a name stands for at log-in, in lower case: with `login_domain` behind it where it has no domain and the
    /// submission listeners know of one only.
    public func account(_ name: String) -> String {
        let domains = Set(listeners.compactMap { $0.gateway?.submission?.loginDomain })
        return Submission.account(name, in: domains.count == 1 ? domains.first : nil)
    }
}

// MARK: - Reading

extension ConfigurationLoader {
    /// Keys of a listener that only submission has, besides those of a gateway.
    static let submissionKeys = ["tls", "login_domain"]

    /// Reads the keys of submission from their listener; `nil` where the role is another.
    func submission(_ mapping: Mapping, role: Configuration.Role, address: Value?) -> Configuration.Submission? {
        var values: [String: Value] = [:]
        for key in Self.submissionKeys { values[key] = mapping.take(key) }
        guard role == .submission else {
            for key in Self.submissionKeys { values[key]?.conflict("'\(key)' belongs to a listener with role submission") }
            return nil
        }
        var submission = Configuration.Submission()
        if let text = address?.node.scalar?.string, Value.hostAndPort(text)?.1 == Configuration.submissionsPort {
            submission.tls = .implicit
        }
        if let tls = values["tls"]?.choice(Configuration.Submission.TLS.self) { submission.tls = tls }
        if let domain = values["login_domain"]?.domainName() { submission.loginDomain = domain }
        return submission
    }

    /// What a gateway does to strangers would hit users: they come from dial-up lines, and write to everybody.
    func refuseWhatIsForStrangers(_ values: [String: Value]) {
        for key in ["teaser", "probe", "tarpit", "tarpit_capacity"] {
            values[key]?.conflict("'\(key)' is for strangers, and belongs to a listener with role gateway")
        }
    }

    /// What must not be, and what is hardly meant.
    func check(
        _ submission: Configuration.Submission?, of gateway: Configuration.Gateway, at address: Configuration.Address, _ value: Value
    ) {
        guard let submission else { return }
        if gateway.certificate == nil, gateway.key == nil {
            value.error(
                "a submission listener needs TLS, or passwords would come in clear (RFC 8314); write tls_certificate and tls_key, such as those of your mail server"
            )
        }
        guard case .tcp(_, let port) = address else { return }
        switch (port, submission.tls) {
        case (Configuration.submissionsPort, .starttls):
            value.warning("mail programs begin with TLS at port 465; write tls: implicit, or use port 587 for STARTTLS")
        case (Configuration.submissionPort, .implicit):
            value.warning("mail programs expect STARTTLS at port 587; write tls: starttls, or use port 465 for TLS from the start")
        default: break
        }
    }
}

// MARK: - Printing

extension Configuration.Submission {
    /// The listener's further lines in `config show`: key and value.
    var yaml: [(String, String)] {
        [("tls", tls.rawValue)] + (loginDomain.map { [("login_domain", YAMLText.quoted($0.text))] } ?? [])
    }
}

// MARK: - Review

extension ConfigurationReview {
    mutating func reviewSubmission(_ listener: Configuration.Listener, _ index: Int) {
        guard let gateway = listener.gateway else { return }
        reviewGateway(listener, index)
        if gateway.clientInformation == .none {
            find(
                listener: index, "backend_client_info",
                "the mail server behind sees this host's address in place of its users', so its own blocking of addresses (fail2ban, auth penalties) would hit everybody at once, and its Received lines tell nothing; use xclient or proxy-v2 where it can"
            )
        }
        if configuration.accounts.mode == .off {
            find(
                listener: index, "role",
                "nobody is counted, so a stolen account sends as much as it likes and passwords may be guessed without end; write accounts: { mode: shadow }, look at it for a while, then on"
            )
        }
    }
}

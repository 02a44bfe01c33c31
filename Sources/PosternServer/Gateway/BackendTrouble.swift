import SMTPProtocol

// What the log tells of a backend that cannot be used, and what to do about it.

extension BackendFailure.Reason {
    /// For an admin. What the backend or the system said of it stands beside this, not in it.
    var words: String {
        switch self {
        case .notConnected: "no connection can be made: see whether the mail server runs and listens there"
        case .connectionLost: "it ends connections before it has greeted: see its own log"
        case .timedOut: "it does not answer in time: see its own log, and its load"
        case .nonsense: "what it says is no answer of a mail server's: see whether that is the right port"
        case .refusedUs: "it refuses Postern itself: let Postern's address in there"
        case .notUnderstood: "it does not understand what Postern begins with: see backend_client_info"
        case .closing: "it closes connections: see its own log, and its limits on connections"
        case .clientInformationNotNegotiated: "it does not let us say who the client is: see backend_client_info"
        case .notLoggedIn: "nobody has logged in there"
        case .tlsUnavailable: "it offers no TLS, and backend_tls is required: switch TLS on there"
        case .handshakeFailed: "TLS with it fails: see its certificate, and backend_ca"
        case .plaintextAfterStartTLS: "it says something in the clear behind STARTTLS: see what stands between it and Postern"
        case .contentRefused: "it refused a message before its end"
        }
    }
}

extension BackendSettings.ClientInformation {
    /// What to set at the mail server.
    var advice: String {
        switch self {
        case .xclient: "Postfix: smtpd_authorized_xclient_hosts"
        case .proxyV2: "Postfix: smtpd_upstream_proxy_protocol = haproxy; Exim: hosts_proxy; OpenSMTPD: listen on ... proxy-v2"
        case .none: "it must speak SMTP, RFC 5321"
        }
    }
}

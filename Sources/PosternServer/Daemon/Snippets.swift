import PosternConfiguration
import PosternCore

/// What an admin pastes into a mail server's configuration to have it ask this policy service.
public enum Snippets {
    /// For Postfix's main.cf. RCPT is where greylisting works; DATA is where null senders are judged; the end of a message is where
    /// it is charged to limits. Who has logged in is counted too where accounts have limits: the service then stands before what
    /// permits them.
    public static func postfix(_ address: ListenAddress, counts: Bool = false, accounts: Bool = false) -> String {
        let endpoint =
            switch address {
            case .tcp: "inet:\(address)"
            case .unix(let path, _, _): "unix:\(chrooted(path))"
            }
        let service = "check_policy_service { \(endpoint), timeout=10s, default_action=DUNNO }"
        let recipients =
            accounts
            ? "permit_mynetworks,\n    \(service),\n    permit_sasl_authenticated, reject_unauth_destination"
            : "permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination,\n    \(service)"
        var lines = [
            "# Postfix, /etc/postfix/main.cf (3.0 or later):", "smtpd_recipient_restrictions = \(recipients)",
            "smtpd_data_restrictions =", "    \(service)",
        ]
        if counts || accounts { lines += ["smtpd_end_of_data_restrictions =", "    \(service)"] }
        lines.append("access_map_defer_code = 451")
        return lines.joined(separator: "\n")
    }

    /// For Exim: what stands in the RCPT ACL before the final accept, and in the predata ACL for null senders.
    public static func exim(_ address: ListenAddress) -> String {
        """
        # Exim, in the RCPT ACL (acl_smtp_rcpt), after the relay checks and before the final accept:
        \(eximStatements(address, state: "RCPT", recipient: "$local_part@$domain"))
        # and in acl_smtp_predata, before its accept, for null senders:
        \(eximStatements(address, state: "DATA", recipient: ""))
        """
    }

    /// ACL statements that ask and do as they are told. `acl_m_` variables last as long as the message does, so that all
    /// questions about one message carry the same `instance`.
    static func eximStatements(_ address: ListenAddress, state: String, recipient: String) -> String {
        let endpoint =
            switch address {
            case .tcp: "inet:\(address)"
            case .unix(let path, _, _): path
            }
        let attributes = [
            "request=smtpd_access_policy", "protocol_state=\(state)", "protocol_name=ESMTP", "client_address=$sender_host_address",
            "client_name=${if def:sender_host_name{$sender_host_name}{unknown}}", "helo_name=$sender_helo_name", "sender=$sender_address",
            "recipient=\(recipient)", "recipient_count=$rcpt_count", "instance=$acl_m_instance", "sasl_username=$authenticated_id",
        ]
        let request = attributes.map { $0 + "\\n" }.joined()
        return #"""
              warn
                set acl_m_instance = ${if def:acl_m_instance{$acl_m_instance}{$pid.$tod_epoch_l}}
                set acl_m_answer = ${sg{${readsocket{\#(endpoint)}{\#(request)\n}{5s}{}{action=DUNNO}}}{\N\s+$\N}{}}
              defer
                condition = ${if match{$acl_m_answer}{\N^action=(4\d\d|DEFER)\N}}
                message = ${sg{$acl_m_answer}{\N^action=(DEFER\S*\s+)?\N}{}}
              deny
                condition = ${if match{$acl_m_answer}{\N^action=5\d\d\N}}
                message = ${sg{$acl_m_answer}{\N^action=\N}{}}
              warn
                condition = ${if match{$acl_m_answer}{\N^action=PREPEND\s\N}}
                add_header = ${sg{$acl_m_answer}{\N^action=PREPEND\s+\N}{}}
            """#
    }

    /// The path as a chrooted smtpd sees it.
    private static func chrooted(_ path: String) -> String {
        let queue = "/var/spool/postfix/"
        return path.hasPrefix(queue) ? String(path.dropFirst(queue.count)) : path
    }

    /// What a person wants to see: addresses, and lines to paste.
    static func welcome(_ listeners: [any RunningListener], _ configuration: Configuration) -> String {
        var lines = listeners.map { listener in
            let what =
                switch listener.role {
                case .policy: "policy service"
                case .gateway: "gateway"
                case .trap: "trap"
                case .admin: "dashboard"
                case .socketmap: "socketmap"
                case .dnsbl: "DNS service"
                case .inner: "inner door"
                case .throttle: "throttle"
                case .submission: "submission"
                }
            return "Postern is ready: \(what) on \(listener.address) (\(listener.name))"
        }
        lines.append("Its memory is in \(configuration.dataDirectory). Stop it with Ctrl-C.")
        if let first = listeners.first(where: { $0.role == .policy }) {
            let postfix = postfix(
                first.address, counts: configuration.throttle.mode != .off, accounts: configuration.accounts.mode != .off)
            lines += ["", postfix, "", exim(first.address)]
        }
        return lines.joined(separator: "\n")
    }
}

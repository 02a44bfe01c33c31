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
        let trusted = "permit_mynetworks, permit_sasl_authenticated"
        let recipients =
            accounts
            ? "permit_mynetworks,\n    \(service),\n    permit_sasl_authenticated, reject_unauth_destination"
            : "\(trusted), reject_unauth_destination,\n    \(service)"
        var lines = [
            "# Postfix, /etc/postfix/main.cf (3.0 or later):", "smtpd_recipient_restrictions = \(recipients)",
            "smtpd_data_restrictions = \(trusted),", "    \(service)",
        ]
        if counts || accounts { lines += ["smtpd_end_of_data_restrictions =", "    \(service)"] }
        lines.append("access_map_defer_code = 451")
        return lines.joined(separator: "\n")
    }

    /// For Exim: what stands in the RCPT ACL before the final accept, in the predata ACL for null senders, and where there are limits
    /// in the DATA ACL, for what is charged to them.
    public static func exim(_ address: ListenAddress, counts: Bool = false, accounts: Bool = false) -> String {
        let place = accounts ? "before what accepts those who have logged in" : "after the relay checks and before the final accept"
        var text = """
            # Exim, in the RCPT ACL (acl_smtp_rcpt), \(place):
            \(eximStatements(address, at: .rcpt))
            # and in acl_smtp_predata, before its accept, for null senders:
            \(eximStatements(address, at: .data))
            """
        if counts || accounts {
            text += "\n# and in acl_smtp_data, before its accept, for what is charged:\n" + eximStatements(address, at: .endOfMessage)
        }
        return text
    }

    /// When Exim asks.
    enum EximQuestion {
        case rcpt, data, endOfMessage

        fileprivate var attributes: [String] {
            switch self {
            case .rcpt: ["protocol_state=RCPT", "recipient=$local_part@$domain", "recipient_count=$rcpt_count"]
            case .data: ["protocol_state=DATA", "recipient=", "recipient_count=$recipients_count"]
            case .endOfMessage:
                ["protocol_state=END-OF-MESSAGE", "recipient=", "recipient_count=$recipients_count", "size=$message_size"]
            }
        }

        /// Whom it asks about: one's own were accepted at RCPT before anything was asked.
        fileprivate var conditions: [String] {
            self == .data ? ["set acl_m_answer =", "!hosts = +relay_from_hosts", "!authenticated = *"] : []
        }
    }

    /// ACL statements that ask and do as they are told. `acl_m_` variables last as long as the message does, so that all
    /// questions about one message carry the same `instance`. A text that begins with its codes bears them on each of its lines
    /// (RFC 2034 §4).
    static func eximStatements(_ address: ListenAddress, at question: EximQuestion) -> String {
        let endpoint =
            switch address {
            case .tcp: "inet:\(address)"
            case .unix(let path, _, _): path
            }
        let attributes =
            ["request=smtpd_access_policy"] + question.attributes + [
                "protocol_name=ESMTP", "client_address=$sender_host_address",
                "client_name=${if def:sender_host_name{$sender_host_name}{unknown}}", "helo_name=$sender_helo_name",
                "sender=$sender_address", "instance=$acl_m_instance", "sasl_username=$authenticated_id",
            ]
        let request = attributes.map { $0 + "\\n" }.joined()
        let conditions = question.conditions.map { "    \($0)\n" }.joined()
        return #"""
              warn
            \#(conditions)    set acl_m_instance = ${if def:acl_m_instance{$acl_m_instance}{$pid.$tod_epoch_l}}
                set acl_m_answer = ${sg{${readsocket{\#(endpoint)}{\#(request)\n}{5s}{}{action=DUNNO}}}{\N\s+$\N}{}}
              defer
                condition = ${if match{$acl_m_answer}{\N^action=(4\d\d|DEFER)\N}}
                message = ${sg{$acl_m_answer}{\N^action=(DEFER\S*|4\d\d)\N}{451}}
              deny
                condition = ${if match{$acl_m_answer}{\N^action=5\d\d\N}}
                message = ${sg{$acl_m_answer}{\N^action=\N}{}}
              warn
                condition = ${if match{$acl_m_answer}{\N^action=HOLD\N}}
                control = freeze
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
}

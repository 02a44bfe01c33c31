import PosternCore

/// What an admin pastes into a mail server's configuration to have it ask this policy service.
public enum Snippets {
    /// For Postfix's main.cf. RCPT is where greylisting works; DATA is where null senders are judged.
    public static func postfix(_ address: ListenAddress) -> String {
        let endpoint =
            switch address {
            case .tcp: "inet:\(address)"
            case .unix(let path, _, _): "unix:\(chrooted(path))"
            }
        let service = "check_policy_service { \(endpoint), timeout=10s, default_action=DUNNO }"
        return """
            # Postfix, /etc/postfix/main.cf (3.0 or later):
            smtpd_recipient_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination,
                \(service)
            smtpd_data_restrictions =
                \(service)
            access_map_defer_code = 451
            """
    }

    /// For Exim's RCPT and DATA ACLs.
    public static func exim(_ address: ListenAddress) -> String {
        let endpoint =
            switch address {
            case .tcp(let host, let port): "inet:\(host):\(port)"
            case .unix(let path, _, _): path
            }
        return """
            # Exim, in the RCPT ACL after the relay checks:
            warn set acl_m_postern = ${readsocket{\(endpoint)}\\
                {request=smtpd_access_policy\\nprotocol_state=RCPT\\nprotocol_name=ESMTP\\n\\
                client_address=$sender_host_address\\nclient_name=${if def:sender_host_name{$sender_host_name}{unknown}}\\n\\
                helo_name=$sender_helo_name\\nsender=$sender_address\\nrecipient=$local_part@$domain\\n\\
                sasl_username=$authenticated_id\\ninstance=$tod_epoch.$pid.$message_exim_id\\n\\n}{5s}{\\n}{action=DUNNO}}
            defer message = ${sg{$acl_m_postern}{^action=DEFER_IF_PERMIT 4.7.1 }{}}
                condition = ${if match{$acl_m_postern}{^action=DEFER_IF_PERMIT}}
            deny message = ${sg{$acl_m_postern}{^action=554 5.7.1 }{}}
                condition = ${if match{$acl_m_postern}{^action=554}}
            warn condition = ${if match{$acl_m_postern}{^action=PREPEND }}
                add_header = ${sg{$acl_m_postern}{^action=PREPEND }{}}
            """
    }

    /// The path as a chrooted smtpd sees it.
    private static func chrooted(_ path: String) -> String {
        let queue = "/var/spool/postfix/"
        return path.hasPrefix(queue) ? String(path.dropFirst(queue.count)) : path
    }
}

import Foundation

/// What a test wants of an Exim. Every default suits a receiving server that trusts nobody.
public struct EximConfiguration: Sendable {
    public var hostname: String
    /// Received for, into the maildir.
    public var domains: [String]
    /// The mailboxes that exist, as local parts; nil for every one of `domains`.
    public var localParts: [String]?
    /// IPv4 address to listen on.
    public var address: String
    /// From the kernel when nil.
    public var port: UInt16?
    /// Statements of the RCPT ACL, after the check that we receive for the domain and before its final `accept`;
    /// `policyStatements(endpoint:)` makes those that ask a policy service.
    public var recipientStatements: String
    /// Statements of the ACLs at MAIL and at the end of the data, before their final `accept`.
    public var mailStatements: String
    public var dataStatements: String
    /// Statements of the ACL in reply to DATA, before its final `accept`.
    public var predataStatements = ""
    /// Whole ACLs with their names, for the options of `extraMain`.
    public var extraACLs: String
    /// Address and port where mail for other domains goes; nil: nowhere.
    public var relay: (address: String, port: UInt16)?
    /// Clients that may relay; nil: nobody, or all of loopback where there is a `relay`.
    public var trustedNetworks: [String]?
    /// The shortest time between two attempts, seconds.
    public var retrySeconds: Int
    /// Connections must start with a PROXY header, version 1 or 2 (`hosts_proxy`).
    public var expectsProxyHeader: Bool
    /// Offers STARTTLS with it.
    public var certificate: Certificate?
    /// Names by address, as in a hosts file, for `relay`. Exim confirms a client's name by DNS alone: its name stays unknown.
    public var hosts: [String: String]
    /// A name server on port 53: mail for other domains then goes where their MX records say.
    public var resolver: String?
    /// Lines of the main section, which come last.
    public var extraMain: [String]
    /// Lines of the smtp transport.
    public var extraTransport: [String]
    /// Passwords by name of users who may log in, by `mechanisms`, and then send to everywhere; letters and digits alone.
    public var users: [String: String] = [:]
    /// `PLAIN` and `LOGIN`.
    public var mechanisms = ["PLAIN", "LOGIN"]
    /// Folders outside that it must see, e.g. that of a policy service's UNIX socket.
    public var binds: [String]

    public init(
        hostname: String = "mx.example.test", domains: [String] = ["example.test"], localParts: [String]? = nil,
        address: String = "127.0.0.1", port: UInt16? = nil, mailStatements: String = "", recipientStatements: String = "",
        dataStatements: String = "", relay: (address: String, port: UInt16)? = nil, trustedNetworks: [String]? = nil, retrySeconds: Int = 1,
        expectsProxyHeader: Bool = false, certificate: Certificate? = nil, hosts: [String: String] = [:], extraMain: [String] = [],
        extraTransport: [String] = [], extraACLs: String = "", binds: [String] = []
    ) {
        self.hostname = hostname
        self.domains = domains
        self.localParts = localParts
        self.address = address
        self.port = port
        self.mailStatements = mailStatements
        self.recipientStatements = recipientStatements
        self.dataStatements = dataStatements
        self.relay = relay
        self.trustedNetworks = trustedNetworks
        self.retrySeconds = retrySeconds
        self.expectsProxyHeader = expectsProxyHeader
        self.certificate = certificate
        self.hosts = hosts
        self.extraMain = extraMain
        self.extraTransport = extraTransport
        self.extraACLs = extraACLs
        self.binds = binds
    }

    /// ACL statements that ask a policy service about the recipient and do as it says: defer, reject, add a header. Without
    /// an answer within five seconds the recipient is accepted.
    ///
    /// - Parameter endpoint: as `readsocket` takes it: `inet:127.0.0.1:10023` or the path of a UNIX socket.
    public static func policyStatements(endpoint: String) -> String {
        let attributes = [
            "request=smtpd_access_policy", "protocol_state=RCPT", "protocol_name=ESMTP", "client_address=$sender_host_address",
            "client_name=${if def:sender_host_name{$sender_host_name}{unknown}}", "helo_name=$sender_helo_name",
            "sender=$sender_address", "recipient=$local_part@$domain", "instance=$acl_m_instance", "sasl_username=$authenticated_id",
        ]
        let request = attributes.map { $0 + "\\n" }.joined()
        return #"""
              warn
                set acl_m_answer = ${sg{${readsocket{\#(endpoint)}{\#(request)\n}{5s}{}{action=DUNNO}}}{\N\s+$\N}{}}
              defer
                condition = ${if match{$acl_m_answer}{\N^(?i)action=(4\d\d|defer)\N}}
                message = ${sg{$acl_m_answer}{\N^(?i)action=(defer\S*\s+)?\N}{}}
              deny
                condition = ${if match{$acl_m_answer}{\N^(?i)action=(5\d\d|reject)\N}}
                message = ${sg{$acl_m_answer}{\N^(?i)action=(reject\s+)?\N}{}}
              warn
                condition = ${if match{$acl_m_answer}{\N^(?i)action=prepend\s\N}}
                add_header = ${sg{$acl_m_answer}{\N^(?i)action=prepend\s+\N}{}}

            """#
    }

    // MARK: - Files

    func write(to folder: TemporaryFolder, port: UInt16) throws {
        try folder.write(text(folder: folder, port: port), to: "etc/exim4/exim4.conf")
        try folder.write(hostsFile(hosts, hostname: hostname), to: "etc/hosts")
        if let resolver { try folder.write("nameserver \(resolver)\n", to: "etc/resolv.conf") }
        try certificate?.copy(to: folder, "etc/exim4")
        // 103 is Debian-exim, 1000 vmail.
        var owners = ["750 103:103 var/spool/exim4", "755 103:103 var/log/exim4", "750 103:103 run/exim4", "755 1000:1000 mail"]
        if certificate != nil { owners.append("640 0:103 etc/exim4/key.pem") }
        try folder.write(owners.joined(separator: "\n") + "\n", to: "owners")
    }

    private func text(folder: TemporaryFolder, port: UInt16) -> String {
        let trusted = trustedNetworks ?? (relay == nil ? [] : ["127.0.0.0/8"])
        var main = [
            "primary_hostname = \(hostname)",
            "domainlist ours = \(domains.joined(separator: " : "))",
            "hostlist relay_from_hosts = \(trusted.joined(separator: " : "))",
            "local_interfaces = \(address)",
            "daemon_smtp_ports = \(port)",
            "spool_directory = /var/spool/exim4",
            "log_file_path = /var/log/exim4/%slog",
            "pid_file_path = /run/exim4/exim.pid",
            "log_selector = +smtp_protocol_error +smtp_syntax_error +incoming_port",
            "acl_smtp_mail = at_mail",
            "acl_smtp_rcpt = at_rcpt",
            "acl_smtp_data = at_data",
            "keep_environment =",
            "message_size_limit = 100M",
            "smtp_accept_max = 0",
            "smtp_accept_queue_per_connection = 0",
            "smtp_receive_timeout = 30s",
            "smtputf8_advertise_hosts = *",
            "dsn_advertise_hosts = *",
            "never_users =",
            "trusted_users = vmail",
        ]
        if !predataStatements.isEmpty { main.append("acl_smtp_predata = at_predata") }
        if expectsProxyHeader { main.append("hosts_proxy = 127.0.0.0/8") }
        if certificate != nil {
            main += [
                "tls_advertise_hosts = *", "tls_certificate = /etc/exim4/certificate.pem", "tls_privatekey = /etc/exim4/key.pem",
            ]
        } else {
            main.append("tls_advertise_hosts =")
        }
        let known = localParts.map { "\n  local_parts = " + $0.joined(separator: " : ") } ?? ""
        let looksUp =
            resolver == nil
            ? nil
            : """
            onward:
              driver = dnslookup
              domains = ! +ours
              transport = onward
              self = send

            """
        let onward =
            looksUp
            ?? relay.map { relay in
                """
                onward:
                  driver = manualroute
                  domains = ! +ours
                  transport = onward
                  route_list = * \(relay.address) byname
                  self = send

                """
            }
        let transport = (relay?.port ?? (resolver == nil ? nil : 25)).map { port in
            """
            onward:
              driver = smtp
              port = \(port)
              allow_localhost
              hosts_try_dane =
              \(extraTransport.joined(separator: "\n  "))

            """
        }
        return (main + extraMain).joined(separator: "\n") + """


            begin acl

            \(extraACLs)

            at_mail:
            \(mailStatements)
              accept
                set acl_m_instance = $pid-$tod_epoch_l

            at_rcpt:
              accept hosts = +relay_from_hosts
            \(users.isEmpty ? "" : "  accept authenticated = *")
              deny   message = 5.7.1 relaying denied
                     domains = ! +ours
              require verify = recipient
            \(recipientStatements)
              accept

            \(predataStatements.isEmpty ? "" : "at_predata:\n\(predataStatements)\n  accept")

            at_data:
            \(dataStatements)
              accept

            begin routers

            ours:
              driver = accept
              domains = +ours\(known)
              transport = maildir

            \(onward ?? "")
            begin transports

            maildir:
              driver = appendfile
              directory = \(folder.file("mail/all"))
              create_directory
              maildir_format
              user = vmail
              group = vmail
              envelope_to_add
              return_path_add

            \(transport ?? "")
            begin retry
            *  *  F,1h,\(retrySeconds)s

            \(users.isEmpty ? "" : authenticators)
            """
    }

    private var authenticators: String {
        func authenticator(_ mechanism: String, prompts: String, name: String, password: String) -> String {
            let known = users.sorted { $0.key < $1.key }.map { "{and{{eq{\(name)}{\($0.key)}}{eq{\(password)}{\($0.value)}}}}" }
            return """
                \(mechanism.lowercased()):
                  driver = plaintext
                  public_name = \(mechanism)
                  server_prompts = \(prompts)
                  server_condition = ${if or{\(known.joined())}}
                  server_set_id = \(name)

                """
        }
        return "begin authenticators\n\n"
            + mechanisms.map {
                $0 == "PLAIN"
                    ? authenticator($0, prompts: ":", name: "$auth2", password: "$auth3")
                    : authenticator($0, prompts: "Username:: : Password::", name: "$auth1", password: "$auth2")
            }.joined(separator: "\n")
    }
}

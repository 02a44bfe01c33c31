import Foundation

/// What a test wants of a Postfix. Every default suits a receiving server that trusts nobody.
public struct PostfixConfiguration: Sendable {
    /// A policy service's endpoint as Postfix writes it (`inet:127.0.0.1:10023`, `unix:/path`), and where it is asked.
    public struct Policy: Sendable {
        public var endpoint: String
        /// After this long without an answer the service is asked anew, then `defaultAction` counts.
        public var timeout: String
        public var defaultAction: String
        public var atRecipient: Bool
        public var atData: Bool
        public var atEndOfData: Bool

        public init(
            _ endpoint: String, timeout: String = "10s", defaultAction: String = "DUNNO", atRecipient: Bool = true, atData: Bool = false,
            atEndOfData: Bool = false
        ) {
            self.endpoint = endpoint
            self.timeout = timeout
            self.defaultAction = defaultAction
            self.atRecipient = atRecipient
            self.atData = atData
            self.atEndOfData = atEndOfData
        }

        /// As it stands in a restriction list.
        var restriction: String {
            "check_policy_service { \(endpoint), timeout=\(timeout), default_action=\(defaultAction) }"
        }
    }

    /// How the client's address arrives when Postfix stands behind a gateway.
    public enum ClientInformation: Sendable {
        /// It does not: the connection's own address counts.
        case connection
        /// `smtpd_authorized_xclient_hosts` lets loopback send XCLIENT.
        case xclient
        /// `smtpd_upstream_proxy_protocol = haproxy`: a PROXY header, version 1 or 2, starts each connection.
        case proxy
    }

    /// A second listener that takes mail from users who log in (SASL PLAIN or LOGIN, with or without TLS).
    public struct Submission: Sendable {
        /// Passwords by user; a user is `name@realm`, or `name` in the realm of the host name.
        public var users: [String: String]
        /// Asked ahead of `permit_sasl_authenticated`, and at the end of the data where it says so; `atRecipient` and `atData`
        /// do not count.
        public var policy: Policy?
        /// From the kernel when nil.
        public var port: UInt16?
        /// Where a Dovecot is asked about passwords in place of Postfix's own database, which `users` fills.
        public var dovecot: UInt16?

        public init(users: [String: String], policy: Policy? = nil, port: UInt16? = nil) {
            self.users = users
            self.policy = policy
            self.port = port
        }
    }

    public var hostname: String
    /// Received for, into the maildir.
    public var domains: [String]
    /// The mailboxes that exist; nil for every one of `domains`.
    public var recipients: [String]?
    /// IPv4 address to listen on.
    public var address: String
    /// From the kernel when nil.
    public var port: UInt16?
    public var policy: Policy?
    public var clientInformation: ClientInformation
    /// Where mail for other domains goes, e.g. `[127.0.0.1]:10025`; nil: nowhere, its DNS look-ups are off.
    public var relayHost: String?
    /// `mynetworks`. Nil: nobody, or all of loopback where there is a `relayHost`. These clients skip the policy service.
    public var trustedNetworks: [String]?
    /// The shortest time between two attempts, seconds. With less than 3 the queue manager would look at a message that the process
    /// which has just tried it still holds; it then leaves it alone for a minute ("skipped, still being delivered").
    public var retrySeconds: Int
    public var submission: Submission?
    /// Offers STARTTLS with it.
    public var certificate: Certificate?
    /// Names by address, as in a hosts file: the only names that this server can find.
    public var hosts: [String: String]
    /// A name server on port 53, such as `127.0.0.53`: mail for other domains then goes where their MX records say.
    public var resolver: String?
    /// `main.cf` lines that come last, so that they win.
    public var extraMain: [String]
    /// `master.cf` lines.
    public var extraMaster: [String]
    /// Folders outside that it must see, e.g. that of a policy service's UNIX socket.
    public var binds: [String]

    public init(
        hostname: String = "mx.example.test", domains: [String] = ["example.test"], recipients: [String]? = nil,
        address: String = "127.0.0.1", port: UInt16? = nil, policy: Policy? = nil, clientInformation: ClientInformation = .connection,
        relayHost: String? = nil, trustedNetworks: [String]? = nil, retrySeconds: Int = 3, submission: Submission? = nil,
        certificate: Certificate? = nil, hosts: [String: String] = [:], extraMain: [String] = [], extraMaster: [String] = [],
        binds: [String] = []
    ) {
        self.hostname = hostname
        self.domains = domains
        self.recipients = recipients
        self.address = address
        self.port = port
        self.policy = policy
        self.clientInformation = clientInformation
        self.relayHost = relayHost
        self.trustedNetworks = trustedNetworks
        self.retrySeconds = retrySeconds
        self.submission = submission
        self.certificate = certificate
        self.hosts = hosts
        self.extraMain = extraMain
        self.extraMaster = extraMaster
        self.binds = binds
    }

    // MARK: - Files

    func write(to folder: TemporaryFolder, port: UInt16, submissionPort: UInt16?) throws {
        try folder.write(main(folder: folder), to: "etc/postfix/main.cf")
        try folder.write(master(port: port, submissionPort: submissionPort), to: "etc/postfix/master.cf")
        try folder.write(hostsFile(hosts, hostname: hostname), to: "etc/hosts")
        if let resolver { try folder.write("nameserver \(resolver)\n", to: "etc/resolv.conf") }
        let mailboxes = recipients?.map { "\($0) all/\n" }.joined() ?? ""
        try folder.write(mailboxes, to: "etc/postfix/mailboxes")
        // Postfix waits for two seconds before it reads a file that has just changed, in each of its processes.
        for name in ["main.cf", "mailboxes"] {
            try FileManager.default.setAttributes(
                [.modificationDate: Date(timeIntervalSinceNow: -60)], ofItemAtPath: folder.file("etc/postfix/\(name)"))
        }
        try certificate?.copy(to: folder, "etc/postfix")
        if submission != nil {
            try folder.write(
                "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\n", to: "etc/postfix/sasl/smtpd.conf")
        }
        // The folders that the package's own scripts make, with their owners: 101 is postfix, 102 postdrop, 1000 vmail.
        let queues = ["active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace"]
        let owners =
            queues.map { "700 101:0 var/spool/postfix/\($0)" } + [
                "1730 101:102 var/spool/postfix/maildrop", "2710 101:102 var/spool/postfix/public", "755 0:0 var/spool/postfix/pid",
                "700 101:101 var/lib/postfix", "755 1000:1000 mail",
            ]
        try folder.write(owners.joined(separator: "\n") + "\n", to: "owners")
    }

    private func main(folder: TemporaryFolder) -> String {
        let trusted = trustedNetworks ?? (relayHost == nil ? [] : ["127.0.0.0/8"])
        var lines = [
            "compatibility_level = 3.6",
            "maillog_file = /var/log/mail.log",
            "myhostname = \(hostname)",
            "mydestination =",
            "alias_maps =",
            "mynetworks = \(trusted.joined(separator: ", "))",
            "inet_interfaces = \(address)",
            "inet_protocols = ipv4",
            "smtp_dns_support_level = disabled",
            "smtp_host_lookup = native",
            "virtual_mailbox_domains = \(domains.joined(separator: ", "))",
            "virtual_mailbox_base = \(folder.file("mail"))",
            "virtual_mailbox_maps = \(recipients == nil ? "static:all/" : "texthash:/etc/postfix/mailboxes")",
            "virtual_uid_maps = static:1000",
            "virtual_gid_maps = static:1000",
            "virtual_mailbox_limit = 0",
            "message_size_limit = 104857600",
            "relayhost = \(relayHost ?? "")",
            "default_transport = \(relayHost == nil ? "error:no relaying here" : "smtp")",
            "minimal_backoff_time = \(retrySeconds)s",
            "maximal_backoff_time = \(retrySeconds)s",
            "transport_retry_time = 1s",
            "queue_run_delay = 1s",
            "in_flow_delay = 0s",
            "smtpd_client_connection_count_limit = 0",
            "smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination",
            "smtpd_recipient_restrictions = "
                + restrictions(["permit_mynetworks", "permit_sasl_authenticated", "reject_unauth_destination"], policy?.atRecipient),
            "smtpd_data_restrictions = " + restrictions([], policy?.atData),
            "smtpd_end_of_data_restrictions = " + restrictions([], policy?.atEndOfData),
        ]
        if resolver != nil {
            lines += ["smtp_dns_support_level = enabled", "smtp_host_lookup = dns", "default_transport = smtp"]
        }
        switch clientInformation {
        case .connection: break
        case .xclient: lines.append("smtpd_authorized_xclient_hosts = 127.0.0.0/8")
        case .proxy: lines.append("smtpd_upstream_proxy_protocol = haproxy")
        }
        if certificate != nil {
            lines += [
                "smtpd_tls_security_level = may",
                "smtpd_tls_cert_file = /etc/postfix/certificate.pem",
                "smtpd_tls_key_file = /etc/postfix/key.pem",
                "smtpd_tls_received_header = yes",
            ]
        }
        return (lines + extraMain).joined(separator: "\n") + "\n"
    }

    private func restrictions(_ before: [String], _ asked: Bool?) -> String {
        (before + (asked == true ? [policy?.restriction ?? ""] : [])).joined(separator: ", ")
    }

    private func master(port: UInt16, submissionPort: UInt16?) -> String {
        var lines = [
            "pickup unix n - n 60 1 pickup",
            "cleanup unix n - n - 0 cleanup",
            // Its wake-up call may be lost where Postfix is killed or the machine is busy: it looks by itself every five seconds.
            "qmgr unix n - n 5 1 qmgr",
            "rewrite unix - - n - - trivial-rewrite",
            "bounce unix - - n - 0 bounce",
            "defer unix - - n - 0 bounce",
            "trace unix - - n - 0 bounce",
            "verify unix - - n - 1 verify",
            "flush unix n - n 1000? 0 flush",
            "proxymap unix - - n - - proxymap",
            "smtp unix - - n - - smtp",
            "relay unix - - n - - smtp",
            "showq unix n - n - - showq",
            "error unix - - n - - error",
            "retry unix - - n - - error",
            "discard unix - - n - - discard",
            "virtual unix - n n - - virtual",
            "anvil unix - - n - 1 anvil",
            "scache unix - - n - 1 scache",
            "tlsmgr unix - - n 1000? 1 tlsmgr",
            "postlog unix-dgram n - n - 1 postlogd",
        ]
        if let submission, let submissionPort {
            let asked = submission.policy.map { $0.restriction + ", " } ?? ""
            lines += [
                "\(address):\(submissionPort) inet n - n - - smtpd",
                "    -o smtpd_sasl_auth_enable=yes",
                submission.dovecot.map { "    -o smtpd_sasl_type=dovecot -o smtpd_sasl_path=inet:127.0.0.1:\($0)" }
                    ?? "    -o smtpd_sasl_type=cyrus",
                "    -o smtpd_tls_auth_only=no",
                "    -o smtpd_upstream_proxy_protocol=",
                "    -o smtpd_relay_restrictions=permit_sasl_authenticated,reject",
                "    -o { smtpd_recipient_restrictions = \(asked)permit_sasl_authenticated, reject }",
                "    -o smtpd_data_restrictions=",
                "    -o { smtpd_end_of_data_restrictions = \(submission.policy.flatMap { $0.atEndOfData ? $0.restriction : nil } ?? "") }",
            ]
        }
        // Last: sockets are made in this order, and once this one listens a test may go on.
        let listener = "\(address):\(port) inet n - n - 200 smtpd"
        return (lines + extraMaster + [listener]).joined(separator: "\n") + "\n"
    }
}

/// A hosts file with `localhost`, this host, and the names given by address.
func hostsFile(_ hosts: [String: String], hostname: String) -> String {
    let own =
        hosts["127.0.0.1"] == nil ? ["127.0.0.1 localhost \(hostname)"] : ["127.0.0.1 \(hosts["127.0.0.1"] ?? "") localhost \(hostname)"]
    let others = hosts.filter { $0.key != "127.0.0.1" }.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
    return (own + others).joined(separator: "\n") + "\n"
}

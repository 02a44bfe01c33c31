import PosternEngine

/// One key of the configuration. `Parameter.all` is what `config show`, docs/configuration.md and the tests go by.
public struct Parameter: Equatable, Sendable {
    /// `greylist.delay`; a key of each listener is `listeners[].address`.
    public var path: String
    /// What may be written: `duration`, `on | shadow | off`, `list of networks`.
    public var type: String
    /// The value where the key is left out, as it would be written, or words for it in brackets.
    public var defaultValue: String
    /// One or two sentences.
    public var documentation: String

    init(_ path: String, _ type: String, _ defaultValue: String, _ documentation: String) {
        self.path = path
        self.type = type
        self.defaultValue = defaultValue
        self.documentation = documentation
    }

    /// The key's own name, without its section.
    public var name: String { path.split(separator: ".").last.map(String.init) ?? path }

    /// The section it stands in; empty at the top level.
    public var section: String { path.contains(".") ? path.split(separator: ".").dropLast().joined(separator: ".") : "" }

    public static func named(_ path: String) -> Parameter? { all.first { $0.path == path } }
}

extension Parameter {
    public static let all: [Parameter] = beforeChecks + checks + afterChecks + harvest + throttle + lastOnes

    private static let beforeChecks: [Parameter] = [
        .init("hostname", "name", "(this machine's name)", "Our name, in headers and texts."),
        .init(
            "data_directory", "path", "./postern-data",
            "Where the database, its key and the control socket are. A relative path starts at the folder that Postern is started in."),

        .init(
            "listeners[].name", "word", "(its role)",
            "Names the listener in the log; each has another. At most 64 letters, digits, `-`, `_`, `.`."),
        .init(
            "listeners[].role", "policy | gateway | trap | admin | socketmap | dnsbl | inner | throttle | submission", "(must be given)",
            "What the listener does. `policy` is the policy service that Postfix and Exim ask; `gateway` is an SMTP door in front of a mail server; `trap` is a false mail server that costs bots time; `throttle` is a gateway to the mail servers of many domains that keeps strangers to what a person sends; `admin` serves the dashboard, its JSON interface and metrics; `dnsbl` answers DNS questions about our lists; `socketmap` tells Postfix whom a throttle need not see; `inner` stands behind the throttles of others, in front of the real mail server; `submission` is where users log in to send their mail."
        ),
        .init(
            "listeners[].address", "address", "(must be given)",
            "`127.0.0.1:10023`, `[::1]:10023` or `unix:/path`. Whoever can connect may ask, so keep it on loopback or behind a firewall."),
        .init(
            "listeners[].mode", "permissions, or tarpit | defer-rcpt | defer-data | sink", "(0666 less the umask; a trap must have one)",
            "Of a UNIX socket: its permissions in octal, such as `\"0660\"`. Trap: `tarpit` holds clients for as long as they stay; `defer-rcpt` answers 451 to each recipient, `defer-data` to DATA; `sink` takes every message and destroys it unread."
        ),
        .init("listeners[].group", "name", "(the process's group)", "Group of a UNIX socket, such as `postfix`."),
        .init(
            "listeners[].backend", "address, or a list of them", "(a gateway must have one)",
            "Gateway: the mail server behind it, `127.0.0.1:10025`. Of several, new sessions go round those that are well."),
        .init(
            "listeners[].routes", "mapping of domains to addresses", "(a throttle must have one)",
            "Throttle: the mail servers of each domain, `{ example.net: \"192.0.2.25:25\" }`, never asked of DNS. A message goes to those of its first recipient's domain; recipients elsewhere are told 452 4.5.3 and come again."
        ),
        .init(
            "listeners[].backend_client_info", "xclient | proxy-v2 | none", "(xclient)",
            "Gateway: how the backend learns who the client is. Where it does not agree to that, nothing is forwarded. `none` needs domains."
        ),
        .init(
            "listeners[].backend_tls", "never | opportunistic | required", "(never)",
            "Gateway: TLS towards the backend."),
        .init(
            "listeners[].backend_ca", "path", "(any certificate will do)",
            "Gateway: authorities in PEM that must have signed the backend's certificate."),
        .init(
            "listeners[].tls_certificate", "path", "(no STARTTLS)",
            "Gateway: the certificate for STARTTLS in PEM, with its chain. Read again when it changes. Admin: the certificate for HTTPS."),
        .init("listeners[].tls_key", "path", "(no STARTTLS)", "The key of tls_certificate, in PEM."),
        .init("listeners[].tls_minimum", "1.2 | 1.3", "(1.2)", "Gateway: the oldest version of TLS that clients may use."),
        .init("listeners[].banner", "text", "(ESMTP)", "Gateway: what follows our name in the greeting. At most 200 characters."),
        .init(
            "listeners[].teaser", "true | false", "(false)",
            "Gateway: whether a client that waits for its greeting is sent a first line of it, which many bots take for the whole."),
        .init(
            "listeners[].probe", "true | false", "(true)",
            "Gateway: whether the backend is asked beforehand if it knows a mailbox, so that unknown ones are refused and not greylisted."),
        .init(
            "listeners[].probe_known_for", "duration", "(1h)",
            "Gateway: how long a mailbox counts as existing once the backend has said so. At most 30d."),
        .init(
            "listeners[].probe_unknown_for", "duration", "(5m)",
            "Gateway: how long a mailbox counts as unknown once the backend has said so. A reload forgets it: mail to one that is made meanwhile would be refused. At most 1d."
        ),
        .init(
            "listeners[].probe_patience", "duration", "(3s)",
            "Gateway: how long a client waits for the answer about a mailbox; then it goes on as if that existed. At most 1m."),
        .init("listeners[].probe_connections", "number", "(2)", "Gateway: connections for such questions on each core. 1 to 100."),
        .init("listeners[].probe_capacity", "number", "(10000)", "Gateway: mailboxes that are remembered. 1 to 10000000."),
        .init(
            "listeners[].max_sessions", "number", "(20000)",
            "Gateway: open sessions, each with up to two descriptors. At the limit the one held longest is let go with 421. 1 to 1000000."),
        .init(
            "listeners[].max_message_size", "number", "(0)",
            "Gateway: octets of a message, offered as SIZE where the backend's own limit is not smaller; 0 leaves it to the backend. From 65536."
        ),
        .init(
            "listeners[].max_recipients", "number", "(1000)",
            "Gateway: recipients of one message; further ones get 452 and come in another. 100 to 100000."),
        .init("listeners[].max_messages", "number", "(1000)", "Gateway: messages in one session, which then ends with 421. 1 to 1000000."),
        .init(
            "listeners[].max_commands", "number", "(10000)", "Gateway: commands in one session, which then ends with 421. 100 to 10000000."),
        .init(
            "listeners[].max_errors", "number", "(20)",
            "Gateway: commands of one session that it refuses itself; then the session ends with 421. So it does at the next recipient once as many in a row were refused for good, as of a client that guesses at names: an accepted or deferred one begins anew, and nobody who has logged in is counted. 1 to 10000."
        ),
        .init(
            "listeners[].max_unknown_commands", "number", "(10)",
            "Gateway: lines of one session that are no command known to it, or are not ended by CRLF alone; then the session ends with 421. They count towards max_errors too. What begins as HTTP, SSH or TLS ends it at once. 1 to 10000."
        ),
        .init(
            "listeners[].max_hops", "number", "(100)",
            "Gateway: Received fields of a message; one with more goes round in circles and is refused. 25 to 1000."),
        .init(
            "listeners[].max_text_line", "number", "(0)",
            "Gateway: octets of a line of content with its CRLF; 0 leaves it to the backend. From 1000."),
        .init(
            "listeners[].max_local_part", "number", "(256)",
            "Gateway: octets before the @ of an address. RFC 5321 asks for 64, which bounce addresses of mailing lists pass. 64 to 1024."),
        .init(
            "listeners[].command_timeout", "duration", "(5m)",
            "Gateway: how long it waits for a client's next command. RFC 5321 asks for at least 5m."),
        .init(
            "listeners[].data_timeout", "duration", "(3m)",
            "Gateway: how long it waits for a client's next piece of content. RFC 5321 asks for at least 3m."),
        .init("listeners[].session_timeout", "duration", "(2h)", "Gateway: how long a session may last in all. At most 7d."),
        .init(
            "listeners[].backend_connect_timeout", "duration", "(10s)",
            "Gateway: how long it waits for a connection to a backend before it tries the next. At most 2m."),
        .init("listeners[].backend_greeting_timeout", "duration", "(5m)", "Gateway: how long it waits for a backend's greeting."),
        .init("listeners[].backend_command_timeout", "duration", "(5m)", "Gateway: how long it waits for a backend's reply to a command."),
        .init("listeners[].backend_data_timeout", "duration", "(2m)", "Gateway: how long it waits for a backend's reply to DATA."),
        .init(
            "listeners[].backend_content_timeout", "duration", "(3m)",
            "Gateway: how long it waits for a backend to take a piece of content."),
        .init(
            "listeners[].backend_end_timeout", "duration", "(10m)",
            "Gateway: how long it waits for a backend's reply to a message. RFC 5321 asks for at least 10m: with less, messages come twice."
        ),
        .init("listeners[].backend_failures", "number", "(3)", "Gateway: failures in a row that take a backend out. 1 to 1000."),
        .init(
            "listeners[].backend_retry", "duration", "(10s)",
            "Gateway: how long a backend stays out before it is tried again. At most 1h."),
        .init(
            "listeners[].backend_refresh", "duration", "(5m)",
            "Gateway: how often it learns anew what a backend offers. At most 1d."),
        .init(
            "listeners[].backend_health_timeout", "duration", "(15s)",
            "Gateway: how long it waits for each answer when it asks a backend how it is, and for a backend's greeting where another one can be tried instead. At most 5m."
        ),

        .init(
            "listeners[].tarpit", "true | false", "(false)",
            "Gateway: whether a client that `postern block` names, or that our own traps list as black, is held in the tarpit instead of being greeted. Not even postmaster can be reached from there."
        ),
        .init(
            "listeners[].tarpit_capacity", "number", "(1000)",
            "Gateway: how many are held in that way at once; beyond that the oldest is let go. They do not count as sessions. 1 to 1000000."
        ),
        .init("listeners[].pace", "duration", "(5s)", "Tarpit: between two bytes of the reply to HELO, which never ends. 1ms to 5m."),
        .init("listeners[].greeting_pace", "duration", "(1s)", "Tarpit: between two bytes of the greeting. 1ms to 5m."),
        .init(
            "listeners[].hold", "duration", "(10m)",
            "Tarpit: how long a client is held that is not listed; then it is told 421. A listed one is held for as long as it stays. Other traps: how long a session may take. 100ms to 30d."
        ),
        .init(
            "listeners[].capacity", "number", "(10000)",
            "Trap: clients at once. At the limit the one held longest is let go. 1 to 10000000."),
        .init(
            "listeners[].nodes", "list of networks", "(required)",
            "Inner: the throttle's nodes. They bring the mail of others, and alone may name them by XCLIENT."),
        .init(
            "listeners[].node_certificates", "list of paths", "(none)",
            "Inner: certificates in PEM. Who shows one of them after STARTTLS is a node, from whatever address. At most 256."),
        .init(
            "listeners[].node_names", "list of names", "(none)",
            "Inner: who shows a certificate with one of these names (DNS names of its subjectAltName) that node_ca has signed is a node. At most 256."
        ),
        .init(
            "listeners[].node_ca", "path", "(none)",
            "Inner: authorities in PEM for node_names. A client that shows a certificate which none of them has signed cannot use TLS here."
        ),
        .init(
            "listeners[].node_checks", "list of addresses", "(port 25 of nodes)",
            "Inner: where it is seen whether a node can be reached. When none can, the door is open to everybody. Without it port 25 of those nodes that are single addresses. At most 256."
        ),
        .init("listeners[].node_check_interval", "duration", "(30s)", "Inner: how often nodes are looked at. 10ms to 1h."),
        .init(
            "listeners[].advice", "text", "(try the other mail exchangers)",
            "Inner: what strangers are told to do. At most 200 printable ASCII characters."),
        .init(
            "listeners[].deferrals", "number", "(5)", "Inner: sessions in which a stranger is put off with 450 and the advice. 1 to 1000."),
        .init(
            "listeners[].refusals", "number", "(10)",
            "Inner: sessions of the same stranger that are then ended with 421 at once. 0 to 1000."),
        .init(
            "listeners[].silence", "duration", "(15m)",
            "Inner: for how long the stranger then gets no answer; after it, all begins anew. At most 1d."),
        .init(
            "listeners[].strangers", "number", "(100000)",
            "Inner: strangers that are remembered. At the limit the one who came first is forgotten. 1 to 10000000."),

        .init(
            "listeners[].tls", "implicit | starttls", "(implicit at port 465, else starttls)",
            "Submission: whether connections begin with TLS (port 465), or begin in clear and turn to it by STARTTLS (port 587). Nobody can log in without it."
        ),
        .init(
            "listeners[].login_domain", "domain", "(none)",
            "Submission: what follows the names of users who log in without an `@`, so that `ann` and `ann@example.net` are one account."),

        .init(
            "listeners[].throttle_names", "list of domains", "(required)",
            "Socketmap: the names of a throttle. A mail exchanger with one of them, or one below, is its node. At most 64."),
        .init(
            "listeners[].trusted_by", "list of domains", "(none)",
            "Socketmap: those of throttle_names, or names below them, that trust us by agreement."),
        .init(
            "listeners[].trust_zone", "zone", "(none)",
            "Socketmap: the throttle's list of trusted senders, such as `trusted.throttle.example=127.0.0.1`. All of source_addresses must be in it."
        ),
        .init(
            "listeners[].source_addresses", "list of addresses", "(none)",
            "Socketmap: the addresses that our mail leaves from. At most 64."),
        .init(
            "listeners[].unresolved", "notfound | temp", "(notfound)",
            "Socketmap: what is answered where the DNS is silent. `notfound` sends the mail the usual way, `temp` lets it wait."),

        .init(
            "listeners[].token_file", "path", "(no token)",
            "Admin: a file whose first line, of at least 16 characters, is what whoever comes must know. On an address other than loopback or a UNIX socket it must be given, and tls_certificate too."
        ),
        .init(
            "listeners[].hosts", "list of names", "(none)",
            "Admin: further names by which browsers may call it, such as that of a proxy in front. Its address, `localhost` and `hostname` always may. At most 16."
        ),
        .init(
            "listeners[].zone", "name", "(a DNS service must have one)",
            "DNS service: the zone that holds all colours, such as `bl.example.net`."),
        .init(
            "listeners[].zones", "list of zones", "(none)",
            "DNS service: further zones, each a name or `{ zone: black.bl.example.net, colours: [black], kind: address, sources: [own, harvest] }`; `kind: domain` for a list of domains, sources as under exports, and `trusted` for whom `trusted` and `trusted_files` name, which is shown in no other zone. At most 64."
        ),
        .init(
            "listeners[].nameservers", "list of names", "(hostname)",
            "DNS service: the names of the servers of the zone, as its NS records tell them. None may lie within the zone."),
        .init(
            "listeners[].contact", "mailbox", "(postmaster at hostname, in the SOA record only)",
            "DNS service: whom the listed can turn to, in TXT and SOA records."),
        .init(
            "listeners[].lookup", "address of the web", "(none)",
            "DNS service: where the listed can look themselves up, in TXT records; `$` stands for their address."),
        .init("listeners[].ttl", "duration", "(5m)", "DNS service: how long a listing may be remembered by those who ask. 0s to 7d."),
        .init(
            "listeners[].negative_ttl", "duration", "(1m)",
            "DNS service: how long it may be remembered that something is not listed. 0s to 7d."),
        .init(
            "listeners[].allow", "list of networks", "(everybody)",
            "DNS service: who may ask; everybody else gets REFUSED."),
        .init(
            "listeners[].rate_limit", "number", "(200, and none for loopback addresses)",
            "DNS service: responses a second over UDP to one network, a /24 or /56; 0 for no limit. Not for networks.local. 0 to 1000000."),
        .init(
            "listeners[].slip", "number", "(2)",
            "DNS service: of the queries beyond rate_limit, each so many-th is answered with a request to come by TCP, the others not at all; 0 for none. 0 to 100."
        ),

        .init("store.sqlite", "path", "postern.db", "The database file. A relative path starts at data_directory."),
        .init(
            "store.sync", "normal | full", "normal",
            "`normal`: no decision that was answered is lost when the process dies; a power cut may take the last second. `full`: nor that."
        ),

        .init(
            "domains", "list of domains", "[]",
            "The domains that we receive for. `[\"*\"]` for any. The policy service does not need it: the mail server knows."),

        .init("networks.local", "list of networks", "[]", "Our own clients. They are never greylisted."),
        .init("networks.backup_mx", "list of networks", "[]", "Our backup mail exchangers. They are never greylisted."),
        .init(
            "networks.forwarders", "list of networks", "[]",
            "Hosts that forward to us by our own wish. They are exempt from greylisting, SPF, throttling and harvest."),
        .init(
            "networks.monitoring", "list of networks", "[]",
            "Hosts that watch this server. They are never held in a trap, harvested or made to wait for a greeting."),
        .init(
            "networks.proxies", "list of networks", "[]",
            "Load balancers that speak the PROXY protocol to the gateway. No effect on the policy service."),
        .init(
            "networks.xclient", "list of networks", "[]", "Hosts that may use XCLIENT towards the gateway. No effect on the policy service."
        ),

        .init(
            "dns.resolvers", "system | list of addresses", "system",
            "Whom to ask; `system` for those of /etc/resolv.conf, `[]` for nobody, which switches all look-ups off but those in `geo.databases`. A port may follow, `127.0.0.1:5353`. Most DNS lists refuse public resolvers. While none answers, decisions are made without."
        ),
        .init(
            "dns.timeout", "duration", "2s",
            "For all look-ups of one decision together. What is not known by then counts for nothing."),
        .init(
            "dns_lists", "list of DNS lists", "[]",
            "Lists to ask, as in postscreen: `zone`, `zone=127.0.0.[2..11]*3`, a negative weight for a list of good senders; or `{ zone, kind, about, replies, score, name, test }` with `kind: domain` for a list of domains (`about: [sender, helo, client]` says of whom; the sender alone by default), and a `name` without the key that some zones bear. At most 64."
        ),

        .init(
            "geo.databases", "list of paths", "[]",
            "Databases in MaxMind's format (.mmdb) with countries, networks or both; read again when they change. Where a file is missing nothing is checked."
        ),
        .init(
            "geo.countries", "mapping of countries to scores", "{}",
            "What a client's country adds to its score, such as `{ \"XX\": 2 }`, by ISO 3166-1 code in quotes. -100 to 100."),
        .init(
            "geo.networks", "mapping of networks to scores", "{}",
            "What the network that a client's address belongs to adds to its score, such as `{ AS64500: 3 }`. -100 to 100."),

        .init(
            "subscriptions", "list of subscriptions", "[]",
            "Lists that others keep: `{ name: drop, source: \"https://lists.example.net/drop.txt\", list: black }`; the source a path or an address of the web, `list` a colour, `block` or `allow`; also `format: text | csv`, `every: 1h`, `max_size: 100000000` (octets), `timeout: 1m`. At most 64."
        ),
        .init(
            "exports", "list of exports", "[]",
            "Files that are written now and then: `{ file: /var/lib/postern/bl.zone, format: rbldnsd, every: 5m, colours: [black] }`; formats `rbldnsd`, `nftables`, `text`, `csv`; also `sources: [own, harvest, drop]` and `zone`, one of a DNS service, whose colours and sources count where none are named. At most 64."
        ),

        .init(
            "profile", "classic | selective", "selective",
            "`classic` greylists every unknown sender. `selective` spares those for whom the evidence speaks: SPF or a confirmed name says who they are, a DNS list was asked about them, and the score is low. Where nothing can be looked up the unknown are greylisted."
        ),
    ]

    /// One entry for each check, so that none can be without its documentation.
    private static let checks: [Parameter] = Check.allCases.map {
        .init("checks.\($0.rawValue)", "{ mode, score }", $0.defaultSetting.yaml, $0.documentation)
    }

    private static let afterChecks: [Parameter] = [
        .init(
            "bands.pass", "number", "-3",
            "Up to this score, as a list of good senders gives it, the unknown are not greylisted in either profile."),
        .init(
            "bands.greylist", "number", "1", "From this score on `selective` greylists the unknown, whatever speaks for them."),
        .init("bands.slow", "number", "5", "From this score on the gateway sends its replies byte by byte. -1000 to 1000."),
        .init(
            "bands.reject", "number", "10",
            "From this score on recipients are refused with 554, unless the sender is known well. The bands must rise, at most to 1000."),

        .init(
            "spf.header", "none | received-spf | authentication-results", "none",
            "Whether accepted messages get a header field that tells what SPF said of their sender: `Received-SPF` (RFC 7208) or `Authentication-Results` (RFC 8601). SPF is then asked of known senders too; not of those who are exempt."
        ),

        .init(
            "greylist.mode", "on | shadow | off", "on",
            "`shadow` decides and remembers as `on` does, but lets everything pass and only tells."),
        .init(
            "greylist.delay", "duration", "3m",
            "A retry sooner than this after the first attempt is deferred again. First retries of large senders lie between 1 and 6.5 minutes."
        ),
        .init(
            "greylist.window", "duration", "24h",
            "A retry later than this after the first attempt counts as a first attempt. Longer than the delay."),
        .init(
            "greylist.lifetime", "duration", "36d",
            "What has passed is known for this long after it was last seen: 36 days, so that a monthly letter is. Not shorter than the window."
        ),
        .init(
            "greylist.proven_after", "number", "5",
            "Messages that must have passed before a client is no longer greylisted at all; 0 for never. A gateway counts those that a mail server took, a policy service those of which a recipient passed."
        ),
        .init(
            "greylist.recheck", "duration", "24h",
            "Whoever passed this recently is not judged anew: nothing is looked up. `0s` looks everybody up but those proven."),
        .init("greylist.ipv4_prefix", "number", "24", "IPv4 addresses that share this many bits are one client: 8 to 32."),
        .init("greylist.ipv6_prefix", "number", "64", "IPv6 addresses that share this many bits are one client: 32 to 128."),
        .init(
            "greylist.header", "true | false", "true",
            "Whether a message that was delayed gets an `X-Greylist` header that says for how long."),
        .init(
            "greylist.reply", "defer_if_permit | 451", "defer_if_permit",
            "`defer_if_permit` lets later restrictions still reject for good; its code is Postfix's `access_map_defer_code`. `451` answers `451 4.7.1` at once."
        ),
        .init(
            "greylist.opt_in", "list of recipients", "[]",
            "Where not empty, only mail to these mailboxes, `user@` and domains is greylisted."),
        .init(
            "greylist.opt_out", "list of recipients", "[]",
            "Mail to these mailboxes, `user@` and domains is never greylisted. The narrower of opt_in and opt_out counts."),

    ]

    private static let lastOnes: [Parameter] = [
        .init(
            "policy.idle_timeout", "duration", "10m",
            "A connection that is silent this long is closed. Postfix closes its own after 5 minutes."),
        .init(
            "policy.max_connections", "number", "2000",
            "Open connections over all policy listeners; further ones are closed at once. 1 to 1000000."),
        .init(
            "policy.hold", "duration", "0s",
            "How long the policy service holds back its answer about the first message of a clean sender, at most as long as delays.clean. It costs the mail server a process for that long, so it is once a message and never under `stress=yes`. At most 5s."
        ),
        .init("policy.max_request_size", "number", "65536", "Octets of a request; a longer one is cut off unanswered. 1024 to 1048576."),
        .init("policy.max_line_length", "number", "8192", "Octets of a line of a request. 512 up to max_request_size."),
        .init("policy.max_attributes", "number", "128", "Lines of a request. 32 to 10000."),

        .init(
            "history.keep", "duration", "90d",
            "How long the figures of each minute, which name nobody, and the log of what admins changed can be looked up."),

        .init("decisions.keep", "duration", "7d", "How long a decision, with its addresses, can be looked up; `0s` keeps none."),

        .init(
            "delays.greeting", "duration | auto", "5s",
            "How long the gateway waits before it greets; whoever talks in that time is dropped. `auto` is longer when all is quiet. The policy service never waits."
        ),
        .init("delays.stage", "duration", "0s", "How long the gateway waits before each reply to HELO, MAIL and RCPT. At most 1m."),
        .init("delays.deferral", "duration", "0s", "How long the gateway waits before each deferral. At most 1m."),
        .init(
            "delays.first_pass", "duration", "0s",
            "How long the gateway waits before it first accepts a sender that was deferred. At most 1m."),
        .init(
            "delays.clean", "duration", "5s",
            "How long the gateway holds the first message of a clean sender that `classic` would have greylisted. At most 1m."),
        .init(
            "delays.stutter", "duration", "500ms",
            "How long the gateway waits between two bytes of a reply to a suspected client. At most 10s."),

        .init(
            "framing", "normalize | reject", "normalize",
            "What the gateway does with bare CR and LF in content. No effect on the policy service."),

        .init("log.format", "logfmt | json", "logfmt", "How a line of the log is written."),
        .init(
            "log.level", "trace | debug | info | notice | warning | error | critical", "info",
            "What is less important is left out; decisions are `info`."),
        .init("log.redact", "true | false", "false", "Whether senders and recipients are left out of the log."),
        .init("user", "name", "(none)", "The account to become once the sockets are open, when started as root."),
    ]
}

extension CheckSetting {
    /// As it stands under `checks:`.
    var yaml: String { "{ mode: \(mode.rawValue), score: \(score.plain) }" }
}

extension Check {
    /// What it looks at.
    fileprivate var documentation: String {
        switch self {
        case .earlyTalk: "The client talked before it was greeted."
        case .pipelining: "It sent commands ahead of a reply that it had to wait for."
        case .heloSyntax: "Its HELO name is neither a domain nor an address literal."
        case .nonSMTP: "It spoke something that is not SMTP, such as HTTP."
        case .bareLineEnding: "It ended a line with a bare LF or CR."
        case .badOrder: "It sent a command where that command has no place."
        case .pathSyntax:
            "It wrote a path without its angle brackets, with a space before it, or with dots where none should be (`a..b@example.org`)."
        case .eightBitEnvelope: "It sent octets above 127 in the envelope without SMTPUTF8."
        case .unknownCommand: "It sent commands that no mail server knows."
        case .unknownRecipients: "It wrote to more than two mailboxes that do not exist."
        case .heloIsAddress: "Its HELO name is an address, bare or in brackets."
        case .heloIsOurs: "Its HELO name is our hostname, one of `domains`, or an address that we listen on."
        case .heloUnresolvable: "Its HELO name has no address in DNS."
        case .heloMismatch: "Its HELO name leads to other addresses."
        case .noReverseName: "Its address has no name in DNS."
        case .unconfirmedName: "Its address has a name that does not lead back to it."
        case .genericName: "Its name is one that a provider gives to consumers' lines, or bears its address."
        case .senderDomain: "The sender's domain has neither MX nor address."
        case .senderNullMX: "The sender's domain says that it takes no mail (null MX)."
        case .spfFail: "SPF says that the client may not send for the sender's domain."
        case .spfSoftfail: "SPF says that it probably may not."
        case .spfPermerror: "The SPF record of the sender's domain is broken."
        case .dnsLists: "DNS lists. Each list has a score of its own, so only the mode counts here."
        case .country: "The client's country. Each country has a score of its own, so only the mode counts here."
        case .harvestedBlack: "Our own traps list the client as black (docs/harvest.md)."
        case .harvestedBrown: "Our own traps list it as brown: suspected."
        case .harvestedYellow: "Our own traps list it as yellow: it sends wanted mail, and mail to traps."
        case .harvestedWhite: "It is listed as white: it sends wanted mail again and again."
        case .asNumber: "The client's network. Each network has a score of its own, so only the mode counts here."
        }
    }
}

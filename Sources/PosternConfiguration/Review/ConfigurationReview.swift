import PosternCore
import PosternEngine

/// Looks at a configuration that can be used for what its admin would rather not have: contradictions, open doors, what delays
/// or loses honest mail. Everything found is a warning that says what to do.
struct ConfigurationReview {
    let configuration: Configuration
    let places: Places
    private(set) var findings: [Diagnostic] = []

    init(_ configuration: Configuration, text: String, file: String) {
        self.configuration = configuration
        places = Places(text, file: file)
    }

    /// What the file alone tells.
    static func risks(_ configuration: Configuration, text: String, file: String) -> [Diagnostic] {
        var review = ConfigurationReview(configuration, text: text, file: file)
        review.reviewListeners()
        review.reviewNetworks()
        review.reviewGreylist()
        review.reviewScores()
        review.reviewService()
        return review.findings
    }

    mutating func find(_ steps: [Places.Step], _ message: String) {
        let position = places.position(steps)
        findings.append(Diagnostic(.warning, file: places.file, line: position.line, column: position.column, message))
    }

    mutating func find(_ keys: String..., say message: String) { find(keys.map { .key($0) }, "\(keys.joined(separator: ".")): \(message)") }

    mutating func find(listener index: Int, _ key: String, _ message: String) {
        find([.key("listeners"), .element(index), .key(key)], "listeners[].\(key): \(message)")
    }

    // MARK: - Greylisting

    /// One large sender in the measured tables gives up after 31 minutes.
    private static let longDelay = WallTime.Span.minutes(30)
    /// 93 % of the measured retries came within it.
    private static let shortWindow = WallTime.Span.hours(4)
    /// RFC 6647 §5: what has passed ought to be remembered for at least a week.
    private static let shortLifetime = WallTime.Span.days(7)

    private mutating func reviewGreylist() {
        let greylist = configuration.greylist
        if greylist.mode == .off {
            for (key, isSet) in [("opt_in", !greylist.optIn.isEmpty), ("opt_out", !greylist.optOut.isEmpty)] where isSet {
                find("greylist", key, say: "means nothing while greylist.mode is off; take it out, or write mode: on")
            }
            if configuration.harvest.mode != .off, configuration.listeners.contains(where: { $0.role == .trap && $0.trap?.mode != .tarpit })
            {
                find(
                    "greylist", "mode",
                    say:
                        "no mail is known to be wanted while it is off, so that one mail to a trap lists a large provider as black, not yellow, and nobody becomes white; write mode: shadow"
                )
            }
            return
        }
        if greylist.delay > Self.longDelay {
            find(
                "greylist", "delay",
                say:
                    "some senders give up before \(greylist.delay) have passed, and their mail is lost; most of what greylisting stops it stops with 3m"
            )
        }
        if greylist.window < Self.shortWindow {
            find(
                "greylist", "window",
                say: "honest servers that come back later than \(greylist.window) begin anew; 24h lets nearly all of them in")
        }
        if greylist.lifetime < Self.shortLifetime {
            find(
                "greylist", "lifetime",
                say:
                    "whoever writes less often than every \(greylist.lifetime) is delayed each time (RFC 6647 §5 asks for a week); 36d is usual"
            )
        }
        if greylist.widths.v4 > 24 {
            find(
                "greylist", "ipv4_prefix",
                say: "senders that retry from another address of their pool wait again and again with /\(greylist.widths.v4); use 24")
        } else if greylist.widths.v4 < 16 {
            find("greylist", "ipv4_prefix", say: "all who share a /\(greylist.widths.v4) pass for one another; use 24")
        }
        if greylist.widths.v6 > 64 {
            find(
                "greylist", "ipv6_prefix",
                say: "one host has a whole /64 to itself and may use another address each time; use 64, not \(greylist.widths.v6)")
        }
        // By default nobody asks for it; whoever writes it expects that the clean do not wait.
        if places.isWritten("profile"), configuration.profile == .selective {
            if configuration.dns.resolvers == .listed([]) {
                find(
                    "profile",
                    say: "dns.resolvers is [], so nobody can be found clean and selective is the same as classic; name a resolver")
            } else if configuration.dnsLists.isEmpty {
                find(
                    "profile",
                    say: "nobody is clean before a DNS list has answered, so selective is the same as classic; name one in dns_lists")
            }
        }
    }

    // MARK: - Scores

    private mutating func reviewScores() {
        let reject = configuration.bands.reject
        for (index, list) in configuration.dnsLists.enumerated() {
            let most = list.filters.entries.map(\.weight).max() ?? 0
            guard most >= reject else { continue }
            find(
                [.key("dns_lists"), .element(index)],
                "dns_lists: \(list.name) adds \(most.plain) and bands.reject is \(reject.plain): one mistaken entry of that list refuses mail; keep it below, so that something else has to speak against a client too"
            )
        }
        for (check, setting) in configuration.checks.sorted(by: { $0.key.rawValue < $1.key.rawValue }) where setting.mode == .on {
            // The weights of these stand elsewhere.
            guard ![.dnsLists, .country, .asNumber].contains(check) else { continue }
            if setting.score == 0 {
                find("checks", check.rawValue, say: "it is on and adds nothing; write mode: shadow to see what it would do, or mode: off")
            } else if setting.score >= reject, setting.score > check.defaultSetting.score {
                find(
                    "checks", check.rawValue,
                    say: "it adds \(setting.score.plain) and bands.reject is \(reject.plain): this check alone refuses mail; keep it below")
            }
        }
        if configuration.bands.pass >= 0 {
            find(
                "bands", "pass",
                say: "a client of whom nothing is known has a score of 0, and would pass; only below 0 does it take something in its favour"
            )
        }
    }

    // MARK: - The service around it

    /// Postfix opens so many connections by default (default_process_limit).
    private static let postfixProcesses = 100
    /// The lines that we print for Postfix let it wait for 10 s.
    private static let longLookUp = WallTime.Span.seconds(8)
    private static let longMemory = WallTime.Span.days(90)

    private mutating func reviewService() {
        let listeners = configuration.listeners
        if listeners.contains(where: { $0.role == .policy }) {
            if configuration.policy.maxConnections < Self.postfixProcesses {
                find(
                    "policy", "max_connections",
                    say:
                        "Postfix opens up to \(Self.postfixProcesses) (its default_process_limit), and mail passes unjudged where it is refused; allow at least as many"
                )
            }
            if configuration.dns.timeout > Self.longLookUp {
                find(
                    "dns", "timeout",
                    say:
                        "Postfix waits 10s for an answer with the lines we print, and then lets mail pass unjudged; stay at \(Self.longLookUp) or below"
                )
            }
        }
        if configuration.decisions.keep > Self.longMemory {
            find(
                "decisions", "keep",
                say:
                    "who wrote to whom stays readable for \(configuration.decisions.keep); the law of many places asks for a reason (docs/privacy.md)"
            )
        }
        let opensLowPort = listeners.contains { if case .tcp(_, let port) = $0.address { (1..<1024).contains(port) } else { false } }
        if configuration.user == "root" {
            find("user", say: "everything that strangers send would be handled as root; name an account of its own, such as postern")
        } else if configuration.user == nil, opensLowPort, places.isWritten("listeners") {
            find(
                [.key("listeners")],
                "listeners: a port below 1024 is opened by root, which Postern then stays; write user: postern, or let systemd open it")
        }
        if !configuration.hostname.contains("."),
            let index = listeners.firstIndex(where: { [.gateway, .trap].contains($0.role) }), places.isWritten("listeners")
        {
            find(
                places.isWritten("hostname") ? [.key("hostname")] : [.key("listeners"), .element(index)],
                "hostname: '\(configuration.hostname)' is what clients are greeted with; write the name that this address has in the DNS (RFC 5321 §4.1.1.1)"
            )
        }
        for folder in ["/tmp", "/var/tmp", "/run", "/dev/shm"]
        where (configuration.dataDirectory + "/").hasPrefix(folder + "/") {
            find(
                "data_directory",
                say:
                    "\(folder) is emptied when the machine starts, and all that was learnt with it; use a lasting folder such as /var/lib/postern"
            )
        }
        let folder = configuration.dataDirectory.hasSuffix("/") ? configuration.dataDirectory : configuration.dataDirectory + "/"
        if configuration.store.sqlite.hasPrefix("/"), !configuration.store.sqlite.hasPrefix(folder) {
            find(
                "store", "sqlite",
                say:
                    "the database stands elsewhere than its key, \(configuration.keyPath), and is worth nothing without it; keep both in data_directory, or back both up (postern backup does)"
            )
        }
    }
}

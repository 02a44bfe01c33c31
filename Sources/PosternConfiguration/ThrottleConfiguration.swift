import PosternCore
import PosternEngine

extension Configuration {
    /// What is done with clients that are refused at connect, beside refusing them.
    public struct Firewall: Equatable, Sendable {
        /// A file of nft commands that is written whenever somebody is refused: two sets with time-outs.
        public var nftablesFile: String?
        /// Run once it is written: a program and its arguments.
        public var nftablesCommand: [String] = []

        public init() {}
    }
}

// Reads `throttle:`, `accounts:` and `trusted:`.

extension ConfigurationLoader {
    /// More is a slip: each is looked at for every recipient.
    static let mostLimits = 20
    /// A word of a command; execve(2) takes more.
    static let mostArguments = 64

    func readThrottle(_ section: Mapping) {
        if let mode = section.take("mode")?.mode() { configuration.throttle.mode = mode }
        if let limits = section.take("limits")?.limits([.address, .block, .identity, .recipientDomain]) {
            configuration.throttle.limits = limits
        }
        if let span = section.take("hold")?.duration(.zero ... .seconds(60)) { configuration.throttle.hold = span }
        let deferValue = section.take("defer_at")
        let refuseValue = section.take("refuse_at")
        if let factor = deferValue?.decimal(1...1000) { configuration.throttle.deferAt = factor }
        if let factor = refuseValue?.decimal(1...1000) { configuration.throttle.refuseAt = factor }
        if configuration.throttle.refuseAt < configuration.throttle.deferAt {
            (refuseValue ?? deferValue)?.conflict(
                "throttle.refuse_at is \(configuration.throttle.refuseAt.plain) and throttle.defer_at \(configuration.throttle.deferAt.plain): a client is deferred first and refused later"
            )
        }
        if let span = section.take("refuse_for")?.duration(.milliseconds(100) ... .days(1)) { configuration.throttle.refuseFor = span }
        if let part = section.take("neighbour_floor")?.decimal(0.01...1) { configuration.throttle.neighbourFloor = part }
        if let number = section.take("held_sessions")?.integer(0...1_000_000) { configuration.throttle.heldSessions = number }
        if let number = section.take("memory")?.integer(1...65_536) { configuration.throttle.memory = number << 20 }
        if let text = section.take("advice")?.replyText() { configuration.throttle.advice = text }
        configuration.firewall.nftablesFile = section.take("nftables_file")?.text("a path")
        if let words = section.take("nftables_command")?.command() { configuration.firewall.nftablesCommand = words }
        section.finish()
    }

    func readAccounts(_ section: Mapping) {
        if let mode = section.take("mode")?.mode() { configuration.accounts.mode = mode }
        let limitsValue = section.take("limits")
        let suspendValue = section.take("suspend")
        if let limits = limitsValue?.limits([.account, .accountDomain, .address]) { configuration.accounts.limits = limits }
        if let limits = suspendValue?.limits([.account]) { configuration.accounts.suspend = limits }
        for (keys, counts) in LimitCounts.crowded(configuration.throttle, configuration.accounts) {
            // Of what is counted for addresses only failed log-ins stand here.
            let isOfAddresses = keys.contains(.address)
            let sections =
                isOfAddresses ? "throttle.limits and accounts.limits" : "accounts.limits, accounts.suspend and 28 days of what is usual"
            (isOfAddresses ? limitsValue : suspendValue ?? limitsValue)?.conflict(
                "\(sections) make \(counts) units and times that are counted for each \(keys[0].rawValue), and \(LimitCounts.maximumCounts) are the most"
            )
        }
        if let factor = section.take("usual_factor")?.decimal(1...1000) { configuration.accounts.usualFactor = factor }
        if let action = section.take("action")?.choice(AccountSettings.Action.self) { configuration.accounts.action = action }
        if let names = section.take("exempt")?.list(of: "accounts") {
            // As a policy service and a submission listener call it.
            let texts = names.compactMap { $0.text("an account")?.foldedMailbox }
            configuration.accounts.exempt = Set(texts + texts.map(configuration.account))
        }
        if let value = section.take("webhook"), let url = value.text("an address such as https://example.net/hook") {
            if value.webAddress(url) != nil { configuration.accounts.webhook = url }
        }
        if let words = section.take("command")?.command() { configuration.accounts.command = words }
        section.finish()
    }

    func readTrusted(_ value: Value?, files: Value?) {
        if let elements = value?.list(of: "addresses, networks and domains") {
            var prefixes: [Prefix] = []
            for element in elements {
                guard let text = element.text("an address, a network or a domain") else { continue }
                switch Pattern(text) {
                case .prefix(let prefix)?: prefixes.append(prefix)
                case .domain(let name)?: configuration.trusted.domains.insert(name)
                default: element.error("'\(text.prefix(60))' is not an address, a network or a domain")
                }
            }
            configuration.trusted.addresses = PrefixSet(prefixes)
        }
        if let elements = files?.list(of: "paths") { configuration.trustedFiles = elements.compactMap { $0.text("a path") } }
    }

    /// The mail servers of each domain behind a throttle.
    func routes(_ value: Value) -> [DomainName: [Configuration.Address]] {
        guard case .mapping(let node) = value.node else {
            value.wants("a mapping of domains to mail servers, such as { example.net: \"192.0.2.25:25\" },")
            return [:]
        }
        var routes: [DomainName: [Configuration.Address]] = [:]
        for target in Mapping(node, path: value.path, mark: value.mark, report: value.report).rest() {
            let text = String(target.path.dropFirst(value.path.count + 1))
            guard let name = DomainName(text)?.asciiForm, name.text.utf8.contains(UInt8(ascii: ".")) else {
                target.error("'\(text.prefix(60))' is not a domain")
                continue
            }
            if routes[name] != nil { target.error("'\(name)' is given twice") }
            let elements = target.node.sequence == nil ? [target] : target.list(of: "mail servers") ?? []
            if elements.isEmpty { target.error("a domain needs at least one mail server") }
            routes[name] = elements.compactMap(backend)
        }
        if routes.isEmpty { value.error("a throttle needs at least one domain") }
        return routes
    }
}

extension Value {
    /// Limits, each of a key that has its place here.
    fileprivate func limits(_ keys: Set<Limit.Key>) -> [Limit]? {
        guard let elements = list(of: "limits") else { return nil }
        guard elements.count <= ConfigurationLoader.mostLimits else {
            error("\(elements.count) limits are more than \(ConfigurationLoader.mostLimits)")
            return nil
        }
        var limits: [Limit] = []
        for element in elements {
            guard let text = element.text("a limit such as address messages 30/1h") else { continue }
            do throws(LimitSyntaxError) {
                let limit = try Limit(text, of: keys)
                guard keys.contains(limit.key), limit.key != .address || limit.unit == .failures || keys.contains(.block) else {
                    element.error("a limit of \(limit.key.rawValue) \(limit.unit.rawValue) has no place here")
                    continue
                }
                guard !limits.contains(where: { $0.key == limit.key && $0.unit == limit.unit && $0.window == limit.window }) else {
                    element.error("there is another limit of \(limit.key.rawValue) \(limit.unit.rawValue) for \(limit.window)")
                    continue
                }
                limits.append(limit)
            } catch {
                element.error(error.description)
            }
        }
        return limits
    }

    /// A program and its arguments; no shell reads it.
    fileprivate func command() -> [String]? {
        guard let elements = list(of: "a program and its arguments") else { return nil }
        guard elements.count <= ConfigurationLoader.mostArguments else {
            error("\(elements.count) words are more than \(ConfigurationLoader.mostArguments)")
            return nil
        }
        let words = elements.compactMap { $0.text("a word") }
        guard words.count == elements.count else { return nil }
        if let first = words.first, !first.hasPrefix("/") {
            error("'\(first.prefix(60))' is not the whole path of a program")
            return nil
        }
        return words
    }
}

// MARK: - Printing

extension Configuration {
    /// The value of a key of these sections; `nil` for others, and for what is not set.
    func throttleYAML(of path: String) -> String? {
        switch path {
        case "throttle.mode": throttle.mode.rawValue
        case "throttle.limits": YAMLText.list(throttle.limits)
        case "throttle.hold": throttle.hold.description
        case "throttle.defer_at": throttle.deferAt.plain
        case "throttle.refuse_at": throttle.refuseAt.plain
        case "throttle.refuse_for": throttle.refuseFor.description
        case "throttle.neighbour_floor": throttle.neighbourFloor.plain
        case "throttle.held_sessions": String(throttle.heldSessions)
        case "throttle.memory": String(throttle.memory >> 20)
        case "throttle.advice": throttle.advice.isEmpty ? nil : YAMLText.quoted(throttle.advice)
        case "throttle.nftables_file": firewall.nftablesFile.map(YAMLText.quoted)
        case "throttle.nftables_command": YAMLText.list(firewall.nftablesCommand)
        case "accounts.mode": accounts.mode.rawValue
        case "accounts.limits": YAMLText.list(accounts.limits)
        case "accounts.suspend": YAMLText.list(accounts.suspend)
        case "accounts.usual_factor": accounts.usualFactor.plain
        case "accounts.action": accounts.action.rawValue
        case "accounts.exempt": YAMLText.list(accounts.exempt.sorted())
        case "accounts.webhook": accounts.webhook.map(YAMLText.quoted)
        case "accounts.command": YAMLText.list(accounts.command)
        case "trusted": YAMLText.list(trusted.addresses.prefixes.map(\.description) + trusted.domains.map(\.text).sorted())
        case "trusted_files": YAMLText.list(trustedFiles)
        default: nil
        }
    }
}

extension Configuration.Gateway {
    /// As it stands in a listener.
    var routesYAML: String {
        "{ "
            + routes.sorted { $0.key.text < $1.key.text }.map { "\(YAMLText.quoted($0.key.text)): \(YAMLText.list($0.value))" }.joined(
                separator: ", ") + " }"
    }
}

extension Parameter {
    static let throttle: [Parameter] = [
        .init(
            "throttle.mode", "on | shadow | off", "off",
            "Whether the gateway and the policy service keep strangers to what a person sends. A listener with role throttle always does. `shadow` counts and tells, and lets pass."
        ),
        .init(
            "throttle.limits", "list of limits", YAMLText.list(ThrottleSettings.defaultLimits),
            "KEY UNIT AMOUNT/TIME. Keys: address, block (/24, /48), identity (the domain that SPF or the confirmed name tells), recipient-domain. Units: attempts, messages, recipients, bytes, new-recipients. At most 20."
        ),
        .init(
            "throttle.hold", "duration", "30s",
            "Past a limit the reply to each recipient waits, the longer the further past it, up to this. At most 1m. The policy service never waits."
        ),
        .init("throttle.defer_at", "number", "2", "At this many times a limit recipients are deferred with 451. 1 to 1000."),
        .init(
            "throttle.refuse_at", "number", "4",
            "At this many times a limit of attempts the client is refused at connect with 421. 1 to 1000, not below defer_at."),
        .init("throttle.refuse_for", "duration", "15m", "How long it is refused. 100ms to 1d."),
        .init(
            "throttle.neighbour_floor", "number", "0.1",
            "However much the block around an address does, the address may do this part of its limits. 0.01 to 1."),
        .init(
            "throttle.held_sessions", "number", "5000",
            "Sessions that wait because of a limit; beyond it strangers past a limit are deferred at once. 0 to 1000000."),
        .init("throttle.memory", "number", "64", "Mebibytes for counts; at the bound the coldest go first. 1 to 65536."),
        .init("throttle.advice", "text", "(none)", "How to become trusted, in replies; at most 200 printable ASCII characters."),
        .init(
            "throttle.nftables_file", "path", "(none)",
            "Where the clients that are refused at connect are written as nft commands: sets with time-outs, replaced as one."),
        .init(
            "throttle.nftables_command", "list of words", "[]",
            "Run when that file was written, such as `[/usr/sbin/nft, -f, FILE]`; no shell."),

        .init(
            "accounts.mode", "on | shadow | off", "off",
            "Whether accounts are limited: those that the policy service hears of in sasl_username, and those of submission. `shadow` counts and tells."
        ),
        .init(
            "accounts.limits", "list of limits", YAMLText.list(AccountSettings.defaultLimits),
            "As throttle.limits, with the keys account and account-domain, and `failures`, failed log-ins, also by address. Past one a message is refused for good."
        ),
        .init(
            "accounts.suspend", "list of limits", YAMLText.list(AccountSettings.defaultSuspensions),
            "Past one of these an account is stopped until `postern account release`. Further units: refusals, places (networks at once), countries."
        ),
        .init(
            "accounts.usual_factor", "number", "4",
            "An account may send this many times what it usually sends in a day before it is stopped for its volume. 1 to 1000."),
        .init(
            "accounts.action", "reject | hold", "reject",
            "What becomes of mail past a limit: `reject` with 554, or `hold` in Postfix's hold queue. Never 4xx: it would come again and again."
        ),
        .init("accounts.exempt", "list of accounts", "[]", "Accounts that are neither limited nor stopped."),
        .init(
            "accounts.webhook", "URL", "(none)",
            "Told of each account that is stopped, with a POST of JSON. `https://user:password@host` sends the two (RFC 7617)."),
        .init(
            "accounts.command", "list of words", "[]",
            "Run for each account that is stopped: a program by its whole path and its arguments, with JSON on its input; no shell."),

        .init(
            "trusted", "list of addresses, networks and domains", "[]",
            "Senders that go straight through: neither greylisted nor throttled. A domain counts where SPF passes for it."),
        .init("trusted_files", "list of paths", "[]", "Files with more of them, one a line; read again when they change."),
    ]
}

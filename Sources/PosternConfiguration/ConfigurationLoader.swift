import PosternCore
import PosternEngine
import Yams

/// Reads a configuration strictly: every key is known, every value is checked, everything wrong is told at once.
public final class ConfigurationLoader {
    let report: Report
    var configuration: Configuration
    /// As soon as the data folder is known.
    private var controlSocketPath: String?

    /// Octets of a file; beyond it is no configuration.
    public static let maximumSize = 1_048_576

    /// How many descriptors a process may have, where that is known.
    let descriptors: Int?

    private init(file: String, defaults: Configuration, descriptors: Int?) {
        report = Report(file: file)
        configuration = defaults
        self.descriptors = descriptors
    }

    var listenerPositions: [String: Position] = [:]
    /// Sources that zones and exports name: whether they are there is known once all is read.
    var namedSources: [(name: String, value: Value)] = []

    /// What a configuration says, and what is risky in it.
    public struct Loaded: Equatable, Sendable {
        public var configuration: Configuration
        public var warnings: [Diagnostic]
        /// Where each listener's address stands, as `file:line:column`, by the listener's name.
        public var listenerPositions: [String: String] = [:]
    }

    /// Reads the text of a configuration. `file` is its name in messages; `defaults` is what holds where a key is left out;
    /// `descriptors` is how many a process may have, where it is to be warned of wanting more.
    public static func load(
        _ text: String, file: String, defaults: Configuration = Configuration(), descriptors: Int? = nil
    ) throws(ConfigurationFailure) -> Loaded {
        try read(text, file: file, defaults: defaults, descriptors: descriptors).loaded
    }

    /// The same, with the paths of all keys that the reader knows.
    static func read(
        _ text: String, file: String, defaults: Configuration, descriptors: Int? = nil
    ) throws(ConfigurationFailure) -> (loaded: Loaded, askedPaths: Set<String>) {
        let loader = ConfigurationLoader(file: file, defaults: defaults, descriptors: descriptors)
        let start = Position(line: 1, column: 1)
        do throws(Unreadable) {
            guard text.utf8.count <= maximumSize else {
                throw Unreadable(mark: start, message: "the file is longer than \(maximumSize) octets")
            }
            switch try compose(text, repeated: { loader.report.error($0.mark, $0.message) }) {
            case .mapping(let mapping)?:
                loader.readAll(Mapping(mapping, path: "", mark: Position(mapping.mark) ?? start, report: loader.report))
            case nil:
                loader.readAll(Mapping(nil, path: "", mark: start, report: loader.report))
            case .scalar(let scalar)? where scalar.string.isEmpty:
                loader.readAll(Mapping(nil, path: "", mark: start, report: loader.report))
            case let node?:
                throw Unreadable(
                    mark: Position(node.mark) ?? start, message: "keys and values are wanted, such as hostname: mx1.example.net")
            }
        } catch {
            loader.report.error(error.mark, error.message)
        }
        let diagnostics = loader.report.diagnostics
        guard !diagnostics.contains(where: { $0.severity == .error }) else {
            throw ConfigurationFailure(diagnostics, controlSocketPath: loader.controlSocketPath)
        }
        let positions = loader.listenerPositions.mapValues { "\(file):\($0.line):\($0.column)" }
        return (
            Loaded(configuration: loader.configuration, warnings: diagnostics, listenerPositions: positions), loader.report.askedPaths
        )
    }

    private func readAll(_ root: Mapping) {
        if let name = root.take("hostname")?.domainName() { configuration.hostname = name.text }
        readDataDirectory(root)
        readDomains(root.take("domains"))
        readListeners(root)
        readStore(root.section("store"))
        readNetworks(root.section("networks"))
        readDNS(root.section("dns"), lists: root.take("dns_lists"))
        readGeography(root.section("geo"))
        readSubscriptions(root.take("subscriptions"))
        readExports(root.take("exports"))
        checkSources()
        readProfile(root.take("profile"))
        readChecks(root.section("checks"))
        readBands(root.section("bands"))
        let spf = root.section("spf")
        if let header = spf.take("header")?.choice(SPFHeader.self) { configuration.spfHeader = header }
        spf.finish()
        readGreylist(root.section("greylist"))
        readHarvest(root.section("harvest"))
        readPolicy(root.section("policy"))
        let decisions = root.section("decisions")
        if let keep = decisions.take("keep")?.duration(.zero ... .longestSetting) { configuration.decisions.keep = keep }
        decisions.finish()
        let history = root.section("history")
        if let keep = history.take("keep")?.duration(.milliseconds(1) ... .longestSetting) { configuration.history.keep = keep }
        history.finish()
        readDelays(root.section("delays"))
        readThrottle(root.section("throttle"))
        readAccounts(root.section("accounts"))
        readTrusted(root.take("trusted"), files: root.take("trusted_files"))
        if let framing = root.take("framing")?.choice(Configuration.Framing.self) { configuration.framing = framing }
        readLog(root.section("log"))
        if let user = root.take("user")?.accountName() { configuration.user = user }
        root.finish()
    }

    // MARK: - Sections

    private func readDataDirectory(_ root: Mapping) {
        if let value = root.take("data_directory") {
            guard let path = value.text("a path") else { return }
            configuration.dataDirectory = path
            guard configuration.controlSocketPath.utf8.count <= Configuration.maximumSocketPath else { return tooLong(value) }
        }
        controlSocketPath = configuration.controlSocketPath
    }

    private func tooLong(_ value: Value) {
        value.error(
            "the path of the control socket in it would be \(configuration.controlSocketPath.utf8.count) octets long; a socket's may have \(Configuration.maximumSocketPath)"
        )
    }

    private func readStore(_ section: Mapping) {
        if let path = section.take("sqlite")?.text("a path") { configuration.store.sqlite = path }
        if let sync = section.take("sync")?.choice(Configuration.Store.Sync.self) { configuration.store.sync = sync }
        for key in ["redis", "redis_cluster"] {
            section.takePart(key)?.error("a shared store is not available in this version; use store: { sqlite: postern.db }")
        }
        section.finish()
    }

    private func readDomains(_ value: Value?) {
        guard let value, let elements = value.list(of: "domains") else { return }
        if let any = elements.first(where: { $0.node.string == "*" }) {
            guard elements.count == 1 else {
                any.error("'*' is every domain, so nothing can stand beside it")
                return
            }
            configuration.domains = .any
            return
        }
        var names: [DomainName] = []
        for element in elements {
            guard let name = element.domainName() else { continue }
            if names.contains(name) { element.warning("'\(name)' is given twice") } else { names.append(name) }
        }
        configuration.domains = .listed(names)
    }

    private func readNetworks(_ section: Mapping) {
        if let set = section.take("local")?.prefixes() { configuration.networks.local = set }
        if let set = section.take("backup_mx")?.prefixes() { configuration.networks.backupMX = set }
        if let set = section.take("forwarders")?.prefixes() { configuration.networks.forwarders = set }
        if let set = section.take("monitoring")?.prefixes() { configuration.networks.monitoring = set }
        if let set = section.take("proxies")?.prefixes() { configuration.networks.proxies = set }
        if let set = section.take("xclient")?.prefixes() { configuration.networks.xclient = set }
        section.finish()
    }

    private func readProfile(_ value: Value?) {
        if let profile = value?.choice(Profile.self) { configuration.profile = profile }
    }

    private func readGreylist(_ section: Mapping) {
        if let mode = section.take("mode")?.mode() { configuration.greylist.mode = mode }
        readTimes(section)
        if let number = section.take("proven_after")?.integer(0...1_000_000) { configuration.greylist.provenAfter = UInt32(number) }
        if let bits = section.take("ipv4_prefix")?.integer(8...32) { configuration.greylist.widths.v4 = bits }
        if let bits = section.take("ipv6_prefix")?.integer(32...128) { configuration.greylist.widths.v6 = bits }
        if let header = section.take("header")?.boolean() { configuration.greylist.header = header }
        if let recheck = section.take("recheck")?.duration(.zero ... .longestSetting) { configuration.greylist.recheck = recheck }
        if let reply = section.take("reply")?.choice(DeferralReply.self) { configuration.greylist.reply = reply }
        let optIn = section.take("opt_in")?.recipients()
        let optOut = section.take("opt_out")?.recipients()
        if let optIn { configuration.greylist.optIn = Set(optIn.map(\.0)) }
        if let optOut {
            configuration.greylist.optOut = Set(optOut.map(\.0))
            for (pattern, value) in optOut where configuration.greylist.optIn.contains(pattern) {
                value.error("'\(pattern)' is in greylist.opt_in too")
            }
        }
        section.finish()
    }

    /// Below this a deferral stops next to nothing, since some bots come back at once.
    private static let shortDelay = WallTime.Span.seconds(10)

    private func readTimes(_ section: Mapping) {
        let delayValue = section.take("delay")
        let windowValue = section.take("window")
        let lifetimeValue = section.take("lifetime")
        let delay = delayValue?.duration(.zero ... .longestSetting)
        let window = windowValue?.duration(.milliseconds(1) ... .longestSetting)
        let lifetime = lifetimeValue?.duration(.milliseconds(1) ... .longestSetting)
        if let delay { configuration.greylist.delay = delay }
        if let window { configuration.greylist.window = window }
        if let lifetime { configuration.greylist.lifetime = lifetime }
        if let delay, delay < Self.shortDelay {
            delayValue?.warning("\(delay) is a very short delay; many bots try again at once, so less than \(Self.shortDelay) stops little")
        }
        // Only what was read is compared; the message stands at the key that was written, the shorter one first.
        let times = configuration.greylist
        if (delayValue == nil || delay != nil) && (windowValue == nil || window != nil), times.delay >= times.window {
            (delayValue ?? windowValue)?.conflict(
                "greylist.delay is \(times.delay) and greylist.window \(times.window): no retry could ever come in time")
        }
        if (windowValue == nil || window != nil) && (lifetimeValue == nil || lifetime != nil), times.window > times.lifetime {
            (lifetimeValue ?? windowValue)?.conflict(
                "greylist.window is \(times.window) and greylist.lifetime \(times.lifetime): the lifetime must not be the shorter one")
        }
    }

    private func readPolicy(_ section: Mapping) {
        if let idle = section.take("idle_timeout")?.duration(.milliseconds(1) ... .days(1)) { configuration.policy.idleTimeout = idle }
        if let number = section.take("max_connections")?.integer(1...1_000_000) { configuration.policy.maxConnections = number }
        let sizeValue = section.take("max_request_size")
        let lineValue = section.take("max_line_length")
        if let number = sizeValue?.integer(1024...1_048_576) { configuration.policy.maxRequestSize = number }
        if let number = lineValue?.integer(512...1_048_576) { configuration.policy.maxLineLength = number }
        if configuration.policy.maxLineLength > configuration.policy.maxRequestSize {
            (lineValue ?? sizeValue)?.conflict(
                "policy.max_line_length is \(configuration.policy.maxLineLength) and policy.max_request_size \(configuration.policy.maxRequestSize): a line cannot be longer than its request"
            )
        }
        if let hold = section.take("hold")?.duration(.zero ... .seconds(5)) { configuration.policy.hold = hold }
        if let number = section.take("max_attributes")?.integer(32...10_000) { configuration.policy.maxAttributes = number }
        section.finish()
    }

    private func readLog(_ section: Mapping) {
        if let format = section.take("format")?.choice(Configuration.Log.Format.self) { configuration.log.format = format }
        if let level = section.take("level")?.choice(Configuration.Log.Level.self) { configuration.log.level = level }
        if let redact = section.take("redact")?.boolean() { configuration.log.redact = redact }
        section.finish()
    }
}

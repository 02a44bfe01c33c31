import DNSProtocol
import Logging
import NIOConcurrencyHelpers
import PolicyProtocol
import PosternConfiguration
import PosternCore
import PosternEngine
import PosternResolver

/// Tells Postfix which domains' throttle it may skip.
public final class SocketmapService: Sendable {
    /// What a service goes by; may be changed while it runs.
    public struct Settings: Equatable, Sendable {
        public var socketmap: Configuration.Socketmap
        public var hostname: DomainName?
        /// For all look-ups of one answer together.
        public var timeout: WallTime.Span

        public init(_ socketmap: Configuration.Socketmap, of configuration: Configuration) {
            self.socketmap = socketmap
            hostname = DomainName(configuration.hostname)
            timeout = configuration.dns.timeout
        }
    }

    /// The table's name, as Postfix's `socketmap:inet:host:port:name` ends.
    public static let table = "transport"

    /// Asks the DNS.
    public typealias Asking = @Sendable (Question, Deadline) async -> Answer

    private let settings: NIOLockedValueBox<Settings>
    private let ask: Asking
    private let name: String
    private let logger: Logger
    private let seldom: RateLimitedLog

    /// - Parameter name: the listener's, for the log.
    public init(name: String, settings: Settings, logger: Logger, ask: @escaping Asking) {
        self.name = name
        self.settings = NIOLockedValueBox(settings)
        self.logger = logger
        self.ask = ask
        seldom = RateLimitedLog(logger: logger, interval: .minutes(1))
    }

    /// One that asks the daemon's resolver.
    public convenience init(_ name: String, _ settings: Settings, asking evidence: EvidenceGatherer, logger: Logger) {
        self.init(name: name, settings: settings, logger: logger) { question, deadline in
            // Where nobody has answered lately there is nothing to wait for.
            guard evidence.health.answers else { return Answer(.failure(.unreachable)) }
            return await withCheckedContinuation { continuation in
                evidence.ask(question, deadline: deadline) { continuation.resume(returning: $0) }
            }
        }
    }

    public func update(_ settings: Settings) { self.settings.withLockedValue { $0 = settings } }

    /// The answer to one look-up. Postfix asks for whole mailboxes: such tables get no partial keys (socketmap_table(5)).
    public func answer(_ request: SocketmapRequest) async -> SocketmapReply {
        guard request.name == Self.table else {
            return .permanentFailure("there is no table \"\(request.name.prefix(64))\" here; its name is \(Self.table)")
        }
        guard let domain = Self.domain(of: request.key) else { return .notFound }
        let settings = settings.withLockedValue { $0 }
        let deadline = Deadline.after(settings.timeout)
        let answer = await ask(Question(DNSName(domain), .mx), deadline)
        if let failure = answer.failure { return unresolved(domain, failure, settings) }
        // RFC 7505: a null MX is the root, no host; the domain takes no mail, as Postfix will find out.
        let exchanges = answer.exchanges.compactMap { exchange in
            exchange.host.domainName.flatMap { host in Self.isHostName(host) ? (preference: exchange.preference, host: host) : nil }
        }
        guard
            let way = SkippedThrottle(exchanges: exchanges, names: settings.socketmap.throttleNames, own: settings.hostname)
        else { return .notFound }
        switch await trusts(way.node, settings, deadline) {
        case .success(false): return .notFound
        case .failure(let failure): return unresolved(domain, failure.reason, settings)
        case .success(true):
            logger.info("throttle skipped", metadata: ["listener": "\(name)", "domain": "\(domain)", "transport": "\(way.transport)"])
            return .found(way.transport)
        }
    }

    /// What stands behind the last `@`, or the whole key; an address literal is no domain.
    static func domain(of key: String) -> DomainName? {
        let octets = key.utf8
        let start = octets.lastIndex(of: UInt8(ascii: "@")).map { octets.index(after: $0) } ?? octets.startIndex
        guard let domain = DomainName(key[start...])?.asciiForm,
            domain.text.utf8.allSatisfy({ $0 != UInt8(ascii: "[") && $0 != UInt8(ascii: "*") }),
            DNSName(domain.text) != nil
        else { return nil }
        return domain
    }

    /// Whether a name can stand in Postfix's brackets: whoever owns a domain writes its MX records. One that ends with digits alone
    /// would be taken for an address there (RFC 1123 §2.1).
    private static func isHostName(_ name: DomainName) -> Bool {
        let isNumber = name.labels.last?.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) } ?? true
        return !isNumber
            && name.text.utf8.allSatisfy { octet in
                (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(octet) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(octet)
                    || octet == UInt8(ascii: "-") || octet == UInt8(ascii: ".") || octet == UInt8(ascii: "_")
            }
    }

    private struct Unanswered: Error {
        let reason: Answer.Failure
    }

    /// Whether the network that a node is of has us on its list.
    private func trusts(_ node: DomainName, _ settings: Settings, _ deadline: Deadline) async -> Result<Bool, Unanswered> {
        let socketmap = settings.socketmap
        if socketmap.trustedBy.contains(where: { node.isWithin($0) }) { return .success(true) }
        guard let zone = socketmap.trustZone, !socketmap.sourceAddresses.isEmpty else { return .success(false) }
        let filters = ListFilters([.init(filter: zone.filter, weight: 1)])
        let questions = socketmap.sourceAddresses.compactMap { ListName.address($0, zone: DNSName(zone.zone)).map { Question($0, .a) } }
        // Mail may leave from any of them, so all must be there.
        return await withTaskGroup(of: Result<Bool, Unanswered>.self) { group in
            for question in questions {
                group.addTask { [ask] in
                    let answer = await ask(question, deadline)
                    if let failure = answer.failure { return .failure(Unanswered(reason: failure)) }
                    if case .listed = filters.reply(for: answer.addresses4) { return .success(true) }
                    return .success(false)
                }
            }
            var failure: Unanswered?
            for await result in group {
                switch result {
                case .success(true): break
                case .success(false): return .success(false)
                case .failure(let unanswered): failure = unanswered
                }
            }
            return failure.map { .failure($0) } ?? .success(true)
        }
    }

    /// Nobody knows: by default the mail goes the usual way, which costs it the throttle and nothing else.
    private func unresolved(_ domain: DomainName, _ failure: Answer.Failure, _ settings: Settings) -> SocketmapReply {
        seldom.warning(
            "no answer from the DNS about a domain's throttle",
            metadata: ["listener": "\(name)", "domain": "\(domain)", "error": "\(failure.rawValue)"])
        guard settings.socketmap.unresolved == .temporary else { return .notFound }
        return failure == .timeout
            ? .timeout("no answer from the DNS in time") : .temporaryFailure("no answer from the DNS: \(failure.rawValue)")
    }
}

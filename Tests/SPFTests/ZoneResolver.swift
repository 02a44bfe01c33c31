import PosternCore
import SPF
import Synchronization

/// Answers from zones in memory, and counts the questions.
final class ZoneResolver: SPFResolver {
    enum Record: Hashable, Sendable {
        case text([[UInt8]])
        case address(IPAddress)
        case exchanger(String)
        case pointer(String)
        case alias(String)
        /// Every question that has no record gets no answer in time.
        case timeout
    }

    private let zones: [String: [Record]]
    private let asked = Mutex<[String]>([])

    init(_ zones: [String: [Record]]) {
        self.zones = zones
    }

    /// Names with TXT records, one string each.
    convenience init(texts: [String: String], _ others: [String: [Record]] = [:]) {
        self.init(others.merging(texts.mapValues { [.text($0)] }) { $0 + $1 })
    }

    /// What has been asked, as `name TYPE`.
    var questions: [String] { asked.withLock { $0 } }

    private func find<Value: Sendable>(
        _ name: String, _ type: String, _ pick: (Record) -> Value?
    ) -> SPFAnswer<Value> {
        asked.withLock { $0.append("\(name) \(type)") }
        var name = name
        // RFC 1034 §3.6.2: aliases are followed, and a loop of them is an error.
        for _ in 0..<8 {
            guard let records = zones[name] else { return .noSuchDomain }
            let found = records.compactMap(pick)
            if !found.isEmpty { return .records(found) }
            if records.contains(.timeout) { return .temporaryFailure }
            let alias = records.compactMap { if case .alias(let target) = $0 { target } else { nil } }.first
            guard let alias else { return .records([]) }
            name = alias.lowercasedASCII
        }
        return .temporaryFailure
    }

    func texts(of name: QueryName) async -> SPFAnswer<[[UInt8]]> {
        find(name.text, "TXT") { if case .text(let strings) = $0 { strings } else { nil } }
    }

    func addresses(of name: QueryName, family: IPAddress.Family) async -> SPFAnswer<IPAddress> {
        find(name.text, family == .v4 ? "A" : "AAAA") {
            if case .address(let address) = $0, address.family == family { address } else { nil }
        }
    }

    func mailExchangers(of name: QueryName) async -> SPFAnswer<String> {
        find(name.text, "MX") { if case .exchanger(let host) = $0 { host } else { nil } }
    }

    func reverseNames(of address: IPAddress) async -> SPFAnswer<String> {
        find(Self.reverseName(of: address), "PTR") { if case .pointer(let host) = $0 { host } else { nil } }
    }

    static func reverseName(of address: IPAddress) -> String {
        switch address.family {
        case .v4: address.octets.reversed().map { "\($0)." }.joined() + "in-addr.arpa"
        case .v6:
            address.octets.reversed().map { "\(String($0 & 15, radix: 16)).\(String($0 >> 4, radix: 16))." }.joined() + "ip6.arpa"
        }
    }
}

extension ZoneResolver.Record {
    static func text(_ text: String) -> Self { .text([Array(text.utf8)]) }
    static func address(_ text: String) -> Self? { IPAddress(text).map { .address($0) } }
}

extension [ZoneResolver.Record] {
    /// A records and AAAA records.
    static func at(_ addresses: String...) -> Self { addresses.compactMap { .address($0) } }
}

/// A check of `jo@example.org` unless told otherwise, on 2026-11-20.
func check(
    ip text: String = "192.0.2.1", from sender: String = "jo@example.org", helo: String = "mail.example.org",
    receiver: String = "mx.example.net", settings: SPFSettings = SPFSettings(), _ resolver: some SPFResolver
) async throws -> SPFOutcome {
    guard let address = IPAddress(text) else { throw NoAddress() }
    return await SPFCheck.mailFrom(
        ReversePath(sender), helo: helo, address: address, receiver: receiver, time: WallTime(seconds: 1_795_161_600), settings: settings,
        resolver: resolver)
}

struct NoAddress: Error {}

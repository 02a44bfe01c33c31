import DNSProtocol
import PosternCore

/// What became of a question.
public struct Answer: Hashable, Sendable {
    public enum Outcome: Hashable, Sendable {
        /// At least one record of the type asked for; `owner` is where aliases led from the question's name.
        case records([RecordData], owner: DNSName)
        /// There is no such name (NXDOMAIN).
        case noSuchDomain
        /// The name is there and has no such record.
        case noData
        /// Nobody knows.
        case failure(Failure)
    }

    public enum Failure: String, Hashable, Sendable, CaseIterable {
        /// No answer came by the deadline, or none at all.
        case timeout
        /// Every resolver said SERVFAIL, or something else that is no answer.
        case serverFailure = "server-failure"
        /// Every resolver refused to answer us.
        case refused
        /// What came was not an answer to the question.
        case malformed
        /// No resolver could be reached.
        case unreachable
        /// Aliases that lead too far, or round in circles.
        case aliasChain = "alias-chain"
        /// Too many questions waited already.
        case overloaded
        /// The configuration names no resolver: look-ups are off.
        case switchedOff = "switched-off"
        /// The resolver was closed.
        case closed
    }

    public var outcome: Outcome
    /// Seconds for which this may still be relied on.
    public var timeToLive: UInt32
    /// Whether it was known already.
    public var isCached: Bool

    public init(_ outcome: Outcome, timeToLive: UInt32 = 0, isCached: Bool = false) {
        self.outcome = outcome
        self.timeToLive = timeToLive
        self.isCached = isCached
    }
}

// MARK: - By type

extension Answer {
    /// Empty unless there are records.
    public var records: [RecordData] {
        if case .records(let records, _) = outcome { records } else { [] }
    }

    /// The 32 bits of each A record.
    public var addresses4: [UInt32] {
        records.compactMap { if case .a(let bits) = $0 { bits } else { nil } }
    }

    /// Of A and AAAA records.
    public var addresses: [IPAddress] { records.compactMap(\.address) }

    /// Each TXT record with its strings joined (RFC 7208 §3.3).
    public var texts: [[UInt8]] {
        records.compactMap { if case .txt(let strings) = $0 { Array(strings.joined()) } else { nil } }
    }

    /// The MX records, the most preferred first; equals in the order they came in.
    public var exchanges: [(preference: UInt16, host: DNSName)] {
        records.compactMap { if case .mx(let preference, let host) = $0 { (preference, host) } else { nil } }
            .enumerated().sorted { ($0.element.0, $0.offset) < ($1.element.0, $1.offset) }.map(\.element)
    }

    /// The names that PTR, NS or CNAME records hold.
    public var names: [DNSName] {
        records.compactMap {
            switch $0 {
            case .ptr(let name), .ns(let name), .cname(let name): name
            default: nil
            }
        }
    }

    /// The domain is there, or it is not: an answer either way.
    public var isConclusive: Bool { failure == nil }

    public var failure: Failure? {
        if case .failure(let failure) = outcome { failure } else { nil }
    }
}

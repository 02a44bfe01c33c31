import PosternCore

/// What a DNS list said of an address or a domain.
public enum ListReply: Hashable, Sendable {
    /// With the codes that counted, and the sum of the weights of the filters that they match.
    case listed(codes: [UInt32], weight: Double)
    case notListed
    /// The list did not answer the question: its reply speaks of the one who asks. Never a listing.
    case error(code: UInt32)
}

/// What is made of a zone's replies: its filters, each with its weight.
public struct ListFilters: Hashable, Sendable {
    public struct Entry: Hashable, Sendable {
        /// `nil` for every reply that is a listing.
        public var filter: ReplyFilter?
        public var weight: Double

        public init(filter: ReplyFilter?, weight: Double) {
            self.filter = filter
            self.weight = weight
        }
    }

    public var entries: [Entry]

    public init(_ entries: [Entry]) {
        self.entries = entries
    }

    /// The sum of everything that one reply could add, upwards and downwards: what the zone can still change.
    public var reach: ClosedRange<Double> {
        let weights = entries.map(\.weight)
        return weights.filter { $0 < 0 }.reduce(0, +)...weights.filter { $0 > 0 }.reduce(0, +)
    }

    /// As postscreen does, each entry counts once, whichever and however many of the replies it matches.
    ///
    /// RFC 5782 §2.1: a listing lies in 127/8. Anything else comes from a parked zone or a lying resolver, and
    /// 127.255.255/24 says that the question was refused (Spamhaus: typing error, public resolver, too many queries).
    public func reply(for addresses: [UInt32]) -> ListReply {
        if let bad = addresses.first(where: Self.isError) { return .error(code: bad) }
        var codes: [UInt32] = []
        var weight = 0.0
        var matched = false
        for entry in entries {
            let hits = addresses.filter { entry.filter?.matches($0) ?? true }
            guard !hits.isEmpty else { continue }
            matched = true
            weight += entry.weight
            for code in hits where !codes.contains(code) { codes.append(code) }
        }
        return matched ? .listed(codes: codes, weight: weight) : .notListed
    }

    public static func isError(_ reply: UInt32) -> Bool { reply >> 24 != 127 || reply >> 8 == 0x7fff_ff }
}

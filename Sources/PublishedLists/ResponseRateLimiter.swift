import PosternCore

/// How many responses a network of askers gets (response rate limiting, as BIND and NSD have it): a forged source address
/// makes us send to somebody who has not asked.
///
/// One bucket for each /24 or /56, in a table of fixed size: who finds no place takes that of whoever was quiet longest.
public struct ResponseRateLimiter: Sendable {
    public struct Settings: Equatable, Sendable {
        /// Responses a second to one network; 0 for no limit.
        public var perSecond: Int
        /// Of what is too much, each so many-th is answered with a request to come by TCP; 0 for none, 1 for each.
        public var slip: Int

        public init(perSecond: Int, slip: Int = 2) {
            self.perSecond = perSecond
            self.slip = slip
        }

        public static let off = Settings(perSecond: 0)
        public static let range = 1...1_000_000
    }

    public enum Decision: Equatable, Sendable {
        case answer
        case slip
        case drop
    }

    private struct Bucket {
        var key: UInt64 = 0
        /// Milliseconds, wound.
        var last: UInt32 = 0
        /// Thousandths of a response that are left.
        var left: Int32 = 0
    }

    public static let buckets = 16_384
    private static let ways = 4

    private let settings: Settings
    /// Makes the places of networks nobody's guess.
    private let seed: UInt64
    private var table: [Bucket] = []
    private var excess = 0

    public init(_ settings: Settings, seed: UInt64) {
        self.settings = settings
        self.seed = seed
        if settings.perSecond > 0 { table = [Bucket](repeating: Bucket(), count: Self.buckets) }
    }

    public var isOff: Bool { settings.perSecond == 0 }

    /// - Parameter now: milliseconds of any clock that goes on.
    public mutating func decide(_ address: IPAddress, now: UInt64) -> Decision {
        guard !isOff else { return .answer }
        let key = Self.network(address)
        let now = UInt32(truncatingIfNeeded: now)
        let start = Int(truncatingIfNeeded: (key ^ seed).mixed % UInt64(Self.buckets / Self.ways)) * Self.ways
        let most = Int32(clamping: settings.perSecond * 1000)
        var place = start
        var quietest: UInt32 = 0
        for index in start..<start + Self.ways {
            if table[index].key == key {
                place = index
                break
            }
            let quiet = now &- table[index].last
            if table[index].key == 0 || quiet >= quietest {
                place = index
                quietest = table[index].key == 0 ? .max : quiet
            }
        }
        if table[place].key != key {
            table[place] = Bucket(key: key, last: now, left: most)
        } else {
            // As many thousandths a millisecond as responses a second.
            let gained = Int64(now &- table[place].last) * Int64(settings.perSecond)
            table[place].left = Int32(clamping: min(Int64(table[place].left) + gained, Int64(most)))
            table[place].last = now
        }
        if table[place].left >= 1000 {
            table[place].left -= 1000
            return .answer
        }
        guard settings.slip > 0 else { return .drop }
        excess += 1
        guard excess >= settings.slip else { return .drop }
        excess = 0
        return .slip
    }

    /// Never zero.
    private static func network(_ address: IPAddress) -> UInt64 {
        switch address.family {
        case .v4: 1 << 40 | address.low >> 8
        case .v6: 1 << 60 | address.high >> 8
        }
    }
}

extension UInt64 {
    /// After David Stafford's mix13.
    fileprivate var mixed: UInt64 {
        var z = self
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }
}

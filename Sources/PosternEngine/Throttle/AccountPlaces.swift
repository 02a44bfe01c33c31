import PosternCore

/// Where an account was last seen to come from. The places seen least lately are forgotten.
struct AccountPlaces: Sendable {
    /// Of one account. More is seldom wanted, and written down their number is an octet.
    static let maximum = 255
    /// Remembered in any case, so that its owner is known to be at home.
    private static let fewest = 32

    /// Networks that have to be told apart by these limits: one more than an account may come from.
    static func most(for limits: [Limit]) -> Int {
        let amounts = limits.filter { $0.unit == .places || $0.unit == .countries }.map { Int(clamping: $0.amount) }
        return min(max(fewest, (amounts.max() ?? 0).addingReportingOverflow(1).partialValue), maximum)
    }

    private struct Place: Sendable {
        /// A keyed hash.
        var network: UInt64
        var country: String?
        var seen: WallTime
    }

    private var places: [Place] = []

    mutating func note(_ network: UInt64, _ country: String?, most: Int, at now: WallTime) {
        if let index = places.firstIndex(where: { $0.network == network }) {
            places[index].seen = now
            if let country { places[index].country = country }
            return
        }
        while places.count >= max(most, 1), let oldest = places.indices.min(by: { places[$0].seen < places[$1].seen }) {
            places.remove(at: oldest)
        }
        places.append(Place(network: network, country: country, seen: now))
    }

    private static let version: UInt8 = 1

    init() {}

    /// `nil` where the octets are none of ours.
    init?(_ data: [UInt8]) {
        var rest = data[...]
        func number() -> UInt64? {
            guard rest.count >= 8 else { return nil }
            defer { rest = rest.dropFirst(8) }
            return rest.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
        }
        guard rest.popFirst() == Self.version, let count = rest.popFirst(), count <= Self.maximum else { return nil }
        for _ in 0..<count {
            guard let network = number(), let seen = number(), let length = rest.popFirst(), rest.count >= length else { return nil }
            let country = length == 0 ? nil : String(decoding: rest.prefix(Int(length)), as: UTF8.self)
            rest = rest.dropFirst(Int(length))
            places.append(Place(network: network, country: country, seen: WallTime(milliseconds: Int64(bitPattern: seen))))
        }
        guard rest.isEmpty else { return nil }
    }

    /// To be written down: 1 (the version); how many; of each its network, when it was seen in milliseconds, both of 8 octets, and the
    /// country behind its length.
    var encoded: [UInt8] {
        var out = [Self.version, UInt8(places.count)]
        for place in places {
            for number in [place.network, UInt64(bitPattern: place.seen.milliseconds)] {
                out += stride(from: 56, through: 0, by: -8).map { UInt8(truncatingIfNeeded: number >> UInt64($0)) }
            }
            let country = Array((place.country ?? "").utf8.prefix(255))
            out.append(UInt8(country.count))
            out += country
        }
        return out
    }

    func knows(_ network: UInt64, since: WallTime) -> Bool { places.contains { $0.network == network && $0.seen > since } }
    func networks(since: WallTime) -> Int { places.count { $0.seen > since } }
    func countries(since: WallTime) -> Int { Set(places.lazy.filter { $0.seen > since }.compactMap(\.country)).count }
}

/// A dictionary of a bounded size: what has not been written for the longest gives way, in halves.
struct Fading<Key: Hashable & Sendable, Value: Sendable>: Sendable {
    private let maximum: Int
    private var young: [Key: Value] = [:]
    private var old: [Key: Value] = [:]

    init(maximum: Int) {
        self.maximum = max(maximum, 2)
    }

    var count: Int { young.count + old.count }
    var all: [(key: Key, value: Value)] { young.map { ($0.key, $0.value) } + old.map { ($0.key, $0.value) } }

    func peek(_ key: Key) -> Value? { young[key] ?? old[key] }

    subscript(key: Key) -> Value? {
        get { young.isEmpty && old.isEmpty ? nil : young[key] ?? old[key] }
        set {
            old[key] = nil
            if newValue != nil, young[key] == nil, young.count >= maximum / 2 {
                old = young
                young = [:]
            }
            young[key] = newValue
        }
    }

    subscript(key: Key, default fallback: @autoclosure () -> Value) -> Value {
        get { peek(key) ?? fallback() }
        set { self[key] = newValue }
    }
}

import PosternCore

/// Whom somebody has written to, without their names: two Bloom filters, of this span and the one before. What was written to
/// within either is known. Never takes a known one for new within a span; takes a new one for known once in some hundred.
///
/// A filter grows by layers, up to `maximumWords`; one that is full begins a new span early, so that whoever writes to
/// thousands is seen to go on doing so: what was known longest ago is then new again.
public struct RecipientSketch: Sendable {
    /// 8 KiB: some 5,500 recipients.
    static let maximumWords = 1024
    static let firstWords = 16
    fileprivate static let probes = 6
    /// Bits set, of each a hundred, at which a layer is full: it takes one new recipient in 250 for known by then.
    fileprivate static let fullPercent = 40

    fileprivate struct Filter: Sendable {
        var layers: [[UInt64]] = []
        var set = 0
    }

    private var this = Filter()
    private var last = Filter()
    private var began: WallTime

    public init(at now: WallTime) {
        began = now
    }

    /// Octets.
    public var size: Int { (this.layers.joined().count + last.layers.joined().count) * 8 }

    /// - Parameter recipient: a keyed hash of the recipient.
    public func contains(_ recipient: UInt64) -> Bool { this.contains(recipient) || last.contains(recipient) }

    /// - Parameter span: how long is remembered, at least; at most twice that.
    /// - Returns: whether it was new.
    public mutating func insert(_ recipient: UInt64, span: WallTime.Span, at now: WallTime) -> Bool {
        if now - began >= span {
            last = now - began >= span + span ? Filter() : this
            this = Filter()
            began = now
        }
        let isNew = !contains(recipient)
        guard isNew || !this.contains(recipient) else { return false }
        if !this.insert(recipient) {
            last = this
            this = Filter()
            began = now
            _ = this.insert(recipient)
        }
        return isNew
    }
}

extension RecipientSketch {
    private static let version: UInt8 = 1

    /// As it is written down: a version, when it began, and of each filter its layers' words and the bits set in the last.
    var encoded: [UInt8] {
        var out = [Self.version]
        func append(_ value: UInt64) {
            for shift in stride(from: UInt64(0), to: 64, by: 8) { out.append(UInt8(truncatingIfNeeded: value >> shift)) }
        }
        append(UInt64(bitPattern: began.milliseconds))
        for filter in [this, last] {
            out.append(UInt8(filter.layers.count))
            append(UInt64(filter.set))
            for layer in filter.layers {
                append(UInt64(layer.count))
                for word in layer { append(word) }
            }
        }
        return out
    }

    /// `nil` where the octets are none of ours.
    init?(_ data: [UInt8]) {
        var rest = data[...]
        func number() -> UInt64? {
            guard rest.count >= 8 else { return nil }
            defer { rest = rest.dropFirst(8) }
            return rest.prefix(8).reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
        guard rest.popFirst() == Self.version, let began = number() else { return nil }
        self.init(at: WallTime(milliseconds: Int64(bitPattern: began)))
        var filters: [Filter] = []
        for _ in 0..<2 {
            var filter = Filter()
            guard let layers = rest.popFirst(), layers <= 4, let set = number(), set <= UInt64(Self.maximumWords * 64) else { return nil }
            filter.set = Int(set)
            var expected = UInt64(Self.firstWords)
            for _ in 0..<layers {
                guard number() == expected else { return nil }
                var layer: [UInt64] = []
                for _ in 0..<expected {
                    guard let word = number() else { return nil }
                    layer.append(word)
                }
                filter.layers.append(layer)
                expected *= 4
            }
            filters.append(filter)
        }
        guard rest.isEmpty else { return nil }
        this = filters[0]
        last = filters[1]
    }
}

extension RecipientSketch.Filter {
    private static func bits(_ hash: UInt64, words: Int) -> [(word: Int, mask: UInt64)] {
        let step = hash >> 32 | 1
        return (0..<RecipientSketch.probes).map { probe in
            let bit = Int(truncatingIfNeeded: (hash &+ UInt64(probe) &* step) & UInt64(words * 64 - 1))
            return (bit / 64, 1 << UInt64(bit % 64))
        }
    }

    func contains(_ hash: UInt64) -> Bool {
        layers.contains { layer in Self.bits(hash, words: layer.count).allSatisfy { layer[$0.word] & $0.mask != 0 } }
    }

    /// False where there is no room.
    mutating func insert(_ hash: UInt64) -> Bool {
        if layers.isEmpty || set * 100 >= layers[layers.count - 1].count * 64 * RecipientSketch.fullPercent {
            let words = layers.last.map { $0.count * 4 } ?? RecipientSketch.firstWords
            guard words <= RecipientSketch.maximumWords else { return false }
            layers.append([UInt64](repeating: 0, count: words))
            set = 0
        }
        let last = layers.count - 1
        for (word, mask) in Self.bits(hash, words: layers[last].count) where layers[last][word] & mask == 0 {
            layers[last][word] |= mask
            set += 1
        }
        return true
    }
}

/// The sketches of many, of a bounded number: those that have not been touched for the longest give way, in halves.
public struct RecipientSketches: Sendable {
    private let maximum: Int
    private let span: WallTime.Span
    private var young: [UInt64: RecipientSketch] = [:]
    private var old: [UInt64: RecipientSketch] = [:]
    private var changed: Set<UInt64> = []
    /// Sketches that gave way.
    public private(set) var forgotten: UInt64 = 0

    public init(maximum: Int, span: WallTime.Span) {
        self.maximum = max(maximum, 2)
        self.span = span
    }

    public var count: Int { young.count + old.count }

    public func isNew(_ recipient: UInt64, of key: UInt64) -> Bool {
        !((young[key] ?? old[key])?.contains(recipient) ?? false)
    }

    /// - Returns: whether it was new.
    public mutating func insert(_ recipient: UInt64, of key: UInt64, at now: WallTime) -> Bool {
        if young[key] == nil {
            if young.count >= maximum / 2 {
                forgotten += UInt64(old.count)
                old = young
                young = [:]
            }
            young[key] = old.removeValue(forKey: key) ?? RecipientSketch(at: now)
        }
        let isNew = young[key]?.insert(recipient, span: span, at: now) ?? true
        if isNew { changed.insert(key) }
        return isNew
    }

    /// Sketches that have changed since they were last taken, as they are to be written, at most so many.
    public mutating func takeChanges(_ limit: Int) -> [(key: UInt64, data: [UInt8])] {
        var taken: [(key: UInt64, data: [UInt8])] = []
        while taken.count < limit, let key = changed.popFirst() {
            if let sketch = young[key] ?? old[key] { taken.append((key, sketch.encoded)) }
        }
        return taken
    }

    /// Takes in a sketch as it was written; one that cannot be read is left out.
    public mutating func restore(_ key: UInt64, _ data: [UInt8]) {
        guard count < maximum, let sketch = RecipientSketch(data) else { return }
        old[key] = sketch
    }
}

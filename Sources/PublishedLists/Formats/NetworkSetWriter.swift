import PosternCore

/// Sets of addresses as nft(8) reads them, all in the table `inet postern`.
public struct NetworkSetWriter {
    /// An address or network, and for how long.
    public struct Element: Equatable, Sendable {
        public var prefix: Prefix
        /// 0 for ever.
        public var seconds: UInt32

        public init(prefix: Prefix, seconds: UInt32) {
            self.prefix = prefix
            self.seconds = seconds
        }
    }

    private var out = OutputPieces()

    public init() {}

    public mutating func begin() { out.add("#!/usr/sbin/nft -f\n# Written by Postern.\nadd table inet postern\n") }

    /// Adds one set, emptied first; returns how many elements it has. Intervals must not overlap: a prefix within another that
    /// lives at least as long is left out, and where it lives longer, or is not to be matched, the other one is written without it.
    ///
    /// - Parameter holes: what is not to be matched, but for elements that lie within it; none of them is an element.
    public mutating func set<Failure: Error>(
        _ name: String, _ family: IPAddress.Family, _ elements: [Element], without holes: [Prefix] = [], hasTimeouts: Bool,
        _ body: (ArraySlice<UInt8>) throws(Failure) -> Void
    ) throws(Failure) -> Int {
        let flags = hasTimeouts ? "interval, timeout" : "interval"
        out.add("add set inet postern \(name) { type \(family == .v4 ? "ipv4_addr" : "ipv6_addr"); flags \(flags); }\n")
        out.add("flush set inet postern \(name)\n")
        let regions = Self.regions(elements, holes)
        let prefixes = regions.map(\.prefix)
        var count = 0
        for (index, region) in regions.enumerated() {
            guard let seconds = region.seconds else { continue }
            let within = prefixes[(index + 1)...]
            let end = within.firstPlace { !region.prefix.contains($0.address) }
            try NetworkHoles.forEachPart(of: region.prefix, without: within[..<end]) { (part) throws(Failure) in
                // Not all in one line: nft reads it into memory at once.
                out.add(count % 512 == 0 ? (count > 0 ? " }\n" : "") + "add element inet postern \(name) { " : ", ")
                out.add(part.description)
                if seconds > 0 { out.add(" timeout \(Self.span(seconds))") }
                count += 1
                try out.hand(over: body)
            }
        }
        if count > 0 { out.add(" }\n") }
        return count
    }

    public mutating func finish<Failure: Error>(_ body: (ArraySlice<UInt8>) throws(Failure) -> Void) throws(Failure) {
        try out.finish(body)
    }

    /// Elements and holes (`seconds` is `nil`) that say something else than what they lie within; each before those within it.
    private static func regions(_ elements: [Element], _ holes: [Prefix]) -> [(prefix: Prefix, seconds: UInt32?)] {
        let all: [(prefix: Prefix, seconds: UInt32?)] = elements.map { ($0.prefix, $0.seconds) } + holes.map { ($0, nil) }
        var regions: [(prefix: Prefix, seconds: UInt32?)] = []
        var around: [(prefix: Prefix, seconds: UInt32?)] = []
        for region in all.sorted(by: { $0.prefix.precedes($1.prefix) }) {
            while let last = around.last, !last.prefix.contains(region.prefix) { around.removeLast() }
            switch (around.last?.seconds, region.seconds) {
            case (nil, nil): continue
            case (let outer?, let inner?) where outer == 0 || inner != 0 && inner <= outer: continue
            default: break
            }
            around.append(region)
            regions.append(region)
        }
        return regions
    }

    /// nft takes numbers of at most eight digits: long times are told in days.
    static func span(_ seconds: UInt32) -> String {
        guard seconds >= 86_400 else { return "\(seconds)s" }
        let parts = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")]
        return parts.map { $0.0 > 0 ? "\($0.0)\($0.1)" : "" }.joined()
    }
}

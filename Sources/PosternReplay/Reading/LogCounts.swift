/// What was read, and what of it is no attempt.
public struct LogCounts: Codable, Equatable, Sendable {
    /// Lines, or rows of tables.
    public var lines = 0
    /// Of programs that have nothing to do with receiving mail.
    public var foreignLines = 0
    public var attempts = 0
    /// Attempts that the server turned away for a reason of its own; they are not replayed unless that is asked for.
    public var refused = 0
    /// Turned away before a recipient was named.
    public var withoutRecipient = 0
    /// Messages of the site's own users and programs.
    public var own = 0
    /// Messages of which the log tells too little: it began or ended in their midst, or nothing came after the first recipient.
    public var incomplete = 0
    /// Attempts that came later than the order of time can be mended; they are replayed late.
    public var late = 0

    public init() {}
}

/// Lines that could not be read: counted by reason, with a sample.
public struct InputProblems: Codable, Equatable, Sendable {
    public struct Sample: Codable, Equatable, Sendable {
        public var file: String
        /// The first is 1.
        public var line: Int
        public var reason: String
        /// The beginning of the line.
        public var text: String
    }

    public struct Reason: Codable, Equatable, Sendable {
        public var reason: String
        public var count: Int
    }

    public private(set) var count = 0
    /// The most frequent first; at most `maximumReasons`.
    public var reasons: [Reason] {
        counts.map { Reason(reason: $0.key, count: $0.value) }.sorted { ($1.count, $0.reason) < ($0.count, $1.reason) }
    }
    /// The first of each reason, `samplesAReason` at most.
    public private(set) var samples: [Sample] = []
    private var counts: [String: Int] = [:]

    public static let samplesAReason = 5
    public static let maximumReasons = 50
    /// Octets of a sample's text.
    public static let maximumText = 200

    private enum CodingKeys: String, CodingKey {
        case count, reasons, samples
    }

    public init() {}

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        count = try container.decode(Int.self, forKey: .count)
        samples = try container.decode([Sample].self, forKey: .samples)
        for reason in try container.decode([Reason].self, forKey: .reasons) { counts[reason.reason] = reason.count }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(count, forKey: .count)
        try container.encode(reasons, forKey: .reasons)
        try container.encode(samples, forKey: .samples)
    }

    mutating func add(_ reason: String, file: String, line: Int, text: @autoclosure () -> String) {
        count += 1
        let reason = counts[reason] != nil || counts.count < Self.maximumReasons - 1 ? reason : "other reasons"
        let before = counts[reason, default: 0]
        counts[reason] = before + 1
        if before < Self.samplesAReason { samples.append(Sample(file: file, line: line, reason: reason, text: text())) }
    }
}

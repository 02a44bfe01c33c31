import PosternCore

/// A decision as people read it later: kept for some days, found by reference, address, sender or recipient.
public struct DecisionRecord: Equatable, Sendable {
    public var reference: Reference
    /// By the wall clock.
    public var time: WallTime
    /// The name of the listener that asked.
    public var listener: String
    /// Shared with whoever asked.
    private var shared: SharedAttempt
    public var verdict: Verdict
    /// The triplets that the decision was about; what waits is found by them.
    public var triplets: [TripletKey]

    public init(reference: Reference, time: WallTime, listener: String, attempt: Attempt, verdict: Verdict, triplets: [TripletKey]) {
        self.init(
            reference: reference, time: time, listener: listener, attempt: SharedAttempt(attempt), verdict: verdict, triplets: triplets)
    }

    public init(
        reference: Reference, time: WallTime, listener: String, attempt: SharedAttempt, verdict: consuming Verdict, triplets: [TripletKey]
    ) {
        self.reference = reference
        self.time = time
        self.listener = listener
        shared = attempt
        self.verdict = verdict
        self.triplets = triplets
    }

    public var attempt: Attempt {
        _read { yield shared.value }
        set { shared = SharedAttempt(newValue) }
    }
}

/// Names one decision in a reply and in the log: time and a counter, so that references sort by time.
public struct Reference: Hashable, Comparable, Sendable {
    /// Milliseconds since the epoch in the upper bits, twelve bits of a counter below.
    public let value: Int64

    public init(value: Int64) {
        self.value = value
    }

    public init(time: WallTime, counter: UInt16) {
        value = max(time.milliseconds, 0) << 12 | Int64(counter & 0xfff)
    }

    public static func < (a: Reference, b: Reference) -> Bool { a.value < b.value }
}

extension Reference: LosslessStringConvertible {
    // Crockford's base 32: no I, L, O or U to be misread.
    private static let alphabet: StaticString = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

    /// Eleven characters or so, such as `1K4X0M7Q0A0`.
    public var description: String {
        String(octets: Self.longestText) { write(to: &$0) }
    }

    /// Reads what `description` prints, in either case.
    public init?(_ description: String) {
        var value: UInt64 = 0
        guard (1...13).contains(description.utf8.count) else { return nil }
        for byte in description.utf8 {
            let upper = byte >= UInt8(ascii: "a") && byte <= UInt8(ascii: "z") ? byte & 0xdf : byte
            guard let digit = (0..<32).first(where: { Self.alphabet.utf8Start[$0] == upper }), value >> 59 == 0 else { return nil }
            value = value << 5 | UInt64(digit)
        }
        self.init(value: Int64(bitPattern: value))
    }
}

extension Reference: TextWritable {
    public static let longestText = 13

    /// The same as `description`.
    public func write(to text: inout TextWriter) {
        let value = UInt64(bitPattern: value)
        let count = max((64 - value.leadingZeroBitCount + 4) / 5, 1)
        for place in 1...count {
            text.add(Self.alphabet.utf8Start[Int(truncatingIfNeeded: value &>> UInt64(5 &* (count &- place)) & 31)])
        }
    }
}

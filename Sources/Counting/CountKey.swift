import PosternCore

/// What is counted.
public enum CountUnit: UInt8, CaseIterable, Sendable {
    /// Recipients that were asked about, whatever the answer was: charged when made.
    case attempts = 1
    /// Messages that were accepted.
    case messages = 2
    /// Recipients of accepted messages.
    case recipients = 3
    /// Size of accepted messages, in units of 1024 octets, rounded up.
    case kibibytes = 4
    /// Recipients that were accepted and never written to before.
    case newRecipients = 5
    /// Log-ins that failed.
    case failures = 6
    /// Recipients that were refused for good.
    case refusals = 7
    /// Addresses, of all that an account comes from, that it did not come from before.
    case newAddresses = 8
}

/// Whose count it is: a block, and who in it. Rows are kept by block, so that a block's total comes free.
public struct CountKey: Hashable, Sendable {
    public var block: UInt64
    public var member: UInt16

    public init(block: UInt64, member: UInt16) {
        self.block = block
        self.member = member
    }

    /// One word of both: dictionaries hash with a secret of their own, and that is dear by the word.
    public func hash(into hasher: inout Hasher) { hasher.combine(block &+ UInt64(member) &* 0x9e37_79b9_7f4a_7c15) }

    /// An IPv4 address in its /24; an IPv6 /64 in its /48: who has one address of a /64 has all.
    public init(_ address: IPAddress) {
        switch address.family {
        case .v4: self.init(block: 4 << 56 | address.low >> 8, member: UInt16(address.low & 0xff))
        case .v6: self.init(block: 6 << 56 | address.high >> 16, member: UInt16(address.high & 0xffff))
        }
    }

    /// A name: hashed with a secret, so that nobody can aim at another's count; a block of its own.
    public init(_ name: String, hash: SipHash) {
        var name = name
        self.init(block: name.withUTF8 { hash.hash(UnsafeRawBufferPointer($0)) }, member: 0)
    }
}

/// One count of a table: of a unit, over a window.
public struct CountColumn: Hashable, Sendable {
    public var unit: CountUnit
    /// `windows`.
    public var window: WallTime.Span
    /// Where it matters: from an eighth of it on, who comes near is followed step by step.
    public var limit: UInt32

    /// To a month. Shorter ones than 100 ms say nothing that a session's own bounds do not.
    public static let windows = WallTime.Span.milliseconds(100) ... .days(31)

    public init(_ unit: CountUnit, per window: WallTime.Span, limit: UInt32) {
        self.unit = unit
        self.window = min(max(window, Self.windows.lowerBound), Self.windows.upperBound)
        self.limit = limit
    }

    /// Which window a moment falls in. Numbers are kept in 32 bits and go round, after 13 years where windows are of 100 ms: they are
    /// compared by `age` alone.
    func epoch(at now: WallTime) -> UInt32 { UInt32(truncatingIfNeeded: max(now.milliseconds, 0) / window.milliseconds) }

    /// How many windows ago one was, by their numbers; below 0 where it is yet to come. As RFC 1982 §3.2 compares serial numbers.
    @inline(__always)
    static func age(of epoch: UInt32, at now: UInt32) -> Int32 { Int32(bitPattern: now &- epoch) }
}

/// A moment by the wall clock, in milliseconds since the Unix epoch.
///
/// Stores keep wall time, since it outlives a process; what the engine is given as "now" has passed through a
/// `SteadyClock`, so that a clock that is set forward or back neither releases nor traps anyone.
/// Arithmetic stops at the ends of the range: a damaged row or a clock gone wild is a wrong answer, never a crash.
public struct WallTime: Hashable, Comparable, Sendable {
    public var milliseconds: Int64

    public init(milliseconds: Int64) {
        self.milliseconds = milliseconds
    }

    public init(seconds: Int64) {
        self.milliseconds = seconds.timesBounded(1000)
    }

    public static func < (a: WallTime, b: WallTime) -> Bool { a.milliseconds < b.milliseconds }

    public static func + (time: WallTime, span: Span) -> WallTime {
        WallTime(milliseconds: time.milliseconds.plusBounded(span.milliseconds))
    }
    public static func - (time: WallTime, span: Span) -> WallTime {
        WallTime(milliseconds: time.milliseconds.minusBounded(span.milliseconds))
    }
    public static func - (a: WallTime, b: WallTime) -> Span { Span(milliseconds: a.milliseconds.minusBounded(b.milliseconds)) }
}

extension WallTime {
    /// A length of time in whole milliseconds; may be negative.
    ///
    /// The standard library's `Duration` is 128 bits wide and as fine as attoseconds; rows and settings need neither.
    public struct Span: Hashable, Comparable, Sendable {
        public var milliseconds: Int64

        public init(milliseconds: Int64) {
            self.milliseconds = milliseconds
        }

        public static let zero = Span(milliseconds: 0)
        public static func milliseconds(_ n: Int64) -> Span { Span(milliseconds: n) }
        public static func seconds(_ n: Int64) -> Span { Span(milliseconds: n.timesBounded(1000)) }
        public static func minutes(_ n: Int64) -> Span { Span(milliseconds: n.timesBounded(60_000)) }
        public static func hours(_ n: Int64) -> Span { Span(milliseconds: n.timesBounded(3_600_000)) }
        public static func days(_ n: Int64) -> Span { Span(milliseconds: n.timesBounded(86_400_000)) }

        public static func < (a: Span, b: Span) -> Bool { a.milliseconds < b.milliseconds }
        public static func + (a: Span, b: Span) -> Span { Span(milliseconds: a.milliseconds.plusBounded(b.milliseconds)) }
        public static func - (a: Span, b: Span) -> Span { Span(milliseconds: a.milliseconds.minusBounded(b.milliseconds)) }
        public static prefix func - (a: Span) -> Span { .zero - a }

        /// Whole seconds, rounded up: what a reply tells a client to wait.
        public var secondsRoundedUp: Int64 { milliseconds <= 0 ? 0 : (milliseconds - 1) / 1000 + 1 }
    }
}

extension WallTime.Span {
    /// The longest span a setting may name: ten years. Anything longer is a slip of the pen.
    public static let longestSetting = WallTime.Span.days(3653)

    /// Reads `250ms`, `2s`, `3m`, `24h` or `36d`: a whole number and a unit, nothing else. `nil` for anything else,
    /// and for more than ten years.
    public init?(_ text: some StringProtocol) {
        var value: Int64 = 0
        var digits = 0
        var unit = ""
        for character in text.utf8 {
            if unit.isEmpty, character >= UInt8(ascii: "0"), character <= UInt8(ascii: "9") {
                let (product, overflow) = value.multipliedReportingOverflow(by: 10)
                guard !overflow, digits < 15 else { return nil }
                value = product + Int64(character - UInt8(ascii: "0"))
                digits += 1
            } else {
                unit.unicodeScalars.append(Unicode.Scalar(character))
            }
        }
        guard digits > 0 else { return nil }
        let factor: Int64
        switch unit {
        case "ms": factor = 1
        case "s": factor = 1000
        case "m": factor = 60_000
        case "h": factor = 3_600_000
        case "d": factor = 86_400_000
        default: return nil
        }
        let (milliseconds, overflow) = value.multipliedReportingOverflow(by: factor)
        guard !overflow, milliseconds <= Self.longestSetting.milliseconds else { return nil }
        self.init(milliseconds: milliseconds)
    }
}

extension WallTime.Span: CustomStringConvertible {
    /// The shortest spelling that the initializer reads back to the same span: `3m`, `90s`, `250ms`.
    public var description: String {
        guard milliseconds != 0 else { return "0s" }
        for (factor, unit) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")] as [(Int64, String)]
        where milliseconds % factor == 0 {
            return "\(milliseconds / factor)\(unit)"
        }
        return "\(milliseconds)ms"
    }

    /// For people: rounded up to what matters, such as `3 min`, `1 h 20 min`, `45 s`. For what is still to come: whoever waits that
    /// long has waited long enough.
    public var spoken: String { Self.spoken(secondsRoundedUp) { ($0 + $1 - 1) / $1 } }

    /// The same of what has gone by, rounded down: who was here `3 min` has not been less.
    public var spokenElapsed: String { Self.spoken(max(milliseconds, 0) / 1000) { $0 / $1 } }

    private static func spoken(_ seconds: Int64, in units: (_ seconds: Int64, _ unit: Int64) -> Int64) -> String {
        switch seconds {
        case ..<120: return "\(seconds) s"
        case ..<7200: return "\(units(seconds, 60)) min"
        case ..<172_800:
            let minutes = units(seconds, 60)
            return minutes % 60 == 0 ? "\(minutes / 60) h" : "\(minutes / 60) h \(minutes % 60) min"
        default: return "\(units(seconds, 86_400)) d"
        }
    }
}

extension WallTime: CustomStringConvertible {
    /// RFC 3339 in UTC with milliseconds, such as `2026-11-20T08:15:30.250Z`; outside the years 0 to 9999, which that
    /// RFC does not know, with a sign or more digits.
    public var description: String { String(octets: Self.longestText) { write(to: &$0) } }
}

extension WallTime: TextWritable {
    /// The same as `description`.
    public func write(to text: inout TextWriter) {
        let days = milliseconds.floorDivided(by: 86_400_000)
        let rest = (milliseconds % 86_400_000 + 86_400_000) % 86_400_000
        // Days to a civil date, after Howard Hinnant, "chrono-compatible low-level date algorithms".
        let z = days + 719_468
        let era = z.floorDivided(by: 146_097)
        let dayOfEra = z - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shifted = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * shifted + 2) / 5 + 1
        let month = shifted < 10 ? shifted + 3 : shifted - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        let seconds = rest / 1000
        text.add(decimal: year, width: 4)
        @inline(__always) func add(_ mark: Unicode.Scalar, _ number: Int64, digits: Int = 2) {
            text.add(UInt8(ascii: mark))
            text.add(UInt64(number), digits: digits)
        }
        add("-", month)
        add("-", day)
        add("T", seconds / 3600)
        add(":", seconds / 60 % 60)
        add(":", seconds % 60)
        add(".", rest % 1000, digits: 3)
        text.add(UInt8(ascii: "Z"))
    }

    /// The year of the last moment there is has nine digits.
    public static let longestText = 32
}

extension Int64 {
    /// Division that rounds towards minus infinity, as calendar arithmetic needs before 1970.
    fileprivate func floorDivided(by divisor: Int64) -> Int64 {
        let quotient = self / divisor
        return self % divisor < 0 ? quotient - 1 : quotient
    }

    fileprivate func plusBounded(_ other: Int64) -> Int64 {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? (other < 0 ? .min : .max) : sum
    }

    fileprivate func minusBounded(_ other: Int64) -> Int64 {
        let (difference, overflow) = subtractingReportingOverflow(other)
        return overflow ? (other < 0 ? .max : .min) : difference
    }

    fileprivate func timesBounded(_ factor: Int64) -> Int64 {
        let (product, overflow) = multipliedReportingOverflow(by: factor)
        return overflow ? ((self < 0) == (factor < 0) ? .max : .min) : product
    }
}

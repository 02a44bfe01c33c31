import PosternCore

extension Configuration {
    /// What a listener with role `trap` does.
    public struct Trap: Equatable, Sendable {
        public enum Mode: String, CaseIterable, Sendable {
            /// Holds a client for as long as it will stay. Never learns whom it writes to.
            case tarpit
            /// Converses, and answers 451 to each recipient.
            case deferRecipients = "defer-rcpt"
            /// Converses, and answers 451 to DATA.
            case deferData = "defer-data"
            /// Takes everything, and throws it away unread.
            case sink
        }

        public var mode: Mode
        /// Between two octets of a tarpit's reply to HELO.
        public var pace = WallTime.Span.seconds(5)
        /// Between two octets of a tarpit's greeting.
        public var greetingPace = WallTime.Span.seconds(1)
        /// How long a tarpit holds a client that is not listed; how long a session with a fake MX or a sink may take.
        public var hold = WallTime.Span.minutes(10)
        /// Clients at once.
        public var capacity = 10_000

        public static let paceRange = WallTime.Span.milliseconds(1) ... .minutes(5)
        public static let holdRange = WallTime.Span.milliseconds(100) ... .days(30)
        public static let capacityRange = 1...10_000_000

        public init(mode: Mode) {
            self.mode = mode
        }
    }
}

// MARK: - Reading

extension ConfigurationLoader {
    /// Keys of a listener that only a trap has, besides `mode`.
    static let trapKeys = ["pace", "greeting_pace", "hold", "capacity"]

    /// Reads a trap's keys from its listener; `nil` where they are wrong, which is reported, or the role is another.
    func trap(_ mapping: Mapping, role: Configuration.Role, mode modeValue: Value?) -> Configuration.Trap? {
        var values: [String: Value] = [:]
        for key in Self.trapKeys { values[key] = mapping.take(key) }
        guard role == .trap else {
            for key in Self.trapKeys { values[key]?.conflict("'\(key)' belongs to a listener with role trap") }
            return nil
        }
        guard let modeValue else {
            report.error(mapping.mark, "a trap has no mode; write mode: tarpit, defer-rcpt, defer-data or sink")
            return nil
        }
        guard let mode = modeValue.choice(Configuration.Trap.Mode.self) else { return nil }
        if mode != .tarpit {
            for key in ["pace", "greeting_pace"] { values[key]?.conflict("'\(key)' belongs to a trap with mode tarpit") }
        }
        if mode == .sink { modeValue.warning("a sink takes mail and destroys it: use it for addresses that exist for nothing else") }
        var trap = Configuration.Trap(mode: mode)
        if let pace = values["pace"]?.duration(Configuration.Trap.paceRange) { trap.pace = pace }
        if let pace = values["greeting_pace"]?.duration(Configuration.Trap.paceRange) { trap.greetingPace = pace }
        if let hold = values["hold"]?.duration(Configuration.Trap.holdRange) { trap.hold = hold }
        if let capacity = values["capacity"]?.integer(Configuration.Trap.capacityRange) { trap.capacity = capacity }
        return trap
    }
}

// MARK: - Printing

extension Configuration.Trap {
    /// The listener's further lines in `config show`: key and value.
    var yaml: [(String, String)] {
        var lines = [("mode", mode.rawValue)]
        if mode == .tarpit { lines += [("pace", pace.description), ("greeting_pace", greetingPace.description)] }
        lines.append(("hold", hold.description))
        lines.append(("capacity", String(capacity)))
        return lines
    }
}

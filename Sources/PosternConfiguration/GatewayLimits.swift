import PosternCore

// What bounds a gateway's sessions, and how it treats its backends: numbers and durations, each with its range.

extension Configuration.Gateway {
    /// What one session may have of the gateway, and all of them together.
    public struct Limits: Equatable, Sendable {
        /// Open sessions.
        public var sessions = 20_000
        /// Octets of a message; 0 to leave it to the backend. RFC 5321 §4.5.3.1.7 demands 64 KiB.
        public var messageSize = 0
        /// Recipients of a message. RFC 5321 §4.5.3.1.8 demands 100.
        public var recipients = 1000
        /// Messages in a session.
        public var messages = 1000
        /// Commands in a session.
        public var commands = 10_000
        /// Commands of a session that the gateway itself refuses.
        public var errors = 20
        /// Lines of a session that are no command known to us.
        public var unknownCommands = 10
        /// Received fields of a message. RFC 5321 §6.3 wants at least 100.
        public var hops = 100
        /// Octets of a line of content with its CRLF; 0 for none. RFC 5321 §4.5.3.1.6 demands 1,000.
        public var textLine = 0
        /// Octets of a local part. RFC 5321 §4.5.3.1.1 demands 64.
        public var localPart = 256

        public init() {}
    }

    /// For how long the gateway waits. The first three wait for the client, the others for the backend.
    public struct Timeouts: Equatable, Sendable {
        /// RFC 5321 §4.5.3.2.7.
        public var command = WallTime.Span.minutes(5)
        /// RFC 5321 §4.5.3.2.5.
        public var content = WallTime.Span.minutes(3)
        public var session = WallTime.Span.hours(2)
        public var backendConnect = WallTime.Span.seconds(10)
        /// RFC 5321 §4.5.3.2.1.
        public var backendGreeting = WallTime.Span.minutes(5)
        /// RFC 5321 §4.5.3.2.2, §4.5.3.2.3.
        public var backendCommand = WallTime.Span.minutes(5)
        /// RFC 5321 §4.5.3.2.4.
        public var backendData = WallTime.Span.minutes(2)
        /// RFC 5321 §4.5.3.2.5.
        public var backendContent = WallTime.Span.minutes(3)
        /// RFC 5321 §4.5.3.2.6.
        public var backendEnd = WallTime.Span.minutes(10)

        public init() {}
    }

    /// When a backend is taken for ill.
    public struct Health: Equatable, Sendable {
        /// Failures in a row that take it out.
        public var failures = 3
        /// How long it stays out before it is tried again.
        public var retry = WallTime.Span.seconds(10)
        /// How often what it offers is learnt anew.
        public var refresh = WallTime.Span.minutes(5)
        /// For each answer when it is asked how it is, and for its greeting where another one can be tried.
        public var patience = WallTime.Span.seconds(15)

        public init() {}
    }

    /// Asking a backend beforehand whether it knows a mailbox.
    public struct Probe: Equatable, Sendable {
        public var isOn = true
        public var knownFor = WallTime.Span.hours(1)
        public var unknownFor = WallTime.Span.minutes(5)
        /// How long a client waits for the answer.
        public var patience = WallTime.Span.seconds(3)
        /// Connections for it on each core.
        public var connections = 2
        /// Mailboxes remembered.
        public var capacity = 10_000

        public init() {}
    }

    struct Number: Sendable {
        let key: String
        let path: WritableKeyPath<Configuration.Gateway, Int> & Sendable
        let range: ClosedRange<Int>
        /// Whether 0 is allowed too, for no limit.
        var orNone = false

        func read(_ value: Value) -> Int? {
            guard orNone else { return value.integer(range) }
            guard let number = value.integer(0...range.upperBound) else { return nil }
            guard number == 0 || range.contains(number) else {
                value.error("\(number) is out of range, \(range.lowerBound) to \(range.upperBound), or 0 for no limit")
                return nil
            }
            return number
        }
    }

    struct Duration: Sendable {
        let key: String
        let path: WritableKeyPath<Configuration.Gateway, WallTime.Span> & Sendable
        let range: ClosedRange<WallTime.Span>
    }

    static let numbers: [Number] = [
        Number(key: "max_sessions", path: \.limits.sessions, range: 1...1_000_000),
        Number(key: "max_message_size", path: \.limits.messageSize, range: 65_536...1_000_000_000_000, orNone: true),
        Number(key: "max_recipients", path: \.limits.recipients, range: 100...100_000),
        Number(key: "max_messages", path: \.limits.messages, range: 1...1_000_000),
        Number(key: "max_commands", path: \.limits.commands, range: 100...10_000_000),
        Number(key: "max_errors", path: \.limits.errors, range: 1...10_000),
        Number(key: "max_unknown_commands", path: \.limits.unknownCommands, range: 1...10_000),
        Number(key: "max_hops", path: \.limits.hops, range: 25...1000),
        Number(key: "max_text_line", path: \.limits.textLine, range: 1000...1_000_000_000, orNone: true),
        Number(key: "max_local_part", path: \.limits.localPart, range: 64...1024),
        Number(key: "backend_failures", path: \.health.failures, range: 1...1000),
        Number(key: "probe_connections", path: \.probe.connections, range: 1...100),
        Number(key: "probe_capacity", path: \.probe.capacity, range: 1...10_000_000),
    ]

    static let durations: [Duration] = [
        Duration(key: "command_timeout", path: \.timeouts.command, range: patience),
        Duration(key: "data_timeout", path: \.timeouts.content, range: patience),
        Duration(key: "session_timeout", path: \.timeouts.session, range: .milliseconds(1) ... .days(7)),
        Duration(key: "backend_connect_timeout", path: \.timeouts.backendConnect, range: .milliseconds(1) ... .minutes(2)),
        Duration(key: "backend_greeting_timeout", path: \.timeouts.backendGreeting, range: patience),
        Duration(key: "backend_command_timeout", path: \.timeouts.backendCommand, range: patience),
        Duration(key: "backend_data_timeout", path: \.timeouts.backendData, range: patience),
        Duration(key: "backend_content_timeout", path: \.timeouts.backendContent, range: patience),
        Duration(key: "backend_end_timeout", path: \.timeouts.backendEnd, range: patience),
        Duration(key: "backend_retry", path: \.health.retry, range: .milliseconds(1) ... .hours(1)),
        Duration(key: "backend_refresh", path: \.health.refresh, range: .milliseconds(1) ... .days(1)),
        Duration(key: "backend_health_timeout", path: \.health.patience, range: .milliseconds(1) ... .minutes(5)),
        Duration(key: "probe_known_for", path: \.probe.knownFor, range: .zero ... .days(30)),
        Duration(key: "probe_unknown_for", path: \.probe.unknownFor, range: .zero ... .days(1)),
        Duration(key: "probe_patience", path: \.probe.patience, range: .milliseconds(1) ... .minutes(1)),
    ]

    private static let patience = WallTime.Span.milliseconds(1)...WallTime.Span.hours(1)
}

extension ConfigurationLoader {
    /// Below these a slow but honest peer is cut off, and its mail comes late or twice (RFC 5321 §4.5.3.2).
    private static let longEnough: [(key: String, span: WallTime.Span)] = [
        ("command_timeout", .minutes(5)), ("data_timeout", .minutes(3)), ("backend_end_timeout", .minutes(10)),
    ]

    func warnOfShortPatience(_ gateway: Configuration.Gateway, _ values: [String: Value]) {
        for (key, span) in Self.longEnough {
            guard let value = values[key], let setting = Configuration.Gateway.durations.first(where: { $0.key == key }),
                gateway[keyPath: setting.path] < span
            else { continue }
            value.warning("RFC 5321 asks for at least \(span) here; with less, slow but honest peers are cut off")
        }
    }
}

extension Value {
    /// Printable ASCII that fits a reply, or a greeting, beside our name (RFC 5321 §4.2, §4.5.3.1.5).
    func replyText(_ wanted: String = "a text") -> String? {
        guard let text = text(wanted) else { return nil }
        guard text.utf8.count <= 200, text.utf8.allSatisfy({ (0x20...0x7e).contains($0) }) else {
            error("is sent in replies, and may have at most 200 printable ASCII characters")
            return nil
        }
        return text
    }
}

import PosternCore
import PosternEngine
import SMTPProtocol

/// How a fake MX treats its clients.
public struct FakeMXSettings: Equatable, Sendable {
    public enum Mode: Equatable, Sendable {
        /// 451 in reply to each RCPT.
        case deferRecipients
        /// 451 in reply to DATA, so that no content is ever sent.
        case deferData
        /// Takes every message, and throws it away unread.
        case sink
    }

    public var mode: Mode
    /// Our name, in the greeting and in what a sender's admin reads.
    public var hostname: String
    /// Sessions at once; beyond that the oldest is let go.
    public var capacity = 10_000
    /// How long a session may take; then it is told 421.
    public var hold = WallTime.Span.minutes(10)
    /// Clients from here open with a PROXY header, and must.
    public var proxies = PrefixSet()

    /// Octets of a message that a sink takes.
    static let largestMessage: UInt64 = 52_428_800
    /// Commands in one session.
    static let mostCommands = 2000
    /// For the PROXY header to come.
    static let proxyTimeout = WallTime.Span.seconds(5)

    public init(mode: Mode, hostname: String) {
        self.mode = mode
        self.hostname = hostname
    }

    /// Where a false mail server says no, honest mail bounces: so it offers whatever keeps a sender from giving up of its own accord
    /// (RFC 1870 §6.1: no limit; RFC 6531 §3.5: a message that needs SMTPUTF8 goes nowhere else).
    var server: ServerSettings {
        var extensions = Extensions(pipelining: true, size: 0, eightBitMIME: true, smtpUTF8: true, dsn: true, enhancedStatusCodes: true)
        var content = ContentLimits()
        if mode == .sink {
            extensions.size = Self.largestMessage
            content.octets = Self.largestMessage
            // It goes nowhere: what might be taken for another end of the data, or go round in circles, does no harm.
            content.hops = 0
            content.refusesFlaws = false
        }
        return ServerSettings(
            hostname: hostname, extensions: extensions, synchronization: .report,
            limits: ServerLimits(
                content: content, commands: Self.mostCommands),
            timeouts: ServerTimeouts(session: min(max(hold, .seconds(1)), .days(1))))
    }
}

/// What a fake MX says.
struct FakeMXReplies {
    /// To RCPT, or DATA: for the admin of an honest server who reads it in a log.
    let deferral: Reply
    static let recipient = Reply(250, "2.1.5", "Ok")
    static let startInput = Reply(354, nil, "End data with <CR><LF>.<CR><LF>")
    static let taken = Reply(250, "2.0.0", "Ok")

    init(hostname: String, reference: Reference) {
        deferral = Reply(
            451, "4.7.1",
            "\(hostname) is a stand-in that takes no mail. Nothing is wrong with your message or your server: please try again, another mail exchanger of the domain takes it (\(reference))"
        )
    }
}

/// What one fake MX has done since it started.
public struct FakeMXTotals: Equatable, Sendable {
    /// RCPT and DATA commands that were answered 451.
    public var deferrals: UInt64 = 0
    /// Messages that a sink threw away.
    public var discarded: UInt64 = 0
    public var octetsDiscarded: UInt64 = 0
    /// Clients that were deferred and hung up without QUIT.
    public var hungUp: UInt64 = 0
    /// Sessions that ended since their time was up.
    public var timedOut: UInt64 = 0
    public var octetsSent: UInt64 = 0
    /// That all sessions took, in milliseconds.
    public var milliseconds: UInt64 = 0

    public init() {}
}

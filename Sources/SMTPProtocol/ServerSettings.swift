import PosternCore

/// How a server session behaves. One value serves all sessions of a listener.
public struct ServerSettings: Hashable, Sendable {
    /// What follows a client that sends on without waiting for a reply that must come first.
    public enum Synchronization: Hashable, Sendable {
        /// 554 5.5.0, and the session ends.
        case enforce
        /// It is reported as a violation, and the commands are answered in turn.
        case report
    }

    /// Our name in the greeting and in the replies to HELO and EHLO: a domain name.
    public var hostname: String
    /// What follows the name in the greeting.
    public var banner: String
    /// What EHLO offers. `xclient` is offered to this client as it stands here: leave it empty for strangers.
    public var extensions: Extensions
    /// Whether nothing is taken of who has not logged in (RFC 4954 §6, RFC 6409 §4.3).
    public var requiresAuthentication = false
    public var leniency: SyntaxLeniency
    public var framing: Framing
    public var synchronization: Synchronization
    public var limits: ServerLimits
    public var timeouts: ServerTimeouts
    /// The answer to XCLIENT where it is not offered.
    public var xclientRefusal = Reply.notPermitted

    public init(
        hostname: String, banner: String = "ESMTP", extensions: Extensions = Extensions(), leniency: SyntaxLeniency = SyntaxLeniency(),
        framing: Framing = .normalize, synchronization: Synchronization = .enforce, limits: ServerLimits = ServerLimits(),
        timeouts: ServerTimeouts = ServerTimeouts()
    ) {
        self.hostname = hostname
        self.banner = banner
        self.extensions = extensions
        self.leniency = leniency
        self.framing = framing
        self.synchronization = synchronization
        self.limits = limits
        self.timeouts = timeouts
    }
}

/// What a session may not exceed.
public struct ServerLimits: Hashable, Sendable {
    public var line: LineDecoder.Limits
    /// The limit on octets is the smaller of this and what the extensions offer.
    public var content: ContentLimits
    /// Recipients of one message. RFC 5321 §4.5.3.1.8 demands 100. The next is answered 452 4.5.3.
    public var recipients: Int
    /// Messages in one session. The next MAIL is answered 421.
    public var messages: Int
    /// Commands in one session, all counted. The next is answered 421.
    public var commands: Int
    /// Lines that were no command known to us, or not ended as a line is. The one that reaches it is answered 421.
    public var unknownCommands: Int
    /// Commands that were answered 4xx or 5xx by the machine itself. The one that reaches it is answered 421. It bounds as well how many
    /// recipients in a row may be refused for good, by whomever, to a client that has not logged in: the next RCPT is answered 421. One
    /// that is accepted or deferred begins that count anew, and behind one that was accepted no other of the message is counted.
    public var errors: Int
    /// Log-ins that were refused. The next AUTH is answered 421.
    public var failedLogIns = 5

    public init(
        line: LineDecoder.Limits = LineDecoder.Limits(), content: ContentLimits = ContentLimits(), recipients: Int = 1000,
        messages: Int = 1000, commands: Int = 10_000, unknownCommands: Int = 10, errors: Int = 20
    ) {
        precondition(recipients >= 100, "RFC 5321 §4.5.3.1.8 demands 100 recipients")
        precondition(messages > 0 && commands > 0 && unknownCommands > 0 && errors > 0, "a limit is at least 1")
        self.line = line
        self.content = content
        self.recipients = recipients
        self.messages = messages
        self.commands = commands
        self.unknownCommands = unknownCommands
        self.errors = errors
    }
}

/// How long the runtime waits before it fires a deadline.
public struct ServerTimeouts: Hashable, Sendable {
    /// RFC 5321 §4.5.3.2.7: at least 5 minutes for the next command.
    public var command: WallTime.Span
    /// For the next piece of content. RFC 5321 §4.5.3.2.5 gives clients 3 minutes.
    public var content: WallTime.Span
    /// For the TLS handshake.
    public var handshake: WallTime.Span
    /// For the whole session; postscreen's and Postfix's servers have none, which slow clients use.
    public var session: WallTime.Span

    public init(
        command: WallTime.Span = .minutes(5), content: WallTime.Span = .minutes(3), handshake: WallTime.Span = .minutes(1),
        session: WallTime.Span = .hours(2)
    ) {
        self.command = command
        self.content = content
        self.handshake = handshake
        self.session = session
    }

    public subscript(deadline: ServerDeadline) -> WallTime.Span {
        switch deadline {
        case .command: command
        case .content: content
        case .handshake: handshake
        }
    }
}

import PosternCore

/// How a backend session behaves.
public struct BackendSettings: Hashable, Sendable {
    /// By which way the backend learns who the client is.
    public enum ClientInformation: Hashable, Sendable, CaseIterable {
        /// The backend must offer XCLIENT with ADDR, or nothing is forwarded.
        case xclient
        /// A PROXY protocol v2 header opens the connection.
        case proxyV2
        /// Not at all. Safe only where the recipients' domains are checked by us.
        case none
    }

    public enum TLS: Hashable, Sendable, CaseIterable {
        case never
        /// Where the backend offers it.
        case opportunistic
        /// Or nothing is forwarded.
        case required
    }

    /// Our own name, for what we say as ourselves.
    public var hostname: String
    public var clientInformation: ClientInformation
    public var tls: TLS
    /// Whether content goes by BDAT where the backend offers CHUNKING and PIPELINING; else always by DATA.
    public var usesChunking: Bool
    /// Whether nothing is forwarded before the client has logged in.
    public var requiresLogIn = false
    public var replies: ReplyDecoder.Limits
    public var timeouts: BackendTimeouts

    public init(
        hostname: String, clientInformation: ClientInformation, tls: TLS = .never, usesChunking: Bool = false,
        replies: ReplyDecoder.Limits = ReplyDecoder.Limits(), timeouts: BackendTimeouts = BackendTimeouts()
    ) {
        self.hostname = hostname
        self.clientInformation = clientInformation
        self.tls = tls
        self.usesChunking = usesChunking
        self.replies = replies
        self.timeouts = timeouts
    }
}

/// The client timeouts of RFC 5321 §4.5.3.2.
public struct BackendTimeouts: Hashable, Sendable {
    /// §4.5.3.2.1: 5 minutes for the greeting.
    public var greeting: WallTime.Span
    /// §4.5.3.2.2 and .3: 5 minutes for any command.
    public var command: WallTime.Span
    /// §4.5.3.2.4: 2 minutes for the reply to DATA.
    public var dataStart: WallTime.Span
    /// §4.5.3.2.5: 3 minutes for a piece of content to be taken.
    public var content: WallTime.Span
    /// §4.5.3.2.6: 10 minutes for the reply to the end of the data.
    public var endOfData: WallTime.Span
    /// For the TLS handshake.
    public var handshake: WallTime.Span
    /// For the reply to QUIT.
    public var quit: WallTime.Span

    public init(
        greeting: WallTime.Span = .minutes(5), command: WallTime.Span = .minutes(5), dataStart: WallTime.Span = .minutes(2),
        content: WallTime.Span = .minutes(3), endOfData: WallTime.Span = .minutes(10), handshake: WallTime.Span = .minutes(1),
        quit: WallTime.Span = .seconds(10)
    ) {
        self.greeting = greeting
        self.command = command
        self.dataStart = dataStart
        self.content = content
        self.endOfData = endOfData
        self.handshake = handshake
        self.quit = quit
    }

    public subscript(deadline: BackendDeadline) -> WallTime.Span {
        switch deadline {
        case .greeting: greeting
        case .command: command
        case .dataStart: dataStart
        case .content: content
        case .endOfData: endOfData
        case .handshake: handshake
        case .quit: quit
        }
    }
}

/// What a backend session waits for from its server.
public enum BackendDeadline: Hashable, Sendable, CaseIterable {
    case greeting
    case command
    case dataStart
    case content
    case endOfData
    case handshake
    case quit
}

/// The client on whose behalf a backend connection is made.
public struct BackendClient: Hashable, Sendable {
    public var source: Endpoint
    /// The end of the client's connection on our side.
    public var destination: Endpoint
    /// The forward-confirmed name of `source`, or why there is none.
    public var name: XClientValue<String>
    /// Its name by reverse look-up alone; `nil` where nothing but `name` is known.
    public var reverseName: XClientValue<String>?
    public var helo: HeloName
    /// Whether it said EHLO.
    public var isExtended: Bool
    public var login: String?

    public init(
        source: Endpoint, destination: Endpoint, name: XClientValue<String> = .unavailable, reverseName: XClientValue<String>? = nil,
        helo: HeloName, isExtended: Bool, login: String? = nil
    ) {
        self.source = source
        self.destination = destination
        self.name = name
        self.reverseName = reverseName
        self.helo = helo
        self.isExtended = isExtended
        self.login = login
    }

    /// Where no reverse name is known it is told to be none: Postfix would keep ours, which its rules may trust.
    var attributes: XClientAttributes {
        XClientAttributes(
            name: Self.sendable(name), reverseName: Self.sendable(reverseName ?? name), address: .known(source.address),
            port: .known(source.port), proto: isExtended ? .esmtp : .smtp, helo: .known(helo.text),
            login: login.map(XClientValue.known) ?? .unavailable, destinationAddress: .known(destination.address),
            destinationPort: .known(destination.port))
    }

    /// Postfix refuses the whole command for a NAME that is no host's: letters, digits, hyphens and underscores, and not
    /// only digits.
    private static func sendable(_ name: XClientValue<String>) -> XClientValue<String> {
        guard case .known(let text) = name else { return name }
        let octets = Array(text.utf8)
        return PathSyntax.isDomain(octets[...], utf8: false, underscores: true) && octets.contains(where: Octet.isLetter)
            ? name : .unavailable
    }

    /// The argument of HELO or EHLO for the backend: what the client gave, as far as it is one word.
    var heloArgument: String {
        helo.text.split(separator: " ").first.map { String($0.prefix(PathSyntax.longestDomain)) } ?? "unknown"
    }
}

/// What the runtime does for a backend session, in order.
public enum BackendAction: Hashable, Sendable {
    /// Sends octets to the backend.
    case send([UInt8])
    /// Sends octets that nobody else shall see.
    case sendSecret(Secret)
    /// Sends a piece of content. Ranges refer to the input of the call that returned this.
    case forward(ContentPiece)
    /// Starts the TLS handshake as a client, and calls `tlsEstablished`.
    case startTLS
    /// The session is open; what the backend said to EHLO, `nil` where only HELO was said, for a client of HELO.
    indirect case ready(Extensions?)
    /// The answer to what was relayed; relays are answered in their order.
    case replied(Reply, to: BackendStep)
    /// The answer to `authenticate`.
    case authenticated(AuthenticationOutcome)
    /// Whether the backend takes mail for the mailbox that was probed.
    case probed(ProbeOutcome)
    /// The transaction was taken back, and the connection may be used again for the same client.
    case idle
    /// The connection is of no more use. Whatever is unanswered, or comes, is answered with the failure's reply.
    indirect case failed(BackendFailure)
    case deadline(BackendDeadline?)
    case close
}

/// What a reply answers.
public enum BackendStep: Hashable, Sendable {
    case recipient
    /// A recipient, where the transaction or the client was refused: nothing is said of the mailbox.
    case recipientInVain
    /// 354 when content may flow.
    case beginContent
    case endContent
}

public enum ProbeOutcome: Hashable, Sendable {
    case accepted(Reply)
    /// A 5xx to RCPT.
    case refused(Reply)
    /// A 4xx, or the null sender itself was refused: nothing was learnt.
    case inconclusive(Reply)
}

/// Why a backend connection is of no more use, and what the client is told: a 4xx, or the backend's own word where it
/// refused content before its end. What a backend says as it closes a connection in a transaction is handed on as 451.
public struct BackendFailure: Error, Hashable, Sendable {
    public enum Reason: Hashable, Sendable {
        /// No connection could be made; why not, in the system's words.
        case notConnected(String)
        /// The connection ended.
        case connectionLost
        case timedOut
        /// What came is no reply, or none that fits.
        case nonsense
        /// The backend greeted us with other than 220, or refused our own EHLO.
        case refusedUs(Reply)
        /// A refusal of what we say first ourselves that is about how it is said: the PROXY header, EHLO or HELO.
        case notUnderstood(Reply)
        /// 421: the backend closes the connection.
        case closing(Reply)
        /// XCLIENT was not offered, lacks ADDR, or was refused.
        case clientInformationNotNegotiated
        /// The client has not logged in, and must have.
        case notLoggedIn
        /// TLS is required and was not offered, or was refused.
        case tlsUnavailable
        /// The TLS handshake failed; why, in words.
        case handshakeFailed(String)
        /// Bytes followed the reply to STARTTLS in the clear.
        case plaintextAfterStartTLS
        /// Content was refused before its end.
        case contentRefused
    }

    public let reason: Reason
    public let reply: Reply

    public init(_ reason: Reason, reply: Reply? = nil) {
        self.reason = reason
        self.reply = reply ?? Self.reply(to: reason)
    }

    private static func reply(to reason: Reason) -> Reply {
        switch reason {
        case .connectionLost: .backendLost
        case .timedOut: .backendTimedOut
        case .nonsense, .contentRefused: .backendNonsense
        case .notConnected, .refusedUs, .notUnderstood, .closing, .notLoggedIn, .tlsUnavailable, .handshakeFailed, .plaintextAfterStartTLS:
            .backendUnavailable
        case .clientInformationNotNegotiated: .clientInformationNotNegotiated
        }
    }
}

import PosternCore

/// A command of a client, parsed (RFC 5321 §4.1.1 and the extensions).
public enum Command: Hashable, Sendable {
    case helo(HeloName)
    case ehlo(HeloName)
    case mail(MailCommand)
    case recipient(RecipientCommand)
    case data
    /// RFC 3030 §2.
    case chunk(size: UInt64, last: Bool)
    case reset
    case noop
    case quit
    /// RFC 3207 §4.
    case startTLS
    case verify(String)
    case expand(String)
    case help(String?)
    /// RFC 1985.
    case etrn(String)
    /// RFC 4954 §4; the initial response is not decoded.
    case authenticate(mechanism: String, initialResponse: Secret?)
    /// Postfix XCLIENT_README.
    indirect case xclient(XClientAttributes)

    public var verb: Verb {
        switch self {
        case .helo: .helo
        case .ehlo: .ehlo
        case .mail: .mail
        case .recipient: .rcpt
        case .data: .data
        case .chunk: .bdat
        case .reset: .rset
        case .noop: .noop
        case .quit: .quit
        case .startTLS: .starttls
        case .verify: .vrfy
        case .expand: .expn
        case .help: .help
        case .etrn: .etrn
        case .authenticate: .auth
        case .xclient: .xclient
        }
    }
}

/// The verbs that are known.
public enum Verb: String, Hashable, Sendable, CaseIterable {
    case helo = "HELO"
    case ehlo = "EHLO"
    case mail = "MAIL"
    case rcpt = "RCPT"
    case data = "DATA"
    case bdat = "BDAT"
    case rset = "RSET"
    case noop = "NOOP"
    case quit = "QUIT"
    case vrfy = "VRFY"
    case expn = "EXPN"
    case help = "HELP"
    case etrn = "ETRN"
    case auth = "AUTH"
    case starttls = "STARTTLS"
    case xclient = "XCLIENT"

    private static let packed: [(name: UInt64, count: Int, verb: Verb)] = allCases.map {
        (pack($0.rawValue.utf8), $0.rawValue.utf8.count, $0)
    }

    /// At most 8 octets, letters in upper case, in one word.
    private static func pack(_ octets: some Sequence<UInt8>) -> UInt64 {
        octets.reduce(0) { $0 << 8 | UInt64(Octet.isLetter($1) ? $1 & 0xdf : $1) }
    }

    /// In either case (RFC 5321 §2.4). `nil` for a verb that is not known.
    init?(_ octets: ArraySlice<UInt8>) {
        guard octets.count >= 4, octets.count <= 8 else { return nil }
        let name = Self.pack(octets)
        guard let known = Self.packed.first(where: { $0.name == name && $0.count == octets.count }) else { return nil }
        self = known.verb
    }

    /// Whether no command may be sent behind it before its reply has come (RFC 2920 §3.1, RFC 4954 §4).
    public var endsGroup: Bool {
        switch self {
        case .helo, .ehlo, .data, .auth, .noop, .vrfy, .expn, .quit, .starttls: true
        case .mail, .rcpt, .bdat, .rset, .help, .etrn, .xclient: false
        }
    }
}

/// The argument of HELO or EHLO, which many clients get wrong.
public struct HeloName: Hashable, Sendable {
    public typealias Form = HeloSyntax.Form

    /// As it came, without white space around it; ASCII.
    public let text: String
    public let form: Form

    /// Whether RFC 5321 §4.1.1.1 allows it.
    public var isValid: Bool { form.isValid }

    public init(_ text: String) {
        self.text = text
        self.form = HeloSyntax.form(of: text)
    }
}

/// MAIL with its parameters (RFC 5321 §4.1.1.2). A class, since it goes from hand to hand: each step costs one reference.
public final class MailCommand: Sendable {
    public let reversePath: ReversePath
    /// The mailbox as it came, without brackets and source route: what goes on to a backend. Empty for the null path.
    public let wirePath: String
    /// SIZE, in octets (RFC 1870 §3).
    public let size: UInt64?
    public let body: Body?
    /// RFC 6531 §3.1.
    public let isSMTPUTF8: Bool
    /// RET (RFC 3461 §4.3).
    public let returnedContent: ReturnedContent?
    /// ENVID as it came, in xtext (RFC 3461 §4.4).
    public let envelopeID: String?
    /// AUTH as it came, in xtext, or `<>` (RFC 4954 §5).
    public let authenticatedAs: String?
    /// MT-PRIORITY, -9...9 (RFC 6710 §3).
    public let priority: Int?

    /// RFC 6152 §3, RFC 3030 §3.
    public enum Body: String, Hashable, Sendable, CaseIterable {
        case sevenBit = "7BIT"
        case eightBitMIME = "8BITMIME"
        case binaryMIME = "BINARYMIME"
    }

    public enum ReturnedContent: String, Hashable, Sendable, CaseIterable {
        case full = "FULL"
        case headers = "HDRS"
    }

    public init(
        _ reversePath: consuming ReversePath, wirePath: consuming String? = nil, size: UInt64? = nil, body: Body? = nil,
        isSMTPUTF8: Bool = false, returnedContent: ReturnedContent? = nil, envelopeID: consuming String? = nil,
        authenticatedAs: consuming String? = nil, priority: Int? = nil
    ) {
        self.wirePath = wirePath ?? reversePath.description
        self.reversePath = reversePath
        self.size = size
        self.body = body
        self.isSMTPUTF8 = isSMTPUTF8
        self.returnedContent = returnedContent
        self.envelopeID = envelopeID
        self.authenticatedAs = authenticatedAs
        self.priority = priority
    }
}

extension MailCommand: Hashable {
    public static func == (a: MailCommand, b: MailCommand) -> Bool {
        a === b
            || a.wirePath == b.wirePath && a.reversePath == b.reversePath && a.size == b.size && a.body == b.body
                && a.isSMTPUTF8 == b.isSMTPUTF8 && a.returnedContent == b.returnedContent && a.envelopeID == b.envelopeID
                && a.authenticatedAs == b.authenticatedAs && a.priority == b.priority
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(reversePath)
        hasher.combine(wirePath)
        hasher.combine(size)
    }
}

/// RCPT with its parameters (RFC 5321 §4.1.1.3). A class, as MAIL is.
public final class RecipientCommand: Sendable {
    /// The domain is empty for `<postmaster>` (RFC 5321 §4.5.1).
    public let mailbox: Mailbox
    /// The mailbox as it came, without brackets and source route: what goes on to a backend.
    public let wirePath: String
    /// NOTIFY (RFC 3461 §4.1); `nil` when it was not given.
    public let notify: Notify?
    /// ORCPT as it came: address type, semicolon, xtext (RFC 3461 §4.2).
    public let originalRecipient: String?

    public enum Notify: Hashable, Sendable {
        case never
        case on(Events)
    }

    public struct Events: OptionSet, Hashable, Sendable {
        public let rawValue: UInt8
        public init(rawValue: UInt8) { self.rawValue = rawValue }

        public static let success = Events(rawValue: 1)
        public static let failure = Events(rawValue: 2)
        public static let delay = Events(rawValue: 4)
    }

    public init(
        _ mailbox: consuming Mailbox, wirePath: consuming String? = nil, notify: Notify? = nil,
        originalRecipient: consuming String? = nil
    ) {
        self.wirePath = wirePath ?? mailbox.description
        self.mailbox = mailbox
        self.notify = notify
        self.originalRecipient = originalRecipient
    }
}

extension RecipientCommand: Hashable {
    public static func == (a: RecipientCommand, b: RecipientCommand) -> Bool {
        a === b
            || a.wirePath == b.wirePath && a.mailbox == b.mailbox && a.notify == b.notify && a.originalRecipient == b.originalRecipient
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(mailbox)
        hasher.combine(wirePath)
    }
}

/// What is let through although the grammar forbids it. Each is reported as a violation all the same.
public struct SyntaxLeniency: Hashable, Sendable {
    /// `MAIL FROM:a@example.org`.
    public var unbracketedPaths: Bool
    /// `MAIL FROM: <a@example.org>`, `MAIL  FROM :<…>`.
    public var spacing: Bool
    /// HELO with something that is no name, as long as it is printable ASCII.
    public var heloSyntax: Bool
    /// `a..b@example.org`, `.a@example.org`, `a.@example.org`: carriers in Japan have given out such mailboxes by the million.
    public var dots: Bool
    /// A mailbox without a domain other than `postmaster`.
    public var unqualifiedPaths: Bool
    /// Octets in a local part. RFC 5321 §4.5.3.1.1 sets 64, which bounce addresses of mailing lists pass: 256.
    public var localPart: Int

    public init(
        unbracketedPaths: Bool = true, spacing: Bool = true, heloSyntax: Bool = true, dots: Bool = true, unqualifiedPaths: Bool = false,
        localPart: Int = 256
    ) {
        self.unbracketedPaths = unbracketedPaths
        self.spacing = spacing
        self.heloSyntax = heloSyntax
        self.dots = dots
        self.unqualifiedPaths = unqualifiedPaths
        self.localPart = localPart
    }

    public static let strict = SyntaxLeniency(
        unbracketedPaths: false, spacing: false, heloSyntax: false, dots: false, unqualifiedPaths: false, localPart: 64)
}

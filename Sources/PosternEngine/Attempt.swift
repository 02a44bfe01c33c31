import PosternCore

/// The point of the SMTP conversation at which a verdict is asked for. Raw values are Postfix's `protocol_state`
/// names, where Postfix has one.
public enum Stage: String, CaseIterable, Sendable {
    case connect = "CONNECT"
    case ehlo = "EHLO"
    case helo = "HELO"
    case mail = "MAIL"
    case rcpt = "RCPT"
    case data = "DATA"
    case endOfMessage = "END-OF-MESSAGE"
    case vrfy = "VRFY"
    case etrn = "ETRN"
}

/// The host that is talking to us, as far as it is known.
public struct Client: Equatable, Sendable {
    /// `nil` where the front could not tell.
    public var address: IPAddress?
    /// The reverse name that was confirmed by a forward look-up; `nil` when there is none or it was not confirmed.
    public var confirmedName: DomainName?
    /// The name it gave in HELO or EHLO, as it came; empty before that.
    public var helo: String
    /// What the front found out of its reverse name, where it did.
    public var reverseName: Findings.ReverseName
}

// Initialisers of what is large stand beside the structs, not within: those within set one member after another, and the compiler
// (Swift 6.3) copies the whole in the end, with a count for every reference. These hand all to the memberwise one, which does not.
extension Client {
    public init(
        address: IPAddress?, confirmedName: consuming DomainName? = nil, reverseName: consuming Findings.ReverseName = .unknown,
        helo: consuming String = ""
    ) {
        self.init(address: address, confirmedName: confirmedName, helo: helo, reverseName: reverseName)
    }
}

/// One question to the engine: a client, what it has said of its envelope, and how far the conversation has come.
public struct Attempt: Equatable, Sendable {
    public var stage: Stage
    public var client: Client
    public var sender: ReversePath
    /// `nil` before RCPT, and after it where several recipients were accepted (as Postfix has it at DATA).
    public var recipient: Mailbox?
    /// Accepted recipients, known at DATA and later.
    public var recipientCount: Int
    /// Equal for all questions about one message; empty where the front has no such mark.
    public var instance: String
    /// The account, where the client has authenticated; `nil` otherwise.
    public var account: String?
    /// Octets; a claim of the client's before END-OF-MESSAGE, 0 when unknown.
    public var size: Int
    /// Whether the server that asks is short of processes (`stress=yes`), so that a delay would hurt.
    public var stressed: Bool
    /// Whether the front speaks with the client itself, and so can pause, answer slowly or hang up.
    public var isConversation: Bool
    /// Whether the front throttles strangers whatever the settings say.
    public var throttles: Bool
    /// What its counts mean for it, where it is past a limit.
    public var throttled: Throttled?
    /// What the client has done against the protocol so far, and how often.
    public var signals: [Check: Int]
    /// What our own harvest has listed the client as, where it has.
    public var harvested: ListColour?
}

extension Attempt {
    public init(
        stage: Stage, client: consuming Client, sender: consuming ReversePath = .null, recipient: consuming Mailbox? = nil,
        recipientCount: Int = 0, instance: consuming String = "", account: consuming String? = nil, size: Int = 0, stressed: Bool = false,
        isConversation: Bool = false, throttles: Bool = false, signals: consuming [Check: Int] = [:]
    ) {
        self.init(
            stage: stage, client: client, sender: sender, recipient: recipient, recipientCount: recipientCount, instance: instance,
            account: account, size: size, stressed: stressed, isConversation: isConversation, throttles: throttles, throttled: nil,
            signals: signals, harvested: nil)
    }
}

/// An attempt that is asked about: made once, then handed on from the engine to the store and to the record by one reference.
public final class SharedAttempt: Equatable, Sendable {
    public let value: Attempt

    public init(_ value: consuming Attempt) {
        self.value = value
    }

    public static func == (a: SharedAttempt, b: SharedAttempt) -> Bool { a === b || a.value == b.value }
}

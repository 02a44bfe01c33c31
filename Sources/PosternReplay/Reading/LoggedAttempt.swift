import PosternCore
import PosternEngine

/// What the server that wrote the log made of an attempt.
public enum LoggedOutcome: Equatable, Sendable {
    /// It took the message: the log shows no retry, since the sender needed none.
    case accepted
    /// It greylisted: the log shows the retry, where there was one.
    case deferred
    /// It turned the attempt away for another reason, for good or for now.
    case refused
}

/// What somebody said of a message.
public enum Label: String, CaseIterable, Sendable {
    case ham
    case spam
}

/// One attempt to deliver one message to one recipient, as it was made. A class, as it waits in several tables at once.
public final class LoggedAttempt: Sendable {
    public let time: WallTime
    public let client: Client
    public let sender: ReversePath
    public let recipient: Mailbox
    /// Equal for the recipients of one message; 0 where it is not known.
    public let message: UInt64
    /// This recipient's share of the message's octets; 0 where they are not known.
    public let bytes: Int
    public let outcome: LoggedOutcome
    public let label: Label?
    /// The account, where the client had authenticated.
    public let account: String?
    /// What the log tells of it beyond that. Kept apart, since most attempts have none and many wait.
    public var evidence: AttemptEvidence { kept?.evidence ?? Self.none }

    private final class Evidence: Sendable {
        let evidence: AttemptEvidence

        init(_ evidence: AttemptEvidence) {
            self.evidence = evidence
        }
    }

    private static let none = AttemptEvidence()
    private let kept: Evidence?

    public init(
        time: WallTime, client: Client, sender: ReversePath, recipient: Mailbox, message: UInt64 = 0, bytes: Int = 0,
        outcome: LoggedOutcome = .accepted, label: Label? = nil, account: String? = nil, evidence: AttemptEvidence = AttemptEvidence()
    ) {
        self.time = time
        self.client = client
        self.sender = sender
        self.recipient = recipient
        self.message = message
        self.bytes = bytes
        self.outcome = outcome
        self.label = label
        self.account = account
        kept = evidence.isEmpty ? nil : Evidence(evidence)
    }
}

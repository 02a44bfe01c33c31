/// What the runtime does for a server session, in order. Those with much to say hold it at arm's length, so that actions stay small.
public enum ServerAction: Hashable, Sendable {
    /// Sends a reply to the client.
    case write(Reply)
    /// Decides, at once or later, and calls `decided`.
    case ask(Question)
    /// Hands something to the backend and calls `backendReplied`, or `backendFailed`.
    case relay(Relay)
    /// Sends a piece of content to the backend. Ranges refer to the input of the call that returned this.
    case forward(ContentPiece)
    /// Gives up the content under way: the backend connection closes without the final dot.
    case abandonContent
    /// The transaction is over. Unless it completed or its content was abandoned, a backend that has seen it needs RSET.
    case endTransaction(TransactionEnd)
    /// Has somebody who knows passwords look at these, and calls `authenticated`.
    case authenticate(Credentials)
    /// Starts the TLS handshake once what was written has left, and calls `tlsEstablished`.
    case startTLS
    /// XCLIENT told who the client is. What was known of it is void.
    indirect case clientInformation(XClientAttributes)
    case violation(Violation)
    /// Starts the deadline anew; `nil` stops it: the runtime itself is being waited for.
    case deadline(ServerDeadline?)
    /// Closes the connection once what was written has left.
    case close
}

/// What a decision is asked about. At most one question is open at a time.
public enum Question: Hashable, Sendable {
    /// Before the greeting, or again after XCLIENT.
    case connect
    case helo(HeloName, extended: Bool)
    case mail(MailCommand)
    /// `count` recipients of this message were accepted before.
    case recipient(RecipientCommand, count: Int)
    /// Before the content: in reply to DATA, or before the first BDAT chunk is read.
    case content(recipients: Int)
}

/// The answer to a question. Delays and byte-by-byte replies are the runtime's: it decides late, and writes slowly.
public enum Decision: Hashable, Sendable {
    case accept
    /// A 4xx reply. At `connect` the session ends with it.
    case `defer`(Reply)
    /// A 5xx reply. At `connect` the session then answers 503 to all but QUIT (RFC 5321 §3.1).
    case reject(Reply)
    /// Ends the session, with a 421 reply or without a word.
    case drop(Reply?)
}

/// What goes to the backend. At most one is unanswered at a time.
public enum Relay: Hashable, Sendable {
    /// The reply is that to RCPT, or to a MAIL that was refused.
    case recipient(MailCommand, RecipientCommand)
    /// The reply is 354 when content may flow; anything else goes to the client.
    case beginContent
    /// The reply is the message's.
    case endContent
}

public enum TransactionEnd: Hashable, Sendable {
    /// The backend answered the message, one way or the other.
    case completed
    /// RSET, HELO, EHLO, QUIT, XCLIENT, or refused content.
    case reset
    /// The session ended in its middle.
    case aborted
}

/// What a session waits for from its client.
public enum ServerDeadline: Hashable, Sendable, CaseIterable {
    case command
    case content
    case handshake
}

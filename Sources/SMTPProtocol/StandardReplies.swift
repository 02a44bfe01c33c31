/// The replies that the machines give on their own. Wording is plain, and tells a client nothing of what lies behind.
extension Reply {
    public static let ok = Reply(250, "2.0.0", "Ok")
    static let senderAccepted = Reply(250, "2.1.0", "Ok")
    static let goodbye = Reply(221, "2.0.0", "Bye")
    /// RFC 5321 §3.5.3: it may say neither yes nor no.
    static let cannotVerify = Reply(252, "2.5.0", "Cannot verify the user, but will take mail for it")
    static let startInput = Reply(354, nil, "End data with <CR><LF>.<CR><LF>")
    static let readyForTLS = Reply(220, "2.0.0", "Ready to start TLS")

    static let notImplemented = Reply(502, "5.5.1", "Command not implemented")
    static let lineTooLong = Reply(500, "5.5.2", "Line too long")
    static let lineFlawed = Reply(500, "5.5.2", "Line has a bare carriage return, bare line feed or NUL")
    // RFC 4954 §4 and §6.
    static let emptyChallenge = Reply(code: 334, wire: Array("334 \r\n".utf8))
    /// "Username:" and "Password:" in base64.
    static let nameChallenge = Reply(334, nil, "VXNlcm5hbWU6")
    static let passwordChallenge = Reply(334, nil, "UGFzc3dvcmQ6")
    static let authenticationRequired = Reply(530, "5.7.0", "Authentication required")
    /// RFC 3207 §4.
    static let startTLSFirst = Reply(530, "5.7.0", "Must issue a STARTTLS command first")
    static let encryptionRequired = Reply(538, "5.7.11", "Encryption required for requested authentication mechanism")
    static let alreadyAuthenticated = Reply(503, "5.5.1", "Already authenticated")
    static let unknownMechanism = Reply(504, "5.5.4", "Unrecognized authentication type")
    static let undecodableResponse = Reply(501, "5.5.2", "Cannot decode the response")
    static let responseTooLong = Reply(500, "5.5.6", "Authentication exchange line is too long")
    static let authenticationCancelled = Reply(501, "5.7.0", "Authentication cancelled")
    static let notForAnother = Reply(535, "5.7.8", "Nobody may act for another here; leave the authorization identity empty")
    static let tooManyFailedLogIns = Reply(421, "4.7.0", "Too many failed log-ins, closing connection")
    static let logInLost = Reply(421, "4.4.2", "Mail system connection lost, please log in again")
    /// The backend cannot be asked, or makes no sense.
    public static let authenticationUnavailable = Reply(454, "4.7.0", "Temporary authentication failure")
    static let ehloFirst = Reply(503, "5.5.1", "Send EHLO first")

    static let heloFirst = Reply(503, "5.5.1", "Send HELO or EHLO first")
    static let mailFirst = Reply(503, "5.5.1", "Need MAIL first")
    static let recipientFirst = Reply(503, "5.5.1", "Need RCPT first")
    static let nestedMail = Reply(503, "5.5.1", "Nested MAIL")
    static let badSequence = Reply(503, "5.5.1", "Bad sequence of commands")
    static let noValidRecipients = Reply(554, "5.5.1", "No valid recipients")
    static let alreadySecured = Reply(503, "5.5.1", "TLS is active already")
    static let transactionInProgress = Reply(503, "5.5.1", "Mail transaction in progress")
    public static let notPermitted = Reply(550, "5.7.0", "Not permitted")
    static let outOfStep = Reply(554, "5.5.0", "SMTP protocol synchronization error")
    static let tooManyRecipients = Reply(452, "4.5.3", "Too many recipients")
    static let tooLarge = Reply(552, "5.3.4", "Message size exceeds the limit")
    static let refusedEarlier = Reply(503, "5.5.1", "Service refused; send QUIT")

    static let tooManyErrors = Reply(421, "4.7.0", "Too many errors, closing connection")
    static let tooManyRefused = Reply(421, "4.7.0", "Too many recipients refused, closing connection")
    static let tooManyCommands = Reply(421, "4.7.0", "Too many commands, closing connection")
    static let tooManyMessages = Reply(421, "4.7.0", "Too many messages in one session, closing connection")
    static let notSMTP = Reply(421, "4.7.0", "This is an SMTP port, closing connection")
    static let timedOut = Reply(421, "4.4.2", "Timeout, closing connection")
    static let overloaded = Reply(421, "4.3.2", "Too busy, closing connection")
    static let shuttingDown = Reply(421, "4.3.2", "Shutting down, closing connection")

    /// No client information was negotiated with the backend: nothing may be forwarded.
    public static let clientInformationNotNegotiated = Reply(451, "4.3.0", "Mail system temporarily unavailable")
    /// The backend cannot be reached, was lost, or made no sense.
    public static let backendUnavailable = Reply(451, "4.4.1", "Mail system temporarily unavailable")
    /// The backend does not offer what the message asks for, although we had offered it.
    public static let notOfferedNow = Reply(451, "4.3.0", "Mail system does not offer now what the message asks for; please try again")
    static let backendLost = Reply(451, "4.4.2", "Mail system connection lost")
    static let backendTimedOut = Reply(451, "4.4.2", "Mail system timed out")
    static let backendNonsense = Reply(451, "4.3.0", "Mail system error")
}

import PosternCore

/// Whose limits a question bears on.
public struct LimitSubject: Equatable, Sendable {
    public var address: IPAddress?
    /// The organisational domain that the client is known to belong to.
    public var identity: String?
    public var account: String?
    /// Where the address is registered, where that is known: for accounts.
    public var country: String?

    public init(address: IPAddress?, identity: String? = nil, account: String? = nil, country: String? = nil) {
        self.address = address
        self.identity = identity
        self.account = account?.foldedMailbox
        self.country = country
    }

    var accountDomain: String? {
        guard let account, let at = account.lastIndex(of: "@") else { return nil }
        return String(account[account.index(after: at)...])
    }
}

/// What is asked for now, on top of what is counted.
public struct LimitRequest: Equatable, Sendable {
    /// Of the message so far, with the one that is asked about.
    public var recipients = 1
    public var newRecipients = 0
    /// Of the message so far, those in `recipientDomain`, with the one that is asked about.
    public var recipientsOfDomain = 1
    /// Octets; a claim of the client's.
    public var size = 0
    public var recipientDomain: String?
    /// Nothing is left to be asked for: the content comes next.
    public var isWhole = false

    public init() {}
}

import Counting
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

/// By what somebody is counted.
extension LimitCounts {
    func key(_ table: Table, _ subject: LimitSubject, _ recipientDomain: String?) -> CountKey? {
        switch table {
        case .addresses: subject.address.map { CountKey($0) }
        case .identities: subject.identity.map { CountKey($0, hash: hash) }
        case .accounts: subject.account.map { CountKey($0, hash: hash) }
        case .accountDomains: subject.accountDomain.map { CountKey($0, hash: hash) }
        case .recipientDomains: recipientDomain.map { CountKey($0, hash: hash) }
        }
    }

    /// For people.
    func name(_ table: Table, _ subject: LimitSubject, _ recipientDomain: String?) -> String {
        let name: String? =
            switch table {
            case .addresses: subject.address?.description
            case .identities: subject.identity
            case .accounts: subject.account
            case .accountDomains: subject.accountDomain
            case .recipientDomains: recipientDomain
            }
        return name ?? ""
    }

    func kind(_ table: Table) -> Int? {
        let index = Self.index(table)
        return kinds[index].table.columns.isEmpty ? nil : index
    }

    func hashed(_ text: String) -> UInt64 { CountKey(text, hash: hash).block }

    /// By which a recipient is known again within its message; never 0.
    public func mark(of recipient: Mailbox) -> UInt64 { hashed(recipient.folded) | 1 }

    /// The network of an address, of an account's.
    func hashed(_ address: IPAddress) -> UInt64 {
        withUnsafeBytes(of: CountKey(address).block.littleEndian) { hash.hash($0) }
    }
}

extension CountKey {
    /// The address, or the /64, that it stands for; `nil` for a name.
    var network: Prefix? {
        switch block >> 56 {
        case 4: Prefix(IPAddress(v4: UInt32(truncatingIfNeeded: block << 8) | UInt32(member)), length: 32)
        case 6: Prefix(IPAddress(v6High: block << 16 | UInt64(member), low: 0), length: 64)
        default: nil
        }
    }
}

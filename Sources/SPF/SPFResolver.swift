import PosternCore

/// What the DNS says to one question.
public enum SPFAnswer<Record: Sendable>: Sendable {
    /// RCODE 0: the records of the type asked for, aliases followed; none where the name has none of that type.
    case records([Record])
    /// RCODE 3: there is no such name.
    case noSuchDomain
    /// Any other answer, no answer in time, or a chain of aliases that leads nowhere (RFC 7208 §4.4, §5).
    case temporaryFailure

    /// The records where there is an answer, empty for a name that does not exist; `nil` where there is none.
    var found: [Record]? {
        switch self {
        case .records(let records): records
        case .noSuchDomain: []
        case .temporaryFailure: nil
        }
    }
}

extension SPFAnswer: Equatable where Record: Equatable {}

/// Where a check gets its answers from. Names are absolute: no search list applies.
///
/// A check waits as long as an answer takes: a deadline is the resolver's to keep, by answering `temporaryFailure`
/// (RFC 7208 §4.6.4 wants a limit, and at least 20 seconds where only that decides). It asks one question at a time, at
/// most `SPFLimits.queries` of them.
public protocol SPFResolver: Sendable {
    /// TXT records. Each is the list of its character-strings.
    func texts(of name: QueryName) async -> SPFAnswer<[[UInt8]]>
    /// A records, or AAAA records.
    func addresses(of name: QueryName, family: IPAddress.Family) async -> SPFAnswer<IPAddress>
    /// The host names of MX records, in any order; empty or `.` for the null MX of RFC 7505.
    func mailExchangers(of name: QueryName) async -> SPFAnswer<String>
    /// The names of PTR records in in-addr.arpa or ip6.arpa. They need not be confirmed.
    func reverseNames(of address: IPAddress) async -> SPFAnswer<String>
}

/// What the accepted recipients of a message will cost once the message itself is accepted: new recipients, and what is counted for
/// their domains. Nothing of it where nobody counts those. Who they are is kept as keyed hashes.
public struct PendingRecipients: Equatable, Sendable {
    /// New recipients that are told apart; of those beyond it only the number is kept.
    public static let maximumNew = 1000
    /// Domains of one message; recipients of those beyond it are not counted for their domains.
    public static let maximumDomains = 100

    struct Domain: Equatable, Sendable {
        var key: UInt64
        var recipients: UInt32
    }

    /// What the last recipient added.
    private enum Added: Equatable, Sendable { case new, beyond }

    private(set) var new: [UInt64] = []
    private(set) var beyond: UInt32 = 0
    private(set) var domains: [Domain] = []
    /// The organisational domain that the client was known to belong to.
    public internal(set) var identity: String?
    private var lastNew: Added?
    private var lastDomain: UInt64?

    public init() {}

    public var newRecipients: Int { new.count + Int(beyond) }
    /// That it takes beyond itself.
    var octets: Int { new.count * 8 + domains.count * 16 + (identity?.utf8.count ?? 0) }

    func contains(new hash: UInt64) -> Bool { new.contains(hash) }
    func recipients(of domain: UInt64) -> Int { domains.first { $0.key == domain }.map { Int($0.recipients) } ?? 0 }

    mutating func add(domain key: UInt64) {
        lastDomain = key
        if let index = domains.firstIndex(where: { $0.key == key }) {
            if domains[index].recipients < .max { domains[index].recipients += 1 }
        } else if domains.count < Self.maximumDomains {
            domains.append(Domain(key: key, recipients: 1))
        }
    }

    /// Someone who was never written to; once, however often it is named.
    mutating func add(new hash: UInt64) {
        guard !new.contains(hash) else { return }
        if new.count < Self.maximumNew {
            new.append(hash)
            lastNew = .new
        } else if beyond < .max {
            beyond += 1
            lastNew = .beyond
        }
    }

    /// The mail server has taken the last recipient: the next one may be withdrawn.
    public mutating func confirm() {
        lastNew = nil
        lastDomain = nil
    }

    /// The mail server did not take the last recipient.
    public mutating func withdraw() {
        switch lastNew {
        case .new?: new.removeLast()
        case .beyond?: beyond -= 1
        case nil: break
        }
        if let lastDomain, let index = domains.firstIndex(where: { $0.key == lastDomain }) {
            domains[index].recipients -= 1
            if domains[index].recipients == 0 { domains.remove(at: index) }
        }
        confirm()
    }
}

import PosternCore
import PosternEngine

/// Organisational domains, with those lately asked for at hand.
struct SenderDomains {
    /// As many names are kept; above it all are forgotten.
    static let maximum = 100_000

    private let domains: any OrganisationalDomains
    private var known: [String: String?] = [:]

    init(_ domains: any OrganisationalDomains) {
        self.domains = domains
    }

    /// The organisational domain of a name; of a public suffix the name itself.
    mutating func domain(of name: DomainName) -> String? {
        if let found = known[name.text] { return found }
        if known.count >= Self.maximum { known.removeAll() }
        let found = domains.organisationalDomain(of: name)?.text
        known[name.text] = .some(found)
        return found
    }

    /// What a sender is counted under: its organisational domain, `<>` for the null sender.
    mutating func label(of sender: ReversePath) -> String {
        guard let mailbox = sender.mailbox else { return "<>" }
        guard let name = mailbox.domainName else { return mailbox.domain.isEmpty ? "(no domain)" : mailbox.domain }
        return domain(of: name) ?? name.text
    }

    /// The organisational domain of a client's confirmed name, where that is not a consumer's line.
    mutating func domain(of client: Client) -> String? {
        guard let name = client.confirmedName, let address = client.address, !GenericName.matches(name, address: address) else {
            return nil
        }
        return domain(of: name)
    }
}

import PosternCore
import PosternEngine

/// Organisational domains without a public suffix list: the last two labels.
public struct LastTwoLabels: OrganisationalDomains {
    public init() {}

    public func organisationalDomain(of name: DomainName) -> DomainName? {
        let labels = name.labels
        return labels.count < 2 ? nil : DomainName(labels.suffix(2).joined(separator: "."))
    }
}

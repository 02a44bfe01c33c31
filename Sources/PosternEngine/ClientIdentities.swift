import PosternCore

// Who a client is, for those who bring knowledge along from elsewhere.

extension Engine {
    public var organisationalDomains: any OrganisationalDomains { domains }

    /// The identities under which a client's triplets are kept, the most telling first; empty where its address is not known.
    public func identities(of client: Client) -> [Identity] {
        client.identities(widths: settings.greylist.widths, domains: domains)
    }

    /// Whether messages count towards proving a client's identities: not where its name is a consumer's line.
    public func mayBeProven(_ client: Client) -> Bool { !client.hasGenericName }

    /// Whoever SPF passes for in the name of this mailbox's domain; `nil` for a domain that is nobody's.
    public func spfIdentity(of mailbox: Mailbox) -> Identity? {
        mailbox.domainName?.asciiForm.flatMap { domains.organisationalDomain(of: $0) }.map(Identity.spfDomain)
    }
}

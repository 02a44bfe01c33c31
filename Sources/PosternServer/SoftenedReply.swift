import SMTPProtocol

extension Reply {
    /// The same, but put off where it would be refused for good: for a host that has no say in whether mail is wanted. A bounce from
    /// there would be one that the mail's proper host never had a chance to prevent.
    var softened: Reply {
        guard isPermanent else { return self }
        let enhanced = enhancedCode.map { EnhancedCode(4, $0.subject, $0.detail) } ?? "4.0.0"
        return Reply(451, enhanced, text)
    }
}

import PosternCore

/// RFC 7208: is this client authorised to use this name?
///
/// Nothing here reads or writes anything: answers come from the resolver, the time is an argument. A check ends after at
/// most `SPFLimits.queries` questions, whatever the records say.
public enum SPFCheck {
    /// Checks the MAIL FROM identity (RFC 7208 §2.4); for the null sender that is `postmaster` at the HELO name.
    ///
    /// - Parameters:
    ///   - address: of the client. An IPv4-mapped address is the IPv4 address (RFC 7208 §5).
    ///   - helo: what the client said in HELO or EHLO, as it came; empty where it has not said it.
    ///   - receiver: the name of this host, for `%{r}` and `Received-SPF`.
    ///   - time: for `%{t}`.
    public static func mailFrom(
        _ sender: ReversePath, helo: String, address: IPAddress, receiver: String, time: WallTime, settings: SPFSettings = SPFSettings(),
        resolver: some SPFResolver
    ) async -> SPFOutcome {
        let mailbox = sender.mailbox ?? Mailbox(localPart: "", domain: helo)
        return await check(
            SPFOutcome(
                result: .none, identity: .mailFrom, domain: domain(of: mailbox.domain), address: address, helo: helo, sender: sender,
                receiver: receiver), localPart: mailbox.localPart, time: time, settings: settings, resolver: resolver)
    }

    /// Checks the HELO identity (RFC 7208 §2.3).
    public static func helo(
        _ helo: String, address: IPAddress, receiver: String, time: WallTime, settings: SPFSettings = SPFSettings(),
        resolver: some SPFResolver
    ) async -> SPFOutcome {
        await check(
            SPFOutcome(
                result: .none, identity: .helo, domain: domain(of: helo), address: address, helo: helo, sender: .null, receiver: receiver),
            localPart: "", time: time, settings: settings, resolver: resolver)
    }

    /// RFC 7208 §4.3: a well-formed name of several labels, and no address. RFC 8616 §4: U-labels become A-labels first.
    private static func domain(of text: String) -> DomainName? {
        guard !text.utf8.starts(with: "[".utf8), IPAddress(text) == nil, let name = DomainName(text)?.asciiForm,
            let query = QueryName(name.text), query.hasSeveralLabels
        else { return nil }
        return name
    }

    private static func check(
        _ blank: SPFOutcome, localPart: String, time: WallTime, settings: SPFSettings, resolver: some SPFResolver
    ) async -> SPFOutcome {
        var outcome = blank
        guard let domain = blank.domain.flatMap({ QueryName($0.text) }) else { return outcome }
        // RFC 7208 §4.3: without a local part it is "postmaster".
        let localPart = localPart.isEmpty ? "postmaster" : localPart
        var evaluation = Evaluation(
            client: Evaluation.Client(
                address: blank.address, helo: Array(blank.helo.utf8), localPart: Array(localPart.utf8), domain: domain,
                receiver: Array(blank.receiver.utf8), time: time),
            settings: settings, resolver: resolver)
        do throws(SPFProblem) {
            let finding = try await evaluation.evaluate(domain)
            outcome.result = finding.result
            outcome.terms = finding.terms
            if finding.result == .pass { outcome.weakness = finding.weakness }
            if finding.result == .fail, settings.explains, let explanation = finding.explanation {
                outcome.explanation = await evaluation.explain(explanation.target, of: explanation.domain)
            }
        } catch {
            outcome.result = error.result
            outcome.problem = error
        }
        outcome.lookups = evaluation.lookups
        outcome.voidLookups = evaluation.voidLookups
        outcome.isOfThisMessageOnly = evaluation.isOfThisMessageOnly
        return outcome
    }
}

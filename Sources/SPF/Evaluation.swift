import PosternCore

/// One check under way: its arguments, and what it has spent.
struct Evaluation<Resolver: SPFResolver> {
    /// The arguments of check_host() (RFC 7208 §4.1) and what macros may ask for.
    struct Client: Sendable {
        var address: IPAddress
        var helo: [UInt8]
        var localPart: [UInt8]
        /// The sender's; stays the same in an include.
        var domain: QueryName
        var receiver: [UInt8]
        var time: WallTime
    }

    /// What the record of one domain says.
    struct Finding {
        var result: SPFResult
        var terms: [SPFOutcome.Term] = []
        var weakness: SPFWeakness?
        /// The `exp` modifier of the record that gave the result, and that record's domain.
        var explanation: (target: MacroString, domain: QueryName)?
    }

    private enum Match {
        case no
        case yes(SPFWeakness?)
        /// Through an `include`, by these terms of the other domain's record.
        case through([SPFOutcome.Term], SPFWeakness?)
    }

    enum ReverseNames {
        case notAsked
        case failed
        case known([QueryName])
    }

    let client: Client
    let settings: SPFSettings
    let resolver: Resolver
    private(set) var lookups = 0
    private(set) var voidLookups = 0
    var isOfThisMessageOnly = false
    /// The client's reverse names: asked for once, and which of them have been confirmed or refuted.
    var reverseNames = ReverseNames.notAsked
    var confirmed: [QueryName: Bool] = [:]

    init(client: Client, settings: SPFSettings, resolver: Resolver) {
        self.client = client
        self.settings = settings
        self.resolver = resolver
    }

    /// check_host() (RFC 7208 §4). It calls itself for includes and redirects, each of which spends a look-up, so the depth
    /// is bounded by `SPFLimits.lookups`.
    mutating func evaluate(_ domain: QueryName) async throws(SPFProblem) -> Finding {
        guard let octets = try await recordText(of: domain) else { return Finding(result: .none) }
        let record: SPFRecord
        do throws(SPFSyntaxError) {
            record = try SPFRecord(parsing: octets)
        } catch {
            throw .syntax(error, domain: domain.text)
        }
        let explanation = record.explanation.map { (target: $0, domain: domain) }
        for directive in record.directives {
            // Most terms are networks: they are compared without a suspension point.
            let match = if let local = matchWithoutQuestions(directive) { local } else { try await match(directive, in: domain) }
            var finding = Finding(result: directive.qualifier.result, explanation: explanation)
            switch match {
            case .no: continue
            case .yes(let weakness): finding.weakness = weakness
            case .through(let terms, let weakness): (finding.terms, finding.weakness) = (terms, weakness)
            }
            finding.terms.insert(SPFOutcome.Term(domain: domain.text, text: directive.text), at: 0)
            return finding
        }
        // RFC 7208 §4.7: nothing matched.
        guard let redirect = record.redirect else { return Finding(result: .neutral) }
        return try await follow(redirect, in: domain)
    }

    /// RFC 7208 §6.1: the other domain's result is ours, with its explanation or none.
    private mutating func follow(_ redirect: MacroString, in domain: QueryName) async throws(SPFProblem) -> Finding {
        try spendLookup()
        let target = try await target(redirect, in: domain)
        guard case .name(let name) = target else { throw .noRecord(target: target.text, term: "redirect", domain: domain.text) }
        var finding = try await evaluate(name)
        guard finding.result != .none else { throw .noRecord(target: name.text, term: "redirect", domain: domain.text) }
        if redirect.isNamedByClient { finding.weakness = .namedByClient }
        if !finding.terms.isEmpty {
            finding.terms.insert(SPFOutcome.Term(domain: domain.text, text: "redirect=\(name)".cut(to: SPFLimits.quotedOctets)), at: 0)
        }
        return finding
    }

    /// RFC 7208 §4.4, §4.5: the one record of a domain; `nil` where there is none.
    private func recordText(of domain: QueryName) async throws(SPFProblem) -> [UInt8]? {
        // RFC 7208 §4.3
        guard domain.hasSeveralLabels else { return nil }
        try refuseWhenCancelled(domain, "TXT")
        guard let texts = await resolver.texts(of: domain).found else { throw .temporaryFailure(name: domain.text, type: "TXT") }
        var found: [UInt8]?
        for strings in texts {
            // RFC 7208 §3.3: strings are joined without anything between them. One octet beyond the bound tells that it is.
            let text = strings.joined(upTo: SPFLimits.recordOctets + 1)
            guard SPFRecord.isRecord(text) else { continue }
            guard found == nil else { throw .severalRecords(domain: domain.text) }
            found = text
        }
        if let found, found.count > SPFLimits.recordOctets { throw .recordTooLong(domain: domain.text) }
        return found
    }

    // MARK: - Mechanisms

    /// RFC 7208 §5.1, §5.6; `nil` for a mechanism that asks the DNS.
    private func matchWithoutQuestions(_ directive: SPFDirective) -> Match? {
        switch directive.mechanism {
        case .all:
            return .yes(.all)
        case .ip4(let network):
            return network.contains(client.address) ? .yes(settings.weakness(ofLength: network.length, family: .v4)) : .no
        case .ip6(let network):
            guard let network, network.contains(client.address) else { return .no }
            return .yes(settings.weakness(ofLength: network.length, family: .v6))
        case .include, .a, .mx, .ptr, .exists:
            return nil
        }
    }

    private mutating func match(_ directive: SPFDirective, in domain: QueryName) async throws(SPFProblem) -> Match {
        switch directive.mechanism {
        case .all, .ip4, .ip6:
            return matchWithoutQuestions(directive) ?? .no
        case .include(let target):
            return try await matchInclude(target, directive, in: domain)
        case .a(let target, let lengths):
            try spendLookup()
            guard let name = try await name(target, in: domain) else { return .no }
            let found = try await addresses(of: name)
            if found.isEmpty { try noteVoid() }
            return verdict(found.contains { isClient($0, within: lengths) }, lengths, target)
        case .mx(let target, let lengths):
            try spendLookup()
            guard let name = try await name(target, in: domain) else { return .no }
            return verdict(try await matchesExchanger(of: name, within: lengths), lengths, target)
        case .ptr(let target):
            try spendLookup()
            guard let name = try await name(target, in: domain) else { return .no }
            return try await matchesReverseName(within: name) ? .yes(.ptr) : .no
        case .exists(let target):
            try spendLookup()
            guard let name = try await name(target, in: domain) else { return .no }
            try refuseWhenCancelled(name, "A")
            // RFC 7208 §5.7: A, whatever the client's family.
            guard let found = await resolver.addresses(of: name, family: .v4).found else {
                throw .temporaryFailure(name: name.text, type: "A")
            }
            if found.isEmpty { try noteVoid() }
            return found.isEmpty ? .no : .yes(.exists)
        }
    }

    /// RFC 7208 §5.2.
    private mutating func matchInclude(
        _ spec: MacroString, _ directive: SPFDirective, in domain: QueryName
    ) async throws(SPFProblem) -> Match {
        try spendLookup()
        let target = try await target(spec, in: domain)
        let finding: Finding
        switch target {
        case .name(let name): finding = try await evaluate(name)
        case .malformed: finding = Finding(result: .none)
        case .unmatchable: return .no
        }
        switch finding.result {
        case .pass: return .through(finding.terms, spec.isNamedByClient ? .namedByClient : finding.weakness)
        case .fail, .softfail, .neutral: return .no
        case .none, .temperror, .permerror: throw .noRecord(target: target.text, term: directive.text, domain: domain.text)
        }
    }

    private func verdict(_ matches: Bool, _ lengths: PrefixLengths, _ target: MacroString?) -> Match {
        guard matches else { return .no }
        if target?.isNamedByClient == true { return .yes(.namedByClient) }
        let family = client.address.family
        return .yes(settings.weakness(ofLength: lengths.length(for: family), family: family))
    }

    private func isClient(_ address: IPAddress, within lengths: PrefixLengths) -> Bool {
        Prefix(address, length: lengths.length(for: address.family)).contains(client.address)
    }

    private func addresses(of name: QueryName) async throws(SPFProblem) -> [IPAddress] {
        let family = client.address.family
        let type = family == .v4 ? "A" : "AAAA"
        try refuseWhenCancelled(name, type)
        guard let found = await resolver.addresses(of: name, family: family).found else {
            throw .temporaryFailure(name: name.text, type: type)
        }
        return found
    }

    /// RFC 7208 §5.4. A name without exchangers is not its own exchanger here.
    private mutating func matchesExchanger(of name: QueryName, within lengths: PrefixLengths) async throws(SPFProblem) -> Bool {
        try refuseWhenCancelled(name, "MX")
        guard let exchangers = await resolver.mailExchangers(of: name).found else {
            throw .temporaryFailure(name: name.text, type: "MX")
        }
        if exchangers.isEmpty { try noteVoid() }
        // Before any of them is asked for, so that their order does not matter.
        guard exchangers.count <= SPFLimits.mailExchangers else { throw .tooManyMailExchangers(domain: name.text) }
        for exchanger in exchangers {
            guard let host = QueryName(host: exchanger) else { continue }
            if try await addresses(of: host).contains(where: { isClient($0, within: lengths) }) { return true }
        }
        return false
    }

    // MARK: - Limits

    /// RFC 7208 §4.6.4: before the question is asked.
    mutating func spendLookup() throws(SPFProblem) {
        guard lookups < SPFLimits.lookups else { throw .tooManyLookups }
        lookups += 1
    }

    /// RFC 7208 §4.6.4 counts terms, so what is asked for further on (the addresses of exchangers, and of the client's
    /// names) does not count.
    mutating func noteVoid() throws(SPFProblem) {
        voidLookups += 1
        guard voidLookups <= settings.voidLookups else { throw .tooManyVoidLookups }
    }

    func refuseWhenCancelled(_ name: QueryName, _ type: String) throws(SPFProblem) {
        if Task.isCancelled { throw .temporaryFailure(name: name.text, type: type) }
    }
}

extension QueryName {
    /// From an answer. The null MX is none, nor is a name with an escape in it, which no host has.
    init?(host: String) {
        guard !host.utf8.contains(UInt8(ascii: "\\")) else { return nil }
        self.init(host)
    }
}

extension [[UInt8]] {
    /// One after the other, up to `limit` octets.
    func joined(upTo limit: Int) -> [UInt8] {
        if count == 1 { return [UInt8](self[0].prefix(limit)) }
        var text: [UInt8] = []
        for string in self {
            text += string.prefix(limit - text.count)
            guard text.count < limit else { break }
        }
        return text
    }
}

extension String {
    /// By octets: one character may be made of any number of them.
    func cut(to limit: Int) -> String { utf8.count > limit ? String(decoding: utf8.prefix(limit), as: UTF8.self) + "..." : self }
}

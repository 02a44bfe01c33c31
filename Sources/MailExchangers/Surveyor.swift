import DNSProtocol
import PosternCore
import PosternResolver

/// Finds out where a domain takes its mail, and how the hosts there behave.
public struct Surveyor: Sendable {
    /// MX records that are looked at, and addresses of each.
    public static let mostExchangers = 32
    public static let mostAddresses = 8

    /// Whom to connect to; `nil` for nobody.
    public var probe: ProbeSettings?
    /// For each question.
    public var patience = WallTime.Span.seconds(10)
    /// Networks that count as public, for a laboratory.
    public var alsoPublic: [Prefix] = []
    private let resolver: Resolver
    private let isOwn: @Sendable (DomainName, DomainName) -> Bool

    /// - Parameter isOwn: whether a host (the first) belongs to who owns a domain (the second).
    public init(resolver: Resolver, isOwn: @escaping @Sendable (DomainName, DomainName) -> Bool) {
        self.resolver = resolver
        self.isOwn = isOwn
    }

    /// Ends after three questions' patience and one probe's time at most.
    public func survey(_ domain: DomainName) async -> Survey {
        guard let asked = domain.asciiForm else { return Survey(domain: domain, records: .noSuchDomain, connected: probe != nil) }
        var survey = Survey(domain: domain, records: .none, connected: probe != nil)
        let answer = await ask(DNSName(asked), .mx)
        switch answer.outcome {
        case .failure(let failure): survey.records = .unknown(failure.rawValue)
        case .noSuchDomain: survey.records = .noSuchDomain
        case .records:
            let records = answer.exchanges
            // RFC 7505 §3: one record, and its host the root.
            guard records.count > 1 || records.first?.host.isRoot != true else {
                survey.records = .null
                break
            }
            survey.records = .exchangers
            survey.leftOut = max(records.count - Self.mostExchangers, 0)
            survey.exchangers = await exchangers(Array(records.prefix(Self.mostExchangers)), of: asked)
        case .noData:
            let exchanger = await exchanger(0, DNSName(asked), of: asked)
            if let failure = exchanger.failure {
                survey.records = .unknown(failure)
            } else if !exchanger.addresses.isEmpty {
                survey.records = .implicit
                var exchanger = exchanger
                // RFC 5321 §5.1: the domain itself may be an alias.
                exchanger.alias = nil
                survey.exchangers = [exchanger]
            }
        }
        guard let probe else { return survey }
        return await connect(survey, probe)
    }

    private func ask(_ name: DNSName, _ type: RecordType) async -> Answer {
        await resolver.ask(Question(name, type), deadline: .after(patience))
    }

    private func exchangers(_ records: [(preference: UInt16, host: DNSName)], of domain: DomainName) async -> [Exchanger] {
        await withTaskGroup(of: (Int, Exchanger).self) { group in
            for (index, record) in records.enumerated() {
                group.addTask { (index, await exchanger(record.preference, record.host, of: domain)) }
            }
            let all = await group.reduce(into: [Int: Exchanger]()) { $0[$1.0] = $1.1 }
            return records.indices.compactMap { all[$0] }
        }
    }

    private func exchanger(_ preference: UInt16, _ host: DNSName, of domain: DomainName) async -> Exchanger {
        guard !host.isRoot else { return Exchanger(preference: preference, name: "", isOwn: true) }
        let name = host.domainName
        var exchanger = Exchanger(
            preference: preference, name: name?.text ?? "\(host)", isOwn: name.map { isOwn($0, domain) } ?? false)
        guard IPAddress(exchanger.name) == nil else { return exchanger }
        async let alias = ask(host, .cname)
        async let four = ask(host, .a)
        async let six = ask(host, .aaaa)
        exchanger.alias = await alias.names.first?.domainName?.text
        let (first, second) = (await four, await six)
        if !first.isConclusive || !second.isConclusive {
            exchanger.failure = (first.failure ?? second.failure)?.rawValue
        }
        let addresses = first.addresses + second.addresses
        // What is known is known.
        if !addresses.isEmpty { exchanger.failure = nil }
        exchanger.addresses = addresses.prefix(Self.mostAddresses).map { address in
            let isPublic = alsoPublic.contains { $0.contains(address) }
            return Host(address, special: isPublic ? nil : SpecialNetworks.kind(of: address))
        }
        return exchanger
    }

    /// Connects to every public address, once to each, all at the same time. Others are none of a stranger's business: a domain's
    /// owner could name any host of the network that this runs in.
    private func connect(_ survey: Survey, _ settings: ProbeSettings) async -> Survey {
        let wanted = Set(survey.exchangers.flatMap { $0.addresses.filter { $0.special == nil }.map(\.address) })
        let domain = survey.domain.asciiForm ?? survey.domain
        let behaviours = await withTaskGroup(of: (IPAddress, Behaviour).self) { group in
            for address in wanted { group.addTask { (address, await Probe.run(address, postmasterOf: domain, settings)) } }
            return await group.reduce(into: [IPAddress: Behaviour]()) { $0[$1.0] = $1.1 }
        }
        var survey = survey
        for exchanger in survey.exchangers.indices {
            for host in survey.exchangers[exchanger].addresses.indices {
                let address = survey.exchangers[exchanger].addresses[host].address
                survey.exchangers[exchanger].addresses[host].behaviour = behaviours[address]
            }
        }
        return survey
    }
}

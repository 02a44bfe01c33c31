import PosternCore

/// What all checks together say of an attempt.
public struct Assessment: Equatable, Sendable {
    public var score = 0.0
    /// One for each check that fired, those in shadow too.
    public var causes: [Cause] = []
    /// Whether somebody vouches for the client: SPF or its confirmed name says who it is, and a DNS list was asked about it.
    public var hasEvidence = false

    public init() {}
}

extension EngineSettings {
    public func setting(of check: Check) -> CheckSetting { checks[check] ?? check.defaultSetting }

    func isOn(_ check: Check) -> Bool { setting(of: check).mode == .on }

    /// The score of what a client has done against the protocol.
    func score(of signals: [Check: Int]) -> Assessment {
        var assessment = Assessment()
        guard !signals.isEmpty else { return assessment }
        for check in Check.allCases {
            // A person may mistype two addresses.
            guard let count = signals[check], count > 0, check != .unknownRecipients || count > 2 else { continue }
            assessment.add(check, setting(of: check), count: count)
        }
        return assessment
    }

    /// The score of all that is known of an attempt. `findings` are `nil` where nothing was looked up; `suspicion` is what subscribed
    /// lists say of the client.
    public func assess(_ attempt: Attempt, _ findings: Findings?, _ suspicion: Suspicion? = nil) -> Assessment {
        var assessment = attempt.isConversation ? score(of: attempt.signals) : Assessment()
        noteHelo(attempt, findings?.helo ?? .unknown, &assessment)
        let name = noteReverseName(attempt.client, findings?.reverseName ?? .unknown, &assessment)
        if let findings { note(findings, attempt, &assessment) }

        // Our own traps know better than somebody else's list.
        if let colour = attempt.harvested {
            note(colour.check, in: &assessment)
        } else if let suspicion {
            note(suspicion.colour.check, "from \(suspicion.source)", in: &assessment)
        }

        let isNamed = findings?.spf?.vouchedDomain != nil || name
        assessment.hasEvidence = isNamed && (findings?.listsAnswered ?? 0) > 0
        return assessment
    }

    /// What was looked up of the sender's domain, in lists and in registries.
    private func note(_ findings: Findings, _ attempt: Attempt, _ assessment: inout Assessment) {
        switch findings.senderDomain {
        case .none: note(.senderDomain, attempt.sender.mailbox?.domain ?? "", in: &assessment)
        case .nullMX: note(.senderNullMX, attempt.sender.mailbox?.domain ?? "", in: &assessment)
        case .unknown, .reachable: break
        }
        switch findings.spf?.result {
        case .fail?: note(.spfFail, findings.spf?.domain?.text ?? "", in: &assessment)
        case .softfail?: note(.spfSoftfail, findings.spf?.domain?.text ?? "", in: &assessment)
        case .permerror?: note(.spfPermerror, findings.spf?.domain?.text ?? "", in: &assessment)
        case nil, .none?, .neutral?, .pass?, .temperror?: break
        }
        for listing in findings.listings { note(.dnsLists, "\(listing.list) \(listing.reply)", score: listing.score, in: &assessment) }
        if let country = findings.country, let score = countries[country] { note(.country, country, score: score, in: &assessment) }
        if let network = findings.network, let score = networkOwners[network.number] {
            note(.asNumber, "AS\(network.number) \(network.name)", score: score, in: &assessment)
        }
    }

    /// A method, and no closure: that would copy all settings for each attempt.
    private func note(_ check: Check, _ evidence: String = "", score: Double? = nil, in assessment: inout Assessment) {
        var setting = setting(of: check)
        if let score { setting.score = score }
        assessment.add(check, setting, evidence: evidence)
    }

    private func noteHelo(_ attempt: Attempt, _ resolution: Findings.Resolution, _ assessment: inout Assessment) {
        let helo = attempt.client.helo
        guard !helo.isEmpty else { return }
        let form = HeloSyntax.form(of: helo)
        // The front that speaks with the client has counted it already.
        if !form.isValid, attempt.signals[.heloSyntax] == nil { note(.heloSyntax, helo, in: &assessment) }
        let address = address(inHelo: helo, form)
        // A program on this very machine may well greet with its name.
        let isHere = attempt.client.address?.isLoopback ?? false
        if let address {
            note(.heloIsAddress, helo, in: &assessment)
            if ourAddresses.contains(address), !isHere { note(.heloIsOurs, helo, in: &assessment) }
            return
        }
        if isOurs(helo) {
            if !isHere { note(.heloIsOurs, helo, in: &assessment) }
            return
        }
        switch resolution {
        case .none: note(.heloUnresolvable, helo, in: &assessment)
        case .elsewhere: note(.heloMismatch, helo, in: &assessment)
        case .unknown, .client: break
        }
    }

    /// Whether it is our name, or a domain that we receive for.
    private func isOurs(_ helo: String) -> Bool {
        // Most names are told apart by their length, but for a final dot, and need not be read.
        if ourDomains.isEmpty {
            guard let ownName, (ownName.text.utf8.count...ownName.text.utf8.count + 1).contains(helo.utf8.count) else { return false }
        }
        guard let name = DomainName(helo) else { return false }
        return name == ownName || ourDomains.contains(name)
    }

    /// RFC 5321 §4.1.3: `[192.0.2.1]` or `[IPv6:2001:db8::1]`; without brackets it is wrong, and no less telling.
    private func address(inHelo helo: String, _ form: HeloSyntax.Form) -> IPAddress? {
        switch form {
        case .domain: return nil
        case .addressLiteral(let address), .bareAddress(let address): return address
        case .malformed: break
        }
        let bare = helo.utf8.first == UInt8(ascii: "[") ? String(helo.dropFirst().prefix { $0 != "]" }) : helo
        guard let first = bare.utf8.first, first | 0x20 == UInt8(ascii: "i") else { return IPAddress(bare) }
        return IPAddress(bare.lowercasedASCII.hasPrefix("ipv6:") ? String(bare.dropFirst(5)) : bare)
    }

    /// Whether the client has a name that says who it is.
    private func noteReverseName(_ client: Client, _ found: Findings.ReverseName, _ assessment: inout Assessment) -> Bool {
        guard let address = client.address else { return false }
        let reverseName = found == .unknown ? client.reverseName : found
        let confirmed: DomainName? =
            if let name = client.confirmedName { name } else if case .confirmed(let name) = reverseName { name } else { nil }
        if let confirmed {
            guard GenericName.matches(confirmed, address: address) else { return true }
            note(.genericName, confirmed.text, in: &assessment)
            return false
        }
        switch reverseName {
        case .none: note(.noReverseName, "", in: &assessment)
        case .unconfirmed(let name):
            note(.unconfirmedName, name.text, in: &assessment)
            if GenericName.matches(name, address: address) { note(.genericName, name.text, in: &assessment) }
        case .unknown, .confirmed: break
        }
        return false
    }
}

extension ListColour {
    var check: Check {
        switch self {
        case .white: .harvestedWhite
        case .black: .harvestedBlack
        case .yellow: .harvestedYellow
        case .brown: .harvestedBrown
        }
    }
}

extension Assessment {
    fileprivate mutating func add(_ check: Check, _ setting: CheckSetting, count: Int = 1, evidence: String = "") {
        guard setting.mode != .off else { return }
        if setting.mode == .on { score = (score + setting.score).asScore }
        causes.append(.scored(check, setting, count: count, evidence: evidence))
    }
}

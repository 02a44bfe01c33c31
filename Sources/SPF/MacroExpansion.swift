import PosternCore

extension Evaluation {
    /// What a macro string comes to as a name to ask for.
    enum Target {
        case name(QueryName)
        /// No name in the DNS: an empty or overlong label, or octets that are not printable ASCII.
        case malformed
        /// RFC 8616 §4: it takes in a local part that is not ASCII. The same goes for one beyond `SPFLimits.inputOctets`.
        case unmatchable

        var text: String {
            if case .name(let name) = self { name.text } else { "what is no name" }
        }
    }

    /// RFC 7208 §4.8. Where the mechanism names no target it is the domain itself. `nil` for what is no name: that matches
    /// nothing, as RFC 7208 §4.8 leaves it to us.
    mutating func name(_ spec: MacroString?, in domain: QueryName) async throws(SPFProblem) -> QueryName? {
        guard let spec else { return domain }
        guard case .name(let name) = try await target(spec, in: domain) else { return nil }
        return name
    }

    /// Expands from the right, and no further than names are long: what is beyond would be cut off again
    /// (RFC 7208 §7.3). So a record full of macros costs no more than a name.
    mutating func target(_ spec: MacroString, in domain: QueryName, isExplanation: Bool = false) async throws(SPFProblem) -> Target {
        var octets: [UInt8] = []
        for piece in spec.pieces.reversed() {
            switch piece {
            case .text(let text):
                octets.insert(contentsOf: text.suffix(SPFLimits.nameOctets + 2), at: 0)
            case .macro(let macro):
                guard let value = try await value(of: macro, in: domain, isExplanation: isExplanation) else { return .unmatchable }
                octets.insert(contentsOf: macro.transformed(value), at: 0)
            }
            // One for the final dot, one to tell that labels have to go.
            if octets.count > SPFLimits.nameOctets + 1 { break }
        }
        return QueryName(expanded: octets).map { .name($0) } ?? .malformed
    }

    /// RFC 7208 §7.2. `nil` where nothing may match it.
    private mutating func value(of macro: Macro, in domain: QueryName, isExplanation: Bool) async throws(SPFProblem) -> [UInt8]? {
        switch macro.letter {
        case .sender, .localPart:
            isOfThisMessageOnly = true
            guard client.localPart.count <= SPFLimits.inputOctets, client.localPart.allSatisfy({ $0 < 0x80 }) else { return nil }
            return macro.letter == .localPart ? client.localPart : client.localPart + [UInt8(ascii: "@")] + client.domain.text.utf8
        case .senderDomain: return Array(client.domain.text.utf8)
        case .domain: return Array(domain.text.utf8)
        case .address: return client.address.dotted
        case .confirmedName: return try await confirmedName(for: domain, isExplanation: isExplanation)
        case .version: return Array((client.address.family == .v4 ? "in-addr" : "ip6").utf8)
        case .helo:
            isOfThisMessageOnly = true
            return client.helo.count <= SPFLimits.inputOctets ? client.helo : nil
        case .readableAddress: return Array("\(client.address)".utf8)
        case .receiver: return client.receiver.isEmpty ? Array("unknown".utf8) : client.receiver
        case .time:
            isOfThisMessageOnly = true
            return Array("\(client.time.milliseconds / 1000)".utf8)
        }
    }

    // MARK: - Explanation

    /// The text that `exp` leads to (RFC 7208 §6.2), expanded; `nil` where anything is wrong with it. Spends nothing of the
    /// limits on terms.
    mutating func explain(_ spec: MacroString, of domain: QueryName) async -> String? {
        guard case .name(let name)? = try? await target(spec, in: domain, isExplanation: true), !Task.isCancelled,
            let texts = await resolver.texts(of: name).found, texts.count == 1
        else { return nil }
        let octets = texts[0].joined(upTo: SPFLimits.recordOctets + 1)
        guard octets.count <= SPFLimits.recordOctets, let text = try? MacroString(octets[...], in: .explanation) else { return nil }
        var expanded: [UInt8] = []
        for piece in text.pieces {
            switch piece {
            case .text(let text):
                expanded += text
            case .macro(let macro):
                guard let value = try? await value(of: macro, in: domain, isExplanation: true) else { return nil }
                expanded += macro.transformed(value)
            }
            guard expanded.count < SPFLimits.explanationOctets else { break }
        }
        // RFC 7208 §6.2: US-ASCII; and what a client says in HELO must not end the reply's line.
        let line = expanded.prefix(SPFLimits.explanationOctets).map { $0 >= 0x20 && $0 <= 0x7e ? $0 : UInt8(ascii: "?") }
        return line.isEmpty ? nil : String(decoding: line, as: UTF8.self)
    }

    // MARK: - Reverse names

    /// RFC 7208 §5.5: whether a confirmed name of the client is `target` or lies below it. Names elsewhere are not even
    /// looked up.
    mutating func matchesReverseName(within target: QueryName) async throws(SPFProblem) -> Bool {
        try refuseWhenCancelled(target, "PTR")
        // An error of the DNS is no match here.
        guard let names = await clientNames() else { return false }
        if names.isEmpty { try noteVoid() }
        for name in names where name.isWithin(target) {
            if await isConfirmed(name) { return true }
        }
        return false
    }

    /// RFC 7208 §7.3: the domain itself where it is among the confirmed names, else one below it, else any, else "unknown".
    private mutating func confirmedName(for domain: QueryName, isExplanation: Bool) async throws(SPFProblem) -> [UInt8] {
        // RFC 7208 §4.6.4 counts the question that this macro asks; it is asked once.
        if case .notAsked = reverseNames, !isExplanation { try spendLookup() }
        let names = await clientNames() ?? []
        let preferred =
            names.filter { $0 == domain } + names.filter { $0.isBelow(domain) } + names.filter { !$0.isWithin(domain) }
        for name in preferred {
            if await isConfirmed(name) { return Array(name.text.utf8) }
        }
        return Array("unknown".utf8)
    }

    /// The first `SPFLimits.reverseNames` of the client; `nil` where the DNS failed, which is then not tried again.
    private mutating func clientNames() async -> [QueryName]? {
        switch reverseNames {
        case .known(let names): return names
        case .failed: return nil
        case .notAsked:
            guard let found = await resolver.reverseNames(of: client.address).found else {
                reverseNames = .failed
                return nil
            }
            let names = found.prefix(SPFLimits.reverseNames).compactMap { QueryName(host: $0) }
            reverseNames = .known(names)
            return names
        }
    }

    /// Whether the name's addresses contain the client's. An error of the DNS is a no (RFC 7208 §5.5).
    private mutating func isConfirmed(_ name: QueryName) async -> Bool {
        if let known = confirmed[name] { return known }
        guard !Task.isCancelled else { return false }
        let addresses = await resolver.addresses(of: name, family: client.address.family).found ?? []
        let isConfirmed = addresses.contains(client.address)
        confirmed[name] = isConfirmed
        return isConfirmed
    }
}

extension IPAddress {
    /// RFC 7208 §7.3: an IPv4 address as it is, an IPv6 address as its 32 hexadecimal digits with dots between them.
    fileprivate var dotted: [UInt8] {
        guard family == .v6 else { return Array(description.utf8) }
        let hex = Array("0123456789ABCDEF".utf8)
        return Array(octets.flatMap { [[hex[Int($0 >> 4)]], [hex[Int($0 & 15)]]] }.joined(separator: [UInt8(ascii: ".")]))
    }
}

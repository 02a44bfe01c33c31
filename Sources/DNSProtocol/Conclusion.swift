/// What a response says about the question it answers.
public enum Conclusion: Hashable, Sendable {
    /// At least one record of the type asked for; `owner` is where the aliases led.
    case records([RecordData], owner: DNSName, timeToLive: UInt32)
    /// RFC 2308 §2.1. The time to keep it is that of §5; `nil` where the response names none.
    case noSuchDomain(timeToLive: UInt32?)
    /// The name is there and has no such record (RFC 2308 §2.2).
    case noData(timeToLive: UInt32?)
    /// The response ends in an alias whose target it says nothing about.
    case alias(DNSName, timeToLive: UInt32)
    case failure(ResponseCode)
    /// A referral, from a server that was asked for an answer.
    case lame
    /// Not a response, or to another question, or its aliases go round in circles.
    case malformed
}

extension DNSMessage {
    /// Aliases followed inside one response, and over several.
    public static let longestAliasChain = 16

    /// Follows the aliases (RFC 1034 §3.6.2) from the question's name to the records, in the answer section alone.
    public func conclusion(for question: Question) -> Conclusion {
        guard isResponse, opcode == 0, questions.count == 1, questions[0] == question else { return .malformed }
        guard code == .noError || code == .noSuchDomain else { return .failure(code) }
        var owner = question.name
        var timeToLive = UInt32.max
        var followed = 0
        while true {
            var records: [RecordData] = []
            var alias: DNSName?
            var shortest = timeToLive
            for record in answers where record.recordClass == question.recordClass && record.name == owner {
                if record.type == question.type {
                    records.append(record.data)
                    shortest = min(shortest, record.timeToLive)
                } else if case .cname(let target) = record.data, alias == nil {
                    alias = target
                    timeToLive = min(timeToLive, record.timeToLive)
                }
            }
            if !records.isEmpty { return .records(records, owner: owner, timeToLive: shortest) }
            guard let alias else { break }
            followed += 1
            guard followed <= Self.longestAliasChain else { return .malformed }
            owner = alias
        }
        // RFC 2308 §2.1: with an alias the code speaks of its target.
        var negative = negativeTimeToLive(of: owner)
        if followed > 0, let found = negative { negative = min(found, timeToLive) }
        if code == .noSuchDomain { return .noSuchDomain(timeToLive: negative) }
        guard negative == nil else { return .noData(timeToLive: negative) }
        if followed > 0 { return .alias(owner, timeToLive: timeToLive) }
        // RFC 2308 §2.2: name servers and no SOA record are a referral, not an answer.
        let refers = authorities.contains { $0.type == .ns }
        return refers && !isAuthoritative && !recursionAvailable ? .lame : .noData(timeToLive: nil)
    }

    /// RFC 2308 §5: the least of the SOA record's own time and of the last of its fields.
    private func negativeTimeToLive(of name: DNSName) -> UInt32? {
        for record in authorities {
            if case .soa(let soa) = record.data, name.isWithin(record.name) { return min(record.timeToLive, soa.minimum, 0x7fff_ffff) }
        }
        return nil
    }
}

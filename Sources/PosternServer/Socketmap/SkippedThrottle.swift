import PosternCore

/// A way around a throttle: what its nodes stand in front of.
struct SkippedThrottle: Equatable, Sendable {
    /// The node that is the domain's best mail exchanger.
    let node: DomainName
    /// The exchangers to go to instead: the most preferred that are none of the throttle's, all of one preference.
    let exchangers: [DomainName]

    /// - Parameters:
    ///   - exchanges: a domain's MX records, the most preferred first (RFC 5321 §5.1).
    ///   - names: those of the throttle: its nodes are these or below them.
    ///   - own: our own name. A domain that we are an exchanger of is not for us to route (RFC 5321 §5.1).
    /// - Returns: `nil` where the domain's mail goes to no throttle first, or to nothing else.
    init?(exchanges: [(preference: UInt16, host: DomainName)], names: [DomainName], own: DomainName?) {
        func isNode(_ host: DomainName) -> Bool { names.contains { host.isWithin($0) } }
        guard let best = exchanges.first, !exchanges.contains(where: { $0.host == own }) else { return nil }
        // Of equally good ones a sender may choose any: one node among them is enough.
        guard let node = exchanges.prefix(while: { $0.preference == best.preference }).first(where: { isNode($0.host) })?.host,
            let next = exchanges.first(where: { !isNode($0.host) })
        else { return nil }
        var exchangers: [DomainName] = []
        for exchange in exchanges
        where exchange.preference == next.preference && !isNode(exchange.host) && !exchangers.contains(exchange.host) {
            exchangers.append(exchange.host)
        }
        self.node = node
        self.exchangers = Array(exchangers.prefix(Self.mostExchangers))
    }

    /// More next exchangers of one preference are left out.
    static let mostExchangers = 8

    /// As transport(5) has it: the brackets keep Postfix from asking for MX records again. Several need Postfix 3.5.
    var transport: String { "smtp:" + exchangers.map { "[\($0)]" }.joined(separator: ",") }
}

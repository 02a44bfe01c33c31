import PosternCore

/// Why somebody is listed. Bounded in number, and free of anything personal: it is published.
public enum HarvestReason: Equatable, Sendable {
    case onlyFakeMX(days: Int)
    case neverThePrimary(days: Int)
    case hungUpOn(domains: Int)
    case wroteToTrap
    /// Wanted mail, and mail to traps.
    case both
    /// So many wanted messages.
    case sends(Int)

    /// At most `PublishedEntry.maximumReason` octets.
    public var text: String {
        switch self {
        case .onlyFakeMX(let days): "came only to a stand-in mail exchanger, and hung up without QUIT after a 4xx reply, on \(days) days"
        case .neverThePrimary(let days): "came to a stand-in mail exchanger on \(days) days, and never to the one that takes mail"
        case .hungUpOn(let domains): "hung up without QUIT on stand-in mail exchangers of \(domains) domains"
        case .wroteToTrap: "wrote to an address that exists for nothing but to catch spam"
        case .both: "sends mail that is wanted, and some to addresses that catch spam"
        case .sends(let messages): "has sent \(messages) or more messages that were wanted"
        }
    }
}

/// Somebody who is to be listed, unless it is known for better.
public struct HarvestCandidate: Equatable, Sendable {
    public var address: IPAddress
    public var colour: ListColour
    public var reason: HarvestReason
    /// Where it was seen.
    public var listeners: [String]

    public init(address: IPAddress, colour: ListColour, reason: HarvestReason, listeners: [String]) {
        self.address = address
        self.colour = colour
        self.reason = reason
        self.listeners = listeners
    }

    init(_ visit: FakeMXVisit, _ colour: ListColour, _ reason: HarvestReason, _ listeners: [String]) {
        self.init(address: visit.address, colour: colour, reason: reason, listeners: listeners)
    }
}

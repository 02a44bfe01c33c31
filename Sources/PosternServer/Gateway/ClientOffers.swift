import NIOCore
import PosternCore
import SMTPProtocol

/// What one backend has offered to clients that it was told of: what it says to one may hold for that one alone.
///
/// An address is offered what it was offered before. One that has not been heard of is judged by its network where several of that were
/// heard: a sender of many addresses is not put off once for each, and one address alone takes nothing from its neighbours.
struct ClientOffers {
    /// What a client was offered is known for so long after it was last heard.
    static let lifetime = TimeAmount.hours(1)
    /// Networks that are known at once, each a /24 or /64.
    static let mostNetworks = 10_000
    /// Addresses of one network, the last ones.
    static let mostOfNetwork = 8
    /// So many addresses of a network speak for it.
    static let spokesmen = 2

    private struct Word {
        let client: IPAddress
        let extensions: Extensions
        let until: NIODeadline
    }

    private var networks: [IPAddress: [Word]] = [:]
    /// In the order in which they came; the oldest goes first.
    private var order: [IPAddress] = []
    private var next = 0
    /// What was offered to any client at all.
    private(set) var widest: Extensions?

    var count: Int { networks.count }

    /// The backend has said this to a client.
    mutating func note(_ extensions: Extensions, to client: IPAddress, now: NIODeadline) {
        let extensions = extensions.offered()
        widest = widest?.union(extensions) ?? extensions
        let (address, network) = Self.place(of: client)
        let word = Word(client: address, extensions: extensions, until: now + Self.lifetime)
        if networks[network] != nil {
            networks[network]?.removeAll { $0.client == address || $0.until <= now }
            if networks[network]?.count == Self.mostOfNetwork { networks[network]?.removeFirst() }
            networks[network]?.append(word)
            return
        }
        networks[network] = [word]
        if order.count < Self.mostNetworks {
            order.append(network)
        } else {
            networks[order[next]] = nil
            order[next] = network
            next = (next + 1) % order.count
        }
    }

    /// What this client has been offered; `nil` where that is not known.
    func known(of client: IPAddress, now: NIODeadline) -> Extensions? {
        let (address, network) = Self.place(of: client)
        guard let words = networks[network]?.filter({ now < $0.until }) else { return nil }
        if let own = words.first(where: { $0.client == address }) { return own.extensions }
        guard words.count >= Self.spokesmen, let first = words.first else { return nil }
        return words.dropFirst().reduce(first.extensions) { $0.union($1.extensions) }
    }

    /// A host with IPv6 has a /64.
    private static func place(of client: IPAddress) -> (address: IPAddress, network: IPAddress) {
        switch client.family {
        case .v4: (client, client.masked(to: 24))
        case .v6: (client.masked(to: 64), client.masked(to: 64))
        }
    }
}

extension Extensions {
    /// Of what goes from end to end: what both offer.
    func intersection(_ other: Extensions) -> Extensions {
        var result = self
        result.size = Self.size(size, other.size) { min($0, $1) }
        result.eightBitMIME = eightBitMIME && other.eightBitMIME
        result.smtpUTF8 = smtpUTF8 && other.smtpUTF8
        result.dsn = dsn && other.dsn
        result.enhancedStatusCodes = enhancedStatusCodes && other.enhancedStatusCodes
        return result
    }

    /// Of what goes from end to end: what one of both offers.
    func union(_ other: Extensions) -> Extensions {
        var result = self
        result.size = Self.size(size, other.size) { max($0, $1) }
        result.eightBitMIME = eightBitMIME || other.eightBitMIME
        result.smtpUTF8 = smtpUTF8 || other.smtpUTF8
        result.dsn = dsn || other.dsn
        result.enhancedStatusCodes = enhancedStatusCodes || other.enhancedStatusCodes
        return result
    }

    /// Of two limits, where `nil` and 0 are none.
    private static func size(_ a: UInt64?, _ b: UInt64?, _ choose: (UInt64, UInt64) -> UInt64) -> UInt64? {
        func limit(_ size: UInt64?) -> UInt64 { size.flatMap { $0 == 0 ? nil : $0 } ?? .max }
        let chosen = choose(limit(a), limit(b))
        return chosen == .max ? 0 : chosen
    }
}

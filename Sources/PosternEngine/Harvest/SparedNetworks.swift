import PosternCore

/// The networks of those who are never harvested, whatever lists say: our own, our backup's, forwarders, monitoring, trusted senders,
/// and load balancers, which are not the clients that they bring.
public struct SparedNetworks: Equatable, Sendable {
    private let sets: [PrefixSet]
    /// IPv6 blocks that have somebody within: a harvested entry is a whole one.
    private let blocks: Set<Prefix>

    public init(_ sets: [PrefixSet] = []) {
        self.sets = sets.filter { !$0.isEmpty }
        blocks = Set(
            self.sets.flatMap(\.prefixes).filter { $0.address.family == .v6 && $0.length > 64 }.map { Harvest.prefix(of: $0.address) })
    }

    public var isEmpty: Bool { sets.isEmpty }

    /// Whether an entry for this prefix would be about one of them.
    public func contains(_ prefix: Prefix) -> Bool {
        blocks.contains(prefix) || sets.contains { $0.contains(prefix.address) }
    }
}

extension EngineSettings {
    public var spared: SparedNetworks {
        SparedNetworks([
            networks.local, networks.forwarders, networks.backupMX, networks.monitoring, networks.proxies, trusted.addresses,
        ])
    }
}

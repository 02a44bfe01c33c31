import PosternCore

extension Engine {
    /// What the admin has said of a client, whatever else it says of itself.
    public enum Standing: Equatable, Sendable {
        /// Ours, our backup's, a forwarder's, or allowed.
        case spared
        case blocked
        case unknown
    }

    public func standing(of client: Client, now: WallTime) -> Standing {
        guard let address = client.address else { return .unknown }
        let networks = settings.networks
        if networks.local.contains(address) || networks.forwarders.contains(address) || networks.backupMX.contains(address) {
            return .spared
        }
        switch lists.client(client, at: now)?.list {
        case .allow?: return .spared
        case .block?: return .blocked
        case nil: return .unknown
        }
    }
}

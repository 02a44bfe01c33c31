import PosternCore

extension Engine {
    /// What the admin has said of an address, for a front that never learns more than that.
    public enum Standing: Equatable, Sendable {
        /// Ours, our backup's, a forwarder's, or allowed.
        case spared
        case blocked
        case unknown
    }

    public func standing(of address: IPAddress, now: WallTime) -> Standing {
        let networks = settings.networks
        if networks.local.contains(address) || networks.forwarders.contains(address) || networks.backupMX.contains(address) {
            return .spared
        }
        switch lists.client(Client(address: address), at: now)?.list {
        case .allow?: return .spared
        case .block?: return .blocked
        case nil: return .unknown
        }
    }
}

import PosternCore

extension Engine {
    /// What the admin has said of a client, whatever else it says of itself.
    public enum Standing: Equatable, Sendable {
        /// Ours, our backup's, a forwarder's, our monitoring, or allowed.
        case spared
        case blocked
        case unknown
    }

    public func standing(of client: Client, now: WallTime) -> Standing {
        guard let address = client.address else { return .unknown }
        if settings.trusted.addresses.contains(address), lists.client(client, at: now) == nil { return .spared }
        if settings.networks.local.contains(address) || settings.networks.forwarders.contains(address)
            || settings.networks.backupMX.contains(address) || settings.networks.monitoring.contains(address)
        {
            return .spared
        }
        switch lists.client(client, at: now)?.list {
        case .allow?: return .spared
        case .block?: return .blocked
        case .trap?, nil: return .unknown
        }
    }
}

extension Engine {
    /// Whether a client may be put on our traps' lists at all.
    public func mayHarvest(_ client: Client, now: WallTime) -> Bool {
        guard let address = client.address, !settings.networks.proxies.contains(address) else { return false }
        return standing(of: client, now: now) != .spared
    }

    /// Whether the admin allows a sender: its mail to a trap says nothing.
    public func allows(sender: Mailbox, now: WallTime) -> Bool { lists.mailbox(.sender, sender, at: now)?.list == .allow }

    /// Whether a client that writes to a trap is a stranger who may be harvested for it: not one of ours, not one that the admin
    /// spares, and not a mail server that brings a bounce or asks whether a sender exists.
    public func mayHarvest(_ attempt: Attempt, now: WallTime) -> Bool {
        // A trap's address may have been forged as the sender of somebody's spam: what comes back is nobody's fault.
        guard attempt.sender != .null, attempt.account == nil else { return false }
        if attempt.recipient?.isAlwaysReachable == true { return false }
        if let sender = attempt.sender.mailbox, allows(sender: sender, now: now) { return false }
        return mayHarvest(attempt.client, now: now)
    }
}

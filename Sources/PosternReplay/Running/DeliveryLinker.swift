import PosternCore
import PosternEngine

/// An attempt, and the delivery that it belongs to: one message on its way to one recipient.
public struct LinkedAttempt: Sendable {
    public let attempt: LoggedAttempt
    /// Counts from 1.
    public let delivery: Int
    /// Whether the log showed an attempt of this delivery before.
    public let isRetry: Bool
    /// The organisational domain of the client's confirmed name, where that names a mail server.
    public let clientDomain: String?
    /// What the sender is counted under.
    public let senderDomain: String
}

/// Finds out which attempts of a log are retries of which: after a deferral, the same sender and recipient again from the same
/// organisation, or from the same /16 (IPv6: /32).
public struct DeliveryLinker {
    /// A message that is deferred and not seen again for so long is not waited for any longer. Of greylisted mail 98.7 % comes back
    /// within a day.
    public static let horizon = WallTime.Span.days(2)

    private struct Chain {
        var keys: [UInt64]
        var seen: WallTime
    }

    private struct Aging {
        var delivery: Int
        var time: WallTime
    }

    private var domains: SenderDomains
    private var chains: [Int: Chain] = [:]
    private var deliveries: [UInt64: Int] = [:]
    private var aging = Queue<Aging>()
    private var next = 1

    public init(domains: any OrganisationalDomains) {
        self.domains = SenderDomains(domains)
    }

    /// Deliveries that wait for a retry.
    public var open: Int { chains.count }

    /// Links an attempt; attempts come in the order of time. `expired` gets the deliveries that are not waited for any longer.
    public mutating func link(_ attempt: LoggedAttempt, expired: inout [Int]) -> LinkedAttempt {
        while let first = aging.first, attempt.time - first.time > Self.horizon {
            aging.removeFirst()
            guard let chain = chains[first.delivery] else { continue }
            if attempt.time - chain.seen > Self.horizon {
                close(first.delivery)
                expired.append(first.delivery)
            } else {
                aging.append(Aging(delivery: first.delivery, time: chain.seen))
            }
        }

        let clientDomain = domains.domain(of: attempt.client)
        let senderDomain = domains.label(of: attempt.sender)
        func linked(_ delivery: Int, isRetry: Bool) -> LinkedAttempt {
            LinkedAttempt(
                attempt: attempt, delivery: delivery, isRetry: isRetry, clientDomain: clientDomain, senderDomain: senderDomain)
        }
        guard attempt.outcome == .deferred || !deliveries.isEmpty else {
            defer { next += 1 }
            return linked(next, isRetry: false)
        }
        let keys = Self.keys(attempt, clientDomain: clientDomain)
        if attempt.outcome != .refused, let found = keys.compactMap({ deliveries[$0] }).first {
            if attempt.outcome == .accepted {
                close(found)
            } else {
                chains[found]?.seen = attempt.time
            }
            return linked(found, isRetry: true)
        }
        let delivery = next
        next += 1
        if attempt.outcome == .deferred {
            chains[delivery] = Chain(keys: keys, seen: attempt.time)
            for key in keys { deliveries[key] = delivery }
            aging.append(Aging(delivery: delivery, time: attempt.time))
        }
        return linked(delivery, isRetry: false)
    }

    private mutating func close(_ delivery: Int) {
        guard let chain = chains.removeValue(forKey: delivery) else { return }
        for key in chain.keys where deliveries[key] == delivery { deliveries[key] = nil }
    }

    private static func keys(_ attempt: LoggedAttempt, clientDomain: String?) -> [UInt64] {
        var envelope = KeyHash()
        envelope.add(attempt.sender.mailbox?.folded ?? "")
        envelope.add(attempt.recipient.folded)
        var keys: [UInt64] = []
        if let clientDomain {
            var hash = envelope
            hash.add(clientDomain)
            keys.append(hash.value)
        }
        if let address = attempt.client.address {
            var hash = envelope
            let network = Prefix(address, length: address.family == .v4 ? 16 : 32)
            hash.add(network.address.high)
            hash.add(network.address.low)
            keys.append(hash.value)
        }
        return keys
    }
}

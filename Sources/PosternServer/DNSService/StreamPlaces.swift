import NIOConcurrencyHelpers
import NIOCore
import PosternCore

/// Who has a place among the TCP connections of a DNS service. Where there is none left, the connection that has asked nothing for
/// longest gives way to the new one (RFC 7766 §6.2.3 lets a server close what is idle), so that connections that only sit there
/// keep nobody out; at its network's bound, that of the network (§6.2.2).
final class StreamPlaces: Sendable {
    /// Connections at once.
    static let most = 256
    /// Of one client network, a /24 or /64.
    static let mostOfNetwork = 32

    private struct Place {
        let channel: any Channel
        /// `nil` where the address is not known; all of those are one network.
        let network: IPAddress?
        /// When it asked last, or came.
        var used: NIODeadline
    }

    private let places = NIOLockedValueBox<[ObjectIdentifier: Place]>([:])
    private let most: Int
    private let mostOfNetwork: Int

    init(most: Int = most, mostOfNetwork: Int = mostOfNetwork) {
        self.most = most
        self.mostOfNetwork = mostOfNetwork
    }

    var count: Int { places.withLockedValue { $0.count } }

    /// A connection has come.
    func take(_ channel: any Channel, from address: IPAddress?) {
        let network = address.map { $0.masked(to: $0.family == .v4 ? 24 : 64) }
        let id = ObjectIdentifier(channel)
        let idle: (any Channel)? = places.withLockedValue { places in
            let isFull = places.count >= most
            let rivals = places.lazy.filter { $0.value.network == network }
            let idle =
                rivals.count >= mostOfNetwork
                ? rivals.min { $0.value.used < $1.value.used } : isFull ? places.min { $0.value.used < $1.value.used } : nil
            if let idle { places[idle.key] = nil }
            places[id] = Place(channel: channel, network: network, used: .now())
            return idle?.value.channel
        }
        idle?.close(promise: nil)
        channel.closeFuture.whenComplete { [places] _ in places.withLockedValue { $0[id] = nil } }
    }

    /// It has asked something.
    func use(_ channel: any Channel) {
        let now = NIODeadline.now()
        places.withLockedValue { $0[ObjectIdentifier(channel)]?.used = now }
    }
}

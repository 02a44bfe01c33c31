import PosternCore

/// A set of networks.
public struct PrefixSet: Sendable, Equatable {
    public private(set) var prefixes: [Prefix]
    private var members: Set<Prefix>
    private var lengths: [Int]

    public init(_ prefixes: [Prefix] = []) {
        self.prefixes = prefixes
        members = Set(prefixes)
        lengths = Set(prefixes.map(\.length)).sorted(by: >)
    }

    public var isEmpty: Bool { prefixes.isEmpty }

    public func contains(_ address: IPAddress) -> Bool {
        lengths.contains { $0 <= address.family.bits && members.contains(Prefix(address, length: $0)) }
    }
}

/// The networks that the admin has named (`networks:`).
public struct Networks: Sendable, Equatable {
    /// Our own clients, which may send anything.
    public var local = PrefixSet()
    /// Our own backup MXs: what they bring has been judged, or should have been, elsewhere.
    public var backupMX = PrefixSet()
    /// Hosts that forward to us by our own wish.
    public var forwarders = PrefixSet()
    /// Hosts that watch this server: they are never held in a trap, harvested, or made to wait.
    public var monitoring = PrefixSet()
    /// Load balancers that speak the PROXY protocol.
    public var proxies = PrefixSet()
    /// Hosts that may use XCLIENT.
    public var xclient = PrefixSet()

    public init() {}
}

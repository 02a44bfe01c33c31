import PosternCore

/// What strangers may do, and what becomes of those who do more.
public struct ThrottleSettings: Equatable, Sendable {
    /// For the gateway and the policy service. A listener with role `throttle` is always on.
    public var mode = Mode.off
    /// Docs/throttle.md says where the numbers come from.
    public var limits = ThrottleSettings.defaultLimits
    /// Past a limit each recipient's reply waits, the longer the further past it, up to this: RFC 5321 §4.5.3.2.3 gives
    /// clients 5 minutes, and some wait no longer than one.
    public var hold = WallTime.Span.seconds(30)
    /// At this many times a limit recipients are deferred.
    public var deferAt = 2.0
    /// At this many times a limit of attempts the client is refused at connect; no attempts are counted then, so that whoever
    /// goes on retrying comes in again.
    public var refuseAt = 4.0
    public var refuseFor = WallTime.Span.minutes(15)
    /// However loud its neighbours are, an address may do this part of its limits; at least one of each.
    public var neighbourFloor = 0.1
    /// Sessions that are made to wait; beyond it strangers past a limit are deferred at once.
    public var heldSessions = 5000
    /// Octets for counts.
    public var memory = 64 << 20
    /// Says how to become trusted; in replies.
    public var advice = ""

    public static let defaultLimits: [Limit] = [
        Limit(.address, .messages, 30, per: .hours(1)), Limit(.address, .messages, 120, per: .days(1)),
        Limit(.address, .recipients, 60, per: .hours(1)), Limit(.address, .recipients, 240, per: .days(1)),
        Limit(.address, .bytes, 512 << 20, per: .days(1)), Limit(.address, .attempts, 60, per: .minutes(1)),
        Limit(.address, .attempts, 240, per: .hours(1)), Limit(.block, .messages, 240, per: .hours(1)),
        Limit(.block, .attempts, 1000, per: .hours(1)),
    ]

    public init() {}
}

/// What accounts may do.
public struct AccountSettings: Equatable, Sendable {
    /// What becomes of a message past a limit, and of all of a suspended account's.
    public enum Action: String, CaseIterable, Sendable {
        /// 554: the user sees it, and nothing is tried again.
        case reject
        /// Postfix keeps it in its hold queue until somebody releases it. The gateway cannot hold, and rejects.
        case hold
    }

    public var mode = Mode.off
    public var limits = AccountSettings.defaultLimits
    /// Past one of these, an account is suspended until somebody releases it.
    public var suspend = AccountSettings.defaultSuspensions
    /// An account that usually sends much may send this many times its usual before it is suspended.
    public var usualFactor = 4.0
    public var action = Action.reject
    /// Accounts, in lower case, that are neither limited nor suspended.
    public var exempt: Set<String> = []
    /// Told of suspensions, with a POST of JSON; `nil` for nobody.
    public var webhook: String?
    /// Run on suspensions: a program and its arguments.
    public var command: [String] = []

    public static let defaultLimits: [Limit] = [
        Limit(.account, .messages, 120, per: .hours(1)), Limit(.account, .messages, 500, per: .days(1)),
        Limit(.account, .recipients, 300, per: .hours(1)), Limit(.account, .recipients, 1000, per: .days(1)),
        Limit(.accountDomain, .recipients, 5000, per: .hours(1)), Limit(.account, .failures, 20, per: .hours(1)),
        Limit(.address, .failures, 20, per: .hours(1)),
    ]

    public static let defaultSuspensions: [Limit] = [
        Limit(.account, .attempts, 900, per: .hours(1)), Limit(.account, .recipients, 600, per: .hours(1)),
        Limit(.account, .newRecipients, 200, per: .hours(1)), Limit(.account, .refusals, 60, per: .hours(1)),
        Limit(.account, .places, 10, per: .hours(1)), Limit(.account, .countries, 4, per: .hours(1)),
    ]

    public init() {}
}

/// Whom the admin trusts: they go straight through.
public struct Trusted: Equatable, Sendable {
    public var addresses = PrefixSet()
    /// Trusted where SPF passes for them, with all below them.
    public var domains: Set<DomainName> = []

    public init(addresses: PrefixSet = PrefixSet(), domains: Set<DomainName> = []) {
        self.addresses = addresses
        self.domains = domains
    }

    public var isEmpty: Bool { addresses.isEmpty && domains.isEmpty }

    public func vouches(for domain: DomainName) -> Bool {
        guard !domains.isEmpty else { return false }
        var candidate: DomainName? = domain
        while let current = candidate {
            if domains.contains(current) { return true }
            candidate = current.parent
        }
        return false
    }

    public mutating func formUnion(_ other: Trusted) {
        addresses = PrefixSet(addresses.prefixes + other.addresses.prefixes)
        domains.formUnion(other.domains)
    }
}

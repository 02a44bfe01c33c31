import NIOConcurrencyHelpers
import NIOCore
import PosternCore
import SMTPProtocol

/// The backends of a gateway: which are well, and what they offer.
final class BackendDirectory: Sendable {
    struct Entry {
        let address: ListenAddress
        /// Failures since it last answered.
        var failures = 0
        /// Set while it is out.
        var outUntil: NIODeadline?
        /// What it said to EHLO last in our own name, or to anybody where it is not told who the client is; kept for when it is down.
        var learnt: Extensions?
        var learntAt: NIODeadline?
        /// What it said to clients that it was told of.
        var offers = ClientOffers()
        /// When it was last asked in our own name.
        fileprivate var askedAt: NIODeadline?
        /// A TLS handshake with it failed: where TLS is opportunistic it is done without until the next refresh.
        var failsTLS = false
        /// It does not let a connection be handed to another client.
        var servesOnlyOne = false
        /// It has opened a session behind a PROXY header, and not stumbled over one since.
        var readsHeaders = false
        /// It is being asked, and has not answered.
        var isAsked = false
        /// It has kept a client waiting: it is asked, however well it is known.
        var isDoubted = false

        fileprivate func isDue(_ settings: GatewaySettings.HealthSettings, now: NIODeadline) -> Bool {
            if isAsked { return false }
            if let outUntil { return now >= outUntil }
            // One that serves clients, and has nothing to say to us, is asked no more often than one that has.
            guard !isDoubted, let heard = learntAt ?? (offers.widest == nil ? nil : askedAt) else { return true }
            return now - heard >= .milliseconds(settings.refresh.milliseconds)
        }

        /// What it offers this client, as far as that is known; else what it offers us, and where it will not tell us, what it
        /// has offered anybody.
        fileprivate func offered(to client: IPAddress?, now: NIODeadline) -> Extensions? {
            guard let client else { return learnt }
            return offers.known(of: client, now: now) ?? learnt ?? offers.widest
        }
    }

    private struct State {
        var entries: [Entry]
        var next = 0
    }

    private let state: NIOLockedValueBox<State>

    init(_ addresses: [ListenAddress]) {
        state = NIOLockedValueBox(State(entries: addresses.map { Entry(address: $0) }))
    }

    var entries: [Entry] { state.withLockedValue { $0.entries } }

    /// Takes another list; what is known of those that stay is kept.
    func update(_ addresses: [ListenAddress]) {
        state.withLockedValue { state in
            let known = state.entries
            state.entries = addresses.map { address in known.first { $0.address == address } ?? Entry(address: address) }
        }
    }

    /// The order in which to try: those that are well, each time beginning with another, then, since nothing better is
    /// left, those that are out.
    func candidates() -> [ListenAddress] {
        state.withLockedValue { state in
            guard state.entries.count > 1 else { return state.entries.map(\.address) }
            state.next = (state.next + 1) % state.entries.count
            let turned = state.entries[state.next...] + state.entries[..<state.next]
            return (turned.filter { $0.outUntil == nil } + turned.filter { $0.outUntil != nil }).map(\.address)
        }
    }

    /// The same, of some of them.
    func candidates(among route: [ListenAddress]) -> [ListenAddress] { candidates().filter(route.contains) }

    /// - Returns: whether this took it out.
    func failed(_ address: ListenAddress, _ settings: GatewaySettings.HealthSettings, now: NIODeadline) -> Bool {
        change(address) { entry in
            entry.failures += 1
            guard entry.failures >= settings.failures else { return false }
            let wasWell = entry.outUntil == nil
            entry.outUntil = now + .milliseconds(settings.out.milliseconds)
            return wasWell
        } ?? false
    }

    /// - Parameter extensions: what it offers in our own name; `nil` where it was not asked, and what is known stays so.
    /// - Returns: whether it had been out.
    func answered(_ address: ListenAddress, _ extensions: Extensions?, now: NIODeadline) -> Bool {
        change(address) { entry in
            let wasOut = entry.outUntil != nil
            entry.failures = 0
            entry.outUntil = nil
            entry.isDoubted = false
            if let extensions {
                entry.learnt = extensions
                entry.learntAt = now
            }
            return wasOut
        } ?? false
    }

    /// It has said this to a client, knowing who that is.
    func offered(_ address: ListenAddress, _ extensions: Extensions, to client: IPAddress, now: NIODeadline) {
        _ = change(address) { $0.offers.note(extensions, to: client, now: now) }
    }

    /// It has kept a client waiting, which may be for that client's sake.
    func doubted(_ address: ListenAddress) {
        _ = change(address) { $0.isDoubted = true }
    }

    func failedTLS(_ address: ListenAddress) {
        _ = change(address) { $0.failsTLS = true }
    }

    func failsTLS(_ address: ListenAddress) -> Bool {
        state.withLockedValue { $0.entries.first { $0.address == address }?.failsTLS ?? false }
    }

    func refusedAnother(_ address: ListenAddress) {
        _ = change(address) { $0.servesOnlyOne = true }
    }

    func servesOnlyOne(_ address: ListenAddress) -> Bool {
        state.withLockedValue { $0.entries.first { $0.address == address }?.servesOnlyOne ?? false }
    }

    func readsHeaders(_ address: ListenAddress) -> Bool {
        state.withLockedValue { $0.entries.first { $0.address == address }?.readsHeaders ?? false }
    }

    func tookHeader(_ address: ListenAddress, _ understood: Bool) {
        _ = change(address) { $0.readsHeaders = understood }
    }

    /// Those that should be asked now: unknown, doubted, known for too long, or out for long enough. They count as being asked from here
    /// until `asked`: a backend that hangs has one connection of ours, not one more each second.
    func due(_ settings: GatewaySettings.HealthSettings, now: NIODeadline) -> [ListenAddress] {
        state.withLockedValue { state in
            var due: [ListenAddress] = []
            for index in state.entries.indices {
                guard state.entries[index].isDue(settings, now: now) else { continue }
                state.entries[index].isAsked = true
                state.entries[index].askedAt = now
                state.entries[index].failsTLS = false
                state.entries[index].servesOnlyOne = false
                due.append(state.entries[index].address)
            }
            return due
        }
    }

    /// It has answered, or failed to.
    func asked(_ address: ListenAddress) {
        _ = change(address) { $0.isAsked = false }
    }

    /// What all backends offer a client that are known; whichever a session comes to, it holds. `nil` while nothing is known.
    ///
    /// - Parameter client: `nil` where backends are not told who it is.
    func offered(to client: IPAddress?, now: NIODeadline) -> Extensions? {
        state.withLockedValue { state in
            state.entries.lazy.compactMap { $0.offered(to: client, now: now) }.reduce(nil) { (common: Extensions?, other) in
                common?.intersection(other) ?? other
            }
        }
    }

    private func change<Result>(_ address: ListenAddress, _ body: (inout Entry) -> Result) -> Result? {
        state.withLockedValue { state in
            guard let index = state.entries.firstIndex(where: { $0.address == address }) else { return nil }
            return body(&state.entries[index])
        }
    }
}

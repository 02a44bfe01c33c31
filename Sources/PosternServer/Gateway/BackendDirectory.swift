import NIOConcurrencyHelpers
import NIOCore
import SMTPProtocol

/// The backends of a gateway: which are well, and what they offer.
final class BackendDirectory: Sendable {
    struct Entry {
        let address: ListenAddress
        /// Failures since it last answered.
        var failures = 0
        /// Set while it is out.
        var outUntil: NIODeadline?
        /// What it said to EHLO last, kept for when it is down.
        var learnt: Extensions?
        var learntAt: NIODeadline?
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
            guard !isDoubted, let learntAt else { return true }
            return now - learntAt >= .milliseconds(settings.refresh.milliseconds)
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

    /// - Parameter extensions: what it offers; `nil` where it was not asked, and what is known stays so.
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

    /// What all backends offer that are known; whichever a session comes to, it holds. `nil` while nothing is known.
    var common: Extensions? {
        state.withLockedValue { state in
            state.entries.compactMap(\.learnt).reduce(nil) { (common: Extensions?, other) in
                guard var result = common else { return other }
                result.size = smallest(result.size, other.size)
                result.eightBitMIME = result.eightBitMIME && other.eightBitMIME
                result.smtpUTF8 = result.smtpUTF8 && other.smtpUTF8
                result.dsn = result.dsn && other.dsn
                result.enhancedStatusCodes = result.enhancedStatusCodes && other.enhancedStatusCodes
                return result
            }
        }
    }

    /// Of two limits where `nil` and 0 are none.
    private func smallest(_ a: UInt64?, _ b: UInt64?) -> UInt64? {
        guard let a, a > 0 else { return b }
        guard let b, b > 0 else { return a }
        return min(a, b)
    }

    private func change<Result>(_ address: ListenAddress, _ body: (inout Entry) -> Result) -> Result? {
        state.withLockedValue { state in
            guard let index = state.entries.firstIndex(where: { $0.address == address }) else { return nil }
            return body(&state.entries[index])
        }
    }
}

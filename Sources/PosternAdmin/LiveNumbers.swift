import Foundation
import NIOConcurrencyHelpers
import PosternControl

/// What changes from second to second, as the pages show it. The fields are documented in docs/dashboard.md.
public struct Now: Codable, Equatable, Sendable {
    /// Decisions in the last minute, or since the start where that is less.
    public var accepted: UInt64 = 0
    public var held: UInt64 = 0
    public var deferred: UInt64 = 0
    public var rejected: UInt64 = 0
    /// Mail sessions, and policy connections, that are open.
    public var sessions = 0
    public var connections = 0
    /// Clients that are made to wait, and that are in a trap.
    public var waitingSessions = 0
    public var trapped = 0
    /// Of senders' time in traps, since the start.
    public var hoursWasted = 0.0
    /// Since the start: mail that came back in time, and how long it took on average, in seconds.
    public var delayed: UInt64 = 0
    public var meanDelaySeconds: UInt64 = 0
    /// What limits do: sessions that wait and clients that are refused at connect, now; accounts that are suspended.
    public var throttledSessions = 0
    public var refusedClients = 0
    public var suspendedAccounts = 0
    /// Recipients that limits have slowed, deferred and refused, since the start.
    public var throttleHeld: UInt64 = 0
    public var throttleDeferred: UInt64 = 0
    public var throttleRefused: UInt64 = 0

    public init() {}
}

/// Takes a sample of the daemon's counters each second, and hands what they say to all who look on.
///
/// One encoding serves all viewers; one that does not take it misses a second, and nobody waits for it.
public final class LiveNumbers: Sendable {
    /// Viewers at once.
    public static let maximumViewers = 64
    /// Samples that are kept: a minute's and the one before it.
    private static let samples = 61

    private struct State {
        var samples: [StatusReport.Counts] = []
        var now = Now()
        var viewers: [Int: AsyncStream<String>.Continuation] = [:]
        var next = 0
        var hasEnded = false
    }

    private let state = NIOLockedValueBox(State())
    private let daemon: any DaemonState

    public init(_ daemon: any DaemonState) {
        self.daemon = daemon
    }

    /// Runs until cancelled.
    public func run() async {
        while !Task.isCancelled {
            sample()
            try? await Task.sleep(for: .seconds(1))
        }
        end()
    }

    var now: Now { state.withLockedValue { $0.now } }

    /// Takes one sample and hands it on.
    func sample() {
        guard let status = try? daemon.status() else { return }
        let (viewers, now): ([AsyncStream<String>.Continuation], Now) = state.withLockedValue { state in
            state.samples.append(status.counts)
            if state.samples.count > Self.samples { state.samples.removeFirst() }
            state.now = Now(status, before: state.samples.first ?? status.counts)
            return (Array(state.viewers.values), state.now)
        }
        guard !viewers.isEmpty else { return }
        let event = Self.event(now)
        for viewer in viewers { viewer.yield(event) }
    }

    /// A server-sent event (WHATWG HTML §9.2).
    private static func event(_ now: Now) -> String {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.outputFormatting = .sortedKeys
        let data = (try? encoder.encode(now)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
        return "event: now\ndata: \(data)\n\n"
    }

    /// Events from now on; `nil` where there are too many viewers. To be given back with `leave`.
    func join() -> (id: Int, events: AsyncStream<String>)? {
        let (stream, continuation) = AsyncStream.makeStream(of: String.self, bufferingPolicy: .bufferingNewest(1))
        let id: Int? = state.withLockedValue { state in
            guard !state.hasEnded, state.viewers.count < Self.maximumViewers else { return nil }
            state.next += 1
            state.viewers[state.next] = continuation
            return state.next
        }
        guard let id else { return nil }
        continuation.yield("retry: 3000\n" + Self.event(now))
        return (id, stream)
    }

    func leave(_ id: Int) {
        state.withLockedValue { $0.viewers.removeValue(forKey: id) }?.finish()
    }

    var viewers: Int { state.withLockedValue { $0.viewers.count } }

    /// Nobody sees any more, and nobody joins.
    func end() {
        let viewers = state.withLockedValue { state in
            state.hasEnded = true
            defer { state.viewers = [:] }
            return state.viewers
        }
        for viewer in viewers.values { viewer.finish() }
    }
}

extension Now {
    init(_ status: StatusReport, before: StatusReport.Counts) {
        let counts = status.counts
        held = counts.held &- before.held
        accepted = counts.accepted &- before.accepted &- held
        deferred = counts.deferred &- before.deferred
        rejected = counts.rejected &- before.rejected
        connections = counts.connections
        for gateway in status.gateways {
            sessions += gateway.sessions
            waitingSessions += gateway.held
        }
        for trap in status.traps {
            trapped += trap.heldNow
            hoursWasted += trap.hoursWasted
        }
        if let limits = status.limits {
            throttledSessions = limits.heldNow
            refusedClients = limits.refusedNow
            suspendedAccounts = limits.suspendedAccounts
            throttleHeld = limits.held &+ limits.accountsHeld
            throttleDeferred = limits.deferred
            throttleRefused = limits.refused &+ limits.accountsRefused
        }
        delayed = counts.delayed
        meanDelaySeconds = counts.delayed == 0 ? 0 : counts.delayedSeconds / counts.delayed
    }
}

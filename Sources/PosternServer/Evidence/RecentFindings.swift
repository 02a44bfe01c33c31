import NIOConcurrencyHelpers
import NIOCore
import PosternCore
import PosternEngine

/// What was found out a moment ago: a message to ten recipients asks ten times, and so does its retry.
///
/// Two generations, each at most half the capacity: when the young one is full the old one is dropped.
final class RecentFindings: Sendable {
    struct Key: Hashable, Sendable {
        private let address: IPAddress
        private let helo: String
        /// The whole sender, since SPF may ask for its local part.
        private let sender: String
        private let name: DomainName?

        /// `nil` for a client without an address.
        init?(_ attempt: Attempt) {
            guard let address = attempt.client.address else { return nil }
            self.address = address
            helo = attempt.client.helo
            sender = attempt.sender.description
            name = attempt.client.confirmedName
        }
    }

    private struct Kept {
        var findings: Findings
        var at: NIODeadline
    }

    private struct State {
        var young: [Key: Kept] = [:]
        var old: [Key: Kept] = [:]
    }

    private let state = NIOLockedValueBox(State())
    private let half: Int
    private let lifetime: TimeAmount

    init(capacity: Int, lifetime: WallTime.Span) {
        half = max(capacity / 2, 1)
        self.lifetime = .milliseconds(lifetime.milliseconds)
    }

    func find(_ key: Key) -> Findings? {
        guard let kept = state.withLockedValue({ $0.young[key] ?? $0.old[key] }) else { return nil }
        let age = NIODeadline.now() - kept.at
        guard age < lifetime else { return nil }
        var findings = kept.findings
        findings.age = .milliseconds(age.nanoseconds / 1_000_000)
        return findings
    }

    func keep(_ findings: Findings, for key: Key) {
        let kept = Kept(findings: findings, at: .now())
        state.withLockedValue { state in
            if state.young.count >= half {
                state.old = state.young
                state.young = [:]
            }
            state.young[key] = kept
        }
    }

    func forget() { state.withLockedValue { $0 = State() } }
}

import NIOConcurrencyHelpers
import NIOCore
import PosternCore
import SMTPProtocol

/// What the backend said of mailboxes: remembered for a while, in a bounded number.
final class MailboxCache: Sendable {
    enum Knowledge: Equatable {
        case exists
        /// With the backend's own words.
        case unknown(Reply)
        /// Refused to the null sender, without a code that says whether for the mailbox: with its own mail each client may hear otherwise.
        case doubted
        /// It was asked a short while ago, and said neither.
        case silent
    }

    private struct State {
        var entries: [Mailbox: (knowledge: Knowledge, until: NIODeadline)] = [:]
        /// In the order in which they came; the oldest goes first.
        var order: [Mailbox] = []
        var next = 0
        var epoch: UInt64 = 0
    }

    private let state = NIOLockedValueBox(State())

    var count: Int { state.withLockedValue { $0.entries.count } }

    /// Counts how often all was forgotten: an answer to what was asked in an earlier one is not to be remembered.
    var epoch: UInt64 { state.withLockedValue { $0.epoch } }

    /// Forgets all: another server may be behind, or new mailboxes in it.
    func forget() { state.withLockedValue { $0 = State(epoch: $0.epoch + 1) } }

    func knowledge(of mailbox: Mailbox, now: NIODeadline) -> Knowledge? {
        state.withLockedValue { state in
            guard let entry = state.entries[mailbox], now < entry.until else { return nil }
            return entry.knowledge
        }
    }

    func remember(
        _ mailbox: Mailbox, _ knowledge: Knowledge, of epoch: UInt64, _ settings: GatewaySettings.ProbeSettings, now: NIODeadline
    ) {
        let span =
            switch knowledge {
            case .exists: settings.knownFor
            case .unknown, .doubted: settings.unknownFor
            case .silent: settings.silentFor
            }
        let until = now + .milliseconds(span.milliseconds)
        state.withLockedValue { state in
            guard state.epoch == epoch else { return }
            if state.entries.updateValue((knowledge, until), forKey: mailbox) != nil { return }
            if state.order.count < settings.capacity {
                state.order.append(mailbox)
            } else if !state.order.isEmpty {
                state.next %= state.order.count
                state.entries[state.order[state.next]] = nil
                state.order[state.next] = mailbox
                state.next += 1
            }
        }
    }
}

/// How many of the mailboxes that a client named exist: a dictionary attack shows in the share of those that do not.
final class ClientRecipients: Sendable {
    private struct Tally {
        var named: Int
        var unknown: Int
        var since: NIODeadline
    }

    private struct State {
        var tallies: [IPAddress: Tally] = [:]
        var order: [IPAddress] = []
        var next = 0
    }

    /// A tally begins anew after this long.
    static let lifetime = TimeAmount.hours(1)

    private let state = NIOLockedValueBox(State())

    var count: Int { state.withLockedValue { $0.tallies.count } }

    /// Counts one that was named.
    func count(_ client: IPAddress, unknown: Bool, capacity: Int, now: NIODeadline) {
        state.withLockedValue { state in
            if var tally = state.tallies[client] {
                if now - tally.since >= Self.lifetime { tally = Tally(named: 0, unknown: 0, since: now) }
                tally.named += 1
                tally.unknown += unknown ? 1 : 0
                state.tallies[client] = tally
                return
            }
            // Only who named an unknown one has a tally: a sender of good addresses costs nothing.
            guard unknown else { return }
            state.tallies[client] = Tally(named: 1, unknown: 1, since: now)
            if state.order.count < capacity {
                state.order.append(client)
            } else if !state.order.isEmpty {
                state.next %= state.order.count
                state.tallies[state.order[state.next]] = nil
                state.order[state.next] = client
                state.next += 1
            }
        }
    }

    /// How many unknown mailboxes count against a client: all, where they are a third or more of what it named; none of a
    /// sender whose list is merely old.
    func unknown(_ client: IPAddress, now: NIODeadline) -> Int {
        state.withLockedValue { state in
            guard let tally = state.tallies[client], now - tally.since < Self.lifetime, tally.unknown * 3 >= tally.named else { return 0 }
            return tally.unknown
        }
    }
}

import PosternCore
import PosternEngine

/// What became of a delivery.
public enum DeliveryResult: String, CaseIterable, Codable, Sendable {
    /// Its first attempt passed.
    case atOnce = "at_once"
    /// A later attempt passed.
    case delayed
    /// It was deferred and never came back in time.
    case blocked
    /// It was refused for good.
    case refused
    /// The input ended while it waited.
    case open
}

/// A delivery that has come to its end under one policy.
struct FinishedDelivery {
    var linked: LinkedAttempt
    var result: DeliveryResult
    /// From the first attempt to the one that passed; of others to the last.
    var age: WallTime.Span
    /// Attempts that were decided.
    var attempts: Int
    var deferrals: Int
    /// Ages of the attempts that were decided, the first so many.
    var ages: [WallTime.Span]
    /// Whether a retry was taken for a first attempt: it came by none of the identities of the one before.
    var wasTakenForNew: Bool
    /// Whether the sender can be told to be honest: by label, or since the server took its message.
    var isHonest: Bool
    /// The schedule by which it came back, where the log does not show it.
    var schedule: String?
}

/// Runs one policy over attempts in the order of time, with retries of its own making where the log shows none.
final class Replayer {
    /// Ages that are kept of one delivery.
    static let maximumAges = 32

    private struct Delivery {
        let linked: LinkedAttempt
        let key: UInt64
        var ages: [WallTime.Span] = []
        var attempts = 0
        var deferrals = 0
        var wasTakenForNew = false
        /// Whether the log has shown that the server took it.
        var wasTaken = false
        var schedule: RetrySchedule?
        /// How many retries were made for it.
        var made = 0
    }

    private struct Due: Comparable {
        var time: WallTime
        var number: Int
        var delivery: Int

        static func < (a: Due, b: Due) -> Bool { (a.time.milliseconds, a.number) < (b.time.milliseconds, b.number) }
    }

    private var run: EngineRun
    private let model: RetryModel
    private let source: any FindingsSource
    private var deliveries: [Int: Delivery] = [:]
    /// Deliveries that have ended here while the log goes on with them.
    private var ended: Set<Int> = []
    private var dues = Heap<Due>()
    private var number = 0
    private var now = WallTime(milliseconds: .min)
    private var pools = PoolAddresses()
    private(set) var tally: Tally
    /// Deliveries that have ended since this was last emptied, where somebody wants to know.
    var finished: [(delivery: Int, result: DeliveryResult, linked: LinkedAttempt)]?

    init(_ policy: ReplayPolicy, model: RetryModel, assumptions: Assumptions) {
        run = EngineRun(engine: policy.engine, isConversation: policy.isConversation)
        source = policy.findings
        self.model = model
        tally = Tally(greylist: run.greylist, assumptions: assumptions)
    }

    /// Rows, deliveries and retries that are held.
    var held: Int { run.memory.rows + deliveries.count + ended.count }

    /// Takes the next attempt of the log.
    func take(_ linked: LinkedAttempt) {
        let attempt = linked.attempt
        comeBack(until: attempt.time)
        if let domain = linked.clientDomain, model.changesAddress(domain) { pools.note(domain, attempt.client) }
        let id = linked.delivery
        if linked.isRetry, ended.contains(id) {
            // It passed at an earlier attempt than the log's server let it.
            tally.sparedAttempts += 1
            if attempt.outcome == .accepted { ended.remove(id) }
            return
        }
        var delivery = deliveries[id] ?? Delivery(linked: linked, key: Self.key(attempt))
        if attempt.outcome == .accepted { delivery.wasTaken = true }
        try_(&delivery, attempt, client: attempt.client, at: attempt.time, isMade: false)
    }

    /// The log will not show this delivery again.
    func close(_ id: Int) {
        ended.remove(id)
        if let delivery = deliveries.removeValue(forKey: id) { finish(delivery, .blocked) }
    }

    /// The log ends at `end`. Retries of our own making go on until they are through.
    func finish(at end: WallTime) {
        comeBack(until: WallTime(milliseconds: .max))
        for (_, delivery) in deliveries.sorted(by: { $0.key < $1.key }) {
            let isOpen = end - delivery.linked.attempt.time < run.greylist.window
            finish(delivery, isOpen ? .open : .blocked)
        }
        deliveries.removeAll()
        ended.removeAll()
    }

    // MARK: -

    private func comeBack(until time: WallTime) {
        while let due = dues.first, due.time <= time {
            _ = dues.removeFirst()
            guard var delivery = deliveries[due.delivery] else { continue }
            var client = delivery.linked.attempt.client
            delivery.made += 1
            if delivery.schedule?.changesAddress == true, let domain = delivery.linked.clientDomain {
                client = pools.other(domain, than: client, turn: delivery.made)
            }
            try_(&delivery, delivery.linked.attempt, client: client, at: due.time, isMade: true)
        }
    }

    private func try_(_ delivery: inout Delivery, _ attempt: LoggedAttempt, client: Client, at time: WallTime, isMade: Bool) {
        now = max(now, time)
        let id = delivery.linked.delivery
        let age = time - delivery.linked.attempt.time
        let isFirst = delivery.attempts == 0
        let ruling = run.decide(attempt, client: client, findings: source.findings(for: attempt, client: client), now: now)
        delivery.attempts += 1
        if delivery.ages.count < Self.maximumAges { delivery.ages.append(age) }
        if !isFirst, case .greylistNew? = ruling.causes.first { delivery.wasTakenForNew = true }
        tally.decided(
            DecidedAttempt(
                isDeferred: ruling.action == .defer, causes: ruling.causes.map(RecordedCause.init), label: attempt.label, isMade: isMade))
        if let triplet = ruling.triplet, ruling.action != .defer, let mails = run.passed(triplet, wasDelayed: !isFirst) {
            tally.passed(mails: Int(mails.mails), delayedMails: Int(mails.delayedMails), wasDelayed: !isFirst)
        }

        // A triplet that came back in time passes as well where its sender had been proven meanwhile.
        if !isFirst, ruling.action != .defer, ruling.action != .refuse {
            if case .greylistPassed? = ruling.causes.first {} else { tally.passedOtherwise(attempt.label) }
        }
        switch ruling.action {
        case .pass: end(delivery, isFirst ? .atOnce : .delayed, attempt, isMade: isMade)
        case .hold(let span):
            tally.held(span)
            end(delivery, isFirst ? .atOnce : .delayed, attempt, isMade: isMade)
        case .refuse: end(delivery, .refused, attempt, isMade: isMade)
        case .defer:
            delivery.deferrals += 1
            if attempt.outcome == .refused {
                deliveries[id] = nil
                return finish(delivery, .blocked)
            }
            // What its server had not taken yet, the log shows again, if the sender came back.
            guard delivery.wasTaken else {
                deliveries[id] = delivery
                return
            }
            if delivery.schedule == nil {
                delivery.schedule = model.schedule(for: delivery.linked.attempt, domain: delivery.linked.clientDomain, key: delivery.key)
            }
            guard let next = delivery.schedule?.next(after: age) else {
                deliveries[id] = nil
                return finish(delivery, .blocked)
            }
            deliveries[id] = delivery
            number += 1
            dues.insert(Due(time: delivery.linked.attempt.time + next, number: number, delivery: id))
        }
    }

    /// Ends a delivery at an attempt.
    private func end(_ delivery: Delivery, _ result: DeliveryResult, _ attempt: LoggedAttempt, isMade: Bool) {
        let id = delivery.linked.delivery
        deliveries[id] = nil
        if attempt.outcome == .deferred, !isMade { ended.insert(id) }
        finish(delivery, result)
    }

    private func finish(_ delivery: Delivery, _ result: DeliveryResult) {
        let first = delivery.linked.attempt
        let isHonest = first.label == .ham || first.label == nil && delivery.wasTaken
        tally.finished(
            FinishedDelivery(
                linked: delivery.linked, result: result, age: delivery.ages.last ?? .zero, attempts: delivery.attempts,
                deferrals: delivery.deferrals, ages: delivery.ages, wasTakenForNew: delivery.wasTakenForNew, isHonest: isHonest,
                schedule: delivery.schedule?.name))
        finished?.append((delivery.linked.delivery, result, delivery.linked))
    }

    private static func key(_ attempt: LoggedAttempt) -> UInt64 {
        var hash = KeyHash()
        hash.add(attempt.sender.mailbox?.folded ?? "")
        hash.add(attempt.recipient.folded)
        return hash.value
    }
}

/// The addresses that pools were lately seen to send from: what a pool's next attempt may come from.
struct PoolAddresses {
    /// As many of one pool are kept: large providers were seen to use seven.
    static let addresses = 7
    /// As many pools.
    static let maximum = 10_000

    private var clients: [String: [Client]] = [:]

    mutating func note(_ domain: String, _ client: Client) {
        guard clients[domain] != nil || clients.count < Self.maximum else { return }
        if clients[domain]?.contains(where: { $0.address == client.address }) == true { return }
        clients[domain, default: []].insert(client, at: 0)
        if clients[domain, default: []].count > Self.addresses { clients[domain]?.removeLast() }
    }

    /// Another client of a pool; the same where no other is known.
    func other(_ domain: String, than client: Client, turn: Int) -> Client {
        guard let all = clients[domain] else { return client }
        let others = all.filter { $0.address != client.address }
        guard !others.isEmpty else { return client }
        var other = others[turn % others.count]
        other.helo = client.helo
        return other
    }
}

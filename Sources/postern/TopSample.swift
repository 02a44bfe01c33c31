import PosternControl

/// What happened between two looks at the daemon. The fields are those of `top --json`, which docs/commands.md lists.
struct TopSample: Codable, Equatable {
    var time: String
    /// Since the look before.
    var seconds: Double
    /// A second, in that time.
    var accepted: Double
    var held: Double
    var deferred: Double
    var rejected: Double
    var lookups: Double
    /// Now.
    var connections: Int
    var sessions: Int
    var waitingSessions: Int
    var trapped: Int
    /// Since the daemon's start.
    var hoursWasted: Double
    var delayed: UInt64
    var meanDelaySeconds: UInt64
    /// `ok`, or what is wrong.
    var store: String
    var triplets: Int
    var decisions: Int
    var storeBytes: Int64
    /// What is ill, in words; empty where all is well.
    var ailments: [String]

    /// Decisions a second.
    var decided: Double { accepted + held + deferred + rejected }

    /// `before` is of the same daemon; where it is of another, or there is none, nothing has happened yet.
    init(_ status: StatusReport, before: StatusReport?, seconds: Double, time: String) {
        let earlier = before.flatMap { $0.processID == status.processID && $0.startedAt == status.startedAt ? $0 : nil }
        func rate(_ path: (StatusReport) -> UInt64) -> Double {
            guard let earlier, seconds > 0 else { return 0 }
            let (now, then) = (path(status), path(earlier))
            return now >= then ? Double(now - then) / seconds : 0
        }
        self.time = time
        self.seconds = seconds
        accepted = rate { $0.counts.accepted &- $0.counts.held }
        held = rate { $0.counts.held }
        deferred = rate { $0.counts.deferred }
        rejected = rate { $0.counts.rejected }
        lookups = rate { $0.resolver?.queries ?? 0 }
        connections = status.counts.connections
        sessions = status.gateways.reduce(0) { $0 + $1.sessions }
        waitingSessions = status.gateways.reduce(0) { $0 + $1.held }
        trapped = status.traps.reduce(0) { $0 + $1.heldNow }
        hoursWasted = status.traps.reduce(0) { $0 + $1.hoursWasted }
        delayed = status.counts.delayed
        meanDelaySeconds = delayed == 0 ? 0 : status.counts.delayedSeconds / delayed
        store = status.store?.state ?? "unknown"
        triplets = status.store?.triplets ?? 0
        decisions = status.store?.decisions ?? 0
        storeBytes = status.store?.bytes ?? 0
        ailments = store == "ok" ? [] : ["the store fails, mail passes unchecked: \(store)"]
        if let resolver = status.resolver, !resolver.answers { ailments.append("no resolver answers") }
        for list in status.dnsLists { if let ailment = list.ailment { ailments.append("the list \(list.name): \(ailment)") } }
        for gateway in status.gateways {
            for backend in gateway.backends where !backend.isWell { ailments.append("the backend \(backend.address) is out") }
        }
    }
}

import PosternCore
import PosternEngine

/// A policy to be tried.
public struct ReplayPolicy: Sendable {
    /// How the report calls it.
    public var name: String
    public var engine: Engine
    /// Whether Postern speaks with the clients itself, as a gateway does.
    public var isConversation: Bool
    /// What look-ups find for it.
    public var findings: any FindingsSource

    public init(name: String, engine: Engine, isConversation: Bool = false, findings: any FindingsSource = RecordedFindings()) {
        self.name = name
        self.engine = engine
        self.isConversation = isConversation
        self.findings = findings
    }
}

/// Runs one or two policies over the same attempts, side by side.
public final class Replay {
    private let policies: [ReplayPolicy]
    private let replayers: [Replayer]
    private let model: RetryModel
    private var linker: DeliveryLinker
    private var comparison: Comparison?
    private var attemptsWithEvidence = 0

    /// `policies`: one, or two to be compared. `domains` finds organisational domains.
    public init(
        policies: [ReplayPolicy], model: RetryModel = RetryModel(), assumptions: Assumptions = Assumptions(),
        domains: any OrganisationalDomains
    ) {
        precondition(!policies.isEmpty)
        self.policies = policies
        self.model = model
        linker = DeliveryLinker(domains: domains)
        replayers = policies.map { Replayer($0, model: model, assumptions: assumptions) }
        if policies.count == 2 {
            comparison = Comparison()
            for replayer in replayers { replayer.finished = [] }
        }
    }

    /// Rows and deliveries that are held at the moment.
    public var held: Int { replayers.reduce(linker.open) { $0 + $1.held } }

    /// Takes attempts in the order of time.
    public func take(_ attempts: [LoggedAttempt]) async {
        for policy in policies { await policy.findings.prepare(attempts, for: policy.engine.settings) }
        for attempt in attempts { take(attempt) }
    }

    private func take(_ attempt: LoggedAttempt) {
        var expired: [Int] = []
        let linked = linker.link(attempt, expired: &expired)
        if policies[0].findings.knows(attempt) { attemptsWithEvidence += 1 }
        for replayer in replayers {
            for delivery in expired { replayer.close(delivery) }
            replayer.take(linked)
        }
        compare()
    }

    private func compare() {
        guard comparison != nil else { return }
        for (index, replayer) in replayers.enumerated() {
            for (delivery, result, linked) in replayer.finished ?? [] {
                comparison?.finished(delivery, result, linked, isFirst: index == 0)
            }
            replayer.finished?.removeAll(keepingCapacity: true)
        }
    }

    /// Ends the replay. `reader` is what the attempts came from; `files` are its names.
    public func report(of reader: TrafficReader, files: [String], notes: [String] = []) -> TrafficReport {
        for replayer in replayers { replayer.finish(at: reader.latest ?? WallTime(milliseconds: 0)) }
        compare()
        var report = TrafficReport(
            input: InputReport(
                files: files, from: reader.earliest?.description, to: reader.latest?.description, counts: reader.counts,
                problems: reader.problems, evidence: policies[0].findings.name, attemptsWithEvidence: attemptsWithEvidence,
                retryModel: model.description, notes: notes),
            policies: zip(policies, replayers).map { $1.tally.report(policy: $0.name) }, changes: comparison?.report)
        report.advice = ReplayAdvice(settings: policies.map(\.engine.settings)).sentences(on: report)
        return report
    }
}

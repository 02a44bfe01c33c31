import NIOConcurrencyHelpers
import PosternCore
import PosternEngine
import PosternReplay
import PosternServer

/// What resolvers say today of attempts of the past; what is recorded of an attempt counts before that.
final class LiveFindings: FindingsSource {
    /// Attempts that are asked about at the same time.
    private static let atOnce = 256
    /// Answers that are kept; above it all are forgotten, and asked for again.
    private static let maximum = 1_000_000

    private struct Key: Hashable {
        var address: IPAddress
        /// The whole sender, since SPF may ask about its local part.
        var sender: String
        var helo: String
    }

    private let evidence: any EvidenceSource
    private let recorded: RecordedFindings
    private let found = NIOLockedValueBox<[Key: Findings]>([:])

    init(_ evidence: any EvidenceSource, recorded: RecordedFindings) {
        self.evidence = evidence
        self.recorded = recorded
    }

    var name: String { "\(recorded.name); then look-ups made now, which may differ from what they were" }

    func prepare(_ attempts: [LoggedAttempt], for settings: EngineSettings) async {
        var wanted: [Key: LoggedAttempt] = [:]
        found.withLockedValue { found in
            if found.count > Self.maximum { found.removeAll() }
            for attempt in attempts {
                guard let key = Self.key(attempt), found[key] == nil else { continue }
                wanted[key] = attempt
            }
        }
        var rest = wanted[...]
        while !rest.isEmpty {
            let part = rest.prefix(Self.atOnce)
            rest = rest.dropFirst(Self.atOnce)
            await withTaskGroup(of: (Key, Findings).self) { group in
                for (key, attempt) in part { group.addTask { (key, await self.ask(attempt, settings)) } }
                for await (key, findings) in group { found.withLockedValue { $0[key] = findings } }
            }
        }
    }

    private func ask(_ logged: LoggedAttempt, _ settings: EngineSettings) async -> Findings {
        let attempt = Attempt(stage: .rcpt, client: logged.client, sender: logged.sender, recipient: logged.recipient)
        return await withCheckedContinuation { continuation in
            evidence.gather(attempt, for: settings) { continuation.resume(returning: $0) }
        }
    }

    func findings(for attempt: LoggedAttempt, client: Client) -> Findings {
        recorded.completed(live(attempt) ?? Findings(), for: attempt, client: client)
    }

    func knows(_ attempt: LoggedAttempt) -> Bool { live(attempt) != nil || recorded.knows(attempt) }

    private func live(_ attempt: LoggedAttempt) -> Findings? {
        guard let key = Self.key(attempt) else { return nil }
        return found.withLockedValue { $0[key] }
    }

    private static func key(_ attempt: LoggedAttempt) -> Key? {
        attempt.client.address.map { Key(address: $0, sender: attempt.sender.description, helo: attempt.client.helo) }
    }

    /// All that was found out, for one policy or for several, as a table of evidence.
    static func table(of sources: [LiveFindings]) -> String {
        var found: [Key: Findings] = [:]
        for source in sources { found.merge(source.found.withLockedValue { $0 }) { $0.completed(by: $1) } }
        let rows = found.map { key, findings in
            findings.recordedRow(address: key.address, senderDomain: Mailbox(key.sender)?.domain ?? "", helo: key.helo)
        }
        return ([Findings.recordedHeading] + Set(rows).sorted()).joined(separator: "\n") + "\n"
    }
}

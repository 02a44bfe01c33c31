import Logging
import NIOConcurrencyHelpers
import PosternConfiguration
import PosternControl
import PosternCore

/// The configuration in force, where a new one comes from, and what is risky in it.
final class LiveConfiguration: Sendable {
    private let load: @Sendable () throws -> Configuration
    private let review: @Sendable () -> [String]
    private let history: NIOLockedValueBox<ReloadHistory>
    private let reviewed = NIOLockedValueBox<Set<String>>([])

    init(
        _ configuration: Configuration, file: String?, load: @escaping @Sendable () throws -> Configuration,
        review: @escaping @Sendable () -> [String]
    ) {
        self.load = load
        self.review = review
        history = NIOLockedValueBox(ReloadHistory(configuration, file: file, at: SystemClocks.wall()))
    }

    var current: Configuration { history.withLockedValue { $0.current } }
    var state: StatusReport.ConfigurationState { history.withLockedValue { $0.state } }

    /// What the file says now; not in force before it is taken.
    func read() throws -> Configuration { try load() }

    /// Puts `configuration` in force; says what that changes.
    func take(_ configuration: Configuration) -> ReloadReport {
        history.withLockedValue { $0.reload(configuration, at: SystemClocks.wall()) }
    }

    /// Notes that the file could not be put in force.
    func fail(_ error: any Error) { history.withLockedValue { $0.fail("\(error)", at: SystemClocks.wall()) } }

    /// Logs what is risky, once until it changes.
    func logReview(to logger: Logger) {
        let findings = review()
        let known = reviewed.withLockedValue { reviewed in
            defer { reviewed = Set(findings) }
            return reviewed
        }
        for finding in findings where !known.contains(finding) { logger.warning("\(finding)") }
    }
}

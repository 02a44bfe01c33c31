import Logging
import PosternConfiguration
import PosternControl
import PosternCore

/// Which configurations the daemon has been given: the one it was started with, which its sockets and its store follow until it is
/// started again, and the one in force.
struct ReloadHistory {
    private let started: Configuration
    private let file: String?
    private(set) var current: Configuration
    private var loadedAt: WallTime
    private var last = ReloadReport()
    private var failure: (words: String, at: WallTime)?

    init(_ configuration: Configuration, file: String?, at now: WallTime) {
        started = configuration
        current = configuration
        self.file = file
        loadedAt = now
    }

    mutating func reload(_ configuration: Configuration, at now: WallTime) -> ReloadReport {
        last = ReloadReport(
            changed: configuration.changes(since: current).map(ReloadReport.Change.init),
            needsRestart: configuration.keysNeedingRestart(since: started))
        current = configuration
        loadedAt = now
        failure = nil
        return last
    }

    mutating func fail(_ words: String, at now: WallTime) { failure = (words, now) }

    var state: StatusReport.ConfigurationState {
        .init(
            file: file, loadedAt: loadedAt.description, changed: last.changed, needsRestart: last.needsRestart, failure: failure?.words,
            failedAt: failure?.at.description)
    }
}

extension ReloadReport.Change {
    init(_ change: ConfigurationChange) {
        self.init(key: change.key, old: change.old, new: change.new, needsRestart: change.needsRestart)
    }
}

extension ReloadReport {
    /// Changes that are told one by one; the rest is counted.
    static let mostLines = 50

    /// A line for each change, and one for the whole.
    func log(to logger: Logger) {
        for change in changed.prefix(Self.mostLines) {
            var metadata: Logger.Metadata = ["key": "\(change.key)"]
            if let old = change.old { metadata["old"] = "\(old)" }
            if let new = change.new { metadata["new"] = "\(new)" }
            if change.needsRestart { metadata["needs_restart"] = "true" }
            logger.info("configuration changed", metadata: metadata)
        }
        var metadata: Logger.Metadata = ["changed": "\(changed.count)"]
        if !needsRestart.isEmpty { metadata["needs_restart"] = "\(needsRestart.joined(separator: ","))" }
        logger.info("configuration reloaded", metadata: metadata)
    }
}

/// What reading the configuration again has changed.
public struct ReloadReport: Codable, Equatable, Sendable {
    /// One key that is not what it was.
    public struct Change: Codable, Equatable, Sendable {
        public var key: String
        /// As `config show` writes them; left out where there was, or is, none.
        public var old: String?
        public var new: String?
        public var needsRestart: Bool

        public init(key: String, old: String? = nil, new: String? = nil, needsRestart: Bool = false) {
            self.key = key
            self.old = old
            self.new = new
            self.needsRestart = needsRestart
        }
    }

    /// Since the configuration was read before.
    public var changed: [Change]
    /// Keys whose values differ from those that the daemon was started with, and that hold only from the next start.
    public var needsRestart: [String]

    public init(changed: [Change] = [], needsRestart: [String] = []) {
        self.changed = changed
        self.needsRestart = needsRestart
    }
}

extension StatusReport {
    /// Which configuration is in force, and what became of the last attempt to read it again.
    public struct ConfigurationState: Codable, Equatable, Sendable {
        /// The file; left out for the built-in defaults.
        public var file: String?
        /// RFC 3339: when what is in force was read.
        public var loadedAt: String
        /// What the last reload changed; empty after a start.
        public var changed: [ReloadReport.Change]
        /// Keys that wait for a restart.
        public var needsRestart: [String]
        /// Why the last reload changed nothing; left out where it went well.
        public var failure: String?
        /// RFC 3339.
        public var failedAt: String?

        public init(
            file: String? = nil, loadedAt: String, changed: [ReloadReport.Change] = [], needsRestart: [String] = [], failure: String? = nil,
            failedAt: String? = nil
        ) {
            self.file = file
            self.loadedAt = loadedAt
            self.changed = changed
            self.needsRestart = needsRestart
            self.failure = failure
            self.failedAt = failedAt
        }
    }
}

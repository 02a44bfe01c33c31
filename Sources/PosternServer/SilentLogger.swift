import Logging

extension Logger {
    /// For a command, which tells of what goes wrong itself.
    static var silent: Logger { Logger(label: "postern") { _ in SwiftLogNoOpLogHandler() } }
}

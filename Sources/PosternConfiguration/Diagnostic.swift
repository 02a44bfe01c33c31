/// One thing that is wrong, or risky, in a configuration, and where.
public struct Diagnostic: Error, Equatable, Sendable {
    public enum Severity: String, Sendable {
        /// The configuration cannot be used.
        case error
        /// It can, but the admin ought to know.
        case warning
    }

    public var severity: Severity
    public var file: String
    /// From 1.
    public var line: Int
    /// From 1, in Unicode scalars.
    public var column: Int
    public var message: String

    public init(_ severity: Severity, file: String, line: Int, column: Int, _ message: String) {
        self.severity = severity
        self.file = file
        self.line = line
        self.column = column
        self.message = message
    }
}

extension Diagnostic: CustomStringConvertible {
    /// `file:line:column: message`, as editors and CI read it; a warning says that it is one.
    public var description: String {
        "\(file):\(line):\(column): \(severity == .warning ? "warning: " : "")\(message)"
    }
}

/// A configuration that cannot be used: all that is wrong with it, in the order of the file, warnings among it.
public struct ConfigurationFailure: Error, Equatable, Sendable, CustomStringConvertible {
    /// Holds at least one error.
    public var diagnostics: [Diagnostic]
    /// Where a daemon answers that runs with what the file said before; `nil` where the file does not tell.
    public var controlSocketPath: String?

    public init(_ diagnostics: [Diagnostic], controlSocketPath: String? = nil) {
        self.diagnostics = diagnostics
        self.controlSocketPath = controlSocketPath
    }

    /// The errors, a line each: what stands in the way, not what could be better.
    public var description: String {
        diagnostics.filter { $0.severity == .error }.map(\.description).joined(separator: "\n")
    }
}

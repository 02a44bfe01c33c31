import ArgumentParser
import Glibc
import PosternConfiguration
import PosternControl
import PosternServer

struct Config: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check and show the configuration.",
        discussion: """
            EXAMPLES
              postern config check ./postern.yaml
              postern config show > postern.yaml
            """,
        subcommands: [ConfigCheck.self, ConfigShow.self, ConfigReference.self])
}

struct ConfigCheck: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Tell everything that is wrong with a configuration.",
        discussion: """
            Prints a line `file:line:column: message` for each error, and `file:line:column: warning: message` for what works but is \
            risky, to standard error; each says what to do. Exits with 78 where there is an error, else with 0. Files, accounts and \
            addresses that the file names are looked at on this machine.

            EXAMPLES
              postern config check
              postern config check ./postern.yaml
              postern config check --json ./postern.yaml
            """)

    @OptionGroup var options: CommonOptions

    @Argument(help: "The file to check. Default: the one that the other verbs would read.")
    var path: String?

    private struct Report: Encodable {
        struct Item: Encodable {
            var severity: String
            var file: String
            var line: Int
            var column: Int
            var message: String
        }

        /// Left out for the built-in defaults.
        var file: String?
        var ok: Bool
        var diagnostics: [Item]

        init(_ file: ConfigurationFile, ok: Bool, _ diagnostics: [Diagnostic]) {
            self.file = file.path
            self.ok = ok
            self.diagnostics = diagnostics.map {
                Item(severity: $0.severity.rawValue, file: $0.file, line: $0.line, column: $0.column, message: $0.message)
            }
        }
    }

    func run() async throws {
        let file = ConfigurationFile(named: path ?? options.config)
        do throws(ConfigurationFailure) {
            let loaded = try file.load(descriptors: Self.descriptorLimit)
            let warnings = file.review(loaded)
            let errors = Self.errors(of: loaded.configuration, in: file)
            guard errors.isEmpty else { throw ConfigurationFailure(errors + warnings) }
            if options.json { return try report(Report(file, ok: true, warnings)) }
            for warning in warnings { Output.diagnostic(warning) }
            Output.line(file.path.map { "\($0): the configuration is good" } ?? "there is no file; the built-in defaults are good")
        } catch {
            if options.json {
                try report(Report(file, ok: false, error.diagnostics))
            } else {
                for diagnostic in error.diagnostics { Output.diagnostic(diagnostic) }
            }
            throw ExitCode(ControlFailure.Code.configuration.rawValue)
        }
    }

    /// Files that can be read, and that the daemon will refuse.
    private static func errors(of configuration: Configuration, in file: ConfigurationFile) -> [Diagnostic] {
        configuration.listeners.enumerated().compactMap { index, listener in
            guard let gateway = listener.gateway, let (key, reason) = ListenerFiles.trouble(of: gateway, in: configuration) else {
                return nil
            }
            return file.error(ofListener: index, key, reason)
        }
    }

    /// As many as a daemon started from here could raise its limit to.
    private static var descriptorLimit: Int? {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return nil }
        return Int(clamping: limit.rlim_max)
    }

    private func report(_ report: Report) throws(ConfigurationFailure) {
        // A few texts and numbers can always be encoded.
        try? Output.json(report)
    }
}

struct ConfigShow: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "Print the configuration in effect, with comments.",
        discussion: """
            What is printed is a whole configuration file: every key with its meaning and default, and the value in effect.

            EXAMPLES
              postern config show > postern.yaml
              postern config show --json | jq .greylist.delay
            """)

    @OptionGroup var options: CommonOptions

    func run() async throws {
        let configuration = try options.configuration()
        Output.line(options.json ? configuration.json : String(configuration.commentedYAML.dropLast()))
    }
}

struct ConfigReference: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reference", abstract: "Print the reference of all parameters (docs/configuration.md).",
        discussion: """
            EXAMPLES
              postern config reference > configuration.md
            """)

    func run() async throws {
        Output.line(String(Parameter.reference.dropLast()))
    }
}

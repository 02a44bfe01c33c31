import ArgumentParser
import PosternControl
import PosternCore

struct ReportVerb: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "report",
        abstract: "Tell what became of the mail, from the recorded decisions.",
        discussion: """
            The same tables as `postern replay`, of the daemon's own decisions, as far back as they are kept (decisions.keep).

            EXAMPLES
              postern report
              postern report --since 24h --json
            """)

    @OptionGroup var options: CommonOptions

    @Option(name: .long, help: ArgumentHelp("Not older than this, such as 24h.", valueName: "time"))
    var since = WallTime.Span.days(7)

    @Option(name: .long, help: ArgumentHelp("Domains and senders to list.", valueName: "number"))
    var rows = 20

    func validate() throws {
        try checkLength(since, "--since")
        guard (1...1000).contains(rows) else { throw ValidationError("--rows is 1 to 1000.") }
    }

    func run() async throws {
        try await options.ask(.report(ReportDraft(age: since, rows: rows)), for: .reading) { reply in
            guard case .report(let report) = reply else { throw unexpected(reply) }
            if options.json { return try Output.json(report) }
            Output.line(report.text)
        }
    }
}

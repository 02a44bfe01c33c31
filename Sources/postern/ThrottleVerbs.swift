import ArgumentParser
import PosternControl
import PosternCore

struct ThrottleVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "throttle",
        abstract: "Who is near a limit, or past it.",
        discussion: """
            EXAMPLES
              postern throttle list
              postern throttle forget 1-4000000c6336400-7
            """,
        subcommands: [List.self, Forget.self])

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List who is held, deferred or refused now, and who has used half of a limit, the furthest first.",
            discussion: """
                Clients, domains and accounts; accounts that are suspended are under `postern account list`.

                EXAMPLES
                  postern throttle list
                  postern throttle list --json \\
                      | jq -r '.[] | select(.state == "deferred") | .subject'
                """)

        @OptionGroup var options: CommonOptions

        @Option(name: .long, help: ArgumentHelp("At most so many, 1 to 1000.", valueName: "number"))
        var limit = 100

        func validate() throws {
            guard (1...1000).contains(limit) else { throw ValidationError("--limit is 1 to 1000.") }
        }

        func run() async throws {
            try await options.ask(.limits(limit: limit), for: .reading) { reply in
                guard case .limits(let reports) = reply else { throw unexpected(reply) }
                if options.json { return try Output.json(reports) }
                guard !reports.isEmpty else { return Output.line("nobody is near a limit") }
                let rows = reports.map { near -> [String] in
                    let until = near.until?.shortTime ?? near.holdSeconds.map { "\(Self.wait($0)) a reply" } ?? ""
                    return [
                        near.subject, near.state, near.limit, "\(Int(near.used.rounded())) of \(Int(near.allowance.rounded()))", until,
                        near.id,
                    ]
                }
                Output.line(Output.table(["WHO", "STATE", "LIMIT", "USED", "UNTIL (UTC)", "ID"], rows))
            }
        }

        /// `300 ms`, `2.5 s`, `30 s`.
        private static func wait(_ seconds: Double) -> String {
            let milliseconds = Int((seconds * 1000).rounded())
            if milliseconds < 1000 { return "\(milliseconds) ms" }
            let tenths = (milliseconds + 50) / 100
            return tenths >= 100 || tenths % 10 == 0 ? "\((tenths + 5) / 10) s" : "\(tenths / 10).\(tenths % 10) s"
        }
    }

    struct Forget: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Forget what somebody has done of its limits, as if it had done nothing.",
            discussion: """
                It comes in again at once. Whoever is to go straight through for good: `postern allow add`.

                EXAMPLES
                  postern throttle forget 1-4000000c6336400-7
                """)

        @OptionGroup var options: CommonOptions

        @Argument(help: "The id that `postern throttle list` shows.")
        var id: String

        func run() async throws {
            try await options.ask(.actOnLimited(LimitedDraft(id: id, action: .forget)), for: .writing) { reply in
                guard case .acted(let report) = reply else { throw unexpected(reply) }
                if options.json { try Output.json(report) } else { Output.line(report.summary) }
            }
        }
    }
}

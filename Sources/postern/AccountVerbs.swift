import ArgumentParser
import PosternControl
import PosternCore

struct AccountVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "account",
        abstract: "Accounts that were stopped because they suddenly sent like a bot.",
        discussion: """
            EXAMPLES
              postern account list
              postern account release ann@example.net
            """,
        subcommands: [List.self, Release.self])

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the accounts that are suspended, since when, and why.",
            discussion: """
                EXAMPLES
                  postern account list
                  postern account list --json | jq -r '.[].account'
                """)

        @OptionGroup var options: CommonOptions

        func run() async throws {
            try await options.ask(.accounts, for: .reading) { reply in
                guard case .accounts(let accounts) = reply else { throw unexpected(reply) }
                if options.json { return try Output.json(accounts) }
                guard !accounts.isEmpty else { return Output.line("no account is suspended") }
                let rows = accounts.map { [$0.account, $0.since.shortTime, $0.reason, $0.id] }
                Output.line(Output.table(["ACCOUNT", "SINCE (UTC)", "REASON", "ID"], rows))
            }
        }
    }

    struct Release: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Let a suspended account send again.",
            discussion: """
                What it has sent so far no longer counts. Change its password first: whoever stole it will try again.

                EXAMPLES
                  postern account release ann@example.net
                  postern account release mhzw1k2c
                """)

        @OptionGroup var options: CommonOptions

        @Argument(help: "The account, as it logs in, or the id that `postern account list` shows.")
        var name: String

        func run() async throws {
            try await options.ask(.releaseAccount(name: name), for: .writing) { reply in
                guard case .accountReleased(let account) = reply else { throw unexpected(reply) }
                if options.json { try Output.json(account) } else { Output.line("released: \(account.account)") }
            }
        }
    }
}

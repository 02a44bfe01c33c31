import ArgumentParser
import PosternControl
import PosternCore

struct Greylist: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "What waits for its retry.",
        discussion: """
            EXAMPLES
              postern greylist list --to b@example.net
              postern greylist forget --ip 192.0.2.7 --since 2h
            """,
        subcommands: [GreylistList.self, GreylistForget.self])
}

struct GreylistList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "List what was deferred and has not come back, the newest first.",
        discussion: """
            Shows as far back as decisions are kept (decisions.keep).

            EXAMPLES
              postern greylist list
              postern greylist list --to b@example.net --since 1h
            """)

    @OptionGroup var options: CommonOptions
    @OptionGroup var search: SearchOptions

    @Option(name: .long, help: ArgumentHelp("At most so many, 1 to 10000.", valueName: "number"))
    var limit = 100

    func validate() throws { try search.check(limit: limit) }

    func run() async throws {
        try await options.ask(.waiting(search.search(limit: limit)), for: .reading) { reply in
            guard case .waiting(let reports) = reply else { throw unexpected(reply) }
            if options.json { return try Output.json(reports) }
            guard !reports.isEmpty else { return Output.line("nothing waits") }
            let rows = reports.map {
                [
                    $0.passesInSeconds > 0 ? WallTime.Span.seconds($0.passesInSeconds).spoken : "now", $0.expires.shortTime,
                    $0.decision.address,
                    "<\($0.decision.sender)>", "<\($0.decision.recipient)>", String($0.deferrals), $0.firstSeen.shortTime,
                    $0.decision.reference,
                ]
            }
            Output.line(
                Output.table(
                    ["PASSES IN", "UNTIL (UTC)", "CLIENT", "FROM", "TO", "TRIES", "FIRST SEEN (UTC)", "REFERENCE"], rows))
        }
    }
}

struct GreylistForget: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "forget",
        abstract: "Forget triplets, as if they had never been seen.",
        discussion: """
            At least one of the options must be given; what matches all that are given is forgotten, as far back as decisions are \
            kept (decisions.keep). Proven identities stay proven.

            EXAMPLES
              postern greylist forget --from spammer@example.com
              postern greylist forget --ip 192.0.2.7 --since 2h
            """)

    @OptionGroup var options: CommonOptions
    @OptionGroup var search: SearchOptions

    private struct Report: Encodable {
        var forgotten: Int
    }

    func validate() throws {
        try search.check()
        if search.search(limit: 1).isUnbounded {
            throw ValidationError("Say what to forget: --ip, --from, --to, --reference or --since.")
        }
    }

    func run() async throws {
        try await options.ask(.forget(search.search(limit: 10_000)), for: .writing) { reply in
            guard case .forgotten(let count) = reply else { throw unexpected(reply) }
            if options.json { try Output.json(Report(forgotten: count)) } else { Output.line("forgotten: \(count)") }
        }
    }
}

struct ReleaseVerb: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "release",
        abstract: "Let the next attempts to a recipient pass.",
        discussion: """
            For a login code that is on its way, or a message that waits: the next attempt passes, whenever it comes within the time.

            EXAMPLES
              postern release --to b@example.net
              postern release --to b@example.net --from a@example.org --for 2h
            """)

    @OptionGroup var options: CommonOptions

    @Option(name: .customLong("to"), help: ArgumentHelp("The recipient.", valueName: "recipient"))
    var recipient: String

    @Option(name: .customLong("from"), help: ArgumentHelp("Only from this sender; '<>' for the null sender.", valueName: "sender"))
    var sender: String?

    @Option(name: .customLong("ip"), help: ArgumentHelp("Only from this address or network.", valueName: "address"))
    var client: String?

    @Option(name: .customLong("for"), help: ArgumentHelp("How long, such as 10m.", valueName: "time"))
    var span = WallTime.Span.minutes(10)

    func validate() throws {
        try checkLength(span, "--for")
        if let client, Prefix(client) == nil { throw ValidationError("'\(client.printable)' is not an address or network") }
    }

    func run() async throws {
        let draft = ReleaseDraft(
            recipient: recipient.withoutBrackets, sender: sender?.withoutBrackets, client: client, for: span)
        try await options.ask(.release(draft), for: .writing) { reply in
            guard case .released(let report) = reply else { throw unexpected(reply) }
            if options.json { return try Output.json(report) }
            let sender = report.sender.map { " from <\($0)>" } ?? ""
            let client = report.client.map { " by \($0)" } ?? ""
            Output.line("released: mail to <\(report.recipient)>\(sender)\(client) passes until \(report.expires.shortTime) UTC")
        }
    }
}

struct Decisions: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Find past decisions, the newest first.",
        discussion: """
            As far back as decisions are kept (decisions.keep).

            EXAMPLES
              postern decisions --from a@example.org --since 2d
              postern decisions --reference 1K4X0M7Q0A0 --json
            """)

    @OptionGroup var options: CommonOptions
    @OptionGroup var search: SearchOptions

    @Option(name: .long, help: ArgumentHelp("At most so many, 1 to 10000.", valueName: "number"))
    var limit = 20

    func validate() throws { try search.check(limit: limit) }

    func run() async throws {
        try await options.ask(.decisions(search.search(limit: limit)), for: .reading) { reply in
            guard case .decisions(let reports) = reply else { throw unexpected(reply) }
            if options.json { return try Output.json(reports) }
            guard !reports.isEmpty else { return Output.line("no decisions") }
            let rows = reports.map {
                [$0.time.shortTime, $0.verdict, $0.address, "<\($0.sender)>", "<\($0.recipient)>", $0.reference, $0.reason]
            }
            Output.line(Output.table(["TIME (UTC)", "VERDICT", "CLIENT", "FROM", "TO", "REFERENCE", "REASON"], rows))
        }
    }
}

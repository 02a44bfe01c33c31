import ArgumentParser
import PosternConfiguration
import PosternControl
import PosternCore
import PosternReplay

struct ImportMaillog: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "maillog",
        abstract: "Learn from past logs whom this site knows, so that switching on delays nobody known.",
        discussion: """
            Reads what `postern replay` reads. Three things are learnt, each as if Postern had been there all the time:
            who wrote to whom, by which client (a triplet that has passed); which clients sent enough messages on several days \
            (they are proven); and to whom the site's own users wrote (their answer is awaited, from whoever SPF lets send it). \
            Messages count that the server accepted; spam counts where the server accepted it. What is older than \
            greylist.lifetime is left out.

            EXAMPLES
              postern import maillog /var/log/mail.log*
              postern import maillog --dry-run --messages 3 /var/log/mail.log
            """)

    @OptionGroup var options: CommonOptions
    @OptionGroup var reading: ReadingArguments

    @Option(
        name: .long,
        help: ArgumentHelp("Messages that a client must have sent to be proven. Default: greylist.proven_after.", valueName: "number"))
    var messages: Int?

    @Option(name: .long, help: ArgumentHelp("Days (UTC) on which it must have sent them.", valueName: "number"))
    var days = 2

    @Option(name: .long, help: ArgumentHelp("Messages that make a triplet known.", valueName: "number"))
    var tripletMessages = 1

    @Flag(name: .long, help: "Only tell what would be taken.")
    var dryRun = false

    @Argument(help: ArgumentHelp("Logs and tables; '-' is standard input.", valueName: "file"))
    var files: [String]

    func validate() throws {
        try reading.check()
        guard messages ?? 1 >= 1, days >= 1, tripletMessages >= 1 else {
            throw ValidationError("Numbers of messages and days are at least 1.")
        }
    }

    /// The fields of `--json`.
    private struct Report: Encodable {
        var triplets: Int
        var clients: Int
        var correspondents: Int
        /// Too old, or a consumer's line that cannot be proven.
        var expired = 0
        /// Known here already.
        var known = 0
        var counts: LogCounts
        var problems: InputProblems
    }

    func run() async throws {
        let configuration = try options.configuration()
        do {
            let inputs = try reading.inputs(files)
            let reader = try read { () throws(InputFailure) in try TrafficReader(files: inputs, options: reading.options) }
            var known = KnownSenders(lifetime: configuration.greylist.lifetime, domains: try OrganisationalDomainList.load())
            var progress = ReadingProgress(inputs)
            var isMore = true
            while isMore {
                isMore = reader.advance { known.take($0) }
                for message in reader.sent { known.take(message) }
                reader.sent.removeAll(keepingCapacity: true)
                progress.show(reader)
            }
            progress.end()
            let (triplets, clients, correspondents) = lessons(known, provenAfter: configuration.greylist.provenAfter)
            var report = Report(triplets: 0, clients: 0, correspondents: 0, counts: reader.counts, problems: reader.problems)
            let sum = try await options.teach(triplets, clients, correspondents, isTrial: dryRun)
            report.triplets = sum.triplets
            report.clients = sum.clients
            report.correspondents = sum.correspondents
            report.expired = sum.skipped
            report.known = sum.known
            if options.json { try Output.json(report) } else { print(report) }
            guard reader.counts.attempts > 0 || report.correspondents + report.known > 0 else {
                throw ControlFailure(.badData, "nothing was found to learn from; see docs/replay.md for what is read")
            }
        } catch let failure as ControlFailure {
            throw Output.exit(failure)
        }
    }

    private func lessons(
        _ known: KnownSenders, provenAfter: UInt32
    ) -> ([Lessons.Triplet], [Lessons.Client], [Lessons.Correspondent]) {
        func seconds(_ time: WallTime) -> Int64 { time.milliseconds / 1000 }
        let triplets = known.triplets(messages: tripletMessages).map { triplet in
            Lessons.Triplet(
                address: triplet.client.address?.description ?? "", name: triplet.client.confirmedName?.text,
                sender: triplet.sender.description, recipient: triplet.recipient.description, firstSeen: seconds(triplet.first),
                lastSeen: seconds(triplet.last), passed: true)
        }
        let clients = known.sources(messages: messages ?? max(Int(provenAfter), 1), days: days).map { source in
            Lessons.Client(
                address: source.client.address?.description ?? "", name: source.client.confirmedName?.text,
                // Enough for whoever asked for fewer.
                passes: UInt32(clamping: max(source.messages, Int(provenAfter))), lastSeen: seconds(source.last))
        }
        let correspondents = known.correspondents().map {
            Lessons.Correspondent(
                correspondent: $0.correspondent.description, user: $0.user.description, lastWritten: seconds($0.last))
        }
        return (triplets, clients, correspondents)
    }

    private func print(_ report: Report) {
        for sample in report.problems.samples.prefix(10) { Output.error("\(sample.file):\(sample.line): not understood: \(sample.reason)") }
        if report.problems.count > 10 { Output.error("\(report.problems.count) lines were not understood") }
        var words = (dryRun ? "would take: " : "taken: ")
        words += "\(report.triplets) triplets, \(report.clients) proven clients, \(report.correspondents) correspondents"
        if report.known > 0 { words += "; \(report.known) known already" }
        if report.expired > 0 { words += "; \(report.expired) too old or not to be proven" }
        Output.line(words)
    }
}

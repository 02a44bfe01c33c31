import ArgumentParser
import PosternControl
import PosternCore
import PosternEngine
import PosternServer
import PublishedLists

// Lists of addresses, networks, domains and mailboxes, and OpenBSD spamd's memory.

struct ImportCSV: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "csv",
        abstract: "Add entries from a CSV file.",
        discussion: """
            One entry a line: entry,list,expires,reason, or a header that names the columns; one named `as` says what an entry is: \
            client, sender or recipient. The list is `block`, `allow` (`black` \
            and `white` are the same) or `trap`, whose entries are mailboxes and domains; expires is a time (RFC 3339, or Unix seconds) \
            or a duration such as 4d, or empty for never. A \
            line that cannot be taken is reported, and the rest is taken. A tab or a semicolon may stand for the comma. A file that is \
            to be read again and again is better named under `subscriptions:`.

            EXAMPLES
              postern import csv entries.csv
              postern export csv --colour black --colour white --source own \\
                  | postern import csv --config other.yaml -
            """)

    @OptionGroup var options: CommonOptions
    @OptionGroup var choices: ListImportOptions

    func run() async throws {
        var table = ListTable()
        try await choices.run(options) { line in (table.read(line), table.namesReasons) }
    }
}

struct ImportText: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "text",
        abstract: "Add entries from a file with one a line.",
        discussion: """
            What follows the entry in its line is taken for the reason; `#` and `;` begin a comment.

            EXAMPLES
              postern import text --list block --for 4d bots.txt
              postern import text --list allow --note "our customers" customers.txt
            """)

    @OptionGroup var options: CommonOptions
    @OptionGroup var choices: ListImportOptions

    func run() async throws {
        try await choices.run(options) { line in (ListRow.text(line).map(ListTable.Line.row) ?? .nothing, false) }
    }
}

struct ListImportOptions: ParsableArguments {
    @Option(name: .customLong("list"), help: "Of entries that name none: block, allow or trap.")
    var list = ListEntry.List.block

    @Option(name: .customLong("for"), help: ArgumentHelp("How long those count that do not say it. Default: for ever.", valueName: "time"))
    var span: WallTime.Span?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "The note on entries without a reason. Default: imported, or none where a header names a column of reasons.", valueName: "text")
    )
    var note: String?

    @Flag(name: .long, help: "Only tell what would be taken.")
    var dryRun = false

    @Argument(help: ArgumentHelp("Files to read; '-' is standard input.", valueName: "file"))
    var files: [String]

    func validate() throws { try checkLength(span, "--for") }

    /// `read` tells what a line says, and whether an empty reason is meant to be empty.
    func run(_ options: CommonOptions, _ read: (Substring) -> (line: ListTable.Line, namesReasons: Bool)) async throws {
        var report = ImportReport()
        let settings = try options.configuration().engineSettings
        do {
            var drafts: [EntryDraft] = []
            for file in files {
                try readLines(of: file) { number, line in
                    guard let line = report.text(of: line, file, number) else { return }
                    let (content, namesReasons) = read(line[...])
                    switch content {
                    case .nothing: break
                    case .bad(let reason): report.skip(file, number, reason)
                    case .row(let row):
                        let note = self.note ?? (namesReasons ? "" : "imported")
                        switch draft(row, note: note, settings) {
                        case .success(let draft): drafts.append(draft)
                        case .failure(.expired): report.expired += 1
                        case .failure(.wrong(let reason)): report.skip(file, number, reason)
                        }
                    }
                }
            }
            report.take(try await options.takeOver(drafts, isTrial: dryRun))
        } catch let failure as ControlFailure {
            throw Output.exit(failure)
        }
        try report.tell(options, dryRun: dryRun)
    }

    private enum Refusal: Error {
        case expired
        case wrong(String)
    }

    private func draft(_ row: ListRow, note: String, _ settings: EngineSettings) -> Result<EntryDraft, Refusal> {
        var list = list
        if row.list.lowercased() == ListEntry.List.trap.rawValue {
            list = .trap
        } else if !row.list.isEmpty {
            switch ListRow.colour(row.list) {
            case .black?: list = .block
            case .white?: list = .allow
            case .yellow?, .brown?:
                return .failure(.wrong("'\(row.list)' is a colour that only the harvest gives; an entry is block, allow or trap"))
            case nil: return .failure(.wrong("'\(row.list)' is none of block, allow and trap"))
            }
        }
        guard let pattern = Pattern(row.entry) else {
            return .failure(.wrong("'\(row.entry)' is not an address, network, domain, mailbox or 'user@'\(Pattern.hint(row.entry))"))
        }
        var kind: ListEntry.Kind?
        if !row.kind.isEmpty {
            guard let named = ListEntry.Kind(rawValue: row.kind) else {
                return .failure(.wrong("'\(row.kind)' is neither client, sender nor recipient"))
            }
            kind = named
        } else if case .domain = pattern, list == .allow {
            // Allowing a domain as a sender counts only with SPF; a list of hosts means hosts.
            kind = .client
        }
        let now = SystemClocks.wall()
        var span: WallTime.Span?
        var until: WallTime?
        switch row.end {
        case .never: span = self.span
        case .after(let after): span = after
        case .at(let time):
            guard time > now else { return .failure(.expired) }
            until = time
        }
        let reason = row.reason.unicodeScalars.contains { $0.value < 0x20 } ? "" : row.reason
        let short = reason.utf8.count <= EntryDraft.maximumNote ? reason : String(reason.prefix(EntryDraft.maximumNote / 4))
        var draft = EntryDraft(list: list, kind: kind, pattern: row.entry, for: span, note: short.isEmpty ? note : short)
        draft.until = until?.milliseconds
        do throws(ControlFailure) {
            // One that would be refused would take others with it.
            _ = try draft.entry(added: Moment(steady: now, wall: now), settings)
            return .success(draft)
        } catch {
            return .failure(.wrong(error.message))
        }
    }
}

struct ImportSpamd: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "spamd",
        abstract: "Take over the memory of OpenBSD's spamd.",
        discussion: """
            Reads what `spamdb` prints. What spamd lets pass is proven here, with its /24 or /64; what waits there goes on waiting; \
            what it has trapped is blocked for as long as it would have been, ten years at most; its trap mailboxes are traps here. What \
            is over is left out.

            EXAMPLES
              spamdb | postern import spamd -
              postern import spamd --dry-run spamdb.txt
            """)

    @OptionGroup var options: CommonOptions

    @Flag(name: .long, help: "Only tell what would be taken.")
    var dryRun = false

    @Argument(help: ArgumentHelp("Files to read; '-' is standard input.", valueName: "file"))
    var files: [String]

    func run() async throws {
        var report = ImportReport()
        do {
            let now = SystemClocks.wall().milliseconds / 1000
            let provenAfter = try options.configuration().greylist.provenAfter
            var triplets: [Lessons.Triplet] = []
            var clients: [Lessons.Client] = []
            var drafts: [EntryDraft] = []
            for file in files {
                try readLines(of: file) { number, line in
                    guard let line = report.text(of: line, file, number) else { return }
                    switch SpamdDump.read(line[...], now: now, provenAfter: provenAfter) {
                    case .nothing: break
                    case .triplet(let triplet): triplets.append(triplet)
                    case .client(let client): clients.append(client)
                    case .entry(let draft): drafts.append(draft)
                    case .expired: report.expired += 1
                    case .unreadable(let reason): report.skip(file, number, reason)
                    }
                }
            }
            report.take(try await options.takeOver(drafts, isTrial: dryRun))
            report.take(try await options.teach(triplets, clients, isTrial: dryRun))
        } catch let failure as ControlFailure {
            throw Output.exit(failure)
        }
        try report.tell(options, dryRun: dryRun)
    }
}

extension ImportReport {
    /// What was taken, and each line that was not.
    func tell(_ options: CommonOptions, dryRun: Bool) throws {
        if options.json {
            try Output.json(self)
        } else {
            tellSkipped()
            var words = (dryRun ? "would take: " : "taken: ") + "\(entries) entries"
            if triplets > 0 || clients > 0 { words += ", \(triplets) triplets, \(clients) clients" }
            if known > 0 { words += "; \(known) known already" }
            if expired > 0 { words += "; \(expired) too old" }
            if skippedCount > 0 { words += "; \(skippedCount) left out" }
            Output.line(words)
        }
        try failWhereNothingWasTaken()
    }

    /// A file of another kind is not a success.
    func failWhereNothingWasTaken() throws {
        guard entries == 0, triplets == 0, clients == 0, known == 0, skippedCount > 0 else { return }
        throw Output.exit(ControlFailure(.badData, "nothing was taken; lines left out: \(skippedCount)"))
    }
}

extension ListEntry.List: ExpressibleByArgument {}

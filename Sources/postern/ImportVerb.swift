import ArgumentParser
import Foundation
import PosternControl
import PosternCore

struct Import: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Take over what another greylister knows, or what past logs tell.",
        discussion: """
            EXAMPLES
              postern import postgrey /etc/postgrey/whitelist_clients
              postern import maillog /var/log/mail.log
            """,
        subcommands: [ImportPostgrey.self, ImportSqlgrey.self, ImportCSV.self, ImportText.self, ImportSpamd.self, ImportMaillog.self])
}

struct ImportPostgrey: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "postgrey",
        abstract: "Take over postgrey's lists and its memory.",
        discussion: """
            Lists: addresses, networks, parts of addresses (192.0.2 is 192.0.2.0/24, 10.1 is 10.1.0.0/16) and domains become allow \
            entries; of regular expressions those that are a fixed end, such as /\\.example\\.com$/. Each line that cannot be said here \
            is reported with its number, and the rest is taken. In whitelist_recipients postgrey's user@domain and user@ also match \
            user+ext@; entries here do not.

            Memory: stop postgrey, turn its database into text as below, and import that. What has passed there is known here; what \
            waits goes on waiting; clients with enough messages (5) are proven, with their /24 or /64. What is older than \
            greylist.window and greylist.lifetime allow is left out. With postgrey's --privacy the keys are hashes, and nothing can \
            be taken over. With postgrey's own account (sudo -u postgrey):

              perl -MBerkeleyDB -e '
                $e = BerkeleyDB::Env->new(-Home => shift, -Flags => DB_CREATE |
                  DB_RECOVER | DB_INIT_TXN | DB_INIT_MPOOL | DB_INIT_LOG)
                  or die "$BerkeleyDB::Error\\n";
                for $f (qw(postgrey.db postgrey_clients.db)) {
                  tie %h, "BerkeleyDB::Btree", -Filename => $f, -Env => $e
                    or die "$f: $BerkeleyDB::Error\\n";
                  print "$k\\t$v\\n" while ($k, $v) = each %h;
                  untie %h }
                ' /var/lib/postgrey > postgrey.txt

            The output of `db_dump` and `db_dump -p` on the two files is read as well.

            EXAMPLES
              postern import postgrey /etc/postgrey/whitelist_clients \\
                  /etc/postgrey/whitelist_clients.local
              postern import postgrey --recipients /etc/postgrey/whitelist_recipients
              postern import postgrey --database postgrey.txt
            """)

    @OptionGroup var options: CommonOptions

    @Flag(name: .long, help: "The files are whitelist_recipients.")
    var recipients = false

    @Flag(name: .long, help: "The files are the text of postgrey's database.")
    var database = false

    @Option(name: .long, help: ArgumentHelp("postgrey's --delay: what waited less had not passed.", valueName: "time"))
    var delay = WallTime.Span.seconds(300)

    @Option(name: .long, help: ArgumentHelp("The note on each allow entry.", valueName: "text"))
    var note = "from postgrey"

    @Flag(name: .long, help: "Only tell what would be taken.")
    var dryRun = false

    @Argument(help: ArgumentHelp("Files to read; '-' is standard input.", valueName: "file"))
    var files: [String]

    func validate() throws {
        if recipients, database { throw ValidationError("--recipients and --database exclude each other.") }
    }

    func run() async throws {
        var report = ImportReport()
        do {
            if database { try await importDatabase(&report) } else { try await importLists(&report) }
        } catch let failure as ControlFailure {
            throw Output.exit(failure)
        }
        try report.print(options, dryRun: dryRun, database: database)
    }

    // MARK: - Lists

    private func importLists(_ report: inout ImportReport) async throws {
        var drafts: [EntryDraft] = []
        for file in files {
            try readLines(of: file) { number, line in
                guard let line = report.text(of: line, file, number) else { return }
                switch PostgreyLists.read(line, recipients ? .recipients : .clients, note: note) {
                case .nothing: break
                case .entry(let draft): drafts.append(draft)
                case .skipped(let reason): report.skip(file, number, "'\(line)': \(reason)")
                }
            }
        }
        report.take(try await options.takeOver(drafts, isTrial: dryRun))
    }

    // MARK: - Memory

    private func importDatabase(_ report: inout ImportReport) async throws {
        var triplets: [Lessons.Triplet] = []
        var clients: [Lessons.Client] = []
        for file in files {
            var dump = PostgreyDump(delay: delay)
            try readLines(of: file) { number, line in
                guard let line = report.text(of: line, file, number) else { return }
                switch dump.read(line) {
                case .triplet(let triplet)?: triplets.append(triplet)
                case .client(let client)?: clients.append(client)
                case .hashed?: report.hashed += 1
                case .unreadable(let reason)?: report.skip(file, number, reason)
                case nil: break
                }
            }
        }
        if report.hashed > 0, triplets.isEmpty, clients.isEmpty {
            throw ControlFailure(.badData, "the keys are hashes (postgrey ran with --privacy), and nothing can be made of them")
        }
        report.take(try await options.teach(triplets, clients, isTrial: dryRun))
    }
}

/// What was taken and what was not; the fields of `--json`.
struct ImportReport: Encodable {
    struct Skipped: Encodable {
        var file: String
        var line: Int
        var reason: String
    }

    var entries = 0
    var triplets = 0
    var clients = 0
    /// Too old.
    var expired = 0
    /// Entries, triplets and clients that are known here already.
    var known = 0
    var hashed = 0
    /// Recipients that had opted in, for the configuration; of sqlgrey only.
    var optIn: [String]?
    var skippedCount = 0
    /// The first so many.
    var skipped: [Skipped] = []

    static let maximumSkipped = 1000

    mutating func skip(_ file: String, _ line: Int, _ reason: String) {
        skippedCount += 1
        if skipped.count < Self.maximumSkipped { skipped.append(Skipped(file: file, line: line, reason: reason.printable)) }
    }

    /// The text of a line; `nil`, and noted, where it has none.
    mutating func text(of line: ReadLine, _ file: String, _ number: Int) -> String? {
        switch line {
        case .text(let text): return text
        case .unreadable(let reason):
            skip(file, number, reason)
            return nil
        }
    }

    /// What of its entries was taken.
    mutating func take(_ taken: (entries: Int, known: Int)) {
        entries += taken.entries
        known += taken.known
    }

    /// What of it was learnt.
    mutating func take(_ learnt: LessonReport) {
        triplets = learnt.triplets
        clients = learnt.clients
        expired += learnt.skipped
        known += learnt.known
    }

    func print(_ options: CommonOptions, dryRun: Bool, database: Bool) throws {
        if options.json {
            try Output.json(self)
        } else {
            tellSkipped()
            if let optIn {
                Output.error("these had opted in; put them into greylist.opt_in of the configuration: \(optIn.joined(separator: ", "))")
            }
            Output.line(words(dryRun: dryRun, database: database))
        }
        // Those who had opted in are something, too.
        if optIn == nil { try failWhereNothingWasTaken() }
    }

    /// Each line that was not taken, or as many as are kept.
    func tellSkipped() {
        for skipped in skipped { Output.error("\(skipped.file):\(skipped.line): left out: \(skipped.reason)") }
        if skippedCount > skipped.count { Output.error("and \(skippedCount - skipped.count) more") }
    }

    private func words(dryRun: Bool, database: Bool) -> String {
        var taken = database ? "\(triplets) triplets and \(clients) clients" : "\(entries) entries"
        if database, entries > 0 { taken += " and \(entries) entries" }
        var words = (dryRun ? "would take: " : "taken: ") + taken
        if known > 0 { words += "; \(known) known already" }
        if expired > 0 { words += "; \(expired) too old" }
        if hashed > 0 { words += "; \(hashed) hashed" }
        if skippedCount > 0 { words += "; \(skippedCount) left out" }
        return words
    }
}

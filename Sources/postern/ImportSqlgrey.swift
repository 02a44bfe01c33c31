import ArgumentParser
import Foundation
import PosternControl
import PosternCore
import PosternEngine
import PosternStorage

struct ImportSqlgrey: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sqlgrey",
        abstract: "Take over sqlgrey's memory and its lists.",
        discussion: """
            Memory: its SQLite file is read as it is, and not changed; sqlgrey may run meanwhile. From MySQL or PostgreSQL make a \
            text, one row a line, with the commands below. Who waits there goes on waiting here. What passed sqlgrey keeps without \
            its recipient, so its sources count: one message for each sender that is known from a source, and a source from which a \
            whole domain is known is proven. Recipients who opted out become allow entries; those who opted in are named, for \
            greylist.opt_in of the configuration.

              t() { mysql -N -B -e "SELECT '$1',$2 FROM $1" sqlgrey; }
              f='UNIX_TIMESTAMP(first_seen)'; l='UNIX_TIMESTAMP(last_seen)'
              { t from_awl "sender_name,sender_domain,src,$f,$l"
                t domain_awl "sender_domain,src,$f,$l"
                t connect "sender_name,sender_domain,src,rcpt,$f"
                t optout_domain domain; t optout_email email
                t optin_domain domain; t optin_email email; } > sqlgrey.txt

            With PostgreSQL the first two lines are

              t() { psql -At -F $'\\t' -c "SELECT '$1',$2 FROM $1" sqlgrey; }
              f='extract(epoch FROM first_seen)'; l='extract(epoch FROM last_seen)'

            Lists (--lists): clients_ip_whitelist, clients_fqdn_whitelist and their .local files become allow entries; of regular \
            expressions those that are a fixed end. Each line that cannot be said here is reported with its number.

            EXAMPLES
              postern import sqlgrey /var/lib/sqlgrey/sqlgrey.db
              postern import sqlgrey sqlgrey.txt
              postern import sqlgrey --lists /etc/sqlgrey/clients_ip_whitelist \\
                  /etc/sqlgrey/clients_fqdn_whitelist.local
            """)

    @OptionGroup var options: CommonOptions

    @Flag(name: .long, help: "The files are sqlgrey's lists of clients.")
    var lists = false

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Known senders that prove the source they came from. Default: greylist.proven_after of the configuration.",
            valueName: "number"))
    var senders: UInt32?

    @Option(name: .long, help: ArgumentHelp("The note on each allow entry.", valueName: "text"))
    var note = "from sqlgrey"

    @Flag(name: .long, help: "Only tell what would be taken.")
    var dryRun = false

    @Argument(help: ArgumentHelp("Files to read; '-' is standard input.", valueName: "file"))
    var files: [String]

    func validate() throws {
        guard senders ?? 1 >= 1 else { throw ValidationError("--senders is at least 1.") }
    }

    func run() async throws {
        var report = ImportReport()
        do {
            if lists { try await importLists(&report) } else { try await importMemory(&report) }
        } catch let failure as ControlFailure {
            throw Output.exit(failure)
        }
        try report.print(options, dryRun: dryRun, database: !lists)
    }

    // MARK: - Lists

    private func importLists(_ report: inout ImportReport) async throws {
        var drafts: [EntryDraft] = []
        for file in files {
            try readLines(of: file) { number, line in
                guard let line = report.text(of: line, file, number) else { return }
                // `*.example.com` is a domain and what lies below; that is what a domain means here.
                let text = line.drop(while: \.isWhitespace)
                switch PostgreyLists.read(text.hasPrefix("*.") ? text.dropFirst(2) : text, .clients, note: note) {
                case .nothing: break
                case .entry(let draft): drafts.append(draft)
                case .skipped(let reason): report.skip(file, number, "'\(line)': \(reason)")
                }
            }
        }
        report.take(try await options.takeOver(drafts, isTrial: dryRun))
    }

    // MARK: - Memory

    private func importMemory(_ report: inout ImportReport) async throws {
        var memory = SqlgreyMemory()
        for file in files {
            if isDatabase(file) {
                try readDatabase(file, into: &memory, &report)
            } else {
                try readLines(of: file) { number, line in
                    guard let line = report.text(of: line, file, number), !line.isEmpty, let reason = memory.take(line: line) else {
                        return
                    }
                    report.skip(file, number, reason)
                }
            }
        }
        let provenAfter = try options.configuration().greylist.provenAfter
        let clients = memory.clients(senders: senders ?? max(provenAfter, 1), provenAfter: provenAfter)
        var drafts: [EntryDraft] = []
        for recipient in memory.optOut {
            switch PostgreyLists.read(recipient, .recipients, note: note) {
            case .entry(let draft): drafts.append(draft)
            case .nothing: break
            case .skipped(let reason): report.skip("optout", 0, "'\(recipient)': \(reason)")
            }
        }
        report.optIn = memory.optIn.isEmpty ? nil : memory.optIn.map(\.printable)
        report.take(try await options.takeOver(drafts, isTrial: dryRun))
        report.take(try await options.teach(memory.triplets, clients, isTrial: dryRun))
    }

    private func isDatabase(_ file: String) -> Bool {
        // What is read of a pipe is gone.
        var status = stat()
        guard file != "-", stat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG, let handle = FileHandle(forReadingAtPath: file)
        else { return false }
        defer { try? handle.close() }
        return (try? handle.read(upToCount: ForeignDatabase.signature.count)) == Data(ForeignDatabase.signature)
    }

    private func readDatabase(_ file: String, into memory: inout SqlgreyMemory, _ report: inout ImportReport) throws(ControlFailure) {
        do throws(ForeignDatabase.Failure) {
            let database = try ForeignDatabase(path: file)
            var found = 0
            for (table, columns) in SqlgreyMemory.tables {
                var number = 0
                let isThere = try database.rows(of: table, columns: columns) { values in
                    number += 1
                    if let reason = memory.take(table: table, values) { report.skip("\(file) (\(table))", number, reason) }
                }
                found += isThere ? 1 : 0
            }
            guard found > 0 else { throw ForeignDatabase.Failure(description: "\(file): it holds none of sqlgrey's tables") }
        } catch {
            throw ControlFailure(.badData, "cannot read \(error)")
        }
    }
}

import ArgumentParser
import PosternControl
import PosternCore
import PosternEngine

// `allow`, `block` and `trap` are the same but for the list that they are about.

/// Which list a verb is about, and what its entries are.
protocol NamedList {
    static var list: ListEntry.List { get }
    static var about: String { get }
    /// Of each verb, a command a line.
    static var addExamples: String { get }
    static var removeExamples: String { get }
    static var listExamples: String { get }
}

enum AllowList: NamedList {
    static let list = ListEntry.List.allow
    static let about = """
        An entry is an address, a network, a domain with all below it, a mailbox, or `user@` at any domain. An address is taken \
        for a client; a domain or mailbox for a *sender*, unless --as client (the client's confirmed name lies in it) or \
        --as recipient says otherwise. Anybody can write any sender: a sender entry counts only where SPF passes for its domain \
        (elsewhere a block around it stands), and is refused (exit code 65) where look-ups are off.
        """
    static let addExamples = """
          postern allow add 192.0.2.0/24 --note "our newsletter"
          postern allow add example.org --as client --for 30d
          postern allow add noc@example.net --as recipient
        """
    static let removeExamples = """
          postern allow remove 192.0.2.0/24
          postern allow remove example.org --as client
        """
    static let listExamples = """
          postern allow list
          postern allow list example.org --as client --json
        """
}

enum BlockList: NamedList {
    static let list = ListEntry.List.block
    static let about = """
        An entry is an address, a network, a domain with all below it, a mailbox, or `user@` at any domain. An address is taken \
        for a client, a domain or mailbox for a sender; --as says otherwise. The narrower of an allow and a block entry counts. \
        Postmaster and abuse stay reachable for everybody.

        The list also shows what our own traps have harvested, why, and until when. Removing such an address keeps it off for \
        `harvest.keep_off`.
        """
    static let addExamples = """
          postern block add 192.0.2.7 --for 4d --note "spam run"
          postern block add spammer@example.com
          postern block add dyn.example.com --as client
        """
    static let removeExamples = """
          postern block remove 192.0.2.7
          postern block remove dyn.example.com --as client
        """
    static let listExamples = """
          postern block list
          postern block list 192.0.2.7
          postern block list --json \\
              | jq -r '.[] | select(.source == "harvest") | .entry'
        """
}

enum TrapList: NamedList {
    static let list = ListEntry.List.trap
    static let about = """
        An entry is a mailbox, a domain with all below it, or `user@` at any domain. A stranger who writes to it, by the gateway or \
        by a mail server that asks the policy service, is put on the lists at once. The answer is what it would be for any other \
        address, so that nobody can tell a trap from a mailbox. A domain of `domains`, or one above it, is taken only with --force. \
        Postmaster and abuse are never traps.
        """
    static let addExamples = """
          postern trap add old-sales@example.net --note "on the web page since 2019"
          postern trap add spare.example.net
        """
    static let removeExamples = """
          postern trap remove old-sales@example.net
        """
    static let listExamples = """
          postern trap list
          postern trap list old-sales@example.net --json
        """
}

extension NamedList {
    static func discussion(_ examples: String...) -> String { "\(about)\n\nEXAMPLES\n\(examples.joined(separator: "\n"))" }
}

struct Allow: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Entries that are never greylisted.",
        discussion: AllowList.discussion(AllowList.addExamples, AllowList.removeExamples, AllowList.listExamples),
        subcommands: [AddEntries<AllowList>.self, RemoveEntries<AllowList>.self, ListEntries<AllowList>.self])
}

struct Block: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Entries whose mail is refused, and clients that traps have listed.",
        discussion: BlockList.discussion(BlockList.addExamples, BlockList.removeExamples, BlockList.listExamples),
        subcommands: [AddEntries<BlockList>.self, RemoveEntries<BlockList>.self, ListEntries<BlockList>.self, RemoveSelf.self])
}

struct Trap: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Mailboxes and domains that exist for nothing but to catch spam.",
        discussion: TrapList.discussion(TrapList.addExamples, TrapList.removeExamples, TrapList.listExamples),
        subcommands: [AddEntries<TrapList>.self, RemoveEntries<TrapList>.self, ListEntries<TrapList>.self])
}

struct AddEntries<Which: NamedList>: AsyncParsableCommand {
    static var configuration: CommandConfiguration {
        CommandConfiguration(commandName: "add", abstract: "Add entries.", discussion: Which.discussion(Which.addExamples))
    }

    @OptionGroup var options: CommonOptions

    @Argument(help: ArgumentHelp("Address, network, domain, mailbox or 'user@'.", valueName: "entry"))
    var entries: [String]

    @Option(name: .customLong("as"), help: "What the entry is: client, sender or recipient.")
    var kind: ListEntry.Kind?

    @Option(name: .customLong("for"), help: ArgumentHelp("How long it counts, such as 4d. Default: for ever.", valueName: "time"))
    var span: WallTime.Span?

    @Option(name: .long, help: ArgumentHelp("Why it is there, for whoever reads the list later.", valueName: "text"))
    var note = ""

    @Flag(name: .long, help: "trap: take a domain that we receive mail for.")
    var force = false

    func validate() throws {
        try checkLength(span, "--for")
        if force, Which.list != .trap { throw ValidationError("--force is for traps.") }
    }

    func run() async throws {
        let drafts = entries.map {
            var draft = EntryDraft(list: Which.list, kind: kind, pattern: $0, for: span, note: note)
            if force { draft.force = true }
            return draft
        }
        try await options.ask(.add(entries: drafts), for: .writing) { reply in
            guard case .added(let reports) = reply else { throw unexpected(reply) }
            if Which.list == .trap {
                for report in reports where report.entry.hasPrefix("postmaster@") || report.entry.hasPrefix("abuse@") {
                    Output.error("\(report.entry) will catch nobody: mail to postmaster and abuse never counts against its client")
                }
            }
            if options.json { return try Output.json(reports) }
            for report in reports {
                let end = report.expires.map { " until \($0.shortTime) UTC" } ?? ""
                Output.line("added: \(Which.list.rawValue) \(report.kind.rawValue) \(report.entry)\(end)")
            }
        }
    }
}

struct RemoveEntries<Which: NamedList>: AsyncParsableCommand {
    static var configuration: CommandConfiguration {
        CommandConfiguration(commandName: "remove", abstract: "Remove entries.", discussion: Which.discussion(Which.removeExamples))
    }

    @OptionGroup var options: CommonOptions

    @Argument(help: ArgumentHelp("Address, network, domain, mailbox or 'user@'.", valueName: "entry"))
    var entries: [String]

    @Option(name: .customLong("as"), help: "What the entry is: client, sender or recipient.")
    var kind: ListEntry.Kind?

    func run() async throws {
        try await options.withStore(for: .writing) { access in
            var removed: [EntryReport] = []
            for entry in entries {
                let reply = try await access.send(.remove(EntryName(list: Which.list, kind: kind, pattern: entry)))
                guard case .removed(let report) = reply else { throw unexpected(reply) }
                removed.append(report)
            }
            if options.json { return try Output.json(removed) }
            for report in removed { Output.line("removed: \(Which.list.rawValue) \(report.kind.rawValue) \(report.entry)") }
        }
    }
}

struct ListEntries<Which: NamedList>: AsyncParsableCommand {
    static var configuration: CommandConfiguration {
        CommandConfiguration(commandName: "list", abstract: "List the entries.", discussion: Which.discussion(Which.listExamples))
    }

    @OptionGroup var options: CommonOptions

    @Argument(
        help: ArgumentHelp("Only this one, and those that hold it: networks of an address, the domain of a mailbox.", valueName: "entry"))
    var entry: String?

    @Option(name: .customLong("as"), help: "Only those of a kind: client, sender or recipient.")
    var kind: ListEntry.Kind?

    func run() async throws {
        try await options.ask(.entries(list: Which.list, named: entry, kind: kind), for: .reading) { reply in
            guard case .entries(let reports) = reply else { throw unexpected(reply) }
            if options.json { return try Output.json(reports) }
            guard !reports.isEmpty else {
                return Output.line("no \(Which.list.rawValue) entries" + (entry.map { " for \($0)" } ?? ""))
            }
            let rows = reports.map {
                [
                    $0.kind.rawValue, $0.entry, $0.added.shortTime, $0.expires?.shortTime ?? "never",
                    ($0.colour.map { "\($0.rawValue): " } ?? "") + $0.note,
                ]
            }
            Output.line(Output.table(["KIND", "ENTRY", "ADDED (UTC)", "EXPIRES (UTC)", "NOTE"], rows))
        }
    }
}

/// What a web page calls for somebody who is listed.
struct RemoveSelf: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove-self", abstract: "Take a harvested address off, at its own request, once.",
        discussion: """
            For a web page that the listed can reach: --requester is the address that it was asked from, and must be the listed one (of \
            IPv6, in its /64). It works once for each address; new evidence may list it again, and then a person must decide. Exits with \
            65 where it is not listed, 77 where it may not, 75 where there were too many within the hour.

            EXAMPLES
              postern block remove-self 192.0.2.7 --requester 192.0.2.7
            """)

    @OptionGroup var options: CommonOptions

    @Argument(help: "The listed address.")
    var address: String

    @Option(name: .long, help: ArgumentHelp("Where the request came from.", valueName: "address"))
    var requester: String

    func validate() throws {
        try checkAddress(address)
        try checkAddress(requester)
    }

    func run() async throws {
        try await options.ask(.removeItself(address: address, requester: requester), for: .daemonOnly) { reply in
            guard case .removed(let report) = reply else { throw unexpected(reply) }
            if options.json { return try Output.json(report) }
            Output.line("removed: \(report.colour?.rawValue ?? "") \(report.entry)")
        }
    }
}

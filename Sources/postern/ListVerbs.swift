import ArgumentParser
import PosternControl
import PosternCore
import PosternEngine

// `allow` and `block` are the same but for the list that they are about.

struct Allow: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Entries that are never greylisted.",
        discussion: """
            An entry is an address, a network, a domain with all below it, a mailbox, or `user@` at any domain. An address is taken \
            for a client; a domain or mailbox for a *sender*, unless --as client (the client's confirmed name lies in it) or \
            --as recipient says otherwise. Anybody can write any sender: a sender entry counts only where SPF passes for its domain, \
            and is refused (exit code 65) where look-ups are off.

            EXAMPLES
              postern allow add 192.0.2.0/24 --note "our newsletter"
              postern allow add example.org --as client --for 30d
              postern allow add noc@example.net --as recipient
              postern allow remove 192.0.2.0/24
              postern allow list --json
            """,
        subcommands: [Add.self, Remove.self, List.self])

    struct Add: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Add entries.")
        @OptionGroup var options: CommonOptions
        @OptionGroup var draft: DraftOptions
        func run() async throws { try await draft.add(to: .allow, options) }
    }

    struct Remove: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Remove entries.")
        @OptionGroup var options: CommonOptions
        @OptionGroup var names: NameOptions
        func run() async throws { try await names.remove(from: .allow, options) }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List the entries.")
        @OptionGroup var options: CommonOptions
        func run() async throws { try await listEntries(.allow, options) }
    }
}

struct Block: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Entries whose mail is refused.",
        discussion: """
            An entry is an address, a network, a domain with all below it, a mailbox, or `user@` at any domain. An address is taken \
            for a client, a domain or mailbox for a sender; --as says otherwise. The narrower of an allow and a block entry counts. \
            Postmaster and abuse stay reachable for everybody.

            EXAMPLES
              postern block add 192.0.2.7 --for 4d --note "spam run"
              postern block add spammer@example.com
              postern block add dyn.example.com --as client
              postern block remove 192.0.2.7
              postern block list
            """,
        subcommands: [Add.self, Remove.self, List.self])

    struct Add: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Add entries.")
        @OptionGroup var options: CommonOptions
        @OptionGroup var draft: DraftOptions
        func run() async throws { try await draft.add(to: .block, options) }
    }

    struct Remove: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Remove entries.")
        @OptionGroup var options: CommonOptions
        @OptionGroup var names: NameOptions
        func run() async throws { try await names.remove(from: .block, options) }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List the entries.")
        @OptionGroup var options: CommonOptions
        func run() async throws { try await listEntries(.block, options) }
    }
}

struct NameOptions: ParsableArguments {
    @Argument(help: ArgumentHelp("Address, network, domain, mailbox or 'user@'.", valueName: "entry"))
    var entries: [String]

    @Option(name: .customLong("as"), help: "What the entry is: client, sender or recipient.")
    var kind: ListEntry.Kind?

    func remove(from list: ListEntry.List, _ options: CommonOptions) async throws {
        try await options.withStore(for: .writing) { access in
            var removed: [EntryReport] = []
            for entry in entries {
                let reply = try await access.send(.remove(EntryName(list: list, kind: kind, pattern: entry)))
                guard case .removed(let report) = reply else { throw unexpected(reply) }
                removed.append(report)
            }
            if options.json { return try Output.json(removed) }
            for report in removed { Output.line("removed: \(list.rawValue) \(report.kind.rawValue) \(report.entry)") }
        }
    }
}

struct DraftOptions: ParsableArguments {
    @Argument(help: ArgumentHelp("Address, network, domain, mailbox or 'user@'.", valueName: "entry"))
    var entries: [String]

    @Option(name: .customLong("as"), help: "What the entry is: client, sender or recipient.")
    var kind: ListEntry.Kind?

    @Option(name: .customLong("for"), help: ArgumentHelp("How long it counts, such as 4d. Default: for ever.", valueName: "time"))
    var span: WallTime.Span?

    @Option(name: .long, help: ArgumentHelp("Why it is there, for whoever reads the list later.", valueName: "text"))
    var note = ""

    func add(to list: ListEntry.List, _ options: CommonOptions) async throws {
        let drafts = entries.map { EntryDraft(list: list, kind: kind, pattern: $0, for: span, note: note) }
        try await options.ask(.add(entries: drafts), for: .writing) { reply in
            guard case .added(let reports) = reply else { throw unexpected(reply) }
            if options.json { return try Output.json(reports) }
            for report in reports {
                let end = report.expires.map { " until \($0.shortTime) UTC" } ?? ""
                Output.line("added: \(list.rawValue) \(report.kind.rawValue) \(report.entry)\(end)")
            }
        }
    }
}

func listEntries(_ list: ListEntry.List, _ options: CommonOptions) async throws {
    try await options.ask(.entries(list: list), for: .reading) { reply in
        guard case .entries(let reports) = reply else { throw unexpected(reply) }
        if options.json { return try Output.json(reports) }
        guard !reports.isEmpty else { return Output.line("no \(list.rawValue) entries") }
        let rows = reports.map {
            [$0.kind.rawValue, $0.entry, $0.added.shortTime, $0.expires?.shortTime ?? "never", $0.note]
        }
        Output.line(Output.table(["KIND", "ENTRY", "ADDED (UTC)", "EXPIRES (UTC)", "NOTE"], rows))
    }
}

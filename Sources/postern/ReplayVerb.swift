import ArgumentParser
import DNSProtocol
import Foundation
import LogFiles
import PosternConfiguration
import PosternControl
import PosternCore
import PosternEngine
import PosternReplay
import PosternResolver
import PosternServer
import PublicSuffix

struct ReplayVerb: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replay",
        abstract: "Tell what a policy would have done to past mail.",
        discussion: """
            Reads mail logs of Postfix (with postscreen, postgrey and SPF policy services) and tables (CSV, TSV) with a heading that names \
            at least time, client_address, sender and recipient; plain, gzip or zstd; in any order, of one server or several. Runs every \
            attempt through the engine at its own time and reports what would have been blocked, passed and delayed. Nothing is \
            changed, and no daemon is needed. docs/replay.md explains the report and what it assumes.

            EXAMPLES
              postern replay /var/log/mail.log*
              postern replay --config new.yaml \\
                  --against /etc/postern/postern.yaml /var/log/mail.log
              zcat archive.gz | postern replay --json - | jq .policies[0].all
            """)

    @OptionGroup var options: CommonOptions
    @OptionGroup var reading: ReadingArguments
    @OptionGroup var retries: RetryArguments

    @Option(name: .long, help: ArgumentHelp("Compare with this configuration.", valueName: "file"))
    var against: String?

    @Option(
        name: .long,
        help: ArgumentHelp("A table of evidence: client_address, sender_domain, helo, spf, dnsbl and others.", valueName: "file"))
    var evidence: String?

    @Flag(name: .long, help: "Ask the resolvers of the configuration what the data does not tell.")
    var lookUp = false

    @Option(name: .long, help: ArgumentHelp("Write what was looked up to a file that --evidence reads.", valueName: "file"))
    var keepEvidence: String?

    @Option(
        name: .customLong("list"),
        help: ArgumentHelp(
            "What a DNS list that the data names adds to the score, in place of dns_lists: zone=127.0.0.[2..11]*3. May be repeated.",
            valueName: "list"))
    var lists: [String] = []

    @Flag(name: .long, help: "Heed the allow and block entries that the store has now.")
    var entries = false

    @Option(name: .long, help: ArgumentHelp("An honest message that is delayed longer than this suffers.", valueName: "time"))
    var late = WallTime.Span.minutes(15)

    @Option(name: .long, help: ArgumentHelp("Domains and senders to list.", valueName: "number"))
    var rows = 20

    @Option(name: .long, help: ArgumentHelp("Octets of a message whose size is not known.", valueName: "number"))
    var messageBytes = 5000

    @Option(name: .long, help: ArgumentHelp("Octets of a session that ends in a deferral.", valueName: "number"))
    var deferralBytes = 500

    @Argument(help: ArgumentHelp("Logs and tables; '-' is standard input.", valueName: "file"))
    var files: [String]

    func validate() throws {
        guard (1...1000).contains(rows) else { throw ValidationError("--rows is 1 to 1000.") }
        guard keepEvidence == nil || lookUp else { throw ValidationError("--keep-evidence needs --look-up.") }
        guard messageBytes >= 0, deferralBytes >= 0 else { throw ValidationError("Octets are not negative.") }
        for list in lists { _ = try Self.list(list) }
        try reading.check()
        _ = try retries.model()
    }

    func run() async throws {
        do {
            let policies = try await policies()
            let inputs = try reading.inputs(files)
            let reader = try read { () throws(InputFailure) in try TrafficReader(files: inputs, options: reading.options) }
            var assumptions = Assumptions()
            assumptions.messageOctets = Int64(messageBytes)
            assumptions.deferralOctets = Int64(deferralBytes)
            assumptions.lateAfter = late
            assumptions.rows = rows
            let replay = Replay(
                policies: policies, model: try retries.model(), assumptions: assumptions, domains: try OrganisationalDomainList.load())
            var progress = ReadingProgress(inputs)
            var batch: [LoggedAttempt] = []
            while reader.advance({ batch.append($0) }) {
                await replay.take(batch)
                batch.removeAll(keepingCapacity: true)
                progress.show(reader)
            }
            await replay.take(batch)
            progress.end()
            try keep(policies)
            let report = replay.report(of: reader, files: inputs.map(\.name), notes: notes(policies))
            if options.json { try Output.json(report) } else { Output.line(report.text) }
            guard report.input.counts.attempts > 0 else {
                throw ControlFailure(.badData, "nothing was found that could be replayed; see docs/replay.md for what is read")
            }
        } catch let failure as ControlFailure {
            throw Output.exit(failure)
        }
    }

    // MARK: - Policies

    private func policies() async throws -> [ReplayPolicy] {
        var policies = [try await policy(options.file)]
        if let against { policies.append(try await policy(ConfigurationFile(named: against))) }
        return policies
    }

    private func policy(_ file: ConfigurationFile) async throws -> ReplayPolicy {
        let configuration = try loaded(file)
        var settings = configuration.engineSettings
        // The data may tell what nobody is there to be asked for now.
        settings.looksUp = true
        let engine = Engine(
            settings: settings, lists: entries ? try await heeded(configuration) : Lists(), domains: try OrganisationalDomainList.load())
        let table = try evidence.map { path in try read { () throws(InputFailure) in try EvidenceTable(try LogFile.file(path)) } }
        if let problems = table?.problems, problems.count > 0 {
            Output.error("\(evidence ?? ""): \(problems.count) rows left out: \(problems.reasons[0].reason)")
        }
        let lists = RecordedLists(configuration.dnsLists, named: try lists.map { try Self.list($0) })
        var recorded = RecordedFindings(table: table, lists: lists)
        // Look-ups made now ask the databases themselves.
        if !lookUp { recorded.registry = registry(configuration) }
        return ReplayPolicy(
            name: file.path ?? "built-in defaults", engine: engine,
            isConversation: configuration.listeners.contains { $0.role == .gateway },
            findings: lookUp ? LiveFindings(try await gatherer(configuration), recorded: recorded) : recorded)
    }

    /// The databases of countries and networks, where any of these adds to the score.
    private func registry(_ configuration: Configuration) -> (any AddressRegistry)? {
        let geography = configuration.geography
        guard !geography.countries.isEmpty || !geography.networks.isEmpty, !geography.databases.isEmpty else { return nil }
        let databases = NetworkDatabases(geography.databases)
        for path in databases.unread { Output.error("geo.databases: \(path) cannot be read; what it would tell is not known") }
        return RegistryFiles(databases: databases)
    }

    private func gatherer(_ configuration: Configuration) async throws -> EvidenceGatherer {
        let started: LookUps?
        do throws(ResolverStartFailure) {
            started = try await LookUps.started(configuration)?.lookUps
        } catch {
            throw ControlFailure(.unavailable, error.description)
        }
        guard let started, started.gatherer.health.answers else {
            throw ControlFailure(.unavailable, "no resolver answers (dns.resolvers), so nothing can be looked up")
        }
        for status in started.lists.statuses where !status.isLive {
            Output.error("the DNS list \(status.name) is not asked: \(status.ailment?.description ?? "it does not answer")")
        }
        return started.gatherer
    }

    /// All policies' look-ups in one table.
    private func keep(_ policies: [ReplayPolicy]) throws {
        guard let keepEvidence else { return }
        let table = LiveFindings.table(of: policies.compactMap { $0.findings as? LiveFindings })
        do {
            try table.write(toFile: keepEvidence, atomically: true, encoding: .utf8)
        } catch {
            throw ControlFailure(.cannotCreate, "cannot write \(keepEvidence): \(error.localizedDescription)")
        }
    }

    private func loaded(_ file: ConfigurationFile) throws -> Configuration {
        do throws(ConfigurationFailure) {
            return try file.load().configuration
        } catch {
            for diagnostic in error.diagnostics { Output.diagnostic(diagnostic) }
            throw ExitCode(ControlFailure.Code.configuration.rawValue)
        }
    }

    /// The entries in the store, as if they had been there all the time.
    private func heeded(_ configuration: Configuration) async throws -> Lists {
        let access = try await StoreAccess.open(configuration, for: .reading)
        var lists = Lists()
        for list in ListEntry.List.allCases {
            guard case .entries(let reports) = try await access.send(.entries(list: list)) else { continue }
            for report in reports {
                guard let pattern = Pattern(report.entry) else { continue }
                lists.insert(ListEntry(report.list, report.kind, pattern, note: report.note, added: WallTime(milliseconds: 0)))
            }
        }
        await access.close()
        return lists
    }

    private static func list(_ text: String) throws -> ListSpecification {
        do throws(ListSyntaxError) {
            return try ListSpecification(text)
        } catch {
            throw ValidationError("--list \(text): \(error.description)")
        }
    }

    private func notes(_ policies: [ReplayPolicy]) -> [String] {
        var notes: [String] = []
        if policies.contains(where: { $0.engine.settings.greylist.mode == .shadow }) {
            notes.append("greylist.mode is shadow: it was replayed as if it were on")
        }
        if policies.contains(where: { $0.engine.settings.greylist.mode == .off }) {
            notes.append("greylist.mode is off: nothing is deferred")
        }
        return notes
    }
}

extension RecordedLists {
    /// Those of the policy's own `dns_lists`, and in their place those that are named beside it.
    fileprivate init(_ lists: [Configuration.DNSList], named: [ListSpecification]) {
        var zones = Dictionary(lists.map { ($0.zone.text, $0.filters.entries) }, uniquingKeysWith: +)
        for specification in named { zones[specification.zone.text] = [] }
        for specification in named {
            zones[specification.zone.text]?.append(.init(filter: specification.filter, weight: specification.weight ?? 1))
        }
        self.init(zones.mapValues { ListFilters($0) }, names: lists.map { ($0.name, $0.zone.text) })
    }
}

/// The configuration's files of countries and networks.
private struct RegistryFiles: AddressRegistry {
    let databases: NetworkDatabases

    func country(of address: IPAddress) -> String? { databases.country(of: address) }
    func owner(of address: IPAddress) -> NetworkOwner? { databases.owner(of: address) }
}

/// What is wrong with input, in the terms of exit codes.
func read<Value>(_ work: () throws(InputFailure) -> Value) throws(ControlFailure) -> Value {
    do throws(InputFailure) {
        return try work()
    } catch {
        throw ControlFailure(error.isBadData ? .badData : .noInput, error.description)
    }
}

enum OrganisationalDomainList {
    static func load() throws(ControlFailure) -> PublicSuffixList {
        guard let list = PublicSuffixList() else {
            throw ControlFailure(.unavailable, "libpsl has no public suffix list; install Debian's publicsuffix package")
        }
        return list
    }
}

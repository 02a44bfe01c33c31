import ArgumentParser
import MailExchangers
import PosternConfiguration
import PosternControl
import PosternCore
import PosternEngine
import PosternResolver
import PosternServer
import PublicSuffix

struct MX: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mx", abstract: "Check a domain's MX records for pitfalls; plan better ones.",
        discussion: """
            EXAMPLES
              postern mx check example.org
              postern mx plan example.org --real mail.example.org --trap ADDRESS
            """,
        subcommands: [Check.self, Plan.self])
}

/// A domain and whom to ask about it; what both verbs share.
struct SurveyArguments: ParsableArguments {
    @Argument(help: ArgumentHelp("The domain.", valueName: "domain"))
    var domain: String

    func validate() throws {
        // With an @ before it, a name without a dot is a domain, too.
        guard IPAddress(domain) == nil, case .domain(let name)? = Pattern("@\(domain)"), name.asciiForm != nil else {
            throw ValidationError("'\(domain.printable)' is not a domain")
        }
    }

    func survey(_ configuration: Configuration, _ configure: (inout Surveyor) -> Void) async throws -> Survey {
        guard let name = DomainName(domain) else { throw ValidationError("'\(domain.printable)' is not a domain") }
        let domains = try OrganisationalDomainList.load()
        let settings = ResolverSettings(configuration.dns)
        guard !settings.servers.isEmpty else {
            throw ControlFailure(.unavailable, "dns.resolvers is empty, so nobody can be asked")
        }
        let resolver: Resolver
        do throws(ResolverStartFailure) {
            resolver = try Resolver(settings)
        } catch {
            throw ControlFailure(.unavailable, error.description)
        }
        defer { resolver.close() }
        var surveyor = Surveyor(resolver: resolver) { host, domain in
            let own = domains.organisationalDomain(of: domain) ?? domain
            return host.isWithin(own)
        }
        configure(&surveyor)
        return await surveyor.survey(name)
    }
}

extension MX {
    struct Check: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "check",
            abstract: "Look for every known pitfall in a domain's MX records.",
            discussion: """
                Asks the resolvers of the configuration (dns.resolvers), then connects to every public address of every MX on port 25 \
                and begins a bounce to postmaster, up to RCPT, or with --data up to DATA, which some fake MXs defer: no message is \
                sent. Where a host has several addresses the worst of them counts. Run it from outside the domain's own network, and \
                where port 25 is open to the outside. Exits with 0 where there are no errors (warnings may be), 65 where there are, 69 \
                where the DNS does not answer.

                EXAMPLES
                  postern mx check example.org
                  postern mx check example.org --no-connect
                  postern mx check example.org --json \\
                      | jq -r '.pitfalls[] | "\\(.severity) \\(.host) \\(.text)"'
                """)

        @OptionGroup var options: CommonOptions
        @OptionGroup var subject: SurveyArguments

        @Flag(name: .long, help: "Ask the DNS only, and connect to nobody.")
        var noConnect = false

        @Flag(name: .long, help: "Go on to DATA, and hang up there.")
        var data = false

        @Option(name: .long, help: "The port to connect to.")
        var port: UInt16 = 25

        @Option(name: .long, help: ArgumentHelp("How long one host has for its whole conversation: 100ms to 5m.", valueName: "time"))
        var timeout = WallTime.Span.seconds(20)

        @Option(
            name: .long,
            help: ArgumentHelp("Take addresses in this network for public, in a laboratory. May be repeated.", valueName: "network"))
        var alsoPublic: [String] = []

        func validate() throws {
            guard port > 0 else { throw ValidationError("--port is 1 to 65535.") }
            guard (.milliseconds(100) ... .minutes(5)).contains(timeout) else { throw ValidationError("--timeout is 100ms to 5m.") }
            for network in alsoPublic where Prefix(network) == nil {
                throw ValidationError("'\(network.printable)' is not a network, such as 192.0.2.0/24")
            }
        }

        func run() async throws {
            let configuration = try options.configuration()
            do {
                let survey = try await subject.survey(configuration) { surveyor in
                    surveyor.alsoPublic = alsoPublic.compactMap { Prefix($0) }
                    guard !noConnect else { return }
                    var probe = ProbeSettings(hostname: configuration.hostname)
                    probe.port = port
                    probe.patience = timeout
                    probe.triesData = data
                    surveyor.probe = probe
                }
                let report = MXReport(survey)
                if options.json { try Output.json(report) } else { Output.line(report.text) }
                if case .unknown = survey.records { throw ExitCode(ControlFailure.Code.unavailable.rawValue) }
                guard report.errors == 0 else { throw ExitCode(ControlFailure.Code.badData.rawValue) }
            } catch let failure as ControlFailure {
                throw Output.exit(failure)
            }
        }
    }

    struct Plan: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "plan",
            abstract: "Print MX records to publish: a fake last one, and a closed first one for whoever wants it.",
            discussion: """
                The hosts that take the mail are those of --real; without it those of the MX records that the domain has now stand in \
                their place, whether they take mail or not. An address that is not given stands in capitals for you to fill in. docs/mx.md tells what the records do, and to whom.

                EXAMPLES
                  postern mx plan example.org
                  postern mx plan example.org --real mail.example.org \\
                      --trap ADDRESS --closed ADDRESS
                """)

        @OptionGroup var options: CommonOptions
        @OptionGroup var subject: SurveyArguments

        @Option(name: .long, help: ArgumentHelp("A host that takes the mail; may be repeated, the first one first.", valueName: "host"))
        var real: [String] = []

        @Option(name: .long, help: ArgumentHelp("A public address where the trap listens.", valueName: "address"))
        var trap: String?

        @Option(name: .long, help: ArgumentHelp("A public address of yours with port 25 closed.", valueName: "address"))
        var closed: String?

        func validate() throws {
            for host in real where DomainName(host) == nil || IPAddress(host) != nil {
                throw ValidationError("'\(host.printable)' is not a host's name")
            }
            guard real.count <= Surveyor.mostExchangers else { throw ValidationError("At most \(Surveyor.mostExchangers) hosts.") }
            for text in [trap, closed] {
                guard let text else { continue }
                guard let address = IPAddress(text) else { throw ValidationError("'\(text.printable)' is not an address") }
                if let kind = SpecialNetworks.kind(of: address) {
                    throw ValidationError(
                        "\(address) is \(kind.name) (\(kind.source)): nobody out there can reach it, and some sites refuse mail of a domain with such an MX"
                    )
                }
            }
        }

        func run() async throws {
            let configuration = try options.configuration()
            do {
                let plan = MXPlan(
                    domain: try domain, real: try await hosts(configuration), isPublished: real.isEmpty,
                    closed: closed.flatMap { IPAddress($0) },
                    trap: trap.flatMap { IPAddress($0) })
                if options.json { try Output.json(MXPlanReport(plan)) } else { Output.line(plan.text) }
            } catch let failure as ControlFailure {
                throw Output.exit(failure)
            }
        }

        private var domain: DomainName {
            get throws {
                guard let name = DomainName(subject.domain)?.asciiForm else { throw ControlFailure(.badData, "that is not a domain") }
                return name
            }
        }

        /// Those that are named, else those that are published now; fake ones of an earlier plan are not among them.
        private func hosts(_ configuration: Configuration) async throws -> [String] {
            guard real.isEmpty else { return real.compactMap { DomainName($0)?.asciiForm?.text } }
            let survey = try await subject.survey(configuration) { _ in }
            let domain = try domain
            switch survey.records {
            case .exchangers:
                let hosts = survey.exchangers.map(\.name).filter { !$0.isEmpty && $0 != "mx0.\(domain)" && $0 != "mx9.\(domain)" }
                if !hosts.isEmpty { return hosts }
            case .implicit: return [domain.text]
            case .unknown(let why):
                throw ControlFailure(.unavailable, "the DNS does not say where \(domain) takes mail (\(why)); name the hosts with --real")
            case .null, .none, .noSuchDomain: break
            }
            throw ControlFailure(.badData, "\(domain) takes no mail now; name the hosts that are to take it with --real")
        }
    }
}

// MARK: - What is printed

private struct MXReport: Encodable {
    struct Address: Encodable {
        var address: String
        var isPublic: Bool
        /// Why it is not public.
        var kind: String?
        var behaviour: String?
        var stage: String?
        var code: Int?
        var text: String?
    }

    struct Exchanger: Encodable {
        var preference: UInt16
        var host: String
        var alias: String?
        var isOwn: Bool
        var addresses: [Address]
    }

    struct Found: Encodable {
        var severity: String
        var code: String
        var host: String?
        var text: String
        var advice: String
    }

    var domain: String
    var records: String
    var connected: Bool
    var errors: Int
    var warnings: Int
    var exchangers: [Exchanger]
    var pitfalls: [Found]

    init(_ survey: Survey) {
        domain = survey.domain.text
        records =
            switch survey.records {
            case .exchangers: "mx"
            case .null: "null-mx"
            case .implicit: "address"
            case .none: "none"
            case .noSuchDomain: "no-such-domain"
            case .unknown: "unknown"
            }
        connected = survey.connected
        exchangers = survey.exchangers.map { exchanger in
            Exchanger(
                preference: exchanger.preference, host: exchanger.name, alias: exchanger.alias, isOwn: exchanger.isOwn,
                addresses: exchanger.addresses.map { Address($0) })
        }
        let found = survey.pitfalls
        errors = found.count { $0.severity == .error }
        warnings = found.count { $0.severity == .warning }
        pitfalls = found.map {
            Found(
                severity: $0.severity.rawValue, code: $0.code.rawValue, host: $0.host.isEmpty ? nil : $0.host, text: $0.text,
                advice: $0.advice)
        }
    }

    var text: String {
        var lines: [String] = []
        for exchanger in exchangers {
            lines.append(
                "\(exchanger.preference)  \(exchanger.host.isEmpty ? "." : exchanger.host)\(exchanger.alias.map { "  (alias of \($0))" } ?? "")"
            )
            for address in exchanger.addresses {
                var words = "    \(address.address)"
                if let kind = address.kind { words += ": \(kind), not connected to" }
                if let text = address.text { words += ": \(text)" }
                lines.append(words)
            }
            if exchanger.addresses.isEmpty, !exchanger.host.isEmpty { lines.append("    no address") }
        }
        for (severity, heading) in [("error", "ERRORS"), ("warning", "WARNINGS"), ("note", "NOTES")] {
            let found = pitfalls.filter { $0.severity == severity }
            guard !found.isEmpty else { continue }
            lines += ["", heading]
            for pitfall in found { lines += ["- \(pitfall.text)", "    -> \(pitfall.advice)"] }
        }
        if pitfalls.isEmpty { lines += ["", connected ? "nothing is wrong" : "nothing is wrong, as far as the DNS tells"] }
        return lines.map(\.printable).joined(separator: "\n")
    }
}

extension MXReport.Address {
    fileprivate init(_ host: Host) {
        address = "\(host.address)"
        isPublic = host.special == nil
        kind = host.special.map { "\($0.name) (\($0.source))" }
        behaviour = host.behaviour?.name
        text = host.behaviour?.text
        switch host.behaviour {
        case .defers(let stage, let code, _)?, .rejects(let stage, let code, _)?:
            self.stage = stage.rawValue
            self.code = code
        case .silent(let stage)?, .drips(let stage)?, .hangsUp(let stage)?: self.stage = stage.rawValue
        case nil, .refuses?, .timesOut?, .unreachable?, .notSMTP?, .accepts?: break
        }
    }
}

private struct MXPlanReport: Encodable {
    struct Record: Encodable {
        var name: String
        var type: String
        var value: String
        var purpose: String
        var optional: Bool
    }

    var domain: String
    var records: [Record]
    var warnings: [String]
    var steps: [String]

    init(_ plan: MXPlan) {
        domain = plan.domain.text
        records = plan.records.map { Record(name: $0.name, type: $0.type, value: $0.value, purpose: $0.purpose, optional: $0.isOptional) }
        warnings = plan.warnings
        steps = plan.steps
    }
}

extension MXPlan {
    fileprivate var text: String {
        var lines = ["; records for the zone of \(domain)"] + zoneFile
        lines += ["", "WARNINGS"] + warnings.map { "- \($0)" }
        lines += ["", "HOW TO GO ABOUT IT"] + steps.enumerated().map { "\($0.offset + 1). \($0.element)" }
        return lines.map(\.printable).joined(separator: "\n")
    }
}

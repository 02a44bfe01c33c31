import ArgumentParser
import PosternControl
import PosternCore
import PosternResolver
import PosternServer
import SPF

struct SPFVerb: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "spf",
        abstract: "Tell whether a client may use a sender's domain, by its SPF record, and why.",
        discussion: """
            Asks the resolvers of the configuration (dns.resolvers) and tells the result as RFC 7208 words it: none, neutral, pass, \
            fail, softfail, temperror or permerror. With --from '' the null sender is checked, that is postmaster at the HELO name; \
            without --from the HELO name itself. Needs no daemon. The exit code is 0 whatever the result.

            EXAMPLES
              postern spf --ip 192.0.2.7 --from jo@example.org --helo mail.example.org
              postern spf --ip 2001:db8::7 --from '' --helo mail.example.org
              postern spf --ip 192.0.2.7 --helo mail.example.org --json | jq -r .result
            """)

    /// RFC 7208 §4.6.4: at least 20 s for a whole check. A person waits; decisions have `dns.timeout`.
    static let patience = WallTime.Span.seconds(20)

    @OptionGroup var options: CommonOptions

    @Option(name: .customLong("ip"), help: ArgumentHelp("The client's address.", valueName: "address"))
    var address: String

    @Option(name: .customLong("from"), help: ArgumentHelp("The envelope sender; '' or '<>' for the null sender.", valueName: "sender"))
    var sender: String?

    @Option(name: .long, help: ArgumentHelp("What the client says in HELO or EHLO.", valueName: "name"))
    var helo = ""

    func validate() throws {
        try checkAddress(address)
        guard sender != nil || !helo.isEmpty else { throw ValidationError("one of --from and --helo is needed") }
    }

    func run() async throws {
        guard let address = IPAddress(address) else { return }
        let configuration = try options.configuration()
        let settings = ResolverSettings(configuration.dns)
        guard !settings.servers.isEmpty else {
            throw Output.exit(ControlFailure(.unavailable, "dns.resolvers is empty, so nobody can be asked"))
        }
        let outcome: SPFOutcome
        do throws(ResolverStartFailure) {
            let resolver = try Resolver(settings)
            defer { resolver.close() }
            let lookups = SPFLookups(resolver, deadline: .after(Self.patience))
            let (receiver, time) = (configuration.hostname, SystemClocks.wall())
            outcome =
                if let sender {
                    await SPFCheck.mailFrom(
                        ReversePath(sender.withoutBrackets), helo: helo, address: address, receiver: receiver, time: time, resolver: lookups
                    )
                } else {
                    await SPFCheck.helo(helo, address: address, receiver: receiver, time: time, resolver: lookups)
                }
        } catch {
            throw Output.exit(ControlFailure(.unavailable, error.description))
        }
        if options.json { try Output.json(SPFReport(outcome)) } else { Output.line(outcome.text) }
    }
}

/// What `--json` prints.
private struct SPFReport: Encodable {
    struct Term: Encodable {
        var domain: String
        var term: String
    }

    var result: String
    var summary: String
    var identity: String
    var domain: String?
    var mechanism: String
    var terms: [Term]
    var givesIdentity: Bool
    var weakness: String?
    var explanation: String?
    var problem: String?
    var lookups: Int
    var voidLookups: Int
    var header: String
    var authenticationResults: String

    init(_ outcome: SPFOutcome) {
        result = outcome.result.rawValue
        summary = outcome.summary
        identity = outcome.identity.rawValue
        domain = outcome.domain?.text
        mechanism = outcome.mechanism
        terms = outcome.terms.map { Term(domain: $0.domain, term: $0.text) }
        givesIdentity = outcome.givesIdentity
        weakness = outcome.weakness?.rawValue
        explanation = outcome.explanation
        problem = outcome.problem?.description
        lookups = outcome.lookups
        voidLookups = outcome.voidLookups
        header = outcome.receivedSPF
        authenticationResults = outcome.authenticationResult
    }
}

extension SPFOutcome {
    fileprivate var text: String {
        var items = [("result", result.rawValue), ("because", summary)]
        for (index, term) in terms.enumerated() {
            items.append((index == 0 ? "matched" : "", "\(term.text) (\(term.domain))"))
        }
        if let problem { items.append(("problem", problem.description)) }
        // RFC 7208 §6.2: never as our own words.
        if let explanation, let domain { items.append(("explanation", "the domain \(domain) explains: \(explanation)")) }
        if result == .pass { items.append(("identity", weakness.map { "none: \($0.text)" } ?? "the domain vouches for this client")) }
        items += [
            ("look-ups", "\(lookups) of \(SPFLimits.lookups), \(voidLookups) of them answered with nothing"), ("header", receivedSPF),
            ("", "Authentication-Results: \(receiver); \(authenticationResult)"),
        ]
        return Output.list(items)
    }
}

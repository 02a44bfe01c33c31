import ArgumentParser
import PosternControl
import PosternCore

struct Explain: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Tell what would become of a message now, why, and when it will pass.",
        discussion: """
            Asks the engine as the mail server would at RCPT (at DATA for the null sender) and changes nothing.

            EXAMPLES
              postern explain --ip 192.0.2.7 --helo mail.example.org \\
                  --from a@example.org --to b@example.net
              postern explain --ip 192.0.2.7 --name mail.example.org \\
                  --from '' --to b@example.net
            """)

    @OptionGroup var options: CommonOptions

    @Option(name: .customLong("ip"), help: ArgumentHelp("The client's address.", valueName: "address"))
    var address: String

    @Option(
        name: .customLong("name"),
        help: ArgumentHelp("The client's reverse name, where a forward look-up confirms it (Postfix's client_name).", valueName: "host"))
    var name = ""

    @Option(name: .long, help: ArgumentHelp("What the client says in HELO or EHLO.", valueName: "name"))
    var helo = ""

    @Option(name: .customLong("from"), help: ArgumentHelp("The envelope sender; '' or '<>' for the null sender.", valueName: "sender"))
    var sender: String

    @Option(name: .customLong("to"), help: ArgumentHelp("The recipient.", valueName: "recipient"))
    var recipient: String

    @Option(
        name: .long,
        help: ArgumentHelp(
            "The account that the client has authenticated as; without a domain, login_domain of the submission listeners follows it.",
            valueName: "name"))
    var account = ""

    func validate() throws {
        try checkAddress(address)
        guard name.isEmpty || DomainName(name) != nil else { throw ValidationError("'\(name.printable)' is not a host name") }
    }

    func run() async throws {
        let question = Question(
            address: address, name: name == "unknown" ? "" : name, helo: helo, sender: sender.withoutBrackets,
            recipient: recipient.withoutBrackets,
            account: account)
        try await options.ask(.explain(question), for: .reading) { reply in
            guard case .explanation(let explanation) = reply else { throw unexpected(reply) }
            if options.json {
                try Output.json(explanation)
            } else {
                Output.line(explanation.text.replacingFirst(explanation.verdict, with: Terminal.output.verdict(explanation.verdict)))
            }
        }
    }
}

extension String {
    fileprivate func replacingFirst(_ text: String, with other: String) -> String { replacing(text, with: other, maxReplacements: 1) }

    /// People paste addresses from logs.
    var withoutBrackets: String { hasPrefix("<") && hasSuffix(">") ? String(dropFirst().dropLast()) : self }
}

extension Explanation {
    var text: String {
        var items = [("verdict", "\(verdict) (at \(stage))")]
        for (index, cause) in causes.enumerated() {
            let score = cause.score.map { ", score \($0)" } ?? ""
            items.append((index == 0 ? "because" : "", "\(cause.text) [\(cause.check)\(score)]"))
        }
        if let passesAt, let passesInSeconds {
            let span = WallTime.Span.seconds(passesInSeconds)
            items.append(("passes", passesInSeconds > 0 ? "in \(span.spoken), from \(passesAt.shortTime) UTC on" : "now"))
        }
        if let header { items.append(("header", header)) }
        for identity in identities {
            let proof = identity.provenAfter == 0 ? "proving is off" : "proven after \(identity.provenAfter)"
            items.append(("identity", "\(identity.identity): \(identity.passes) messages passed, \(proof)"))
        }
        for triplet in triplets {
            var words = "\(triplet.identity), <\(triplet.sender)>, <\(triplet.recipient)>: "
            if triplet.isKnown {
                words += "first seen \(triplet.firstSeen?.shortTime ?? "") UTC, deferred \(triplet.deferrals ?? 0) times, "
                words += triplet.passedAt.map { "passed \(triplet.passes ?? 0) times since \($0.shortTime) UTC" } ?? "has not passed"
            } else {
                words += "never seen"
            }
            items.append(("triplet", words))
        }
        for limit in limits {
            let left = "\(Int(limit.left)) of \(Int(limit.allowance)) left"
            items.append(("limit", "\(limit.limit), \(limit.subject): \(left)"))
        }
        for fact in facts { items.append(("found", "\(fact.fact): \(fact.value)")) }
        if let age = factsAgeSeconds, age > 0 { items.append(("", "looked up \(age) seconds ago")) }
        if let score { items.append(("score", "\(score)")) }
        for check in checks {
            let effect =
                !check.fired
                ? (check.mode == "off" ? "off" : "did not fire")
                : check.mode == "shadow" ? "in shadow, would add \(check.weight)" : "adds \(check.added)"
            items.append(("check", "\(check.check): \(effect)\(check.evidence.isEmpty ? "" : " (\(check.evidence))")"))
        }
        return Output.list(items)
    }
}

import PosternCore
import SPF
import Testing

/// Both suites of openspf.org, case by case.
@Suite(.enabled(if: OpenSPFSuite.folder != nil, "the suites are not at hand"))
struct OpenSPFTests {
    private struct Verdict {
        var name: String
        var accepted: [String]
        var outcome: SPFOutcome
        var isAccepted: Bool { accepted.contains(outcome.result.rawValue) && explanationIsRight }
        var explanationIsRight: Bool
    }

    private func run(_ file: String) async throws -> [Verdict] {
        var verdicts: [Verdict] = []
        for scenario in try OpenSPFSuite.scenarios(file) {
            for test in scenario.cases {
                let outcome = try await check(
                    ip: test.host, from: test.sender, helo: test.helo, receiver: "", ZoneResolver(scenario.zones))
                let explanation = outcome.explanation ?? "DEFAULT"
                let isRight = test.explanation == nil || outcome.result != .fail || explanation == test.explanation
                verdicts.append(Verdict(name: test.name, accepted: test.accepted, outcome: outcome, explanationIsRight: isRight))
                #expect(outcome.lookups <= SPFLimits.lookups)
                #expect((outcome.result == .temperror || outcome.result == .permerror) == (outcome.problem != nil))
            }
        }
        return verdicts
    }

    @Test func everyCaseOfRFC7208() async throws {
        let verdicts = try await run("pyspf-rfc7208-tests.yml")
        #expect(verdicts.count == 203)
        for verdict in verdicts {
            #expect(verdict.isAccepted, "\(verdict.name): \(verdict.outcome), accepted: \(verdict.accepted)")
        }
    }

    /// Where RFC 7208 differs, the older suite accepts what either RFC asks for; these are the cases where it would rather
    /// have something else.
    @Test func everyCaseOfRFC4408ThatStillHolds() async throws {
        let verdicts = try await run("pyspf-rfc4408-tests.yml")
        #expect(verdicts.count == 191)
        for verdict in verdicts {
            #expect(verdict.isAccepted, "\(verdict.name): \(verdict.outcome), accepted: \(verdict.accepted)")
        }
        let others = verdicts.filter { $0.outcome.result.rawValue != $0.accepted.first }.map { "\($0.name) \($0.outcome.result)" }
        #expect(
            Set(others) == [
                // RFC 7208 §3.1: there are no records of type SPF any more.
                "spfonly none", "spfoverride fail", "multitxt1 permerror", "multispf2 pass", "txttimeout temperror",
                // RFC 7208 §4.6.4: more than ten exchangers are an error.
                "mx-limit permerror",
                // RFC 7208 §5.7: as with other mechanisms.
                "exists-dnserr temperror",
                // RFC 7208 §4.8 leaves it to us what to make of a name that is none; the newer suite prefers no match.
                "invalid-domain-long fail", "invalid-domain-long-via-macro fail", "invalid-domain-empty-label fail",
            ])
    }
}
